package rule

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// First is the first time that a principal did something: called an operation of
// a service, or, with Tenant set and the others empty, acted in a tenant. Calls
// that were authorised count (allowed and no_effect). Operation is empty where no
// route was known.
type First struct {
	Hash                       schema.PrincipalHash
	Service, Operation, Tenant string
	Time                       time.Time
}

// dimension is one respect in which a credential has habits.
type dimension uint8

const (
	operations dimension = iota
	services
	tenants
	// classes are what an envelope is made of: the classes of operations by
	// service, and tools by name.
	classes
	dimensions
)

// plural names what the targets of a respect are.
func (d dimension) plural() string {
	return [dimensions]string{"operations", "services", "tenants", "classes"}[d]
}

// aim is what a credential acts on, in one dimension: an operation of a
// service, a service, a tenant (Name), or a class or tool (Name) of a service.
type aim struct {
	dimension     dimension
	service, name string
}

func compareTargets(a, b aim) int {
	return cmp.Or(cmp.Compare(a.dimension, b.dimension), cmp.Compare(a.service, b.service), cmp.Compare(a.name, b.name))
}

// Population is who does what since when, over all credentials: what tells a new
// but common thing from one that nobody does. Make one with NewPopulation, give
// it all firsts and lives, then Close it.
type Population struct {
	env     *Env
	members []*Subject
	byHash  map[schema.PrincipalHash]int
	firsts  map[aim]map[int]time.Time
	adopted map[aim][]adoption
	// since is each member's first time.
	since  []time.Time
	groups map[string][]int
	// days are each member's days with calls, pieces its news by respect.
	days   [][]schema.Day
	pieces [dimensions][][]dated
	// shares, pools and tempi are caches by day.
	shares map[dayOf]*popularity
	pools  map[poolKey]*peerPool
	tempi  map[poolKey]*tempo
}

type dayOf struct {
	dimension dimension
	day       schema.Day
}

// adoption is one member's first time with a target.
type adoption struct {
	member int
	at     time.Time
}

// NewPopulation returns the population of all subjects, without firsts.
func NewPopulation(env *Env, members []*Subject) *Population {
	p := &Population{env: env, members: members, byHash: map[schema.PrincipalHash]int{}, firsts: map[aim]map[int]time.Time{},
		adopted: map[aim][]adoption{}, since: make([]time.Time, len(members)), groups: map[string][]int{},
		days: make([][]schema.Day, len(members)), shares: map[dayOf]*popularity{}, pools: map[poolKey]*peerPool{}, tempi: map[poolKey]*tempo{}}
	for i, m := range members {
		if !m.Identifies() {
			continue
		}
		for k := range m.Principals {
			p.byHash[m.Principals[k].Hash] = i
		}
		for _, name := range groupNames(m) {
			p.groups[name] = append(p.groups[name], i)
		}
	}
	return p
}

// groupNames are the groups that a subject is in, the closest first: its
// workload, its owner, its kind of caller, everybody.
func groupNames(s *Subject) []string {
	var list []string
	if d := s.Declared; d != nil && d.Workload != "" {
		list = append(list, workloadGroup+d.Workload)
	}
	if d := s.Declared; d != nil && d.Owner != "" {
		list = append(list, ownerGroup+d.Owner)
	}
	kind, _ := s.CallerKind()
	return append(list, kindGroup+kind, everybody)
}

const (
	workloadGroup = "workload "
	ownerGroup    = "owner "
	kindGroup     = "kind "
	everybody     = "all credentials"
)

// First takes one first time; those of principals that are no members are left
// out.
func (p *Population) First(f *First) {
	i, ok := p.byHash[f.Hash]
	if !ok {
		return
	}
	if p.since[i].IsZero() || f.Time.Before(p.since[i]) {
		p.since[i] = f.Time
	}
	for _, t := range targetsOf(p.env, f.Service, f.Operation, f.Tenant) {
		m := p.firsts[t]
		if m == nil {
			m = map[int]time.Time{}
			p.firsts[t] = m
		}
		if at, ok := m[i]; !ok || f.Time.Before(at) {
			m[i] = f.Time
		}
	}
}

// targetsOf lists what one use acts on.
func targetsOf(env *Env, service, operation, tenant string) []aim {
	var list []aim
	if service != "" {
		list = append(list, aim{services, service, ""})
		if operation != "" {
			list = append(list, aim{operations, service, operation}, aim{classes, service, classOrTool(env, service, operation)})
		}
	}
	if tenant != "" {
		list = append(list, aim{tenants, "", tenant})
	}
	return list
}

// Close ends the taking of firsts and lives.
func (p *Population) Close() {
	p.gather()
	for t, m := range p.firsts {
		list := make([]adoption, 0, len(m))
		for i, at := range m {
			list = append(list, adoption{i, at})
		}
		slices.SortFunc(list, func(a, b adoption) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.member, b.member)) })
		p.adopted[t] = list
	}
	p.firsts = nil
}

// users is how many members had acted on a target before a time.
func (p *Population) users(t aim, before time.Time) int {
	n, _ := slices.BinarySearchFunc(p.adopted[t], before, func(a adoption, at time.Time) int { return a.at.Compare(at) })
	return n
}

