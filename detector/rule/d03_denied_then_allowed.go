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

// Tunables of D03. A success sooner than MinReversal after the first denial is a
// retry while a change spreads; one later than MaxReversal after the last
// denial is more likely an ordinary request for access.
const (
	MinReversal = 60 * time.Second
	MaxReversal = 24 * time.Hour
)

// reversalRule is D03: an operation on an object was denied to an identity and
// later allowed.
//
// It works in two steps. Rows tell which operations were both denied and later
// allowed at all; for those the store is asked for runs of denials of one
// concrete object that ended in success.
type reversalRule struct {
	base
	current     ReversalKey
	denied      time.Time
	allowed     time.Time
	candidates  []ReversalKey
	found       map[reversalAt]*reversed
	explainable []Withheld
	excused     excused
}

type reversalAt struct{ service, operation, tenant, object string }

// reversed gathers one finding of D03.
type reversed struct {
	fold
	runs    []Reversal
	reasons map[string]struct{}
	granted map[string]struct{}
	gained  map[string]struct{}
	demand  map[string][]string
	before  bool
	beyond  bool
}

func (r *reversalRule) row(row *Row) {
	if !row.Certain || row.Decision != schema.DecisionDenied && row.Decision != schema.DecisionAllowed || !r.subject.Identifies() {
		return
	}
	key := ReversalKey{row.Hash, row.Service, row.Operation, row.Tenant}
	if key != r.current {
		r.flush()
		r.current = key
	}
	if row.Decision == schema.DecisionDenied && (r.denied.IsZero() || row.First.Before(r.denied)) {
		r.denied = row.First
	}
	if row.Decision == schema.DecisionAllowed && row.Last.After(r.allowed) {
		r.allowed = row.Last
	}
}

func (r *reversalRule) flush() {
	if !r.denied.IsZero() && !r.allowed.IsZero() && r.allowed.Sub(r.denied) >= MinReversal {
		r.candidates = append(r.candidates, r.current)
	}
	r.denied, r.allowed = time.Time{}, time.Time{}
}

func (r *reversalRule) keys() []ReversalKey {
	r.flush()
	return r.candidates
}

func (r *reversalRule) reversal(v *Reversal) {
	if v.Allowed.Sub(v.Denied) < MinReversal || v.Allowed.Sub(v.LastDenied) > MaxReversal {
		return
	}
	kind := r.kind(v.Hash)
	request := func(at time.Time, scopes []string) *compare.Request {
		return &compare.Request{
			Declared: r.subject.Declared, Kind: kind, Service: v.Service, Operation: v.Operation, Tenant: v.Tenant,
			Resource: v.Resource, ResourceKnown: true, RouteSource: v.RouteSource, Scopes: scopes, Groups: v.Groups, Time: at,
		}
	}
	before, after := r.env.Compare.Judge(request(v.LastDenied, v.DeniedWith)), r.env.Compare.Judge(request(v.Allowed, v.AllowedWith))
	g := began(&after, v)
	if g == nil && len(r.env.Compare.Covers(request(v.Denied, v.DeniedWith), schema.GrantDeclared)) == 0 {
		// What a token presents follows what was declared: the change is written
		// down, too, where the service looks at tokens only.
		g = declaredSince(r.env.Compare.Covers(request(v.Allowed, v.AllowedWith), schema.GrantDeclared), v)
	}
	if g != nil {
		r.explainable = append(r.explainable, Withheld{DeniedThenAllowed, r.subject.Name,
			v.Operation + onService(v.Service) + inTenant(v.Tenant),
			"a declared grant that began on " + g.From.UTC().Format(time.DateOnly) + " explains it"})
		return
	}
	// What counts is the success: whoever may approve it does so after the denial.
	act := catalog.Act{Service: v.Service, Operation: v.Operation, Tenant: v.Tenant, Environment: r.environment(v.Service), First: v.Allowed, Last: v.Allowed}
	if c := r.env.Changed(r.subject, act); c != nil {
		r.excused.add(DeniedThenAllowed, r.subject, v.Operation+onService(v.Service)+inTenant(v.Tenant), c)
		return
	}
	if r.found == nil {
		r.found = map[reversalAt]*reversed{}
	}
	at := reversalAt{v.Service, v.Operation, v.Tenant, v.Object}
	f := r.found[at]
	if f == nil {
		f = &reversed{reasons: map[string]struct{}{}, granted: map[string]struct{}{}, gained: map[string]struct{}{}, demand: map[string][]string{}}
		r.found[at] = f
	}
	f.take(v, &before, &after, kind)
}

// began returns the declared grant that satisfied the success and began only
// after the first denial: a change that somebody wrote down.
func began(after *compare.Judgement, v *Reversal) *schema.Grant {
	for _, by := range after.By {
		if g := by.Grant; g != nil && g.From.After(v.Denied) && !g.From.After(v.Allowed) {
			return g
		}
	}
	return nil
}

// declaredSince returns the declared grant of the covers that began after the
// first denial, the earliest to begin.
func declaredSince(covers []compare.Cover, v *Reversal) (found *schema.Grant) {
	for _, cover := range covers {
		for _, ways := range cover {
			for _, by := range ways {
				if g := by.Grant; g != nil && g.From.After(v.Denied) && !g.From.After(v.Allowed) && (found == nil || g.From.Before(found.From)) {
					found = g
				}
			}
		}
	}
	return found
}

