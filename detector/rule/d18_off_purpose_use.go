package rule

import (
	"fmt"
	"slices"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// purposeRule is D18: an honoured call within the grant, outside the approved
// purpose.
type purposeRule struct {
	base
	found   map[place]*offPurpose
	excused excused
}

type offPurpose struct {
	fold
	granted map[string]struct{}
	unknown bool
}

func (r *purposeRule) use(u *Use) {
	d := r.subject.Declared
	if d == nil || d.Approved == nil || u.Decision != schema.DecisionAllowed || !u.Certain || u.Judgement.Holding == compare.Lacks {
		return
	}
	at := place{u.Service, u.Operation, u.Tenant}
	if len(r.outside(at)) == 0 || r.excused.use(&r.base, OffPurposeUse, u) {
		return
	}
	if r.found == nil {
		r.found = map[place]*offPurpose{}
	}
	o := r.found[at]
	if o == nil {
		o = &offPurpose{granted: map[string]struct{}{}}
		r.found[at] = o
	}
	o.fold.add(u, u.calls())
	o.unknown = o.unknown || u.Judgement.Holding == compare.Unknown
	for _, s := range u.Judgement.Granted {
		o.granted[s] = struct{}{}
	}
}

// breach is one list of the approved purpose that a call is outside of.
type breach struct {
	what, seen string
	approved   []string
}

// outside returns the lists that the call is outside of. What the call does not
// show (a tenant, the environment of a service that the catalogue does not
// know) breaches nothing.
func (r *purposeRule) outside(at place) (list []breach) {
	a := r.subject.Declared.Approved
	check := func(what, seen string, approved []string) {
		if seen != "" && approved != nil && !slices.ContainsFunc(approved, func(p string) bool { return catalog.PathGlob(p, seen) }) {
			list = append(list, breach{what, seen, approved})
		}
	}
	check("service", at.service, a.Services)
	if !r.sameOperation(at, a.Operations) {
		check("operation", at.operation, a.Operations)
	}
	check("environment", r.environment(at.service), a.Environments)
	check("tenant", at.tenant, a.Tenants)
	return list
}

// sameOperation reports whether an approved operation is this one under other
// names of its parameters.
func (r *purposeRule) sameOperation(at place, approved []string) bool {
	s := r.env.Catalog.ServiceNamed(at.service)
	if s == nil {
		return false
	}
	this := s.OperationNamed(at.operation)
	return this != nil && slices.ContainsFunc(approved, func(name string) bool { return s.OperationNamed(name) == this })
}

func (r *purposeRule) finish(out *Result) {
	r.excused.close(out)
	for at, o := range r.found {
		out.Drafts = append(out.Drafts, Draft{Finding: r.finding(at, o), Want: o.want.cut()})
	}
}

func (r *purposeRule) finding(at place, o *offPurpose) schema.Finding {
	f := r.open(OffPurposeUse, at.service, at.operation, at.tenant)
	f.Service, f.Operation, f.Tenant = at.service, at.operation, at.tenant
	f.Environment = r.environment(at.service)
	o.close(&f)
	f.Verdict = verdict(schema.VerdictExercised)
	if o.unknown {
		f.Verdict = verdict(schema.VerdictUnmapped)
	}
	if len(o.granted) > 0 {
		f.Evidence.Granted = sortedKeys(o.granted)
	}
	for _, b := range r.outside(at) {
		f.Evidence.Seen = append(f.Evidence.Seen, b.what+" "+b.seen)
		f.Evidence.Usual = append(f.Evidence.Usual, fmt.Sprintf("%ss: %s", b.what, some(b.approved, 10)))
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s %s is not among the approved %ss: %s", b.what, b.seen, b.what, some(b.approved, 10)))
	}
	purpose := ""
	if p := r.subject.Declared.Purpose; p != "" {
		purpose = " (" + p + ")"
		f.Reasons = append(f.Reasons, "its purpose: "+p)
	}
	f.Title = fmt.Sprintf("%s called %s%s%s, which is outside its approved purpose%s",
		r.subject.Name, at.operation, onService(at.service), inTenant(at.tenant), purpose)

	w := r.env.weigh(at.service, at.operation)
	w.holder(r.subject)
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityHigh)
	f.Confidence = 0.9
	held := "the grant covers it, the approved purpose does not"
	if o.unknown {
		f.Confidence = 0.7
		held = "the approved purpose does not cover it; whether the grant does is not known"
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s on %s", count(f.Calls, "call"), count(len(o.days), "day")),
		w.reason(f.Severity), fmt.Sprintf("confidence %.2f: %s", f.Confidence, held))
	f.Next = commands(&f, callsOf(&f), "scopedrift recommend "+argument(r.subject.Name))
	return f
}
