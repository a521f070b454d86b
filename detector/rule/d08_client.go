package rule

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// maxHandAddresses is of how many addresses it is asked who else used them: a
// pool of more is no desk.
const maxHandAddresses = 64

// clientHabit is which kinds of client used a credential, and when.
type clientHabit struct {
	clients map[string]*clientUse
	// many says that there were too many kinds to speak of a habit.
	many bool
}

type clientUse struct {
	first, last time.Time
	days        map[schema.Day]struct{}
	// addresses are when it first called from where.
	addresses map[netip.Addr]time.Time
	desktop   bool
}

func (c *clientHabit) add(v *Arrival) {
	if c.many {
		return
	}
	if c.clients == nil {
		c.clients = map[string]*clientUse{}
	}
	family := ClientFamily(v.Agent)
	u := c.clients[family]
	if u == nil {
		if len(c.clients) == maxHaunts {
			c.clients, c.many = nil, true
			return
		}
		u = &clientUse{first: v.First, last: v.Last, days: map[schema.Day]struct{}{}, addresses: map[netip.Addr]time.Time{}}
		c.clients[family] = u
	}
	if v.First.Before(u.first) {
		u.first = v.First
	}
	if v.Last.After(u.last) {
		u.last = v.Last
	}
	u.days[v.Day] = struct{}{}
	u.desktop = u.desktop || Desktop(v.Agent)
	if !v.Address.IsValid() {
		return
	}
	a := v.Address.Unmap().WithZone("")
	if first, ok := u.addresses[a]; !ok && len(u.addresses) <= maxHandAddresses || ok && v.First.Before(first) {
		u.addresses[a] = v.First
	}
}

// foreign reports whether a kind of client came when others had used the
// credential for long, and they go on: a program that changes its client leaves
// the old one.
func (c *clientHabit) foreign(family string) (string, bool) {
	u := c.clients[family]
	if u == nil {
		return "", false
	}
	days := map[schema.Day]struct{}{}
	var usual []string
	for _, name := range sortedKeys(c.clients) {
		o := c.clients[name]
		if name == family || !o.first.Before(u.first) {
			continue
		}
		for d := range o.days {
			if d < schema.DayOf(u.first) {
				days[d] = struct{}{}
			}
		}
		if o.last.After(u.first) {
			usual = append(usual, orUnnamed(name))
		}
	}
	if len(days) < habitDays || len(usual) == 0 {
		return "", false
	}
	return fmt.Sprintf("it never had this client on %d days of use before, and goes on being used with %s", len(days), some(usual, 2)), true
}

// addresses are those of which it must be known who used them before: where a
// client came that is foreign, or sure to be a person's.
func (r *humanRule) addresses() []string {
	if !r.wants() || len(r.agents) == 0 {
		return nil
	}
	r.asked = map[netip.Addr]time.Time{}
	var list []string
	for _, agent := range sortedKeys(r.agents) {
		family := ClientFamily(agent)
		u := r.habit.clients[family]
		if u == nil || len(u.addresses) > maxHandAddresses {
			continue
		}
		if _, foreign := r.habit.foreign(family); !foreign && !u.desktop && handDriven[family] != surelyHand {
			continue
		}
		for a, at := range u.addresses {
			if first, ok := r.asked[a]; !ok || at.Before(first) {
				r.asked[a] = at
			}
			list = append(list, a.String())
		}
	}
	return unique(list)
}

// tenancy takes who used one of the addresses. What comes after the call tells
// nothing about it.
func (r *humanRule) tenancy(t *Tenancy, by *Subject) {
	if by == nil || by == r.subject || !by.Identifies() {
		return
	}
	first, ok := r.asked[t.Address]
	if !ok || !t.First.Before(first) {
		return
	}
	if by.Person() {
		if r.people == nil {
			r.people = map[netip.Addr]string{}
		}
		if known := r.people[t.Address]; known == "" || by.Name < known {
			r.people[t.Address] = by.Name
		}
		return
	}
	if !t.First.After(first.Add(-sharedAge)) {
		if r.shared == nil {
			r.shared = map[netip.Addr][]string{}
		}
		if names := r.shared[t.Address]; !slices.Contains(names, by.Name) {
			r.shared[t.Address] = append(names, by.Name)
		}
	}
}

// person says which person had used an address of a client before. Behind a way
// out that machines have long shared, everybody is.
func (r *humanRule) person(h *hand) (string, bool) {
	best := ""
	for a := range h.addresses {
		if name := r.people[a]; name != "" && len(r.shared[a]) < maxTenants && (best == "" || name < best) {
			best = name
		}
	}
	if best == "" {
		return "", false
	}
	return fmt.Sprintf("%s, a person, had used the address before", best), true
}
