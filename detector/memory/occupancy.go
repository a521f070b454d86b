package memory

import (
	"context"
	"net/netip"
	"slices"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Occupancies lists which credentials workloads use.
func (f *Facts) Occupancies(_ context.Context, w schema.Window, workloads []string, each func(*rule.Occupancy) error) error {
	type key struct {
		hash     schema.PrincipalHash
		workload string
	}
	found := map[key]bool{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		k := key{c.hash, c.Workload}
		if !accepted(c) || !w.Contains(c.Time) || found[k] || !slices.Contains(workloads, rule.SeatName(c.Workload, netip.Addr{}, "")) {
			continue
		}
		found[k] = true
		if err := each(&rule.Occupancy{Hash: k.hash, Workload: k.workload, First: c.Time}); err != nil {
			return err
		}
	}
	return nil
}
