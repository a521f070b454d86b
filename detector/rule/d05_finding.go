package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// finding writes what is new in a window. Its id is that of the window's last day:
// what comes later neither moves nor widens it.
func (r *driftRule) finding(h *habits, d *driftWindow) Draft {
	f := r.open(BehaviourDrift, d.day.String())
	var gathered fold
	places := placesOf(d.list)
	for i := range r.uses {
		u := &r.uses[i]
		if day, ok := places.since(r.env, u); ok && !u.earlier {
			gatherSince(&gathered, u, day)
		}
	}
	gathered.close(&f)
	f.Verdict = verdict(schema.VerdictExercised)
	if len(places.services) == 1 {
		f.Service = places.services[0]
		f.Environment = r.environment(f.Service)
	}
	if len(d.list) == 1 && d.list[0].dimension == operations {
		f.Operation = d.list[0].name
	}
	if len(places.tenants) == 1 && len(d.list) == 1 {
		f.Tenant = places.tenants[0]
	}

	var w weight
	for _, n := range d.list {
		w.points = max(w.points, n.points)
	}
	w.terms = r.worst(d)
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityMedium)
	if d.sensitive() && d.group == "" && len(d.list) >= leastNews {
		f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityHigh)
	}
	f.Confidence = math.Round(100*min(0.9, 0.4+0.1*surprise(d.chance))) / 100
	f.Score = &schema.Score{Day: d.day.String(), Surprise: surprise(d.weighted()), Breadth: round2(math.Log2(float64(len(d.list)))), Reach: w.points}

	f.Title = r.title(d)
	for i := range d.list {
		n := &d.list[i]
		f.Reasons = append(f.Reasons, n.sentence())
		f.Evidence.Seen = append(f.Evidence.Seen, fmt.Sprintf("%s: %s by habit, %s", n.what(), odds(n.p), n.peers()))
	}
	if d.group != "" {
		f.Reasons = append(f.Reasons, fmt.Sprintf("it was seen on %s before, too few for a habit of its own, so it is compared with %s", count(d.habit, "day"), d.group))
	} else {
		f.Reasons = append(f.Reasons, fmt.Sprintf("its habit is known from %s", count(d.habit, "day")))
		for _, kept := range d.kept {
			f.Reasons = append(f.Reasons, kept+", each one's first week left out")
		}
	}
	span := "on one day"
	if d.list[0].day < d.day {
		span = fmt.Sprintf("within %d days", d.day-d.list[0].day+1)
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("so much news %s, and as rare, is %s by chance", span, odds(d.chance)))
	if d.sensitive() {
		f.Reasons = append(f.Reasons, "secrets or rights are touched, so one new thing is enough")
	}
	f.Reasons = append(f.Reasons, r.subject.callerReason(), w.reason(f.Severity), fmt.Sprintf("confidence %.2f: it grows with how improbable the news is", f.Confidence))
	f.Evidence.Usual = h.usual(d.from)
	f.Next = commands(&f, callsOf(&f), "scopedrift recommend "+argument(r.subject.Name))
	return Draft{Finding: f, Want: gathered.want.cut()}
}

// gatherSince adds what of a use lies on a day or after it. A fold does not tell
// calls before from calls after, so a use that began earlier counts from the
// day's start, and with all its calls.
func gatherSince(f *fold, u *driftUse, day schema.Day) {
	if schema.DayOf(u.Last) < day {
		return
	}
	one := u.Use
	if one.First.Before(day.Start()) {
		one.First = day.Start()
	}
	f.add(&one, one.calls())
}

// newPlaces are the targets of a finding.
type newPlaces struct {
	list              []news
	services, tenants []string
}

func placesOf(list []news) newPlaces {
	p := newPlaces{list: list}
	for _, n := range list {
		if n.service != "" {
			p.services = append(p.services, n.service)
		}
		if n.dimension == tenants {
			p.tenants = append(p.tenants, n.name)
		}
	}
	p.services, p.tenants = unique(p.services), unique(p.tenants)
	return p
}

// since reports whether a use acts on one of them, and since when that is new.
func (p *newPlaces) since(env *Env, u *driftUse) (day schema.Day, ok bool) {
	for _, t := range targetsOf(env, u.Service, u.Operation, u.Tenant) {
		for i := range p.list {
			if n := &p.list[i]; n.aim == t && (!ok || n.day < day) {
				day, ok = n.day, true
			}
		}
	}
	return day, ok
}

// title says the news in one sentence.
func (r *driftRule) title(d *driftWindow) string {
	list := slices.Clone(d.list)
	slices.SortStableFunc(list, func(a, b news) int {
		return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.p, b.p), compareTargets(a.aim, b.aim))
	})
	text := list[0].what()
	if n := len(list) - 1; n > 0 {
		text += " and " + count(n, "other new thing")
	}
	when := "on " + d.day.String()
	if first := d.list[0].day; first < d.day {
		when = fmt.Sprintf("from %s to %s", first, d.day)
	}
	return fmt.Sprintf("%s did %s what it does not do by habit: %s", r.subject.Name, when, text)
}

// worst are the terms of the worst thing that is new.
func (r *driftRule) worst(d *driftWindow) []string {
	var points int
	var terms []string
	places := placesOf(d.list)
	for i := range r.uses {
		u := &r.uses[i]
		day, ok := places.since(r.env, u)
		if _, used := slices.BinarySearch(u.Days, day); !ok || !used || u.Operation == "" {
			continue
		}
		w := r.env.weigh(u.Service, u.Operation)
		if terms == nil || w.points > points || w.points == points && strings.Join(w.terms, ",") < strings.Join(terms, ",") {
			points, terms = w.points, w.terms
		}
	}
	return terms
}

// sentence says why one thing is new.
func (n *news) sentence() string {
	text := n.what() + " was never used before"
	if n.dimension == tenants {
		text = n.what() + " was never acted in before"
	}
	if n.since > 0 {
		text = fmt.Sprintf("%s was last used on %s", n.what(), n.since)
	}
	return fmt.Sprintf("%s; by habit that is %s on one day, and %s", text, odds(n.p), n.peers())
}

// peers says how many others act on it.
func (n *news) peers() string {
	return fmt.Sprintf("%d of %s had used it", n.users, count(n.of, "credential"))
}

// usual lists the habits before a day, the most frequent targets first.
func (h *habits) usual(day schema.Day) []string {
	type one struct {
		aim
		days int
	}
	byDimension := [dimensions][]one{}
	for t, s := range h.series {
		if n := s.before(day); n > 0 {
			byDimension[t.dimension] = append(byDimension[t.dimension], one{t, n})
		}
	}
	all, _ := slices.BinarySearch(h.active, day)
	var lines []string
	for dim, list := range byDimension {
		if len(list) == 0 {
			continue
		}
		slices.SortFunc(list, func(a, b one) int { return cmp.Or(cmp.Compare(b.days, a.days), compareTargets(a.aim, b.aim)) })
		names := make([]string, len(list))
		for i, o := range list {
			n := news{aim: o.aim}
			names[i] = fmt.Sprintf("%s (%d of %s)", n.what(), o.days, count(all, "day"))
		}
		lines = append(lines, dimension(dim).plural()+": "+some(names, 5))
	}
	return lines
}

// active is how many members had been seen before a day.
func (p *Population) active(day schema.Day) (n int) {
	for _, at := range p.since {
		if !at.IsZero() && at.Before(day.Start()) {
			n++
		}
	}
	return n
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
