package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// parentEnv makes the test binary play a command that uses an engine, so that
// tests can kill it. Its value is the data directory.
const parentEnv = "SCOPEDRIFT_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(parentEnv); ok {
		os.Exit(playParent(dir))
	}
	os.Exit(m.Run())
}

// playParent starts an engine, says where it is and waits for its input to end.
func playParent(dir string) int {
	e, err := engine.Start(context.Background(), engine.Config{Dir: dir, Log: os.Stderr})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println(e.PID(), e.Socket(), e.Joined())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := e.Close(); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

// parent is such a process.
type parent struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	pid    int // of the engine
	socket string
	joined bool
}

func startParent(t *testing.T, dir string) *parent {
	t.Helper()
	program, library := enginetest.Files(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir, engine.ProgramEnv+"="+program, engine.LibraryEnv+"="+library)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the command said nothing: %v", err)
	}
	p := &parent{cmd: cmd, stdin: stdin}
	if _, err := fmt.Sscan(line, &p.pid, &p.socket, &p.joined); err != nil {
		t.Fatalf("the command said %q: %v", line, err)
	}
	return p
}

// alive reports whether a process exists and is not a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z"
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestStartAndClose(t *testing.T) {
	ctx := context.Background()
	e, err := engine.Start(ctx, enginetest.Config(t, engine.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(e.Socket())); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v", info.Mode(), err)
	}
	conn, err := clickhouse.Open(ctx, clickhouse.Target{Socket: e.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	if v := one[string](t, conn, "SELECT version()"); v != e.Version() {
		t.Errorf("version %q, the engine says %q", v, e.Version())
	}
	if tz := one[string](t, conn, "SELECT timezone()"); tz != "UTC" {
		t.Errorf("timezone %q", tz)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", e.PID()))
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.Split(string(data), "\x00")[2]
	if gone(dir) {
		t.Fatalf("%s is not the data directory", dir)
	}
	select {
	case <-e.Done():
		t.Error("done before it was closed")
	default:
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	<-e.Done()
	if err := e.Err(); err != nil {
		t.Error(err)
	}
	if alive(e.PID()) || !gone(filepath.Dir(e.Socket())) || !gone(dir) {
		t.Errorf("left behind: process %v, socket %v, data %v", alive(e.PID()), !gone(e.Socket()), !gone(dir))
	}
	if err := clickhouse.Explain(conn.Ping(ctx)); !clickhouse.IsKind(err, clickhouse.Unreachable) {
		t.Errorf("a question to a closed engine: %v", err)
	}
}

// Two commands share an engine; it ends with the last of them, in either order.
func TestShare(t *testing.T) {
	for _, order := range []string{"first ends first", "second ends first"} {
		t.Run(order, func(t *testing.T) {
			dir := t.TempDir()
			first := startParent(t, dir)
			second, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
			if err != nil {
				t.Fatal(err)
			}
			if !second.Joined() || second.PID() != first.pid || first.joined {
				t.Fatalf("joined %v, process %d, the first has %d", second.Joined(), second.PID(), first.pid)
			}
			conn, err := clickhouse.Open(context.Background(), clickhouse.Target{Socket: second.Socket()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if order == "first ends first" {
				_ = first.stdin.Close()
				if err := first.cmd.Wait(); err != nil {
					t.Errorf("the first command: %v", err)
				}
				if got := one[uint8](t, conn, "SELECT 1"); got != 1 {
					t.Error(got)
				}
				if err := second.Close(); err != nil {
					t.Error(err)
				}
			} else {
				if err := second.Close(); err != nil {
					t.Error(err)
				}
				if !alive(first.pid) {
					t.Error("the engine ended with the command that joined it")
				}
				_ = first.stdin.Close()
				if err := first.cmd.Wait(); err != nil {
					t.Errorf("the first command: %v", err)
				}
			}
			eventually(t, "the engine ends", func() bool { return !alive(first.pid) && gone(filepath.Dir(first.socket)) })
		})
	}
}

// Many commands start at once on one directory: one wins, the others join.
func TestStartRace(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	engines := make([]*engine.Engine, 5)
	for i := range engines {
		wg.Add(1)
		go func() {
			defer wg.Done()
			e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
			if err != nil {
				t.Error(err)
				return
			}
			engines[i] = e
		}()
	}
	wg.Wait()
	pids := map[int]bool{}
	for _, e := range engines {
		if e != nil {
			pids[e.PID()] = true
		}
	}
	if len(pids) != 1 {
		t.Errorf("%d engines on one directory", len(pids))
	}
	for _, e := range engines {
		if e != nil {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	claim, err := engine.ClaimDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Release()
	_, err = engine.ClaimDirectory(dir)
	wantError(t, err, engine.DirectoryInUse)
	if err := claim.Announce(engine.Running{PID: 4711, Socket: "/nowhere"}); err != nil {
		t.Fatal(err)
	}
	_, err = engine.ClaimDirectory(dir)
	wantError(t, err, engine.DirectoryInUse, "4711")
}

// What a killed engine left behind is cleared, and only that.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	claim, err := engine.ClaimDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	precious := write(t, filepath.Join(t.TempDir(), "precious"), "x", 0o600)
	if err := claim.Announce(engine.Running{PID: 1, Socket: precious}); err != nil {
		t.Fatal(err)
	}
	running, err := os.ReadFile(filepath.Join(dir, "engine.json"))
	if err != nil {
		t.Fatal(err)
	}
	claim.Release()
	write(t, filepath.Join(dir, "engine.json"), string(running), 0o600)
	e := enginetest.Start(t, engine.Config{Dir: dir})
	if e.Joined() {
		t.Error("joined a file")
	}
	if gone(precious) {
		t.Error("a file that a false announcement named was removed")
	}
}

func TestParentDeath(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		p := startParent(t, dir)
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait()
		eventually(t, "the engine ends after its command was killed", func() bool { return !alive(p.pid) })
		if !gone(filepath.Dir(p.socket)) {
			t.Error("the socket was left behind")
		}
	}
}

// The terminal's interrupt goes to a process group; the engine has its own, so
// that the command can still flush what it has.
func TestOwnProcessGroup(t *testing.T) {
	e := enginetest.Start(t, engine.Config{})
	pgid, err := syscall.Getpgid(e.PID())
	if err != nil || pgid != e.PID() {
		t.Errorf("process group %d of process %d: %v", pgid, e.PID(), err)
	}
}

func TestSignalsEndCleanly(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(e.PID(), sig); err != nil {
			t.Fatal(err)
		}
		<-e.Done()
		if !gone(filepath.Dir(e.Socket())) {
			t.Errorf("%v: the socket was left behind", sig)
		}
		// Nobody asked through Close, so the command has to know.
		if err := e.Close(); !engine.IsKind(err, engine.Died) || !strings.Contains(err.Error(), "it ended") {
			t.Errorf("%v: Close = %v", sig, err)
		}
	}
}

// Close ends an engine that is busy.
func TestCloseCancels(t *testing.T) {
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	conn := enginetest.Connect(t, e)
	errs := make(chan error, 1)
	go func() {
		errs <- conn.Exec(context.Background(), "INSERT INTO FUNCTION null('n UInt64') SELECT sipHash64(number) FROM numbers(1000000000000)")
	}()
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > engine.StopGrace+2*time.Second {
		t.Errorf("Close took %v", d)
	}
	if err := clickhouse.Explain(<-errs); err == nil {
		t.Error("a statement that was cut off succeeded")
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	e, err := engine.Start(ctx, enginetest.Config(t, engine.Config{Dir: t.TempDir()}))
	if err == nil {
		t.Errorf("an engine started in 5 ms: %v", e.Close())
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
}

// The engine program needs the dynamic loader; scopedrift itself must not.
func TestInterpreter(t *testing.T) {
	program, _ := enginetest.Files(t)
	if !hasInterpreter(t, program) {
		t.Errorf("%s has no interpreter: it cannot load a library", program)
	}
	if main := filepath.Join(filepath.Dir(program), "scopedrift"); gone(main) {
		t.Skipf("%s is not built", main)
	} else if hasInterpreter(t, main) {
		t.Errorf("%s is not static", main)
	}
}

func hasInterpreter(t *testing.T, path string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
