package detector

import (
	"context"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Where answers from where and by whom credentials are used. All of it is about
// accepted calls (allowed, no_effect, denied): anybody can send the others.
type Where interface {
	// Arrivals folds the calls of principals by where they came from. Those of one
	// principal and session follow each other, in order of their days.
	Arrivals(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Arrival) error) error
	// Tenancies lists who called from any of the addresses, and since when.
	Tenancies(ctx context.Context, w schema.Window, addresses []string, each func(*rule.Tenancy) error) error
	// Occupancies lists who was used by any of the workloads, named without what
	// tells their replicas (see [rule.SeatName]), and since when, replica by replica.
	Occupancies(ctx context.Context, w schema.Window, workloads []string, each func(*rule.Occupancy) error) error
	// Tasks lists what principals called from which places.
	Tasks(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Task) error) error
}
