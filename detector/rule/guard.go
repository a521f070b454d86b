package rule

import (
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// guard keeps use under an open high finding from teaching: whoever does
// something wrong every day must not become normal by it. An empty field is any.
type guard struct {
	from, to                   schema.Day
	service, operation, tenant string
}

// posture are the detections that say how a credential stands, not what was done
// with it: use under them is as good a teacher as any.
var posture = []string{UnusedScope, "D07", "D16", UnownedCredential}

// guardsOf returns the guards of what was found. Findings that somebody closed as
// harmless stand as suppressed and do not come here.
func guardsOf(drafts []Draft) []guard {
	var list []guard
	for i := range drafts {
		f := &drafts[i].Finding
		if f.Severity < schema.SeverityHigh || f.First.IsZero() || slices.Contains(posture, f.Code) {
			continue
		}
		list = append(list, guard{schema.DayOf(f.First), schema.DayOf(f.Last), f.Service, f.Operation, f.Tenant})
	}
	return list
}

func (g *guard) covers(u *driftUse, d schema.Day) bool {
	return d >= g.from && d <= g.to && (g.service == "" || g.service == u.Service) &&
		(g.operation == "" || g.operation == u.Operation) && (g.tenant == "" || g.tenant == u.Tenant)
}

// taught returns the days on which a use teaches.
func taught(guards []guard, u *driftUse) []schema.Day {
	if len(guards) == 0 {
		return u.Days
	}
	var days []schema.Day
	for _, d := range u.Days {
		if !slices.ContainsFunc(guards, func(g guard) bool { return g.covers(u, d) }) {
			days = append(days, d)
		}
	}
	return days
}
