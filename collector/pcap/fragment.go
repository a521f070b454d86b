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
	// nanoseconds of the capture's clock (RFC 1122 §3.3.2 says 60 to 120 s).
	fragmentPatience = int64(60e9)
)

// datagramKey is what the parts of a datagram have in common (RFC 791, RFC 8200
// §4.5).
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	version  uint8
	protocol uint8
	tunnel   uint32
}

type fragment struct {
	offset int
	data   []byte
}

// datagram is a datagram in parts, in order and without overlap.
type datagram struct {
	header []byte // of the first part
	parts  []fragment
	size   int // of the whole payload, 0 while the last part is missing
	// refused says that parts contradict each other.
	refused bool
	nanos   int64
	number  uint64 // of arrival, to drop the oldest
}

// defragmenter puts IP datagrams together again. Where parts overlap, systems differ
// about which they take, or take none (RFC 5722): such a datagram is given up. The
// same part again is none the worse.
type defragmenter struct {
	datagrams map[datagramKey]*datagram
	arrivals  uint64
	// tunnel is what the parts are in, 0 if in none.
	tunnel uint32
	// incomplete counts the parts of datagrams that never became whole.
	incomplete uint64
}

// add takes a part and returns the whole datagram once it is complete.
func (f *defragmenter) add(header, payload []byte, nanos int64) []byte {
	if len(header) < 20 || len(payload) == 0 {
		f.incomplete++
		return nil
	}
	field := binary.BigEndian.Uint16(header[6:])
	offset, more := int(field&0x1fff)*8, field&0x2000 != 0
	key := datagramKey{id: uint32(binary.BigEndian.Uint16(header[4:])), version: 4, protocol: header[9], tunnel: f.tunnel}
	copy(key.src[:], header[12:16])
	copy(key.dst[:], header[16:20])
	return f.part(key, header, payload, offset, more, nanos)
}

// add6 is add for IPv6: part begins with the fragment header. Other extension
// headers before that are left out of the whole.
func (f *defragmenter) add6(header, part []byte, nanos int64) []byte {
	if len(header) < 40 || len(part) <= 8 {
		f.incomplete++
		return nil
	}
	field := binary.BigEndian.Uint16(part[2:])
	// The protocol is the first part's word alone (RFC 8200 §4.5).
	key := datagramKey{[16]byte(header[8:24]), [16]byte(header[24:40]), binary.BigEndian.Uint32(part[4:]), 6, 0, f.tunnel}
	first := append(slices.Clone(header[:40]), part[0])
	return f.part(key, first, part[8:], int(field&^7), field&1 != 0, nanos)
}

// part takes a part of a datagram. header is kept of the first one; of IPv6 it
// has the protocol behind it.
func (f *defragmenter) part(key datagramKey, header, payload []byte, offset int, more bool, nanos int64) []byte {
	if offset+len(payload) > 65535 || more && len(payload)%8 != 0 {
		f.incomplete++
		return nil
	}
	d := f.datagrams[key]
	if d != nil && nanos-d.nanos > fragmentPatience {
		f.forget(key, d)
		d = nil
	}
	if d == nil {
		d = f.begin(key, nanos)
	}
	if offset == 0 && d.header == nil {
		d.header = slices.Clone(header)
	}
	if !more && d.size != 0 && d.size != offset+len(payload) {
		d.refuse()
	}
	if !more && d.size == 0 {
		d.size = offset + len(payload)
	}
	at, same := slices.BinarySearchFunc(d.parts, offset, func(p fragment, o int) int { return p.offset - o })
	if same && bytes.Equal(d.parts[at].data, payload) {
		return nil
	}
	if at < len(d.parts) && d.parts[at].offset < offset+len(payload) || at > 0 && d.parts[at-1].offset+len(d.parts[at-1].data) > offset {
		d.refuse()
	}
	if d.refused || len(d.parts) >= maxDatagramParts {
		f.incomplete++
		return nil
	}
	d.parts = slices.Insert(d.parts, at, fragment{offset, slices.Clone(payload)})
	return f.whole(key, d)
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
	d := &datagram{nanos: nanos, number: f.arrivals}
	f.datagrams[key] = d
	return d
}

func (f *defragmenter) forget(key datagramKey, d *datagram) {
	f.incomplete += uint64(len(d.parts))
	delete(f.datagrams, key)
}

// whole returns the datagram if no part is missing.
func (f *defragmenter) whole(key datagramKey, d *datagram) []byte {
	if d.header == nil || d.size == 0 || d.refused {
		return nil
	}
	next := 0
	for _, p := range d.parts {
		if p.offset != next {
			return nil
		}
		next += len(p.data)
	}
	if next != d.size || len(d.header)+d.size > 65535 {
		return nil
	}
	out := slices.Clone(d.header)
	for _, p := range d.parts {
		out = append(out, p.data...)
	}
	delete(f.datagrams, key)
	if key.version == 6 {
		out[6] = out[40]
		out = slices.Delete(out, 40, 41)
		binary.BigEndian.PutUint16(out[4:], uint16(d.size))
		return out
	}
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	binary.BigEndian.PutUint16(out[6:], 0)
	return out
}

// close counts what is still incomplete.
func (f *defragmenter) close() {
	for key, d := range f.datagrams {
		f.forget(key, d)
	}
}
