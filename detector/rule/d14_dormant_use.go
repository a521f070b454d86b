package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Tunables of D14.
const (
	// skew is how far clocks may disagree about the end of a credential.
	skew = 120 * time.Second
	// minIdle is how many observed days without a call make a credential
	// dormant: two months, so that monthly jobs that once fail do not.
	minIdle = 60
	// wokenDays is how many days of use after a silence are shown.
	wokenDays = 7
)

// dormantRule is D14: a credential is accepted after it expired, was revoked or
// lost its owner, or after it was silent for months.
type dormantRule struct {
	base
	excused excused
	dead    deadUse
	// days are those with use of any kind, before the window too, and services
	// those that were called by their first day.
	days     map[schema.Day]struct{}
	services map[string]schema.Day
	woken    map[schema.Day]*wokenUse
}

// deadUse gathers the use of a credential that should be dead.
type deadUse struct {
	fold
	done
}

// wokenUse gathers the use after one silence.
type wokenUse struct {
	fold
	done
	silence
	// all says that there was use; rare that all of it needs scopes that are
	// declared rare, which rareWhy quotes.
	all, common bool
	rareWhy     string
}

// silence is a time without use: the days between last and next.
type silence struct {
	last, next schema.Day
	// observed are the days of it on which use would have been seen, known says
	// that the catalogue states what the logs cover.
	observed int
	known    bool
}

func (s *silence) length() int { return int(s.next) - int(s.last) - 1 }

// done are the operations that were carried out, and the services called.
type done struct {
	allowed  map[Op]struct{}
	services map[string]struct{}
}

func (d *done) add(u *Use) {
	if d.services == nil {
		d.services, d.allowed = map[string]struct{}{}, map[Op]struct{}{}
	}
	d.services[u.Service] = struct{}{}
	if u.Decision == schema.DecisionAllowed {
		d.allowed[Op{u.Service, u.Operation}] = struct{}{}
	}
}

