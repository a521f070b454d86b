package recommend

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

// usage folds uses into what is shown of them. Of calls that several reporters
// saw, the highest-ranking one counts.
type usage struct {
	byOperation map[operationKey]*operationUse
}

type operationKey struct{ service, operation, tenant string }

type operationUse struct {
	calls map[rankKey]uint64
	days  map[schema.Day]struct{}
	last  time.Time
}

type rankKey struct {
	hash     schema.PrincipalHash
	decision schema.Decision
	reporter schema.Reporter
}

func (s *usage) add(u *rule.Use) {
	if s.byOperation == nil {
		s.byOperation = map[operationKey]*operationUse{}
	}
	key := operationKey{u.Service, u.Operation, u.Tenant}
	o := s.byOperation[key]
	if o == nil {
		o = &operationUse{calls: map[rankKey]uint64{}, days: map[schema.Day]struct{}{}}
		s.byOperation[key] = o
	}
	o.calls[rankKey{u.Hash, u.Decision, u.Reporter}] += u.Calls
	for _, d := range u.Days {
		o.days[d] = struct{}{}
	}
	if u.Last.After(o.last) {
		o.last = u.Last
	}
}

// operations lists them in a stable order.
func (s *usage) operations() []Operation {
	list := make([]Operation, 0, len(s.byOperation))
	for key, o := range s.byOperation {
		list = append(list, Operation{key.service, key.operation, key.tenant, o.count(), len(o.days), o.last})
	}
	slices.SortFunc(list, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Tenant, b.Tenant))
	})
	return list
}

func (o *operationUse) count() (sum uint64) {
	best := map[rankKey]schema.Reporter{}
	for key := range o.calls {
		who := rankKey{key.hash, key.decision, 0}
		if r, ok := best[who]; !ok || key.reporter < r {
			best[who] = key.reporter
		}
	}
	for who, r := range best {
		sum += o.calls[rankKey{who.hash, who.decision, r}]
	}
	return sum
}

// total returns calls, days and the last time over all operations.
func (s *usage) total() (calls uint64, days int, last time.Time) {
	all := map[schema.Day]struct{}{}
	for _, o := range s.byOperation {
		calls += o.count()
		for d := range o.days {
			all[d] = struct{}{}
		}
		if o.last.After(last) {
			last = o.last
		}
	}
	return calls, len(all), last
}

// sort puts every held scope into exactly one of keep, remove and unknown.
func (w *work) sort(r *Recommendation, needs []need, solved []int, kept []bool, silent []rule.Silence) {
	needed := make([]bool, len(w.atoms))
	for _, a := range solved {
		needed[a] = true
	}
	for a := range w.atoms {
		switch {
		case needed[a]:
			r.Keep = append(r.Keep, w.keep(a, needs, needed))
		case kept[a]:
			r.Unknown = append(r.Unknown, Unknown{w.held(a), cmp.Or(silent[a].Why, whyUndivided)})
		default:
			r.Remove = append(r.Remove, w.remove(a, needs, kept, &silent[a]))
		}
	}
	slices.SortFunc(r.Keep, func(a, b Keep) int { return compareHeld(a.Held, b.Held) })
	slices.SortFunc(r.Unknown, func(a, b Unknown) int { return compareHeld(a.Held, b.Held) })
	slices.SortFunc(r.Remove, func(a, b Remove) int {
		return cmp.Or(cmp.Compare(b.Rank, a.Rank), compareHeld(a.Held, b.Held))
	})
}

// keep says what a scope is kept for: the needs that fail without it.
func (w *work) keep(a int, needs []need, needed []bool) Keep {
	k := Keep{Held: w.held(a), Operations: []Operation{}}
	needed[a] = false
	var pivotal usage
	for i := range needs {
		if !open(needs[i].clauses, needed) {
			for _, u := range needs[i].uses {
				pivotal.add(u)
			}
		}
	}
	needed[a] = true
	k.Operations = pivotal.operations()
	k.Calls, k.Days, k.LastUse = pivotal.total()
	return k
}

