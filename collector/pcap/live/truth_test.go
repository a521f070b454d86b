//go:build linux

package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// What real servers say happened is compared with what their packets show. Neither
// side of this traffic was written with the engine: they are the clients and
// servers of Go, of Node and of curl, each with an own HTTP/2 and HPACK.

// entry is what a server's own log says of one request. No two have the same path.
type entry struct {
	Method, Path string
	Status       int
	// Authorization is the value that the server received, "" where there was none.
	Authorization string
	// GRPC is the status in the trailers, -1 without.
	GRPC int
	// Cut says that the answer broke off, or that its client gave up: then the
	// packets may not tell the status.
	Cut bool
}

// ledger is the log of a server.
type ledger struct {
	mu      sync.Mutex
	entries map[string]entry // by path
	twice   []string
}

func (l *ledger) add(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = map[string]entry{}
	}
	if _, known := l.entries[e.Path]; known {
		l.twice = append(l.twice, e.Path)
	}
	l.entries[e.Path] = e
}

// enter writes down what was just answered.
func (l *ledger) enter(r *http.Request, status int) {
	l.add(entry{Method: r.Method, Path: r.URL.Path, Status: status, Authorization: r.Header.Get("Authorization"), GRPC: -1})
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// observed captures the loopback while traffic runs, and returns the calls.
func observed(t *testing.T, key *redact.Key, traffic func(*ledger)) (*ledger, []schema.Call, pcap.Stats) {
	t.Helper()
	sink := &kept{skipped: map[string]uint64{}}
	record := &recording{}
	// The ring holds all of it, for a reader that gets no time.
	c := open(t, Config{Interface: "lo", Filter: "tcp", RingBytes: 128 << 20}, sink, func(s pcap.Source) pcap.Source {
		record.Source = s
		return record
	})
	var l ledger
	traffic(&l)
	// One more call, on a connection of its own: once it is out, all packets before it
	// were read.
	last := newCaller(t, listen(t, handler(&l), nil), "last", false)
	last.call(context.Background(), "GET", "/plain/200/last", nil, false)
	last.client.CloseIdleConnections()
	if missing := []string(nil); !until(func() bool { missing = l.without(sink); return len(missing) == 0 }) {
		t.Errorf("after %v these did not come out: %v", forever, missing)
	}
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(l.twice) > 0 {
		t.Fatalf("the test asked twice for %v", l.twice)
	}
	stats := c.watch.Stats()
	if lost := stats.Dropped[LostInKernel]; lost > 0 {
		t.Fatalf("%d packets lost: the ring is too small for this machine", lost)
	}
	record.damaged(t, key, &l)
	return &l, sink.calls, stats
}

// without returns what is in the log and not in the sink.
func (l *ledger) without(sink *kept) (paths []string) {
	out := map[string]bool{}
	sink.mu.Lock()
	for i := range sink.calls {
		out[sink.calls[i].Path] = true
	}
	sink.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for path := range l.entries {
		if !out[path] {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// recording keeps the packets that pass.
type recording struct {
	pcap.Source
	packets []pcap.Packet
}

func (r *recording) Next(ctx context.Context, p *pcap.Packet, idle func() error) error {
	err := r.Source.Next(ctx, p, idle)
	if err == nil {
		r.packets = append(r.packets, pcap.Packet{Data: bytes.Clone(p.Data), Link: p.Link, Length: p.Length, Nanos: p.Nanos})
	}
	return err
}

// file returns the packets that keep admits as a capture file.
func (r *recording) file(keep func(i int) bool) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // nanoseconds
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
	b = binary.LittleEndian.AppendUint32(b, r.packets[0].Link)
	for i, p := range r.packets {
		if !keep(i) {
			continue
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(p.Nanos/1e9))
		b = binary.LittleEndian.AppendUint32(b, uint32(p.Nanos%1e9))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
		b = append(b, p.Data...)
	}
	return b
}

// damaged reads the packets again, as taps see them that lose some, come late, or see
// one direction: whatever is then certain is what the servers logged.
func (r *recording) damaged(t *testing.T, key *redact.Key, l *ledger) {
	t.Helper()
	who := identify.New(key)
	for name, lost := range map[string]float64{"0.1 % lost": .001, "1 % lost": .01, "10 % lost": .1, "joined late": 0} {
		rng := rand.New(rand.NewPCG(7, uint64(len(r.packets))))
		certain, all := 0, 0
		for range 3 {
			from := 0
			if lost == 0 {
				from = rng.IntN(len(r.packets) * 9 / 10)
			}
			file := r.file(func(i int) bool { return i >= from && rng.Float64() >= lost })
			sink := &kept{skipped: map[string]uint64{}}
			if _, err := pcap.New(pcap.Config{Key: key}).Run(context.Background(), bytes.NewReader(file), collector.Input{Name: name}, sink); err != nil {
				t.Fatal(err)
			}
			all += l.len()
			for i := range sink.calls {
				c := &sink.calls[i]
				if !c.Quality.Certain() || c.Method == "CONNECT" && c.Path == "" {
					continue
				}
				certain++
				e, real := l.entries[c.Path]
				var is identify.Identity
				who.Identify(&identify.Evidence{Authorization: redact.NewSecret([]byte(e.Authorization)), Complete: true}, &is)
				if !real || c.Method != e.Method || c.Credential.ID != is.Credential.ID || int(c.Status) != e.Status {
					t.Errorf("%s: %s %s %d of %q is certain; logged is %+v", name, c.Method, c.Path, c.Status, c.Credential.ID, e)
				}
			}
		}
		t.Logf("%s: %d of %d calls are certain", name, certain, all)
	}
}

// agree compares the log with the calls: the same, each once, with the right
// credential, operation and result; and nothing certain that the log does not know.
func agree(t *testing.T, key *redact.Key, l *ledger, calls []schema.Call, stats pcap.Stats) {
	t.Helper()
	who := identify.New(key)
	seen := map[string]bool{}
	for i := range calls {
		c := &calls[i]
		e, real := l.entries[c.Path]
		if !real {
			if c.Quality.Certain() {
				t.Errorf("nobody logged %s %s %d, which is %s", c.Method, c.Path, c.Status, c.Quality)
			}
			continue
		}
		if seen[c.Path] {
			t.Errorf("%s %s came out twice", c.Method, c.Path)
		}
		seen[c.Path] = true
		var is identify.Identity
		who.Identify(&identify.Evidence{Authorization: redact.NewSecret([]byte(e.Authorization)), Complete: true}, &is)
		switch {
		case c.Method != e.Method || c.Credential.ID != is.Credential.ID || c.Credential.Kind != is.Credential.Kind:
			t.Errorf("%s %s has credential %s %q, want %s with %s %q", c.Method, c.Path, c.Credential.Kind, c.Credential.ID, e.Method, is.Credential.Kind, is.Credential.ID)
		case e.Cut && !c.Quality.Certain():
		case int(c.Status) != e.Status || !c.Quality.Certain():
			t.Errorf("%s %s has %d, %s; want %d, complete", c.Method, c.Path, c.Status, c.Quality, e.Status)
		case e.GRPC >= 0 && (c.Operation != e.Path || c.Decision != decide.GRPC(e.GRPC)):
			t.Errorf("%s has operation %q and decision %s, want %s", c.Path, c.Operation, c.Decision, decide.GRPC(e.GRPC))
		}
	}
	for path, e := range l.entries {
		if !seen[path] {
			t.Errorf("%s %s %d was not found", e.Method, path, e.Status)
		}
	}
	if t.Failed() {
		t.Logf("%+v", stats)
	}
}

// tally counts the log by the first segment of its paths, for the test's own log.
func (l *ledger) tally() map[string]int {
	n := map[string]int{}
	for path := range l.entries {
		kind, _, _ := strings.Cut(path[1:], "/")
		n[kind]++
	}
	return n
}
