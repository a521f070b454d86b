package pcap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/gopacket/layers"
)

// HTTP/3 is encrypted, but the hello of its client is not kept secret: the keys of the
// first packets come from what stands in their heads (RFC 9001 §5.2). So connections of
// QUIC are counted by the server's name, as those of TLS are, and lower what may be said
// of its silence.

// quicVersion is what a version (RFC 9000, RFC 9369) makes keys of.
type quicVersion struct {
	salt    []byte
	label   string
	initial byte // the type of the first packets
}

var quicVersions = map[uint32]*quicVersion{
	1:          {[]byte("\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"), "quic ", 0},
	0x6b3343cf: {[]byte("\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"), "quicv2 ", 1},
}

// quicKeys open the first packets of a client.
type quicKeys struct {
	aead cipher.AEAD
	iv   []byte
	mask cipher.Block // of the heads
}

// keysOf makes the client's keys from the connection id that it made up for the server.
func (v *quicVersion) keysOf(destination []byte) (k quicKeys, err error) {
	suite := tlsSuite{keyBytes: 16, hash: sha256.New}
	first, err := hkdf.Extract(sha256.New, destination, v.salt)
	if err != nil {
		return k, err
	}
	secret, err := expandLabel(suite, first, "client in", 32)
	if err != nil {
		return k, err
	}
	var parts [3][]byte
	for i, part := range [...]struct {
		label string
		n     int
	}{{"key", 16}, {"iv", 12}, {"hp", 16}} {
		if parts[i], err = expandLabel(suite, secret, v.label+part.label, part.n); err != nil {
			return k, err
		}
	}
	if k.aead, err = newAEAD(suite, parts[0]); err != nil {
		return k, err
	}
	k.iv = parts[1]
	k.mask, err = aes.NewCipher(parts[2])
	return k, err
}

// quicPacket is one of the first packets, as far as it can be read without keys.
type quicPacket struct {
	version     *quicVersion
	destination []byte
	initial     bool
	// whole is the packet, of which head bytes come before its number.
	whole []byte
	head  int
}

// nextQUIC reads the packet at b's beginning and returns what follows it in the same
// datagram. ok is false where none with a long head begins.
func nextQUIC(b []byte) (p quicPacket, rest []byte, ok bool) {
	if !isQUIC(b) {
		return p, nil, false
	}
	p.version = quicVersions[binary.BigEndian.Uint32(b[1:])]
	kind := b[0] >> 4 & 3
	p.initial = kind == p.version.initial
	at := 5
	for i := range 2 { // the ids of destination and source
		if at >= len(b) || b[at] > 20 || at+1+int(b[at]) > len(b) {
			return p, nil, false
		}
		n := int(b[at])
		if at++; i == 0 {
			p.destination = b[at : at+n]
		}
		at += n
	}
	if kind == (p.version.initial+3)&3 {
		return p, nil, false // a retry, which has no length
	}
	numbers := 1
	if p.initial {
		numbers = 2 // the token's length as well
	}
	length := uint64(0)
	for i := range numbers {
		n, size := quicNumber(b[at:])
		if at += size; size == 0 || n > uint64(len(b)-at) {
			return p, nil, false
		}
		if length = n; i+1 < numbers {
			at += int(n)
		}
	}
	end := at + int(length)
	p.whole, p.head = b[:end], at
	return p, b[end:], true
}

// quicNumber reads a number of variable length (RFC 9000 §16); size is 0 where it is cut.
func quicNumber(b []byte) (n uint64, size int) {
	if len(b) == 0 {
		return 0, 0
	}
	size = 1 << (b[0] >> 6)
	if len(b) < size {
		return 0, 0
	}
	n = uint64(b[0] & 0x3f)
	for _, c := range b[1:size] {
		n = n<<8 | uint64(c)
	}
	return n, size
}

// open returns the frames in a packet, or nil where the keys are not its.
func (k *quicKeys) open(p *quicPacket) []byte {
	if len(p.whole) < p.head+4+16 {
		return nil
	}
	var mask [16]byte
	k.mask.Encrypt(mask[:], p.whole[p.head+4:p.head+20])
	first := p.whole[0] ^ mask[0]&0x0f
	size := int(first&3) + 1
	// The number is as small as it looks: these are the first.
	number := uint64(0)
	head := append(make([]byte, 0, 128), p.whole[:p.head+size]...)
	head[0] = first
	for i := range size {
		head[p.head+i] ^= mask[1+i]
		number = number<<8 | uint64(head[p.head+i])
	}
	var nonce [12]byte
	copy(nonce[:], k.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(number >> (56 - 8*i))
	}
	plain, err := k.aead.Open(nil, nonce[:], p.whole[p.head+size:], head)
	if err != nil {
		return nil
	}
	return plain
}

// quicFlow is a direction of datagrams.
type quicFlow struct {
	src, dst endpoint
	tunnel   uint32
}

// quicHello is a client's hello that is being put together.
type quicHello struct {
	keys quicKeys
	// data is the hello, have says which of its bytes are there.
	data []byte
	have []bool
	done bool
	seen int64 // nanoseconds
}

// quicReader counts the connections of QUIC by the name of the server.
type quicReader struct {
	stats *Stats
	flows map[quicFlow]*quicHello
	// order are the flows by their making, oldest first, and open of how many the
	// hello is not whole.
	order []quicFlow
	open  int
	// tries is how many keys were made in the second of the packets that began at since.
	tries int
	since int64
}