// worst weighs the gravest operation that was carried out; of equals the first
// by name, so that its terms do not depend on chance.
func (d *done) worst(e *Env) (w weight) {
	list := make([]Op, 0, len(d.allowed))
	for op := range d.allowed {
		list = append(list, op)
	}
	slices.SortFunc(list, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	for i, op := range list {
		if one := e.weigh(op.Service, op.Operation); i == 0 || one.points > w.points {
			w = one
		}
	}
	return w
}

// death is one reason for which a credential should not work any more.
type death struct {
	at time.Time
	// title and reason say it, in the past.
	title, reason string
	// base is how bad use after it is, before what was used is weighed.
	base schema.Severity
}

// deaths lists why and when a declared credential is dead, in one order.
func deaths(c *catalog.Credential) (list []death) {
	if c == nil {
		return nil
	}
	if !c.Revoked.IsZero() {
		list = append(list, death{c.Revoked.Add(skew), "it was revoked", "the catalogue says that it was revoked by " + stamp(c.Revoked), schema.SeverityHigh})
	}
	if !c.Expires.IsZero() {
		list = append(list, death{c.Expires.Add(skew), "it expired", "the catalogue says that it expired at " + stamp(c.Expires), schema.SeverityMedium})
	}
	if !c.OwnerUntil.IsZero() {
		list = append(list, death{c.OwnerUntil.Add(skew), "its owner " + c.Owner + " left",
			fmt.Sprintf("its owner %s left by %s, and nobody took it over", c.Owner, stamp(c.OwnerUntil)), schema.SeverityLow})
	}
	return list
}

// Deaths are the times from which on use of a declared credential is use of a
// dead one, clocks that disagree allowed for. No use reaches across one of them.
func Deaths(c *catalog.Credential) (times []time.Time) {
	for _, d := range deaths(c) {
		times = append(times, d.at)
	}
	return times
}

func (r *dormantRule) use(u *Use) {
	if !r.subject.Identifies() || u.Decision == schema.DecisionUnauthenticated {
		return
	}
	r.active(&u.Row)
	if !slices.Contains(accepted, u.Decision) || !u.Certain {
		return
	}
	for _, d := range deaths(r.subject.Declared) {
		if !u.First.Before(d.at) {
			if !r.excused.use(&r.base, DormantUse, u) {
				r.dead.fold.add(u, u.calls())
				r.dead.done.add(u)
			}
			return
		}
	}
}

// active notes days with use. What failed or was not decided may have been use:
// it ends a silence, so that nothing is called dormant that was not.
func (r *dormantRule) active(u *Row) {
	if u.Decision == schema.DecisionUnauthenticated {
		return
	}
	if r.days == nil {
		r.days, r.services = map[schema.Day]struct{}{}, map[string]schema.Day{}
	}
	for _, d := range u.Days {
		r.days[d] = struct{}{}
		if first, ok := r.services[u.Service]; !ok || d < first {
			r.services[u.Service] = d
		}
	}
}

// silences returns the observed times without use that ended in the window, and
// what else must be said about those that were not observed.
func (r *dormantRule) silences() (list []silence, withheld []Withheld) {
	if !r.subject.Identifies() || !r.subject.Machine() {
		return nil, nil
	}
	days := make([]schema.Day, 0, len(r.days))
	for d := range r.days {
		days = append(days, d)
	}
	slices.Sort(days)
	from := schema.DayOf(r.env.Window.From)
	var all []silence
	for i := 1; i < len(days); i++ {
		if s := (silence{last: days[i-1], next: days[i]}); s.length() >= minIdle {
			all = append(all, s)
		}
	}
	for _, s := range all {
		if s.next < from {
			continue
		}
		if usual(all, s.length()) {
			withheld = append(withheld, Withheld{DormantUse, r.subject.Name, fmt.Sprintf("its return on %s", s.next),
				"it was silent for about as long at least three times: a job that runs a few times a year"})
			continue
		}
		if why := r.observe(&s); why != "" {
			withheld = append(withheld, Withheld{DormantUse, r.subject.Name, fmt.Sprintf("its silence before %s", s.next), why})
			continue
		}
		list = append(list, s)
	}
	return list, withheld
}

// usual reports whether at least three of the silences, itself one of them, are
// about as long as n, to a fifth.
func usual(all []silence, n int) bool {
	like := 0
	for i := range all {
		if other := all[i].length(); 5*max(other-n, n-other) <= n {
			like++
		}
	}
	return like >= 3
}

// observe counts the days of a silence on which use would have been seen: the
// services that were called before it were covered on them, or, where the
// catalogue does not say what is covered, the logs that carry them said
// anything. It returns why the silence means nothing, if it does.
func (r *dormantRule) observe(s *silence) string {
	if incomplete := r.env.Coverage.Incomplete(); len(incomplete) > 0 {
		return strings.Join(incomplete, "; ")
	}
	var services []string
	for _, name := range sortedKeys(r.services) {
		if r.services[name] <= s.last {
			services = append(services, name)
		}
	}
	var days []schema.Day
	days, s.known = r.env.Coverage.spoke(services)
	for _, d := range days {
		if d > s.last && d < s.next {
			s.observed++
		}
	}
	if s.observed < minIdle {
		return fmt.Sprintf("fewer than %d days of it were observed", minIdle)
	}
	return ""
}

// spoke returns the days, ascending, on which a call to any of the services would
// have been seen, and whether the catalogue states that.
func (c *Coverage) spoke(services []string) (days []schema.Day, known bool) {
	seen := c.All(services)
	if seen.Known {
		for i, d := range seen.Observed {
			if seen.share[i] >= minCoverage {
				days = append(days, d)
			}
		}
		return days, true
	}
	for d := int(c.from); d <= int(c.to); d++ {
		if !slices.ContainsFunc(services, func(name string) bool {
			for kind := range c.carriers[name] {
				if _, ok := c.byType[kind][schema.Day(d)]; ok {
					return false
				}
			}
			return true
		}) {
			days = append(days, schema.Day(d))
		}
	}
	return days, false
}

// Woken returns the windows after silences of the subject whose use D14 must see
// by itself. Call it after all uses and what is earlier.
func (s *Set) Woken() (list []schema.Window) {
	silences, _ := s.dormant.silences()
	for _, one := range silences {
		w := schema.Window{From: one.next.Start(), To: (one.next + wokenDays).Start()}
		if w.To.After(s.env.Window.To) {
			w.To = s.env.Window.To
		}
		if s.dormant.woken == nil {
			s.dormant.woken = map[schema.Day]*wokenUse{}
		}
		s.dormant.woken[one.next] = &wokenUse{silence: one}
		list = append(list, w)
	}
	return list
}

// Waking takes use of one of the windows of Woken.
func (s *Set) Waking(w schema.Window, u *Use) { s.dormant.waking(w, u) }

func (r *dormantRule) waking(w schema.Window, u *Use) {
	one := r.woken[schema.DayOf(w.From)]
	if one == nil || !slices.Contains(accepted, u.Decision) || !u.Certain || r.excused.use(&r.base, DormantUse, u) {
		return
	}
	one.all = true
	if why := r.env.rare(&u.Judgement); why == "" {
		one.common = true
	} else if one.rareWhy == "" || why < one.rareWhy {
		one.rareWhy = why
	}
	one.fold.add(u, u.calls())
	one.done.add(u)
}

// rare returns why what an operation needs is declared rare, or nothing if it is
// not: every alternative must contain a scope that is.
func (e *Env) rare(j *compare.Judgement) (why string) {
	for i := range j.Demand.Alternatives {
		one := ""
		for _, name := range j.Demand.Alternatives[i].Scopes {
			one = cmp.Or(one, e.Catalog.Scopes[name].Rare)
		}
		if one == "" {
			return ""
		}
		why = cmp.Or(why, one)
	}
	return why
}

func (r *dormantRule) finish(out *Result) {
	_, withheld := r.silences()
	out.Withheld = append(out.Withheld, withheld...)
	var late *wokenUse
	for _, day := range sortedDays(r.woken) {
		w := r.woken[day]
		switch {
		case !w.all:
		case !w.common:
			out.Withheld = append(out.Withheld, Withheld{DormantUse, r.subject.Name, fmt.Sprintf("its return on %s", day),
				"what it did needs only what is declared rare: " + w.rareWhy})
		case r.dead.tally.groups != nil && !w.first.Before(r.dead.first):
			late = w // the finding about the dead credential says it
		default:
			f := r.awake(w)
			out.Drafts = append(out.Drafts, Draft{Finding: f, Want: w.want.cut()})
		}
	}
	if r.dead.tally.groups != nil {
		out.Drafts = append(out.Drafts, Draft{Finding: r.undead(late), Want: r.dead.want.cut()})
	}
	r.excused.close(out)
}

func sortedDays[V any](set map[schema.Day]V) []schema.Day {
	days := make([]schema.Day, 0, len(set))
	for d := range set {
		days = append(days, d)
	}
	slices.Sort(days)
	return days
}

// undead is the finding about a credential that should not work any more.
func (r *dormantRule) undead(late *wokenUse) schema.Finding {
	f := r.open(DormantUse)
	r.dead.fold.close(&f)
	r.where(&f, &r.dead.done)
	var titles []string
	from := schema.SeverityLow
	for _, d := range deaths(r.subject.Declared) {
		if r.dead.last.Before(d.at) {
			continue
		}
		titles = append(titles, d.title)
		f.Reasons = append(f.Reasons, d.reason)
		from = max(from, d.base)
	}
	f.Title = fmt.Sprintf("%s is still accepted%s, although %s", r.subject.Name, onService(f.Service), strings.Join(titles, " and "))
	if late != nil {
		f.Reasons = append(f.Reasons, late.silence.reason())
	}
	if d := r.subject.Declared; d.MaxTokenLifetime > 0 && !d.Revoked.IsZero() && r.dead.last.Before(d.Revoked.Add(d.MaxTokenLifetime)) {
		f.Reasons = append(f.Reasons, fmt.Sprintf("tokens issued before may live for %s, and this may be one of them: then tokens are not checked against the revocation", span(d.MaxTokenLifetime)))
	}
	w := r.dead.worst(r.env)
	// What kind of end it was says more than one step of what was done.
	f.Severity = w.severity(from, 3)
	f.Confidence = 0.95
	r.tell(&f, &r.dead.fold, &w, "what the catalogue says is certain, and the calls were accepted")
	return f
}

// awake is the finding about use after a long silence.
func (r *dormantRule) awake(one *wokenUse) schema.Finding {
	f := r.open(DormantUse, "idle", one.next.String())
	one.fold.close(&f)
	r.where(&f, &one.done)
	f.Title = fmt.Sprintf("%s is used again%s after %s of silence", r.subject.Name, onService(f.Service), count(one.length(), "day"))
	f.Reasons = append(f.Reasons, one.silence.reason())
	w := one.worst(r.env)
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityHigh)
	f.Confidence = 0.85
	why := "the catalogue states what the logs cover, and the silence lies in it"
	if !one.known {
		f.Confidence = 0.5
		why = "the catalogue does not say what the logs cover, so the silence holds as far as these logs show"
		f.Severity = min(f.Severity, schema.SeverityMedium)
		w.terms = append(w.terms, "not more than medium while coverage is unknown")
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("shown is what it did within %s of its return", count(wokenDays, "day")), r.subject.callerReason())
	f.Evidence.Usual = []string{fmt.Sprintf("no use from %s to %s", one.silence.last+1, one.next-1)}
	r.tell(&f, &one.fold, &w, why)
	return f
}

