package investigate

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// opKey is one operation of a service.
type opKey struct{ service, operation string }

// tally adds up calls that several reporters may have seen: of each kind of use
// it counts what the highest-ranking one saw.
type tally map[tallyKey]*[4]uint64

type tallyKey struct {
	opKey
	tenant   string
	decision schema.Decision
	verdict  schema.Verdict
}

func (t tally) add(u *rule.Use) {
	k := tallyKey{opKey{u.Service, u.Operation}, u.Tenant, u.Decision, u.Verdict}
	n := t[k]
	if n == nil {
		n = new([4]uint64)
		t[k] = n
	}
	if int(u.Reporter) < len(n) {
		n[u.Reporter] += u.Calls
	}
}

// verdicts sums up by verdict.
func (t tally) verdicts() (v Verdicts) {
	for k, n := range t { // a sum does not depend on the order
		for _, calls := range n {
			if calls > 0 {
				v.add(k.verdict, calls)
				break
			}
		}
	}
	return v
}

// who says who the credential is and what it holds.
func (w *work) who(j *judged) Credential {
	c := Credential{FindingCredential: j.Subject.Credential(), Basis: BasisNone, Holds: []Held{}, Possible: []Possible{}}
	if d := j.Subject.Declared; d != nil {
		c.Declared, c.Purpose, c.Issued, c.Expires = true, d.Purpose, d.Issued, d.Expires
	}
	days, all := map[schema.Day]bool{}, tally{}
	for i := range j.uses {
		u := &j.uses[i]
		all.add(u)
		for _, d := range u.Days {
			days[d] = true
		}
		// A use that was split by object carries no days: its ends are some.
		days[schema.DayOf(u.First)], days[schema.DayOf(u.Last)] = true, true
		if c.First.IsZero() || u.First.Before(c.First) {
			c.First = u.First
		}
		if u.Last.After(c.Last) {
			c.Last = u.Last
		}
	}
	v := all.verdicts()
	c.Days, c.Calls = len(days), v.Calls()
	h := holdings(j)
	c.Basis, c.Holds = h.basis, h.list
	c.Possible = h.possible(j)
	return c
}

// holding is what a credential holds at the end of the window.
type holding struct {
	basis string
	list  []Held
	// scopes were presented, nil if none ever were; groups as well.
	scopes, groups []string
	kinds          []schema.CredentialKind
	called         map[opKey]bool
}

func holdings(j *judged) *holding {
	h := &holding{basis: BasisNone, list: []Held{}, kinds: j.Subject.Kinds(), called: map[opKey]bool{}}
	scopes, groups := map[string]bool{}, map[string]bool{}
	presented := false
	var requests []compare.Request
	type shape struct {
		tallyKey
		resource string
		hash     schema.PrincipalHash
		known    bool
	}
	seen := map[shape]bool{}
	for i := range j.Uses {
		u := &j.Uses[i]
		if u.Decision.Authorised() {
			h.called[opKey{u.Service, u.Operation}] = true
		}
		presented = presented || u.Scopes != nil
		for _, s := range u.Scopes {
			scopes[s] = true
		}
		for _, g := range u.Groups {
			groups[g] = true
		}
		k := shape{tallyKey{opKey{u.Service, u.Operation}, u.Tenant, 0, 0}, u.Resource, u.Hash, u.ResourceKnown}
		if u.Decision.Authorised() && !seen[k] && len(requests) < maxRequests {
			seen[k] = true
			r := j.Set.Request(&u.Row)
			r.Resource, r.ResourceKnown = u.Resource, u.ResourceKnown
			requests = append(requests, r)
		}
	}
	h.groups = sorted(groups)
	if presented {
		h.scopes = sorted(scopes)
	}
	now := j.Env.Window
	now.From = now.To.Add(-time.Microsecond)
	for _, s := range j.Env.Compare.Held(j.Subject.Declared, h.groups, now) {
		if s.Denied {
			continue
		}
		h.basis = BasisDeclared
		source := s.Grant.Source
		if s.Group != "" {
			source = "group " + s.Group
		}
		h.list = append(h.list, Held{Scope: s.Scope, Authority: s.Authority, On: s.Narrowed, Source: source, Conditional: s.Conditional,
			Used: usedBy(j, s, requests)})
	}
	if h.basis == BasisNone && presented {
		h.basis = BasisPresented
		for _, name := range h.scopes {
			s := compare.HeldScope{Scope: name}
			h.list = append(h.list, Held{Scope: name, Source: BasisPresented, Used: usedBy(j, s, requests)})
		}
	}
	return h
}

