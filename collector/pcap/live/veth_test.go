//go:build linux

package live

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/scopedrift/scopedrift/collector/pcap"
	"golang.org/x/sys/unix"
)

// attribute encodes a netlink attribute.
func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// veth makes a pair of interfaces, which takes the right to; in a namespace of
// its own, a test has it.
func veth(t *testing.T, a, b string) {
	t.Helper()
	const infoPeer = 1 // VETH_INFO_PEER of linux/veth.h
	peer := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, append([]byte(b), 0))...)
	info := append(attribute(unix.IFLA_INFO_KIND, []byte("veth")), attribute(unix.IFLA_INFO_DATA, attribute(infoPeer, peer))...)
	body := make([]byte, unix.SizeofIfInfomsg)
	body = append(body, attribute(unix.IFLA_IFNAME, append([]byte(a), 0))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, info)...)
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, unix.RTM_NEWLINK)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m = append(m, make([]byte, 8)...) // sequence number and port: the kernel's answer is the only one
	m = append(m, body...)

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		t.Fatalf("%d bytes from netlink: %v", n, err)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		t.Skipf("the kernel makes no pair of interfaces here: %v", unix.Errno(-code))
	}
	for _, name := range []string{a, b} {
		// What the loopback sends in one piece must pass.
		setMTU(t, name, 65000)
		raise(t, name)
	}
}

// raise brings an interface up.
func raise(t *testing.T, name string) {
	t.Helper()
	ifreq(t, name, func(fd int, req *unix.Ifreq) error {
		req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	})
}

func setMTU(t *testing.T, name string, bytes uint32) {
	t.Helper()
	ifreq(t, name, func(fd int, req *unix.Ifreq) error {
		req.SetUint32(bytes)
		return unix.IoctlIfreq(fd, unix.SIOCSIFMTU, req)
	})
}

func ifreq(t *testing.T, name string, do func(int, *unix.Ifreq) error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(fd, req); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// recorded makes calls over the loopback and returns their packets, each connection
// with its end.
func recorded(t *testing.T, connections, each int) (frames [][]byte) {
	t.Helper()
	// Packets as they are on a wire, not as long as loopback allows.
	setMTU(t, "lo", 1500)
	var closed atomic.Int64
	address := serve(t, func(s *http.Server) {
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed.Add(1)
			}
		}
	})
	last := serve(t, nil)
	sink, record := &kept{skipped: map[string]uint64{}}, &recording{}
	c := open(t, Config{Interface: "lo", Filter: "tcp", RingBytes: 32 << 20}, sink, func(s pcap.Source) pcap.Source {
		record.Source = s
		return record
	})
	for range connections {
		transport := &http.Transport{}
		for i := range each {
			get(t, transport, fmt.Sprintf("http://%s/%d/x", address, 200+i%100), i)
		}
		transport.CloseIdleConnections()
	}
	// What comes once all is over says that the reader has seen it.
	until(func() bool { return closed.Load() >= int64(connections) })
	transport := &http.Transport{}
	get(t, transport, "http://"+last+"/200/last", 0)
	transport.CloseIdleConnections()
	if !until(func() bool { return sink.len() > connections*each }) {
		t.Fatalf("%d calls were recorded of %d, and %d connections ended of %d", sink.len(), connections*each, closed.Load(), connections)
	}
	_ = c.end()
	if lost := c.watch.Stats().Dropped[LostInKernel]; lost > 0 {
		t.Fatalf("the recording lost %d packets", lost)
	}
	_, text, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(text)
	port := binary.BigEndian.AppendUint16(nil, uint16(number))
	const ports = 14 + 20 // behind Ethernet and IPv4
	for _, p := range record.packets {
		if !bytes.Equal(p.Data[ports:ports+2], port) && !bytes.Equal(p.Data[ports+2:ports+4], port) {
			continue
		}
		// Loopback shows a packet when it leaves, and again when it arrives.
		if len(frames) == 0 || !bytes.Equal(frames[len(frames)-1], p.Data) {
			frames = append(frames, p.Data)
		}
	}
	return frames
}