// kind returns the kind of the principal.
func (b *base) kind(hash schema.PrincipalHash) schema.CredentialKind {
	for i := range b.subject.Principals {
		if b.subject.Principals[i].Hash == hash {
			return b.subject.Principals[i].Kind
		}
	}
	return schema.KindUnknown
}

func (f *reversed) take(v *Reversal, before, after *compare.Judgement, kind schema.CredentialKind) {
	f.widen(v.Denied, v.Allowed)
	f.runs = append(f.runs, *v)
	f.before = f.before || v.Before
	f.beyond = f.beyond || after.Holding == compare.Lacks
	for _, s := range after.Granted {
		f.granted[s] = struct{}{}
	}
	for _, a := range alternatives(&after.Demand, kind) {
		f.demand[strings.Join(a, "\x00")] = a
	}
	for _, s := range v.AllowedWith {
		if !slices.Contains(v.DeniedWith, s) {
			f.gained[s] = struct{}{}
		}
	}
	f.reasons[grantReason(before, after)] = struct{}{}
	select1 := func(from, to time.Time, d schema.Decision) Selector {
		return Selector{Hash: v.Hash, Service: v.Service, Operation: v.Operation, Tenant: v.Tenant, HasTenant: true,
			Decisions: []schema.Decision{d}, Certain: true, Object: v.Object, From: from, To: to}
	}
	f.want.add(select1(v.Denied, v.Denied, schema.DecisionDenied))
	f.want.add(select1(v.LastDenied, v.LastDenied, schema.DecisionDenied))
	f.want.add(select1(v.Allowed, v.Allowed, schema.DecisionAllowed))
}

// grantReason says what the known grant had to do with it.
func grantReason(before, after *compare.Judgement) string {
	switch {
	case after.Holding == compare.Lacks:
		return "even when it was allowed, the credential did not hold what the operation needs"
	case before.Holding == compare.Holds && after.Holding == compare.Holds:
		return "as far as is known it held what the operation needs all along, so what changed is elsewhere"
	case before.Holding == compare.Lacks && after.Holding == compare.Holds:
		return "it did not hold what the operation needs when it was denied, and held it when it was allowed"
	}
	return "whether it held what the operation needs is not known for both moments"
}

func (r *reversalRule) finish(out *Result) {
	out.Withheld = append(out.Withheld, r.explainable...)
	r.excused.close(out)
	for at, v := range r.found {
		f := r.finding(at, v)
		out.Drafts = append(out.Drafts, Draft{Finding: f, Want: v.want.cut()})
	}
}

func (r *reversalRule) finding(at reversalAt, v *reversed) schema.Finding {
	f := r.open(DeniedThenAllowed, at.service, at.operation, at.tenant, at.object)
	f.Service, f.Operation, f.Tenant = at.service, at.operation, at.tenant
	f.Environment = r.environment(at.service)
	f.First, f.Last = v.first, v.last
	slices.SortFunc(v.runs, func(a, b Reversal) int {
		return cmp.Or(a.Denied.Compare(b.Denied), a.Allowed.Compare(b.Allowed), slices.Compare(a.Hash[:], b.Hash[:]))
	})
	first := &v.runs[0]
	for i := range v.runs {
		f.Calls += v.runs[i].Denials + 1
	}
	if v.beyond {
		f.Verdict = verdict(schema.VerdictBeyond)
	}
	f.Evidence.Granted, f.Evidence.Demand = sortedKeys(v.granted), lists(v.demand)
	if len(v.granted) == 0 {
		f.Evidence.Granted = nil
	}
	f.Evidence.Seen = []string{at.object}
	f.Title = fmt.Sprintf("%s was denied %s%s%s, and %s later it was allowed", r.subject.Name, at.operation, onService(at.service),
		inTenant(at.tenant), span(first.Allowed.Sub(first.LastDenied)))

	f.Reasons = append(f.Reasons, fmt.Sprintf("%s of %s from %s to %s, allowed at %s", count(first.Denials, "denial"), at.object,
		stamp(first.Denied), stamp(first.LastDenied), stamp(first.Allowed)))
	if len(v.runs) > 1 {
		f.Reasons = append(f.Reasons, fmt.Sprintf("it happened %d times", len(v.runs)))
	}
	f.Reasons = append(f.Reasons, sortedKeys(v.reasons)...)
	if len(v.gained) > 0 {
		f.Reasons = append(f.Reasons, "the token that was allowed presented what the denied one did not: "+some(sortedKeys(v.gained), 8))
	}
	f.Severity, f.Confidence = r.grade(&f, v)
	f.Next = commands(&f, callsOf(&f)+since(f.First))
	return f
}

func (r *reversalRule) grade(f *schema.Finding, v *reversed) (schema.Severity, float64) {
	w := r.env.weigh(f.Service, f.Operation)
	w.holder(r.subject)
	if v.beyond {
		w.add(2, "allowed without the scope it needs")
	}
	severity, confidence, why := w.severity(schema.SeverityMedium, 3), 0.85, "one credential, one object, two answers"
	if v.before {
		severity, confidence = schema.SeverityLow, 0.5
		why += ", but it had been allowed before the denial, too"
		w.terms = append(w.terms, "only low, since the access is not new")
	}
	f.Reasons = append(f.Reasons, w.reason(severity), fmt.Sprintf("confidence %.2f: %s", confidence, why))
	return severity, confidence
}
