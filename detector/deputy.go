package detector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// maxPrivileged bounds the calls of one privileged operation whose causes are
// looked for, the earliest that carry a trace.
const maxPrivileged = 500

// deputy runs the rules about services that act for others.
func (r *run) deputy(ctx context.Context) error {
	crossed, err := r.crossed(ctx)
	if err != nil {
		return err
	}
	hidden, err := r.hidden(ctx)
	if err != nil {
		return err
	}
	r.keep(rule.Deputies(r.env, crossed, hidden))
	return nil
}

// crossed finds calls in one tenant that a call in another caused.
func (r *run) crossed(ctx context.Context) ([]rule.Deputed, error) {
	var hashes []schema.PrincipalHash
	if len(r.subjects) < len(r.everyone) {
		for _, s := range r.subjects {
			hashes = append(hashes, hashesOf(s)...)
		}
		if len(hashes) == 0 {
			return nil, nil
		}
	}
	var pairs []rule.Crossing
	// Habits are older than the window.
	w := schema.Window{From: r.from, To: r.window.To}
	if err := r.facts.Crossings(ctx, w, hashes, func(c *rule.Crossing) error { pairs = append(pairs, *c); return nil }); err != nil {
		return nil, err
	}
	slices.SortFunc(pairs, func(a, b rule.Crossing) int {
		return cmp.Or(a.First.Compare(b.First), slices.Compare(a.Entry[:], b.Entry[:]), slices.Compare(a.Deputy[:], b.Deputy[:]))
	})
	var out []rule.Deputed
	seen := map[schema.CallID]bool{}
	for i := range pairs {
		p := &pairs[i]
		deputy := r.byHash[p.Deputy]
		if deputy == nil || !deputy.Machine() {
			continue
		}
		list, err := r.deputed(ctx, p, deputy)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !seen[d.Step.ID] {
				seen[d.Step.ID] = true
				out = append(out, d)
			}
		}
	}
	return out, nil
}

