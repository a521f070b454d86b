package rule

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// haunt is the use of a credential, or of one session of it, from one place with
// one kind of client, as one kind of log shows it.
type haunt struct {
	hauntKey
	first, last time.Time
	// slots are those with calls, ascending once the haunt is closed.
	slots     []int32
	reporters [4]uint64
	want      earliest
	// keys are the issued keys used, agents the clients as logged.
	keys, agents map[string]struct{}
	addresses    map[netip.Addr]struct{}
}

// hauntKey is what tells haunts apart. What is not told is empty.
type hauntKey struct {
	// view is who saw the calls: places are compared within one view only.
	view string
	// address is that of sessions, which are bound to addresses; network is where
	// habits are at home.
	address  netip.Addr
	network  netip.Prefix
	family   string
	desktop  bool
	workload string
}

// keyOfArrival names the haunt that a arrival is part of.
func keyOfArrival(v *Arrival) hauntKey {
	return hauntKey{
		view: v.SourceType + "/" + v.Reporter.String(), address: v.Address.Unmap().WithZone(""), network: homeNetwork(v.Address),
		family: ClientFamily(v.Agent), desktop: Desktop(v.Agent), workload: baseWorkload(v.Workload),
	}
}

func (s *haunt) add(v *Arrival) {
	if s.first.IsZero() || v.First.Before(s.first) {
		s.first = v.First
	}
	if v.Last.After(s.last) {
		s.last = v.Last
	}
	for _, slot := range v.Slots {
		s.slots = append(s.slots, int32(v.Day)*slotsADay+int32(slot))
	}
	s.reporters[min(int(v.Reporter), 3)] += v.Calls
	s.want.add(Selector{Hash: v.Hash, Session: v.Session, Workload: v.Workload, Address: v.Address, HasOrigin: true,
		Decisions: accepted, From: v.First, To: v.Last})
	if s.keys == nil {
		s.keys, s.agents, s.addresses = map[string]struct{}{}, map[string]struct{}{}, map[netip.Addr]struct{}{}
	}
	if v.Address.IsValid() {
		s.addresses[v.Address.Unmap().WithZone("")] = struct{}{}
	}
	if v.Key != "" {
		s.keys[v.Key] = struct{}{}
	}
	if v.Agent != "" {
		s.agents[v.Agent] = struct{}{}
	}
}

// fold takes another haunt in.
func (s *haunt) fold(o *haunt) {
	if s.first.IsZero() || o.first.Before(s.first) {
		s.first = o.first
	}
	if o.last.After(s.last) {
		s.last = o.last
	}
	s.slots = append(s.slots, o.slots...)
	for i, n := range o.reporters {
		s.reporters[i] += n
	}
	for _, w := range o.want.list {
		s.want.add(w)
	}
	if s.keys == nil {
		s.keys, s.agents, s.addresses = map[string]struct{}{}, map[string]struct{}{}, map[netip.Addr]struct{}{}
	}
	for k := range o.keys {
		s.keys[k] = struct{}{}
	}
	for a := range o.addresses {
		s.addresses[a] = struct{}{}
	}
	for a := range o.agents {
		s.agents[a] = struct{}{}
	}
}

func (s *haunt) close() {
	slices.Sort(s.slots)
	s.slots = slices.Compact(s.slots)
}

// days are the days with calls.
func (s *haunt) days() []int32 {
	var days []int32
	for _, slot := range s.slots {
		if d := slot / slotsADay; len(days) == 0 || days[len(days)-1] != d {
			days = append(days, d)
		}
	}
	return days
}

// within counts the slots that lie in a span, both ends included.
func (s *haunt) within(from, to int32) int {
	a, _ := slices.BinarySearch(s.slots, from)
	b, _ := slices.BinarySearch(s.slots, to+1)
	return b - a
}

// inside reports whether the haunt went on strictly between the first and the last
// slot of another: a way out that failed over does not.
func (s *haunt) inside(o *haunt) bool {
	from, to := o.slots[0]+1, o.slots[len(o.slots)-1]-1
	return from <= to && s.within(from, to) > 0
}

// meets reports whether both were used within one slot or two that follow each
// other.
func (s *haunt) meets(o *haunt) bool {
	for _, slot := range o.slots {
		if s.within(slot-1, slot+1) > 0 {
			return true
		}
	}
	return false
}

// name is the place in words.
func (s *haunt) name() string {
	switch {
	case s.workload != "" && s.address.IsValid():
		return s.workload + " at " + s.address.String()
	case s.workload != "":
		return s.workload
	case s.address.IsValid():
		return s.address.String()
	case len(s.addresses) > 0 && len(s.addresses) <= 2:
		var list []string
		for a := range s.addresses {
			list = append(list, a.String())
		}
		slices.Sort(list)
		return strings.Join(list, " and ")
	case s.network.IsValid():
		return s.network.String()
	}
	return "an address that the log does not tell"
}

// with is the client in words.
func (s *haunt) with() string {
	family := cmp.Or(s.family, "an unnamed client")
	if s.desktop {
		family += " on a desktop system"
	}
	return family
}

// sortHaunts puts haunts into one order, the earliest first.
func sortHaunts(list []*haunt) { slices.SortFunc(list, compareHaunts) }

func compareHaunts(a, b *haunt) int {
	return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last), cmp.Compare(a.view, b.view), a.address.Compare(b.address),
		a.network.Addr().Compare(b.network.Addr()), cmp.Compare(a.network.Bits(), b.network.Bits()), cmp.Compare(a.family, b.family),
		cmp.Compare(a.workload, b.workload), boolOrder(a.desktop, b.desktop))
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
