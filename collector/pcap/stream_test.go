package pcap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
)

// part is a segment of a scripted connection: c or s sends bytes at an offset
// of its stream, having received so many of the other's.
type part struct {
	from  byte // 'c' or 's'
	at    int
	has   int
	text  string
	flags uint8
	// cut bytes at the end were not captured; after is added to the clock.
	cut   int
	after time.Duration
}

const clientISN, serverISN = 0xfffffff0, 0xfffffffd // both wrap at once

// draw writes parts as a capture, with the handshake unless bare.
func draw(bare bool, parts []part) []byte {
	client, server := addr4(1, 40000), addr4(2, 80)
	var frames []frame
	nanos := int64(1_700_000_000e9)
	put := func(toServer bool, seq, ack uint32, flags uint8, payload string, cut int) {
		s := segmentSpec{client, server, toServer, seq, ack, flags, []byte(payload)}
		b := s.ethernet()
		frames = append(frames, frame{nanos, b[:len(b)-cut]})
		nanos += 1e6
	}
	if !bare {
		put(true, clientISN, 0, flagSYN, "", 0)
		put(false, serverISN, clientISN+1, flagSYN|flagACK, "", 0)
		put(true, clientISN+1, serverISN+1, flagACK, "", 0)
	}
	for _, p := range parts {
		nanos += int64(p.after)
		own, other := uint32(clientISN+1), uint32((serverISN+1)&0xffffffff)
		if p.from == 's' {
			own, other = other, own
		}
		put(p.from == 'c', own+uint32(p.at), other+uint32(p.has), p.flags|flagACK, p.text, p.cut)
	}
	return writePcap(linkEthernet, frames)
}

const (
	q1 = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
	q2 = "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
	q3 = "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
	a1 = "HTTP/1.1 201 A\r\nContent-Length: 4\r\n\r\nbody"
	a2 = "HTTP/1.1 202 A\r\nContent-Length: 4\r\n\r\nbody"
	a3 = "HTTP/1.1 203 A\r\nContent-Length: 4\r\n\r\nbody"
	ql = len(q1)
	al = len(a1)
)

