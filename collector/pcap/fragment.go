package pcap

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// The bounds of what is kept of fragmented IP datagrams.
const (
	maxDatagrams     = 256
	maxDatagramParts = 128
	// fragmentPatience is how long a datagram waits for its parts, in
	// nanoseconds of the capture's clock (as Linux does; RFC 1122 §3.3.2 says 60 to
	// 120 s, in which the numbers of datagrams come round again).
	fragmentPatience = int64(30e9)
	// fragmentHaste is how far apart the parts may be without proof that they are of one
	// datagram: half of it was lost, and another under the same number comes later.
	fragmentHaste = int64(1e9)
)

// datagramKey is what the parts of a datagram have in common (RFC 791, RFC 8200
// §4.5).
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	version  uint8
	protocol uint8
	tunnel   uint32
	vlan     uint32
}

// fragment is a part. The capture may have cut data off before length.
type fragment struct {
	offset, length int
	data           []byte
}

func (f *fragment) end() int { return f.offset + f.length }

// datagram is a datagram in parts, in order and without overlap.
type datagram struct {
	header []byte // of the first part
	parts  []fragment
	size   int // of the whole payload, 0 while the last part is missing
	// refused says that parts contradict each other.
	refused bool
	// nanos is when the first part came, latest when the last one did.
	nanos, latest int64
	number        uint64 // of arrival, to drop the oldest
}

// defragmenter puts IP datagrams together again. Where parts overlap, systems differ
// about which they take, or take none (RFC 5722): such a datagram is given up. The
// same part again is none the worse.
type defragmenter struct {
	datagrams map[datagramKey]*datagram
	arrivals  uint64
	// tunnel is what the parts are in, 0 if in none.
	tunnel uint32
	// vlan is a number of the VLANs that they are in, 0 if in none.
	vlan uint32
	// incomplete counts the parts of datagrams that never became whole.
	incomplete uint64
}

// add takes a part, of which absent bytes were cut off at its end. It returns the whole
// datagram once it is complete, up to the first byte that was cut off, and how many
// are missing behind that.
func (f *defragmenter) add(header, payload []byte, absent int, nanos int64) (whole []byte, cut int) {
	if len(header) < 20 || len(payload) == 0 {
		f.incomplete++
		return nil, 0
	}
	field := binary.BigEndian.Uint16(header[6:])
	offset, more := int(field&0x1fff)*8, field&0x2000 != 0
	key := datagramKey{id: uint32(binary.BigEndian.Uint16(header[4:])), version: 4, protocol: header[9], tunnel: f.tunnel, vlan: f.vlan}
	copy(key.src[:], header[12:16])
	copy(key.dst[:], header[16:20])
	return f.part(key, header, fragment{offset, len(payload) + absent, payload}, more, nanos)
}

// add6 is add for IPv6: part begins with the fragment header. Other extension
// headers before that are left out of the whole.
func (f *defragmenter) add6(header, part []byte, absent int, nanos int64) (whole []byte, cut int) {
	if len(header) < 40 || len(part) <= 8 {
		f.incomplete++
		return nil, 0
	}
	field := binary.BigEndian.Uint16(part[2:])
	// The protocol is the first part's word alone (RFC 8200 §4.5).
	key := datagramKey{[16]byte(header[8:24]), [16]byte(header[24:40]), binary.BigEndian.Uint32(part[4:]), 6, 0, f.tunnel, f.vlan}
	first := append(slices.Clone(header[:40]), part[0])
	one := fragment{int(field &^ 7), len(part) - 8 + absent, part[8:]}
	if field&^6 == 0 {
		// It is the whole, whatever else bears its number (RFC 6946).
		alone := datagram{header: first, parts: []fragment{one}, size: one.length}
		return alone.join(6)
	}
	return f.part(key, first, one, field&1 != 0, nanos)
}

