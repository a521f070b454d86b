package detector

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Summary is what the findings stand on, and what could not be judged.
type Summary struct {
	// Window is the span judged, both bounds set.
	Window schema.Window `json:"window"`
	// Judged are the names of the credentials judged, as findings have them.
	Judged []string `json:"-"`
	// Calls are the stored calls judged; one that two reporters saw counts
	// twice.
	Calls uint64 `json:"calls"`
	// Credentials seen, by whether the catalogue declares them. Silent are
	// declared and were not seen.
	Credentials Credentials `json:"credentials"`
	// Uses counts uses by verdict: distinct combinations of credential,
	// service, operation, tenant and decision. Dormant counts the unused
	// scopes reported.
	Uses map[string]uint64 `json:"uses"`
	// Unmapped counts the unmapped uses by the reason.
	Unmapped map[string]uint64 `json:"unmapped,omitempty"`
	// Coverage is that of each service that the catalogue knows or a call was
	// made to, by name.
	Coverage []schema.Coverage `json:"coverage,omitempty"`
	// Findings counts them by severity, OverBudget those that are over the
	// budget of their day and Suppressed those that the catalogue silences, which
	// are in none of these.
	Findings   map[string]int `json:"findings"`
	OverBudget int            `json:"over_budget,omitempty"`
	Suppressed int            `json:"suppressed,omitempty"`
	// Now is the time as of which was judged.
	Now time.Time `json:"-"`
	// Active is how many identities were seen in the window, of all credentials
	// whether judged or not: what the budget of scores is by.
	Active int `json:"-"`
	// Withheld says what a detection would not say, and why.
	Withheld []Withheld `json:"withheld,omitempty"`
	// Notes are sentences about what could not be done at all.
	Notes []string `json:"notes,omitempty"`
}

// Credentials counts credentials.
type Credentials struct {
	Declared   int `json:"declared"`
	Undeclared int `json:"undeclared"`
	Silent     int `json:"silent"`
	// Anonymous counts names of callers that proved nothing, or of whom the
	// log tells nothing.
	Anonymous int `json:"anonymous"`
}

// Withheld is what a detection would not say for one reason.
type Withheld struct {
	Code string `json:"code"`
	// Why is a clause, such as "only 12 observed days …".
	Why string `json:"why"`
	// Count is how many objects it concerns, Examples the first few of them.
	Count    int      `json:"count"`
	Examples []string `json:"examples"`
}

func newSummary() Summary {
	return Summary{Uses: map[string]uint64{}, Unmapped: map[string]uint64{}, Findings: map[string]int{}}
}

func (s *Summary) seeSubjects(subjects []*rule.Subject) {
	for _, one := range subjects {
		s.Judged = append(s.Judged, one.Name)
		switch {
		case len(one.Principals) == 0:
			s.Credentials.Silent++
		case one.Declared != nil:
			s.Credentials.Declared++
		case one.Identifies():
			s.Credentials.Undeclared++
		default:
			s.Credentials.Anonymous++
		}
	}
}

func (s *Summary) seeCoverage(c *rule.Coverage, cat *catalog.Catalog, days []rule.SourceDay) {
	names := map[string]bool{}
	for _, service := range cat.Services {
		names[service.Name] = true
	}
	for _, d := range days {
		// Calls whose log names no host belong to no service, and an empty
		// name would mean all of them.
		if d.Service != "" {
			names[d.Service] = true
		}
	}
	for name := range names {
		seen := c.Service(name)
		s.Coverage = append(s.Coverage, seen.Coverage)
	}
	slices.SortFunc(s.Coverage, func(a, b schema.Coverage) int { return cmp.Compare(a.Service, b.Service) })
}

// Why a use is unmapped.
const (
	whyUndecided       = "the log does not tell what became of the call"
	whyFailed          = "the call failed before or after authorisation (throttled, server error)"
	whyUnauthenticated = "the credential itself was refused"
	whyUncertain       = "request and answer may not belong together"
	whyNoEffect        = "the call had no effect, which proves no access"
	whyService         = "the catalogue does not know the service"
	whyRoute           = "the catalogue does not know the operation"
	whyDemand          = "what the operation needs is not known"
	whyGrant           = "what the credential holds is not known"
	whyCondition       = "a condition, a resource or another authoriser that the call does not show decides"
)

// whyUnmapped sorts an unmapped use by its reason: the first obstacle on the
// way to a verdict.
func whyUnmapped(u *rule.Use, known bool) string {
	switch {
	case u.Decision == schema.DecisionUnauthenticated:
		return whyUnauthenticated
	case u.Decision == schema.DecisionError:
		return whyFailed
	case u.Decision == schema.DecisionUnknown:
		return whyUndecided
	case !known:
		return whyService
	case u.RouteSource == schema.RouteLearned || u.RouteSource == schema.RouteNone:
		return whyRoute
	case u.Judgement.Holding == compare.Lacks && u.Decision == schema.DecisionNoEffect:
		return whyNoEffect
	case u.Judgement.Holding == compare.Lacks:
		return whyUncertain
	case u.Judgement.Demand.State == schema.DemandUnmapped:
		return whyDemand
	case u.Judgement.Granted == nil:
		return whyGrant
	}
	return whyCondition
}

// counter counts the distinct uses of one subject.
type counter struct {
	seen map[counted]struct{}
}

type counted struct {
	service, operation, tenant string
	decision                   schema.Decision
	verdict                    schema.Verdict
	why                        string
}

func (c *counter) add(s *Summary, u *rule.Use, known bool) {
	key := counted{u.Service, u.Operation, u.Tenant, u.Decision, u.Verdict, ""}
	if u.Verdict == schema.VerdictUnmapped {
		key.why = whyUnmapped(u, known)
	}
	if c.seen == nil {
		c.seen = map[counted]struct{}{}
	}
	if _, ok := c.seen[key]; ok {
		return
	}
	c.seen[key] = struct{}{}
	s.Uses[u.Verdict.String()]++
	if key.why != "" {
		s.Unmapped[key.why]++
	}
}

// withheldSet sums up what was withheld, by code and reason.
type withheldSet map[[2]string]*Withheld

// maxExamples is how many objects a reason names.
const maxExamples = 3

func (w *withheldSet) add(list []rule.Withheld) {
	if *w == nil {
		*w = withheldSet{}
	}
	for _, one := range list {
		key := [2]string{one.Code, one.Why}
		sum := (*w)[key]
		if sum == nil {
			sum = &Withheld{Code: one.Code, Why: one.Why}
			(*w)[key] = sum
		}
		sum.Count++
		sum.Examples = append(sum.Examples, one.Object+" of "+one.Credential)
		slices.Sort(sum.Examples)
		sum.Examples = sum.Examples[:min(len(sum.Examples), maxExamples)]
	}
}

func (w *withheldSet) list() []Withheld {
	list := make([]Withheld, 0, len(*w))
	for _, one := range *w {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Withheld) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Why, b.Why))
	})
	return list
}
