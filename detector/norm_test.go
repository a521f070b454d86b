package detector

import "testing"

// TestNormWithout states that the norm of others is that of all hours but one's own,
// also where calls came in between the two questions.
func TestNormWithout(t *testing.T) {
	all := objectHours{principals: 3, hours: map[uint64]uint64{1: 990, 7: 9, 80: 2}}
	for _, c := range []struct {
		name              string
		own               objectHours
		hours, principals uint64
		most              uint64
	}{
		{"nothing of its own", objectHours{}, 1001, 3, 7},
		{"the largest are its own", objectHours{principals: 1, hours: map[uint64]uint64{80: 2, 7: 5}}, 994, 2, 1},
		{"an hour grew meanwhile", objectHours{principals: 1, hours: map[uint64]uint64{81: 1, 80: 2}}, 999, 2, 7},
		{"more than all had", objectHours{principals: 4, hours: map[uint64]uint64{1: 2000, 7: 9, 80: 5}}, 0, 0, 0},
	} {
		n, ok := all.without(c.own)
		if n.Hours != c.hours || n.Principals != c.principals || n.Most != c.most || ok != (c.hours > 0) {
			t.Errorf("%s: %d hours of %d principals, %d at most, %v", c.name, n.Hours, n.Principals, n.Most, ok)
		}
	}
}
