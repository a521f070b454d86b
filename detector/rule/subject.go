package rule

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Subject is one credential as findings name it, with all the principals that
// were observed under that name.
type Subject struct {
	// Name is the catalogue's id, else the observed id.
	Name string
	// Declared is nil where the catalogue does not know the credential.
	Declared *catalog.Credential
	// Principals were seen in the window, in any order; none if the catalogue
	// declares a credential that never called.
	Principals []Principal
}

// Principal is one observed principal and when it was seen.
type Principal struct {
	schema.Principal
	Hash        schema.PrincipalHash
	First, Last time.Time
}

// Kinds returns the observed kinds, ascending, each once.
func (s *Subject) Kinds() []schema.CredentialKind {
	var kinds []schema.CredentialKind
	for i := range s.Principals {
		if !slices.Contains(kinds, s.Principals[i].Kind) {
			kinds = append(kinds, s.Principals[i].Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Machine reports whether the credential is a machine's: the catalogue says so,
// or else the observed kind is one of machines.
func (s *Subject) Machine() bool {
	if s.Declared != nil && s.Declared.Kind != "" {
		return s.Declared.Kind != "human"
	}
	return slices.ContainsFunc(s.Kinds(), schema.CredentialKind.Machine)
}

// Identifies reports whether the name stands for one caller: nothing that needs
// an identity over time can be said about anonymous calls, or about those whose
// caller the log does not tell.
func (s *Subject) Identifies() bool {
	if s.Declared != nil {
		return true
	}
	return slices.ContainsFunc(s.Principals, func(p Principal) bool {
		return p.ID != "" && p.Kind != schema.KindAnonymous
	})
}

// Credential returns the credential as a finding names it.
func (s *Subject) Credential() schema.FindingCredential {
	c := schema.FindingCredential{ID: s.Name, Observed: []string{}}
	for i := range s.Principals {
		if id := s.Principals[i].ID; id != "" {
			c.Observed = append(c.Observed, id)
		}
	}
	slices.Sort(c.Observed)
	c.Observed = slices.Compact(c.Observed)
	if d := s.Declared; d != nil {
		c.Kind, c.Owner, c.Workload = d.Kind, d.Owner, d.Workload
	}
	if c.Kind == "" {
		var words []string
		for _, k := range s.Kinds() {
			words = append(words, k.String())
		}
		c.Kind = strings.Join(words, "+")
	}
	return c
}

// Row is calls of one principal that are equal in all that a judgement looks at
// but the concrete object, within a span in which no grant begins or ends.
type Row struct {
	schema.Use
	Hash      schema.PrincipalHash
	Presented schema.PresentedHash
	// Segment numbers the span of time, between two cuts, that the row is of.
	Segment int
	// Days are the days with calls, ascending.
	Days []schema.Day
}

// RowKey is what tells one row from another.
type RowKey struct {
	Hash                       schema.PrincipalHash
	Service, Operation, Tenant string
	Decision                   schema.Decision
	Reporter                   schema.Reporter
	RouteSource                schema.RouteSource
	Certain                    bool
	Presented                  schema.PresentedHash
	Segment                    int
}

// Key returns what tells the row from others.
func (r *Row) Key() RowKey {
	return RowKey{r.Hash, r.Service, r.Operation, r.Tenant, r.Decision, r.Reporter, r.RouteSource, r.Certain, r.Presented, r.Segment}
}

// Use is a row (or the part of it that touches one object) with its judgement.
type Use struct {
	Row
	// Resource is the concrete object, where the judgement needed it.
	Resource      string
	ResourceKnown bool
	Judgement     compare.Judgement
	Verdict       schema.Verdict
}

// Op names an operation of a service.
type Op struct{ Service, Operation string }

// History is an operation that a principal called, accepted or not but for the
// credential itself, and the first time.
type History struct {
	Hash               schema.PrincipalHash
	Service, Operation string
	RouteSource        schema.RouteSource
	First              time.Time
}

// ReversalKey names what may have been denied and then allowed.
type ReversalKey struct {
	Hash                       schema.PrincipalHash
	Service, Operation, Tenant string
}

// Reversal is a run of denials of one object that ended in success.
type Reversal struct {
	ReversalKey
	// Object is the call's resource, else its path; Resource only the former.
	Object, Resource string
	RouteSource      schema.RouteSource
	// Denied and LastDenied are the first and last denial of the run,
	// Denials their number.
	Denied, LastDenied time.Time
	Denials            uint64
	// Allowed is the first success after the run.
	Allowed time.Time
	// Before says that the object had been allowed before the run, too.
	Before bool
	// DeniedWith and AllowedWith are the scopes presented by the last denial
	// and by the success, nil where none were.
	DeniedWith, AllowedWith []string
	// Groups are those presented by the success.
	Groups []string
}

// Origin is where calls of one session came from.
type Origin struct {
	Hash    schema.PrincipalHash
	Session string
	// Address is invalid where the log tells none.
	Address     netip.Addr
	Workload    string
	First, Last time.Time
	Calls       uint64
	Reporter    schema.Reporter
}

// Selector chooses calls as evidence: those that agree with every field that is
// set. An empty field is any.
type Selector struct {
	Hash      schema.PrincipalHash
	Service   string
	Operation string
	// Tenant is compared if HasTenant.
	Tenant    string
	HasTenant bool
	Decisions []schema.Decision
	// Certain leaves out pairs of request and answer that are not certain.
	Certain bool
	// Presented is compared if HasPresented.
	Presented    schema.PresentedHash
	HasPresented bool
	// Object is the call's resource, else its path.
	Object string
	// Resource is compared if HasResource.
	Resource    string
	HasResource bool
	// Session, Address and Workload are compared if HasOrigin.
	Session, Workload string
	Address           netip.Addr
	HasOrigin         bool
	// From and To are both inclusive.
	From, To time.Time
}

// Draft is a finding whose evidence lacks its calls.
type Draft struct {
	Finding schema.Finding
	// Want chooses the calls: those that any selector chooses.
	Want []Selector
}

// MaxEvidence is how many calls a finding carries at most.
const MaxEvidence = 20
