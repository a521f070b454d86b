package pcap

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocShowsTheWay holds the page that a newcomer reads to the files there are: each
// stands on it, and none that is gone.
func TestDocShowsTheWay(t *testing.T) {
	page, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{"doc.go": true}
	for _, name := range regexp.MustCompile(`[a-z0-9]+\.go`).FindAllString(string(page), -1) {
		named[name] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") && !named[name] {
			t.Errorf("doc.go does not say what %s does on the way of a packet", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("doc.go names %s, which is not there", name)
	}
}
