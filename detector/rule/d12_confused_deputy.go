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

// Tunables of D12.
const (
	// HiddenSupport is in how many requests a call must have caused a privileged
	// one before that is called a way, rather than a coincidence.
	HiddenSupport = 20
	// tenantDays are the days after which the tenants of a credential are known.
	tenantDays = HomeDays
)

// Deputed is a call in one tenant that a call in another caused.
type Deputed struct {
	Step  Step
	By    *Subject
	Cause *Cause
	// Known says that the causing credential was only ever seen in its tenant,
	// on enough days, and that it never had this credential cross before.
	Known bool
}

// Hidden is a privileged operation that calls of a credential cause through a
// service.
type Hidden struct {
	Op Op
	// Through is the credential that makes the call, Cause the causing operation.
	Through *Subject
	Cause   Op
	// Requests are those in which it was seen, First and Last bound them; Example
	// is the first such call and what caused it.
	Requests    int
	First, Last time.Time
	Example     Step
	By          Step
}

// Deputies says where services act beyond what their callers may (D12).
func Deputies(env *Env, crossed []Deputed, hidden map[*Subject][]Hidden) Result {
	var out Result
	deputies(env, crossed, &out)
	callers := make([]*Subject, 0, len(hidden))
	for s := range hidden {
		callers = append(callers, s)
	}
	slices.SortFunc(callers, func(a, b *Subject) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range callers {
		hiddenReach(env, s, hidden[s], &out)
	}
	return out
}

// mayTenant reports what the catalogue says about a subject in a tenant.
func mayTenant(s *Subject, tenant string) (may, known bool) {
	if s.Declared == nil || s.Declared.Approved == nil || s.Declared.Approved.Tenants == nil {
		return false, false
	}
	return slices.ContainsFunc(s.Declared.Approved.Tenants, func(t string) bool { return t == tenant || t == "*" }), true
}

// deputyKey is what one finding of a crossing is about.
type deputyKey struct{ by, cause, tenant string }

func deputies(env *Env, crossed []Deputed, out *Result) {
	groups := map[deputyKey][]*Deputed{}
	for i := range crossed {
		d := &crossed[i]
		if d.Cause.Subject == nil || slices.ContainsFunc(d.Step.Actors, d.Cause.Subject.named) {
			continue // it says for whom it acts, and the service can decide
		}
		object := fmt.Sprintf("calls in tenant %s for %s", d.Step.Tenant, d.Cause.Subject.Name)
		if may, _ := mayTenant(d.By, d.Step.Tenant); may {
			withhold(out, Withheld{ConfusedDeputy, d.By.Name, object, "it is approved for that tenant, whoever asks"})
			continue
		}
		may, known := mayTenant(d.Cause.Subject, d.Step.Tenant)
		if may || !known && !d.Known {
			continue
		}
		if c := env.Changed(d.By, env.actOf(&d.Step), d.Step.Workload); c != nil {
			withhold(out, Withheld{ConfusedDeputy, d.By.Name, object, "the approved change " + c.ID + " covers it"})
			continue
		}
		key := deputyKey{d.By.Name, d.Cause.Subject.Name, d.Step.Tenant}
		groups[key] = append(groups[key], d)
	}
	keys := make([]deputyKey, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b deputyKey) int {
		return cmp.Or(cmp.Compare(a.by, b.by), cmp.Compare(a.cause, b.cause), cmp.Compare(a.tenant, b.tenant))
	})
	for _, key := range keys {
		out.Drafts = append(out.Drafts, deputyDraft(env, key, groups[key]))
	}
}

func deputyDraft(env *Env, key deputyKey, list []*Deputed) Draft {
	slices.SortFunc(list, func(a, b *Deputed) int {
		return cmp.Or(a.Step.Time.Compare(b.Step.Time), slices.Compare(a.Step.ID[:], b.Step.ID[:]))
	})
	first := list[0]
	b := base{env: env, subject: first.By}
	f := b.open(ConfusedDeputy, key.cause, key.tenant)
	f.Service, f.Operation, f.Tenant, f.Environment = first.Step.Service, first.Step.Operation, key.tenant, b.environment(first.Step.Service)
	f.First, f.Last, f.Calls = first.Step.Time, list[len(list)-1].Step.Time, uint64(len(list))
	f.Title = fmt.Sprintf("%s acted in tenant %s because %s asked it to in tenant %s", key.by, key.tenant, key.cause, first.Cause.Step.Tenant)
	f.Evidence.Usual, f.Evidence.Seen = []string{"tenant " + first.Cause.Step.Tenant}, []string{"tenant " + key.tenant}
	var want earliest
	for i, d := range list {
		want.add(stepSelector(&d.Cause.Step))
		want.add(stepSelector(&d.Step))
		if i < maxHops/2 {
			for _, l := range deputyLegs(d) {
				line := fmt.Sprintf("%d. %s  %s", len(f.Evidence.Path)+1, stamp(l.hop.Time), l.text)
				if l.hop.Tier > 0 {
					line += fmt.Sprintf(" [tier %d: %s]", l.hop.Tier, Tier(l.hop.Tier))
				}
				f.Evidence.Path, f.Evidence.Hops = append(f.Evidence.Path, line), append(f.Evidence.Hops, l.hop)
			}
		}
	}
	w := env.weigh(f.Service, f.Operation)
	_, known := mayTenant(first.Cause.Subject, key.tenant)
	told := fmt.Sprintf("%s was only ever seen in tenant %s, on %d or more days", key.cause, first.Cause.Step.Tenant, tenantDays)
	if known {
		told = fmt.Sprintf("%s is approved for other tenants: %s", key.cause, some(first.Cause.Subject.Declared.Approved.Tenants, 5))
		f.Severity, f.Confidence = w.severity(schema.SeverityHigh, 4), 0.85
	} else {
		f.Severity, f.Confidence = schema.SeverityMedium, 0.6
		f.Score = &schema.Score{Day: f.First.Format(time.DateOnly), Surprise: math.Round(100*math.Log10(tenantDays+1)) / 100,
			Breadth: math.Round(100*math.Log2(float64(1+len(list)))) / 100, Reach: w.points}
	}
	f.Reasons = []string{told, "the trace shows the one call within the other, and the inner one does not say for whom it acts",
		count(len(list), "such call") + " between " + stamp(f.First) + " and " + stamp(f.Last), w.reason(f.Severity),
		fmt.Sprintf("confidence %.2f: the link is a trace id, which who calls from outside could have forged", f.Confidence)}
	f.Next = commands(&f, "scopedrift investigate "+string(f.ID), callsOf(&f)+since(f.First))
	return Draft{Finding: f, Want: want.cut()}
}

