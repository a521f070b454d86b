package pcap

import (
	"bytes"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
)

// What a receiver does not take, since its numbers are no good, must not keep a reader
// from what it does take. The client here writes its own packets; the server is honest.

// many are requests and answers from the given numbers on, each with its own path.
func many(client, server uint32, first, last int, pause time.Duration) (all []tcp, c, s uint32) {
	for i := first; i <= last; i++ {
		q := "GET /" + strconv.Itoa(i) + " HTTP/1.1\r\nHost: a\r\n\r\n"
		a := "HTTP/1.1 " + strconv.Itoa(200+i) + " A\r\nContent-Length: 4\r\n\r\nbody"
		turn := turnAt(client, server, q, a)
		turn[0].after = pause
		all = append(all, turn...)
		client, server = client+uint32(len(q)), server+uint32(len(a))
	}
	return all, client, server
}

// judgeMany counts the calls of many by whether they were found with their answer, and
// complains of those that are certain and wrong.
func judgeMany(t *testing.T, name string, sink *collected) (right int) {
	t.Helper()
	for i := range sink.calls {
		c := &sink.calls[i]
		n, err := strconv.Atoi(strings.TrimPrefix(c.Path, "/"))
		switch {
		case err == nil && int(c.Status) == 200+n:
			right++
		case c.Quality.Certain():
			t.Errorf("%s: %s is certain", name, line(c))
		}
	}
	return right
}

func TestWhatReceiversDoNotTake(t *testing.T) {
	const calls = 60
	before, c, s := many(70, 30, 1, 5, 0)
	rest, _, _ := many(c, s, 6, calls, 300*time.Millisecond)
	junk := func(ahead uint32, n int) (all []tcp) {
		for i := range n {
			all = append(all, tcp{from: 'c', seq: c + ahead + uint32(i*len(q1)), ack: s, flags: ack, text: q1})
		}
		return all
	}
	forged := "GET /public HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, x := range []struct {
		name string
		// put in behind the fifth call
		segments []tcp
		least    int // of all calls are found with their answers
		reason   string
	}{
		{"nothing", nil, calls, ""},
		{"one segment far ahead", junk(1<<20, 1), calls, dropUnwanted},
		{"one segment ahead, soon reached", junk(1000, 1), 10, ""},
		{"more than is held", junk(1<<20, 1100), calls - 8, dropGivenUp},
		{"an end ahead", []tcp{{from: 'c', seq: c + 500, ack: s, flags: finAck}}, calls - 12, dropLate},
		{"a reset ahead", []tcp{{from: 'c', seq: c + 500, ack: s, flags: flagRST | flagACK}}, calls - 12, dropLate},
		{"a reset that another forged", []tcp{{from: 'c', seq: c, ack: s, flags: flagRST | flagACK}}, calls - 6, dropLate},
		{"a reset of the server that another forged", []tcp{{from: 's', seq: s, ack: c, flags: flagRST | flagACK}}, calls - 6, dropLate},
		{"an end that another forged", []tcp{{from: 'c', seq: c, ack: s, flags: finAck}}, calls - 6, dropLate},
		{"an acknowledgement of what was never sent", []tcp{{from: 'c', seq: c, ack: s + 1<<20, flags: ack, text: forged}}, calls - 12, ""},
		{"a handshake in the middle", []tcp{{from: 'c', seq: c - 1, flags: syn}}, calls - 5, ""},
		{"a handshake elsewhere", []tcp{{from: 'c', seq: c + 90_000, flags: syn}}, calls - 5, ""},
		{"a handshake far off", []tcp{{from: 'c', seq: c + 1<<30, flags: syn}}, calls - 5, ""},
	} {
		capture := join(opened(70, 30), before, x.segments, rest)
		sink, stats := read(t, Config{}, bytes.NewReader(wired(capture)))
		if right := judgeMany(t, x.name, sink); right < x.least || x.reason != "" && stats.Dropped[x.reason] == 0 {
			t.Errorf("%s: %d of %d calls, want %d; %v, %d sent again\n", x.name, right, calls, x.least, stats.Dropped, stats.Retransmitted)
		}
		if n := stats.Retransmitted; n > 2 && x.name != "a handshake in the middle" {
			t.Errorf("%s: %d segments pass for sent again", x.name, n)
		}
	}
}

