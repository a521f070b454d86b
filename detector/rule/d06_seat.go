package rule

import (
	"net/netip"
	"slices"
)

// The seat of another: a key that its own workload goes on using is used by a
// workload with another client, in a network where it is at home. Within a cluster
// everybody shares the network, so that it tells nothing; workload and client are
// the two novelties. A workload that nobody knows may be a release under another
// name, and one that many come through is a gateway; one where other credentials
// had long been at home is neither.

// undeclared takes from a suspect what the catalogue says is home. Approved
// networks say nothing of who in them may use a key.
func (r *boundRule) undeclared(one *suspect) *suspect {
	if one == nil || !r.declaredHome(one.stranger) {
		return one
	}
	if r.declaredWorkload(one.stranger) || !one.workloadNew || !one.clientNew {
		return nil
	}
	one.addressNew, one.seat = false, true
	return one
}

// declaredWorkload reports whether the catalogue names the workload of a haunt.
func (r *boundRule) declaredWorkload(s *haunt) bool {
	d := r.subject.Declared
	return d != nil && d.Workload != "" && s.workload != "" && sameWorkload(d.Workload, s.workload) == same
}

// seats are the workloads of which it must be known which credentials are at
// home there.
func (r *boundRule) seats() []string {
	r.settle()
	var list []string
	for _, s := range r.suspects {
		if s.seat {
			list = append(list, s.stranger.workload)
		}
	}
	return unique(list)
}

// occupied takes who used one of the workloads.
func (r *boundRule) occupied(o *Occupancy, by *Subject) {
	if by == nil || by == r.subject || !by.Identifies() || !by.Machine() {
		return
	}
	name := SeatName(o.Workload, netip.Addr{}, "")
	for _, s := range r.suspects {
		if s.seat && s.stranger.workload == name && !o.First.After(s.stranger.first.Add(-sharedAge)) && !slices.Contains(s.occupants, by.Name) {
			s.occupants = append(s.occupants, by.Name)
			slices.Sort(s.occupants)
		}
	}
}
