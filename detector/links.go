package detector

import (
	"context"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Links answers what connects calls of different credentials.
type Links interface {
	// Seats lists where accepted calls (allowed, no_effect, denied) of
	// principals came from, up to a time.
	Seats(ctx context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.Seat) error) error
	// Steps lists single calls by time and id, each id once.
	Steps(ctx context.Context, q StepQuery, each func(*rule.Step) error) error
	// Lineages folds the issues of credentials up to a time whose product was
	// used, by issuer and user; only those that concern one of the principals,
	// where any are named.
	Lineages(ctx context.Context, before time.Time, hashes []schema.PrincipalHash, each func(*rule.Lineage) error) error
	// Chains lists the issues up to a time that are part of a chain: by callers
	// whose own key or token had been issued by a call, or of one that made a
	// further issue. By time.
	Chains(ctx context.Context, before time.Time, each func(*rule.ChainLink) error) error
	// Crossings folds the traces whose honoured calls touched several tenants;
	// only those that concern one of the principals, where any are named.
	Crossings(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Crossing) error) error
}

// StepQuery chooses calls: those within the window that agree with every list
// that is not empty. Without any list it chooses nothing.
type StepQuery struct {
	Window schema.Window
	Hashes []schema.PrincipalHash
	// Workloads are as the network names them.
	Workloads []string
	Services  []string
	// Agents are user agents as logged.
	Agents []string
	// Ops are operations of services.
	Ops    []rule.Op
	Traces []rule.TraceKey
	// Traced keeps calls that carry a trace id.
	Traced bool
	// Instances are ids of single issued keys or tokens.
	Instances []string
	// Minting keeps calls whose answer issued a credential; Minted those that
	// issued one of these.
	Minting bool
	Minted  []string
	// Limit is how many to return, the earliest; 0 is all. Where Ops are named it is
	// how many of each.
	Limit int
}

// Empty reports whether the query chooses nothing.
func (q *StepQuery) Empty() bool {
	return len(q.Hashes) == 0 && len(q.Workloads) == 0 && len(q.Services) == 0 && len(q.Agents) == 0 && len(q.Ops) == 0 && len(q.Traces) == 0 && len(q.Instances) == 0 &&
		!q.Minting && !q.Traced && len(q.Minted) == 0
}
