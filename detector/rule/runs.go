package rule

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Runs finds reversals in a stream of calls. Within one principal, calls must
// come in order of time, at one time the allowed before the denied; principals
// follow each other.
type Runs struct {
	hash schema.PrincipalHash
	open map[runKey]*run
}

type runKey struct{ service, operation, tenant, object string }

// run is the state of one object: whether it was allowed before, and the
// denials since.
type run struct {
	before       bool
	denied, last time.Time
	denials      uint64
	with         []string
}

// Answer is a call as far as reversals care.
type Answer struct {
	ReversalKey
	Object, Resource string
	RouteSource      schema.RouteSource
	Time             time.Time
	Denied           bool
	Scopes, Groups   []string
}

// Add takes the next allowed or denied call and returns the reversal that it
// ends, if any.
func (r *Runs) Add(a *Answer) (Reversal, bool) {
	if r.open == nil || a.Hash != r.hash {
		r.hash, r.open = a.Hash, map[runKey]*run{}
	}
	key := runKey{a.Service, a.Operation, a.Tenant, a.Object}
	one := r.open[key]
	if one == nil {
		one = &run{}
		r.open[key] = one
	}
	if a.Denied {
		if one.denials == 0 {
			one.denied = a.Time
		}
		one.last = a.Time
		one.with = a.Scopes
		one.denials++
		return Reversal{}, false
	}
	v := Reversal{
		ReversalKey: a.ReversalKey, Object: a.Object, Resource: a.Resource, RouteSource: a.RouteSource,
		Denied: one.denied, LastDenied: one.last, Denials: one.denials, Allowed: a.Time, Before: one.before,
		DeniedWith: one.with, AllowedWith: a.Scopes, Groups: a.Groups,
	}
	ended := one.denials > 0
	*one = run{before: true}
	return v, ended
}