// deputyLegs are the causing call and the call in the other tenant.
func deputyLegs(d *Deputed) []leg {
	from := cmp.Or(d.Cause.Step.Seat(), d.Cause.Subject.Name)
	place := cmp.Or(d.Step.Seat(), d.By.Name)
	return []leg{
		{hop: schema.Hop{Kind: "call", Time: d.Cause.Step.Time, From: from, To: target(d.Cause.Step.Service), Credential: d.Cause.Subject.Name,
			Operation: d.Cause.Step.Operation, Tenant: d.Cause.Step.Tenant, Call: &d.Cause.Step.ID},
			text: fmt.Sprintf("%s called %s%s%s with %s", from, d.Cause.Step.Operation, onService(d.Cause.Step.Service), inTenant(d.Cause.Step.Tenant), d.Cause.Subject.Name)},
		{hop: schema.Hop{Kind: "call", Tier: int(d.Cause.Tier), Time: d.Step.Time, From: place, To: target(d.Step.Service), Credential: d.By.Name,
			Operation: d.Step.Operation, Tenant: d.Step.Tenant, Call: &d.Step.ID},
			text: fmt.Sprintf("%s called %s%s%s with %s", place, d.Step.Operation, onService(d.Step.Service), inTenant(d.Step.Tenant), d.By.Name)},
	}
}

// hiddenReach is posture: what the calls of a credential make others do that it
// surely may not do itself.
func hiddenReach(env *Env, s *Subject, list []Hidden, out *Result) {
	list = slices.DeleteFunc(slices.Clone(list), func(h Hidden) bool {
		request := compare.Request{Declared: s.Declared, Service: h.Op.Service, Operation: h.Op.Operation, Tenant: h.Example.Tenant, RouteSource: h.Example.RouteSource,
			Resource: h.Example.Resource, ResourceKnown: true, Scopes: h.By.Scopes, Groups: h.By.Groups, Time: h.By.Time}
		if len(s.Principals) > 0 {
			request.Kind = s.Principals[0].Kind
		}
		// A token whose scopes are another service's says nothing about this one:
		// what the catalogue declares must lack it.
		return h.Requests < HiddenSupport || s.Declared == nil || len(s.Declared.Grants) == 0 || env.Compare.Judge(&request).Holding != compare.Lacks
	})
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b Hidden) int {
		return cmp.Or(cmp.Compare(env.weigh(b.Op.Service, b.Op.Operation).points, env.weigh(a.Op.Service, a.Op.Operation).points),
			cmp.Compare(a.Op.Service, b.Op.Service), cmp.Compare(a.Op.Operation, b.Op.Operation), cmp.Compare(a.Cause.Service, b.Cause.Service), cmp.Compare(a.Cause.Operation, b.Cause.Operation))
	})
	b := base{env: env, subject: s}
	f := b.open(ConfusedDeputy, "hidden")
	worst := &list[0]
	f.Service, f.Operation, f.Environment = worst.Op.Service, worst.Op.Operation, b.environment(worst.Op.Service)
	var want earliest
	var span fold
	for i := range list {
		h := &list[i]
		span.widen(h.First, h.Last)
		f.Calls += uint64(h.Requests)
		f.Evidence.Seen = append(f.Evidence.Seen, h.Op.Operation+onService(h.Op.Service))
		f.Reasons = append(f.Reasons, fmt.Sprintf("its %s%s made %s call %s%s in %s", h.Cause.Operation, onService(h.Cause.Service), nameOf(h.Through),
			h.Op.Operation, onService(h.Op.Service), count(h.Requests, "request")))
		want.add(stepSelector(&h.By))
		want.add(stepSelector(&h.Example))
	}
	f.Evidence.Seen = unique(f.Evidence.Seen)
	f.First, f.Last = span.first, span.last
	f.Title = fmt.Sprintf("%s reaches %s through other services, which it may not do itself", s.Name, some(f.Evidence.Seen, 2))
	w := weight{}
	w.holder(s)
	f.Severity, f.Confidence = min(w.severity(schema.SeverityLow, 1), schema.SeverityMedium), 0.7
	f.Reasons = append(f.Reasons, w.reason(f.Severity), "confidence 0.70: every link is a trace; whether the service checks for whom it acts cannot be seen")
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential}))
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: want.cut()})
}

// Privileged reports whether an operation is one that hidden reach is about.
func (e *Env) Privileged(service, operation string) bool {
	switch e.ClassOf(service, operation) {
	case schema.ClassAdmin, schema.ClassSecret, schema.ClassMint:
		return true
	}
	s := e.Catalog.ServiceNamed(service)
	if s == nil {
		return false
	}
	o := s.OperationNamed(operation)
	return o != nil && o.Sensitivity == 4
}
