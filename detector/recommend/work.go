package recommend

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// work is what it takes to recommend for one credential.
type work struct {
	j *detector.Judged
	// now is the moment whose grant is made smaller: the end of the window.
	now   time.Time
	atoms []atom
	byKey map[atomKey]int
	// legitimate are the uses that count as need, if they were authorised;
	// suspect those that do not, with the findings that say why.
	legitimate []rule.Use
	suspect    []suspicion
	// tooMany says that some need has more ways to be satisfied than are
	// looked at.
	tooMany bool
}

// atom is one held scope of one entry: what can be kept or removed.
type atom struct {
	held compare.HeldScope
	// entry is the entry's index in the declared grants, -1 if presented.
	entry int
}

// atomKey finds an atom by what a cover names: a scope of an entry, or of none,
// which is then a presented one at an authority.
type atomKey struct {
	grant     *schema.Grant
	authority string
	scope     string
}

// suspicion is a use under a finding.
type suspicion struct {
	use      rule.Use
	findings []schema.FindingID
}

func newWork(ctx context.Context, j *detector.Judged) (*work, error) {
	w := &work{j: j, now: j.Env.Window.To.Add(-time.Microsecond), byKey: map[atomKey]int{}}
	if d := j.Subject.Declared; d != nil {
		for _, h := range j.Env.Compare.Held(d, nil, schema.Window{From: w.now, To: j.Env.Window.To}) {
			entry := -1
			for i := range d.Grants {
				if h.Grant == &d.Grants[i] {
					entry = i
				}
			}
			// The same scope twice in one entry is one atom.
			key := atomKey{h.Grant, "", h.Scope}
			if _, again := w.byKey[key]; !again {
				w.byKey[key] = len(w.atoms)
				w.atoms = append(w.atoms, atom{h, entry})
			}
		}
	}
	for _, h := range j.Set.Presented() {
		w.byKey[atomKey{nil, h.Authority, h.Scope}] = len(w.atoms)
		w.atoms = append(w.atoms, atom{h, -1})
	}
	return w, w.divide(ctx)
}

// basis says what the grant is known by.
func (w *work) basis() string {
	if d := w.j.Subject.Declared; d != nil && len(d.Grants) > 0 {
		return basisDeclared
	}
	if len(w.atoms) > 0 && w.j.Subject.Identifies() {
		return basisPresented
	}
	return basisNone
}

// divide tells legitimate use from suspicious use. Calls from a strange origin
// are told apart call by call; an operation that was denied and then allowed is
// suspect if it had not been allowed anywhere before the denial.
func (w *work) divide(ctx context.Context) error {
	uses := w.j.Uses
	var away []schema.FindingID
	reversed := map[[3]string]map[schema.FindingID]time.Time{}
	beyond := map[[3]string][]schema.FindingID{}
	for i := range w.j.Drafts {
		f := &w.j.Drafts[i].Finding
		at := [3]string{f.Service, f.Operation, f.Tenant}
		switch f.Code {
		case rule.AwayFromHome:
			away = append(away, f.ID)
		case rule.DeniedThenAllowed:
			if reversed[at] == nil {
				reversed[at] = map[schema.FindingID]time.Time{}
			}
			reversed[at][f.ID] = f.First
		case rule.OutOfScopeAccess:
			beyond[at] = append(beyond[at], f.ID)
		}
	}
	if len(w.j.Away) > 0 {
		strange, err := w.j.From(ctx, w.j.Away, true)
		if err != nil {
			return err
		}
		for i := range strange {
			w.suspect = append(w.suspect, suspicion{strange[i], away})
		}
		if uses, err = w.j.From(ctx, w.j.Away, false); err != nil {
			return err
		}
	}
	detector.SortUses(uses)
	first := map[[3]string]time.Time{}
	for i := range uses {
		u := &uses[i]
		at := [3]string{u.Service, u.Operation, u.Tenant}
		if t, ok := first[at]; u.Decision.Authorised() && (!ok || u.First.Before(t)) {
			first[at] = u.First
		}
	}
	for i := range uses {
		u := &uses[i]
		at := [3]string{u.Service, u.Operation, u.Tenant}
		var why []schema.FindingID
		if u.Verdict == schema.VerdictBeyond {
			why = append(why, beyond[at]...)
		}
		for id, denied := range reversed[at] {
			if u.Decision.Authorised() && !first[at].Before(denied) {
				why = append(why, id)
			}
		}
		if len(why) > 0 {
			slices.Sort(why)
			w.suspect = append(w.suspect, suspicion{*u, slices.Compact(why)})
		} else {
			w.legitimate = append(w.legitimate, *u)
		}
	}
	return nil
}

