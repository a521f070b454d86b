package cli

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEngineKilledInMidScan kills the engine at random moments of a scan. It
// must never end cleanly with a result that a full run would not give, and the
// next run on the same data must give exactly what a full run gives.
func TestEngineKilledInMidScan(t *testing.T) {
	environment := needEngine(t)
	story, _ := world(t)
	args := []string{"--catalog", story.Catalogue, story.Logs}
	begin := time.Now()
	want := scanned(t, environment, args...)
	// How long a scan takes varies with the machine, so the span from which
	// moments are drawn shrinks when one came too late.
	span := time.Since(begin)
	random := rand.New(rand.NewPCG(9, 9))
	const kills = 20
	killed := 0
	for round := 0; killed < kills && round < 4*kills; round++ {
		data := filepath.Join(t.TempDir(), "store")
		delay := time.Duration(random.Int64N(int64(span)))
		lines, code := scanAndKill(t, environment, delay, append([]string{"--data", data}, args...))
		if code == 0 {
			if findingLines(t, lines) != want {
				t.Errorf("round %d: killed after %v, the scan ended cleanly with other findings", round, delay)
			}
			span = max(span*9/10, 50*time.Millisecond)
			continue
		}
		killed++
		if code != 1 {
			t.Errorf("round %d: exit code %d, want 1", round, code)
		}
		for line := range strings.Lines(findingLines(t, lines)) {
			if !strings.Contains(want, line) {
				t.Errorf("round %d: a finding that a full run does not make: %.300s", round, line)
			}
		}
		if got := scanned(t, environment, append([]string{"--data", data}, args...)...); got != want {
			t.Errorf("round %d: after a kill at %v the next run differs:\n%s", round, delay, firstDifference(want, got))
		}
	}
	if killed < kills {
		t.Errorf("only %d scans were hit by the kill, want %d: the moments are badly chosen", killed, kills)
	}
}

// scanAndKill runs a scan, kills its engine a while after that came up, and
// returns what the scan wrote and its exit code.
func scanAndKill(t *testing.T, environment []string, delay time.Duration, args []string) (lines []byte, code int) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"scan", "-o", "jsonl"}, args...)...)
	cmd.Env = environment
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for deadline := time.Now().Add(20 * time.Second); pid == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pid = engineOf(cmd.Process.Pid)
	}
	if pid == 0 {
		t.Fatal("the engine never started")
	}
	time.Sleep(delay)
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended before
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
		if code == 1 && !strings.Contains(talk.String(), "hint:") {
			t.Errorf("the error says no remedy:\n%s", talk.String())
		}
	} else if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), code
}

// engineOf returns the engine, a child process of pid, 0 without one.
func engineOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err == nil && len(text) > 0 {
		child, _ := strconv.Atoi(strings.Fields(string(text))[0])
		return child
	}
	// The child may belong to another thread.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(text)) > 0 {
			child, _ := strconv.Atoi(strings.Fields(string(text))[0])
			return child
		}
	}
	return 0
}
