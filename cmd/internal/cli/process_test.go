package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// process is a scopedrift that runs in a directory with the fixture, and reads
// standard input for as long as the test leaves it open.
type process struct {
	*exec.Cmd
	dir            string
	stdin          io.WriteCloser
	stdout, stderr bytes.Buffer
	engine         string
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	engine, library := enginetest.Files(t)
	p := &process{dir: t.TempDir(), engine: filepath.Base(engine)}
	if err := fixture(p.dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	p.Cmd = exec.CommandContext(ctx, program, args...)
	p.Dir = p.dir
	p.Env = []string{"HOME=" + filepath.Join(p.dir, "home"), "TMPDIR=" + filepath.Join(p.dir, ".tmp"), "PATH=" + os.Getenv("PATH"),
		"SCOPEDRIFT_ENGINE=" + engine, "SCOPEDRIFT_LIBCHDB=" + library}
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// end waits for the process and wants an exit code.
func (p *process) end(t *testing.T, code int) {
	t.Helper()
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d\n%s%s", got, code, p.stdout.String(), p.stderr.String())
	}
}

func (p *process) feed(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		t.Fatal(err)
	}
}

// assertGone wants the temporary directory of the process to be empty.
func (p *process) assertGone(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.dir, ".tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		left, _ := exec.Command("find", filepath.Join(p.dir, ".tmp")).CombinedOutput()
		t.Errorf("left behind:\n%s%s", left, p.stderr.String())
	}
}

// TestEngineDiesMidScan kills the engine under a scan that is waiting for more
// input: that is never a clean end, nothing that looks like a result comes, and
// the next run on the same store works.
func TestEngineDiesMidScan(t *testing.T) {
	p := startProcess(t, "scan", "--catalog", "catalogue", "--data", "store", "-o", "json", "-")
	p.feed(t, edgeLog())
	if err := syscall.Kill(childOf(t, p.Process.Pid, p.engine), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.end(t, codeBroken)
	if p.stdout.Len() > 0 {
		t.Errorf("standard output is not empty: %s", p.stdout.String())
	}
	if told := p.stderr.String(); !strings.Contains(told, "error: ") || !strings.Contains(told, "hint: ") {
		t.Errorf("no sentence and remedy: %s", told)
	}
	again := exec.Command(program, "scan", "--catalog", "catalogue", "--data", "store", "-o", "json", "edge.log")
	again.Dir, again.Env = p.dir, p.Env
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("the next run: %v\n%s", err, out)
	}
}

// TestInterruptedTwice does not wait for anything but the removal of what is
// temporary.
func TestInterruptedTwice(t *testing.T) {
	p := startProcess(t, "scan", "--catalog", "catalogue", "-")
	p.feed(t, edgeLog())
	childOf(t, p.Process.Pid, p.engine)
	for range 2 {
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // two signals at once may be delivered as one
	}
	p.end(t, codeInterrupted)
	p.assertGone(t)
}

// TestReaderGoesAway is scan | head: nobody is left to tell anything to, and
// nothing is left behind.
func TestReaderGoesAway(t *testing.T) {
	engine, library := enginetest.Files(t)
	dir := t.TempDir()
	if err := fixture(dir); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "scan", "--quiet", "--catalog", "catalogue", "edge.log")
	command.Dir = dir
	command.Env = []string{"HOME=" + dir, "TMPDIR=" + filepath.Join(dir, ".tmp"), "SCOPEDRIFT_ENGINE=" + engine, "SCOPEDRIFT_LIBCHDB=" + library}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := stdout.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := command.Wait(); !errors.As(err, &exit) || exit.ExitCode() != codeBroken {
		t.Errorf("%v, want exit code 1", err)
	}
	if stderr.Len() > 0 {
		t.Errorf("it says %s", stderr.String())
	}
	if entries, err := os.ReadDir(filepath.Join(dir, ".tmp")); err != nil || len(entries) > 0 {
		t.Errorf("%d entries left behind, %v", len(entries), err)
	}
}

// TestServer runs against a ClickHouse that speaks TCP, as a server does.
func TestServer(t *testing.T) {
	e := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
	dir := t.TempDir()
	if err := fixture(dir); err != nil {
		t.Fatal(err)
	}
	run := func(code int, args ...string) (string, string) {
		t.Helper()
		command := exec.Command(program, args...)
		command.Dir = dir
		// No engine program: what is asked for is the server.
		command.Env = []string{"HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + dir, "SCOPEDRIFT_ENGINE=/nowhere"}
		var stdout, stderr bytes.Buffer
		command.Stdout, command.Stderr = &stdout, &stderr
		_ = command.Run()
		if got := command.ProcessState.ExitCode(); got != code {
			t.Fatalf("%s: exit code %d, want %d\n%s%s", args, got, code, stdout.String(), stderr.String())
		}
		return stdout.String(), stderr.String()
	}
	server := "http://" + e.Address() + "/default"
	report, _ := run(0, "scan", "--catalog", "catalogue", "--clickhouse", server, "-o", "json", "edge.log")
	if !strings.Contains(report, `"code": "D01"`) {
		t.Errorf("no D01 in %s", report)
	}
	if list, _ := run(0, "findings", "--clickhouse", server); !strings.Contains(list, "D01-") {
		t.Errorf("no D01 in %s", list)
	}
	if list, _ := run(0, "calls", "--clickhouse", server, "--limit", "0", "-o", "jsonl"); strings.Count(list, "\n") != 241 {
		t.Errorf("%d calls, want 241", strings.Count(list, "\n"))
	}
	// Nobody there, and a password that nobody may read.
	_, told := run(1, "findings", "--clickhouse", "http://me:hunter2@127.0.0.1:1/default")
	if strings.Contains(told, "hunter2") || !strings.Contains(told, "hint: ") {
		t.Errorf("it says %s", told)
	}
}

// childOf polls for a child process of the given name.
func childOf(t *testing.T, parent int, name string) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range stats {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // it ended meanwhile
			}
			// pid (name) state ppid …; the kernel cuts names at 15 bytes.
			end := bytes.LastIndexByte(text, ')')
			fields := strings.Fields(string(text[end+1:]))
			begin := bytes.IndexByte(text, '(')
			if len(fields) > 1 && fields[1] == strconv.Itoa(parent) && string(text[begin+1:end]) == name[:min(15, len(name))] {
				pid, err := strconv.Atoi(strings.TrimSpace(string(text[:begin])))
				if err != nil {
					t.Fatal(err)
				}
				return pid
			}
		}
	}
	t.Fatal("the engine never started")
	return 0
}
