package compare

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Request is one use of an operation by a credential, or a fold of such uses.
type Request struct {
	// Declared is the catalogue's credential, nil where none matches.
	Declared *catalog.Credential
	// Kind is the observed kind: alternatives apply to kinds.
	Kind               schema.CredentialKind
	Service, Operation string
	// Tenant is the tenant, for Kubernetes the namespace.
	Tenant string
	// Resource is the concrete object, as far as the call shows it.
	// ResourceKnown says that Resource is all that the call shows (even if
	// that is nothing); it is false when a fold over several objects is
	// judged.
	Resource      string
	ResourceKnown bool
	RouteSource   schema.RouteSource
	// Scopes are those the call presented, nil if it carries none. Groups are
	// those its credential presented.
	Scopes []string
	Groups []string
	// Time is when the call was made.
	Time time.Time
}

// Holding is the answer.
type Holding uint8

// The answers.
const (
	// Unknown says that demand or grant is not known well enough.
	Unknown Holding = iota
	// Holds says that the credential held what the operation needs.
	Holds
	// Lacks says that it surely did not.
	Lacks
)

var holdingNames = [...]string{"unknown", "holds", "lacks"}

// String returns the answer's word.
func (h Holding) String() string {
	if int(h) < len(holdingNames) {
		return holdingNames[h]
	}
	return "unknown"
}

// Contribution says which scope of which grant satisfied which need.
type Contribution struct {
	Need, Scope string
	// Grant is the catalogue's entry, nil for a presented scope.
	Grant *schema.Grant
	// Source names where the scope stands: the grant's source, "presented",
	// or "group NAME".
	Source string
}

// Judgement is the answer with all that led to it. Its slices are shared with
// other judgements: do not change them.
type Judgement struct {
	Holding Holding
	Demand  schema.Demand
	// Mode is which grant counted, after defaulting.
	Mode schema.GrantMode
	// Granted are the scopes held then under the service's authority, as
	// text, sorted. Nil where the grant is unknown.
	Granted []string
	// Satisfied is the alternative that holds, nil unless Holding is Holds.
	Satisfied *schema.Alternative
	// By are all the scopes that satisfied the needs of Satisfied.
	By []Contribution
	// Missing is what each alternative lacks, when Holding is Lacks.
	Missing [][]string
	// Reasons are sentences, all of them.
	Reasons []string
	// NeedsResource says that the answer is unknown only for lack of the
	// concrete resource (or name): judge again with it.
	NeedsResource bool
	// Since and Until bound the times for which the judgement is the same,
	// [Since, Until); zero is unbounded.
	Since, Until time.Time
}
