package compare

import (
	"fmt"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// needs is one need of an alternative with all the declared scopes that imply
// it.
type needs struct {
	// up begins with the need itself.
	up []need
	// sure says that the object a call shows must be this need's, since the
	// operation has no other.
	sure bool
}

func (n *needs) text() string { return n.up[0].text }

type demandKey struct {
	service   *catalog.Service
	operation string
	kind      schema.CredentialKind
}

// demand is a demand as it stands for one kind of credential, ready to be
// compared: needs[i] are those of Alternatives[i].
type demand struct {
	schema.Demand
	needs [][]needs
	// instead is what the request may have needed instead, depending on what
	// the operation's name does not tell: whoever holds it does not surely
	// lack.
	instead []needs
}

// DemandFor returns what an operation needs of a credential of the kind given:
// of a known demand only the alternatives that apply to it. Where none does, it
// is unmapped. A service that is nil has only unmapped demands.
//
// The catalogue's own word comes first, then "demand: operation", then what the
// dialect knows by itself: a Kubernetes operation needs the right of its own
// name, a CloudTrail event those of a table of facts.
func (c *Comparer) DemandFor(service *catalog.Service, operation string, kind schema.CredentialKind) schema.Demand {
	return c.demand(service, operation, kind).Demand
}

func (c *Comparer) demand(service *catalog.Service, operation string, kind schema.CredentialKind) *demand {
	key := demandKey{service, operation, kind}
	c.mu.RLock()
	d := c.demands[key]
	c.mu.RUnlock()
	if d != nil {
		return d
	}
	whole, instead := demandOf(service, operation)
	d = &demand{Demand: forKind(whole, operation, kind)}
	for i := range d.Alternatives {
		d.needs = append(d.needs, c.allNeeds(service.Dialect, d.Alternatives[i].Scopes))
	}
	if len(instead) > 0 {
		d.instead = c.allNeeds(service.Dialect, instead)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.demands) >= maxCached {
		clear(c.demands)
	}
	c.demands[key] = d
	return d
}

func (c *Comparer) allNeeds(d schema.Dialect, scopes []string) []needs {
	list := make([]needs, len(scopes))
	for i, text := range scopes {
		list[i] = c.needs(d, text)
		list[i].sure = len(scopes) == 1
	}
	return list
}

// demandOf returns the demand for all kinds, and what the request may have
// needed instead.
func demandOf(s *catalog.Service, operation string) (d schema.Demand, instead []string) {
	if s == nil {
		return schema.Demand{Why: "the catalogue does not have the service"}, nil
	}
	listed := s.OperationNamed(operation)
	if listed != nil && listed.Demand.State != schema.DemandUnmapped {
		return listed.Demand, nil
	}
	if s.DemandOperation && operation != "" {
		return schema.Demand{
			State:        schema.DemandKnown,
			Alternatives: []schema.Alternative{{Scopes: []string{operation}}},
			Source:       "the service's demand is its operation's own name",
		}, nil
	}
	switch s.Dialect {
	case schema.DialectKubernetes:
		if r, ok := parseRight(operation); ok && !r.everything {
			return schema.Demand{
				State:        schema.DemandKnown,
				Alternatives: []schema.Alternative{{Scopes: []string{operation}}},
				Source:       "a Kubernetes operation is the right it needs",
			}, nil
		}
		if listed == nil {
			return schema.Demand{Why: fmt.Sprintf("%q is no Kubernetes operation (\"verb resource\")", operation)}, nil
		}
	case schema.DialectIAM:
		if d := EventDemand(operation); d.State != schema.DemandUnmapped || listed == nil {
			return d, eventInstead(operation)
		}
	}
	if listed != nil {
		d := listed.Demand
		if d.Why == "" {
			d.Why = fmt.Sprintf("the catalogue does not say what %q of %s needs", operation, s.Name)
		}
		return d, nil
	}
	return schema.Demand{Why: fmt.Sprintf("the service %s lists no operation %q", s.Name, operation)}, nil
}

// forKind keeps the alternatives that apply to a kind of credential.
func forKind(d schema.Demand, operation string, kind schema.CredentialKind) schema.Demand {
	if d.State != schema.DemandKnown {
		d.Alternatives = nil
		return d
	}
	var kept []schema.Alternative
	scoped := false
	for _, a := range d.Alternatives {
		if a.Applies(kind) {
			kept = append(kept, a)
			scoped = scoped || !a.Unscoped
		}
	}
	d.Alternatives = kept
	switch {
	case len(kept) == 0:
		d.State = schema.DemandUnmapped
		d.Why = fmt.Sprintf("nothing is stated about what %q needs of a credential of kind %s", operation, kind)
	case !scoped:
		d.State = schema.DemandUnmapped
		d.Why = fmt.Sprintf("%s lets a credential of kind %s call %q without naming scopes", schemeName(&kept[0]), kind, operation)
	}
	return d
}

// needs gathers, for a scope that is needed, every declared scope that implies
// it, at once or over others. A scope implies all that its "implies" cover.
func (c *Comparer) needs(d schema.Dialect, text string) needs {
	n := needs{up: []need{newNeed(d, text)}}
	for i := 0; i < len(n.up); i++ {
		for _, s := range c.implying {
			if !n.has(s.Name) && impliesOne(d, &s, n.up[i].text) {
				n.up = append(n.up, newNeed(d, s.Name))
			}
		}
	}
	return n
}

func (n *needs) has(name string) bool {
	for i := range n.up {
		if n.up[i].text == name {
			return true
		}
	}
	return false
}

func impliesOne(d schema.Dialect, s *schema.Scope, needed string) bool {
	for _, i := range s.Implies {
		if Covers(d, i, needed) {
			return true
		}
	}
	return false
}