// streamCases are segments of one connection as they arrive, and the calls in them.
var streamCases = []struct {
	name  string
	bare  bool
	parts []part
	want  string
	check func(Stats) bool
}{
	{name: "in order", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: ql, text: a1}, {from: 'c', at: ql, has: al, text: q2}, {from: 's', at: al, has: 2 * ql, text: a2}},
		want: "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete", check: func(s Stats) bool {
			return s.BothWays == 1 && s.OneWay == 0 && s.Late == 0 && s.StreamBytes == uint64(2*ql+2*al)
		}},
	{name: "answer before its request", parts: []part{
		{from: 's', has: ql, text: a1}, {from: 'c', text: q1}},
		want: "GET a/1 201 0/4 complete", check: func(s Stats) bool { return s.Held == 1 && s.Gaps == 0 }},
	{name: "everything backwards", parts: []part{
		{from: 's', at: al, has: 2 * ql, text: a2}, {from: 'c', at: ql, has: al, text: q2},
		{from: 's', has: ql, text: a1}, {from: 'c', text: q1}},
		want: "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete", check: func(s Stats) bool { return s.Gaps == 0 }},
	{name: "sent again", parts: []part{
		{from: 'c', text: q1}, {from: 'c', text: q1}, {from: 's', has: ql, text: a1}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 complete", check: func(s Stats) bool { return s.Retransmitted == 2 && s.StreamBytes == uint64(ql+al) }},
	{name: "sent again with more", parts: []part{
		{from: 'c', text: q1[:9]}, {from: 'c', text: q1}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 complete", check: func(s Stats) bool { return s.Overlapping == 1 }},
	{name: "the first of overlapping bytes win", parts: []part{
		{from: 'c', text: q1[:10]}, {from: 'c', at: 5, text: "XXXXX" + q1[10:]}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 gap"},
	{name: "the first of held overlapping bytes win", parts: []part{
		{from: 'c', at: 8, text: q1[8:12]}, {from: 'c', at: 4, text: "/1 HXXXX" + q1[12:]}, {from: 'c', text: q1[:4]}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 gap"},
	{name: "a held segment inside a longer one", parts: []part{
		{from: 'c', at: 10, text: q1[10:12]}, {from: 'c', at: 5, text: q1[5:]}, {from: 'c', text: q1}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 complete"},
	{name: "a request was lost", parts: []part{
		{from: 's', has: ql, text: a1}, {from: 'c', at: ql, has: al, text: q2}, {from: 's', at: al, has: 2 * ql, text: a2},
		{from: 'c', at: 2 * ql, has: 2 * al, text: q3}, {from: 's', at: 2 * al, has: 3 * ql, text: a3}},
		want: " 10.0.0.2:80 201 0/0 orphan\nGET a/2 202 0/4 gap\nGET a/3 203 0/4 gap"},
	{name: "an answer was lost", parts: []part{
		{from: 'c', text: q1}, {from: 'c', at: ql, has: al, text: q2}, {from: 's', at: al, has: 2 * ql, text: a2},
		{from: 'c', at: 2 * ql, has: 2 * al, text: q3}, {from: 's', at: 2 * al, has: 3 * ql, text: a3}},
		want: "GET a/1 0 0/0 unanswered\nGET a/2 202 0/4 gap\nGET a/3 203 0/4 gap"},
	{name: "an answer's body was lost", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: ql, text: a1[:al-4]}, {from: 'c', at: ql, has: al, text: q2}, {from: 's', at: al, has: 2 * ql, text: a2}},
		want: "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete", check: func(s Stats) bool { return s.GapBytes == 4 && s.Resyncs == 0 }},
	{name: "an answer's tail and the next head were lost", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: ql, text: a1[:al-2]}, {from: 'c', at: ql, has: al, text: q2},
		{from: 's', at: al + 20, has: 2 * ql, text: a2[20:]}, {from: 'c', at: 2 * ql, has: 2 * al, text: q3}, {from: 's', at: 2 * al, has: 3 * ql, text: a3}},
		want: "GET a/1 201 0/4 complete\nGET a/2 0 0/0 unanswered\nGET a/3 203 0/4 complete"},
	{name: "one of two pipelined requests was lost", parts: []part{
		{from: 'c', at: ql, text: q2}, {from: 's', has: 2 * ql, text: a1}, {from: 's', at: al, has: 2 * ql, text: a2}},
		want: " 10.0.0.2:80 201 0/0 orphan\n 10.0.0.2:80 202 0/0 orphan\nGET a/2 0 0/0 gap"},
	{name: "requests alone", bare: true, parts: []part{{from: 'c', has: 100, text: q1}, {from: 'c', at: ql, has: 100 + al, text: q2}},
		want: "GET a/1 0 0/0 unanswered\nGET a/2 0 0/0 unanswered", check: func(s Stats) bool {
			return s.BothWays == 0 && s.OneWay == 1 && s.Late == 1 && s.OneSidedBytes == uint64(al)
		}},
	{name: "joined while an answer was on its way", bare: true, parts: []part{
		{from: 'c', text: q1}, {from: 's', at: 100, has: ql, text: a1}, {from: 'c', at: ql, has: 100 + al, text: q2}, {from: 's', at: 100 + al, has: 2 * ql, text: a2}},
		want: " 10.0.0.2:80 201 0/0 orphan\nGET a/1 0 0/0 unanswered\nGET a/2 202 0/4 gap", check: func(s Stats) bool { return s.EarlierBytes == 100 && s.GapBytes == 0 && s.Gaps == 0 }},
	{name: "joined before an answer", bare: true, parts: []part{
		{from: 's', has: 500, text: a1}, {from: 'c', at: 500, has: al, text: q2}, {from: 's', at: al, has: 500 + ql, text: a2},
		{from: 'c', at: 500 + ql, has: 2 * al, text: q3}, {from: 's', at: 2 * al, has: 500 + 2*ql, text: a3}},
		want: " 10.0.0.2:80 201 0/0 orphan\nGET a/2 202 0/4 midstream\nGET a/3 203 0/4 midstream"},
	{name: "joined inside a body", bare: true, parts: []part{
		{from: 's', at: 7, has: 500, text: "GETody of something\r\n\r\n"}, {from: 'c', at: 500, has: 30, text: q2},
		{from: 's', at: 30, has: 500 + ql, text: a2}},
		want: "GET a/2 202 0/4 midstream"},
	{name: "joined when the answer to an unseen request is due", bare: true, parts: []part{
		{from: 'c', at: 500, has: 9, text: q2}, {from: 's', at: 9, has: 500, text: a1}, {from: 's', at: 9 + al, has: 500 + ql, text: a2}},
		want: " 10.0.0.2:80 201 0/0 orphan\n 10.0.0.2:80 202 0/0 orphan\nGET a/2 0 0/0 unanswered"},
	{name: "behind a SOCKS greeting", parts: []part{
		{from: 'c', text: "\x05\x01\x00"}, {from: 's', has: 3, text: "\x05\x00"}, {from: 'c', at: 3, has: 2, text: "\x05\x01\x00\x01\x0a\x00\x00\x02\x00\x50"},
		{from: 's', at: 2, has: 13, text: "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"},
		{from: 'c', at: 13, has: 12, text: q1}, {from: 's', at: 12, has: 13 + ql, text: a1},
		{from: 'c', at: 13 + ql, has: 12 + al, text: q2}, {from: 's', at: 12 + al, has: 13 + 2*ql, text: a2}},
		want: "GET a/1 201 0/4 midstream\nGET a/2 202 0/4 midstream"},
	{name: "behind bytes that only look like SOCKS", parts: []part{
		{from: 'c', text: "\x05\n" + q1}, {from: 'c', at: 2 + ql, text: q2}, {from: 's', has: 2 + 2*ql, text: a1}, {from: 's', at: al, has: 2 + 2*ql, text: a2}},
		want: "GET a/2 201 0/4 midstream\n 10.0.0.2:80 202 0/0 orphan"},
	{name: "only the client was captured", parts: []part{
		{from: 'c', text: q1}, {from: 'c', at: ql, has: al, text: q2}},
		want: "GET a/1 0 0/0 unanswered\nGET a/2 0 0/0 unanswered"},
	{name: "only the server was captured", bare: true, parts: []part{
		{from: 's', has: ql, text: a1}, {from: 's', at: al, has: 2 * ql, text: a2}},
		want: " 10.0.0.2:80 201 0/0 orphan\n 10.0.0.2:80 202 0/0 orphan"},
	{name: "an answer before its request was received", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: 0, text: a1}},
		want: " 10.0.0.2:80 201 0/0 orphan\nGET a/1 0 0/0 unanswered"},
	{name: "reset", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: ql, flags: flagRST}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 0 0/0 unanswered", check: func(s Stats) bool { return s.Dropped[dropLate] == 1 }},
	{name: "a body that the close ends, out of order", parts: []part{
		{from: 'c', text: q1}, {from: 's', at: 25, has: ql, flags: flagFIN, text: "late"}, {from: 's', has: ql, text: "HTTP/1.1 200 OK\r\n\r\nearly\n"}},
		want: "GET a/1 200 0/10 complete"},
	{name: "cut by the snap length in a body", parts: []part{
		{from: 'c', text: q1}, {from: 's', has: ql, text: a1, cut: 3}, {from: 'c', at: ql, has: al, text: q2}, {from: 's', at: al, has: 2 * ql, text: a2}},
		want: "GET a/1 201 0/4 complete\nGET a/2 202 0/4 complete", check: func(s Stats) bool { return s.CutBytes == 3 }},
	{name: "cut by the snap length in a head", parts: []part{
		{from: 'c', text: q1, cut: 6}, {from: 's', has: ql, text: a1, cut: al - 20}},
		want: "GET 10.0.0.2:80/1 201 0/0 truncated"},
	{name: "a hole that is not acknowledged waits", parts: []part{
		{from: 'c', text: q1[:5]}, {from: 'c', at: 9, text: q1[9:]}, {from: 'c', at: 5, text: q1[5:9], after: 3 * time.Second}, {from: 's', has: ql, text: a1}},
		want: "GET a/1 201 0/4 complete"},
}

func TestStreams(t *testing.T) {
	for _, c := range streamCases {
		t.Run(c.name, func(t *testing.T) {
			sink, stats := read(t, Config{}, bytes.NewReader(draw(c.bare, c.parts)))
			if got := lines(sink.calls); got != c.want {
				t.Errorf("got\n%s\nwant\n%s\n%+v", got, c.want, stats)
			}
			if c.check != nil && !c.check(stats) {
				t.Errorf("stats: %+v", stats)
			}
		})
	}
}

func TestPortReuse(t *testing.T) {
	var frames []frame
	nanos := int64(1_700_000_000e9)
	rng := rand.New(rand.NewPCG(1, 1))
	known := map[string]truth{}
	for i := range 5 {
		w := newWire(rng, addr4(1, 40000), addr4(2, 80), &frames, &nanos)
		w.handshake()
		w.talk(3, lockstep, fmt.Sprint(i), known)
		if i%2 == 0 {
			w.close()
		}
	}
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	if o := judge(t, sink, known); o.certain != 15 || stats.Connections != 5 {
		t.Errorf("%+v in %d connections, want 15 certain pairs in 5", o, stats.Connections)
	}
}

func TestLongHole(t *testing.T) {
	// The capture slept while the connection moved far beyond any window.
	far := 1 << 28
	parts := []part{{from: 'c', text: q1}, {from: 's', has: ql, text: a1}}
	for i := range 8 {
		parts = append(parts,
			part{from: 'c', at: far + i*ql, has: far + i*al, text: strings.Replace(q2, "/2", fmt.Sprintf("/%d", i), 1)},
			part{from: 's', at: far + i*al, has: far + (i+1)*ql, text: a2})
	}
	sink, stats := read(t, Config{}, bytes.NewReader(draw(false, parts)))
	found := 0
	for i := range sink.calls {
		if c := &sink.calls[i]; c.Path != "" && c.Status != 0 {
			found++
		}
	}
	if found < 5 {
		t.Errorf("%d pairs, want at least 5 of 9\n%s\n%+v", found, lines(sink.calls), stats)
	}
}

func TestLimitsHoldAndCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	known := map[string]truth{}
	frames := damage{loss: .02, reorder: .1}.apply(rng, madeUp(rng, moody, 60, 20, known, true))
	file := writePcap(linkEthernet, frames)
	for name, l := range map[string]Limits{
		"connections": {Connections: 3},
		"held":        {HeldPerDirection: 2000},
		"total":       {HeldTotal: 4000},
		"pending":     {Pending: 1, PendingTotal: 4},
		"idle":        {Idle: time.Millisecond},
		"no window":   {ReorderPackets: 1, ReorderTime: 1, Retransmission: 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Key: testKey, Limits: l}
			capture := New(cfg)
			var sink collected
			r := newRun(&capture.cfg, collector.Input{}, &sink)
			reader, err := newRecordReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := r.run(context.Background(), reader)
			if err != nil {
				t.Fatal(err)
			}
			settled(t, r)
			if o := judge(t, &sink, known); o.wrong > 0 {
				t.Errorf("%d wrong pairs that are not marked", o.wrong)
			}
			if len(stats.Dropped) == 0 && name != "no window" {
				t.Errorf("the limit left no trace: %+v", stats)
			}
		})
	}
}

