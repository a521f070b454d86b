package detector

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// MaxHops is how far links are followed at most: what is further away is too
// weakly linked to act on.
const MaxHops = 3

// maxFlow bounds the calls that are followed at a hop, the earliest.
const maxFlow = 20_000

// NodeKind says what a node is.
type NodeKind string

// The kinds of nodes.
const (
	NodeCredential NodeKind = "credential"
	NodePlace      NodeKind = "place"
	NodeService    NodeKind = "service"
)

// Node is an end of an edge: a credential by the name findings have, a service,
// or the place that calls came from, as [rule.SeatName] names it.
type Node struct {
	Kind NodeKind `json:"kind"`
	Name string   `json:"name"`
}

// EdgeKind says what an edge shows.
type EdgeKind string

// The kinds of edges.
const (
	// EdgeUse: a place used a credential.
	EdgeUse EdgeKind = "use"
	// EdgeCall: a credential called a service.
	EdgeCall EdgeKind = "call"
	// EdgeMint: a credential obtained another by an answer that was seen.
	EdgeMint EdgeKind = "mint"
	// EdgeCause: a call with a credential made a place call on with another.
	EdgeCause EdgeKind = "cause"
)

// Edge is something that calls show; no edge is a guess.
type Edge struct {
	Kind EdgeKind `json:"kind"`
	From Node     `json:"from"`
	To   Node     `json:"to"`
	// Tier is the weakest link behind it: 1 signed context, 2 the same trace or
	// request id, 3 nesting in time with one candidate; 0 is no link, the calls
	// themselves show it.
	Tier rule.Tier `json:"tier,omitempty"`
	// Hop is how many links from the start it lies, from 1; Backward that it
	// leads to the start rather than from it.
	Hop      int  `json:"hop"`
	Backward bool `json:"backward,omitempty"`
	// Operations are what was called: of an EdgeCause the causing operations.
	// Sorted.
	Operations []string `json:"operations,omitempty"`
	// Place is who acted on an EdgeCause, Service what the causing call went to.
	Place   string `json:"place,omitempty"`
	Service string `json:"service,omitempty"`
	// First and Last bound the calls, Calls counts them, Call is the earliest.
	First time.Time     `json:"first"`
	Last  time.Time     `json:"last"`
	Calls uint64        `json:"calls"`
	Call  schema.CallID `json:"call"`
}

// Reach is what links lead to and from.
type Reach struct {
	Start  Node          `json:"start"`
	Window schema.Window `json:"window"`
	// Edges are in order: forward before backward, by hop, time and ends.
	Edges []Edge `json:"edges"`
	// Cut says in sentences what was not followed.
	Cut []string `json:"cut,omitempty"`
}

// Reach follows links from a credential (its name or an observed id), or from
// the calls of a place where kind is [NodePlace], forwards and backwards within
// three hops: calls, issued credentials, and causes by signed context, trace or
// nesting. Only calls that were accepted are followed.
func (d *Detector) Reach(ctx context.Context, start Node) (*Reach, error) {
	if d.facts == nil {
		return nil, errNoFacts
	}
	r, err := d.prepare(ctx)
	if err != nil {
		return nil, err
	}
	w := &walk{run: r, out: &Reach{Start: start, Window: r.window}, edges: map[edgeKey]*Edge{}, ops: map[edgeKey]map[string]bool{}, counted: map[edgeCall]bool{}}
	if r.empty {
		return w.out, nil
	}
	w.houses = rule.NewHouses(r.env.Catalog, nil)
	steps, err := w.start(ctx, start)
	if err != nil {
		return nil, err
	}
	for _, backward := range [...]bool{false, true} {
		w.seen = map[schema.CallID]bool{}
		flow := steps
		for hop := 1; hop <= MaxHops && len(flow) > 0; hop++ {
			if flow, err = w.hop(ctx, flow, hop, backward); err != nil {
				return nil, fmt.Errorf("follow links: %w", err)
			}
		}
	}
	w.finish()
	return w.out, nil
}

// walk is one question in work.
type walk struct {
	run    *run
	houses *rule.Houses
	out    *Reach
	edges  map[edgeKey]*Edge
	ops    map[edgeKey]map[string]bool
	// seen are the calls whose edges are drawn, counted those that an edge counts.
	seen    map[schema.CallID]bool
	counted map[edgeCall]bool
}

type edgeCall struct {
	key  edgeKey
	call schema.CallID
}

type edgeKey struct {
	kind           EdgeKind
	from, to       Node
	backward       bool
	place, service string
}

