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
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

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

// wantError checks the shape that every failure to start has.
func wantError(t *testing.T, err error, kind engine.Kind, parts ...string) {
	t.Helper()
	var e *engine.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v (%T), want an engine.Error", err, err)
	}
	if e.Kind != kind {
		t.Errorf("kind = %s, want %s: %v", e.Kind, kind, e)
	}
	if e.Hint() == "" || e.ExitCode() != 1 || strings.Contains(e.Error(), "\n") {
		t.Errorf("hint %q, exit code %d, text %q", e.Hint(), e.ExitCode(), e.Error())
	}
	for _, p := range parts {
		if !strings.Contains(e.Error()+" | "+e.Hint(), p) {
			t.Errorf("%q is not in %q | %q", p, e.Error(), e.Hint())
		}
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// foreignELF is the head of a shared library for another machine.
func foreignELF() string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16] = byte(elf.ET_DYN)
	b[18] = byte(elf.EM_RISCV)
	b[20] = 1  // version
	b[52] = 64 // size of this head
	b[54] = 56 // of a program header
	b[58] = 64 // of a section header
	return string(b)
}

func TestFailuresToStart(t *testing.T) {
	tmp := t.TempDir()
	foreign := t.TempDir()
	write(t, filepath.Join(foreign, "holiday.jpg"), "x", 0o600)
	newer := t.TempDir()
	write(t, filepath.Join(newer, "scopedrift-store.json"), `{"store":"scopedrift","layout":99}`, 0o600)
	other := t.TempDir()
	write(t, filepath.Join(other, "scopedrift-store.json"), `{}`, 0o600)
	file := write(t, filepath.Join(tmp, "file"), "x", 0o600)
	for _, tt := range []struct {
		name  string
		cfg   engine.Config
		kind  engine.Kind
		parts []string
	}{
		{"no program", engine.Config{Program: filepath.Join(tmp, "nowhere")}, engine.NoProgram, []string{"nowhere", "SCOPEDRIFT_ENGINE", "--clickhouse"}},
		{"program is a directory", engine.Config{Program: tmp}, engine.WrongProgram, nil},
		{"program may not run", engine.Config{Program: file}, engine.WrongProgram, nil},
		{"program for another machine", engine.Config{Program: write(t, filepath.Join(tmp, "riscv"), foreignELF(), 0o700)}, engine.WrongProgram, []string{"not for this machine"}},
		{"program needs a missing loader", engine.Config{Program: write(t, filepath.Join(tmp, "musl"), "#!/nowhere/ld-musl.so\n", 0o700)}, engine.WrongProgram, []string{"loader"}},
		{"program that is another one", engine.Config{Program: "/bin/true"}, engine.StartFailed, []string{"did not start"}},
		{"program that fails", engine.Config{Program: write(t, filepath.Join(tmp, "fails"), "#!/bin/sh\necho oh no >&2\nexit 7\n", 0o700)}, engine.StartFailed, []string{"exit code 7", "oh no"}},
		{"no library", engine.Config{Library: filepath.Join(tmp, "nolib.so")}, engine.NoLibrary, []string{"nolib.so", "SCOPEDRIFT_LIBCHDB", "make build"}},
		{"library is text", engine.Config{Library: file}, engine.WrongLibrary, nil},
		{"library is a directory", engine.Config{Library: tmp}, engine.WrongLibrary, nil},
		{"library for another machine", engine.Config{Library: write(t, filepath.Join(tmp, "riscv.so"), foreignELF(), 0o600)}, engine.WrongLibrary, []string{"RISCV"}},
		{"library is another one", engine.Config{Library: libc(t)}, engine.WrongLibrary, []string{"not a libchdb"}},
		{"foreign directory", engine.Config{Dir: foreign}, engine.ForeignDirectory, []string{"holiday.jpg"}},
		{"marker of something else", engine.Config{Dir: other}, engine.ForeignDirectory, nil},
		{"later layout", engine.Config{Dir: newer}, engine.NewerStore, []string{"99"}},
		{"directory is a file", engine.Config{Dir: file}, engine.StartFailed, []string{"not a directory"}},
		{"directory below a file", engine.Config{Dir: filepath.Join(file, "x")}, engine.StartFailed, nil},
		{"public address", engine.Config{Listen: "0.0.0.0:0"}, engine.StartFailed, []string{"loopback"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := engine.Start(context.Background(), enginetest.Config(t, tt.cfg))
			if err == nil {
				_ = e.Close()
			}
			wantError(t, err, tt.kind, tt.parts...)
		})
	}
	if entries, err := os.ReadDir(foreign); err != nil || len(entries) != 1 {
		t.Errorf("the foreign directory was touched: %v, %v", entries, err)
	}
}

// libc is a library that is there and valid, and not libchdb.
func libc(t *testing.T) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err == nil {
		for line := range strings.Lines(string(maps)) {
			if f := strings.Fields(line); len(f) == 6 && strings.Contains(f[5], "libc.so") {
				return f[5]
			}
		}
	}
	for _, pattern := range []string{"/lib/*/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"} {
		if m, _ := filepath.Glob(pattern); len(m) > 0 {
			return m[0]
		}
	}
	t.Skip("this system has no glibc")
	return ""
}

