package detector

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// maxAddresses is about how many addresses or keys one question asks.
const maxAddresses = 1000

// where tells the rules from where and by whom credentials are used.
func (r *run) where(ctx context.Context, c *chunk) error {
	// In whole days, which are folded already; beyond an open end there is nothing.
	w := schema.Window{From: r.window.To.Add(-rule.KeyBinding).Truncate(24 * time.Hour), To: r.folded.To}
	for part := range slices.Chunk(c.hashesOf((*rule.Set).WantsArrivals), maxHashes) {
		err := r.facts.Arrivals(ctx, w, part, func(v *rule.Arrival) error {
			c.byHash[v.Hash].set.Arrival(v)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := r.tenancies(ctx, c, w); err != nil {
		return err
	}
	if err := r.occupancies(ctx, c, w); err != nil {
		return err
	}
	if err := r.issuedKeys(ctx, c, w); err != nil {
		return err
	}
	week := schema.Window{From: r.window.To.AddDate(0, 0, -rule.SharingDays), To: r.window.To}
	for part := range slices.Chunk(c.hashesOf((*rule.Set).WantsTasks), maxHashes) {
		err := r.facts.Tasks(ctx, week, part, func(t *rule.Task) error {
			c.byHash[t.Hash].set.Task(t)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return r.driven(ctx, c)
}

// driven hands over the single calls by clients that people drive.
func (r *run) driven(ctx context.Context, c *chunk) error {
	agents := map[string]bool{}
	hashes := c.hashesOf(func(s *rule.Set) bool {
		clients := s.Clients()
		for _, a := range clients {
			agents[a] = true
		}
		return len(clients) > 0
	})
	for part := range slices.Chunk(hashes, maxHashes) {
		q := StepQuery{Window: r.window, Hashes: part, Agents: keysOf(agents)}
		err := r.facts.Steps(ctx, q, func(s *rule.Step) error {
			c.byHash[s.Hash].set.Driven(s)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tenancies tells who else used the addresses that some credentials should not
// be used from.
func (r *run) tenancies(ctx context.Context, c *chunk, w schema.Window) error {
	wanted := c.wanted((*rule.Set).Addresses)
	for part := range slices.Chunk(sortedNames(wanted), maxAddresses) {
		err := r.facts.Tenancies(ctx, w, part, func(t *rule.Tenancy) error {
			for _, set := range wanted[t.Address.String()] {
				set.Tenancy(t, r.byHash[t.Hash])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// occupancies tells which credentials are at home at the workloads that others
// should not be used by.
func (r *run) occupancies(ctx context.Context, c *chunk, w schema.Window) error {
	wanted := c.wanted((*rule.Set).Seats)
	for part := range slices.Chunk(sortedNames(wanted), maxAddresses) {
		err := r.facts.Occupancies(ctx, w, part, func(o *rule.Occupancy) error {
			for _, set := range wanted[rule.SeatName(o.Workload, netip.Addr{}, "")] {
				set.Occupied(o, r.byHash[o.Hash])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// issuedKeys tells who issued the keys that are used where they should not be.
func (r *run) issuedKeys(ctx context.Context, c *chunk, w schema.Window) error {
	wanted := c.wanted((*rule.Set).Keys)
	for part := range slices.Chunk(sortedNames(wanted), maxAddresses) {
		err := r.facts.Steps(ctx, StepQuery{Window: w, Minted: part}, func(s *rule.Step) error {
			for _, set := range wanted[s.Mints] {
				set.Issued(s)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted are the names that the rules of a chunk ask about, each with those that do.
func (c *chunk) wanted(names func(*rule.Set) []string) map[string][]*rule.Set {
	out := map[string][]*rule.Set{}
	for _, one := range c.work {
		for _, name := range names(one.set) {
			out[name] = append(out[name], one.set)
		}
	}
	return out
}

func sortedNames[V any](set map[string]V) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
