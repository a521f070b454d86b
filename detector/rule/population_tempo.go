package rule

import (
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// Life is on which days a principal made calls that were authorised, in any order.
type Life struct {
	Hash schema.PrincipalHash
	Days []schema.Day
}

// Life takes the days of one principal; those of principals that are no members
// are left out.
func (p *Population) Life(l *Life) {
	if i, ok := p.byHash[l.Hash]; ok {
		p.days[i] = append(p.days[i], l.Days...)
	}
}

// dated is a piece of news: how many things were new on a day, and whether one
// touched secrets or rights.
type dated struct {
	day    schema.Day
	things int
	grave  bool
}

// gather sorts the days of all members, and finds their pieces of news.
func (p *Population) gather() {
	for i := range p.days {
		slices.Sort(p.days[i])
		p.days[i] = slices.Compact(p.days[i])
	}
	began := make([]map[string]schema.Day, len(p.members))
	for t, m := range p.firsts {
		if t.dimension != services {
			continue
		}
		for i, at := range m {
			if began[i] == nil {
				began[i] = map[string]schema.Day{}
			}
			began[i][t.service] = schema.DayOf(at)
		}
	}
	for d := range p.pieces {
		p.pieces[d] = make([][]dated, len(p.members))
	}
	for t, m := range p.firsts {
		grave := (t.dimension == operations || t.dimension == classes) && sensitive(p.env.classOf(t))
		for i, at := range m {
			one := dated{schema.DayOf(at), 1, grave}
			if from, ok := began[i][t.service]; ok && p.env.partOf(t, from, one.day) {
				if !grave || t.dimension == classes {
					continue
				}
				// The piece is the service's, which is counted below.
				p.pieces[services][i] = append(p.pieces[services][i], dated{one.day, 0, true})
				continue
			}
			p.pieces[t.dimension][i] = append(p.pieces[t.dimension][i], one)
		}
	}
	for d := range p.pieces {
		for i, list := range p.pieces[d] {
			slices.SortFunc(list, func(a, b dated) int { return int(a.day) - int(b.day) })
			merged := list[:0]
			for _, one := range list {
				if n := len(merged); n > 0 && merged[n-1].day == one.day {
					merged[n-1].things += one.things
					merged[n-1].grave = merged[n-1].grave || one.grave
				} else {
					merged = append(merged, one)
				}
			}
			p.pieces[d][i] = merged
		}
	}
}

// partOf reports whether a new target of a service that was new itself on the day
// from is a part of that news: whatever is done at a new service is new. Secrets
// and rights are news of their own, if they came later.
func (env *Env) partOf(t aim, from, day schema.Day) bool {
	if t.dimension != operations && t.dimension != classes || day < from {
		return false
	}
	return day == from || day-from < weekDays && !sensitive(env.classOf(t))
}

// classOf is the class of an operation, or of what an envelope is made of.
func (env *Env) classOf(t aim) schema.Class {
	if t.dimension == classes {
		for _, c := range []schema.Class{schema.ClassAdmin, schema.ClassSecret, schema.ClassMint} {
			if t.name == c.String() {
				return c
			}
		}
	}
	return env.class(t.service, t.name)
}

// tempo returns how fast news came to credentials of the subject's kind before a
// day, in one respect; to all, where those of its kind tell too little.
func (p *Population) tempo(s *Subject, d dimension, day schema.Day) *tempo {
	kind, _ := s.CallerKind()
	one := p.tempoOf(kindGroup+kind, d, day)
	if one.days < leastExposure {
		one = p.tempoOf(everybody, d, day)
	}
	return one
}

func (p *Population) tempoOf(group string, d dimension, day schema.Day) *tempo {
	key := poolKey{group, d, day}
	if one := p.tempi[key]; one != nil {
		return one
	}
	var sum exposure
	for _, i := range p.groups[group] {
		if len(p.days[i]) == 0 {
			continue
		}
		from := p.days[i][0] + weekDays
		pieces, several, grave := 0, 0, 0
		for _, one := range p.pieces[d][i] {
			if one.day >= from && one.day < day {
				pieces++
				if one.things > 1 {
					several++
				}
				if one.grave {
					grave++
				}
			}
		}
		sum.add(pieces, several, grave, daysWithin(p.days[i], from, day))
	}
	one := sum.tempo()
	p.tempi[key] = &one
	return &one
}

// daysWithin counts the days of a sorted list from one on and before another.
func daysWithin(days []schema.Day, from, to schema.Day) int {
	a, _ := slices.BinarySearch(days, from)
	b, _ := slices.BinarySearch(days, to)
	return max(0, b-a)
}