func TestLongHead(t *testing.T) {
	s := script{"GET /1 HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 500) + "\r\n\r\n", a1, q2, a2, q3, a3}
	sink, stats := read(t, Config{Limits: Limits{HeadBytes: 100}}, bytes.NewReader(writePcap(linkEthernet, s.frames(50))))
	want := "GET a/1 201 0/4 truncated\nGET a/2 202 0/4 gap\nGET a/3 203 0/4 gap"
	if got := lines(sink.calls); got != want || stats.Dropped[dropHead] != 1 {
		t.Errorf("got\n%s\nwant\n%s\n%+v", got, want, stats)
	}
}

// repeated hands out the packets of a capture over and over, as later
// connections of the same endpoints.
type repeated struct {
	head, body []byte
	times      int
	at         int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.head != nil {
		n := copy(p, r.head)
		if r.head = r.head[n:]; len(r.head) == 0 {
			r.head = nil
		}
		return n, nil
	}
	if r.at == len(r.body) {
		if r.times--; r.times <= 0 {
			return 0, io.EOF
		}
		r.at = 0
	}
	n := copy(p, r.body[r.at:])
	r.at += n
	return n, nil
}

func TestMemoryIsBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	file := writePcap(linkEthernet, damage{loss: .01, reorder: .01}.apply(rng, madeUp(rng, moody, 400, 10, map[string]truth{}, true)))
	peak, calls := uint64(0), 0
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	base := live()
	sink := sinkFunc(func(b *collector.Batch) error {
		peak, calls = max(peak, live()), calls+len(b.Calls)
		return nil
	})
	stream := &repeated{head: file[:24], body: file[24:], times: 15}
	if _, err := New(Config{Key: testKey}).Run(context.Background(), stream, collector.Input{}, sink); err != nil {
		t.Fatal(err)
	}
	// The garbage collector lets the heap grow to twice what lives.
	t.Logf("%d MB of capture, %d calls: at most %d MB live", 15*len(file)>>20, calls, (peak-base)>>20)
	if peak-base > 32<<20 {
		t.Errorf("%d MB live, want at most 32", (peak-base)>>20)
	}
}

