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
	if s := r.env.Catalog.ServiceNamed(u.Service); s != nil && s.Dialect == schema.DialectKubernetes {
		key.tenant = u.Tenant // a namespace narrows grants, other tenants do not
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
	first, end := schema.DayOf(r.env.Window.From), schema.DayOf(r.env.Window.To.Add(-time.Microsecond))
	horizon := schema.Day(max(int(first), int(end)-r.env.Horizon+1))
	last := r.lastUse(h)
	if !last.IsZero() && schema.DayOf(last) >= horizon {
		return nil, ""
	}
	if rare := r.env.Catalog.Scopes[h.scope].Rare; rare != "" {
		return nil, "it is declared rare: " + rare
	}
	if incomplete := r.env.Coverage.Incomplete(); len(incomplete) > 0 {
		return nil, strings.Join(incomplete, "; ")
	}
	open := r.env.opens(r.subject, h)
	if open.why != "" {
		return nil, open.why
	}
	unmapped, authorised := r.unmapped(open.services)
	if 2*len(unmapped) >= authorised && len(unmapped) > 0 {
		return nil, fmt.Sprintf("of its %s there, the demand of %d is unmapped, and may be this scope", count(authorised, "operation"), len(unmapped))
	}
	seen := r.env.Coverage.All(open.services)
	from := max(horizon, schema.DayOf(later(h.from, r.issued(), r.env.Window.From)))
	observed, start := seen.Tail(from, end, minCoverage)
	if h.presented {
		observed = slices.DeleteFunc(slices.Clone(observed), func(d schema.Day) bool { _, ok := h.days[d]; return !ok })
	}
	switch {
	case len(observed) >= r.env.MinDays:
	case seen.Known && len(seen.Observed) >= r.env.MinDays && !h.presented:
		return nil, fmt.Sprintf("the days since %s were not seen to %.0f %% over %d days: %s", from, 100*minCoverage, r.env.MinDays,
			cmp.Or(strings.Join(seen.Holes, "; "), "it is held too short a time"))
	case len(observed) == 0 && len(seen.Observed) == 0:
		return nil, "no call to " + some(open.services, 3) + " was seen"
	case h.presented:
		return nil, fmt.Sprintf("its token presented it on %s only, and %d are wanted", count(len(observed), "observed day"), r.env.MinDays)
	default:
		return nil, fmt.Sprintf("only %s since %s, and %d are wanted", count(len(observed), "observed day"), from, r.env.MinDays)
	}
	f := r.finding(h, open, &seen, observed, start, last, unmapped)
	return &f, ""
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

func (r *unusedRule) finding(h *holding, open unlock, seen *Seen, observed []schema.Day, start schema.Day, last time.Time, unmapped []string) schema.Finding {
	f := r.open(UnusedScope, h.authority, h.scope)
	f.Scope = h.scope
	f.Verdict = verdict(schema.VerdictDormant)
	if len(open.services) == 1 {
		f.Service = open.services[0]
		f.Environment = r.environment(f.Service)
	}
	f.First, f.Last = start.Start(), r.env.Now
	coverage := seen.Coverage
	f.Evidence.Coverage = &coverage
	f.Evidence.Granted = []string{h.scope}
	days := len(observed)
	asFar := ""
	if !seen.Known {
		asFar = ", as far as these logs show"
	}
	f.Title = fmt.Sprintf("%s holds %s%s and has not used it on %s%s", r.subject.Name, h.scope, atAuthority(h.authority), count(days, "observed day"), asFar)

	f.Reasons = append(f.Reasons, r.since(h), r.silence(days, last))
	if open.reason != "" {
		f.Reasons = append(f.Reasons, open.reason)
	}
	if h.conditional {
		f.Reasons = append(f.Reasons, "the grant is conditional, which does not matter here: no call would have needed it")
	}
	f.Severity, f.Confidence = r.grade(&f, h, open, seen, days, unmapped)
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

// grade sets severity and confidence, and says why.
//
// Confidence is by the rule of three: with no use on D independent days, the
// scope is needed on at most about 3/D of the days (95 % bound). Calls are not
// independent, days nearly are.
func (r *unusedRule) grade(f *schema.Finding, h *holding, open unlock, seen *Seen, days int, unmapped []string) (schema.Severity, float64) {
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
	severity := min(w.severity(schema.SeverityLow, 2), schema.SeverityHigh)
	f.Reasons = append(f.Reasons, w.reason(severity))

	bound := math.Min(1, 1-math.Pow(0.05, 1/float64(days)))
	confidence := 1 - bound
	terms := []string{fmt.Sprintf("silent for %s, so it is needed on fewer than 1 day in %.0f (95 %% bound)", count(days, "day"), math.Floor(1/bound))}
	if seen.Known {
		terms = append(terms, fmt.Sprintf("the logs cover the window to at least %.0f %%", 100*minCoverage))
	} else {
		confidence = math.Min(confidence, 0.3)
		terms = append(terms, "at most 0.30, since it is not known what the logs cover")
	}
	if len(unmapped) > 0 {
		confidence = math.Min(confidence, 0.5)
		terms = append(terms, fmt.Sprintf("at most 0.50, since it may serve operations whose demand is unmapped: %s", some(unmapped, 3)))
	}
	confidence = round(confidence)
	f.Reasons = append(f.Reasons, fmt.Sprintf("confidence %.2f: %s", confidence, strings.Join(terms, "; ")))
	return severity, confidence
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
