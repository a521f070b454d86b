package rule

import "slices"

// roaming judges a session that may move: it needs a new network and another
// novelty, while the session goes on where it was.
func (r *boundRule) roaming(b *binding) {
	person := !r.subject.Machine()
	var home []*haunt
	for _, s := range b.haunts {
		one := r.novel(b, home, s)
		enough := 1
		if !person {
			enough = settledSlots
		}
		if one != nil && !one.seat && !r.declaredHome(s) && slotsBefore(home, s.slots[0]) >= enough {
			r.suspects = append(r.suspects, one)
			continue
		}
		home = append(home, s)
	}
}

// novel compares a haunt with what was seen before it; nil where fewer than two
// of network, workload and client are new, or home is not used any more. What is
// at home in the same network is only the matter of keys (suspect.seat).
func (r *boundRule) novel(b *binding, all []*haunt, s *haunt) *suspect {
	one := &suspect{binding: b, stranger: s}
	var home []*haunt
	for _, o := range all {
		// Jobs share a session's name and each has a key of its own, from elsewhere;
		// who stole a session has its key.
		if o.view == s.view && (len(s.keys) == 0 || sharesKey(o, s)) {
			home = append(home, o)
		}
	}
	any := func(ok func(*haunt) bool) bool { return slices.ContainsFunc(home, ok) }
	if len(home) == 0 || s.workload != "" && any(func(o *haunt) bool { return o.workload == s.workload }) {
		return nil
	}
	one.addressNew = s.network.IsValid() && any(func(o *haunt) bool { return o.network.IsValid() }) &&
		!any(func(o *haunt) bool { return o.network == s.network })
	one.clientNew = s.family != "" && any(func(o *haunt) bool { return o.family != "" }) && !any(func(o *haunt) bool { return o.family == s.family })
	one.workloadNew = s.workload != "" && any(func(o *haunt) bool { return o.workload != "" })
	one.desktopNew = s.desktop && !any(func(o *haunt) bool { return o.desktop })
	for _, o := range home {
		if o.last.After(s.first) && (one.home == nil || o.last.After(one.home.last)) {
			one.home = o
		}
		one.inside = one.inside || o.inside(s)
		one.meets = one.meets || o.meets(s)
	}
	one.seat = !one.addressNew && one.workloadNew && one.clientNew
	if one.home == nil || !one.seat && !(one.addressNew && (one.clientNew || one.workloadNew || one.desktopNew)) {
		return nil
	}
	return one
}

func sharesKey(a, b *haunt) bool {
	for k := range b.keys {
		if _, ok := a.keys[k]; ok {
			return true
		}
	}
	return false
}

// slotsBefore counts in how many slots any of the haunts was used before one.
func slotsBefore(list []*haunt, slot int32) int {
	set := map[int32]struct{}{}
	for _, s := range list {
		for _, one := range s.slots {
			if one < slot {
				set[one] = struct{}{}
			}
		}
	}
	return len(set)
}

// habits judges a long-lived key by where it was used for weeks.
func (r *boundRule) habits(b *binding) {
	var home []*haunt
	var days []int32
	seats := map[string]*suspect{}
	news, arrived := int32(0), int32(0) // the days of the last new network and workload
	for _, s := range b.haunts {
		day := s.slots[0] / slotsADay
		one := r.novel(b, home, s)
		days = days[:0]
		for _, o := range home {
			for _, d := range o.days() {
				if d < day {
					days = append(days, d)
				}
			}
		}
		slices.Sort(days)
		days = slices.Compact(days)
		mature := len(days) >= habitDays && day-days[0] >= habitSpan && day-news >= stillDays
		if one = r.undeclared(one); one != nil && one.seat {
			mature = mature && day-arrived >= stillDays
		}
		if first := seats[s.workload]; first != nil {
			one, mature = &suspect{binding: b, home: first.home, stranger: s, workloadNew: true, clientNew: first.clientNew, seat: true}, true
		}
		if one != nil && mature {
			r.suspects = append(r.suspects, one)
			if !one.seat {
				continue
			}
			// Whose seat it is is not known yet. A release under another name must
			// teach, or all that it does later would be new.
			seats[s.workload] = one
		}
		if !slices.ContainsFunc(home, func(o *haunt) bool { return o.network == s.network }) {
			news = day
		}
		if s.workload != "" && !slices.ContainsFunc(home, func(o *haunt) bool { return o.workload == s.workload }) {
			arrived = day
		}
		home = append(home, s)
	}
}