// popularity is how the first uses before a day spread over the targets of a
// dimension.
type popularity struct {
	// below says, for a number of users, how many first uses fell on targets
	// with fewer; level how many on targets with as many.
	counts, below, level []int
	total                int
	// unheard is the chance that the next first use is of something that nobody
	// used: the share of first uses that still stand alone (Good and Turing).
	unheard float64
}

// tail is how probable a first use is that is as rare as one of a target with so
// many users, or rarer, where it is known that something new is used. The chance
// of equally rare ones counts half (mid-p).
func (p *Population) tail(t aim, day schema.Day) float64 {
	share := p.popularity(t.dimension, day)
	users := p.users(t, day.Start())
	if users == 0 {
		return share.unheard / 2
	}
	at, _ := slices.BinarySearch(share.counts, users)
	seen := (float64(share.below[at]) + float64(share.level[at])/2) / float64(share.total)
	return share.unheard + (1-share.unheard)*seen
}

func (p *Population) popularity(d dimension, day schema.Day) *popularity {
	key := dayOf{d, day}
	if share := p.shares[key]; share != nil {
		return share
	}
	byUsers := map[int]int{}
	share := &popularity{}
	for t := range p.adopted {
		if t.dimension != d {
			continue
		}
		if n := p.users(t, day.Start()); n > 0 {
			byUsers[n] += n
			share.total += n
		}
	}
	for n := range byUsers {
		share.counts = append(share.counts, n)
	}
	slices.Sort(share.counts)
	below := 0
	for _, n := range share.counts {
		share.below = append(share.below, below)
		share.level = append(share.level, byUsers[n])
		below += byUsers[n]
	}
	share.unheard = float64(byUsers[1]+1) / float64(share.total+1)
	p.shares[key] = share
	return share
}

type poolKey struct {
	group     string
	dimension dimension
	day       schema.Day
}

// peerPool is what the grown members of a group do, taken together: the habit that a
// young credential is judged by.
type peerPool struct {
	members int
	habit   habit
	uses    map[aim]int
}

// leastPeers is how many grown credentials make a group that others can be
// compared with.
const leastPeers = 3

// pool returns what those of a group did before a day whose first call was a
// learning period ago or more. The subject itself is young, so it is none of
// them.
func (p *Population) pool(group string, d dimension, day schema.Day) *peerPool {
	key := poolKey{group, d, day}
	if one := p.pools[key]; one != nil {
		return one
	}
	grown := map[int]bool{}
	for _, i := range p.groups[group] {
		if at := p.since[i]; !at.IsZero() && schema.DayOf(at)+learningDays <= day {
			grown[i] = true
		}
	}
	one := &peerPool{members: len(grown), uses: map[aim]int{}}
	if len(grown) >= leastPeers {
		for t, list := range p.adopted {
			if t.dimension != d {
				continue
			}
			n := 0
			for _, a := range list {
				if !a.at.Before(day.Start()) {
					break
				}
				if grown[a.member] {
					n++
				}
			}
			if n > 0 {
				one.uses[t] = n
				one.habit.add(n)
			}
		}
	}
	p.pools[key] = one
	return one
}

// peers returns the closest group of a subject that has grown members enough.
func (p *Population) peers(s *Subject, day schema.Day) (group string, ok bool) {
	for _, name := range groupNames(s) {
		if p.pool(name, services, day).members >= leastPeers {
			return name, true
		}
	}
	return "", false
}

// rollout is how a new thing spread over a group.
type rollout struct {
	group          string
	adopted, whole int
}

// rolloutDays is how long a release may take to reach all of a workload's
// credentials, before and after the one looked at.
const rolloutDays = 7

// spread reports whether half or more of the credentials of the subject's
// workload, three or more in all, began to act on a target at about that time;
// where it has no such workload, of those that used the service before, or for a
// tenant, of those that act in tenants at all.
func (p *Population) spread(s *Subject, t aim, day schema.Day) (rollout, bool) {
	from, to := (day - rolloutDays).Start(), (day + rolloutDays + 1).Start()
	began := map[int]bool{}
	for _, a := range p.adopted[t] {
		if !a.at.Before(from) && a.at.Before(to) {
			began[a.member] = true
		}
	}
	group, members := p.companions(s, t, from)
	r := rollout{group: group, whole: len(members)}
	for _, i := range members {
		if began[i] {
			r.adopted++
		}
	}
	return r, r.whole >= leastPeers && 2*r.adopted >= r.whole && r.adopted >= 2
}

// companions are those over whom a target would spread.
func (p *Population) companions(s *Subject, t aim, from time.Time) (string, []int) {
	if d := s.Declared; d != nil && d.Workload != "" {
		if list := p.groups[workloadGroup+d.Workload]; len(list) >= leastPeers {
			return workloadGroup + d.Workload, list
		}
	}
	seen := map[int]bool{}
	switch t.dimension {
	case operations, classes:
		for _, a := range p.adopted[aim{services, t.service, ""}] {
			if a.at.Before(from) {
				seen[a.member] = true
			}
		}
		return "callers of " + t.service, keysOf(seen)
	case tenants:
		for other, list := range p.adopted {
			if other.dimension != tenants {
				continue
			}
			for _, a := range list {
				if a.at.Before(from) {
					seen[a.member] = true
				}
			}
		}
		return "credentials that act in tenants", keysOf(seen)
	}
	return "", nil
}

func keysOf(set map[int]bool) []int {
	list := make([]int, 0, len(set))
	for i := range set {
		list = append(list, i)
	}
	slices.Sort(list)
	return list
}
