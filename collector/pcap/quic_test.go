package pcap

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/net/quic"
)

// greeted has a program of Go begin a connection of QUIC, and returns its first
// datagrams, to which nobody answers.
func greeted(t testing.TB, name string) [][]byte {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	endpoint, err := quic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer func() { cancel(); _ = endpoint.Close(ctx) }()
	go func() {
		_, _ = endpoint.Dial(ctx, "udp", socket.LocalAddr().String(), &quic.Config{TLSConfig: &tls.Config{ServerName: name, MinVersion: tls.VersionTLS13, NextProtos: []string{"h3"}}})
	}()
	var all [][]byte
	b := make([]byte, 2000)
	_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, _, err := socket.ReadFrom(b)
		if err != nil {
			return all
		}
		all = append(all, bytes.Clone(b[:n]))
		_ = socket.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	}
}

// datagrams are packets from one port to 443, a second apart.
func datagrams(port uint16, payloads ...[]byte) (frames []frame) {
	for i, payload := range payloads {
		ip := udp(443, payload)
		binary.BigEndian.PutUint16(ip[20:], port)
		frames = append(frames, frame{int64(1_700_000_000e9) + int64(i)*1e9, append(append(make([]byte, 12), 8, 0), ip...)})
	}
	return frames
}

// TestQUICNamesItsServer reads the hellos of another implementation: whole, again,
// behind each other, in other order, and with a part lost.
func TestQUICNamesItsServer(t *testing.T) {
	first := greeted(t, "one.example")
	second := greeted(t, "two.example")
	if len(first) == 0 || len(second) == 0 {
		t.Fatal("nothing was sent")
	}
	t.Logf("%d and %d datagrams", len(first), len(second))
	reversed := [][]byte{}
	for i := len(first) - 1; i >= 0; i-- {
		reversed = append(reversed, first[i])
	}
	later := datagrams(1, second...)
	for i := range later {
		later[i].nanos += 100e9
	}
	for _, c := range []struct {
		name   string
		frames []frame
		want   map[string]uint64
	}{
		{"whole", datagrams(1, first...), map[string]uint64{"one.example": 1}},
		{"twice", datagrams(1, append(first, first...)...), map[string]uint64{"one.example": 1}},
		{"in other order", datagrams(1, reversed...), map[string]uint64{"one.example": 1}},
		{"two at a time", mix(rand.New(rand.NewPCG(1, 1)), [][]frame{datagrams(1, first...), datagrams(2, second...)}), map[string]uint64{"one.example": 1, "two.example": 1}},
		{"one behind the other", append(datagrams(1, first...), later...), map[string]uint64{"one.example": 1, "two.example": 1}},
		{"damaged", datagrams(1, append(bytes.Clone(first[0][:len(first[0])-1]), first[0][len(first[0])-1]^1)), map[string]uint64{}},
		{"cut", datagrams(1, first[0][:1000]), map[string]uint64{}},
	} {
		_, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, c.frames)))
		if fmt.Sprint(stats.TLSServers) != fmt.Sprint(c.want) || stats.Skipped[reasonQUIC] == 0 {
			t.Errorf("%s: %v, want %v; skipped %v", c.name, stats.TLSServers, c.want, stats.Skipped)
		}
	}
}

// sealed makes a client's first packet of frames.
func sealed(t testing.TB, version uint32, destination []byte, number byte, frames []byte) []byte {
	t.Helper()
	v := quicVersions[version]
	k, err := v.keysOf(destination)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.BigEndian.AppendUint32([]byte{0xc0 | v.initial<<4}, version)
	head = append(append(head, byte(len(destination))), destination...)
	head = append(head, 0, 0) // no source, no token
	head = binary.BigEndian.AppendUint16(head, 0x4000|uint16(1+len(frames)+16))
	at := len(head)
	head = append(head, number)
	nonce := bytes.Clone(k.iv)
	nonce[11] ^= number
	packet := k.aead.Seal(bytes.Clone(head), nonce, frames, head)
	var mask [16]byte
	k.mask.Encrypt(mask[:], packet[at+4:at+20])
	packet[0] ^= mask[0] & 0x0f
	packet[at] ^= mask[1]
	return packet
}

