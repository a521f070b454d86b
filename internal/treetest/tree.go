// Package treetest compares directories.
//
// [Same] holds two of them to the same files with the same bytes. It looks at
// regular files only, and cannot see which of two that differ is right.
package treetest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Same reports what differs between two directories as errors of the test, and
// returns how many files the first has.
func Same(t testing.TB, first, second string) int {
	t.Helper()
	files := list(t, first)
	for relative := range list(t, second) {
		if !files[relative] {
			t.Errorf("%s is in the second directory only", relative)
		}
	}
	for relative := range files {
		a, errA := os.ReadFile(filepath.Join(first, relative))
		b, errB := os.ReadFile(filepath.Join(second, relative))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %d bytes and %d, %v and %v", relative, len(a), len(b), errA, errB)
		}
	}
	return len(files)
}

// list gathers the files of a directory.
func list(t testing.TB, dir string) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		files[relative] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