// deputed follows the calls of a crossing to what caused them.
func (r *run) deputed(ctx context.Context, p *rule.Crossing, deputy *rule.Subject) ([]rule.Deputed, error) {
	traced, err := r.allOf(ctx, p.Traces, schema.Window{From: p.First.Add(-rule.JobWindow), To: p.Last.Add(rule.JobWindow)})
	if err != nil {
		return nil, err
	}
	houses := rule.NewHouses(r.env.Catalog, nil)
	for _, id := range p.Traces {
		for i := range traced[id] {
			houses.See(rule.PlaceOf(&traced[id][i]))
		}
	}
	var list []rule.Deputed
	for _, id := range p.Traces {
		for i := range traced[id] {
			s := &traced[id][i]
			place := rule.PlaceOf(s)
			if s.Hash != p.Deputy || s.Tenant == "" || s.Decision != schema.DecisionAllowed || !s.Certain || place == nil || !r.window.Contains(s.Time) {
				continue
			}
			c := rule.FindCause(s, place, houses, traced[id], nil, r.subject)
			if c == nil || !c.Clear || c.Step.Tenant == "" || c.Step.Tenant == s.Tenant || c.Subject == nil || !c.Subject.Identifies() {
				continue
			}
			list = append(list, rule.Deputed{Step: *s, By: deputy, Cause: c})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, r.knownTenants(ctx, p, list)
}

// knownTenants finds out whether those that caused calls were only ever seen in
// their tenant for long enough before the first crossing. Who has others cross
// from the beginning does so by habit.
func (r *run) knownTenants(ctx context.Context, p *rule.Crossing, list []rule.Deputed) error {
	tenants := map[*rule.Subject]map[string]bool{}
	days := map[*rule.Subject]map[schema.Day]bool{}
	var hashes []schema.PrincipalHash
	for _, d := range list {
		if s := d.Cause.Subject; tenants[s] == nil {
			tenants[s], days[s] = map[string]bool{}, map[schema.Day]bool{}
			hashes = append(hashes, hashesOf(s)...)
		}
	}
	w := schema.Window{From: r.from.Truncate(24 * time.Hour), To: p.First.Truncate(24 * time.Hour)}
	if !w.From.Before(w.To) {
		return nil
	}
	for part := range slices.Chunk(hashes, maxHashes) {
		err := r.facts.Rows(ctx, RowQuery{Window: w, Hashes: part}, func(row *rule.Row) error {
			s := r.byHash[row.Hash]
			if row.Decision.Authorised() && row.Tenant != "" {
				tenants[s][row.Tenant] = true
				for _, d := range row.Days {
					days[s][d] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range list {
		d := &list[i]
		s := d.Cause.Subject
		d.Known = len(tenants[s]) == 1 && tenants[s][d.Cause.Step.Tenant] && len(days[s]) >= rule.HomeDays
	}
	return nil
}

// allOf reads the calls of traces.
func (r *run) allOf(ctx context.Context, ids []string, w schema.Window) (map[string][]rule.Step, error) {
	found := map[string][]rule.Step{}
	for part := range slices.Chunk(ids, maxTraces) {
		keys := make([]rule.TraceKey, len(part))
		for i, id := range part {
			keys[i] = rule.TraceKey{Trace: true, ID: id}
		}
		err := r.facts.Steps(ctx, StepQuery{Window: w, Traces: keys}, func(s *rule.Step) error {
			found[s.TraceID] = append(found[s.TraceID], *s)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// hidden finds which calls of credentials with a declared grant cause privileged
// operations. Which do is a matter of the whole store, so a narrowed pass that
// has none of those credentials does not ask.
func (r *run) hidden(ctx context.Context) (map[*rule.Subject][]rule.Hidden, error) {
	if !slices.ContainsFunc(r.subjects, func(s *rule.Subject) bool {
		return s.Declared != nil && len(s.Declared.Grants) > 0 && len(s.Principals) > 0
	}) {
		return nil, nil
	}
	calls, err := r.privileged(ctx)
	if err != nil {
		return nil, err
	}
	traced, err := r.traced(ctx, calls)
	if err != nil {
		return nil, err
	}
	byOp := map[rule.Op][]*rule.Step{}
	for i := range calls {
		op := rule.Op{Service: calls[i].Service, Operation: calls[i].Operation}
		byOp[op] = append(byOp[op], &calls[i])
	}
	found := map[hiddenKey]*rule.Hidden{}
	for op, list := range byOp {
		r.hiddenBehind(op, list, traced, found)
	}
	out := map[*rule.Subject][]rule.Hidden{}
	keys := make([]hiddenKey, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b hiddenKey) int {
		return cmp.Or(strings.Compare(a.caller.Name, b.caller.Name), cmp.Compare(a.op.Service, b.op.Service), cmp.Compare(a.op.Operation, b.op.Operation),
			cmp.Compare(a.cause.Service, b.cause.Service), cmp.Compare(a.cause.Operation, b.cause.Operation), strings.Compare(a.through, b.through))
	})
	for _, key := range keys {
		out[key.caller] = append(out[key.caller], *found[key])
	}
	return out, nil
}

type hiddenKey struct {
	caller    *rule.Subject
	op, cause rule.Op
	through   string
}

// privileged reads the calls of privileged operations whose causes are looked for,
// in one question for all of them: those of operations with enough to tell.
func (r *run) privileged(ctx context.Context) ([]rule.Step, error) {
	var ops []rule.Op
	for _, service := range r.env.Catalog.Services {
		for _, o := range service.Operations {
			if r.env.Privileged(service.Name, o.Name) {
				ops = append(ops, rule.Op{Service: service.Name, Operation: o.Name})
			}
		}
	}
	var calls []rule.Step
	count := map[rule.Op]int{}
	for part := range slices.Chunk(ops, maxHashes) {
		err := r.facts.Steps(ctx, StepQuery{Window: r.window, Ops: part, Traced: true, Limit: maxPrivileged}, func(s *rule.Step) error {
			if s.Decision == schema.DecisionAllowed && s.Certain {
				calls = append(calls, *s)
				count[rule.Op{Service: s.Service, Operation: s.Operation}]++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(calls, func(a, b rule.Step) int { return cmp.Or(a.Time.Compare(b.Time), slices.Compare(a.ID[:], b.ID[:])) })
	return slices.DeleteFunc(calls, func(s rule.Step) bool {
		return count[rule.Op{Service: s.Service, Operation: s.Operation}] < rule.HiddenSupport
	}), nil
}

// hiddenBehind looks for what caused the calls of one privileged operation, hop by
// hop.
func (r *run) hiddenBehind(op rule.Op, calls []*rule.Step, traced map[rule.TraceKey][]rule.Step, found map[hiddenKey]*rule.Hidden) {
	houses := rule.NewHouses(r.env.Catalog, nil)
	for _, first := range calls {
		for i := range traced[first.Trace()] {
			houses.See(rule.PlaceOf(&traced[first.Trace()][i]))
		}
	}
	requests := map[hiddenKey]map[string]bool{}
	for _, first := range calls {
		at := first
		for range MaxHops {
			place := rule.PlaceOf(at)
			if place == nil {
				break
			}
			c := rule.FindCause(at, place, houses, traced[at.Trace()], nil, r.subject)
			if c == nil || !c.Clear || c.Tier > rule.TierTrace {
				break
			}
			if s := c.Subject; s != nil && s.Identifies() {
				through := r.byHash[first.Hash]
				key := hiddenKey{s, op, rule.Op{Service: c.Step.Service, Operation: c.Step.Operation}, first.Hash.String()}
				if found[key] == nil {
					found[key] = &rule.Hidden{Op: op, Through: through, Cause: key.cause, First: first.Time, Example: *first, By: c.Step}
					requests[key] = map[string]bool{}
				}
				found[key].Last = first.Time
				requests[key][first.TraceID] = true
				found[key].Requests = len(requests[key])
			}
			at = &c.Step
		}
	}
}
