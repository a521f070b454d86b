// Package corpus gives tests the logs, captures, grants and catalogues that
// somebody else made, with counts that somebody else stated.
//
// [Path] finds a file or directory of it, or skips the test; [Read] and [Lines]
// read one, unpacked. It lies in the directory that SCOPEDRIFT_CORPUS names, by
// default in ../shared/data, seen from the module's root, and is never a part of
// the module: its files belong to others. Only tests may import this package. It
// promises that a test without its file is skipped in one clear line, and cannot
// see whether the file is the one that the test was written for.
package corpus

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Module returns the directory of the module's go.mod.
func Module(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// find returns where a file of the corpus is, and whether it is there.
func find(t testing.TB, elem []string) (string, bool) {
	t.Helper()
	dir := os.Getenv("SCOPEDRIFT_CORPUS")
	if dir == "" {
		dir = "../shared/data"
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(Module(t), dir)
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	_, err := os.Stat(path)
	return path, err == nil
}

// Has reports whether the corpus has that file or directory, for tests that can
// do with less.
func Has(t testing.TB, elem ...string) bool {
	t.Helper()
	_, ok := find(t, elem)
	return ok
}

// Path returns the path of a file or directory of the corpus, or of all of it,
// and skips the test if there is none.
func Path(t testing.TB, elem ...string) string {
	t.Helper()
	path, ok := find(t, elem)
	if !ok {
		t.Skipf("no corpus at %s: set SCOPEDRIFT_CORPUS to its directory", path)
	}
	return path
}

// Read returns what is in the file at path, unpacked if its name ends in .gz.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return data
}

// Lines returns the lines of the file at path, unpacked if its name ends in .gz,
// without their ends.
func Lines(t testing.TB, path string) [][]byte {
	t.Helper()
	var list [][]byte
	for line := range bytes.Lines(Read(t, path)) {
		list = append(list, bytes.TrimRight(line, "\r\n"))
	}
	return list
}