// mode is the grant that a use is compared with: the declared one where the
// credential has an entry for the authority, else what the call presented.
func (w *work) mode(u *rule.Use) schema.GrantMode {
	s := w.j.Env.Catalog.ServiceNamed(u.Service)
	if s == nil || s.Grant == schema.GrantDeclared || u.Scopes == nil {
		return schema.GrantDeclared
	}
	if d := w.j.Subject.Declared; d != nil && slices.ContainsFunc(d.Grants, func(g schema.Grant) bool {
		return g.Authority == "" || g.Authority == s.Authority
	}) {
		return schema.GrantDeclared
	}
	return schema.GrantPresented
}

// request asks about a use as of now, for a credential that may differ in its
// grants.
func (w *work) request(u *rule.Use, declared *catalog.Credential) compare.Request {
	return compare.Request{
		Declared: declared, Kind: u.Principal.Kind, Service: u.Service, Operation: u.Operation, Tenant: u.Tenant,
		Resource: u.Resource, ResourceKnown: u.ResourceKnown, RouteSource: u.RouteSource, Scopes: u.Scopes, Groups: u.Groups, Time: w.now,
	}
}

// need is a distinct requirement of legitimate use.
type need struct {
	// clauses are sets of atoms that each satisfy it; one empty clause says
	// that nothing of its own is needed.
	clauses []clause
	uses    []*rule.Use
}

// counts reports whether a use, if it is covered, is a need: it was not refused.
// What failed in the server or has no known outcome was still tried by the
// workload, so the scope is kept for it.
func counts(u *rule.Use) bool {
	return u.Decision != schema.DecisionDenied && u.Decision != schema.DecisionUnauthenticated
}

// needs folds uses into distinct requirements, in a stable order.
func (w *work) needs(uses []rule.Use) []need {
	byText := map[string]int{}
	var list []need
	for i := range uses {
		u := &uses[i]
		if !counts(u) {
			continue
		}
		clauses := w.clauses(u)
		if clauses == nil {
			continue
		}
		text := fmt.Sprint(clauses)
		at, ok := byText[text]
		if !ok {
			at = len(list)
			byText[text] = at
			list = append(list, need{clauses: clauses})
		}
		list[at].uses = append(list[at].uses, u)
	}
	slices.SortFunc(list, func(a, b need) int { return slices.CompareFunc(a.clauses, b.clauses, slices.Compare[clause]) })
	return list
}

// clauses returns the sets of atoms that satisfy a use today, nil if today's
// grant does not.
func (w *work) clauses(u *rule.Use) []clause {
	request := w.request(u, w.j.Subject.Declared)
	mode := w.mode(u)
	var out []clause
	for _, cover := range w.j.Env.Compare.Covers(&request, mode) {
		out = append(out, w.spread(u, cover)...)
	}
	if len(out) == 0 {
		return nil
	}
	return minimal(out)
}

// maxClauses bounds the ways of one need that are looked at.
const maxClauses = 256

