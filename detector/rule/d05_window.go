package rule

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

func (r *driftRule) finish(out *Result) {
	people := r.env.Population
	if !r.fresh || people == nil {
		return
	}
	defer r.excused.close(out)
	guards := guardsOf(out.Drafts)
	h := r.habits(guards)
	waiting := r.newsOf(h, schema.DayOf(r.env.Window.From))
	var told []news
	for len(waiting) > 0 {
		day := waiting[0].day
		n := slices.IndexFunc(waiting, func(n news) bool { return n.day > day })
		if n < 0 {
			n = len(waiting)
		}
		// What lies a week back or more is no longer looked at together with
		// this day.
		recent := slices.DeleteFunc(told, func(n news) bool { return n.day+weekDays <= day })
		recent = append(recent, waiting[:n]...)
		waiting = waiting[n:]
		d := r.oddest(h, people, day, recent)
		told = recent
		if d == nil {
			continue
		}
		rolled := d.withoutRollouts(r, h, people, out)
		told = without(told, rolled)
		if !d.odd(r.env) {
			continue
		}
		if d.alone(r.env) {
			told = without(told, d.list) // else it may be chance, and goes on to count
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
			waiting = r.newsOf(h, day+1)
		}
	}
}

// without takes news out of a list.
func without(list, gone []news) []news {
	return slices.DeleteFunc(list, func(n news) bool {
		return slices.ContainsFunc(gone, func(g news) bool { return g.aim == n.aim && g.day == n.day })
	})
}

// driftWindow is what is new on a day, or in the week that ends with it.
type driftWindow struct {
	day, from schema.Day
	list      []news
	// group is what a young credential is compared with; empty for its own
	// habit, of so many days.
	group string
	habit int
	// chance is how probable as much news is by chance, by the better of the two
	// windows, which pays for both.
	chance float64
	// kept says of each respect of the news how often there was any before.
	kept []string
}

// oddest weighs the news of a day alone, and together with that of the week
// before that no finding told yet, and returns the window that is less probable;
// nil where neither is odd or there is nothing to weigh it by.
func (r *driftRule) oddest(h *habits, people *Population, day schema.Day, recent []news) *driftWindow {
	today := slices.DeleteFunc(slices.Clone(recent), func(n news) bool { return n.day < day })
	best := r.weigh(h, people, day, day, today)
	if len(today) < len(recent) {
		week := r.weigh(h, people, day, day-weekDays+1, recent)
		if week != nil && week.odd(r.env) && (best == nil || !best.odd(r.env) || week.chance < best.chance) {
			best = week
		}
	}
	if best == nil || !best.odd(r.env) {
		return nil
	}
	return best
}

// weigh finds out how improbable the news of a window is.
func (r *driftRule) weigh(h *habits, people *Population, day, from schema.Day, list []news) *driftWindow {
	d := &driftWindow{day: day, from: from}
	d.habit, _ = slices.BinarySearch(h.active, from)
	grown := d.habit >= matureDays && h.active[0]+learningDays <= from
	if !grown {
		group, ok := people.peers(r.subject, day)
		if !ok {
			return nil
		}
		d.group = group
	}
	for _, n := range list {
		if d.group != "" && people.pool(d.group, n.dimension, day).uses[n.aim] > 0 {
			continue // its peers do it
		}
		r.weighNews(h, &n)
		n.users, n.of, n.tail = people.users(n.aim, n.day.Start()), people.active(n.day), r.rarity(h, people, &n)
		if d.group != "" {
			n.users, n.of = 0, people.pool(d.group, n.dimension, day).members
		}
		d.list = append(d.list, n)
	}
	if len(d.list) == 0 {
		return nil
	}
	var x expectation
	if grown {
		x = r.ownPace(h, people, d)
	} else {
		x = r.peersPace(h, people, d)
	}
	d.list = slices.DeleteFunc(d.list, func(n news) bool { return x.pieces[n.dimension] == nil }) // no habit in this respect
	if len(d.list) == 0 {
		return nil
	}
	share := dayShare
	x.reserved = graveInDay
	pieces := d.pieces()
	if from < day {
		// The week asks on how many days there was news, the day how much.
		share, x.reserved, x.more = 1-dayShare, graveInWeek, 0
		for i := range pieces {
			pieces[i].tail, pieces[i].things = smallest(pieces[i].tail, pieces[i].things), 1
		}
	}
	d.chance = min(1, x.p(pieces)/share)
	return d
}

