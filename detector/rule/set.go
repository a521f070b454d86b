package rule

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Env is what the rules know besides the calls. It is shared by all subjects
// and not changed after it was made, but for caches of its own.
type Env struct {
	Catalog *catalog.Catalog
	Compare *compare.Comparer
	// Window is the span judged; both bounds are set.
	Window schema.Window
	// Now is what the window's end means to people: the time of the latest
	// call, where no end was asked for.
	Now time.Time
	// Since is when the first stored call was made, in the window or before it.
	Since time.Time
	// Active is how many identities were seen in the window.
	Active int
	// Population is what all credentials do; nil as long as no rule wants it.
	Population *Population
	// Coverage tells what of a service was seen in the window.
	Coverage *Coverage
	// MinDays is how many observed days of silence D04 wants; Horizon how many
	// days it looks back.
	MinDays, Horizon int

	unlocks map[unlockKey]unlock
}

// Defaults of the tunables of D04, in days.
const (
	DefaultMinDays = 30
	DefaultHorizon = 90
)

// Set is the rules at work on one subject.
type Set struct {
	env      *Env
	subject  *Subject
	beyond   beyondRule
	probing  probingRule
	reversal reversalRule
	unused   unusedRule
	drift    driftRule
	paces    paceRule
	origin   originRule
	where    whereRules
	boundary boundaryRule
	dormant  dormantRule
	weak     weakRule
	unowned  unownedRule
	purpose  purposeRule
}

// New returns the rules for one subject.
func New(env *Env, subject *Subject) *Set {
	base := base{env: env, subject: subject}
	s := &Set{
		env: env, subject: subject,
		beyond:   beyondRule{base: base},
		probing:  probingRule{base: base},
		reversal: reversalRule{base: base},
		unused:   unusedRule{base: base},
		drift:    driftRule{base: base},
		paces:    paceRule{base: base},
		origin:   originRule{base: base},
		where:    newWhereRules(base),
		boundary: boundaryRule{base: base},
		dormant:  dormantRule{base: base},
		weak:     weakRule{base: base},
		unowned:  unownedRule{base: base},
		purpose:  purposeRule{base: base},
	}
	s.where.bound.declared = &s.origin
	return s
}

// base is what every rule holds.
type base struct {
	env     *Env
	subject *Subject
}

// Request is what the row asks the comparer.
func (s *Set) Request(r *Row) compare.Request {
	return compare.Request{
		Declared: s.subject.Declared, Kind: r.Principal.Kind,
		Service: r.Service, Operation: r.Operation, Tenant: r.Tenant,
		RouteSource: r.RouteSource, Scopes: r.Scopes, Groups: r.Groups, Time: r.First,
	}
}

// Row takes a row before it is judged. Rows that differ only in their decision
// must follow each other.
func (s *Set) Row(r *Row) { s.reversal.row(r) }

// Use takes a judged use. The rules keep no reference to it.
func (s *Set) Use(u *Use) {
	s.beyond.use(u)
	s.probing.use(u)
	s.unused.use(u)
	s.drift.use(u)
	s.boundary.use(u)
	s.dormant.use(u)
	s.paces.use(u)
	s.weak.use(u)
	s.unowned.use(u)
	s.purpose.use(u)
}

// Earlier takes a row from before the window: habits are older than what is
// judged.
func (s *Set) Earlier(r *Row) {
	s.drift.before(r)
	s.boundary.before(r)
	s.dormant.active(r)
	s.paces.lives(r)
	s.weak.take(r)
}

// WantsPopulation reports whether the subject did something that only what others
// do can tell the oddity of. Call it after all uses.
func (s *Set) WantsPopulation() bool {
	return s.drift.wantsPopulation() || s.boundary.wantsPopulation()
}

// WantsPaces reports whether D10 and D15 must know how fast the subject works.
func (s *Set) WantsPaces() bool { return s.subject.Identifies() }

// Pace takes how fast the subject called one operation, after all uses.
func (s *Set) Pace(p *Pace) { s.paces.pace(p) }

// Norms names the operations of which the rules must know how others call them,
// after all paces; Norm takes one answer.
func (s *Set) Norms() []NormKey { return s.paces.normKeys() }

// Norm takes one answer to Norms.
func (s *Set) Norm(n *RouteNorm) { s.paces.norm(n) }

// Visits names the hours that must be looked at call by call, after all norms.
func (s *Set) Visits() []VisitKey { return s.paces.visitKeys() }

// Visit takes one call of those hours; those of one hour come in order of time.
func (s *Set) Visit(v *Visit) { s.paces.visit(v) }

// Surges names the hours at which others may have been busy as well, after all
// visits.
func (s *Set) Surges() []SurgeKey { return s.paces.surgeKeys() }

// Surge takes one answer to Surges.
func (s *Set) Surge(one *Surge) { s.paces.surge(one) }

// Reversals names what must be looked at call by call for D03, after all rows.
func (s *Set) Reversals() []ReversalKey { return s.reversal.keys() }

// Reversal takes one answer to Reversals.
func (s *Set) Reversal(r *Reversal) { s.reversal.reversal(r) }

// WantsOrigins reports whether D06 must see where the calls came from.
func (s *Set) WantsOrigins() bool { return s.origin.wants() }

// Origin takes one origin of the subject's accepted calls.
func (s *Set) Origin(o *Origin) { s.origin.origin(o) }

// Away returns the origins that D06 speaks about, in a stable order. Call it
// after all origins.
func (s *Set) Away() []Origin {
	list := slices.Clone(s.origin.origins)
	slices.SortFunc(list, func(a, b Origin) int {
		return cmp.Or(bytes.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Session, b.Session), a.Address.Compare(b.Address),
			cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Reporter, b.Reporter))
	})
	return list
}

// WantsHistory reports whether D02 must know what the subject called before the
// window. Call it after all uses.
func (s *Set) WantsHistory() bool { return s.probing.needsHistory() }

// History takes one operation that the subject called before the window.
func (s *Set) History(h *History) { s.probing.before(h) }

// Result is what the rules say about a subject.
type Result struct {
	Drafts []Draft
	// Withheld says what a rule would not say, and why; the same sentence may
	// come from many subjects.
	Withheld []Withheld
}

// Withheld is something that a rule would not say.
type Withheld struct {
	// Code is the rule's.
	Code string
	// Credential and Object name what it is about ("scope orders:admin at
	// idp.example.com").
	Credential, Object string
	// Why is a clause ("no call to its services was seen").
	Why string
}

// Finish returns what was found. The set is then used up.
func (s *Set) Finish() Result {
	var r Result
	for _, rule := range []interface{ finish(*Result) }{
		&s.beyond, &s.probing, &s.reversal, &s.unused, &s.origin, &s.boundary, &s.dormant, &s.weak, &s.unowned, &s.purpose,
		&s.paces,
		&s.where,
		// Habits come last: what was found until here does not teach them.
		&s.drift,
	} {
		rule.finish(&r)
	}
	s.excuse(&r)
	return r
}
