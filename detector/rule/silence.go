package rule

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// Silence is what can be said about a held scope that is not used.
type Silence struct {
	// Why says why its silence would mean nothing; empty if it means
	// something.
	Why string
	// Days are the observed days, Since the first day of that span.
	Days  int
	Since time.Time
	// LastUse is when it last took part in a call, zero for never.
	LastUse time.Time
	// Confidence is that it is not needed, 0..1. Bound says what so many silent
	// days mean, Caps what else bounds the confidence.
	Confidence float64
	Bound      string
	Caps       []string
	// Opens says what it opens, where that can be listed. Points weigh the
	// worst of it.
	Opens  string
	Points int
	// Coverage is that of the services where use would be seen.
	Coverage schema.Coverage
}

// Silence tells what D04 knows about one held scope, whether it is used or not.
// Call it after all uses.
func (s *Set) Silence(h compare.HeldScope) Silence {
	one := &holding{heldKey: heldKey{h.Authority, h.Scope}, entries: []compare.HeldScope{h}, from: h.From, to: h.To}
	if h.Grant != nil {
		// What was asked for may bound the scope's own times.
		one.from, one.to = h.Grant.From, h.Grant.To
	} else {
		if p := s.unused.presented[one.heldKey]; p != nil {
			one = p
		}
	}
	o := s.unused.observe(one)
	w := s.unused.weighScope(one, o.open)
	out := Silence{Why: o.why, Days: len(o.days), LastUse: s.unused.lastUse(one), Opens: o.open.reason, Points: w.points, Coverage: o.seen.Coverage}
	if o.why == "" {
		out.Since = o.start.Start()
		out.Confidence, out.Bound, out.Caps = o.confidence()
	}
	return out
}

// Presented lists the scopes that the subject's tokens presented where nothing
// is declared, sorted by authority and name. Call it after all uses.
func (s *Set) Presented() []compare.HeldScope {
	var list []compare.HeldScope
	for _, h := range s.unused.presented {
		list = append(list, h.entries...)
	}
	slices.SortFunc(list, func(a, b compare.HeldScope) int {
		return cmp.Or(cmp.Compare(a.Authority, b.Authority), cmp.Compare(a.Scope, b.Scope))
	})
	return list
}