// settled checks that a finished run holds nothing and lost nothing uncounted.
func settled(t *testing.T, r *run) {
	t.Helper()
	if r.builder.bodies != 0 || r.builder.tables != r.builder.limits.TableBytes {
		t.Errorf("left over: %d bytes of bodies, %d of tables", r.builder.bodies, r.builder.limits.TableBytes-r.builder.tables)
	}
	if r.table.held != 0 || r.builder.live != 0 || r.table.number != 0 || r.table.any() != nil || slices.ContainsFunc(r.table.heads, func(c *connection) bool { return c != nil }) {
		t.Errorf("left over: %d bytes, %d exchanges, %d connections", r.table.held, r.builder.live, r.table.number)
	}
	calls := uint64(0)
	for _, n := range r.stats.Calls {
		calls += n
	}
	if calls != r.stats.Requests+r.stats.Orphans {
		t.Errorf("%d calls of %d requests and %d orphans", calls, r.stats.Requests, r.stats.Orphans)
	}
}

func TestRunStops(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	file := writePcap(linkEthernet, madeUp(rng, lockstep, 30, 100, map[string]truth{}, false))
	t.Run("when the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var sink collected
		stop := sinkFunc(func(b *collector.Batch) error {
			cancel()
			return sink.Put(ctx, b)
		})
		stats, err := New(Config{Key: testKey, BatchSize: 10}).Run(ctx, bytes.NewReader(file), collector.Input{Name: "x"}, stop)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context canceled", err)
		}
		if last := sink.batches[len(sink.batches)-1]; last.Done || last.NextUnit != stats.Packets {
			t.Errorf("last batch: %+v of %d packets", last.NextUnit, stats.Packets)
		}
		if uint64(len(sink.calls)) != stats.Requests+stats.Orphans {
			t.Errorf("%d calls were put of %d requests", len(sink.calls), stats.Requests)
		}
	})
	t.Run("when the sink fails", func(t *testing.T) {
		broken := errors.New("disk full")
		puts := 0
		_, err := New(Config{Key: testKey, BatchSize: 10}).Run(context.Background(), bytes.NewReader(file), collector.Input{Name: "x"},
			sinkFunc(func(*collector.Batch) error { puts++; return broken }))
		if !errors.Is(err, broken) || puts != 1 {
			t.Errorf("error %v after %d puts", err, puts)
		}
	})
	t.Run("without a key", func(t *testing.T) {
		if _, err := New(Config{}).Run(context.Background(), bytes.NewReader(file), collector.Input{}, &collected{}); err == nil {
			t.Error("no error")
		}
	})
}

type sinkFunc func(*collector.Batch) error

func (f sinkFunc) Put(_ context.Context, b *collector.Batch) error { return f(b) }

func TestSequenceOrder(t *testing.T) {
	for _, c := range [][2]uint32{{0, 1}, {0xffffffff, 0}, {0xfffffff0, 10}, {5, 0x80000004}} {
		if !before(c[0], c[1]) || before(c[1], c[0]) || before(c[0], c[0]) {
			t.Errorf("order of %#x and %#x", c[0], c[1])
		}
	}
}