// part takes a part of a datagram. header is kept of the first one; of IPv6 it
// has the protocol behind it.
func (f *defragmenter) part(key datagramKey, header []byte, p fragment, more bool, nanos int64) (whole []byte, cut int) {
	if p.end() > 65535 || more && p.length%8 != 0 {
		f.incomplete++
		return nil, 0
	}
	d := f.datagrams[key]
	if d != nil && (nanos-d.nanos > fragmentPatience || d.nanos-nanos > fragmentPatience) {
		f.forget(key, d)
		d = nil
	}
	if d == nil {
		d = f.begin(key, nanos)
	}
	if p.offset == 0 && d.header == nil {
		d.header = slices.Clone(header)
	}
	if !more && d.size != 0 && d.size != p.end() {
		d.refuse()
	}
	if !more && d.size == 0 {
		d.size = p.end()
	}
	at, same := slices.BinarySearchFunc(d.parts, p.offset, func(q fragment, o int) int { return q.offset - o })
	if same && d.parts[at].length == p.length && bytes.Equal(d.parts[at].data, p.data) {
		return nil, 0
	}
	if at < len(d.parts) && d.parts[at].offset < p.end() || at > 0 && d.parts[at-1].end() > p.offset {
		d.refuse()
	}
	if d.refused || len(d.parts) >= maxDatagramParts {
		f.incomplete++
		return nil, 0
	}
	p.data = slices.Clone(p.data)
	d.parts, d.latest = slices.Insert(d.parts, at, p), max(d.latest, nanos)
	if !d.complete() {
		return nil, 0
	}
	delete(f.datagrams, key)
	if whole, cut = d.join(key.version); d.latest-d.nanos > fragmentHaste && (cut > 0 || !proven(whole)) {
		f.incomplete += uint64(len(d.parts))
		return nil, 0
	}
	return whole, cut
}

// refuse gives the datagram up, and lets its bytes go. It is remembered, so that
// what still comes of it begins no other.
func (d *datagram) refuse() {
	d.refused = true
	for i := range d.parts {
		d.parts[i].data = nil
	}
}

func (f *defragmenter) begin(key datagramKey, nanos int64) *datagram {
	if f.datagrams == nil {
		f.datagrams = map[datagramKey]*datagram{}
	}
	if len(f.datagrams) >= maxDatagrams {
		var oldest datagramKey
		first := f.arrivals + 1
		for k, d := range f.datagrams {
			if d.number < first {
				oldest, first = k, d.number
			}
		}
		f.forget(oldest, f.datagrams[oldest])
	}
	f.arrivals++
	d := &datagram{nanos: nanos, latest: nanos, number: f.arrivals}
	f.datagrams[key] = d
	return d
}

func (f *defragmenter) forget(key datagramKey, d *datagram) {
	f.incomplete += uint64(len(d.parts))
	delete(f.datagrams, key)
}

// complete reports whether no part is missing.
func (d *datagram) complete() bool {
	if d.header == nil || d.size == 0 || d.refused {
		return false
	}
	next := 0
	for i := range d.parts {
		if d.parts[i].offset != next {
			return false
		}
		next = d.parts[i].end()
	}
	return next == d.size && len(d.header)+d.size <= 65535
}

// join puts the parts together up to the first byte that was cut off. The header says
// how long the whole was.
func (d *datagram) join(version uint8) (whole []byte, cut int) {
	whole = slices.Clone(d.header)
	for _, p := range d.parts {
		if whole = append(whole, p.data...); len(p.data) < p.length {
			break
		}
	}
	cut = len(d.header) + d.size - len(whole)
	if version == 6 {
		whole[6] = whole[40]
		whole = slices.Delete(whole, 40, 41)
		binary.BigEndian.PutUint16(whole[4:], uint16(d.size))
		return whole, cut
	}
	binary.BigEndian.PutUint16(whole[2:], uint16(len(d.header)+d.size))
	binary.BigEndian.PutUint16(whole[6:], 0)
	return whole, cut
}

// proven reports whether an IP packet is TCP whose checksum is right. Parts have it for
// certain, unlike what a host captures of its own: no card makes it for them.
func proven(ip []byte) bool {
	var sum uint32
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	var protocol byte
	var tcp []byte
	if ip[0]>>4 == 4 {
		protocol, tcp = ip[9], ip[min(4*int(ip[0]&15), len(ip)):]
		add(ip[12:20])
	} else {
		protocol, tcp = ip[6], ip[40:]
		add(ip[8:40])
	}
	add(tcp)
	sum += uint32(len(tcp)) + 6
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return protocol == 6 && len(tcp) >= 20 && sum == 0xffff
}

// close counts what is still incomplete.
func (f *defragmenter) close() {
	for key, d := range f.datagrams {
		f.forget(key, d)
	}
}
