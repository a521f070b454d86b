// Package detections holds the page of each detection: what it finds, why that
// matters, how it is computed, what can be set, what it cannot see, the
// frameworks it belongs to, and what to do.
//
// [Page] is the one function. A test sees that every detection has its page,
// with all its parts.
package detections

import "embed"

//go:embed *.md
var pages embed.FS

// Page returns the page of a detection by its name, and whether there is one.
func Page(name string) (string, bool) {
	text, err := pages.ReadFile(name + ".md")
	return string(text), err == nil
}