// maxRequests bounds the different uses that are held against each scope.
const maxRequests = 5_000

func usedBy(j *judged, s compare.HeldScope, requests []compare.Request) bool {
	return slices.ContainsFunc(requests, func(r compare.Request) bool { return j.Env.Compare.Uses(s, &r) })
}

// possible asks of every operation that the catalogue lists whether the
// credential may call it at the end of the window.
func (h *holding) possible(j *judged) []Possible {
	list := []Possible{}
	for _, s := range j.Env.Catalog.Services {
		p := Possible{Service: s.Name, Environment: s.Environment}
		for i := range s.Operations {
			o := s.Operations[i]
			best := compare.Lacks
			for _, kind := range h.kindsOr() {
				answer := j.Env.Compare.Judge(&compare.Request{
					Declared: j.Subject.Declared, Kind: kind, Service: s.Name, Operation: o.Name, RouteSource: o.RouteSource,
					Scopes: h.scopes, Groups: h.groups, Time: j.Env.Window.To.Add(-time.Microsecond),
				})
				switch {
				case answer.Holding == compare.Holds:
					best = compare.Holds
				case answer.Holding == compare.Unknown && best == compare.Lacks:
					best = compare.Unknown
				}
			}
			switch {
			case best == compare.Unknown:
				p.Unknown++
			case best == compare.Holds && h.called[opKey{s.Name, o.Name}]:
				p.Operations++
				p.Used++
			case best == compare.Holds:
				p.Operations++
				p.Unused = append(p.Unused, Operation{o.Name, o.Class.String(), o.Sensitivity})
			}
		}
		if p.Operations == 0 {
			continue
		}
		slices.SortStableFunc(p.Unused, func(a, b Operation) int {
			return cmp.Or(-cmp.Compare(a.Sensitivity, b.Sensitivity), cmp.Compare(a.Operation, b.Operation))
		})
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Possible) int { return cmp.Compare(a.Service, b.Service) })
	return list
}

// kindsOr are the observed kinds; a credential that was never seen has none that
// is known.
func (h *holding) kindsOr() []schema.CredentialKind {
	if len(h.kinds) == 0 {
		return []schema.CredentialKind{schema.KindUnknown}
	}
	return h.kinds
}

// used folds the uses of a credential by operation and tenant.
func (w *work) used(j *judged) []Used {
	type key struct {
		opKey
		tenant string
	}
	type fold struct {
		Used
		tally tally
		days  map[schema.Day]bool
	}
	found := map[key]*fold{}
	for i := range j.uses {
		u := &j.uses[i]
		k := key{opKey{u.Service, u.Operation}, u.Tenant}
		f := found[k]
		if f == nil {
			f = &fold{Used: Used{Credential: j.Subject.Name, Service: u.Service, Operation: u.Operation, Tenant: u.Tenant, First: u.First, Last: u.Last},
				tally: tally{}, days: map[schema.Day]bool{}}
			if s := j.Env.Catalog.ServiceNamed(u.Service); s != nil {
				if o := s.OperationNamed(u.Operation); o != nil {
					f.Class, f.Sensitivity = o.Class.String(), o.Sensitivity
				}
			}
			found[k] = f
		}
		f.tally.add(u)
		if u.First.Before(f.First) {
			f.First = u.First
		}
		if u.Last.After(f.Last) {
			f.Last = u.Last
		}
		for _, d := range u.Days {
			f.days[d] = true
		}
		f.days[schema.DayOf(u.First)], f.days[schema.DayOf(u.Last)] = true, true
	}
	list := make([]Used, 0, len(found))
	for _, f := range found {
		f.Verdicts, f.Days = f.tally.verdicts(), len(f.days)
		list = append(list, f.Used)
	}
	return list
}

// gravity ranks what was used: beyond the grant first, then refused, then the
// rest.
func (u *Used) gravity() int {
	switch {
	case u.Verdicts.Beyond > 0:
		return 0
	case u.Verdicts.Denied > 0:
		return 1
	}
	return 2
}

func sortUsed(list []Used) {
	slices.SortFunc(list, func(a, b Used) int {
		return cmp.Or(cmp.Compare(a.gravity(), b.gravity()), -cmp.Compare(a.Sensitivity, b.Sensitivity), cmp.Compare(a.Service, b.Service),
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Credential, b.Credential))
	})
}
