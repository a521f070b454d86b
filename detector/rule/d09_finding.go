package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// finding states one crossing. Only one is proof of a fault: who is at home
// outside of production acted in production. The others are odd, and compete for
// the budget.
func (r *boundaryRule) finding(c *crossing) (schema.Finding, *earliest) {
	f := r.open(BoundaryCrossing, c.home.frontier.String(), c.home.space)
	var use fold
	var what done
	var names []string
	for _, s := range c.into {
		names = append(names, s.name)
		for _, i := range s.uses {
			if u := &r.uses[i]; r.counts(s, u) {
				use.add(&u.Use, u.calls())
				what.add(&u.Use)
			}
		}
	}
	use.close(&f)
	slices.Sort(names)
	r.place(&f, c, names, &what)
	w := what.worst(r.env)
	w.holder(r.subject)

	rule := c.home.frontier == environmentFrontier && !isProduction(c.home.name) && slices.ContainsFunc(names, isProduction)
	if caller, _ := r.subject.CallerKind(); caller == callerCI || caller == callerAgent {
		// They change what they do every week, and promote what was tested.
		rule = false
	}
	if rule {
		f.Severity, f.Confidence = min(w.severity(schema.SeverityMedium, 4), schema.SeverityHigh), 0.8
	} else {
		f.Severity, f.Confidence = min(w.severity(schema.SeverityLow, 2), schema.SeverityMedium), 0.6
		f.Score = r.score(c, &use, &w)
	}
	f.Reasons = append(f.Reasons, r.subject.callerReason(),
		fmt.Sprintf("%s on %s between %s and %s", count(f.Calls, "honoured call"), count(len(use.days), "day"), stamp(f.First), stamp(f.Last)),
		w.reason(f.Severity), fmt.Sprintf("confidence %.2f: its home is learned, not declared", f.Confidence))
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential, Service: f.Service, Tenant: f.Tenant})+since(f.First),
		"scopedrift investigate "+argument(r.subject.Name))
	return f, &use.want
}

// place says where it came from and to.
func (r *boundaryRule) place(f *schema.Finding, c *crossing, names []string, what *done) {
	services := sortedKeys(what.services)
	if len(services) == 1 {
		f.Service = services[0]
		f.Environment = r.environment(f.Service)
	}
	ops := make([]string, 0, len(what.allowed))
	for op := range what.allowed {
		ops = append(ops, op.Operation+onService(op.Service))
	}
	slices.Sort(ops)
	before := fmt.Sprintf("on %s since %s", count(c.homeDays, "day"), c.home.first.UTC().Format("2006-01-02"))
	if c.home.frontier == privilegeFrontier {
		f.Title = fmt.Sprintf("%s used %s for the first time, a privileged function", r.subject.Name, some(ops, 1))
		f.Reasons = append(f.Reasons, fmt.Sprintf("it was used %s, and never for a function that administers, reads secrets or issues credentials", before),
			"neither its grant, as far as it is known, nor what was approved for it says that it may")
		f.Evidence.Usual = []string{"no privileged function " + before}
		f.Evidence.Seen = ops[:min(len(ops), 10)]
		return
	}
	kind := c.home.frontier.String()
	if c.home.frontier == tenantFrontier && len(names) == 1 {
		f.Tenant = names[0]
	}
	into := kind + " " + some(names, 3)
	if len(names) > 1 {
		into = kind + "s " + some(names, 3)
	}
	f.Title = fmt.Sprintf("%s acted in %s, although it is at home in %s", r.subject.Name, into, c.home.name)
	f.Reasons = append(f.Reasons, fmt.Sprintf("it acted in %s %s only, %s", kind, c.home.name, before))
	for _, s := range c.into {
		f.Reasons = append(f.Reasons, fmt.Sprintf("it acted in %s from %s on", s.name, stamp(s.first)))
		if len(f.Reasons) > 10 {
			f.Reasons = append(f.Reasons, fmt.Sprintf("and in %d more", len(c.into)-10))
			break
		}
	}
	if len(ops) > 0 {
		f.Reasons = append(f.Reasons, "what it did there: "+some(ops, 5))
	}
	f.Evidence.Usual = []string{fmt.Sprintf("%s %s, %s", kind, c.home.name, before)}
	for _, name := range names[:min(len(names), 10)] {
		f.Evidence.Seen = append(f.Evidence.Seen, kind+" "+name)
	}
}

// score weighs a crossing: by the rule of succession, after n days at home the
// next one is elsewhere with a chance of one in n+2.
func (r *boundaryRule) score(c *crossing, use *fold, w *weight) *schema.Score {
	first := schema.DayOf(use.first)
	return &schema.Score{
		Day: first.String(), Surprise: surprise(1 / float64(c.homeDays+2)),
		Breadth: round2(math.Log2(float64(len(c.into)))), Reach: cmp.Or(w.points, 0),
	}
}
