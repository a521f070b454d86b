package rule

import (
	"fmt"
	"math"
	"slices"
	"strings"
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
// party: then D18 judges it, and what is agreed on is not drift.
func (r *driftRule) contract() bool {
	d := r.subject.Declared
	return d != nil && d.Kind == callerThirdParty && d.Approved != nil
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

// series are the days on which a target was acted on, ascending.
type series struct {
	days []schema.Day
	// uses index the rule's uses.
	uses []int
}

// habits are the series of a subject, without what must not teach.
type habits struct {
	series map[aim]*series
	// active are the days on which it called, ascending.
	active []schema.Day
}

// habits folds the uses to series. What lies under an open high finding is left
// out: it neither teaches nor is it news, since it is reported already.
func (r *driftRule) habits(guards []guard) *habits {
	h := &habits{series: map[aim]*series{}}
	kind, _ := r.subject.CallerKind()
	dims := dimensionsOf(kind)
	for i := range r.uses {
		u := &r.uses[i]
		days := taught(guards, u)
		h.active = append(h.active, days...)
		if len(days) == 0 {
			continue
		}
		for _, t := range targetsOf(r.env, u.Service, u.Operation, u.Tenant) {
			if !slices.Contains(dims, t.dimension) {
				continue
			}
			s := h.series[t]
			if s == nil {
				s = &series{}
				h.series[t] = s
			}
			s.days = append(s.days, days...)
			s.uses = append(s.uses, i)
		}
	}
	slices.Sort(h.active)
	h.active = slices.Compact(h.active)
	for _, s := range h.series {
		slices.Sort(s.days)
		s.days = slices.Compact(s.days)
	}
	return h
}

// news is one new thing on a day.
type news struct {
	aim
	// p is how probable it is by habit; users and of say how many of the peers
	// act on it.
	p float64
	// first is the same, given the day's other news before it.
	first
	users, of int
	// since is the day of the last use before, 0 for none.
	since     schema.Day
	sensitive bool
	// worst is the operation that could do most damage, of so many points.
	worst  string
	points int
}

// newsByDay finds what is new on which day of the window.
func (r *driftRule) newsByDay(h *habits) (days []schema.Day, byDay map[schema.Day][]news) {
	byDay = map[schema.Day][]news{}
	first := schema.DayOf(r.env.Window.From)
	for t, s := range h.series {
		for i, d := range s.days {
			if d < first || i > 0 && d-s.days[i-1] < idleDays || r.approved(t) || r.planned(t, s, d) {
				continue
			}
			n := news{aim: t}
			if i > 0 {
				n.since = s.days[i-1]
			}
			byDay[d] = append(byDay[d], n)
		}
	}
	for d, list := range byDay {
		days = append(days, d)
		slices.SortFunc(list, func(a, b news) int { return compareTargets(a.aim, b.aim) })
	}
	slices.Sort(days)
	return days, byDay
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

func (r *driftRule) finish(out *Result) {
	people := r.env.Population
	if !r.fresh || people == nil {
		return
	}
	defer r.excused.close(out)
	guards := guardsOf(out.Drafts)
	h := r.habits(guards)
	days, byDay := r.newsByDay(h)
	for len(days) > 0 {
		day := days[0]
		days = days[1:]
		d := r.day(h, people, day, byDay[day])
		if d == nil || !d.odd(r.env) || !d.withoutRollouts(r, people, out) {
			continue
		}
		draft := r.finding(h, d)
		if draft.Finding.First.IsZero() {
			continue // all of it happened on the same day, before the window
		}
		out.Drafts = append(out.Drafts, draft)
		if draft.Finding.Severity >= schema.SeverityHigh {
			// What this finding is about does not teach, from now on.
			guards = append(guards, d.guards()...)
			h = r.habits(guards)
			later, all := r.newsByDay(h)
			byDay = all
			days = slices.DeleteFunc(later, func(x schema.Day) bool { return x <= day })
		}
	}
}

// driftDay is what is new on one day.
type driftDay struct {
	day  schema.Day
	list []news
	// targets is how many targets were acted on that day.
	targets int
	// group is what a young credential is compared with; empty for its own
	// habit, of so many days.
	group string
	habit int
}

// day weighs what is new on a day; nil where there is nothing to weigh it by.
func (r *driftRule) day(h *habits, people *Population, day schema.Day, list []news) *driftDay {
	d := &driftDay{day: day}
	grown, _ := slices.BinarySearch(h.active, day)
	d.habit = grown
	if grown < matureDays || h.active[0]+learningDays > day {
		group, ok := people.peers(r.subject, day)
		if !ok {
			return nil
		}
		d.group = group
	}
	whole := map[string]bool{}
	for _, n := range list {
		if n.dimension == services {
			whole[n.service] = true
		}
	}
	own := map[dimension]*habit{}
	for t, s := range h.series {
		at, used := slices.BinarySearch(s.days, day)
		if used && !t.within(whole) {
			d.targets++
		}
		if own[t.dimension] == nil {
			own[t.dimension] = &habit{}
		}
		own[t.dimension].add(at)
	}
	before := [dimensions]int{}
	for _, n := range list {
		r.weighNews(h, &n, day)
		model, peers := *own[n.dimension], people.users(n.aim, day.Start())
		n.users, n.of = peers, people.active(day)
		if d.group != "" {
			pool := people.pool(d.group, n.dimension, day)
			if pool.uses[n.aim] > 0 {
				continue // its peers do it
			}
			model = pool.habit
			n.users, n.of = 0, pool.members
		}
		if model.k == 0 {
			continue // no habit in this respect
		}
		if n.within(whole) {
			// Whatever is done at a new service is new: that is one piece of news.
			continue
		}
		n.first = first{model.freshAfter(before[n.dimension]), people.tail(n.aim, day)}
		n.p = model.fresh() * n.tail
		before[n.dimension]++
		d.list = append(d.list, n)
	}
	return d
}

// within reports whether a target is something done at one of these services.
func (t aim) within(services map[string]bool) bool {
	return (t.dimension == operations || t.dimension == classes) && services[t.service]
}

// weighNews finds out how bad the worst is that was done to a target that day.
func (r *driftRule) weighNews(h *habits, n *news, day schema.Day) {
	for _, i := range h.series[n.aim].uses {
		u := &r.uses[i]
		if _, used := slices.BinarySearch(u.Days, day); !used || u.Operation == "" {
			continue
		}
		w := r.env.weigh(u.Service, u.Operation)
		if n.worst == "" || w.points > n.points || w.points == n.points && u.Operation < n.worst {
			n.worst, n.points = u.Operation, w.points
		}
		// A tenant is new, not what is done there.
		n.sensitive = n.sensitive || n.dimension != tenants && sensitive(r.env.class(u.Service, u.Operation)) && r.firstUse(h, u, day)
	}
}

// firstUse reports whether the operation, too, is not one of the credential's
// habits: reading a secret as every day, in a new place, is that place's news.
func (r *driftRule) firstUse(h *habits, u *driftUse, day schema.Day) bool {
	for t, s := range h.series {
		if t.service != u.Service || t.dimension != operations && t.dimension != classes {
			continue
		}
		if t.dimension == operations && t.name != u.Operation || t.dimension == classes && t.name != classOrTool(r.env, u.Service, u.Operation) {
			continue
		}
		at, _ := slices.BinarySearch(s.days, day)
		return at == 0 || day-s.days[at-1] >= idleDays
	}
	return false
}

// sensitive classes give away secrets or rights.
func sensitive(c schema.Class) bool {
	return c == schema.ClassAdmin || c == schema.ClassSecret || c == schema.ClassMint
}

// p is how probable so much news is by chance.
func (d *driftDay) p() float64 {
	list := make([]first, len(d.list))
	for i := range d.list {
		list[i] = d.list[i].first
	}
	return combined(list, d.targets)
}

func (d *driftDay) sensitive() bool {
	return slices.ContainsFunc(d.list, func(n news) bool { return n.sensitive })
}

// odd reports whether the day is worth a finding: it may pass the day's line for
// false discoveries, and has two independent new things or one that touches
// secrets or rights. Where a young credential is only compared with credentials
// of other workloads and owners, the latter.
func (d *driftDay) odd(env *Env) bool {
	if !d.sensitive() && (len(d.list) < leastNews || d.group != "" && !closeGroup(d.group)) {
		return false
	}
	line := FalseShare * float64(Budget(env.Active)) / float64(max(env.Active, 1))
	return d.weighted() <= line
}

// weighted is p, divided by the weight of what it is about.
func (d *driftDay) weighted() float64 {
	if d.sensitive() {
		return d.p() / sensitiveWeight
	}
	return d.p()
}

func closeGroup(name string) bool {
	return strings.HasPrefix(name, ownerGroup) || strings.HasPrefix(name, workloadGroup)
}

// withoutRollouts takes out what half of the workload's credentials began at the
// same time, says so once for all of them, and reports whether what is left is
// still odd.
func (d *driftDay) withoutRollouts(r *driftRule, people *Population, out *Result) bool {
	var rolled []Withheld
	d.list = slices.DeleteFunc(d.list, func(n news) bool {
		spread, ok := people.spread(r.subject, n.aim, d.day)
		if ok {
			rolled = append(rolled, Withheld{Code: BehaviourDrift, Credential: r.subject.Name, Object: n.what(),
				Why: "half or more of " + spread.whose() + " began it within a week, which is how a release spreads"})
		}
		return ok
	})
	if d.odd(r.env) {
		return true
	}
	out.Withheld = append(out.Withheld, rolled...)
	return false
}

// whose names the group in a sentence.
func (s rollout) whose() string {
	if strings.HasPrefix(s.group, workloadGroup) {
		return "the credentials of " + s.group
	}
	return "the " + s.group
}

// guards keep what the day's finding is about from teaching.
func (d *driftDay) guards() []guard {
	var list []guard
	for _, n := range d.list {
		g := guard{from: d.day, to: math.MaxUint16, service: n.service}
		switch n.dimension {
		case operations:
			g.operation = n.name
		case tenants:
			g.tenant = n.name
		}
		list = append(list, g)
	}
	return list
}

// what names a new thing.
func (n *news) what() string {
	switch n.dimension {
	case services:
		if n.worst != "" {
			return "service " + n.service + " with " + n.worst
		}
		return "service " + n.service
	case tenants:
		return "tenant " + n.name
	case classes:
		if !strings.Contains(n.name, " ") { // a tool's name has one
			return "class " + n.name + onService(n.service)
		}
	}
	return n.name + onService(n.service)
}

// odds writes a probability as people say it.
func odds(p float64) string {
	if p >= 0.1 {
		return fmt.Sprintf("%.0f %%", 100*p)
	}
	n := 1 / p
	if n >= 1e6 {
		return "less than 1 in a million"
	}
	step := math.Pow(10, math.Floor(math.Log10(n))-1)
	return fmt.Sprintf("1 in %.0f", math.Round(n/step)*step)
}
