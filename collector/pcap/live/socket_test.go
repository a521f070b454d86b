//go:build linux

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/schema"
)

// apart runs the named test again in a network namespace of its own, where a
// process without rights may capture. It reports whether this is that run.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv("SCOPEDRIFT_APART") == t.Name() {
		raise(t, "lo")
		return true
	}
	// The test's own program, on itself.
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "SCOPEDRIFT_APART="+t.Name())
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	var ended *exec.ExitError
	switch {
	case err == nil && !strings.Contains(string(out), "--- SKIP"):
		t.Logf("%s", out)
	case err == nil:
		t.Skipf("%s", out)
	case errors.As(err, &ended):
		t.Errorf("%s", out)
	default:
		t.Skipf("the kernel forbids a network namespace of its own: %v", err)
	}
	return false
}

// kept is a sink that keeps everything.
type kept struct {
	mu      sync.Mutex
	calls   []schema.Call
	skipped map[string]uint64
}

func (k *kept) Put(_ context.Context, b *collector.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, b.Calls...)
	for reason, n := range b.Skipped {
		k.skipped[reason] += n
	}
	return nil
}

func (k *kept) len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.calls)
}

// serve answers on both versions of HTTP, and returns where.
func serve(t *testing.T, change func(*http.Server)) string {
	t.Helper()
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/", &status)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, strings.Repeat("x", 2000))
	}), change)
}

// TestLiveCallsOnTheWire makes calls over the loopback of a namespace: what was
// called comes out, no more and no less.
func TestLiveCallsOnTheWire(t *testing.T) {
	if !apart(t) {
		return
	}
	address := serve(t, nil)
	_, port, _ := net.SplitHostPort(address)
	sink := &kept{skipped: map[string]uint64{}}
	c := open(t, Config{Interface: "lo", Filter: "tcp port " + port, RingBytes: 32 << 20}, sink, nil)

	const workers, each = 8, 300
	begin := time.Now()
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			transport := &http.Transport{}
			if worker%2 == 1 {
				transport.Protocols = new(http.Protocols)
				transport.Protocols.SetUnencryptedHTTP2(true)
			}
			client := &http.Client{Transport: transport}
			for i := range each {
				req, err := http.NewRequest("POST", fmt.Sprintf("http://%s/%d/%d-%d", address, 200+(worker*each+i)%200, worker, i), strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer fake-"+fmt.Sprint(worker))
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			transport.CloseIdleConnections()
		})
	}
	group.Wait()
	took := time.Since(begin)
	until(func() bool { return sink.len() >= workers*each })
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range sink.calls {
		c := &sink.calls[i]
		var status uint16
		_, _ = fmt.Sscanf(c.Path, "/%d/", &status)
		if seen[c.Path] || status != c.Status || !c.Quality.Certain() || c.Credential.ID == "" {
			t.Errorf("%s %s has %d, %s, credential %q", c.Method, c.Path, c.Status, c.Quality, c.Credential.ID)
		}
		seen[c.Path] = true
	}
	stats := c.watch.Stats()
	if len(seen) != workers*each || len(sink.calls) != workers*each {
		t.Errorf("%d calls, want %d; %+v", len(sink.calls), workers*each, stats)
	}
	if stats.Dropped[LostInKernel] != 0 {
		t.Errorf("%d packets dropped", stats.Dropped[LostInKernel])
	}
	t.Logf("%d calls in %d packets in %v, all of them found", len(seen), stats.Packets, took)
}

// TestLiveUnderLoad calls as fast as the machine can: every call made is found, and
// the log says what that cost. SCOPEDRIFT_LIVE_SECONDS makes it longer than one.
func TestLiveUnderLoad(t *testing.T) {
	if !apart(t) {
		return
	}
	seconds, err := strconv.Atoi(os.Getenv("SCOPEDRIFT_LIVE_SECONDS"))
	if err != nil {
		seconds = 1
	}
	address := serve(t, nil)
	_, port, _ := net.SplitHostPort(address)
	var found atomic.Int64
	c := open(t, Config{Interface: "lo", Filter: "tcp port " + port}, count{&found}, nil)
	var made atomic.Int64
	var group sync.WaitGroup
	begin := time.Now()
	for range 16 {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for time.Since(begin) < time.Duration(seconds)*time.Second {
				resp, err := client.Get("http://" + address + "/200/x")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				made.Add(1)
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	until(func() bool { return found.Load() >= made.Load() || c.watch.Stats().Dropped[LostInKernel] > 0 })
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	stats := c.watch.Stats()
	if dropped := stats.Dropped[LostInKernel]; found.Load() != made.Load() && dropped == 0 {
		t.Errorf("%d calls found of %d, and nothing was dropped: %+v", found.Load(), made.Load(), stats)
	}
	t.Logf("%d calls, %d found, %d packets, %d dropped in %v: %.2f s of one core",
		made.Load(), found.Load(), stats.Packets, stats.Dropped[LostInKernel], took.Round(time.Millisecond), float64(c.cpu.Load())/1e9)
}

// count is a sink that counts.
type count struct{ calls *atomic.Int64 }

func (c count) Put(_ context.Context, b *collector.Batch) error {
	c.calls.Add(int64(len(b.Calls)))
	return nil
}

// TestLiveDropsAreReported fills a small ring that nobody empties: what the
// kernel dropped is what is missing.
func TestLiveDropsAreReported(t *testing.T) {
	if !apart(t) {
		return
	}
	socket := New(Config{Interface: "lo", Filter: "udp", RingBytes: 2 << 20})
	if err := socket.Open(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	conn, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for range 6000 {
		if _, err := conn.Write(make([]byte, 1000)); err == nil {
			sent++
		}
		// The port answers that nobody listens: that error costs no packet.
	}
	errQuiet := errors.New("quiet")
	got := 0
	var p pcap.Packet
	for {
		if err := socket.Next(context.Background(), &p, func() error { return errQuiet }); err != nil {
			if !errors.Is(err, errQuiet) {
				t.Fatal(err)
			}
			break
		}
		got++
	}
	lost := socket.Lost()[LostInKernel]
	packets, drops, freezes := socket.Totals()
	t.Logf("%d sent, %d read, %d lost; the kernel counts %d and %d, and %d freezes", sent, got, lost, packets, drops, freezes)
	if lost == 0 || uint64(got)+lost != packets || lost != drops || packets < uint64(sent) {
		t.Errorf("%d read and %d lost of %d", got, lost, packets)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Interface: "no-such-if"}, "no such interface"},
		{Config{Interface: "lo", Filter: "vlan 3"}, ""},
	} {
		err := New(c.cfg).Open()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}
