package pcap

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestNoWrongPairAtAll loses packets of clients and servers of every temper: no pair may
// be wrong, marked or not.
func TestNoWrongPairAtAll(t *testing.T) {
	first, runs := otherSeeds(t)
	if testing.Short() {
		runs = 3
	}
	talks := func(how style) func(*wire, int, string, map[string]truth) {
		return func(w *wire, n int, name string, known map[string]truth) { w.talk(n, how, name, known) }
	}
	for i, kind := range []traffic{
		{"batches", talks(batches)}, {"window", talks(window)}, {"eager", talks(eager)},
		{"any", func(w *wire, n int, name string, known map[string]truth) {
			w.converse(n, anyTemper(w.rng), name, known)
		}},
	} {
		sums := make([]cell, len(impairments))
		for seed := first; seed < first+runs; seed++ {
			rng := rand.New(rand.NewPCG(seed, uint64(40+i)))
			known := map[string]truth{}
			frames := conversation(rng, 10, func(w *wire, name string) { kind.talk(w, 25, name, known) })
			whole := map[string]*schema.Call{}
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			for k := range sink.calls {
				whole[sink.calls[k].Path] = &sink.calls[k]
			}
			for j, im := range impairments {
				if im.change == nil || im.name != "all of it" && !strings.Contains(im.name, "los") && !strings.Contains(im.name, "late") && !strings.HasPrefix(im.name, "snap") {
					continue
				}
				sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, im.change(rand.New(rand.NewPCG(seed, uint64(j))), frames))))
				before := sums[j]
				sums[j].count(t, sink.calls, known, whole)
				// Of a connection that was joined late and cut as well, too little may be
				// seen of the first answer to tell whose it is.
				blind := im.name == "late, cut, lost" && 1000*sums[j].marked <= sums[j].known
				if sums[j].wrong > before.wrong || sums[j].marked > before.marked && !blind {
					t.Errorf("%s, %s, seed %d: %d wrong, %d more that are marked", kind.name, im.name, seed, sums[j].wrong-before.wrong, sums[j].marked-before.marked)
				}
			}
		}
		for j, im := range impairments {
			if c := sums[j]; c.known > 0 {
				t.Logf("%-8s %-20s found %6.2f %%  certain %6.2f %%  wrong %d, marked %d", kind.name, im.name,
					100*float64(c.found)/float64(c.known), 100*float64(c.certain)/float64(c.known), c.wrong, c.marked)
			}
		}
	}
}

// TestFastOpen loses a first packet that holds a request: what follows looks whole.
func TestFastOpen(t *testing.T) {
	q := func(n int) string { return ask("/" + strconv.Itoa(n)) }
	a := func(n int) string { return page(220+n, "body") }
	for _, eager := range []bool{true, false} {
		c, s := uint32(70), uint32(30)
		segments := []tcp{{from: 'c', seq: c - 1, flags: syn, text: q(0)}}
		c += uint32(len(q(0)))
		segments = append(segments, tcp{from: 's', seq: s - 1, ack: c, flags: synAck}, tcp{from: 'c', seq: c, ack: s, flags: ack})
		for n := 1; n <= 12; n++ {
			if eager {
				segments = append(segments, tcp{from: 'c', seq: c, ack: s, flags: ack, text: q(n)})
				c += uint32(len(q(n)))
			}
			segments = append(segments, tcp{from: 's', seq: s, ack: c, flags: ack, text: a(n - 1)})
			s += uint32(len(a(n - 1)))
			if !eager {
				segments = append(segments, tcp{from: 'c', seq: c, ack: s, flags: ack, text: q(n)})
				c += uint32(len(q(n)))
			}
		}
		segments = append(segments, tcp{from: 's', seq: s, ack: c, flags: ack, text: a(12)})
		for lost, kept := range [][]tcp{segments, segments[1:]} {
			sink, _ := read(t, Config{}, bytes.NewReader(wired(kept)))
			certain, found := 0, 0
			for i := range sink.calls {
				call := &sink.calls[i]
				n, err := strconv.Atoi(strings.TrimPrefix(call.Path, "/"))
				if err != nil || call.Status == 0 {
					continue
				}
				if int(call.Status) != 220+n {
					t.Errorf("eager %v, lost %d: %s", eager, lost, line(call))
				}
				if found++; call.Quality.Certain() {
					certain++
				}
			}
			if want := 13 * (1 - lost); certain != want || lost == 1 && !eager && found != 12 {
				t.Errorf("eager %v, lost %d: %d certain, %d found", eager, lost, certain, found)
			}
		}
	}
}

// tiny is a conversation of few packets; truth are the status codes by path.
type tiny struct {
	frames []frame
	truth  map[string]int
}

