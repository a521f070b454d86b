package kafkatest

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets a child end when the thread that starts it does, however
// that comes about.
func dieWithParent(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