func (s *silence) reason() string {
	return fmt.Sprintf("last used on %s, and then not until %s: %s, of which %d were observed", s.last, s.next, count(s.length(), "day"), s.observed)
}

// where fills in the services that were called.
func (r *dormantRule) where(f *schema.Finding, d *done) {
	services := sortedKeys(d.services)
	if len(services) == 1 {
		f.Service = services[0]
		f.Environment = r.environment(f.Service)
	}
	for op := range d.allowed {
		f.Evidence.Seen = append(f.Evidence.Seen, op.Operation+onService(op.Service))
	}
	slices.Sort(f.Evidence.Seen)
	if more := len(f.Evidence.Seen) - 10; more > 0 {
		f.Evidence.Seen = append(f.Evidence.Seen[:10], fmt.Sprintf("and %d more", more))
	}
}

// tell ends the reasons.
func (r *dormantRule) tell(f *schema.Finding, use *fold, w *weight, why string) {
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s on %s between %s and %s", count(f.Calls, "accepted call"), count(len(use.days), "day"), stamp(f.First), stamp(f.Last)),
		w.reason(f.Severity), fmt.Sprintf("confidence %.2f: %s", f.Confidence, why))
	f.Next = commands(f, callsOf(&schema.Finding{Credential: f.Credential})+since(f.First), "scopedrift recommend "+argument(r.subject.Name))
}
