package rule

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// fold gathers the uses that make one finding, over principals, tenants,
// presented scopes, reporters and time.
type fold struct {
	first, last time.Time
	days        map[schema.Day]struct{}
	tally       tally
	want        earliest
}

// add takes one use and how to find its calls.
func (f *fold) add(u *Use, want Selector) {
	f.widen(u.First, u.Last)
	if f.days == nil {
		f.days = map[schema.Day]struct{}{}
	}
	for _, d := range u.Days {
		f.days[d] = struct{}{}
	}
	f.tally.add(u)
	f.want.add(want)
}

func (f *fold) widen(first, last time.Time) {
	if f.first.IsZero() || first.Before(f.first) {
		f.first = first
	}
	if last.After(f.last) {
		f.last = last
	}
}

// close fills the parts of the finding that every fold has.
func (f *fold) close(finding *schema.Finding) {
	finding.First, finding.Last, finding.Calls = f.first, f.last, f.tally.calls()
}

// tally counts calls for display. One call that two reporters saw is stored
// twice, so for each group of equal calls only the highest-ranking reporter
// counts.
type tally struct {
	groups map[tallyKey]*[4]uint64
}

type tallyKey struct {
	hash                       schema.PrincipalHash
	service, operation, tenant string
	decision                   schema.Decision
}

func (t *tally) add(u *Use) {
	if t.groups == nil {
		t.groups = map[tallyKey]*[4]uint64{}
	}
	key := tallyKey{u.Hash, u.Service, u.Operation, u.Tenant, u.Decision}
	group := t.groups[key]
	if group == nil {
		group = new([4]uint64)
		t.groups[key] = group
	}
	group[min(int(u.Reporter), len(group)-1)] += u.Calls
}

func (t *tally) calls() uint64 {
	var sum uint64
	for _, group := range t.groups {
		sum += ranked(group)
	}
	return sum
}

// ranked returns the count of the highest-ranking reporter.
func ranked(group *[4]uint64) uint64 {
	for _, n := range group {
		if n > 0 {
			return n
		}
	}
	return 0
}

// earliest keeps the selectors that can hold the earliest MaxEvidence calls:
// each selector's first call is at its From, so a selector that begins later
// than MaxEvidence others holds none of them.
type earliest struct{ list []Selector }

func (e *earliest) add(s Selector) {
	e.list = append(e.list, s)
	if len(e.list) >= 4*MaxEvidence {
		e.list = e.cut()
	}
}

// cut returns the earliest selectors in a stable order.
func (e *earliest) cut() []Selector {
	slices.SortFunc(e.list, compareSelectors)
	e.list = slices.CompactFunc(e.list, func(a, b Selector) bool { return compareSelectors(a, b) == 0 })
	return e.list[:min(len(e.list), MaxEvidence)]
}

func compareSelectors(a, b Selector) int {
	return cmp.Or(
		a.From.Compare(b.From), a.To.Compare(b.To), bytes.Compare(a.Hash[:], b.Hash[:]),
		cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Tenant, b.Tenant),
		slices.Compare(a.Decisions, b.Decisions), bytes.Compare(a.Presented[:], b.Presented[:]),
		cmp.Compare(a.Object, b.Object), cmp.Compare(a.Resource, b.Resource),
		cmp.Compare(a.Session, b.Session), cmp.Compare(a.Workload, b.Workload), a.Address.Compare(b.Address),
	)
}

// calls selects the calls of a use.
func (u *Use) calls() Selector {
	return Selector{
		Hash: u.Hash, Service: u.Service, Operation: u.Operation, Tenant: u.Tenant, HasTenant: true,
		Decisions: []schema.Decision{u.Decision}, Certain: u.Certain,
		Presented: u.Presented, HasPresented: true, Resource: u.Resource, HasResource: u.ResourceKnown,
		From: u.First, To: u.Last,
	}
}
