package pcap

import "github.com/scopedrift/scopedrift/schema"

// unseen counts what stands for calls that passed the tap and were not seen.
type unseen struct {
	orphans, resyncs, parts uint64
	servers                 map[string]uint64
}

// The reasons for calls of which the tap lost the request, or both the request
// and the border to the next, or parts of a datagram.
const (
	// lostInKernel are packets that whoever captured had no room for, as a file says.
	lostInKernel = "kernel_drops"
	lostRequest  = schema.Lost + "request_not_captured"
	lostParts    = schema.Lost + dropFragments
	lostBorder   = schema.Lost + "border_between_messages"
)

// tell adds to the skipped units of the next batch what was not seen since the
// last: silence of an operation must not pass for disuse where its calls may be
// what was lost.
func (r *run) tell() {
	add := func(reason string, now uint64, told *uint64) {
		if n := now - *told; n > 0 {
			r.skipped[reason] += n
		}
		*told = now
	}
	add(lostRequest, r.stats.Orphans, &r.told.orphans)
	add(lostBorder, r.stats.Resyncs, &r.told.resyncs)
	add(lostParts, r.decoder.parts.incomplete, &r.told.parts)
	if r.told.servers == nil {
		r.told.servers = map[string]uint64{}
	}
	for name, now := range r.stats.TLSServers {
		// The names are those of hosts, see serverName.
		if told := r.told.servers[name]; now > told {
			r.skipped[schema.LostTLS+name] += now - told
			r.told.servers[name] = now
		}
	}
}
