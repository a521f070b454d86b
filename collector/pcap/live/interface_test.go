//go:build linux

package live

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"golang.org/x/sys/unix"
)

// lower takes an interface down.
func lower(t *testing.T, name string) {
	t.Helper()
	ifreq(t, name, func(fd int, req *unix.Ifreq) error {
		req.SetUint16(0)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	})
}

// TestLiveInterfaceGoesDown takes an interface down and brings it up again: the
// capture goes on, and says what it cannot have seen.
func TestLiveInterfaceGoesDown(t *testing.T) {
	if !apart(t) {
		return
	}
	veth(t, "wire0", "wire1")
	lower(t, "wire1")
	if err := New(Config{Interface: "wire1"}).Open(); err == nil || !strings.Contains(err.Error(), "ip link set wire1 up") {
		t.Errorf("an interface that is down: %v", err)
	}
	raise(t, "wire1")
	sink := &kept{skipped: map[string]uint64{}}
	c := open(t, Config{Interface: "wire1", Promiscuous: true}, sink, nil)
	seen := func(want uint64) {
		t.Helper()
		begin := time.Now()
		until(func() bool { return c.watch.Stats().Packets >= want || time.Since(begin) > 20*time.Second })
		if n := c.watch.Stats().Packets; n < want {
			t.Errorf("%d packets were seen, want %d", n, want)
		}
	}
	one := [][]byte{append(make([]byte, 12), append([]byte{0x88, 0xb5}, make([]byte, 60)...)...)} // an experiment, to nobody
	transmit(t, "wire0", one, 5, 1000)
	seen(5)
	lower(t, "wire1")
	time.Sleep(200 * time.Millisecond)
	raise(t, "wire1")
	for range 3 {
		before := c.watch.Stats().Packets
		transmit(t, "wire0", one, 5, 1000)
		if before >= 5 {
			seen(before + 5)
		}
	}
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("the capture ended: %v", err)
	}
	if sink.skipped[schema.Lost+LostWhileDown] != 1 {
		t.Errorf("skipped %v", sink.skipped)
	}
}

// TestLiveFewPackets lets a packet pass every now and then: a call that was finished
// does not wait for many of them.
func TestLiveFewPackets(t *testing.T) {
	if !apart(t) {
		return
	}
	address := serve(t, nil)
	sink := &kept{skipped: map[string]uint64{}}
	open(t, Config{Interface: "lo", RingBytes: 8 << 20}, sink, nil)
	resp, err := http.Get("http://" + address + "/200/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	conn, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	packets := 0
	for ; packets < 150 && sink.len() == 0; packets++ {
		_, _ = conn.Write([]byte("x"))
		time.Sleep(100 * time.Millisecond)
	}
	if sink.len() != 1 {
		t.Errorf("%d calls came after %d packets more", sink.len(), packets)
	}
}
