package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"catalog", "format", "fail_on", "min_coverage", "SCOPEDRIFT_HOST"}
	for _, c := range []struct {
		in     string
		atMost int
		want   string
	}{
		{"catalogue", 2, "catalog"}, {"catalogue", 1, ""}, {"formta", 1, "format"}, {"failon", 2, "fail_on"}, {"FORMAT", 0, "format"},
		{"SCOPEDRIFT_HSOT", 1, "SCOPEDRIFT_HOST"}, {"zzz", 2, ""}, {"zzz", 3, ""}, {"", 3, ""}, {strings.Repeat("x", 1000), 2, ""},
		{"format", -1, ""},
	} {
		if got := Nearest(c.in, known, c.atMost); got != c.want {
			t.Errorf("Nearest(%.20q, %d) = %q, want %q", c.in, c.atMost, got, c.want)
		}
	}
	if got := Nearest("ab", []string{"abc", "abd"}, 3); got != "abc" {
		t.Errorf("of equals, %q is named", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"scan", "scna", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 1}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != got {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
