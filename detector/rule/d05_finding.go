package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// finding writes what is new on a day.
func (r *driftRule) finding(h *habits, d *driftDay) Draft {
	f := r.open(BehaviourDrift, d.day.String())
	var gathered fold
	places := placesOf(d.list)
	for i := range r.uses {
		u := &r.uses[i]
		if !u.earlier && places.touch(r.env, u) {
			gatherSince(&gathered, u, d.day)
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
	p := d.p()
	f.Confidence = math.Round(100*min(0.9, 0.4+0.1*surprise(p))) / 100
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
	}
	f.Reasons = append(f.Reasons,
		fmt.Sprintf("so much news on one day is %s by chance, among %s acted on that day", odds(p), count(d.targets, "thing")))
	if d.sensitive() {
		f.Reasons = append(f.Reasons, "secrets or rights are touched, so one new thing is enough")
	}
	f.Reasons = append(f.Reasons, r.subject.callerReason(), w.reason(f.Severity), fmt.Sprintf("confidence %.2f: it grows with how improbable the news is", f.Confidence))
	f.Evidence.Usual = h.usual(d.day)
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

// touch reports whether a use acts on one of them.
func (p *newPlaces) touch(env *Env, u *driftUse) bool {
	for _, t := range targetsOf(env, u.Service, u.Operation, u.Tenant) {
		if slices.ContainsFunc(p.list, func(n news) bool { return n.aim == t }) {
			return true
		}
	}
	return false
}

// title says the news in one sentence.
func (r *driftRule) title(d *driftDay) string {
	list := slices.Clone(d.list)
	slices.SortStableFunc(list, func(a, b news) int {
		return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.p, b.p), compareTargets(a.aim, b.aim))
	})
	text := list[0].what()
	if n := len(list) - 1; n > 0 {
		text += " and " + count(n, "other new thing")
	}
	return fmt.Sprintf("%s did on %s what it does not do by habit: %s", r.subject.Name, d.day, text)
}

// worst are the terms of the worst thing that is new.
func (r *driftRule) worst(d *driftDay) []string {
	var points int
	var terms []string
	for i := range r.uses {
		u := &r.uses[i]
		places := placesOf(d.list)
		if _, used := slices.BinarySearch(u.Days, d.day); !used || u.Operation == "" || !places.touch(r.env, u) {
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
	return fmt.Sprintf("%s; by habit that is %s, and %s", text, odds(n.p), n.peers())
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
		if n, _ := slices.BinarySearch(s.days, day); n > 0 {
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
		lines = append(lines, [dimensions]string{"operations", "services", "tenants", "classes"}[dim]+": "+some(names, 5))
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
