//go:build linux

package live

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

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
	socket := New(Config{Interface: "lo", Filter: "tcp", RingBytes: 64 << 20})
	if err := socket.Open(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	sink := &kept{skipped: map[string]uint64{}}
	watch := pcap.New(pcap.Config{Key: key}).Watch(socket, collector.Input{Name: "lo"}, sink)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- watch.Run(ctx) }()
	var l ledger
	traffic(&l)
	// Calls of connections that stay open are out a second later.
	for range 60 {
		if sink.len() >= l.len() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(l.twice) > 0 {
		t.Fatalf("the test asked twice for %v", l.twice)
	}
	stats := watch.Stats()
	if lost := stats.Dropped[LostInKernel]; lost > 0 {
		t.Fatalf("%d packets lost: the ring is too small for this machine", lost)
	}
	return &l, sink.calls, stats
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
