package scenario

import (
	"testing"

	"github.com/scopedrift/scopedrift/internal/treetest"
)

// TestSameBytes holds Write to its promise: the same month at every call.
func TestSameBytes(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	story, err := Write(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(second); err != nil {
		t.Fatal(err)
	}
	files := treetest.Same(t, first, second)
	if files < 15 {
		t.Errorf("wrote %d files, want at least 15", files)
	}
	for kind, least := range map[string]int{"mesh": 40_000, "cluster": 5_000, "cloud": 2_500, "portal": 300, "capture": 600} {
		if story.Lines[kind] < least {
			t.Errorf("%s has %d lines, want at least %d", kind, story.Lines[kind], least)
		}
	}
}
