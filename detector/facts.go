package detector

import (
	"context"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Facts answers what the detector asks about the stored calls. [Store] reads
// them from ClickHouse; detector/memory holds them in memory for tests. Both
// pass one suite, and give the same findings.
//
// Methods that take a function call it once for each answer, from the calling
// goroutine, and end with its error if it returns one; what it is handed is
// valid only until it returns. All windows have both bounds set. Nothing
// depends on the order in which calls were stored. Span, Principals, SourceDays,
// Incomplete and Losses may be asked at one time. Errors are final: retrying
// is not the detector's business.
type Facts interface {
	// Span returns the times of the earliest and the latest call, zero where
	// there is none.
	Span(ctx context.Context) (first, last time.Time, err error)
	// Principals lists those whose time of calls overlaps the window.
	Principals(ctx context.Context, w schema.Window, each func(*rule.Principal) error) error
	// SourceDays lists on which days which kind of log held calls of which
	// service, whatever the window.
	SourceDays(ctx context.Context) ([]rule.SourceDay, error)
	// Incomplete says, in sentences, which inputs were not read to their end.
	Incomplete(ctx context.Context) ([]string, error)
	// Losses says how many units of the inputs could not be read, by kind of
	// log and reason; what is no call at all is no loss.
	Losses(ctx context.Context) ([]rule.Loss, error)
	// Rows folds the calls of some principals. Rows of one principal follow
	// each other, and within those the ones of one service, operation and
	// tenant.
	Rows(ctx context.Context, q RowQuery, each func(*rule.Row) error) error
	// Objects splits rows of Rows by the concrete resource of the calls.
	Objects(ctx context.Context, q ObjectQuery, each func(row *rule.Row, resource string) error) error
	// History lists the operations that principals called before a time,
	// leaving out calls whose credential was refused.
	History(ctx context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.History) error) error
	// Firsts lists the first time, of those before a time, that each principal
	// was authorised to call each operation of each service (of no name where
	// no route was known), and to act in each tenant.
	Firsts(ctx context.Context, before time.Time, each func(*rule.First) error) error
	// Paces lists how fast principals called operations, where some whole hour
	// of the window has as many calls as least or more. Of one principal they
	// follow each other.
	Paces(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, least uint64, each func(*rule.Pace) error) error
	// Visits lists the calls of some hours, by key, time and object.
	Visits(ctx context.Context, keys []rule.VisitKey, each func(*rule.Visit) error) error
	// RouteNorms says how many objects an hour of an operation touches, where
	// others called it in the window.
	RouteNorms(ctx context.Context, w schema.Window, keys []rule.NormKey, each func(*rule.RouteNorm) error) error
	// Surges says who else was busy at a service in an hour.
	Surges(ctx context.Context, w schema.Window, keys []rule.SurgeKey, each func(*rule.Surge) error) error
	// Reversals lists the runs of denials that ended in success, for certain
	// pairs of request and answer.
	Reversals(ctx context.Context, w schema.Window, keys []rule.ReversalKey, each func(*rule.Reversal) error) error
	// Origins lists where accepted calls (allowed, no_effect, denied) came from.
	Origins(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Origin) error) error
	// Calls returns, for each list of selectors, the earliest
	// [rule.MaxEvidence] calls within the window that any of them chooses, by
	// time and id, each id once.
	Calls(ctx context.Context, w schema.Window, wants [][]rule.Selector) ([][]schema.Call, error)
	Lives
	Links
	Weaknesses
	Where
	Spots
}

// RowQuery asks for folded use.
type RowQuery struct {
	Window schema.Window
	Hashes []schema.PrincipalHash
	// Cuts are times, ascending and within the window, at which a fold must
	// not reach across, since a grant begins or ends there. Row.Segment counts
	// the cuts up to the row.
	Cuts []time.Time
	// Origins, if there are any, leave out the calls that came from them (their
	// principal, session, address and workload, whatever the time), or with
	// Only all others.
	Origins []rule.Origin
	Only    bool
}

// ObjectQuery asks for the parts of rows.
type ObjectQuery struct {
	RowQuery
	// Rows are those to split, as Rows returned them.
	Rows []rule.Row
}