// rarity is how probable a first use is that is as rare, by what others do. A new
// service is as rare as the rarest that was done there that day, which pays for
// having been chosen.
func (r *driftRule) rarity(h *habits, people *Population, n *news) float64 {
	tail, things := people.tail(n.aim, n.day), 1
	if n.dimension != services {
		return tail
	}
	done := map[string]bool{}
	for _, i := range h.series[n.aim].uses {
		u := &r.uses[i]
		if _, used := slices.BinarySearch(u.Days, n.day); used && u.Operation != "" && !done[u.Operation] {
			done[u.Operation] = true
			tail = min(tail, people.tail(aim{operations, u.Service, u.Operation}, n.day))
			things++
		}
	}
	return smallest(tail, things)
}

// pieces are the news taken together by day and respect; where a young credential
// is compared with its peers, each thing is one.
func (d *driftWindow) pieces() []piece {
	type key struct {
		day       schema.Day
		dimension dimension
	}
	var list []piece
	at := map[key]int{}
	for _, n := range d.list {
		k := key{n.day, n.dimension}
		i, ok := at[k]
		if !ok || d.group != "" {
			at[k] = len(list)
			list = append(list, piece{n.dimension, n.tail, 1, n.sensitive})
			continue
		}
		list[i].things++
		list[i].tail = min(list[i].tail, n.tail)
		list[i].grave = list[i].grave || n.sensitive
	}
	return list
}

// ownPace is what news the window may have by the credential's own history, and
// by that of its kind.
func (r *driftRule) ownPace(h *habits, people *Population, d *driftWindow) expectation {
	var x expectation
	kind, _ := r.subject.CallerKind()
	from := h.active[0] + weekDays
	before := daysWithin(h.active, from, d.from)
	days := max(1, daysWithin(h.called, d.from, d.day+1))
	several, pieces := 0, 0
	for _, dim := range dimensionsOf(kind) {
		t := people.tempo(r.subject, dim, d.from)
		several, pieces = several+t.several, pieces+t.pieces
		own := r.piecesBefore(h, dim, from, d.from)
		if !r.acts(h, dim, d.from) {
			continue
		}
		x.pieces[dim], x.grave[dim] = t.arrivals(own, before, days, mostPieces), shareOf(t.grave, t.pieces)
		daily := t.arrivals(own, before, 1, 0)
		any := false
		for i := range d.list {
			if n := &d.list[i]; n.dimension == dim {
				n.p, any = (1-daily[0])*n.tail, true
			}
		}
		if any {
			d.kept = append(d.kept, fmt.Sprintf("new %s came to it on %d of %s, and to %s on %d of %s",
				dim.plural(), own, count(before, "day"), count(t.credentials, "credential"), t.pieces, count(t.days, "day")))
		}
	}
	x.more = shareOf(several, pieces)
	return x
}

// piecesBefore counts the days before a window on which something new taught.
func (r *driftRule) piecesBefore(h *habits, dim dimension, from, to schema.Day) int {
	days := map[schema.Day]bool{}
	for t, s := range h.series {
		if t.dimension != dim {
			continue
		}
		for i, day := range s.taught {
			if day >= from && day < to && (i == 0 || day-s.taught[i-1] >= idleDays) {
				days[day] = true
			}
		}
	}
	return len(days)
}

// acts reports whether the credential has habits in a respect: who never acted in a
// tenant has no usual ones.
func (r *driftRule) acts(h *habits, dim dimension, before schema.Day) bool {
	for t, s := range h.series {
		if t.dimension == dim && s.before(before) > 0 {
			return true
		}
	}
	return false
}

// peersPace is what a young credential may do that its grown peers do not: by the
// habit of all of them, and exact for the number of things acted on.
func (r *driftRule) peersPace(h *habits, people *Population, d *driftWindow) expectation {
	var x expectation
	var acts [dimensions]int
	for t, s := range h.series {
		acts[t.dimension] += daysWithin(s.days, d.from, d.day+1)
	}
	kind, _ := r.subject.CallerKind()
	for _, dim := range dimensionsOf(kind) {
		pool := people.pool(d.group, dim, d.day)
		if pool.habit.k == 0 || acts[dim] == 0 {
			continue
		}
		t := people.tempo(r.subject, dim, d.from)
		x.pieces[dim], x.grave[dim] = pool.habit.arrivals(acts[dim], mostPieces), shareOf(t.grave, t.pieces)
		for i := range d.list {
			if n := &d.list[i]; n.dimension == dim {
				n.p = pool.habit.fresh() * n.tail
			}
		}
	}
	return x
}

