package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// unusedRule is D04: a scope is held and was not used over an observed, covered
// window. It would rather be silent than wrong: every call that was not surely
// refused counts as use, whatever became of it, and what could not have been
// seen is withheld with the reason.
type unusedRule struct {
	base
	used      map[exercise]*lastUse
	active    daySet
	groups    map[string]struct{}
	presented map[heldKey]*holding
	tally     tally
}

// exercise is what tells one use from another as far as scopes go.
type exercise struct {
	kind                       schema.CredentialKind
	service, operation, tenant string
}

// lastUse is when an operation was last called in a way that may have needed a
// scope.
type lastUse struct {
	request    compare.Request
	last       time.Time
	unmapped   bool
	authorised bool
}

// heldKey is the object of D04.
type heldKey struct{ authority, scope string }

// holding is one held scope, over all entries that give it.
type holding struct {
	heldKey
	entries     []compare.HeldScope
	from, to    time.Time
	sources     map[string]struct{}
	conditional bool
	presented   bool
	// denied says that a deny entry refuses it, whatever gives it.
	denied bool
	// days are those on which tokens presented it, if presented.
	days daySet
}

func (r *unusedRule) use(u *Use) {
	switch u.Decision {
	case schema.DecisionDenied, schema.DecisionUnauthenticated:
		return
	}
	if r.used == nil {
		r.used, r.active, r.groups = map[exercise]*lastUse{}, daySet{}, map[string]struct{}{}
		r.presented = map[heldKey]*holding{}
	}
	for _, d := range u.Days {
		r.active[d] = struct{}{}
	}
	for _, g := range u.Groups {
		r.groups[g] = struct{}{}
	}
	r.present(u)
	key := exercise{u.Principal.Kind, u.Service, u.Operation, ""}
	if r.byTenant(u.Service) {
		key.tenant = u.Tenant
	}
	l := r.used[key]
	if l == nil {
		l = &lastUse{request: compare.Request{Declared: r.subject.Declared, Kind: u.Principal.Kind, Service: u.Service,
			Operation: u.Operation, Tenant: key.tenant, RouteSource: u.RouteSource, Groups: u.Groups, Time: u.First}}
		r.used[key] = l
	}
	if u.Last.After(l.last) {
		// Held at the end of the window is what counts, so the latest use is
		// the one that a grant must cover.
		l.last, l.request.Time = u.Last, u.Last
	}
	if u.Decision.Authorised() {
		l.authorised = true
		l.unmapped = l.unmapped || u.Judgement.Demand.State == schema.DemandUnmapped
	}
	r.tally.add(u)
}

// byTenant reports whether a grant may depend on the tenant of a call.
func (r *unusedRule) byTenant(service string) bool {
	if s := r.env.Catalog.ServiceNamed(service); s != nil && s.Dialect == schema.DialectKubernetes {
		return true
	}
	d := r.subject.Declared
	return d != nil && slices.ContainsFunc(d.Grants, func(g schema.Grant) bool { return g.Namespaces != nil })
}

// present notes the scopes that a token presented where nothing is declared.
func (r *unusedRule) present(u *Use) {
	s := r.env.Catalog.ServiceNamed(u.Service)
	if s == nil || s.Grant == schema.GrantDeclared || len(u.Scopes) == 0 || r.declares(s.Authority) {
		return
	}
	for _, scope := range u.Scopes {
		key := heldKey{s.Authority, scope}
		h := r.presented[key]
		if h == nil {
			h = &holding{heldKey: key, presented: true, days: daySet{}, from: u.First, sources: map[string]struct{}{"its token": {}},
				entries: []compare.HeldScope{{Authority: s.Authority, Scope: scope, Dialect: s.Dialect}}}
			r.presented[key] = h
		}
		if u.First.Before(h.from) {
			h.from = u.First
		}
		for _, d := range u.Days {
			h.days[d] = struct{}{}
		}
	}
}