// start reads the calls to begin with.
func (w *walk) start(ctx context.Context, start Node) ([]rule.Step, error) {
	q := StepQuery{Window: w.run.window, Limit: maxFlow + 1}
	switch start.Kind {
	case NodePlace:
		// Replicas of a workload have names of their own: all places are looked
		// at for the names behind this one.
		all, err := w.run.residences(ctx, w.run.everyone)
		if err != nil {
			return nil, err
		}
		for _, one := range all {
			for _, p := range one.Places {
				if p.Name == start.Name || slices.Contains(p.Workloads, start.Name) {
					w.out.Start.Name = p.Name
					q.Hashes = append(q.Hashes, hashesOf(one.Subject)...)
					q.Workloads = append(q.Workloads, p.Workloads...)
				}
			}
		}
		if len(q.Hashes) == 0 {
			return nil, &UnknownPlace{Name: start.Name}
		}
		if len(q.Workloads) == 0 {
			q.Workloads = []string{""}
		}
	default:
		one := &run{subjects: slices.Clone(w.run.everyone)}
		if err := one.only(start.Name); err != nil {
			return nil, err
		}
		w.out.Start.Name = one.subjects[0].Name
		q.Hashes = hashesOf(one.subjects[0])
		if len(q.Hashes) == 0 {
			return nil, nil
		}
	}
	steps, err := w.steps(ctx, q)
	if start.Kind == NodePlace {
		steps = slices.DeleteFunc(steps, func(s rule.Step) bool { return s.Seat() != w.out.Start.Name })
	}
	return steps, err
}

// UnknownPlace is the error for a place that no credential was used at.
type UnknownPlace struct{ Name string }

// Error names the place.
func (e *UnknownPlace) Error() string {
	return fmt.Sprintf("no machine credential was used at %q in the window", e.Name)
}

// Hint says what to do.
func (e *UnknownPlace) Hint() string {
	return "name a workload as the logs do, or an address with its client; scopedrift calls shows them"
}

// ExitCode is that of wrong use.
func (e *UnknownPlace) ExitCode() int { return 2 }

// steps reads accepted calls, not more than can be followed.
func (w *walk) steps(ctx context.Context, q StepQuery) ([]rule.Step, error) {
	var list []rule.Step
	read := 0
	err := w.run.facts.Steps(ctx, q, func(s *rule.Step) error {
		if read++; read > maxFlow {
			return nil
		}
		if s.Decision.Accepted() {
			list = append(list, *s)
		}
		return nil
	})
	if read > maxFlow {
		w.cut(fmt.Sprintf("only the first %d calls of a hop were followed", maxFlow))
	}
	return list, err
}

func (w *walk) cut(why string) {
	if !slices.Contains(w.out.Cut, why) {
		w.out.Cut = append(w.out.Cut, why)
	}
}

// name is the name of the credential behind a step.
func (w *walk) name(s *rule.Step) string {
	if one := w.run.byHash[s.Hash]; one != nil {
		return one.Name
	}
	return cmp.Or(s.CredentialID, "an unknown credential")
}

// hop draws the edges of some calls and returns the calls that links lead to.
func (w *walk) hop(ctx context.Context, flow []rule.Step, hop int, backward bool) ([]rule.Step, error) {
	var fresh []rule.Step
	for i := range flow {
		s := &flow[i]
		if w.seen[s.ID] {
			continue
		}
		w.seen[s.ID] = true
		fresh = append(fresh, *s)
		by := Node{NodeCredential, w.name(s)}
		if seat := s.Seat(); seat != "" && backward {
			w.edge(edgeKey{EdgeUse, Node{NodePlace, seat}, by, true, "", ""}, hop, 0, s, s)
		}
		if !backward && s.Service != "" {
			w.edge(edgeKey{EdgeCall, by, Node{NodeService, s.Service}, false, "", ""}, hop, 0, s, s)
		}
	}
	issued, err := w.mints(ctx, fresh, hop, backward)
	if err != nil {
		return nil, err
	}
	caused, err := w.causes(ctx, fresh, hop, backward)
	return append(issued, caused...), err
}

