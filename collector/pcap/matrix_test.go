package pcap

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/schema"
)

// The matrix: every kind of traffic under every kind of damage. Its bars are
// what the package promises (DESIGN §6): no wrong pair at all, and how many right
// ones are found.

// traffic is a kind of conversation.
type traffic struct {
	name string
	talk func(w *wire, n int, name string, known map[string]truth)
}

var traffics = []traffic{
	{"http1", func(w *wire, n int, name string, known map[string]truth) { w.talk(n, lockstep, name, known) }},
	{"http1-pipelined", func(w *wire, n int, name string, known map[string]truth) { w.talk(n, moody, name, known) }},
	{"http2-lockstep", func(w *wire, n int, name string, known map[string]truth) { w.talk2(n, 1, false, name, known) }},
	{"http2", func(w *wire, n int, name string, known map[string]truth) { w.talk2(n, 6, false, name, known) }},
	{"http2-private", func(w *wire, n int, name string, known map[string]truth) { w.talk2(n, 6, true, name, known) }},
}

// impairment is what happens to a capture of it. The bars are shares of the
// truth: found are calls with the right answer, certain those that say so; -1
// asks for none.
type impairment struct {
	name   string
	change func(rng *rand.Rand, frames []frame) []frame
	// found and certain are for HTTP/1 without pipelining, found2 and certain2
	// for HTTP/2.
	found, certain, found2, certain2 float64
}

// pipelined are the bars of HTTP/1 that pipelines, where they are others. What can be
// proven of it is less than what can be found (the oracle's figures, which the test
// logs), and what is likely is given out only where something else says the same.
var pipelined = map[string][2]float64{
	"loss 0.1 %":         {.993, .97},
	"loss 1 %":           {.95, .82},
	"vxlan, loss 1 %":    {.942, .8},
	"all of it":          {.93, .8},
	"loss 1 % in rows":   {.93, .75},
	"client's lost more": {.9, .65},
	"server's lost more": {.94, .65},
}

func damaged(d damage) func(*rand.Rand, []frame) []frame {
	return func(rng *rand.Rand, frames []frame) []frame { return d.apply(rng, frames) }
}

var impairments = []impairment{
	{"none", nil, 1, 1, 1, 1},
	{"loss 0.1 %", damaged(damage{loss: .001}), .993, .97, .993, .97},
	{"loss 1 %", damaged(damage{loss: .01}), .97, .8, .942, .78},
	{"reordered 1 %", damaged(damage{reorder: .01}), .999, .999, .999, .999},
	{"repeated 1 %", damaged(damage{repeat: .01}), .999, .999, .999, .999},
	{"all of it", damaged(damage{loss: .01, reorder: .02, repeat: .02}), .93, .78, .93, -1},
	{"loss 1 % in rows", rows(.01, 4), .942, .78, .942, .75},
	{"client's lost more", lopsided(.02, .002), .942, .7, .942, .68},
	{"server's lost more", lopsided(.002, .02), .942, .84, .942, .8},
	{"bursts of loss", bursts, -1, -1, -1, -1},
	{"server later", skewed(30, false), .999, .999, .999, .999},
	{"server much later", skewed(200, false), .999, .999, .999, .999},
	{"client much later", skewed(200, true), .999, .999, .999, .999},
	{"late, cut, lost", func(rng *rand.Rand, f []frame) []frame {
		return snap(damage{loss: .01, reorder: .02, repeat: .02}.apply(rng, attachedLate(rng, f)), 400)
	}, -1, -1, -1, -1},
	{"attached late", attachedLate, -1, -1, -1, -1},
	{"snap 200", func(_ *rand.Rand, f []frame) []frame { return snap(f, 200) }, -1, -1, -1, -1},
	{"snap 96", func(_ *rand.Rand, f []frame) []frame { return snap(f, 96) }, -1, -1, -1, -1},
	{"client only", func(_ *rand.Rand, f []frame) []frame { return oneSide(f, true) }, -1, -1, -1, -1},
	{"server only", func(_ *rand.Rand, f []frame) []frame { return oneSide(f, false) }, -1, -1, -1, -1},
	{"sent again otherwise", conflicting, -1, -1, -1, -1},
	{"fragments", func(rng *rand.Rand, f []frame) []frame {
		return everyIP(f, func(ip []byte) [][]byte { return fragments(rng, ip) })
	}, 1, 1, 1, 1},
	{"other segments", resegmented, 1, 1, 1, 1},
	{"vxlan", tunnelled(vxlanOf), 1, 1, 1, 1},
	{"geneve", tunnelled(geneveOf), 1, 1, 1, 1},
	{"gre", tunnelled(greOf), 1, 1, 1, 1},
	{"mpls", labelled, 1, 1, 1, 1},
	{"two vlans", func(_ *rand.Rand, f []frame) []frame { return tagged(f) }, 1, 1, 1, 1},
	{"vxlan, loss 1 %", func(rng *rand.Rand, f []frame) []frame {
		return tunnelled(vxlanOf)(rng, damage{loss: .01}.apply(rng, f))
	}, .942, .78, .942, -1},
}

