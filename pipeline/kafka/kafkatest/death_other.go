//go:build !linux

package kafkatest

import "os/exec"

// dieWithParent does nothing where there is no such thing: a test binary that is
// killed leaves its broker behind.
func dieWithParent(*exec.Cmd) {}
