package memory

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Seats lists where accepted calls came from.
func (f *Facts) Seats(_ context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.Seat) error) error {
	type key struct {
		hash     schema.PrincipalHash
		workload string
		address  netip.Addr
		agent    string
	}
	found := map[key]*rule.Seat{}
	for i := range f.calls {
		c := &f.calls[i]
		switch c.Decision {
		case schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied:
		default:
			continue
		}
		if !c.Time.Before(before) || !slices.Contains(hashes, c.hash) {
			continue
		}
		k := key{hash: c.hash, workload: c.Workload}
		if c.Workload == "" {
			k.address, k.agent = c.ClientAddress.Unmap().WithZone(""), c.UserAgent
		}
		s := found[k]
		if s == nil {
			s = &rule.Seat{Hash: k.hash, Workload: k.workload, Address: k.address, Agent: k.agent, First: c.Time}
			found[k] = s
		}
		s.Last = c.Time
		if d := schema.DayOf(c.Time); len(s.Days) == 0 || s.Days[len(s.Days)-1] != d {
			s.Days = append(s.Days, d)
		}
	}
	for _, s := range found {
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

// Steps lists single calls.
func (f *Facts) Steps(_ context.Context, q detector.StepQuery, each func(*rule.Step) error) error {
	if q.Empty() {
		return nil
	}
	n := 0
	for i := range f.calls { // in order of time and id
		if q.Limit > 0 && n == q.Limit {
			break
		}
		c := &f.calls[i]
		s := step(c)
		if !q.Window.Contains(c.Time) || !listed(q.Hashes, c.hash) || !listed(q.Workloads, c.Workload) || !listed(q.Services, c.Service) ||
			!listed(q.Traces, s.Trace()) || !listed(q.Instances, c.Credential.Instance) || !listed(q.Minted, c.Mints) || q.Minting && c.Mints == "" {
			continue
		}
		n++
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

// listed reports whether a list names the value; an empty one names all.
func listed[T comparable](list []T, value T) bool {
	return len(list) == 0 || slices.Contains(list, value)
}

func step(c *call) *rule.Step {
	s := &rule.Step{
		Time: c.Time, Duration: time.Duration(c.DurationUS) * time.Microsecond, ID: c.ID, Hash: c.hash,
		CredentialID: c.Credential.ID, Instance: c.Credential.Instance, Session: c.Credential.Session,
		Service: c.Service, Operation: c.Operation, Tenant: c.Tenant, Resource: c.Resource, Decision: c.Decision,
		RouteSource: c.RouteSource, Reporter: c.Reporter, Certain: c.Quality.Certain(), Scopes: sorted(c.Scopes),
		Workload: c.Workload, Address: c.ClientAddress.Unmap().WithZone(""), Agent: c.UserAgent,
		TraceID: c.TraceID, RequestID: c.RequestID, Mints: c.Mints,
	}
	if len(c.Credential.Groups) > 0 {
		s.Groups = sorted(c.Credential.Groups)
	}
	if len(c.ActorChain) > 0 {
		s.Actors = c.ActorChain
	}
	return s
}
