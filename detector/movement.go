package detector

import (
	"context"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Bounds of what is looked at call by call.
const (
	// maxMoves is how many calls of one switch are looked at, the earliest.
	maxMoves = 1000
	// maxTraces is how many traces one question names.
	maxTraces = 500
	// maxNested is of how many calls without a trace it is asked what was open
	// at the time: each is a question.
	maxNested = 20
)

// know keeps all subjects, before the pass is narrowed.
func (r *run) know(first time.Time) {
	r.from, r.everyone = first.UTC(), slices.Clone(r.subjects)
	r.byHash = map[schema.PrincipalHash]*rule.Subject{}
	for _, s := range r.everyone {
		for i := range s.Principals {
			r.byHash[s.Principals[i].Hash] = s
		}
	}
}

// movement runs the rules that look at many credentials at once. What they say
// of one credential depends on others, so a narrowed pass looks at all of them,
// too, as soon as one of its own has strayed, and keeps what is said of its own.
func (r *run) movement(ctx context.Context) error {
	mine, err := r.residences(ctx, r.subjects)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(mine, func(one *rule.Residence) bool { return len(one.Strays()) > 0 }) {
		return nil
	}
	all := mine
	if len(r.subjects) < len(r.everyone) {
		if all, err = r.residences(ctx, r.everyone); err != nil {
			return err
		}
	}
	houses := rule.NewHouses(r.env.Catalog, all)
	var switches []*rule.Switch
	for _, one := range all {
		for _, stray := range one.Strays() {
			s, err := r.switched(ctx, houses, stray)
			if err != nil {
				return err
			}
			if s != nil {
				switches = append(switches, s)
			}
		}
	}
	r.keep(rule.Movements(r.env, houses, switches))
	return nil
}

// keep takes what is said of the subjects judged.
func (r *run) keep(result rule.Result) {
	judged := map[string]bool{}
	for _, s := range r.subjects {
		judged[s.Name] = true
	}
	for _, d := range result.Drafts {
		if judged[d.Finding.Credential.ID] {
			r.drafts = append(r.drafts, d)
		}
	}
	for _, w := range result.Withheld {
		if judged[w.Credential] {
			r.withheld.add([]rule.Withheld{w})
		}
	}
}

// residences reads where machine credentials are used.
func (r *run) residences(ctx context.Context, subjects []*rule.Subject) ([]*rule.Residence, error) {
	seats := map[*rule.Subject][]rule.Seat{}
	var hashes []schema.PrincipalHash
	for _, s := range subjects {
		if s.Machine() && s.Identifies() {
			hashes = append(hashes, hashesOf(s)...)
		}
	}
	slices.SortFunc(hashes, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	for part := range slices.Chunk(hashes, maxHashes) {
		err := r.facts.Seats(ctx, part, r.folded.To, func(seat *rule.Seat) error {
			s := r.byHash[seat.Hash]
			seats[s] = append(seats[s], *seat)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var list []*rule.Residence
	for _, s := range subjects {
		if len(seats[s]) > 0 {
			list = append(list, rule.NewResidence(s, seats[s]))
		}
	}
	return list, nil
}

func hashesOf(s *rule.Subject) []schema.PrincipalHash {
	list := make([]schema.PrincipalHash, len(s.Principals))
	for i := range s.Principals {
		list[i] = s.Principals[i].Hash
	}
	return list
}

// switched looks at the calls of a stray credential and keeps those that
// nothing handed or issued to the place; nil where there are none, or the place
// has no credentials of its own.
func (r *run) switched(ctx context.Context, houses *rule.Houses, stray rule.Stray) (*rule.Switch, error) {
	if stray.Place.Last.Before(r.window.From) {
		return nil, nil
	}
	s := &rule.Switch{Stray: stray, Own: houses.Own(stray.Place, stray.Place.First)}
	s.Own = slices.DeleteFunc(s.Own, func(o *rule.Residence) bool { return o == stray.Of })
	if len(s.Own) == 0 {
		return nil, nil
	}
	calls, err := r.strayCalls(ctx, s)
	if err != nil || len(calls) == 0 {
		return nil, err
	}
	issued, err := r.issuedTo(ctx, s, calls)
	if err != nil {
		return nil, err
	}
	traced, err := r.traced(ctx, calls)
	if err != nil {
		return nil, err
	}
	nested := 0
	for i := range calls {
		c := &calls[i]
		near := traced[c.Trace()]
		if issued[c.Instance] || issued[c.CredentialID] || rule.Handed(c, stray.Place, houses, s.Own, near) {
			continue
		}
		var open []rule.Step
		if others(near, c) == 0 && nested < maxNested {
			nested++
			if open, err = r.open(ctx, houses, stray.Place, c.Time); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(open, func(o rule.Step) bool { return o.Hash == c.Hash && !o.End().Before(c.Time) }) {
				continue // it called the place with this credential just then: handed on
			}
		}
		cause := rule.FindCause(c, stray.Place, houses, near, open, r.subject)
		s.Moves = append(s.Moves, rule.Move{Step: *c, Cause: cause})
	}
	if len(s.Moves) == 0 {
		return nil, nil
	}
	if err := r.secretBefore(ctx, s); err != nil {
		return nil, err
	}
	return s, r.reachBefore(ctx, s)
}

// others counts the calls of a trace that other places made.
func others(near []rule.Step, c *rule.Step) (n int) {
	for i := range near {
		if near[i].Seat() != c.Seat() {
			n++
		}
	}
	return n
}

// strayCalls reads the accepted calls of the credential from the place.
func (r *run) strayCalls(ctx context.Context, s *rule.Switch) ([]rule.Step, error) {
	var calls []rule.Step
	q := StepQuery{Window: r.window, Hashes: hashesOf(s.Of.Subject), Workloads: s.Place.Workloads}
	if s.Place.ByAddress() {
		q.Workloads = []string{""}
	}
	if q.Window.From.Before(s.Place.First) {
		q.Window.From = s.Place.First
	}
	err := r.facts.Steps(ctx, q, func(c *rule.Step) error {
		if c.Seat() != s.Place.Name {
			return nil
		}
		if !c.Decision.Accepted() {
			return nil
		}
		if len(calls) == maxMoves {
			s.Cut = true
			return nil
		}
		calls = append(calls, *c)
		return nil
	})
	return calls, err
}

// issuedTo returns the ids of keys that were issued to the place or one of its
// own credentials.
func (r *run) issuedTo(ctx context.Context, s *rule.Switch, calls []rule.Step) (map[string]bool, error) {
	ids := map[string]bool{}
	for i := range calls {
		for _, id := range [...]string{calls[i].Instance, calls[i].CredentialID} {
			if id != "" {
				ids[id] = true
			}
		}
	}
	issued := map[string]bool{}
	for part := range slices.Chunk(keysOf(ids), maxTraces) {
		q := StepQuery{Window: schema.Window{From: r.from, To: r.window.To}, Minted: part}
		err := r.facts.Steps(ctx, q, func(c *rule.Step) error {
			own := slices.ContainsFunc(s.Own, func(o *rule.Residence) bool { return o.Subject == r.byHash[c.Hash] })
			if own || c.Seat() == s.Place.Name {
				issued[c.Mints] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return issued, nil
}

func keysOf(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// traced reads the calls that share a trace with one of some calls.
func (r *run) traced(ctx context.Context, calls []rule.Step) (map[rule.TraceKey][]rule.Step, error) {
	found := map[rule.TraceKey][]rule.Step{}
	var keys []rule.TraceKey
	first, last := map[rule.TraceKey]time.Time{}, map[rule.TraceKey]time.Time{}
	for i := range calls {
		key := calls[i].Trace()
		if key.ID == "" {
			continue
		}
		if _, ok := first[key]; !ok {
			keys = append(keys, key)
			first[key] = calls[i].Time
		}
		last[key] = calls[i].Time
	}
	for part := range slices.Chunk(keys, maxTraces) {
		w := schema.Window{From: first[part[0]], To: first[part[0]]}
		for _, key := range part {
			if first[key].Before(w.From) {
				w.From = first[key]
			}
			if last[key].After(w.To) {
				w.To = last[key]
			}
		}
		w.From, w.To = w.From.Add(-rule.JobWindow), w.To.Add(rule.SyncWindow)
		err := r.facts.Steps(ctx, StepQuery{Window: w, Traces: part}, func(c *rule.Step) error {
			found[c.Trace()] = append(found[c.Trace()], *c)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// open reads the calls to what a place serves shortly before a time.
func (r *run) open(ctx context.Context, houses *rule.Houses, place *rule.Place, at time.Time) ([]rule.Step, error) {
	services := houses.Served(place)
	if len(services) == 0 {
		return nil, nil
	}
	var list []rule.Step
	q := StepQuery{Window: schema.Window{From: at.Add(-rule.SyncWindow), To: at.Add(time.Microsecond)}, Services: services}
	return list, r.facts.Steps(ctx, q, func(c *rule.Step) error { list = append(list, *c); return nil })
}

// secretBefore finds the last secret that one of the place's own credentials
// read there in the day before.
func (r *run) secretBefore(ctx context.Context, s *rule.Switch) error {
	var hashes []schema.PrincipalHash
	for _, o := range s.Own {
		hashes = append(hashes, hashesOf(o.Subject)...)
	}
	q := StepQuery{Window: schema.Window{From: s.First().Add(-rule.MergeWindow), To: s.First()}, Hashes: hashes, Workloads: s.Place.Workloads}
	if s.Place.ByAddress() {
		q.Workloads = []string{""}
	}
	return r.facts.Steps(ctx, q, func(c *rule.Step) error {
		if c.Decision == schema.DecisionAllowed && c.Seat() == s.Place.Name && r.env.ClassOf(c.Service, c.Operation) == schema.ClassSecret {
			read := *c
			s.Secret, s.SecretBy = &read, r.byHash[c.Hash]
		}
		return nil
	})
}

// reachBefore finds out what the place's own credentials, and those that caused
// the calls, had reached before.
func (r *run) reachBefore(ctx context.Context, s *rule.Switch) error {
	concerned := map[*rule.Subject]bool{}
	var hashes []schema.PrincipalHash
	add := func(one *rule.Subject) {
		if one != nil && !concerned[one] {
			concerned[one] = true
			hashes = append(hashes, hashesOf(one)...)
		}
	}
	for _, o := range s.Own {
		add(o.Subject)
	}
	for i := range s.Moves {
		if c := s.Moves[i].Cause; c != nil {
			add(c.Subject)
		}
	}
	reached := map[*rule.Subject]map[rule.Op]bool{}
	w := schema.Window{From: r.from.Truncate(24 * time.Hour), To: s.First()}
	for part := range slices.Chunk(hashes, maxHashes) {
		if !w.From.Before(w.To) {
			break
		}
		err := r.facts.Rows(ctx, RowQuery{Window: w, Hashes: part}, func(row *rule.Row) error {
			if row.Decision.Authorised() {
				one := r.byHash[row.Hash]
				if reached[one] == nil {
					reached[one] = map[rule.Op]bool{}
				}
				reached[one][rule.Op{Service: row.Service, Operation: row.Operation}] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.Before = func(one *rule.Subject, op rule.Op) bool { return reached[one][op] }
	return nil
}