// attachedLate drops the first third of a capture.
func attachedLate(_ *rand.Rand, frames []frame) []frame { return frames[len(frames)/3:] }

// bursts drops runs of packets, as a tap does that is overrun.
func bursts(rng *rand.Rand, frames []frame) []frame {
	var out []frame
	for i := 0; i < len(frames); i++ {
		if rng.IntN(400) == 0 {
			i += rng.IntN(40)
			continue
		}
		out = append(out, frames[i])
	}
	return out
}

// skewed lets what one side sent turn up so many packets later, as where each
// direction has a tap of its own.
func skewed(by int, client bool) func(*rand.Rand, []frame) []frame {
	return func(_ *rand.Rand, frames []frame) []frame {
		type placed struct {
			at float64
			f  frame
		}
		var all []placed
		for i, f := range frames {
			at := float64(i)
			if toServer := binary.BigEndian.Uint16(f.data[transport(f.data)+2:]) == 8080; toServer == client {
				at += float64(by) + .5
			}
			all = append(all, placed{at, f})
		}
		slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
		out := make([]frame, len(all))
		for i, p := range all {
			out[i] = frame{frames[i].nanos, p.f.data}
		}
		return out
	}
}

// snap cuts packets after so many bytes.
func snap(frames []frame, n int) []frame {
	out := make([]frame, len(frames))
	for i, f := range frames {
		out[i] = frame{f.nanos, f.data[:min(len(f.data), n)]}
	}
	return out
}

// network returns where the IP packet of an Ethernet frame begins.
func network(b []byte) int {
	at := 12
	for binary.BigEndian.Uint16(b[at:]) == 0x8100 {
		at += 4
	}
	return at + 2
}

// transport returns where the TCP header of an Ethernet frame begins.
func transport(b []byte) int {
	at := network(b)
	if b[at]>>4 == 4 {
		return at + 20
	}
	return at + 40
}

// oneSide keeps what the client sent, or the server.
func oneSide(frames []frame, client bool) []frame {
	var out []frame
	for _, f := range frames {
		if toServer := binary.BigEndian.Uint16(f.data[transport(f.data)+2:]) == 8080; toServer == client {
			out = append(out, f)
		}
	}
	return out
}

// conflicting repeats segments with other bytes, as an attacker does who wants a
// reader to see what the receiver does not.
func conflicting(rng *rand.Rand, frames []frame) []frame {
	var out []frame
	for _, f := range frames {
		out = append(out, f)
		at := transport(f.data) + 20
		if len(f.data) > at && rng.IntN(50) == 0 {
			other := bytes.Clone(f.data)
			for i := at; i < len(other); i++ {
				other[i] ^= byte(1 + rng.IntN(3))
			}
			out = append(out, frame{f.nanos + 1, other})
		}
	}
	return out
}

// everyIP replaces the IP packet of each frame by others.
func everyIP(frames []frame, change func([]byte) [][]byte) []frame {
	var out []frame
	for _, f := range frames {
		at := network(f.data)
		for _, ip := range change(f.data[at:]) {
			out = append(out, frame{f.nanos, append(bytes.Clone(f.data[:at]), ip...)})
		}
	}
	return out
}

var fragmentID uint32

// fragments cuts an IP packet, of version 4 or 6, into parts.
func fragments(rng *rand.Rand, ip []byte) [][]byte {
	fragmentID++
	head := 20
	if ip[0]>>4 == 6 {
		head = 40
	}
	body := ip[head:]
	var out [][]byte
	for at := 0; at < len(body); {
		n := min(len(body)-at, 8*(1+rng.IntN(100)))
		more := at+n < len(body)
		var b []byte
		if head == 20 {
			b = bytes.Clone(ip[:20])
			binary.BigEndian.PutUint16(b[2:], uint16(20+n))
			binary.BigEndian.PutUint16(b[4:], uint16(fragmentID))
			field := uint16(at / 8)
			if more {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(b[6:], field)
		} else {
			b = bytes.Clone(ip[:40])
			binary.BigEndian.PutUint16(b[4:], uint16(8+n))
			next := b[6]
			b[6] = 44
			field := uint16(at)
			if more {
				field |= 1
			}
			b = append(b, next, 0)
			b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, field), fragmentID)
		}
		out = append(out, append(b, body[at:at+n]...))
		at += n
	}
	if len(out) > 1 && rng.IntN(4) == 0 {
		out[0], out[1] = out[1], out[0]
	}
	return out
}