// remove says why a scope can go.
func (w *work) remove(a int, needs []need, kept []bool, s *rule.Silence) Remove {
	m := Remove{Held: w.held(a), Class: Unused, DaysObserved: s.Days, Since: s.Since, LastUse: s.LastUse, Opens: s.Opens,
		Confidence: s.Confidence, Rank: s.Points}
	cover := map[string]bool{}
	used := "is used"
	for i := range needs {
		if took := slices.ContainsFunc(needs[i].clauses, func(c clause) bool { return slices.Contains(c, a) }); !took {
			if s.LastUse.IsZero() || !w.mayServe(a, &needs[i]) {
				continue
			}
			used = "may be used"
		}
		m.Class = Redundant
		for _, c := range needs[i].clauses {
			if whole(c, kept) {
				for _, other := range c {
					cover[w.atoms[other].held.Scope] = true
				}
				break
			}
		}
	}
	for scope := range cover {
		m.CoveredBy = append(m.CoveredBy, scope)
	}
	slices.Sort(m.CoveredBy)
	days := plural(s.Days, "observed day")
	switch {
	case m.Class == Redundant:
		m.Why = fmt.Sprintf("what it %s for is also covered by %s, and nothing else that it opens was used on %s", used, strings.Join(m.CoveredBy, ", "), days)
	case !s.LastUse.IsZero():
		m.Why = fmt.Sprintf("only quarantined calls used it on %s", days)
	default:
		m.Why = fmt.Sprintf("no call used it on %s", days)
	}
	m.Why += ", " + s.Bound + "; " + strings.Join(s.Caps, "; ")
	m.Caveats = w.calendar(s)
	m.Label = label(m.Confidence, len(m.Caveats) > 0)
	return m
}

// mayServe reports whether a scope may have taken part in a need that it does
// not surely satisfy, since its entry is conditional or narrowed by what the
// calls do not show.
func (w *work) mayServe(a int, n *need) bool {
	return slices.ContainsFunc(n.uses, func(u *rule.Use) bool {
		request := w.request(u, w.j.Subject.Declared)
		return w.j.Env.Compare.Uses(w.atoms[a].held, &request)
	})
}

// few says that less of something was observed than wanted.
func few(n int, noun string) string {
	if n == 0 {
		return "no " + noun + " observed"
	}
	return "only " + plural(n, noun) + " observed"
}

// plural writes a number and a noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Bounds of the labels.
const (
	highConfidence   = 0.95
	mediumConfidence = 0.85
)

// label puts a confidence in a word. A calendar that was not seen keeps it from
// being high: silence between two year ends says nothing about the year's end.
func label(confidence float64, caveats bool) string {
	switch {
	case confidence >= highConfidence && !caveats:
		return "high"
	case confidence >= mediumConfidence:
		return "medium"
	}
	return "low"
}

// calendar says which recurring times the silent span does not contain twice
// (once for a year's end).
func (w *work) calendar(s *rule.Silence) (caveats []string) {
	if s.Since.IsZero() {
		return nil
	}
	months, quarters, years := 0, 0, 0
	for t := s.Since; ; {
		end := time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC) // the moment a month ends
		if end.After(w.j.Env.Window.To) {
			break
		}
		months++
		if end.Month()%3 == 1 {
			quarters++
		}
		if end.Month() == time.January {
			years++
		}
		t = end
	}
	if months < 2 {
		caveats = append(caveats, few(months, "month end"))
	}
	if quarters < 2 {
		caveats = append(caveats, few(quarters, "quarter end"))
	}
	if years < 1 {
		caveats = append(caveats, "no year end observed")
	}
	return caveats
}

// sampleCalls is how many ids of calls a kept scope shows.
const sampleCalls = 3

// samples adds ids of calls to the kept scopes.
func (w *work) samples(ctx context.Context, r *Recommendation) error {
	wants := make([][]rule.Selector, len(r.Keep))
	for i := range r.Keep {
		for _, o := range r.Keep[i].Operations {
			wants[i] = append(wants[i], w.selectors(&o)...)
		}
		slices.SortStableFunc(wants[i], func(a, b rule.Selector) int {
			return cmp.Or(a.From.Compare(b.From), slices.Compare(a.Hash[:], b.Hash[:]))
		})
		// Each selector's first call is at its From, so the earliest calls are
		// among the earliest selectors.
		wants[i] = wants[i][:min(len(wants[i]), sampleCalls)]
	}
	calls, err := w.j.Calls(ctx, wants)
	if err != nil {
		return err
	}
	for i := range r.Keep {
		r.Keep[i].Samples = []schema.CallID{}
		for k := range min(len(calls[i]), sampleCalls) {
			r.Keep[i].Samples = append(r.Keep[i].Samples, calls[i][k].ID)
		}
	}
	return nil
}