// spread turns one cover, an AND of ORs, into clauses. A contribution that is no
// atom (that of a group) costs nothing.
func (w *work) spread(u *rule.Use, cover compare.Cover) []clause {
	out := []clause{{}}
	for _, any := range cover {
		var atoms []int
		free := false
		for _, c := range any {
			at, ok := w.find(u, &c)
			if !ok {
				free = true
				break
			}
			atoms = append(atoms, at)
		}
		if free {
			continue
		}
		slices.Sort(atoms)
		atoms = slices.Compact(atoms)
		var next []clause
		for _, c := range out {
			for _, a := range atoms {
				if at, has := slices.BinarySearch(c, a); !has {
					next = append(next, slices.Insert(slices.Clone(c), at, a))
				} else {
					next = append(next, c)
				}
			}
		}
		out = minimal(next)
		if len(out) > maxClauses {
			w.tooMany = true
			out = out[:maxClauses]
		}
	}
	return out
}

// find returns the atom of a contribution.
func (w *work) find(u *rule.Use, c *compare.Contribution) (int, bool) {
	key := atomKey{c.Grant, "", c.Scope}
	if c.Grant == nil {
		s := w.j.Env.Catalog.ServiceNamed(u.Service)
		key.authority = s.Authority
	}
	at, ok := w.byKey[key]
	return at, ok
}

// all marks every atom.
func (w *work) all() []bool {
	kept := make([]bool, len(w.atoms))
	for i := range kept {
		kept[i] = true
	}
	return kept
}

// silences asks, for each atom, what its silence would mean.
func (w *work) silences() []rule.Silence {
	out := make([]rule.Silence, len(w.atoms))
	for i := range w.atoms {
		out[i] = w.j.Set.Silence(w.atoms[i].held)
		if out[i].Why == "" {
			out[i].Why = w.undecided(&w.atoms[i])
		}
	}
	return out
}