// The directory of another user: the kernel refuses, whoever runs the test.
func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() == 0 {
		// Root may write everywhere but into the kernel's own file systems.
		dir = "/proc/self"
	} else if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: filepath.Join(dir, "store")}))
	var e *engine.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v", err)
	}
	if e.Kind != engine.NoPermission && os.Getuid() != 0 {
		t.Errorf("kind = %s: %v", e.Kind, e)
	}
}

func TestDirectoryOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("the kernel refuses to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	// Fill it, so that not even the marker fits.
	fill, err := os.Create(filepath.Join(dir, "lost+found"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	_ = fill.Close()
	_, err = engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
	wantError(t, err, engine.DiskFull, "space")
}

// A disk that fills up during an insert: an error that says so, and the engine
// goes on.
func TestDiskFillsUp(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("the kernel refuses to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	e := enginetest.Start(t, engine.Config{Dir: filepath.Join(dir, "store")})
	conn := enginetest.Connect(t, e)
	execute(t, conn, "CREATE TABLE fat (s String CODEC(NONE)) ENGINE = MergeTree ORDER BY tuple()")
	var err error
	for i := 0; err == nil && i < 20; i++ {
		err = conn.Exec(context.Background(), "INSERT INTO fat SELECT randomPrintableASCII(1000) FROM numbers(4000)")
	}
	if err := clickhouse.Explain(err); !clickhouse.IsKind(err, clickhouse.DiskFull) {
		t.Errorf("error = %v", err)
	}
	if got := one[uint64](t, conn, "SELECT toUInt64(count() % 4000) FROM fat"); got != 0 {
		t.Errorf("a part of an insert was stored: %d rows over", got)
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

// The engine is killed during inserts, again and again: each time the command
// hears of it, and what was acknowledged is there afterwards, once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	acknowledged := 0
	const rows = 20_000
	for round := range 6 {
		e, err := engine.Start(ctx, enginetest.Config(t, engine.Config{Dir: dir}))
		if err != nil {
			t.Fatal(err)
		}
		if e.Joined() {
			t.Fatal("joined a dead engine")
		}
		conn, err := clickhouse.Open(ctx, clickhouse.Target{Socket: e.Socket()})
		if err != nil {
			t.Fatal(err)
		}
		execute(t, conn, "CREATE TABLE IF NOT EXISTS k (batch UInt32, n UInt64, s String) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000")
		if got := one[uint64](t, conn, "SELECT uniqExact(batch) FROM k WHERE batch < {n:UInt32}", ch.Named("n", uint32(acknowledged))); got != uint64(acknowledged) {
			t.Fatalf("round %d: %d of %d acknowledged batches are there", round, got, acknowledged)
		}
		if got := one[uint64](t, conn, "SELECT countIf(c != {rows:UInt64}) FROM (SELECT count() AS c FROM k GROUP BY batch)", ch.Named("rows", uint64(rows))); got != 0 {
			t.Fatalf("round %d: %d batches are not whole", round, got)
		}
		wait := time.Duration(rand.IntN(400)) * time.Millisecond
		time.AfterFunc(wait, func() { _ = syscall.Kill(e.PID(), syscall.SIGKILL) })
		for err == nil {
			// The first one repeats the one that failed in the round before.
			bctx := ch.Context(ctx, ch.WithSettings(ch.Settings{"insert_deduplication_token": strconv.Itoa(acknowledged)}))
			err = conn.Exec(bctx, "INSERT INTO k SELECT {b:UInt32}, number, toString(number) FROM numbers({rows:UInt64})",
				ch.Named("b", uint32(acknowledged)), ch.Named("rows", uint64(rows)))
			if err == nil {
				acknowledged++
			}
		}
		if err := clickhouse.Explain(err); !clickhouse.IsKind(err, clickhouse.Broken) && !clickhouse.IsKind(err, clickhouse.Unreachable) {
			t.Errorf("round %d: the insert's error = %v", round, err)
		}
		_ = conn.Close()
		<-e.Done()
		for range 2 {
			if err := e.Close(); !engine.IsKind(err, engine.Died) {
				t.Errorf("Close after a kill = %v", err)
			}
		}
		if !gone(filepath.Dir(e.Socket())) {
			t.Error("the socket was left behind")
		}
	}
	if acknowledged == 0 {
		t.Error("no insert was acknowledged in any round")
	}
}

// A kill in the middle of an answer is an error, not an end.
func TestKillDuringAnswer(t *testing.T) {
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	conn := enginetest.Connect(t, e)
	rows, err := conn.Query(context.Background(), "SELECT number FROM numbers(1000000000000)")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; rows.Next(); n++ {
		if n == 1_000_000 {
			_ = syscall.Kill(e.PID(), syscall.SIGKILL)
		}
	}
	if err := clickhouse.Explain(rows.Err()); !clickhouse.IsKind(err, clickhouse.Broken) {
		t.Errorf("error = %v", err)
	}
	if err := e.Close(); !engine.IsKind(err, engine.Died) {
		t.Errorf("Close = %v", err)
	}
}

// A command that joined hears of the death as well.
func TestJoinedHearsOfDeath(t *testing.T) {
	dir := t.TempDir()
	p := startParent(t, dir)
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-e.Done()
	if !engine.IsKind(e.Err(), engine.Died) || !engine.IsKind(e.Close(), engine.Died) {
		t.Errorf("Err = %v, Close = %v", e.Err(), e.Close())
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	e, err := engine.Start(ctx, enginetest.Config(t, engine.Config{Dir: t.TempDir()}))
	if err == nil {
		_ = e.Close()
		t.Skip("the engine was faster than the deadline")
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