// resegmented cuts segments elsewhere.
func resegmented(rng *rand.Rand, frames []frame) []frame {
	var out []frame
	for _, f := range frames {
		at := transport(f.data)
		ip := network(f.data)
		body := f.data[at+20:]
		if len(body) < 2 || f.data[at+13]&7 != 0 {
			out = append(out, f)
			continue
		}
		for from := 0; from < len(body); {
			n := min(len(body)-from, 1+rng.IntN(600))
			b := append(bytes.Clone(f.data[:at+20]), body[from:from+n]...)
			binary.BigEndian.PutUint32(b[at+4:], binary.BigEndian.Uint32(b[at+4:])+uint32(from))
			if b[ip]>>4 == 4 {
				binary.BigEndian.PutUint16(b[ip+2:], uint16(len(b)-ip))
			} else {
				binary.BigEndian.PutUint16(b[ip+4:], uint16(len(b)-ip-40))
			}
			out = append(out, frame{f.nanos, b})
			from += n
		}
	}
	return out
}

func tunnelled(wrap func([]byte) []byte) func(*rand.Rand, []frame) []frame {
	return func(_ *rand.Rand, frames []frame) []frame {
		out := make([]frame, len(frames))
		for i, f := range frames {
			out[i] = frame{f.nanos, append(append(make([]byte, 12), 8, 0), wrap(f.data)...)}
		}
		return out
	}
}

func vxlanOf(b []byte) []byte { return udp(4789, append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, b...)) }
func geneveOf(b []byte) []byte {
	return udp(6081, append([]byte{1, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 1, 1, 0}, b...))
}
func greOf(b []byte) []byte {
	return ipProto(47, append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 9}, b...))
}

// labelled puts two MPLS labels before each IP packet.
func labelled(_ *rand.Rand, frames []frame) []frame {
	out := make([]frame, len(frames))
	for i, f := range frames {
		b := append(make([]byte, 12), 0x88, 0x47, 0, 1, 0x10, 64, 0, 2, 0x21, 64)
		out[i] = frame{f.nanos, append(b, f.data[network(f.data):]...)}
	}
	return out
}

func tagged(frames []frame) []frame {
	out := make([]frame, len(frames))
	for i, f := range frames {
		at := network(f.data) - 2
		b := append(make([]byte, 12), 0x88, 0xa8, 0, 3, 0x81, 0, 0, 4)
		out[i] = frame{f.nanos, append(b, f.data[at:]...)}
	}
	return out
}

// cell sums up what was found in one cell of the matrix.
type cell struct {
	known, seen, found, certain, wrong, calls int
	// marked are pairs that are wrong but say that they may be; possible and
	// provable what the oracle says.
	marked, possible, provable int
}

// count judges calls by the truth, and by what the whole capture showed of each.
func (c *cell) count(t *testing.T, calls []schema.Call, known map[string]truth, whole map[string]*schema.Call) {
	t.Helper()
	c.known += len(known)
	seen := map[string]bool{}
	for i := range calls {
		got := &calls[i]
		c.calls++
		fact, real := known[got.Path]
		if got.Path == "" {
			continue
		}
		if !real || seen[got.Path] {
			if got.Quality.Certain() {
				c.wrong++
				t.Errorf("a certain call that nobody made, or made once only: %s", line(got))
			}
			continue
		}
		seen[got.Path] = true
		c.seen++
		is := whole[got.Path]
		if got.Quality.Certain() && (got.Credential.ID != is.Credential.ID || got.Credential.Kind != is.Credential.Kind || got.Host != is.Host || got.Operation != is.Operation) ||
			got.Credential.ID != "" && got.Credential.ID != is.Credential.ID {
			c.wrong++
			t.Errorf("%s has credential %+v, want %+v", line(got), got.Credential, is.Credential)
		}
		if got.Status == 0 {
			continue
		}
		right := int(got.Status) == fact.status
		if fact.grpc != 0 && got.Decision != schema.DecisionUnknown && got.Decision != decide.GRPC(fact.grpc) {
			right = false
		}
		switch {
		case !right && got.Quality.Certain():
			c.wrong++
			t.Errorf("wrong and certain: %s (%s), want %d, gRPC %d", line(got), got.Decision, fact.status, fact.grpc)
		case right:
			c.found++
			if got.Quality.Certain() {
				c.certain++
			}
		default:
			c.marked++
		}
	}
}