// TestHandshakeInTheMiddle: a client asks for what it may not have, and has its own
// forged handshake between that and a request for what it may: the connection goes on
// as it was, and the answers come in order.
func TestHandshakeInTheMiddle(t *testing.T) {
	n, m := uint32(ql), uint32(al)
	for name, forged := range map[string][]tcp{
		"syn":               {{from: 'c', seq: 70 + n - 1, flags: syn}},
		"syn and challenge": {{from: 'c', seq: 70 + n - 1, flags: syn}, {from: 's', seq: 30, ack: 70 + n, flags: ack}},
		"syn with data":     {{from: 'c', seq: 70 + n - 1, flags: syn, text: q2}},
	} {
		for _, later := range [][]tcp{
			{{from: 'c', seq: 70 + n, ack: 30, flags: ack, text: q2}, {from: 's', seq: 30, ack: 70 + n, flags: ack, text: a1}, {from: 's', seq: 30 + m, ack: 70 + 2*n, flags: ack, text: a2}},
			{{from: 'c', seq: 70 + n, ack: 30, flags: ack, text: q2}, {from: 's', seq: 30, ack: 70 + 2*n, flags: ack, text: a1}, {from: 's', seq: 30 + m, ack: 70 + 2*n, flags: ack, text: a2}},
			{{from: 'c', seq: 70 + n, ack: 30, flags: ack}, {from: 'c', seq: 70 + n, ack: 30, flags: ack, text: q2}, {from: 's', seq: 30, ack: 70 + 2*n, flags: ack, text: a1 + a2}},
		} {
			capture := slices.Concat(opened(70, 30), []tcp{{from: 'c', seq: 70, ack: 30, flags: ack, text: q1}}, forged, later)
			sink, _ := read(t, Config{}, bytes.NewReader(wired(capture)))
			for i := range sink.calls {
				if c := &sink.calls[i]; c.Quality.Certain() && (c.Path == "/1") != (c.Status == 201) {
					t.Errorf("%s: %s is certain", name, line(c))
				}
			}
		}
	}
}

// TestLossInWhatIsNotRead loses a packet of a long connection that nobody can read: it
// stays one, and its end is seen.
func TestLossInWhatIsNotRead(t *testing.T) {
	segments := opened(70, 30)
	c, s := uint32(70), uint32(30)
	hello := "\x17\x03\x03\x40\x00" + strings.Repeat("x", 60_000)
	for i := range 4000 { // 240 MB
		if i != 5 {
			segments = append(segments, tcp{from: 's', seq: s, ack: c, flags: ack, text: hello})
		}
		s += uint32(len(hello))
	}
	segments = append(segments, tcp{from: 'c', seq: c, ack: s, flags: finAck}, tcp{from: 's', seq: s, ack: c + 1, flags: finAck}, tcp{from: 'c', seq: c + 1, ack: s + 1, flags: ack})
	_, stats := read(t, Config{}, bytes.NewReader(wired(segments)))
	if stats.Connections != 1 || stats.Protocols[speaksTLS] != 1 || stats.Unread[speaksTLS] != 3999 || stats.Late != 0 {
		t.Errorf("%+v", stats)
	}
}

