package rule

import (
	"net/netip"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tier says how far what links two calls can be trusted, 1 the most.
type Tier uint8

// The tiers. What only statistics say (tier 4) is never evidence for a single
// call, so no link has it.
const (
	// TierSigned is signed context: a minted credential, an actor chain, the
	// same token downstream.
	TierSigned Tier = 1 + iota
	// TierTrace is a trace or request id that both calls carry.
	TierTrace
	// TierNested is time: one call lies within one other that was open.
	TierNested
)

// String names the tier for a sentence.
func (t Tier) String() string {
	switch t {
	case TierSigned:
		return "signed context"
	case TierTrace:
		return "same trace"
	case TierNested:
		return "nested in time"
	}
	return "not known"
}

// Seat is where accepted calls of a principal came from: who the network says
// called, and only where it says nothing, the address and the client.
type Seat struct {
	Hash     schema.PrincipalHash
	Workload string
	// Address and Agent are set only where Workload is empty.
	Address netip.Addr
	Agent   string
	// First and Last are the times of the earliest and latest call, Days those
	// with calls, ascending.
	First, Last time.Time
	Days        []schema.Day
}

// Step is one call as far as links need it.
type Step struct {
	Time time.Time
	// Duration is 0 where the log does not tell.
	Duration time.Duration
	ID       schema.CallID
	Hash     schema.PrincipalHash
	// CredentialID, Instance and Session are those of the call's credential.
	CredentialID, Instance, Session string
	Service, Operation              string
	Tenant, Resource                string
	Decision                        schema.Decision
	RouteSource                     schema.RouteSource
	Reporter                        schema.Reporter
	Certain                         bool
	// Scopes are nil where the call carried none; Groups those of its credential.
	Scopes, Groups []string
	Workload       string
	Address        netip.Addr
	Agent          string
	// TraceID and RequestID are as logged.
	TraceID, RequestID string
	Actors             []string
	// Mints is the id of the credential that the answer issued.
	Mints string
}

// Trace is what ties a step to others of one request: the trace id, else the
// request id, else nothing. The two kinds of id are kept apart.
func (s *Step) Trace() TraceKey {
	switch {
	case s.TraceID != "":
		return TraceKey{Trace: true, ID: s.TraceID}
	case s.RequestID != "":
		return TraceKey{ID: s.RequestID}
	}
	return TraceKey{}
}

// End is when the answer was there; where the log tells no duration, the step
// has no length.
func (s *Step) End() time.Time { return s.Time.Add(s.Duration) }

// Seat names where the step came from, as [SeatName] does.
func (s *Step) Seat() string { return SeatName(s.Workload, s.Address, s.Agent) }

// TraceKey names a request that runs through several calls.
type TraceKey struct {
	// Trace says that ID is a trace id, rather than a request id.
	Trace bool
	ID    string
}

// SeatName names where calls came from: the workload without what a platform
// adds to tell replicas, else address and kind of client, else nothing.
func SeatName(workload string, address netip.Addr, agent string) string {
	if workload != "" {
		return baseWorkload(workload)
	}
	if !address.IsValid() {
		return ""
	}
	if client := agentFamily(agent); client != "" {
		return address.String() + " (" + client + ")"
	}
	return address.String()
}

// baseWorkload takes from a workload's name what tells one replica from
// another: "ci-6d4cf56db6-x2x9z" is a copy of "ci". Names that are URIs are
// chosen, and stay.
func baseWorkload(name string) string {
	if strings.Contains(name, "://") || strings.HasPrefix(name, "arn:") || strings.HasPrefix(name, "i-") {
		return name
	}
	parts := strings.Split(name, "-")
	for drop := 2; drop > 0; drop-- { // at most two parts are added
		if len(parts) <= drop {
			continue
		}
		if base := strings.Join(parts[:len(parts)-drop], "-"); replica(name, base) {
			return base
		}
	}
	return name
}

// PlaceOf returns where a step came from, nil where the log tells nothing.
func PlaceOf(s *Step) *Place {
	name := s.Seat()
	if name == "" {
		return nil
	}
	p := &Place{Name: name, First: s.Time, Last: s.Time, standing: incomparable}
	if s.Workload != "" {
		p.Workloads = []string{s.Workload}
	}
	return p
}

// agentFamily is the product that a user agent names first, without its
// version, so that an update is no other client.
func agentFamily(agent string) string {
	agent = strings.TrimLeft(agent, "[ ")
	if i := strings.IndexAny(agent, "/ ,;]("); i >= 0 {
		agent = agent[:i]
	}
	return strings.ToLower(agent)
}
