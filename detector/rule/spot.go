package rule

import (
	"net/netip"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Spot is from where accepted calls of a principal came, as finely as the logs
// tell: unlike a [Seat], with the address behind a workload.
type Spot struct {
	Hash     schema.PrincipalHash
	Workload string
	// Address is invalid where the log tells none.
	Address     netip.Addr
	Agent       string
	Reporter    schema.Reporter
	First, Last time.Time
	Calls       uint64
	// Days are those with calls, ascending.
	Days []schema.Day
}

// Client is the program that called, without its version.
func (p *Spot) Client() string { return agentFamily(p.Agent) }

// In reports whether the place is a workload, or has the address, of that name.
func (p *Spot) In(name string) bool {
	if p.Workload != "" && (p.Workload == name || baseWorkload(p.Workload) == name) {
		return true
	}
	a, ok := SpotAddress(name)
	return ok && p.Address == a
}

// SpotAddress reads the name of a place that is an address.
func SpotAddress(name string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(name)
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return a.Unmap().WithZone(""), true
}

// Network is the net that an address is taken to belong to where nothing is
// known of networks: 24 bits of it, or 48 of an IPv6 address.
func Network(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Argument writes a name as one word of a command that is shown.
func Argument(s string) string { return argument(s) }
