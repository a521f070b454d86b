package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sampleSize is how many recognised units the stated reason speaks about.
const sampleSize = 200

// sampling remembers by what the first units were recognised, so that the
// choice of a format can be explained. Each unit is recognised on its own.
type sampling struct {
	forced   string
	sampled  int
	byFormat map[string]int
	why      map[string]string
}

// add notes a recognised unit: one of the first, or the first of its format.
func (s *sampling) add(r *reader, u *unit) {
	if s.byFormat[r.Name] == 0 {
		if s.why == nil {
			s.why = map[string]string{}
		}
		s.why[r.Name] = "have the form of " + r.Title
		for i, set := range r.match {
			all := true
			for _, slot := range set {
				all = all && u.names(slot)
			}
			if all {
				s.why[r.Name] = "have " + strings.Join(r.Match[i], ", ")
				break
			}
		}
	}
	s.sampled++
	s.byFormat[r.Name]++
}

// names lists the formats found, the most frequent first.
func (s *sampling) names() []string {
	names := slices.Collect(maps.Keys(s.byFormat))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(s.byFormat[b]-s.byFormat[a], strings.Compare(a, b))
	})
	return names
}

// name is the format of the input as a whole: several are joined.
func (s *sampling) name() string {
	if len(s.byFormat) == 0 {
		return s.forced
	}
	return strings.Join(s.names(), "+")
}

// words says what was chosen and why.
func (s *sampling) words(wraps int) string {
	if s.forced != autoFormat {
		return s.forced + ": as told"
	}
	if len(s.byFormat) == 0 {
		return "no known format"
	}
	var parts []string
	for _, name := range s.names() {
		parts = append(parts, fmt.Sprintf("%s: %d of %d sampled units %s", name, s.byFormat[name], s.sampled, s.why[name]))
	}
	text := strings.Join(parts, "; ")
	if wraps > 0 {
		text += "; in an array"
	}
	return text
}