// tinies makes up conversations of at most eight packets of data: each request and
// answer in a packet of its own, or with its neighbour, in every order that can be.
func tinies(most int, same bool, each func(tiny)) {
	const syn0, syn1 = 100, 500
	var frames []frame
	truth := map[string]int{}
	text := func(n int, answer bool) string {
		pad := strings.Repeat("z", 7*n)
		if same {
			pad = ""
		}
		if answer {
			return page(200+n, "b"+pad)
		}
		return "GET /" + strconv.Itoa(n) + pad + " HTTP/1.1\r\nHost: a\r\n\r\n"
	}
	put := func(toServer bool, seq, ack uint32, flags uint8, text string) {
		s := segmentSpec{addr4(1, 40000), addr4(2, 80), toServer, seq, ack, flags, []byte(text)}
		frames = append(frames, frame{1_700_000_000e9 + int64(len(frames))*1e6, s.ethernet()})
	}
	put(true, syn0-1, 0, flagSYN, "")
	put(false, syn1-1, syn0, flagSYN|flagACK, "")
	put(true, syn0, syn1, flagACK, "")
	var next func(asked, answered int, c, s uint32)
	next = func(asked, answered int, c, s uint32) {
		if asked == most && answered == most {
			kept := len(frames)
			put(true, c, s, flagFIN|flagACK, "")
			put(false, s, c+1, flagFIN|flagACK, "")
			each(tiny{frames, truth})
			frames = frames[:kept]
			each(tiny{frames, truth})
			return
		}
		kept := len(frames)
		for n := 1; n <= 2; n++ { // messages in a packet
			if asked+n <= most {
				b := ""
				for i := range n {
					b += text(asked+i, false)
					truth[strings.Fields(text(asked+i, false))[1]] = 200 + asked + i
				}
				put(true, c, s, flagACK, b)
				next(asked+n, answered, c+uint32(len(b)), s)
				frames = frames[:kept]
			}
			if answered+n <= asked {
				b := ""
				for i := range n {
					b += text(answered+i, true)
				}
				put(false, s, c, flagACK, b)
				next(asked, answered+n, c, s+uint32(len(b)))
				frames = frames[:kept]
			}
		}
	}
	next(0, 0, syn0, syn1)
}

// TestEverySubset loses every subset of the packets of every short conversation: no pair
// may be wrong and certain, nor wrong at all where the handshake is there, and the last
// packet: without that nothing shows that answers to more than was seen are lost.
func TestEverySubset(t *testing.T) {
	most := 3
	if testing.Short() {
		most = 2
	}
	for _, same := range []bool{true, false} {
		conversations, captures, certain, found, marked := 0, 0, 0, 0, 0
		tinies(most, same, func(c tiny) {
			conversations++
			for lost := range 1 << len(c.frames) {
				var kept []frame
				for i, f := range c.frames {
					if lost>>i&1 == 0 {
						kept = append(kept, f)
					}
				}
				if lost&3 == 1 || lost&3 == 2 {
					continue // half a handshake
				}
				captures++
				sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, kept)))
				for i := range sink.calls {
					call := &sink.calls[i]
					switch right := c.truth[call.Path] == int(call.Status); {
					case call.Path == "" || call.Status == 0:
					case right:
						if found++; call.Quality.Certain() {
							certain++
						}
					case call.Quality.Certain():
						t.Fatalf("without %b of %d packets: wrong and certain: %s", lost, len(c.frames), line(call))
					default:
						marked++
						if shown := lost&3 == 0 && lost>>(len(c.frames)-1) == 0; shown {
							t.Errorf("without %b of %d packets: wrong: %s", lost, len(c.frames), line(call))
						}
					}
				}
			}
		})
		t.Logf("same %v: %d conversations, %d captures: %d found, %d certain, %d wrong and marked", same, conversations, captures, found, certain, marked)
	}
}

// TestLongConnections looks at connections of HTTP/1 with a hundred calls: what a lost
// packet leaves in doubt must not stay so to their end. Of one that sends ahead it may,
// where the client never waits for all its answers again: with 1 % lost 92.5 % are found
// over many seeds, from 87 to 98 in each. (Of HTTP/2 a header that was lost stays unknown.)
func TestLongConnections(t *testing.T) {
	_, runs := otherSeeds(t)
	for i, kind := range traffics[:2] {
		for _, im := range impairments[1:3] {
			var sum cell
			for seed := range (runs + 4) / 5 {
				rng := rand.New(rand.NewPCG(seed, uint64(60+i)))
				known := map[string]truth{}
				frames := conversation(rng, 10, func(w *wire, name string) { kind.talk(w, 100, name, known) })
				whole := map[string]*schema.Call{}
				sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
				for k := range sink.calls {
					whole[sink.calls[k].Path] = &sink.calls[k]
				}
				sink, _ = read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, im.change(rng, frames))))
				sum.count(t, sink.calls, known, whole)
			}
			found := float64(sum.found) / float64(sum.known)
			t.Logf("%-16s %-10s found %.2f %%  certain %.2f %%  wrong %d, marked %d", kind.name, im.name, 100*found, 100*float64(sum.certain)/float64(sum.known), sum.wrong, sum.marked)
			least := map[string]float64{"loss 0.1 %": .993, "loss 1 %": .942}[im.name]
			if kind.name == "http1-pipelined" && im.name == "loss 1 %" {
				least = .87
			}
			if found < least || sum.wrong > 0 || sum.marked > 0 {
				t.Errorf("%s, %s: found %.4f, want %.3f; %d wrong, %d more that are marked", kind.name, im.name, found, least, sum.wrong, sum.marked)
			}
		}
	}
}
