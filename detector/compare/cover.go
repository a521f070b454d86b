package compare

import (
	"github.com/scopedrift/scopedrift/schema"
)

// Cover is one way in which a request is satisfied: of each inner list any one
// contribution is enough, and every list needs one.
type Cover [][]Contribution

// Covers returns every way in which the demand is satisfied for certain, by the
// grant that the mode names: one for each alternative of the demand that holds.
// Unlike [Judgement.By] it names every scope that would do, also several of one
// entry, as [Comparer.Held] writes them. It is empty where the demand is not
// known or not surely satisfied, and holds one empty cover where the operation
// is public. The default mode is that of the service.
func (c *Comparer) Covers(r *Request, mode schema.GrantMode) []Cover {
	service := c.services[r.Service]
	if service == nil || !routed(r.RouteSource) {
		return nil
	}
	if mode == schema.GrantDefault {
		mode = service.Grant
	}
	if mode == schema.GrantDefault {
		mode = schema.GrantDeclared
		if r.Scopes != nil {
			mode = schema.GrantPresented
		}
	}
	d := c.demand(service, r.Operation, r.Kind)
	switch d.State {
	case schema.DemandPublic:
		return []Cover{{}}
	case schema.DemandUnmapped:
		return nil
	}
	h := c.holder(service, r.Declared, r.Groups)
	e := &evaluation{c: c, h: h, r: r, mode: mode, demand: d, known: h.known && !r.Time.Before(h.from)}
	var covers []Cover
	for i := range d.Alternatives {
		if d.Alternatives[i].Unscoped {
			continue
		}
		cover := Cover{}
		for k := range d.needs[i] {
			n := &d.needs[i][k]
			if e.need(n).truth != yes {
				cover = nil
				break
			}
			cover = append(cover, e.ways(n)...)
		}
		if cover != nil {
			covers = append(covers, cover)
		}
	}
	return covers
}

// ways lists what satisfies a need that is satisfied: one list of which any one
// is enough, or, where it must be both presented and declared, two.
func (e *evaluation) ways(n *needs) Cover {
	switch e.mode {
	case schema.GrantPresented:
		return Cover{e.presentedBy(n)}
	case schema.GrantBoth:
		return Cover{e.presentedBy(n), e.declaredBy(n)}
	case schema.GrantEither:
		return Cover{append(e.presentedBy(n), e.declaredBy(n)...)}
	}
	return Cover{e.declaredBy(n)}
}

func (e *evaluation) presentedBy(n *needs) []Contribution { return e.presented(n).by }

// declaredBy lists every scope of every entry that surely gives the need.
func (e *evaluation) declaredBy(n *needs) (by []Contribution) {
	if !e.known {
		return nil
	}
	for i := range n.up {
		up := &n.up[i]
		if refused, _ := e.refused(up, n.sure); refused != no {
			continue
		}
		for k := range e.h.entries {
			entry := &e.h.entries[k]
			if entry.grant.Effect != schema.EffectAllow || !entry.grant.InForce(e.r.Time) {
				continue
			}
			for p := range entry.parts {
				one := *entry
				one.parts = entry.parts[p : p+1]
				if one.covering(up) == nil {
					continue
				}
				if applies, _ := one.applies(&n.up[0], e.r, n.sure); applies == yes {
					by = append(by, Contribution{n.text(), one.parts[0].text + one.exceptions(), entry.grant, entry.source()})
				}
			}
		}
	}
	return by
}