// mints follows issued credentials: forward to the calls made with them,
// backward to the calls that issued them.
func (w *walk) mints(ctx context.Context, flow []rule.Step, hop int, backward bool) ([]rule.Step, error) {
	byID := map[string][]*rule.Step{}
	for i := range flow {
		s := &flow[i]
		ids := []string{s.Mints}
		if backward {
			ids = []string{s.Instance, s.CredentialID}
		}
		for _, id := range ids {
			if id != "" {
				byID[id] = append(byID[id], s)
			}
		}
	}
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var next []rule.Step
	for part := range slices.Chunk(ids, maxTraces) {
		queries := []StepQuery{{Window: schema.Window{From: w.run.from, To: w.run.window.To}, Minted: part}}
		if !backward {
			queries = []StepQuery{{Window: w.run.window, Instances: part}}
			if hashes := w.known(part); len(hashes) > 0 {
				queries = append(queries, StepQuery{Window: w.run.window, Hashes: hashes})
			}
		}
		for _, q := range queries {
			q.Limit = maxFlow + 1
			found, err := w.steps(ctx, q)
			if err != nil {
				return nil, err
			}
			for i := range found {
				s := &found[i]
				if backward {
					// From its issue on: a call before it used another instance.
					for _, user := range byID[s.Mints] {
						if !user.Time.Before(s.Time) {
							w.edge(edgeKey{EdgeMint, Node{NodeCredential, w.name(s)}, Node{NodeCredential, w.name(user)}, true, "", s.Service}, hop, rule.TierSigned, s, s)
							next = append(next, *s)
							break
						}
					}
					continue
				}
				for _, minter := range slices.Concat(byID[s.Instance], byID[s.CredentialID]) {
					if !s.Time.Before(minter.Time) {
						w.edge(edgeKey{EdgeMint, Node{NodeCredential, w.name(minter)}, Node{NodeCredential, w.name(s)}, false, "", minter.Service}, hop, rule.TierSigned, minter, minter)
						next = append(next, *s)
						break
					}
				}
			}
		}
	}
	return next, nil
}

// known returns the principals whose id is one of some.
func (w *walk) known(ids []string) (hashes []schema.PrincipalHash) {
	for _, one := range w.run.everyone {
		for i := range one.Principals {
			if slices.Contains(ids, one.Principals[i].ID) {
				hashes = append(hashes, one.Principals[i].Hash)
			}
		}
	}
	return hashes
}

// causes follows calls that made a place call on.
func (w *walk) causes(ctx context.Context, flow []rule.Step, hop int, backward bool) ([]rule.Step, error) {
	traced, err := w.run.traced(ctx, flow)
	if err != nil {
		return nil, err
	}
	mine := map[schema.CallID]bool{}
	for i := range flow {
		mine[flow[i].ID] = true
	}
	keys := make([]rule.TraceKey, 0, len(traced))
	for key := range traced {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b rule.TraceKey) int { return strings.Compare(a.ID, b.ID) })
	for _, key := range keys {
		for i := range traced[key] {
			w.houses.See(rule.PlaceOf(&traced[key][i]))
		}
	}
	var next []rule.Step
	for _, key := range keys {
		calls := traced[key]
		for i := range calls {
			s := &calls[i]
			place := rule.PlaceOf(s)
			if place == nil || backward && !mine[s.ID] {
				continue
			}
			c := rule.FindCause(s, place, w.houses, calls, nil, func(h schema.PrincipalHash) *rule.Subject { return w.run.byHash[h] })
			if c == nil || !c.Clear || !backward && !mine[c.Step.ID] {
				continue
			}
			from, to := Node{NodeCredential, w.name(&c.Step)}, Node{NodeCredential, w.name(s)}
			w.edge(edgeKey{EdgeCause, from, to, backward, place.Name, c.Step.Service}, hop, c.Tier, &c.Step, s)
			if backward {
				next = append(next, c.Step)
			} else {
				next = append(next, *s)
			}
		}
	}
	return next, nil
}

// edge adds a call to an edge: what is the one whose operation it names, shown
// the one whose time it bears.
func (w *walk) edge(key edgeKey, hop int, tier rule.Tier, what, shown *rule.Step) {
	e := w.edges[key]
	if e == nil {
		e = &Edge{Kind: key.kind, From: key.from, To: key.to, Backward: key.backward, Place: key.place, Service: key.service, Hop: hop,
			First: shown.Time, Last: shown.Time, Call: shown.ID}
		w.edges[key], w.ops[key] = e, map[string]bool{}
	}
	e.Hop, e.Tier = min(e.Hop, hop), max(e.Tier, tier)
	if c := cmp.Or(shown.Time.Compare(e.First), slices.Compare(shown.ID[:], e.Call[:])); c < 0 {
		e.First, e.Call = shown.Time, shown.ID
	}
	if shown.Time.After(e.Last) {
		e.Last = shown.Time
	}
	if at := (edgeCall{key, shown.ID}); !w.counted[at] {
		w.counted[at] = true
		e.Calls++
	}
	if what.Operation != "" {
		w.ops[key][what.Operation] = true
	}
}

// finish puts the edges in order.
func (w *walk) finish() {
	for key, e := range w.edges {
		e.Operations = keysOf(w.ops[key])
		w.out.Edges = append(w.out.Edges, *e)
	}
	slices.SortFunc(w.out.Edges, func(a, b Edge) int {
		if a.Backward != b.Backward {
			if b.Backward {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Hop, b.Hop), a.First.Compare(b.First), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.From.Name, b.From.Name),
			cmp.Compare(a.To.Name, b.To.Name), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Service, b.Service))
	})
	slices.Sort(w.out.Cut)
}