// TestTinySegmentsHeld has many connections hold many segments of a byte each: what
// they take up counts, not what they carry.
func TestTinySegmentsHeld(t *testing.T) {
	const connections, each = 300, 900
	limits := Limits{HeldTotal: 4 << 20}
	r := newRun(&New(Config{Key: testKey, Limits: limits}).cfg, collector.Input{}, &collected{})
	alive := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	begin, number := alive(), uint64(0)
	for i := range each {
		for c := range connections {
			number++
			p := packet{src: addr4(1, uint16(c+1)), dst: addr4(2, 80), seq: 2 * uint32(i), flags: flagACK, payload: []byte("x"), number: number, vlan: 1, nanos: int64(number)}
			if i == 0 {
				p.payload = []byte("GET /1 HTTP/1.1\r\n")
				p.seq -= 100
			}
			r.table.packet(&p)
			if i == 0 {
				// The server is there, and acknowledges that much.
				p.src, p.dst, p.ack, p.payload = p.dst, p.src, p.seq+uint32(len(p.payload)), nil
				r.table.packet(&p)
			}
		}
	}
	if took := alive() - begin; took > 2*uint64(limits.HeldTotal)+connections*4096 {
		t.Errorf("%d KiB are alive, %d KiB count as held of %d", took>>10, r.table.held>>10, limits.HeldTotal>>10)
	}
	if r.stats.Dropped[dropMemory] == 0 {
		t.Errorf("nothing was given up: %+v", r.stats.Dropped)
	}
	for c := r.table.any(); c != nil; c = r.table.any() {
		r.table.remove(c)
	}
	r.finish()
	settled(t, r)
}

// TestHoldersGiveWay has a few connections hold all that may be held, while others are
// quiet: those that hold give way.
func TestHoldersGiveWay(t *testing.T) {
	var frames []frame
	nanos := int64(1_700_000_000e9)
	put := func(c int, toServer bool, seq, ack uint32, flags uint8, text string) {
		nanos += 1e5
		s := segmentSpec{addr4(1, uint16(c+1)), addr4(2, 80), toServer, seq, ack, flags, []byte(text)}
		frames = append(frames, frame{nanos, s.ethernet()})
	}
	turn := func(c int, at, has uint32, q, a string) {
		put(c, true, at, has, flagACK, q)
		put(c, false, has, at+uint32(len(q)), flagACK, a)
	}
	const quiet, hoarding = 50, 20
	for c := range quiet {
		put(c, true, 9, 0, flagSYN, "")
		put(c, false, 29, 10, flagSYN|flagACK, "")
		turn(c, 10, 30, q1, a1)
	}
	for c := quiet; c < quiet+hoarding; c++ {
		put(c, true, 9, 0, flagSYN, "")
		put(c, false, 29, 10, flagSYN|flagACK, "")
		put(c, true, 10, 30, flagACK, "GET /")
		for i := range 400 {
			put(c, true, 1000+uint32(i)*1200, 30, flagACK, strings.Repeat("x", 1200))
		}
	}
	for c := range quiet {
		turn(c, 10+uint32(ql), 30+uint32(al), q2, a2)
	}
	sink, stats := read(t, Config{Limits: Limits{HeldTotal: 2 << 20}}, bytes.NewReader(writePcap(linkEthernet, frames)))
	certain := 0
	for i := range sink.calls {
		if sink.calls[i].Quality.Certain() {
			certain++
		}
	}
	if certain != 2*quiet || stats.Dropped[dropMemory] < hoarding/2 {
		t.Errorf("%d certain calls, want %d; %+v", certain, 2*quiet, stats)
	}
}

// TestHeldBehindTheEnd: what waited for a hole is counted where the connection ends
// first.
func TestHeldBehindTheEnd(t *testing.T) {
	n := uint32(ql)
	held := []tcp{{from: 'c', seq: 70 + 2*n, ack: 30, flags: ack, text: q3}, {from: 'c', seq: 70 + 3*n, ack: 30, flags: ack, text: q3}}
	for name, end := range map[string][]tcp{
		"reset":        {{from: 's', seq: 30, ack: 70, flags: flagRST | flagACK}},
		"end, in time": {{from: 'c', seq: 70, ack: 30, flags: ack, text: q1}, {from: 'c', seq: 70 + n, ack: 30, flags: finAck, text: q2[:n-2]}},
	} {
		_, stats := read(t, Config{}, bytes.NewReader(wired(join(opened(70, 30), held, end))))
		if stats.Dropped[dropLate] != 2 {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}
