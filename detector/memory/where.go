package memory

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// accepted reports whether the credential of a call was accepted.
func accepted(c *call) bool {
	return c.Decision == schema.DecisionAllowed || c.Decision == schema.DecisionNoEffect || c.Decision == schema.DecisionDenied
}

func (c *call) address() netip.Addr { return c.ClientAddress.Unmap().WithZone("") }

// Arrivals folds calls by where they came from.
func (f *Facts) Arrivals(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Arrival) error) error {
	type key struct {
		hash                                       schema.PrincipalHash
		session, instance, workload, agent, source string
		address                                    netip.Addr
		reporter                                   schema.Reporter
		day                                        schema.Day
	}
	found := map[key]*rule.Arrival{}
	var list []*rule.Arrival
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		if !accepted(c) || !w.Contains(c.Time) || !slices.Contains(hashes, c.hash) {
			continue
		}
		k := key{c.hash, c.Credential.Session, "", c.Workload, c.UserAgent, c.Source.Type, c.address(), c.Reporter, schema.DayOf(c.Time)}
		if c.Credential.Kind == schema.KindRoleSession {
			k.instance = c.Credential.Instance
		}
		v := found[k]
		if v == nil {
			v = &rule.Arrival{Hash: k.hash, Session: k.session, Key: k.instance, Workload: k.workload, Address: k.address, Agent: k.agent,
				SourceType: k.source, Reporter: k.reporter, Day: k.day, First: c.Time}
			found[k] = v
			list = append(list, v)
		}
		v.Last = c.Time
		v.Calls++
		if slot := uint16(c.Time.Unix() % 86400 / int64(rule.SlotLength.Seconds())); !slices.Contains(v.Slots, slot) {
			v.Slots = append(v.Slots, slot)
		}
	}
	slices.SortStableFunc(list, func(a, b *rule.Arrival) int {
		return cmp.Or(slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Day, b.Day))
	})
	for _, v := range list {
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}

// Tenancies lists who called from addresses.
func (f *Facts) Tenancies(_ context.Context, w schema.Window, addresses []string, each func(*rule.Tenancy) error) error {
	type key struct {
		hash    schema.PrincipalHash
		address netip.Addr
	}
	found := map[key]*rule.Tenancy{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		k := key{c.hash, c.address()}
		if !accepted(c) || !w.Contains(c.Time) || !k.address.IsValid() || !slices.Contains(addresses, k.address.String()) || found[k] != nil {
			continue
		}
		found[k] = &rule.Tenancy{Hash: k.hash, Address: k.address, First: c.Time}
	}
	for _, t := range found {
		if err := each(t); err != nil {
			return err
		}
	}
	return nil
}

// Tasks lists what is called from where.
func (f *Facts) Tasks(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Task) error) error {
	type key struct {
		hash                                schema.PrincipalHash
		workload, agent, service, operation string
		address                             netip.Addr
	}
	found := map[key]*rule.Task{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		if !accepted(c) || !w.Contains(c.Time) || !slices.Contains(hashes, c.hash) {
			continue
		}
		k := key{hash: c.hash, workload: c.Workload, address: c.address(), agent: c.UserAgent, service: c.Service, operation: c.Operation}
		t := found[k]
		if t == nil {
			t = &rule.Task{Hash: k.hash, Workload: k.workload, Address: k.address, Agent: k.agent, Service: k.service, Operation: k.operation, First: c.Time}
			found[k] = t
		}
		t.Last = c.Time
		t.Calls++
		if d := schema.DayOf(c.Time); len(t.Days) == 0 || t.Days[len(t.Days)-1] != d {
			t.Days = append(t.Days, d)
		}
	}
	for _, t := range found {
		if err := each(t); err != nil {
			return err
		}
	}
	return nil
}
