package rule

import (
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Pace is how fast one principal called one operation, hour by hour: only hours
// with calls, ascending. Calls whose credential was refused, or that failed, are
// not among them.
type Pace struct {
	Hash               schema.PrincipalHash
	Service, Operation string
	Hours              []PaceHour
}

// PaceHour is one hour of a pace, as the highest-ranking reporter saw it.
type PaceHour struct {
	Start time.Time
	// Calls are all, Missed those without effect or refused. Objects are the
	// distinct concrete objects, close to exact where they are some hundreds.
	Calls, Missed, Objects uint64
}

// VisitKey names an hour of an operation whose single calls are wanted.
type VisitKey struct {
	Hash               schema.PrincipalHash
	Service, Operation string
	Hour               time.Time
}

// Visit is one call of such an hour.
type Visit struct {
	VisitKey
	Time   time.Time
	Object string
	Missed bool
}

// NormKey asks for the norm of an operation among all principals but one.
type NormKey struct {
	Hash schema.PrincipalHash
	Op
}

// RouteNorm is how many objects an hour of an operation touches, over all
// principals but the one that asks.
type RouteNorm struct {
	NormKey
	// Most is what 99.5 % of the hours do not exceed; Principals and Hours say
	// how many it stands on.
	Most              uint64
	Principals, Hours uint64
}

// SurgeKey names an hour of a service.
type SurgeKey struct {
	Service string
	Hour    time.Time
}

// Surge is how many principals called a service in an hour, and how many of them
// three times as often as in their other hours, or for the first time.
type Surge struct {
	SurgeKey
	Active, Raised uint64
}

// LeastPace is how many calls in one hour a pace must have for a rule to look at
// it: what fewer touch is neither bulk nor burst.
const LeastPace = leastSecrets

// quantile returns the value that a share q of the sorted list does not exceed.
func quantile(sorted []uint64, q float64) uint64 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(q * float64(len(sorted)))
	return sorted[min(at, len(sorted)-1)]
}

// insert adds to a sorted list.
func insert(sorted []uint64, v uint64) []uint64 {
	at, _ := slices.BinarySearch(sorted, v)
	return slices.Insert(sorted, at, v)
}

// paceMature reports whether an own habit of hours is known: of a learning period
// or more, on enough days.
func paceMature(first, now time.Time, days int) bool {
	return now.Sub(first) >= learningDays*24*time.Hour && days >= matureDays
}
