package rule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Changed returns the approved change of the catalogue that covers what a subject
// did, the first one where several do, or nil. workloads are those that the
// network named, if it did; what the act leaves empty no list covers. Uses never
// reach across the begin or end of a change that is for their subject, so a rule
// that asks for each use gets a clear answer.
func (e *Env) Changed(s *Subject, act catalog.Act, workloads ...string) *catalog.Change {
	for i := range e.Catalog.Changes {
		if c := &e.Catalog.Changes[i]; c.Covers(&act) && c.For(s.names(), append(s.workloads(), workloads...)) {
			return c
		}
	}
	return nil
}

// names are all that the subject is known by.
func (s *Subject) names() []string {
	names := []string{s.Name}
	for i := range s.Principals {
		names = append(names, s.Principals[i].ID)
	}
	return names
}

func (s *Subject) workloads() []string {
	if s.Declared == nil || s.Declared.Workload == "" {
		return nil
	}
	return []string{s.Declared.Workload}
}

// ChangesFor lists the approved changes that may be for the subject, whatever it
// does: those for workloads that are not declared as its own, too, since the
// network may name them.
func (s *Subject) ChangesFor(c *catalog.Catalog) []*catalog.Change {
	var list []*catalog.Change
	for i := range c.Changes {
		one := &c.Changes[i]
		who := *one
		who.Workloads = nil
		if who.For(s.names(), nil) {
			list = append(list, one)
		}
	}
	return list
}

// act is what a use did.
func (b *base) act(u *Use) catalog.Act {
	return catalog.Act{Service: u.Service, Operation: u.Operation, Tenant: u.Tenant, Environment: b.environment(u.Service), First: u.First, Last: u.Last}
}

// excused gathers what approved changes cover, for one rule: nothing that is
// silenced is silent about it.
type excused map[Withheld]struct{}

// use reports whether an approved change covers the use, and notes it.
func (x *excused) use(b *base, code string, u *Use) bool {
	if len(b.env.Catalog.Changes) == 0 {
		return false
	}
	c := b.env.Changed(b.subject, b.act(u))
	if c != nil {
		x.add(code, b.subject, fmt.Sprintf("%s%s%s", cmp.Or(u.Operation, "calls"), onService(u.Service), inTenant(u.Tenant)), c)
	}
	return c != nil
}

// draft reports whether an approved change covers all that a finding is about,
// and notes it.
func (x *excused) draft(b *base, f *schema.Finding) bool {
	if len(b.env.Catalog.Changes) == 0 {
		return false
	}
	c := b.env.Changed(b.subject, catalog.Act{Service: f.Service, Operation: f.Operation, Scope: f.Scope, Tenant: f.Tenant,
		Environment: cmp.Or(f.Environment, b.environment(f.Service)), First: f.First, Last: f.Last})
	if c != nil {
		x.add(f.Code, b.subject, fmt.Sprintf("%s%s%s", cmp.Or(f.Operation, "calls"), onService(f.Service), inTenant(f.Tenant)), c)
	}
	return c != nil
}

func (x *excused) add(code string, s *Subject, object string, c *catalog.Change) {
	if *x == nil {
		*x = excused{}
	}
	(*x)[Withheld{code, s.Name, object, fmt.Sprintf("approved change %s covers it (%s; approved by %s)", c.ID, c.Reason, c.By)}] = struct{}{}
}

// close hands over what was excused, in a stable order.
func (x *excused) close(out *Result) {
	list := make([]Withheld, 0, len(*x))
	for w := range *x {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b Withheld) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Why, b.Why))
	})
	out.Withheld = append(out.Withheld, list...)
}

// changeable are the detections that an approved change silences, wherever it
// covers all that a finding of them is about. The others say what is wrong with a
// grant or a credential, which no change makes right.
var changeable = []string{DeniedThenAllowed, BehaviourDrift, AwayFromHome, HumanUse, BoundaryCrossing, LateralMovement, TokenLineage, DormantUse, ObjectEnumeration, Burst}

// excuse takes the findings that approved changes cover out of a result.
func (s *Set) excuse(out *Result) {
	var x excused
	b := &base{env: s.env, subject: s.subject}
	out.Drafts = slices.DeleteFunc(out.Drafts, func(d Draft) bool {
		return slices.Contains(changeable, d.Finding.Code) && x.draft(b, &d.Finding)
	})
	x.close(out)
}
