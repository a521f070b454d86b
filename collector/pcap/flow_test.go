package pcap

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
)

// TestConnectionsThatEnded has many connections come and go beside one that is
// quiet for long: they give way to it, and are forgotten after a while.
func TestConnectionsThatEnded(t *testing.T) {
	const others, limit, pause = 200, 20, 2 * time.Second
	rng := rand.New(rand.NewPCG(1, 2))
	var frames []frame
	nanos := int64(1_700_000_000e9)
	known := map[string]truth{}
	quiet := newWire(rng, addr4(1, 9), addr4(250, 8080), &frames, &nanos)
	quiet.handshake()
	quiet.talk(1, lockstep, "before", known)
	for i := range others {
		w := newWire(rng, addr4(2, uint16(1000+i)), addr4(250, 8080), &frames, &nanos)
		w.handshake()
		w.talk(1, lockstep, "other", map[string]truth{})
		w.close()
		nanos += int64(pause)
	}
	quiet.talk(1, lockstep, "behind", known)

	for _, c := range []struct {
		name   string
		limits Limits
		most   int // connections at the end
	}{
		{"by number", Limits{Connections: limit}, limit},
		{"by age", Limits{}, int(linger/pause) + 3},
		{"by a shorter age", Limits{Idle: 10 * time.Minute, Connections: 3}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := map[string]int{}
			sink := sinkFunc(func(b *collector.Batch) error {
				for i := range b.Calls {
					if b.Calls[i].Quality.Certain() {
						calls[b.Calls[i].Path]++
					}
				}
				return nil
			})
			r := newRun(&New(Config{Key: testKey, Limits: c.limits}).cfg, collector.Input{}, sink)
			reader, err := newRecordReader(bytes.NewReader(writePcap(linkEthernet, frames)))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.packets(context.Background(), reader); err != nil {
				t.Fatal(err)
			}
			if r.table.number > c.most || r.table.number < 2 {
				t.Errorf("%d connections are known at the end, want at most %d", r.table.number, c.most)
			}
			if n := r.stats.Dropped[dropConnections] + r.stats.Dropped[dropIdle]; n > 0 {
				t.Errorf("%d connections that go on were given up", n)
			}
			for r.table.any() != nil {
				r.table.remove(r.table.any())
			}
			if err := r.put(context.Background(), true); err != nil {
				t.Fatal(err)
			}
			r.finish()
			settled(t, r)
			if calls["/before/0"] != 1 || calls["/behind/0"] != 1 || calls["/other/0"] != others {
				t.Errorf("calls %v", calls)
			}
		})
	}
}

// TestResetBehindTheEnd has a server that answers, closes, and resets what its client
// still sends: its call does not wait until the connection is forgotten.
func TestResetBehindTheEnd(t *testing.T) {
	post := "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 900)
	n, m := len(post), 40
	for _, c := range []struct {
		name string
		last part
		out  int
	}{
		{"in order", part{from: 's', at: al + 1, has: n + m, flags: flagRST}, 1},
		{"out of the window", part{from: 's', at: al + 700, has: n + m, flags: flagRST}, 0},
		{"of what came before", part{from: 's', at: al, has: n, flags: flagRST}, 0},
		{"nothing", part{from: 'c', at: n + m, has: al + 1, text: "more"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRun(&New(Config{Key: testKey}).cfg, collector.Input{}, &collected{})
			reader, err := newRecordReader(bytes.NewReader(draw(false, []part{
				{from: 'c', text: post},
				{from: 's', has: n, text: a1, flags: flagFIN},
				// On its way when the server closed.
				{from: 'c', at: n, has: al, text: strings.Repeat("x", m)},
				c.last,
			})))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.packets(context.Background(), reader); err != nil {
				t.Fatal(err)
			}
			if len(r.builder.calls) != c.out {
				t.Errorf("%d calls are out, want %d", len(r.builder.calls), c.out)
			}
			for r.table.any() != nil {
				r.table.remove(r.table.any())
			}
			if got := lines(r.builder.calls); !strings.HasPrefix(got, "POST a/1 201 94") || !strings.HasSuffix(got, "/4 complete") {
				t.Errorf("calls:\n%s", got)
			}
			r.finish()
			settled(t, r)
		})
	}
}

// TestFewMayWait has more requests under way than may wait for answers, in
// connections that lose packets: some go out without, none with a wrong one.
func TestFewMayWait(t *testing.T) {
	for _, limits := range []Limits{{Pending: 2}, {PendingTotal: 8}, {PendingTotal: 100}} {
		for _, how := range []style{lockstep, batches, window, moody} {
			var sum outcome
			dropped := uint64(0)
			for seed := range uint64(seeds) {
				rng := rand.New(rand.NewPCG(seed, uint64(how)))
				known := map[string]truth{}
				frames := damage{loss: .03, reorder: .01}.apply(rng, inTurn(rng, how, 60, 8, known))
				sink, stats := read(t, Config{Limits: limits}, bytes.NewReader(writePcap(linkEthernet, frames)))
				o := judge(t, sink, known)
				sum.wrong, sum.certain, sum.known = sum.wrong+o.wrong, sum.certain+o.certain, sum.known+o.known
				dropped += stats.Dropped[dropPending]
			}
			t.Logf("%d a connection, %d in all, %s: %d certain of %d, %d gave way", limits.Pending, limits.PendingTotal, styleNames[how], sum.certain, sum.known, dropped)
			if sum.wrong > 0 || sum.certain == 0 {
				t.Errorf("%d wrong, %d certain", sum.wrong, sum.certain)
			}
			if how == window && dropped == 0 {
				t.Error("nothing had to give way")
			}
		}
	}
}

// inTurn is a capture of connections that all do the same at the same time.
func inTurn(rng *rand.Rand, how style, connections, calls int, known map[string]truth) (out []frame) {
	all := make([][]frame, connections)
	for i := range all {
		var nanos int64
		w := newWire(rng, addr4(1, uint16(1000+i)), addr4(250, 8080), &all[i], &nanos)
		w.handshake()
		w.talk(calls, how, fmt.Sprint(i), known)
	}
	nanos := int64(1_700_000_000e9)
	for i, left := 0, true; left; i++ {
		left = false
		for _, frames := range all {
			if i < len(frames) {
				nanos += 10_000
				out, left = append(out, frame{nanos, frames[i].data}), true
			}
		}
	}
	return out
}
