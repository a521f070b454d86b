package rule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// newcomerDays is how long a tenant or environment is new to everybody: whoever
// comes to it in that time is brought there by it, not by its own doing.
const newcomerDays = 7

// boundaryRule is D09: a machine's credential that was at home in one tenant or
// environment acts in another, or steps into privileged functions that neither
// its habit nor what was approved for it contains.
//
// Days decide what is a home, never calls: it is the only place of its kind that
// the credential acted in on seven or more days over two or more weeks.
type boundaryRule struct {
	base
	excused excused
	uses    []boundaryUse
}

// boundaryUse is an authorised use as D09 keeps it.
type boundaryUse struct {
	Use
	holding compare.Holding
	// earlier says that it was before the window.
	earlier bool
	change  *catalog.Change
}

// frontier is a kind of boundary.
type frontier uint8

const (
	tenantFrontier frontier = iota
	environmentFrontier
	privilegeFrontier
)

func (f frontier) String() string {
	return [...]string{"tenant", "environment", "privileged functions"}[f]
}

// land is where a use lies in one respect.
type land struct {
	frontier frontier
	// space keeps apart names that mean nothing to each other: the namespaces
	// of one cluster and the customers of a service.
	space, name string
}

// stay is all use in one land.
type stay struct {
	land
	first time.Time
	days  map[schema.Day]struct{}
	// uses index the rule's.
	uses []int
}

// crossing is the lands of one frontier that a credential came to from its home.
type crossing struct {
	home *stay
	// homeDays are its days before the first crossing.
	homeDays int
	into     []*stay
}

func (r *boundaryRule) use(u *Use) { r.take(u, false) }

// before takes a row from before the window.
func (r *boundaryRule) before(row *Row) { r.take(&Use{Row: *row}, true) }

func (r *boundaryRule) take(u *Use, earlier bool) {
	if !u.Decision.Authorised() || !r.subject.Machine() || !r.subject.Identifies() ||
		r.env.Now.Sub(r.env.Since) < learningDays*24*time.Hour {
		return
	}
	one := boundaryUse{Use: *u, holding: u.Judgement.Holding, earlier: earlier}
	one.Days = slices.Clone(u.Days)
	one.Scopes, one.Groups, one.Judgement = nil, nil, compare.Judgement{}
	if len(r.env.Catalog.Changes) > 0 {
		one.change = r.env.Changed(r.subject, r.act(u))
	}
	r.uses = append(r.uses, one)
}

// lands lists where a use lies. What the approved purpose speaks about is D18's.
func (r *boundaryRule) lands(u *boundaryUse) (list []land) {
	var a catalog.Approved
	if d := r.subject.Declared; d != nil && d.Approved != nil {
		a = *d.Approved
	}
	s := r.env.Catalog.ServiceNamed(u.Service)
	if u.Tenant != "" && a.Tenants == nil {
		space := ""
		if s == nil || s.Dialect == schema.DialectKubernetes {
			space = u.Service
		}
		list = append(list, land{tenantFrontier, space, u.Tenant})
	}
	if s != nil && s.Environment != "" && a.Environments == nil {
		list = append(list, land{environmentFrontier, "", s.Environment})
	}
	if a.Operations == nil {
		name := ""
		if r.privileged(u) {
			name = "privileged"
		}
		list = append(list, land{privilegeFrontier, "", name})
	}
	return list
}

// privileged reports whether a use is of a function that gives power over others.
func (r *boundaryRule) privileged(u *boundaryUse) bool {
	if u.RouteSource == schema.RouteNone || u.RouteSource == schema.RouteLearned {
		return false
	}
	switch r.env.class(u.Service, u.Operation) {
	case schema.ClassAdmin, schema.ClassSecret, schema.ClassMint:
		return true
	}
	return false
}

// stays folds the uses by where they lie, each space of each frontier by itself,
// in the order in which the lands were come to. What an approved change covers
// neither makes a home nor is a crossing.
func (r *boundaryRule) stays() map[land][]*stay {
	all := map[land]*stay{}
	for i := range r.uses {
		u := &r.uses[i]
		if u.change != nil {
			continue
		}
		for _, l := range r.lands(u) {
			s := all[l]
			if s == nil {
				s = &stay{land: l, first: u.First, days: map[schema.Day]struct{}{}}
				all[l] = s
			}
			if u.First.Before(s.first) {
				s.first = u.First
			}
			for _, d := range u.Days {
				s.days[d] = struct{}{}
			}
			s.uses = append(s.uses, i)
		}
	}
	bySpace := map[land][]*stay{}
	for l, s := range all {
		l.name = ""
		bySpace[l] = append(bySpace[l], s)
	}
	for _, list := range bySpace {
		slices.SortFunc(list, func(a, b *stay) int { return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.name, b.name)) })
	}
	return bySpace
}