// selectors choose the legitimate calls of an operation.
func (w *work) selectors(o *Operation) (list []rule.Selector) {
	for i := range w.legitimate {
		u := &w.legitimate[i]
		if u.Service == o.Service && u.Operation == o.Operation && u.Tenant == o.Tenant && counts(u) {
			list = append(list, rule.Selector{Hash: u.Hash, Service: u.Service, Operation: u.Operation, Tenant: u.Tenant, HasTenant: true,
				Decisions: []schema.Decision{u.Decision}, From: u.First, To: u.Last})
		}
	}
	return list
}

// outside lists authorised operations that today's grant does not cover.
func (w *work) outside() []Operation {
	var s usage
	for i := range w.legitimate {
		u := &w.legitimate[i]
		if u.Verdict == schema.VerdictExercised && w.clauses(u) == nil {
			s.add(u)
		}
	}
	return s.operations()
}

// quarantine lists what is suspicious.
func (w *work) quarantine(grants []schema.Grant, kept []bool) []Quarantined {
	type fold struct {
		usage    usage
		findings map[schema.FindingID]bool
		passes   bool
	}
	byOperation := map[operationKey]*fold{}
	for i := range w.suspect {
		s := &w.suspect[i]
		if !s.use.Decision.Authorised() {
			continue
		}
		key := operationKey{s.use.Service, s.use.Operation, s.use.Tenant}
		f := byOperation[key]
		if f == nil {
			f = &fold{findings: map[schema.FindingID]bool{}}
			byOperation[key] = f
		}
		f.usage.add(&s.use)
		for _, id := range s.findings {
			f.findings[id] = true
		}
		f.passes = f.passes || w.passes(&s.use, grants, kept)
	}
	list := make([]Quarantined, 0, len(byOperation))
	for _, f := range byOperation {
		q := Quarantined{Operation: f.usage.operations()[0], Findings: []schema.FindingID{}, Refused: !f.passes}
		for id := range f.findings {
			q.Findings = append(q.Findings, id)
		}
		slices.Sort(q.Findings)
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b Quarantined) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation.Operation, b.Operation.Operation), cmp.Compare(a.Tenant, b.Tenant))
	})
	return list
}

// notes adds sentences about the whole.
func (w *work) notes(r *Recommendation) {
	add := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if r.Basis == basisPresented {
		add("nothing is declared for it, so what its tokens presented stands for the grant: take the scopes away where the tokens are issued")
	}
	if len(r.Remove) == 0 && len(r.Unknown) == 0 {
		add("everything that it holds is needed")
	}
	if len(r.Unknown) > 0 {
		add("%s kept because nothing can be said about it: see unknown", plural(len(r.Unknown), "scope"))
	}
	if len(w.j.Subject.Principals) == 0 {
		add("it was not seen in the window at all: consider whether it is needed")
	}
	if w.tooMany {
		add("some operation can be satisfied in more than %d ways, of which only those were looked at", maxClauses)
	}
	unmapped := map[string]bool{}
	for i := range w.legitimate {
		u := &w.legitimate[i]
		if u.Decision.Authorised() && u.Judgement.Demand.State == schema.DemandUnmapped && w.j.Env.Catalog.ServiceNamed(u.Service) != nil {
			unmapped[u.Operation+" on "+u.Service] = true
		}
	}
	if len(unmapped) > 0 {
		names := make([]string, 0, len(unmapped))
		for name := range unmapped {
			names = append(names, name)
		}
		slices.Sort(names)
		if len(names) > 5 {
			names = append(names[:5], fmt.Sprintf("and %d more", len(unmapped)-5))
		}
		add("what these operations need is not known, so the proposal cannot be replayed for them: %s", strings.Join(names, ", "))
	}
}