// helloFor is the hello of a client that asks for a name.
func helloFor(name string) []byte {
	list := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
	extension := append([]byte{0, 0, 0, byte(len(list) + 2), 0, byte(len(list))}, list...)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 1, 1, 0, 0, byte(len(extension)))
	body = append(body, extension...)
	return append([]byte{messageClientHello, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// TestQUICInPieces scrambles a hello over frames and packets as browsers do, in both
// versions.
func TestQUICInPieces(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 9))
		version := [...]uint32{1, 0x6b3343cf}[rng.IntN(2)]
		destination := []byte{1, 2, 3, 4, 5, 6, 7, byte(seed)}
		hello := helloFor("scrambled.example")
		var parts [][]byte
		for at := 0; at < len(hello); {
			n := 1 + rng.IntN(len(hello)-at)
			parts = append(parts, append([]byte{6, 0x40, byte(at), byte(n)}, hello[at:at+n]...))
			if n > 63 {
				parts[len(parts)-1] = append([]byte{6, 0x40, byte(at), 0x40, byte(n)}, hello[at:at+n]...)
			}
			at += n
		}
		rng.Shuffle(len(parts), func(i, k int) { parts[i], parts[k] = parts[k], parts[i] })
		packets := make([][]byte, 1+rng.IntN(3))
		for i, part := range parts {
			frames := append(bytes.Repeat([]byte{0}, rng.IntN(5)), 1)
			packets[i%len(packets)] = append(append(packets[i%len(packets)], frames...), part...)
		}
		var datagram []byte
		var all [][]byte
		for i, frames := range packets {
			frames = append(frames, 2, 0, 0, 0, 0) // an acknowledgement
			packet := sealed(t, version, destination, byte(i), append(frames, make([]byte, 40)...))
			if rng.IntN(2) == 0 {
				datagram = append(datagram, packet...)
				continue
			}
			all = append(all, packet)
		}
		all = append(all, append(datagram, 0x40, 1, 2, 3)) // a packet with a short head behind it
		_, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, datagrams(7, all...))))
		if stats.TLSServers["scrambled.example"] != 1 || len(stats.TLSServers) != 1 {
			t.Fatalf("seed %d: %v", seed, stats.TLSServers)
		}
	}
	// A part of it never comes: the connection is counted, its name is not known.
	part := sealed(t, 1, []byte("12345678"), 0, append([]byte{6, 20, 30}, make([]byte, 60)...))
	if _, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, datagrams(7, part)))); stats.TLSServers[""] != 1 {
		t.Errorf("%v", stats.TLSServers)
	}
}

// TestQUICKeys compares with the keys in RFC 9001, appendix A, and RFC 9369, appendix A.
func TestQUICKeys(t *testing.T) {
	for version, want := range map[uint32][3]string{
		1:          {"1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
		0x6b3343cf: {"8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
	} {
		bytesOf := func(text string) []byte { b, _ := hex.DecodeString(text); return b }
		k, err := quicVersions[version].keysOf(bytesOf("8394c8f03e515708"))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := aes.NewCipher(bytesOf(want[0]))
		other, _ := cipher.NewGCM(key)
		mask, _ := aes.NewCipher(bytesOf(want[2]))
		nonce := make([]byte, 12)
		if !bytes.Equal(k.iv, bytesOf(want[1])) || !bytes.Equal(k.aead.Seal(nil, nonce, nil, nil), other.Seal(nil, nonce, nil, nil)) || !sameBlock(k.mask, mask) {
			t.Errorf("version %#x: other keys", version)
		}
	}
}

func sameBlock(a, b cipher.Block) bool {
	var in, x, y [16]byte
	a.Encrypt(x[:], in[:])
	b.Encrypt(y[:], in[:])
	return x == y
}

// TestQUICFlood begins more connections than are remembered: each is counted, and
// memory stays within the bound.
func TestQUICFlood(t *testing.T) {
	var q quicReader
	q.stats = newStats()
	const flood = maxQUIC + 3000
	half := append([]byte{6, 0, 30}, helloFor("flood.example")[:30]...)
	for i := range flood {
		flow := quicFlow{src: addr4(1, uint16(i)), dst: addr4(2, 443), tunnel: uint32(i >> 16)}
		q.datagram(flow, sealed(t, 1, binary.BigEndian.AppendUint64(nil, uint64(i)), 0, append(half, make([]byte, 30)...)), int64(i)*1e6)
		if q.open > maxQUICOpen || len(q.flows) > maxQUIC || len(q.order) != len(q.flows) {
			t.Fatalf("%d open, %d flows, %d in order", q.open, len(q.flows), len(q.order))
		}
	}
	for i := range maxQUICTries + 10 {
		q.datagram(quicFlow{src: addr4(3, uint16(i)), dst: addr4(2, 443)}, []byte("\xc0\x00\x00\x00\x01\x08abcdefgh\x00\x00\x40\x20"+string(make([]byte, 0x20))), 1e12)
	}
	if q.stats.Dropped[dropQUIC] != 10 {
		t.Errorf("%d were not tried, want 10", q.stats.Dropped[dropQUIC])
	}
	q.flush()
	if q.open != 0 || q.stats.TLSServers[""] != flood {
		t.Errorf("%d open, counted %v, want %d", q.open, q.stats.TLSServers, flood)
	}
}

// FuzzQUIC reads anything as a datagram, and as the frames of a packet that opens.
func FuzzQUIC(f *testing.F) {
	f.Add(sealed(f, 1, []byte("12345678"), 0, append([]byte{6, 0, 20}, helloFor("a.example")[:20]...)), []byte{6, 0, 1, 1, 2, 0, 0, 1, 0, 0, 0})
	f.Add([]byte("\xc0\x00\x00\x00\x01\x00\x00\x00\x40\x19"), []byte{3, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, datagram, frames []byte) {
		if len(datagram)+len(frames) > 4000 {
			return
		}
		q := quicReader{stats: newStats()}
		q.datagram(quicFlow{src: addr4(1, 1), dst: addr4(2, 443)}, datagram, 1)
		q.datagram(quicFlow{src: addr4(1, 2), dst: addr4(2, 443)}, sealed(t, 1, []byte("12345678"), 0, append(bytes.Clone(frames), make([]byte, 20)...)), 2)
		q.flush()
		if total := q.stats.TLSServers; q.open != 0 || len(total) > 2 {
			t.Errorf("%d open, %v", q.open, total)
		}
	})
}
