package rule

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Tunables of D05; what they are for stands in docs/detections/behaviour-drift.md.
const (
	// learningDays is how long a credential must have been seen before its own
	// habit counts, matureDays on how many days it must have called. Counts of
	// calls are not asked: a call stored twice must not make a finding.
	learningDays, matureDays = 14, 7
	// idleDays without a target make the next use of it new again.
	idleDays = 30
	// leastNews is how many independent new things make a finding, where none
	// of them touches secrets or rights.
	leastNews = 2
	// sensitiveWeight is how many times likelier it is worth a look that a new
	// thing touches secrets or rights (a weighted false discovery rate).
	sensitiveWeight = 5
)

// driftRule is D05: within the grant, but new for this credential.
type driftRule struct {
	base
	uses []driftUse
	// fresh says that something may be new after a learning period.
	fresh   bool
	excused excused
}

// driftUse is one judged use as far as habits care.
type driftUse struct {
	Use
	// earlier says that it lies before the window: it teaches and is no news.
	earlier bool
	// change is the approved change that covers it, nil for none.
	change *catalog.Change
}

// learns reports whether habits can be told at all: the store holds more than a
// learning period.
func (r *driftRule) learns() bool {
	return r.subject.Identifies() && !r.contract() && r.env.Now.Sub(r.env.Since) >= learningDays*24*time.Hour
}

// contract reports whether what the credential may do is agreed on with a third
// party: then D18 judges it, and what is agreed on is not drift. An agreement on
// networks or tenants alone says nothing of that.
func (r *driftRule) contract() bool {
	d := r.subject.Declared
	return d != nil && d.Kind == callerThirdParty && d.Approved != nil && len(d.Approved.Services)+len(d.Approved.Operations) > 0
}

func (r *driftRule) use(u *Use) {
	if !u.Decision.Authorised() || u.Judgement.Holding == compare.Lacks || !r.learns() {
		return // out of grant is D01's
	}
	r.take(u, false)
}

// before takes a row from before the window.
func (r *driftRule) before(row *Row) {
	if row.Decision.Authorised() && r.learns() {
		r.take(&Use{Row: *row}, true)
	}
}

func (r *driftRule) take(u *Use, earlier bool) {
	one := driftUse{Use: *u, earlier: earlier}
	one.Days = slices.Clone(u.Days)
	if !earlier && len(r.env.Catalog.Changes) > 0 {
		one.change = r.env.Changed(r.subject, r.act(u))
	}
	one.Scopes, one.Groups, one.Judgement = nil, nil, compare.Judgement{}
	if u.RouteSource == schema.RouteNone {
		one.Operation = "" // a path is no operation
	}
	r.uses = append(r.uses, one)
	r.fresh = r.fresh || !earlier && (schema.DayOf(u.First) >= schema.DayOf(r.env.Since)+learningDays || hasGap(u.Days))
}

func hasGap(days []schema.Day) bool {
	for i := 1; i < len(days); i++ {
		if days[i]-days[i-1] >= idleDays {
			return true
		}
	}
	return false
}

// wantsPopulation reports whether the rule must know what others do.
func (r *driftRule) wantsPopulation() bool { return r.fresh }

// dimensionsOf lists in what respects a kind of caller has habits: services by
// their operations; agents, CI and people change those every week and are judged
// by what they work with and what they do to it. Who may be a person is judged like
// one.
func dimensionsOf(kind string) []dimension {
	switch kind {
	case callerAgent, callerCI, callerHuman, "":
		return []dimension{services, tenants, classes}
	}
	return []dimension{services, tenants, operations}
}

// series are the days on which a target was acted on, ascending, and which of
// them teach.
type series struct {
	days   []schema.Day
	taught []schema.Day
	// uses index the rule's uses.
	uses []int
}

// before is on how many days that teach the target was acted on before a day.
func (s *series) before(day schema.Day) int {
	n, _ := slices.BinarySearch(s.taught, day)
	return n
}

