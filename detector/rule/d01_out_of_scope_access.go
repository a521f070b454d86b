package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// beyondRule is D01: an honoured call needs a scope not held at call time.
type beyondRule struct {
	base
	found map[place]*beyond
}

// place is where an operation is called: the object of D01 and D18.
type place struct{ service, operation, tenant string }

// beyond gathers one finding of D01.
type beyond struct {
	fold
	// granted, missing and reasons are over all uses, as text.
	granted, reasons map[string]struct{}
	missing          map[string][]string
	demand           map[string][]string
	sources          map[string]struct{}
	presented        bool
	declared         bool
	named            bool
}

// outOfScope reports whether the use is one that D01 speaks about.
func outOfScope(u *Use) bool {
	return u.Judgement.Holding == compare.Lacks && u.Decision == schema.DecisionAllowed && u.Certain
}

func (r *beyondRule) use(u *Use) {
	if !outOfScope(u) {
		return
	}
	if r.found == nil {
		r.found = map[place]*beyond{}
	}
	at := place{u.Service, u.Operation, u.Tenant}
	b := r.found[at]
	if b == nil {
		b = &beyond{
			granted: map[string]struct{}{}, reasons: map[string]struct{}{}, sources: map[string]struct{}{},
			missing: map[string][]string{}, demand: map[string][]string{},
		}
		r.found[at] = b
	}
	b.fold.add(u, u.calls())
	j := &u.Judgement
	for _, s := range j.Granted {
		b.granted[s] = struct{}{}
	}
	for _, s := range j.Reasons {
		b.reasons[s] = struct{}{}
	}
	for _, m := range j.Missing {
		b.missing[strings.Join(m, "\x00")] = m
	}
	for _, a := range alternatives(&j.Demand, u.Principal.Kind) {
		b.demand[strings.Join(a, "\x00")] = a
	}
	if j.Demand.Source != "" {
		b.sources[j.Demand.Source] = struct{}{}
	}
	switch j.Mode {
	case schema.GrantPresented:
		b.presented = true
	case schema.GrantDeclared:
		b.declared = true
	default:
		b.presented, b.declared = true, true
	}
	b.named = b.named || u.RouteSource == schema.RouteFromSource
}

func (r *beyondRule) finish(out *Result) {
	for at, b := range r.found {
		out.Drafts = append(out.Drafts, Draft{Finding: r.finding(at, b), Want: b.want.cut()})
	}
}

func (r *beyondRule) finding(at place, b *beyond) schema.Finding {
	f := r.open(OutOfScopeAccess, at.service, at.operation, at.tenant)
	f.Service, f.Operation, f.Tenant = at.service, at.operation, at.tenant
	f.Environment = r.environment(at.service)
	f.Verdict = verdict(schema.VerdictBeyond)
	b.close(&f)
	f.Evidence.Granted = sortedKeys(b.granted)
	f.Evidence.Demand = lists(b.demand)
	f.Title = fmt.Sprintf("%s called %s%s%s and was let through, without the scope that it needs",
		r.subject.Name, at.operation, onService(at.service), inTenant(at.tenant))

	w := r.env.weigh(at.service, at.operation)
	w.holder(r.subject)
	f.Severity = w.severity(schema.SeverityMedium, 2)
	var why string
	f.Confidence, why = b.confidence()

	f.Reasons = append(f.Reasons, fmt.Sprintf("the operation needs %s%s", demands(f.Evidence.Demand), r.saidBy(b)))
	if missing := lists(b.missing); len(missing) > 0 {
		f.Reasons = append(f.Reasons, "missing: "+demands(missing))
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("held at call time%s: %s", b.heldBy(), some(f.Evidence.Granted, 12)))
	f.Reasons = append(f.Reasons, sortedKeys(b.reasons)...)
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s let through on %s", count(f.Calls, "call"), count(len(b.days), "day")))
	f.Reasons = append(f.Reasons, w.reason(f.Severity), why)
	f.Reasons = distinct(f.Reasons)
	f.Next = commands(&f, callsOf(&f), "scopedrift recommend "+argument(r.subject.Name))
	return f
}

// saidBy names who states the demand.
func (r *beyondRule) saidBy(b *beyond) string {
	if len(b.sources) == 0 {
		return ""
	}
	return " (says " + some(sortedKeys(b.sources), 3) + ")"
}

// heldBy says where the grant that counted was read.
func (b *beyond) heldBy() string {
	switch {
	case b.presented && b.declared:
		return " as presented and as declared"
	case b.presented:
		return " as its token presented it"
	}
	return " as the catalogue declares it"
}

// confidence is about what the log cannot show: whether demand and grant, as
// the catalogue has them, are up to date. A token that presents its scopes is
// never stale, and a written demand is better than one by the table of facts.
func (b *beyond) confidence() (float64, string) {
	c, terms := 0.97, []string{"the call surely got through"}
	if b.declared && !b.presented {
		c -= 0.05
		terms = append(terms, "the grant is as current as the catalogue")
	} else {
		terms = append(terms, "the scopes are the token's own")
	}
	if b.named {
		c -= 0.02
		terms = append(terms, "the log named the operation itself")
	}
	return round(c), fmt.Sprintf("confidence %.2f: %s", round(c), strings.Join(terms, ", "))
}

// lists returns the values of a set of lists in the order of their keys.
func lists(set map[string][]string) [][]string {
	var out [][]string
	for _, k := range sortedKeys(set) {
		out = append(out, slices.Clone(set[k]))
	}
	return out
}

// distinct drops repeated sentences and keeps the order.
func distinct(list []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

// round rounds a confidence to hundredths, so that it is written alike
// everywhere.
func round(c float64) float64 { return float64(int(c*100+0.5)) / 100 }
