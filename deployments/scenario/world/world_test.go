package world

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSameBytes holds Write to its promise.
func TestSameBytes(t *testing.T) {
	for _, cfg := range Tiny() {
		first, second := t.TempDir(), t.TempDir()
		if _, err := Write(cfg, first); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(cfg, second); err != nil {
			t.Fatal(err)
		}
		files := 0
		err := filepath.WalkDir(first, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			relative, _ := filepath.Rel(first, path)
			a, _ := os.ReadFile(path)
			b, err := os.ReadFile(filepath.Join(second, relative))
			if err != nil {
				return err
			}
			if !bytes.Equal(a, b) {
				t.Errorf("%s differs between two runs", relative)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if files < 10 {
			t.Errorf("wrote %d files, want at least 8", files)
		}
	}
}