// declares reports whether the catalogue states what the credential itself
// holds at the authority.
func (r *unusedRule) declares(authority string) bool {
	d := r.subject.Declared
	return d != nil && slices.ContainsFunc(d.Grants, func(g schema.Grant) bool {
		return g.Authority == "" || g.Authority == authority
	})
}

// held returns the scopes held at the end of the window, in a stable order.
func (r *unusedRule) held(out *Result) []*holding {
	byKey := map[heldKey]*holding{}
	for _, h := range r.env.Compare.Held(r.subject.Declared, nil, r.env.Window) {
		if h.Group != "" {
			continue
		}
		key := heldKey{h.Authority, h.Scope}
		one := byKey[key]
		if one == nil {
			one = &holding{heldKey: key, from: h.From, to: h.To, conditional: true, sources: map[string]struct{}{}}
			byKey[key] = one
		}
		one.entries = append(one.entries, h)
		one.denied = one.denied || h.Denied
		one.conditional = one.conditional && h.Conditional
		if h.From.Before(one.from) {
			one.from = h.From
		}
		if h.To.IsZero() || !one.to.IsZero() && h.To.After(one.to) {
			one.to = h.To
		}
		if h.Grant != nil && h.Grant.Source != "" {
			one.sources[h.Grant.Source] = struct{}{}
		}
	}
	if len(byKey) == 0 && len(r.groups) > 0 && r.subject.Declared == nil && len(r.presented) == 0 {
		out.Withheld = append(out.Withheld, Withheld{UnusedScope, r.subject.Name, "all its scopes",
			"it holds them only through groups, and other members may use them"})
	}
	for key, h := range r.presented {
		if byKey[key] == nil {
			byKey[key] = h
		}
	}
	list := make([]*holding, 0, len(byKey))
	for _, h := range byKey {
		if h.to.IsZero() || !h.to.Before(r.env.Window.To) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *holding) int {
		return cmp.Or(cmp.Compare(a.authority, b.authority), cmp.Compare(a.scope, b.scope))
	})
	return list
}

func (r *unusedRule) finish(out *Result) {
	if !r.subject.Identifies() {
		return
	}
	for _, h := range r.held(out) {
		object := "scope " + h.scope
		if h.authority != "" {
			object += " at " + h.authority
		}
		finding, why := r.judge(h)
		if why != "" {
			out.Withheld = append(out.Withheld, Withheld{UnusedScope, r.subject.Name, object, why})
		}
		if finding != nil {
			out.Drafts = append(out.Drafts, Draft{Finding: *finding})
		}
	}
}

// judge says that a scope is unused, or why that cannot be said; neither where
// it is used.
func (r *unusedRule) judge(h *holding) (*schema.Finding, string) {
	last := r.lastUse(h)
	if !last.IsZero() && schema.DayOf(last) >= r.horizon() {
		return nil, ""
	}
	if h.denied {
		return nil, "a deny entry of its own refuses it, so that it is not held"
	}
	o := r.observe(h)
	if o.why != "" {
		return nil, o.why
	}
	f := r.finding(h, o, last)
	return &f, ""
}

// horizon is the first day on which use still matters.
func (r *unusedRule) horizon() schema.Day {
	first, end := schema.DayOf(r.env.Window.From), schema.DayOf(r.env.Window.To.Add(-time.Microsecond))
	return schema.Day(max(int(first), int(end)-r.env.Horizon+1))
}

// observation is how well use of a held scope would have been seen.
type observation struct {
	// why says why nothing can be said; empty if it can.
	why  string
	open unlock
	seen Seen
	// days are those observed, from start on.
	days     []schema.Day
	start    schema.Day
	unmapped []string
}

