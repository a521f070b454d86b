package compare

import (
	"github.com/scopedrift/scopedrift/schema"
)

// Cover is one way in which a request is satisfied: of each inner list any one
// contribution is enough, and every list needs one.
type Cover [][]Contribution

// Covers returns every way in which the request is satisfied for certain by
// what is held or presented: one for each alternative of the demand that holds.
// Unlike [Judgement.By] it names every scope that would do, also several of one
// entry. It is empty where the request does not surely hold, and holds one
// empty cover where the operation is public.
//
// The contribution's Scope is as [Comparer.Held] writes it.
func (c *Comparer) Covers(r *Request) []Cover {
	j := c.Judge(r)
	if j.Holding != Holds {
		return nil
	}
	if j.Demand.State == schema.DemandPublic {
		return []Cover{{}}
	}
	service := c.services[r.Service]
	h := c.holder(service, r.Declared, r.Groups)
	e := &evaluation{c: c, h: h, r: r, mode: j.Mode, demand: c.demand(service, r.Operation, r.Kind), known: h.known && !r.Time.Before(h.from)}
	var covers []Cover
	for i := range e.demand.Alternatives {
		if e.demand.Alternatives[i].Unscoped {
			continue
		}
		cover := Cover{}
		for k := range e.demand.needs[i] {
			n := &e.demand.needs[i][k]
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