// atBest says what the oracle does.
func (c *cell) atBest() string {
	if c.possible == 0 {
		return ""
	}
	return fmt.Sprintf("; possible %.2f and %.2f", 100*float64(c.possible)/float64(c.known), 100*float64(c.provable)/float64(c.known))
}

func TestMatrix(t *testing.T) {
	first, runs := otherSeeds(t)
	connections, calls := 20, 25
	if testing.Short() {
		runs = 3
	}
	sums := make([][]cell, len(traffics))
	for i, kind := range traffics {
		sums[i] = make([]cell, len(impairments))
		for seed := first; seed < first+runs; seed++ {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			known := map[string]truth{}
			frames := conversation(rng, connections, func(w *wire, name string) { kind.talk(w, calls, name, known) })
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			oracle := oracleOf(t, kind, frames)
			whole := map[string]*schema.Call{}
			for k := range sink.calls {
				whole[sink.calls[k].Path] = &sink.calls[k]
			}
			for j, im := range impairments {
				changed := frames
				if im.change != nil {
					changed = im.change(rand.New(rand.NewPCG(seed, uint64(j))), frames)
				}
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, changed)))
				if (stats.Conflicting > 0) != (im.name == "sent again otherwise") {
					t.Errorf("%s, %s, seed %d: %d segments in conflict", kind.name, im.name, seed, stats.Conflicting)
				}
				if im.name == "all of it" || strings.Contains(im.name, "los") && !strings.Contains(im.name, ",") {
					found, certain := oracle.possible(t, changed)
					sums[i][j].possible += found
					sums[i][j].provable += certain
				}
				before := sums[i][j].wrong
				sums[i][j].count(t, sink.calls, known, whole)
				if sums[i][j].wrong > before {
					t.Errorf("%s, %s, seed %d: %d wrong", kind.name, im.name, seed, sums[i][j].wrong-before)
				}
			}
		}
	}
	for i, kind := range traffics {
		for j, im := range impairments {
			c := sums[i][j]
			found, certain := float64(c.found)/float64(c.known), float64(c.certain)/float64(c.known)
			t.Logf("%-16s %-22s found %6.2f %%  certain %6.2f %%  wrong %d, marked %d%s", kind.name, im.name, 100*found, 100*certain, c.wrong, c.marked, c.atBest())
			if c.possible > 0 && c.found > c.possible {
				t.Errorf("%s, %s: found %d, but only %d can be", kind.name, im.name, c.found, c.possible)
			}
			if c.marked > 0 {
				t.Errorf("%s, %s: %d wrong pairs of %d, though marked", kind.name, im.name, c.marked, c.known)
			}
			if strings.HasSuffix(im.name, " only") && (c.calls != c.known || im.name == "client only" && c.seen != c.known) {
				t.Errorf("%s, %s: %d calls, %d with their path, of %d", kind.name, im.name, c.calls, c.seen, c.known)
			}
			least, leastCertain := im.found, im.certain
			switch kind.name {
			case "http1-pipelined":
				if bars, ok := pipelined[im.name]; ok {
					least, leastCertain = bars[0], bars[1]
				}
			case "http1":
			default:
				least, leastCertain = im.found2, im.certain2
			}
			if testing.Short() && least < 1 {
				continue // too few calls for a share
			}
			if found < least || certain < leastCertain {
				t.Errorf("%s, %s: found %.2f %%, certain %.2f %%; want %.2f and %.2f", kind.name, im.name, 100*found, 100*certain, 100*least, 100*leastCertain)
			}
		}
	}
}

// conversation makes up a capture of connections.
func conversation(rng *rand.Rand, connections int, talk func(w *wire, name string)) []frame {
	var all [][]frame
	for i := range connections {
		var frames []frame
		var nanos int64
		client, server := addr4(byte(1+i%200), uint16(20000+i)), addr4(250, 8080)
		if i%5 == 4 {
			client, server = addr6(byte(1+i%200), uint16(20000+i)), addr6(250, 8080)
		}
		w := newWire(rng, client, server, &frames, &nanos)
		w.handshake()
		talk(w, fmt.Sprint(i))
		if i%4 != 3 {
			w.close()
		}
		all = append(all, frames)
	}
	return mix(rng, all)
}