// observe tells whether silence of the scope would mean something.
func (r *unusedRule) observe(h *holding) (o observation) {
	if rare := r.env.Catalog.Scopes[h.scope].Rare; rare != "" {
		o.why = "it is declared rare: " + rare
		return o
	}
	if incomplete := r.env.Coverage.Incomplete(); len(incomplete) > 0 {
		o.why = strings.Join(incomplete, "; ")
		return o
	}
	o.open = r.env.opens(r.subject, h)
	if o.why = o.open.why; o.why != "" {
		return o
	}
	var authorised int
	if o.unmapped, authorised = r.unmapped(o.open.services); len(o.unmapped) > 0 && 2*len(o.unmapped) >= authorised {
		o.why = fmt.Sprintf("of its %s there, the demand of %d is unmapped, and may be this scope", count(authorised, "operation"), len(o.unmapped))
		return o
	}
	end := schema.DayOf(r.env.Window.To.Add(-time.Microsecond))
	from := max(r.horizon(), schema.DayOf(later(h.from, r.issued(), r.env.Window.From)))
	o.seen = r.env.Coverage.All(o.open.services)
	o.days, o.start = o.seen.Tail(from, end, minCoverage)
	if h.presented {
		o.days = slices.DeleteFunc(slices.Clone(o.days), func(d schema.Day) bool { _, ok := h.days[d]; return !ok })
	}
	switch {
	case len(o.days) >= r.env.MinDays:
	case o.seen.Known && len(o.seen.Observed) >= r.env.MinDays && !h.presented:
		o.why = fmt.Sprintf("the days since %s were not seen to %.0f %% over %d days: %s", from, 100*minCoverage, r.env.MinDays,
			cmp.Or(strings.Join(o.seen.Holes, "; "), "it is held too short a time"))
	case len(o.seen.Observed) == 0 && o.seen.Known:
		o.why = cmp.Or(strings.Join(o.seen.Holes, "; "), "no call to "+some(o.open.services, 3)+" was seen")
	case len(o.seen.Observed) == 0:
		o.why = "no call to " + some(o.open.services, 3) + " was seen"
	case h.presented:
		o.why = fmt.Sprintf("its token presented it on %s only, and %d are wanted", count(len(o.days), "observed day"), r.env.MinDays)
	default:
		o.why = fmt.Sprintf("only %s since %s, and %d are wanted", count(len(o.days), "observed day"), from, r.env.MinDays)
	}
	return o
}

// minCoverage is the share of the window's traffic that must have been seen.
const minCoverage = 0.95

// lastUse returns when the scope last took part in a call.
func (r *unusedRule) lastUse(h *holding) (last time.Time) {
	for _, u := range r.used {
		if !u.last.After(last) {
			continue
		}
		for i := range h.entries {
			if r.env.Compare.Uses(h.entries[i], &u.request) {
				last = u.last
				break
			}
		}
	}
	return last
}

// unmapped returns the subject's operations at the services whose demand is
// not known, and how many authorised ones there are in all.
func (r *unusedRule) unmapped(services []string) (names []string, authorised int) {
	for key, u := range r.used {
		if !u.authorised || !slices.Contains(services, key.service) {
			continue
		}
		authorised++
		if u.unmapped {
			names = append(names, key.operation+onService(key.service))
		}
	}
	return unique(names), authorised
}

func (r *unusedRule) issued() time.Time {
	if r.subject.Declared == nil {
		return time.Time{}
	}
	return r.subject.Declared.Issued
}

