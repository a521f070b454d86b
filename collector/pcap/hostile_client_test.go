package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// forger writes packets of a client's connection that its server does not take: it drops
// them by the rules of TCP (RFC 9293 §3.10.7, RFC 5961), whatever they say.
type forger struct {
	rng    *rand.Rand
	frames *[]frame
	nanos  *int64
	client endpoint
	server endpoint
	forged int
	kind   int // of packet, any below 0
}

// put writes one of them, while the client is at seq and the server at ack.
func (f *forger) put(seq, ack uint32) {
	f.forged++
	text := fmt.Sprintf("GET /forged/%d HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer forged\r\n\r\n", f.forged)
	s := segmentSpec{f.client, f.server, true, seq, ack, flagACK, []byte(text)}
	far := 70_000 + f.rng.Uint32N(1<<(17+f.rng.IntN(14))) // beyond any window of these
	lie := false
	kind := f.kind
	if kind < 0 {
		kind = f.rng.IntN(9)
	}
	switch kind {
	case 0, 1:
		s.seq += far
	case 2:
		s.ack += far
	case 3:
		s.flags, s.seq = flagSYN, s.seq-1
	case 4:
		s.flags, s.seq, s.payload = flagSYN, f.rng.Uint32(), nil
	case 5:
		s.flags, s.seq, s.payload = flagRST, s.seq+1+f.rng.Uint32N(3000), nil
	case 6:
		s.flags, s.seq = flagFIN|flagACK, s.seq+far
	case 7:
		s.flags = 0
	case 8:
		lie = true
	}
	*f.nanos += 1000
	b := s.ethernet()
	if lie {
		b[16], b[17] = 0x7f, 0xff
	}
	*f.frames = append(*f.frames, frame{*f.nanos, b})
}

// TestClientsThatForge has clients forge packets at any time, beside what they send:
// nothing that the server did not take comes out as certain, and what it took comes out.
func TestClientsThatForge(t *testing.T) {
	for kind := range 10 {
		how := []style{lockstep, moody, eager}[kind%3]
		var sum outcome
		found, wrong, drops := 0, 0, map[string]uint64{}
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 31))
			var frames []frame
			nanos, known := int64(1_700_000_000e9), map[string]truth{}
			w := newWire(rng, addr4(1, 999), addr4(2, 8080), &frames, &nanos)
			f := &forger{rng: rng, frames: &frames, nanos: &nanos, client: w.client, server: w.server, kind: kind - 1}
			w.handshake()
			for i := range 40 {
				if rng.IntN(3) == 0 {
					f.put(w.clientSeq, w.serverSeq)
				}
				w.talk(1+rng.IntN(4), how, fmt.Sprint(i), known)
				nanos += int64(rng.IntN(2e9))
			}
			sink, stats := read(t, Config{}, bytes.NewReader(honestEthernet(frames)))
			for i := range sink.calls {
				c := &sink.calls[i]
				switch fact, real := known[c.Path]; {
				case real && int(c.Status) == fact.status:
					found++
					if c.Quality.Certain() {
						sum.certain++
					}
				case c.Path != "" && c.Quality.Certain():
					wrong++
					t.Errorf("kind %d, seed %d: %s is certain", kind-1, seed, line(c))
				}
			}
			sum.known += len(known)
			for reason, n := range stats.Dropped {
				drops[reason] += n
			}
			drops["sent again"] += stats.Retransmitted
		}
		t.Logf("kind %d: %d found, %d certain of %d; %v", kind-1, found, sum.certain, sum.known, drops)
		if least := []int{75, 99, 99, 95, 99, 99, 75, 99, 99, 95}[kind]; 100*found < least*sum.known {
			t.Errorf("kind %d: only %d of %d were found", kind-1, found, sum.known)
		}
	}
}

// honestEthernet is honest for frames with times.
func honestEthernet(frames []frame) []byte {
	b := writePcap(linkEthernet, nil)
	for _, f := range frames {
		one := writePcap(linkEthernet, []frame{f})[24:]
		copy(one[12:16], one[8:12]) // as long as it is
		b = append(b, one...)
	}
	return b
}