// get makes a call of one of many callers.
func get(t *testing.T, transport *http.Transport, url string, caller int) {
	t.Helper()
	req, _ := http.NewRequest("GET", url, nil)
	req.Header.Set("Authorization", "Bearer fake-"+strconv.Itoa(caller))
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// TestLiveOnAPair sends recorded calls over a pair of interfaces at a steady
// rate: calls on the wire are calls out, and what the kernel dropped is
// reported. SCOPEDRIFT_LIVE_SECONDS and SCOPEDRIFT_LIVE_RATE (packets a second,
// 20,000) make it longer and harder; the log says what it cost.
func TestLiveOnAPair(t *testing.T) {
	if !apart(t) {
		return
	}
	number := func(name string, usual int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return usual
	}
	rate, seconds := number("SCOPEDRIFT_LIVE_RATE", 20_000), number("SCOPEDRIFT_LIVE_SECONDS", 1)
	const connections, each = 50, 40
	frames := recorded(t, connections, each)
	veth(t, "wire0", "wire1")
	var found atomic.Int64
	c := open(t, Config{Interface: "wire1", Filter: "tcp", Promiscuous: true}, count{&found}, nil)

	rounds := max(1, rate*seconds/len(frames))
	took := transmit(t, "wire0", frames, rounds, rate)
	want := int64(rounds * connections * each)
	sent := uint64(rounds * len(frames))
	arrived := func() uint64 { stats := c.watch.Stats(); return stats.Packets + stats.Dropped[LostInKernel] }
	until(func() bool { return arrived() >= sent })
	if err := c.end(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	stats := c.watch.Stats()
	dropped := stats.Dropped[LostInKernel]
	if stats.Packets+dropped != sent {
		t.Errorf("%d packets read and %d dropped of %d sent", stats.Packets, dropped, sent)
	}
	if dropped == 0 && found.Load() != want || found.Load() > want {
		t.Errorf("%d calls out of %d on the wire with %d packets dropped: %+v", found.Load(), want, dropped, stats)
	}
	t.Logf("%d packets in %v (%.0f a second), %d dropped; %d of %d calls; %.2f s of one core, %.1f %%",
		sent, took.Round(time.Millisecond), float64(sent)/took.Seconds(), dropped, found.Load(), want,
		float64(c.cpu.Load())/1e9, float64(c.cpu.Load())/1e7/took.Seconds())
}

// message is struct mmsghdr: a message, and how much of it was sent.
type message struct {
	head unix.Msghdr
	sent uint32
}

// messages makes one of each frame.
func messages(frames [][]byte) []message {
	out, parts := make([]message, len(frames)), make([]unix.Iovec, len(frames))
	for i, f := range frames {
		parts[i].Base = &f[0]
		parts[i].SetLen(len(f))
		out[i].head.Iov = &parts[i]
		out[i].head.SetIovlen(1)
	}
	return out
}

// batch is how many frames are handed to the kernel at a time.
const batch = 64

// transmit sends the frames several times at a rate a second: many with one call of
// the kernel, and past its queues, or the sender would be what is measured.
func transmit(t *testing.T, device string, frames [][]byte, rounds, rate int) time.Duration {
	t.Helper()
	itf, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: itf.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		t.Logf("frames go through the kernel's queues: %v", err)
	}
	all := messages(frames)
	begin, sent := time.Now(), 0
	for range rounds {
		for left := all; len(left) > 0; {
			n, _, code := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&left[0])), uintptr(min(batch, len(left))), 0, 0, 0)
			switch code {
			case 0:
			case unix.ENOBUFS, unix.EAGAIN:
				time.Sleep(time.Millisecond)
				continue
			case unix.EINTR:
				continue
			default:
				t.Fatalf("send on %s: %v", device, code)
			}
			left = left[n:]
			// A timer is too coarse for each packet of its own.
			sent += int(n)
			if ahead := time.Duration(sent)*time.Second/time.Duration(rate) - time.Since(begin); ahead > time.Millisecond {
				time.Sleep(ahead)
			}
		}
	}
	return time.Since(begin)
}
