package rule

import (
	"net/netip"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Arrival is where accepted calls of one principal came from on one day, and with
// what client: what tells who uses a credential from where.
type Arrival struct {
	Hash    schema.PrincipalHash
	Session string
	// Key is the issued key, told for sessions of roles only: other kinds change
	// it with every token.
	Key string
	// Workload and Address are as the log tells, empty and invalid where it does
	// not.
	Workload string
	Address  netip.Addr
	// Agent is the user agent as logged.
	Agent string
	// SourceType and Reporter say who saw the calls: two that see one call may see
	// two addresses of it, so places are only compared within one of them.
	SourceType string
	Reporter   schema.Reporter
	// First and Last are the times of the day's earliest and latest call, Calls
	// their number.
	First, Last time.Time
	Calls       uint64
	Day         schema.Day
	// Slots are the spans of [SlotLength] of the day with calls, ascending. They
	// decide, and counts never do, since a call stored twice changes none.
	Slots []uint16
}

// SlotLength divides a day: within one slot nobody is in two places.
const SlotLength = 5 * time.Minute

const slotsADay = int32(24 * time.Hour / SlotLength)

// homeNetwork is what of an address tells where it is: the /24 or /48, and of private
// addresses, of which a cluster gives every node a /24, the /16.
func homeNetwork(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 24
	switch {
	case !a.IsValid():
		return netip.Prefix{}
	case a.Is6():
		bits = 48
	case !public(a):
		bits = 16
	}
	p, _ := a.Prefix(bits)
	return p
}

// carrier is the range that providers and clouds use behind address translation.
var carrier = netip.MustParsePrefix("100.64.0.0/10")

// public reports whether an address is one of the open network.
func public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !carrier.Contains(a)
}

// Tenancy is that a principal used an address.
type Tenancy struct {
	Hash    schema.PrincipalHash
	Address netip.Addr
	// First is the earliest accepted call from there.
	First time.Time
}

// Occupancy is that a principal was used by a workload.
type Occupancy struct {
	Hash schema.PrincipalHash
	// Workload is as the log names it.
	Workload string
	// First is the earliest accepted call by it.
	First time.Time
}

// Task is an operation that a principal called from a place.
type Task struct {
	Hash schema.PrincipalHash
	// Workload, Address and Agent are as the log tells, empty and invalid where it
	// does not.
	Workload           string
	Address            netip.Addr
	Agent              string
	Service, Operation string
	First, Last        time.Time
	// Days are those with calls, ascending.
	Days  []schema.Day
	Calls uint64
}