// weighNews finds out how bad the worst is that was done to a target that day.
func (r *driftRule) weighNews(h *habits, n *news) {
	for _, i := range h.series[n.aim].uses {
		u := &r.uses[i]
		if _, used := slices.BinarySearch(u.Days, n.day); !used || u.Operation == "" {
			continue
		}
		w := r.env.weigh(u.Service, u.Operation)
		if n.worst == "" || w.points > n.points || w.points == n.points && u.Operation < n.worst {
			n.worst, n.points = u.Operation, w.points
		}
		// A tenant is new, not what is done there.
		n.sensitive = n.sensitive || n.dimension != tenants && sensitive(r.env.class(u.Service, u.Operation)) && r.firstUse(h, u, n.day)
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
		i, used := slices.BinarySearch(s.days, day)
		return used && s.news(i)
	}
	return false
}

// sensitive classes give away secrets or rights.
func sensitive(c schema.Class) bool {
	return c == schema.ClassAdmin || c == schema.ClassSecret || c == schema.ClassMint
}

func (d *driftWindow) sensitive() bool {
	return slices.ContainsFunc(d.list, func(n news) bool { return n.sensitive })
}

// odd reports whether the window is worth a finding: it may pass the day's line
// for false discoveries, and has two independent new things or one that touches
// secrets or rights. Where a young credential is only compared with credentials
// of other workloads and owners, the latter.
func (d *driftWindow) odd(env *Env) bool {
	if !d.sensitive() && (len(d.list) < leastNews || d.group != "" && !closeGroup(d.group)) {
		return false
	}
	if d.from < d.day {
		// A week is given time: it fires when it needs no other discoveries
		// beside it, and not a day before with a part of its news.
		return d.alone(env)
	}
	line := FalseShare * float64(Budget(env.Active)) / float64(max(env.Active, 1))
	return d.weighted() <= line
}

// alone reports whether the window is a discovery even if it is the only one of
// its day.
func (d *driftWindow) alone(env *Env) bool {
	return d.weighted() <= FalseShare/float64(max(env.Active, 1))
}

// weighted is the chance, divided by the weight of what it is about.
func (d *driftWindow) weighted() float64 {
	if d.sensitive() {
		return d.chance / sensitiveWeight
	}
	return d.chance
}

func closeGroup(name string) bool {
	return strings.HasPrefix(name, ownerGroup) || strings.HasPrefix(name, workloadGroup)
}

// withoutRollouts takes out what half of the workload's credentials began at the
// same time, which is said once for all of them, and weighs what is left.
func (d *driftWindow) withoutRollouts(r *driftRule, h *habits, people *Population, out *Result) (rolled []news) {
	var withheld []Withheld
	rest := slices.DeleteFunc(slices.Clone(d.list), func(n news) bool {
		spread, ok := people.spread(r.subject, n.aim, n.day)
		if ok {
			rolled = append(rolled, n)
			withheld = append(withheld, Withheld{Code: BehaviourDrift, Credential: r.subject.Name, Object: n.what(),
				Why: "half or more of " + spread.whose() + " began it within a week, which is how a release spreads"})
		}
		return ok
	})
	if len(rolled) == 0 {
		return nil
	}
	if less := r.weigh(h, people, d.day, d.from, rest); less != nil {
		*d = *less
	} else {
		d.list, d.chance = nil, 1
	}
	if !d.odd(r.env) {
		out.Withheld = append(out.Withheld, withheld...)
	}
	return rolled
}

// whose names the group in a sentence.
func (s rollout) whose() string {
	if strings.HasPrefix(s.group, workloadGroup) {
		return "the credentials of " + s.group
	}
	return "the " + s.group
}

// guards keep what the day's finding is about from teaching.
func (d *driftWindow) guards() []guard {
	var list []guard
	for _, n := range d.list {
		g := guard{from: n.day, to: math.MaxUint16, service: n.service}
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
