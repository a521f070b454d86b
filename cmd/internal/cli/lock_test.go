package cli

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTwoScansOfOneStore wants the second to say so instead of writing along.
func TestTwoScansOfOneStore(t *testing.T) {
	p := startProcess(t, "scan", "--catalog", "catalogue", "--data", "store", "-o", "json", "-")
	p.feed(t, edgeLog())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if matches, _ := filepath.Glob(filepath.Join(p.dir, "store", lockFile)); len(matches) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first scan never locked its store")
		}
	}
	second := exec.Command(program, "scan", "--catalog", "catalogue", "--data", "store", "edge.log")
	second.Dir, second.Env = p.dir, p.Env
	var stdout, stderr bytes.Buffer
	second.Stdout, second.Stderr = &stdout, &stderr
	_ = second.Run()
	if code := second.ProcessState.ExitCode(); code != codeBroken || stdout.Len() > 0 || !strings.Contains(stderr.String(), "another scan is writing to store") {
		t.Errorf("exit code %d, output %q, told %q", code, stdout.String(), stderr.String())
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	p.end(t, 0)
}