const (
	// maxQUIC bounds the flows that are remembered, maxQUICOpen those among them
	// whose hello is kept.
	maxQUIC, maxQUICOpen = 4096, 256
	// maxQUICTries bounds the keys that are made in a second: each costs some
	// microseconds, which a flood of first packets may not make a burden.
	maxQUICTries = 5000
	// quicAgain is how long a flow must be quiet until its first packets are those of
	// another connection: the usual longest idle time.
	quicAgain = 60e9
)

// datagram reads one that begins as QUIC does.
func (q *quicReader) datagram(flow quicFlow, b []byte, nanos int64) {
	for len(b) > 0 {
		p, rest, ok := nextQUIC(b)
		if !ok {
			return
		}
		if p.initial {
			q.packet(flow, &p, nanos)
		}
		b = rest
	}
}

// packet reads one of the first packets.
func (q *quicReader) packet(flow quicFlow, p *quicPacket, nanos int64) {
	h := q.flows[flow]
	if h != nil && h.done && nanos-h.seen < quicAgain {
		h.seen = nanos
		return
	}
	var frames []byte
	if h != nil && !h.done {
		frames = h.keys.open(p)
	}
	if frames == nil {
		if q.flows[quicFlow{flow.dst, flow.src, flow.tunnel}] != nil {
			return // the server's, whose keys are others
		}
		if nanos-q.since >= 1e9 {
			q.tries, q.since = 0, nanos
		}
		if q.tries++; q.tries > maxQUICTries {
			q.stats.drop(dropQUIC)
			return
		}
		keys, err := p.version.keysOf(p.destination)
		if err != nil {
			return
		}
		if frames = keys.open(p); frames == nil {
			return
		}
		if h == nil || h.done {
			h = q.begin(flow, h)
		}
		h.keys = keys
	}
	h.seen = nanos
	h.take(frames)
	if h.whole() {
		q.count(h)
	}
}

// begin makes room for a hello, in place of an old one of the same flow.
func (q *quicReader) begin(flow quicFlow, old *quicHello) *quicHello {
	if q.flows == nil {
		q.flows = map[quicFlow]*quicHello{}
	}
	if q.open++; old != nil {
		*old = quicHello{}
		return old
	}
	for len(q.order) >= maxQUIC || q.open > maxQUICOpen {
		oldest := q.flows[q.order[0]]
		q.count(oldest)
		delete(q.flows, q.order[0])
		q.order = q.order[1:]
	}
	h := &quicHello{}
	q.flows[flow] = h
	q.order = append(q.order, flow)
	return h
}

// count counts a connection, and forgets its hello.
func (q *quicReader) count(h *quicHello) {
	if !h.done {
		q.stats.countServer(serverName(h.begun()))
		q.open--
		*h = quicHello{done: true, seen: h.seen}
	}
}

// flush counts those whose hello did not come whole.
func (q *quicReader) flush() {
	for _, flow := range q.order {
		q.count(q.flows[flow])
	}
}

// take takes the parts of the hello that stand in frames (RFC 9000 §19).
func (h *quicHello) take(b []byte) {
	number := func() uint64 {
		n, size := quicNumber(b)
		if size == 0 {
			b = nil
		}
		b = b[size:]
		return n
	}
	for len(b) > 0 {
		switch kind := number(); kind {
		case 0, 1: // padding, ping
		case 2, 3:
			// What was received: the largest, a delay, ranges, and marks of congestion.
			number()
			number()
			for more := 1 + 2*min(number(), 1<<16) + 3*(kind-2); more > 0 && len(b) > 0; more-- {
				number()
			}
		case 6:
			at, n := number(), number()
			if n > uint64(len(b)) || at > maxHello || at+n > maxHello {
				return
			}
			h.put(int(at), b[:n])
			b = b[n:]
		default:
			return
		}
	}
}

func (h *quicHello) put(at int, b []byte) {
	if end := at + len(b); end > len(h.data) {
		h.data = append(h.data, make([]byte, end-len(h.data))...)
		h.have = append(h.have, make([]bool, end-len(h.have))...)
	}
	for i, c := range b {
		if !h.have[at+i] {
			h.data[at+i], h.have[at+i] = c, true
		}
	}
}

// begun is the beginning of the hello, up to what is not there.
func (h *quicHello) begun() []byte {
	for i, here := range h.have {
		if !here {
			return h.data[:i]
		}
	}
	return h.data
}

func (h *quicHello) whole() bool {
	b := h.begun()
	return len(b) >= 4 && len(b) >= 4+(int(b[1])<<16|int(b[2])<<8|int(b[3]))
}

// datagram returns the UDP datagram that the last record held.
func (d *decoder) datagram() (flow quicFlow, payload []byte) {
	for _, layer := range d.found {
		switch layer {
		case layers.LayerTypeIPv4:
			flow.src, flow.dst = mapped(d.ip4.SrcIP), mapped(d.ip4.DstIP)
		case layers.LayerTypeIPv6:
			flow.src, flow.dst = endpoint{}, endpoint{}
			copy(flow.src[:16], d.ip6.SrcIP)
			copy(flow.dst[:16], d.ip6.DstIP)
		}
	}
	binary.BigEndian.PutUint16(flow.src[16:], uint16(d.udp.SrcPort))
	binary.BigEndian.PutUint16(flow.dst[16:], uint16(d.udp.DstPort))
	flow.tunnel = d.parts.tunnel
	return flow, d.udp.Payload
}
