package rule

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Lineage is issues of credentials by one principal to another, folded: what was
// issued was used afterwards.
type Lineage struct {
	// Minter made the call that issued, Minted used what was issued.
	Minter, Minted schema.PrincipalHash
	// Service and Operation are those of the issuing call.
	Service, Operation string
	// LongLived says that what was issued is the credential itself, rather than
	// one key or token of it.
	LongLived bool
	// Input are the scopes that the issuing calls presented, Output those that
	// the calls with what was issued did; nil where none were carried.
	Input, Output []string
	// First and Last bound the issuing calls, Days are theirs, ascending.
	First, Last time.Time
	Days        []schema.Day
	// Example is the id of the first credential or key that was issued, Used the
	// first time that any was used.
	Example string
	Used    time.Time
}

// ChainLink is an issue that is part of a chain: its caller's own key or token
// had been issued by a call, or what it issued made a further one.
type ChainLink struct {
	Time time.Time
	// Minter made the call with the key Instance, and obtained Minted.
	Minter             schema.PrincipalHash
	Instance, Minted   string
	Service, Operation string
}

// Crossing is traces that begin with a call of one principal in one tenant, and
// in which another was honoured in a different one, folded.
type Crossing struct {
	// Entry made the first call with a tenant, Deputy the one in another.
	Entry, Deputy schema.PrincipalHash
	First, Last   time.Time
	// Days are those with such traces, ascending; Traces the earliest few ids.
	Days   []schema.Day
	Traces []string
}

// MaxCrossings is how many traces a crossing names.
const MaxCrossings = 20
