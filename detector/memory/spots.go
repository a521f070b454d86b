package memory

import (
	"context"
	"net/netip"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Spots folds accepted calls by where they came from.
func (f *Facts) Spots(_ context.Context, q detector.SpotQuery, each func(*rule.Spot) error) error {
	if len(q.Hashes) == 0 && q.Workload == "" {
		return nil
	}
	type key struct {
		hash            schema.PrincipalHash
		workload, agent string
		address         netip.Addr
		reporter        schema.Reporter
	}
	found := map[key]*rule.Spot{}
	for i := range f.calls {
		c := &f.calls[i]
		if !c.Decision.Accepted() {
			continue
		}
		k := key{c.hash, c.Workload, c.UserAgent, c.address(), c.Reporter}
		one := rule.Spot{Hash: k.hash, Workload: k.workload, Address: k.address, Agent: k.agent, Reporter: k.reporter, First: c.Time}
		if !q.Window.Contains(c.Time) || !listed(q.Hashes, c.hash) || q.Workload != "" && !one.In(q.Workload) {
			continue
		}
		p := found[k]
		if p == nil {
			p = &one
			found[k] = p
		}
		p.Last = c.Time
		p.Calls++
		if d := schema.DayOf(c.Time); len(p.Days) == 0 || p.Days[len(p.Days)-1] != d {
			p.Days = append(p.Days, d)
		}
	}
	for _, p := range found {
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}
