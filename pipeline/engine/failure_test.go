package engine_test

import (
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

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

// A directory where nothing may be written. Root may write everywhere but on a
// file system that is read-only.
func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=16k"); err != nil {
			t.Skipf("the kernel refuses to mount a read-only file system: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	for _, d := range []string{dir, filepath.Join(dir, "store")} {
		_, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: d}))
		wantError(t, err, engine.NoPermission, d, "right to write")
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
