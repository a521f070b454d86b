package treetest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/scopedrift/scopedrift/internal/treetest"
)

// said counts what a test would be told.
type said struct {
	testing.TB
	errors int
}

func (s *said) Helper()               {}
func (s *said) Errorf(string, ...any) { s.errors++ }

func TestSame(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		dir, name, text string
		errors          int
	}{
		{a, "x/1", "one", 1}, {b, "x/1", "one", 0}, {b, "2", "", 1}, {a, "2", "two", 1}, {b, "2", "two", 0},
	} {
		write(step.dir, step.name, step.text)
		s := &said{TB: t}
		treetest.Same(s, a, b)
		if s.errors != step.errors {
			t.Errorf("step %d: %d differences, want %d", i, s.errors, step.errors)
		}
	}
	if n := treetest.Same(t, a, b); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
}
