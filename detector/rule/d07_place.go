package rule

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// door is how calls of one kind of client come: by a workload from a network, or
// from an address where no workload is told.
type door struct {
	workload string
	address  netip.Addr
	network  netip.Prefix
	family   string
}

func doorOf(workload string, address netip.Addr, agent string) door {
	d := door{workload: baseWorkload(workload), network: homeNetwork(address), family: ClientFamily(agent)}
	if workload == "" {
		d.address = address.Unmap().WithZone("")
	}
	return d
}

func compareDoors(a, b door) int {
	return cmp.Or(cmp.Compare(a.workload, b.workload), a.address.Compare(b.address), a.network.Addr().Compare(b.network.Addr()),
		cmp.Compare(a.network.Bits(), b.network.Bits()), cmp.Compare(a.family, b.family))
}

// doorUse is when calls came by a door: its days, and slots over all days.
type doorUse struct {
	days  map[schema.Day]struct{}
	slots map[int32]struct{}
}

// workplace is one place that uses a credential, as far as the logs can tell
// places apart, and what it calls.
type workplace struct {
	name string
	// byAddress says that no workload is told.
	byAddress bool
	// through is the workload where that is a way in for several.
	through     string
	families    map[string]struct{}
	networks    map[netip.Prefix]struct{}
	days        map[schema.Day]struct{}
	slots       map[int32]struct{}
	operations  map[Op]struct{}
	first, last time.Time
	calls       uint64
	want        earliest
}

// stranger reports whether two places have neither network nor client in common.
func (w *workplace) stranger(o *workplace) bool {
	return !shares(w.networks, o.networks) && !shares(w.families, o.families)
}

func shares[K comparable](a, b map[K]struct{}) bool {
	for k := range a {
		if _, ok := b[k]; ok {
			return true
		}
	}
	return false
}

// add takes a door in.
func (w *workplace) add(d door, use *doorUse) {
	if w.days == nil {
		w.families, w.networks = map[string]struct{}{}, map[netip.Prefix]struct{}{}
		w.days, w.slots = map[schema.Day]struct{}{}, map[int32]struct{}{}
	}
	w.families[d.family], w.networks[d.network] = struct{}{}, struct{}{}
	for day := range use.days {
		w.days[day] = struct{}{}
	}
	for slot := range use.slots {
		w.slots[slot] = struct{}{}
	}
}

// workplaces tells which doors are one place.
func workplaces(doors map[door]*doorUse) map[door]*workplace {
	order := make([]door, 0, len(doors))
	for d := range doors {
		order = append(order, d)
	}
	slices.SortFunc(order, compareDoors)
	places := map[door]*workplace{}
	for len(order) > 0 {
		n := 1
		for n < len(order) && order[n].workload == order[0].workload {
			n++
		}
		if order[0].workload == "" {
			placesByAddress(places, order[:n], doors)
		} else {
			placesOfWorkload(places, order[:n], doors)
		}
		order = order[n:]
	}
	return places
}

// placesByAddress makes each steady address with a kind of client a place. Those
// of a pool come and go, and are one place where network and client are the same.
func placesByAddress(places map[door]*workplace, list []door, doors map[door]*doorUse) {
	pools := map[door]*workplace{}
	for _, d := range list {
		w := &workplace{name: d.address.String(), byAddress: true}
		if d.family != "" {
			w.name += " (" + d.family + ")"
		}
		if len(doors[d].days) < steadyDays {
			pool := door{network: d.network, family: d.family}
			if pools[pool] == nil {
				pools[pool] = &workplace{name: cmp.Or(d.family, "an unnamed client") + " from " + d.network.String(), byAddress: true}
			}
			w = pools[pool]
		}
		w.add(d, doors[d])
		places[d] = w
	}
}

// placesOfWorkload makes a workload one place, unless it is a way in: kinds of
// client behind it that have no network in common are places of their own. One
// application keeps its client where it moves or grows, and its clients share
// its networks; who comes through an ingress or a gateway has both for himself.
func placesOfWorkload(places map[door]*workplace, list []door, doors map[door]*doorUse) {
	var parts []*workplace
	of := map[door]*workplace{}
	for _, d := range list {
		var part *workplace
		// Parts that a door joins become one.
		parts = slices.DeleteFunc(parts, func(p *workplace) bool {
			_, family := p.families[d.family]
			_, network := p.networks[d.network]
			switch {
			case !family && !network:
				return false
			case part == nil:
				part = p
				return false
			}
			for one, w := range of {
				if w == p {
					of[one] = part
					part.add(one, doors[one])
				}
			}
			return true
		})
		if part == nil {
			part = &workplace{}
			parts = append(parts, part)
		}
		part.add(d, doors[d])
		of[d] = part
	}
	for _, d := range list {
		if w := of[d]; len(parts) == 1 || w.apart(d) {
			places[d] = w
			w.call(d.workload, len(parts) > 1)
		}
	}
}

// apart reports whether it can be told whose calls a part of a way in is.
func (w *workplace) apart(d door) bool {
	_, unnamed := w.families[""]
	return !unnamed && d.network.IsValid()
}

// call names a place of a workload.
func (w *workplace) call(workload string, wayIn bool) {
	w.name = workload
	if !wayIn {
		return
	}
	var networks []string
	for n := range w.networks {
		networks = append(networks, n.String())
	}
	slices.Sort(networks)
	w.name = some(sortedKeys(w.families), 2) + " from " + some(networks, 2)
	w.through = workload
}