// crossings returns what was crossed, in a stable order. Without a population
// (nil) nothing is known to be new to everybody.
func (r *boundaryRule) crossings() (list []crossing, withheld []Withheld) {
	spaces := r.stays()
	keys := make([]land, 0, len(spaces))
	for l := range spaces {
		keys = append(keys, l)
	}
	slices.SortFunc(keys, func(a, b land) int { return cmp.Or(cmp.Compare(a.frontier, b.frontier), cmp.Compare(a.space, b.space)) })
	for _, key := range keys {
		one, why := r.crossed(spaces[key])
		withheld = append(withheld, why...)
		if len(one.into) > 0 {
			list = append(list, one)
		}
	}
	return list, withheld
}

// crossed goes through the lands of one space in the order they were come to.
func (r *boundaryRule) crossed(stays []*stay) (c crossing, withheld []Withheld) {
	homes := 0
	for _, s := range stays {
		if homes == 0 {
			c.home, homes = s, 1
			continue
		}
		day := schema.DayOf(s.first)
		days := 0
		for d := range c.home.days {
			if d < day {
				days++
			}
		}
		at := s.name
		switch {
		case s.frontier == privilegeFrontier && s.name == "":
			// From privileged to common functions is no step up.
			homes++
		case homes > 1 || days < matureDays || day < schema.DayOf(c.home.first)+learningDays:
			homes++
		case !r.honoured(s):
			// Without effect, or in earlier days: it is known from here on.
			if s.first.Before(r.env.Window.From) {
				homes++
			}
		case s.frontier != privilegeFrontier && r.newToAll(s):
			homes++
			withheld = append(withheld, Withheld{BoundaryCrossing, r.subject.Name, fmt.Sprintf("its first use in %s %s", s.frontier, at),
				"it was new to everybody then, so who works with it works with it for the first time"})
		default:
			if len(c.into) == 0 {
				c.homeDays = days
			}
			c.into = append(c.into, s)
		}
	}
	return c, withheld
}

// honoured reports whether something was surely done in the land in the window,
// that D01 does not speak about where functions are meant.
func (r *boundaryRule) honoured(s *stay) bool {
	return slices.ContainsFunc(s.uses, func(i int) bool { return r.counts(s, &r.uses[i]) }) && !s.first.Before(r.env.Window.From)
}

func (r *boundaryRule) counts(s *stay, u *boundaryUse) bool {
	return !u.earlier && u.Decision == schema.DecisionAllowed && u.Certain &&
		(s.frontier != privilegeFrontier || u.holding == compare.Unknown)
}

// newToAll reports whether nobody had been there before, but for the last days.
func (r *boundaryRule) newToAll(s *stay) bool {
	p := r.env.Population
	if p == nil {
		return false
	}
	var debut time.Time
	if s.frontier == tenantFrontier {
		debut = p.debut(aim{tenants, "", s.name})
	} else {
		for _, one := range r.env.Catalog.Services {
			if one.Environment != s.name {
				continue
			}
			if at := p.debut(aim{services, one.Name, ""}); !at.IsZero() && (debut.IsZero() || at.Before(debut)) {
				debut = at
			}
		}
	}
	return debut.IsZero() || s.first.Sub(debut) < newcomerDays*24*time.Hour
}

// debut is when anybody first acted on a target, zero if nobody did.
func (p *Population) debut(a aim) time.Time {
	if list := p.adopted[a]; len(list) > 0 {
		return list[0].at
	}
	return time.Time{}
}

// wantsPopulation reports whether what others do decides.
func (r *boundaryRule) wantsPopulation() bool {
	if len(r.uses) == 0 {
		return false
	}
	list, _ := r.crossings()
	return len(list) > 0
}

func (r *boundaryRule) finish(out *Result) {
	list, withheld := r.crossings()
	out.Withheld = append(out.Withheld, withheld...)
	for i := range list {
		f, want := r.finding(&list[i])
		out.Drafts = append(out.Drafts, Draft{Finding: f, Want: want.cut()})
	}
	r.excuses()
	r.excused.close(out)
}

// excuses notes what would have been a crossing, had no change been approved:
// that, and no more, is what the changes silenced.
func (r *boundaryRule) excuses() {
	if !slices.ContainsFunc(r.uses, func(u boundaryUse) bool { return u.change != nil && !u.earlier }) {
		return
	}
	all := boundaryRule{base: r.base, uses: slices.Clone(r.uses)}
	for i := range all.uses {
		all.uses[i].change = nil
	}
	list, _ := all.crossings()
	for _, c := range list {
		for _, s := range c.into {
			for _, i := range s.uses {
				if u := &r.uses[i]; u.change != nil && r.counts(s, u) {
					r.excused.add(BoundaryCrossing, r.subject, fmt.Sprintf("use in %s %s", s.frontier, s.name), u.change)
				}
			}
		}
	}
}