// news reports whether a day's use is new: none taught it for a month, and none
// was seen for a week. What was only seen under an open high finding is new again
// later than what was allowed to teach.
func (s *series) news(i int) bool {
	d := s.days[i]
	if i > 0 && d-s.days[i-1] < weekDays {
		return false
	}
	n := s.before(d)
	return n == 0 || d-s.taught[n-1] >= idleDays
}

// habits are the series of a subject.
type habits struct {
	series map[aim]*series
	// active are the days on which it called and that teach, called all of
	// them, ascending.
	active, called []schema.Day
}

// habits folds the uses to series. What lies under an open high finding does not
// teach; it may be news, since what else a thief did is what one wants to know.
func (r *driftRule) habits(guards []guard) *habits {
	h := &habits{series: map[aim]*series{}}
	kind, _ := r.subject.CallerKind()
	dims := dimensionsOf(kind)
	for i := range r.uses {
		u := &r.uses[i]
		days := taught(guards, u)
		h.active = append(h.active, days...)
		h.called = append(h.called, u.Days...)
		for _, t := range targetsOf(r.env, u.Service, u.Operation, u.Tenant) {
			if !slices.Contains(dims, t.dimension) {
				continue
			}
			s := h.series[t]
			if s == nil {
				s = &series{}
				h.series[t] = s
			}
			s.days = append(s.days, u.Days...)
			s.taught = append(s.taught, days...)
			s.uses = append(s.uses, i)
		}
	}
	lists := []*[]schema.Day{&h.active, &h.called}
	for _, s := range h.series {
		lists = append(lists, &s.days, &s.taught)
	}
	for _, list := range lists {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return h
}

// news is one new thing on a day.
type news struct {
	aim
	day schema.Day
	// p is how probable it is by habit that one comes in a day, as rare as it is
	// (tail); users and of say how many of the peers act on it.
	p, tail   float64
	users, of int
	// since is the day of the last use before, 0 for none.
	since     schema.Day
	sensitive bool
	// worst is the operation that could do most damage, of so many points.
	worst  string
	points int
}

// newsOf finds what is new from a day on, by day.
func (r *driftRule) newsOf(h *habits, from schema.Day) []news {
	began := map[string][]schema.Day{} // of services: the days on which they were new
	var list []news
	for t, s := range h.series {
		for i, d := range s.days {
			if !s.news(i) {
				continue
			}
			if t.dimension == services {
				began[t.service] = append(began[t.service], d)
			}
			if d < from {
				continue
			}
			n := news{aim: t, day: d}
			if i > 0 {
				n.since = s.days[i-1]
			}
			list = append(list, n)
		}
	}
	list = slices.DeleteFunc(list, func(n news) bool {
		return slices.ContainsFunc(began[n.service], func(d schema.Day) bool { return r.env.partOf(n.aim, d, n.day) }) ||
			r.approved(n.aim) || r.planned(n.aim, h.series[n.aim], n.day)
	})
	slices.SortFunc(list, func(a, b news) int { return cmp.Or(int(a.day)-int(b.day), compareTargets(a.aim, b.aim)) })
	return list
}

// planned reports whether approved changes cover all that was done to a target on
// a day. Such use teaches: what was approved may stay.
func (r *driftRule) planned(t aim, s *series, d schema.Day) bool {
	var covers *catalog.Change
	for _, i := range s.uses {
		u := &r.uses[i]
		if _, used := slices.BinarySearch(u.Days, d); !used {
			continue
		}
		if u.change == nil {
			return false
		}
		covers = u.change
	}
	if covers != nil {
		n := news{aim: t}
		r.excused.add(BehaviourDrift, r.subject, n.what(), covers)
	}
	return covers != nil
}

// approved reports whether the approved purpose names the target: what was
// intended is not drift.
func (r *driftRule) approved(t aim) bool {
	d := r.subject.Declared
	if d == nil || d.Approved == nil {
		return false
	}
	list, name := d.Approved.Services, t.service
	switch t.dimension {
	case operations:
		list, name = d.Approved.Operations, t.name
	case tenants:
		list, name = d.Approved.Tenants, t.name
	case classes:
		list, name = d.Approved.Operations, t.name // a tool is an operation
	}
	return slices.ContainsFunc(list, func(pattern string) bool { return catalog.PathGlob(pattern, name) })
}
