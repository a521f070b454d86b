package detections_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/docs/detections"
)

// parts are what every page has: a heading, or a word in bold at a line's start.
var parts = []string{"What", "Why", "How it is computed", "Tunables", "What stays silent", "Blind spots", "Frameworks", "Response", "Harmless if"}

// TestPages wants every detection to have its page, with its code and name as
// title, all parts, and the framework ids that its findings bear.
func TestPages(t *testing.T) {
	for _, d := range rule.Detections() {
		page, ok := detections.Page(d.Name)
		if !ok {
			t.Errorf("%s has no page docs/detections/%s.md", d.Code, d.Name)
			continue
		}
		if title := "# " + d.Code + " " + d.Name + "\n"; !strings.HasPrefix(page, title) {
			t.Errorf("the page of %s does not begin with %q", d.Name, title)
		}
		at := 0
		for _, part := range parts {
			found := regexp.MustCompile(`(?m)^(## ` + part + `$|\*\*` + part + `(\.|\*\*))`).FindStringIndex(page)
			if found == nil {
				t.Errorf("the page of %s has no part %q", d.Name, part)
			} else if found[0] < at {
				t.Errorf("the page of %s has %q in another place than other pages", d.Name, part)
			} else {
				at = found[0]
			}
		}
		for _, id := range d.Frameworks {
			if !strings.Contains(page, id) {
				t.Errorf("the page of %s does not name %s", d.Name, id)
			}
		}
		for line := range strings.Lines(page) {
			if len([]rune(line)) > 200 {
				t.Errorf("the page of %s has a line of %d: %.60s", d.Name, len([]rune(line)), line)
			}
		}
	}
	if _, ok := detections.Page("../operation"); ok {
		t.Error("a page was found elsewhere")
	}
}
