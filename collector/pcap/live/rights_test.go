//go:build linux

package live

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSharedInterface captures with several sockets, and without the right to
// open another: each call comes out of one of them, once and complete.
func TestSharedInterface(t *testing.T) {
	if !apart(t) {
		return
	}
	address := serve(t, nil)
	_, port, _ := net.SplitHostPort(address)
	const shards, connections, each = 3, 40, 5
	sinks, taps := make([]*kept, shards), make([]*tap, shards)
	for i := range sinks {
		sinks[i] = &kept{skipped: map[string]uint64{}}
		taps[i] = open(t, Config{Interface: "lo", Filter: "tcp port " + port, RingBytes: 8 << 20, Group: 77}, sinks[i], nil)
	}
	if err := DropRights(); errors.Is(err, unix.ENOTSUP) {
		t.Skip(err) // the race detector wants cgo
	} else if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	// Whatever thread asks.
	for range 20 {
		group.Go(func() {
			if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
				_ = unix.Close(fd)
				t.Error("a packet socket could be opened after the right was given up")
			}
		})
	}
	if err := New(Config{Interface: "lo"}).Open(); err == nil || !strings.Contains(err.Error(), "not permitted") {
		t.Errorf("opened another one: %v", err)
	}
	for n := range connections {
		transport := &http.Transport{}
		for i := range each {
			resp, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("http://%s/200/%d-%d", address, n, i))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		transport.CloseIdleConnections()
	}
	total := func() (n int) {
		for _, s := range sinks {
			n += s.len()
		}
		return n
	}
	until(func() bool { return total() >= connections*each })
	for _, c := range taps {
		_ = c.end()
	}
	group.Wait()
	seen, busy := map[string]bool{}, 0
	for _, s := range sinks {
		if len(s.calls) > 0 {
			busy++
		}
		for i := range s.calls {
			if c := &s.calls[i]; seen[c.Path] || !c.Quality.Certain() {
				t.Errorf("%s came twice, or is %s", c.Path, c.Quality)
			}
			seen[s.calls[i].Path] = true
		}
	}
	if len(seen) != connections*each || busy < 2 {
		t.Errorf("%d calls of %d, out of %d sockets", len(seen), connections*each, busy)
	}
}
