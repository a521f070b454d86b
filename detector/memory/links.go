package memory

import (
	"cmp"
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
		if !c.Decision.Accepted() {
			continue
		}
		if !c.Time.Before(before) || !slices.Contains(hashes, c.hash) {
			continue
		}
		k := key{hash: c.hash, workload: c.Workload}
		if c.Workload == "" {
			k.address, k.agent = c.address(), c.UserAgent
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
	count := map[rule.Op]int{} // of all together where no operations are named
	for i := range f.calls {   // in order of time and id
		c := &f.calls[i]
		s := step(c)
		var op rule.Op
		if len(q.Ops) > 0 {
			op = rule.Op{Service: c.Service, Operation: c.Operation}
		}
		if !q.Window.Contains(c.Time) || !listed(q.Hashes, c.hash) || !listed(q.Workloads, c.Workload) || !listed(q.Services, c.Service) || !listed(q.Agents, c.UserAgent) ||
			!listed(q.Ops, op) || q.Limit > 0 && count[op] == q.Limit || q.Traced && c.TraceID == "" ||
			!listed(q.Traces, s.Trace()) || !listed(q.Instances, c.Credential.Instance) || !listed(q.Minted, c.Mints) || q.Minting && c.Mints == "" {
			continue
		}
		count[op]++
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
		Workload: c.Workload, Address: c.address(), Agent: c.UserAgent,
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

// Lineages pairs the calls that issued a credential with the calls that used it.
func (f *Facts) Lineages(_ context.Context, before time.Time, hashes []schema.PrincipalHash, each func(*rule.Lineage) error) error {
	type user struct {
		hash        schema.PrincipalHash
		presented   schema.PresentedHash
		lasting     bool
		first, last time.Time
		scopes      []string
	}
	users := func(id string) (list []*user) {
		for i := range f.calls {
			c := &f.calls[i]
			if !c.Decision.Accepted() {
				continue
			}
			for _, lasting := range [...]bool{false, true} {
				if !c.Time.Before(before) || !lasting && c.Credential.Instance != id || lasting && c.Credential.ID != id {
					continue
				}
				at := slices.IndexFunc(list, func(u *user) bool { return u.hash == c.hash && u.presented == c.presented && u.lasting == lasting })
				if at < 0 {
					at = len(list)
					list = append(list, &user{hash: c.hash, presented: c.presented, lasting: lasting, first: c.Time, scopes: sorted(c.Scopes)})
				}
				list[at].last = c.Time
			}
		}
		return list
	}
	type key struct {
		minter, minted     schema.PrincipalHash
		input, output      schema.PresentedHash
		service, operation string
		lasting            bool
	}
	found := map[key]*rule.Lineage{}
	for i := range f.calls { // in order of time
		m := &f.calls[i]
		if m.Mints == "" || m.Decision != schema.DecisionAllowed || !m.Time.Before(before) {
			continue
		}
		for _, u := range users(m.Mints) {
			if u.last.Before(m.Time) || len(hashes) > 0 && !slices.Contains(hashes, m.hash) && !slices.Contains(hashes, u.hash) {
				continue
			}
			used := u.first
			if used.Before(m.Time) {
				used = m.Time
			}
			k := key{m.hash, u.hash, m.presented, u.presented, m.Service, m.Operation, u.lasting}
			l := found[k]
			if l == nil {
				l = &rule.Lineage{Minter: m.hash, Minted: u.hash, Service: m.Service, Operation: m.Operation, LongLived: u.lasting,
					Input: sorted(m.Scopes), Output: u.scopes, First: m.Time, Example: m.Mints, Used: used}
				found[k] = l
			}
			l.Last = m.Time
			if m.Time.Equal(l.First) {
				l.Example = min(l.Example, m.Mints)
			}
			if used.Before(l.Used) {
				l.Used = used
			}
			if d := schema.DayOf(m.Time); len(l.Days) == 0 || l.Days[len(l.Days)-1] != d {
				l.Days = append(l.Days, d)
			}
		}
	}
	for _, l := range found {
		if err := each(l); err != nil {
			return err
		}
	}
	return nil
}

// Chains lists issues by callers whose own key had been issued, and of keys that
// issued in turn.
func (f *Facts) Chains(_ context.Context, before time.Time, each func(*rule.ChainLink) error) error {
	issued, issues := map[string]bool{}, map[string]bool{}
	mints := func(c *call) bool {
		return c.Mints != "" && c.Decision == schema.DecisionAllowed && c.Time.Before(before)
	}
	for i := range f.calls {
		if mints(&f.calls[i]) {
			issued[f.calls[i].Mints] = true
			issues[f.calls[i].Credential.Instance] = true
		}
	}
	for i := range f.calls {
		c := &f.calls[i]
		if !mints(c) || (c.Credential.Instance == "" || !issued[c.Credential.Instance]) && !issues[c.Mints] {
			continue
		}
		if err := each(&rule.ChainLink{Time: c.Time, Minter: c.hash, Instance: c.Credential.Instance, Minted: c.Mints, Service: c.Service, Operation: c.Operation}); err != nil {
			return err
		}
	}
	return nil
}

// Crossings folds the traces that touched several tenants.
func (f *Facts) Crossings(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Crossing) error) error {
	first := map[string]*call{}
	type pair struct{ entry, deputy schema.PrincipalHash }
	found := map[pair]*rule.Crossing{}
	traces := map[pair][]*call{}
	for i := range f.calls { // in order of time and id
		c := &f.calls[i]
		if c.TraceID == "" || c.Tenant == "" || c.Decision != schema.DecisionAllowed || !w.Contains(c.Time) {
			continue
		}
		entry := first[c.TraceID]
		if entry == nil {
			first[c.TraceID] = c
			continue
		}
		if c.Tenant == entry.Tenant || c.hash == entry.hash || len(hashes) > 0 && !slices.Contains(hashes, c.hash) && !slices.Contains(hashes, entry.hash) {
			continue
		}
		key := pair{entry.hash, c.hash}
		x := found[key]
		if x == nil {
			x = &rule.Crossing{Entry: key.entry, Deputy: key.deputy, First: c.Time}
			found[key] = x
		}
		x.Last = c.Time
		if d := schema.DayOf(c.Time); len(x.Days) == 0 || x.Days[len(x.Days)-1] != d {
			x.Days = append(x.Days, d)
		}
		if !slices.ContainsFunc(traces[key], func(o *call) bool { return o.TraceID == c.TraceID }) {
			traces[key] = append(traces[key], c)
		}
	}
	for key, x := range found {
		list := traces[key]
		slices.SortFunc(list, func(a, b *call) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.TraceID, b.TraceID)) })
		for _, c := range list[:min(len(list), rule.MaxCrossings)] {
			x.Traces = append(x.Traces, c.TraceID)
		}
		if err := each(x); err != nil {
			return err
		}
	}
	return nil
}