// undecided says whether calls that could not be judged may need the scope:
// then it is not removed.
func (w *work) undecided(a *atom) string {
	if a.held.Grant == nil {
		return ""
	}
	var names []string
	why := ""
	for i := range w.legitimate {
		u := &w.legitimate[i]
		if !counts(u) || u.Judgement.Holding != compare.Unknown || u.Judgement.Demand.State != schema.DemandKnown {
			continue
		}
		request := w.request(u, w.j.Subject.Declared)
		if w.clauses(u) != nil || !w.j.Env.Compare.Uses(a.held, &request) {
			continue
		}
		names = append(names, u.Operation)
		if len(u.Judgement.Reasons) > 0 {
			why = u.Judgement.Reasons[0]
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 3 {
		names = append(names[:3], "and more")
	}
	return fmt.Sprintf("calls of %s may need it, and cannot be judged: %s", strings.Join(names, ", "), why)
}

// kept is what the proposal keeps: what the solver keeps, and what nothing can
// be said about.
func (w *work) kept(solved []int, silent []rule.Silence) []bool {
	kept := make([]bool, len(w.atoms))
	for _, a := range solved {
		kept[a] = true
	}
	for a := range w.atoms {
		kept[a] = kept[a] || silent[a].Why != ""
	}
	for a := range w.atoms {
		if !kept[a] && w.undivided(a) {
			kept[a] = slices.ContainsFunc(w.others(a), func(b int) bool { return kept[b] })
		}
	}
	return kept
}

// whyUndivided is why a scope stays with others of its entry.
const whyUndivided = "its entry gives all but some scopes, and cannot be divided"

// undivided reports whether the atom is part of an entry that gives all but
// some scopes: such an entry stays or goes as a whole.
func (w *work) undivided(a int) bool {
	g := w.atoms[a].held.Grant
	return g != nil && g.Scopes == nil
}

// others are the other atoms of the same entry.
func (w *work) others(a int) (list []int) {
	for b := range w.atoms {
		if b != a && w.atoms[b].entry == w.atoms[a].entry {
			list = append(list, b)
		}
	}
	return list
}

// held names an atom.
func (w *work) held(a int) Held {
	h := &w.atoms[a].held
	out := Held{Scope: h.Scope, Authority: h.Authority, On: h.Narrowed}
	if h.Grant != nil {
		out.Source = h.Grant.Source
	} else {
		out.Source = "presented by its tokens"
	}
	return out
}

// problem writes the needs, and all else that the grant opens, for the solver.
func (w *work) problem(needs []need) *problem {
	p := &problem{atoms: len(w.atoms), cost: make([]int, len(w.atoms))}
	needed := map[rule.Op]bool{}
	for i := range needs {
		p.needs = append(p.needs, needs[i].clauses)
		for _, u := range needs[i].uses {
			needed[rule.Op{Service: u.Service, Operation: u.Operation}] = true
		}
	}
	kinds := w.j.Subject.Kinds()
	if len(kinds) == 0 {
		kinds = []schema.CredentialKind{schema.KindOAuthClient}
	}
	for _, s := range w.j.Env.Catalog.Services {
		if s.Dialect == schema.DialectIAM || s.Dialect == schema.DialectKubernetes || s.DemandOperation {
			continue
		}
		for _, o := range s.Operations {
			if needed[rule.Op{Service: s.Name, Operation: o.Name}] {
				continue
			}
			if clauses := w.opening(s, o, kinds); len(clauses) > 0 {
				p.red = append(p.red, redOperation{clauses, harm(o)})
			}
		}
	}
	for a := range w.atoms {
		p.cost[a] = breadth(&w.atoms[a].held)
	}
	return p
}

// opening returns the sets of atoms that open an operation.
func (w *work) opening(s *catalog.Service, o *catalog.Operation, kinds []schema.CredentialKind) []clause {
	var scopes []string
	for i := range w.atoms {
		if h := &w.atoms[i].held; h.Grant == nil && h.Authority == s.Authority {
			scopes = append(scopes, h.Scope)
		}
	}
	var out []clause
	for _, kind := range kinds {
		u := rule.Use{Row: rule.Row{Use: schema.Use{Principal: schema.Principal{Kind: kind}, Service: s.Name, Operation: o.Name,
			RouteSource: o.RouteSource, Scopes: scopes}}}
		out = append(out, w.clauses(&u)...)
	}
	out = slices.DeleteFunc(out, func(c clause) bool { return len(c) == 0 })
	return minimal(out)
}

// harm weighs an operation that need not be open.
func harm(o *catalog.Operation) int {
	class := o.Class
	if class == schema.ClassUnstated {
		class = rule.ClassByName(o.Name)
	}
	return classHarm(class) * max(1, int(o.Sensitivity))
}

func classHarm(c schema.Class) int {
	switch c {
	case schema.ClassWrite:
		return 3
	case schema.ClassDelete:
		return 5
	case schema.ClassAdmin, schema.ClassSecret, schema.ClassMint:
		return 10
	}
	return 1
}

// breadth weighs a scope of the dialects whose operations are endless: the more
// its wildcards take in, the worse; narrowed to objects or namespaces, half.
func breadth(h *compare.HeldScope) int {
	if h.Dialect != schema.DialectIAM && h.Dialect != schema.DialectKubernetes {
		return 0
	}
	weight := 4 * classHarm(rule.ClassByName(h.Scope))
	switch stars := strings.Count(h.Scope, "*"); {
	case strings.HasPrefix(h.Scope, "* except"), h.Scope == "*", h.Scope == "* *", h.Scope == "*:*":
		weight = 4000
	case strings.HasSuffix(h.Scope, ":*"), strings.HasPrefix(h.Scope, "* "), strings.HasSuffix(h.Scope, " *"):
		weight = 400
	case stars > 0:
		weight *= 10
	}
	if h.Narrowed != "" {
		weight /= 2
	}
	return weight
}

// compareHeld orders held scopes for people.
func compareHeld(a, b Held) int {
	return cmp.Or(cmp.Compare(a.Authority, b.Authority), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.On, b.On), cmp.Compare(a.Source, b.Source))
}