func (r *unusedRule) finding(h *holding, o observation, last time.Time) schema.Finding {
	f := r.open(UnusedScope, h.authority, h.scope)
	f.Scope = h.scope
	f.Verdict = verdict(schema.VerdictDormant)
	if len(o.open.services) == 1 {
		f.Service = o.open.services[0]
		f.Environment = r.environment(f.Service)
	}
	f.First, f.Last = o.start.Start(), r.env.Now
	coverage := o.seen.Coverage
	f.Evidence.Coverage = &coverage
	f.Evidence.Granted = []string{h.scope}
	days := len(o.days)
	asFar := ""
	if !o.seen.Known {
		asFar = ", as far as these logs show"
	}
	f.Title = fmt.Sprintf("%s holds %s%s and has not used it on %s%s", r.subject.Name, h.scope, atAuthority(h.authority), count(days, "observed day"), asFar)

	f.Reasons = append(f.Reasons, r.since(h), r.silence(days, last))
	if o.open.reason != "" {
		f.Reasons = append(f.Reasons, o.open.reason)
	}
	if h.conditional {
		f.Reasons = append(f.Reasons, "the grant is conditional, which does not matter here: no call would have needed it")
	}
	w := r.weighScope(h, o.open)
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityHigh)
	confidence, bound, caps := o.confidence()
	f.Confidence = confidence
	f.Reasons = append(f.Reasons, w.reason(f.Severity),
		fmt.Sprintf("confidence %.2f: silent for %s, %s; %s", confidence, count(days, "day"), bound, strings.Join(caps, "; ")))
	f.Next = commands(&f, "scopedrift recommend "+argument(r.subject.Name), callsOf(&schema.Finding{Credential: f.Credential, Service: f.Service}))
	return f
}

// since says how long it is held and who says so.
func (r *unusedRule) since(h *holding) string {
	text := "held all through the window"
	if h.from.After(r.env.Window.From) {
		text = "held since " + h.from.UTC().Format(time.DateOnly)
	}
	if len(h.sources) > 0 {
		text += ", says " + some(sortedKeys(h.sources), 3)
	}
	return text
}

// silence says what was and was not seen.
func (r *unusedRule) silence(days int, last time.Time) string {
	text := fmt.Sprintf("no call that needs it on %s", count(days, "observed day"))
	if len(r.active) == 0 {
		text += "; the credential itself was not seen at all"
	} else {
		text += fmt.Sprintf("; the credential called on %s", count(len(r.active), "day"))
	}
	if last.IsZero() {
		return text + "; no use in all the window"
	}
	return text + "; last used " + stamp(last)
}

// weighScope weighs what a held scope lets its holder do.
func (r *unusedRule) weighScope(h *holding, open unlock) weight {
	w := weight{points: open.points, terms: slices.Clone(open.terms)}
	if s := r.env.Catalog.Scopes[h.scope].Sensitivity; s > 0 {
		w.points = max(w.points, sensitivityPoints(s))
		w.terms = append(w.terms, fmt.Sprintf("scope sensitivity %d of 4", s))
	}
	for _, name := range open.services {
		if isProduction(r.environment(name)) {
			w.add(1, "production")
			break
		}
	}
	w.holder(r.subject)
	return w
}

// confidence is by the rule of three: with no use on D independent days, the
// scope is needed on at most about 3/D of the days (95 % bound). Calls are not
// independent, days nearly are. caps say what else bounds it.
func (o *observation) confidence() (c float64, bound string, caps []string) {
	days := len(o.days)
	rate := math.Min(1, 1-math.Pow(0.05, 1/float64(days)))
	c = 1 - rate
	bound = fmt.Sprintf("so it is needed on fewer than 1 day in %.0f (95 %% bound)", math.Floor(1/rate))
	if o.seen.Known {
		caps = append(caps, fmt.Sprintf("the logs cover the window to at least %.0f %%", 100*minCoverage))
	} else {
		c = math.Min(c, 0.3)
		caps = append(caps, "at most 0.30, since it is not known what the logs cover")
	}
	if len(o.unmapped) > 0 {
		c = math.Min(c, 0.5)
		caps = append(caps, fmt.Sprintf("at most 0.50, since it may serve operations whose demand is unmapped: %s", some(o.unmapped, 3)))
	}
	return round(c), bound, caps
}

func atAuthority(name string) string {
	if name == "" {
		return ""
	}
	return " at " + name
}

func later(times ...time.Time) (latest time.Time) {
	for _, t := range times {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
