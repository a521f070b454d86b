package gateway

import (
	"encoding/binary"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// maxHeld is how many calls wait for a later stage at the same time.
const maxHeld = 16 << 10

// stages lets one call through for each id where a log writes several units of
// one call: Kubernetes' ResponseStarted and ResponseComplete of a watch or an
// exec. The latest stage counts, wherever it stands in the input. An early one
// waits until the input ends, and counts if no later one came.
//
// Two units of one call in two inputs both count, under the same id if they had
// the same outcome: whoever stores them drops one, which differs in duration at
// most. Of other outcomes, such as a panic after a start, both are kept, since
// which of them was read first must not decide what is known.
type stages struct {
	held  map[schema.CallID]schema.Call
	order []schema.CallID
	later recent
	// superseded counts held calls that a later stage replaced.
	superseded uint64
}

// take decides about a call; false says that it waits or is an earlier stage of
// one that was let through.
func (st *stages) take(r *reader, u *unit, c *schema.Call) bool {
	h := binary.LittleEndian.Uint64(c.ID[:])
	if !u.is(r.stage, r.early) {
		if _, waits := st.held[c.ID]; waits {
			delete(st.held, c.ID)
			st.superseded++
		}
		st.later.add(h)
		return true
	}
	if st.later.contains(h) {
		st.superseded++
		return false
	}
	if _, waits := st.held[c.ID]; waits {
		st.superseded++ // twice the same stage
		return false
	}
	if len(st.held) >= maxHeld {
		return true
	}
	if st.held == nil {
		st.held = map[schema.CallID]schema.Call{}
	}
	st.held[c.ID] = ownStrings(c)
	st.order = append(st.order, c.ID)
	return false
}

// byOutcome takes the outcome into the id of a call that has several units.
func byOutcome(c *schema.Call) {
	c.ID[len(c.ID)-1] ^= byte(c.Decision) ^ byte(schema.DecisionAllowed)
}

// ownStrings copies a call out of its batch's arena, which would live as long as
// the call waits.
func ownStrings(c *schema.Call) schema.Call {
	own := *c
	for _, s := range []*string{
		&own.Policy, &own.Operation, &own.Method, &own.Host, &own.Path, &own.Resource, &own.UserAgent, &own.Tenant,
		&own.RequestID, &own.TraceID, &own.Mints,
	} {
		*s = strings.Clone(*s)
	}
	return own
}
