package pcap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// maxBlock is the largest pcapng block or pcap packet that is believed: beyond
// it the length field itself is taken for damage.
const maxBlock = 256 << 20

// errCut says that the file ends inside a packet: a capture that was stopped
// hard, or a copy that is not finished. What came before is sound.
var errCut = errors.New("the file ends inside a packet")

// errTooLong says that one packet is longer than the buffer; it was skipped.
var errTooLong = errors.New("packet longer than the buffer")

// linkType is a LINKTYPE_ number as the capture file states it.
type linkType uint32

// record is one captured packet. data is valid until the next call of next.
type record struct {
	data []byte
	// nanos is the time of the packet in nanoseconds of Unix time.
	nanos int64
	link  linkType
	// wire is how long the packet was before the capture cut it, at least what data is.
	wire int
	// vlan is a VLAN that it was in whose tag is not in data, 0 for none.
	vlan uint16
}

// recordReader reads packet after packet: io.EOF at a clean end, errCut at a
// cut one, errTooLong for a packet that was skipped, any other error where the
// file is damaged and cannot be read on.
type recordReader interface {
	next(rec *record) error
}

// The magic numbers, as the first four bytes read big-endian.
const (
	magicMicros        = 0xa1b2c3d4
	magicMicrosSwapped = 0xd4c3b2a1
	magicNanos         = 0xa1b23c4d
	magicNanosSwapped  = 0x4d3cb2a1
	// magicPatched is the form with eight more bytes a packet header that
	// some patched tools of the 1990s wrote.
	magicPatched        = 0xa1b2cd34
	magicPatchedSwapped = 0x34cdb2a1
	magicNg             = 0x0a0d0d0a
	// magicSection orders the bytes of a pcapng section.
	magicSection = 0x1a2b3c4d
)

// IsCapture reports whether head, the first bytes of a file, are those of a
// pcap or pcapng capture. Twelve bytes suffice; four can tell pcap only.
func IsCapture(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	switch binary.BigEndian.Uint32(head) {
	case magicMicros, magicMicrosSwapped, magicNanos, magicNanosSwapped, magicPatched, magicPatchedSwapped:
		return true
	case magicNg:
		if len(head) < 12 {
			return false
		}
		return binary.BigEndian.Uint32(head[8:]) == magicSection || binary.LittleEndian.Uint32(head[8:]) == magicSection
	}
	return false
}

var errNoCapture = errors.New("this is no pcap or pcapng capture: its first bytes are those of neither; unpack it first, or give its format")

// newRecordReader reads the file header and returns the reader for its format.
func newRecordReader(r io.Reader) (recordReader, error) {
	br := bufio.NewReaderSize(r, usualBuffer)
	head, err := br.Peek(12)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	if !IsCapture(head) {
		return nil, errNoCapture
	}
	if binary.BigEndian.Uint32(head) == magicNg {
		return &ngReader{r: br}, nil
	}
	return newClassicReader(br)
}

// classicReader reads the pcap format.
type classicReader struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	unit   int64 // nanoseconds a unit of the fraction
	header int   // bytes of a packet's header
	link   linkType
	used   int // bytes of the buffer that the last packet still occupies
}

func newClassicReader(r *bufio.Reader) (*classicReader, error) {
	c := &classicReader{r: r}
	head, err := r.Peek(24)
	if err != nil {
		return nil, errors.New("the file ends inside its header: it is no whole capture; copy it again")
	}
	c.begin(head)
	_, err = r.Discard(24)
	return c, err
}

// begin reads a file header.
func (c *classicReader) begin(head []byte) {
	c.order, c.unit, c.header = binary.LittleEndian, 1000, 16
	switch binary.BigEndian.Uint32(head) {
	case magicMicros:
		c.order = binary.BigEndian
	case magicNanos:
		c.order, c.unit = binary.BigEndian, 1
	case magicNanosSwapped:
		c.unit = 1
	case magicPatched:
		c.order, c.header = binary.BigEndian, 24
	case magicPatchedSwapped:
		c.header = 24
	}
	// The upper bits say how long a frame check sequence is.
	c.link = linkType(c.order.Uint32(head[20:]) & 0xffff)
}

// joined reports whether a file header stands where a packet should: files were put
// together as they are. A packet with these bytes would be of no length.
func joined(head []byte) bool {
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.BigEndian.Uint32(head) {
	case magicMicros, magicNanos, magicPatched:
		order = binary.BigEndian
	case magicMicrosSwapped, magicNanosSwapped, magicPatchedSwapped:
	default:
		return false
	}
	return order.Uint16(head[4:]) == 2 && order.Uint16(head[6:]) <= 4 && order.Uint64(head[8:]) == 0
}

func (c *classicReader) next(rec *record) error {
	if err := discard(c.r, &c.used); err != nil {
		return err
	}
	head, err := c.r.Peek(c.header)
	for err == nil && joined(head) {
		if head, err = c.r.Peek(24); err != nil {
			return cut(err, 1)
		}
		c.begin(head)
		if _, err = c.r.Discard(24); err != nil {
			return err
		}
		head, err = c.r.Peek(c.header)
	}
	if err != nil {
		return cut(err, len(head))
	}
	seconds, fraction := int64(c.order.Uint32(head)), int64(c.order.Uint32(head[4:]))
	length, wire := c.order.Uint32(head[8:]), c.order.Uint32(head[12:])
	if length > maxBlock {
		return fmt.Errorf("a packet claims to be %d bytes long", length)
	}
	size := c.header + int(length)
	if size > readBuffer {
		return skip(c.r, size)
	}
	// Header and packet at once: of a file that still grows, what is there of them is
	// left for later.
	if head, err = peek(&c.r, size); err != nil {
		return cut(err, 1)
	}
	rec.data, c.used = head[c.header:], size
	rec.nanos, rec.link = seconds*1e9+fraction*c.unit, c.link
	rec.wire = wireLength(wire, length)
	return nil
}

// wireLength returns how long a packet was of which so many bytes are there, as the
// file says.
func wireLength(said, there uint32) int { return int(min(max(said, there), math.MaxInt32)) }

// discard drops the bytes of the packet before.
func discard(r *bufio.Reader, used *int) error {
	if *used == 0 {
		return nil
	}
	_, err := r.Discard(*used)
	*used = 0
	return err
}

// cut turns the error of a short Peek into what it means: nothing at all left
// is a clean end.
func cut(err error, got int) error {
	switch {
	case err == io.ErrUnexpectedEOF:
		return errCut // so ends a packed file that is not whole
	case err != io.EOF:
		return err
	case got == 0:
		return io.EOF
	}
	return errCut
}

// skip passes over a packet that is too long to hold.
func skip(r *bufio.Reader, n int) error {
	if _, err := r.Discard(n); err != nil {
		return cut(err, 1)
	}
	return errTooLong
}

// The pcapng blocks that are read; all others are passed over.
const (
	blockInterface = 1
	blockPacketOld = 2
	blockSimple    = 3
	blockCounts    = 5
	blockPacket    = 6
	blockSecrets   = 10
)

// secretsTLS is the kind of a block's secrets that is a TLS key log.
const secretsTLS = 0x544c534b

// ngInterface is one interface description of a pcapng section.
type ngInterface struct {
	link    linkType
	snap    uint32
	binary  bool   // resolution is 2^-power rather than 10^-power
	power   uint8  // of the resolution
	offsetS int64  // seconds to add
	dropped uint64 // packets that were not written, as far as the file says
}

// ngReader reads the pcapng format: any number of sections, each with its own
// byte order and interfaces.
type ngReader struct {
	r          *bufio.Reader
	order      binary.ByteOrder
	interfaces []ngInterface
	used       int
	// secrets takes those that stand in the file; it may be nil.
	secrets *TLSKeys
	// last is the time of the last packet that had one.
	last int64
	// dropped is how many packets the file says that it lost, since that was asked last.
	dropped uint64
}

func (n *ngReader) next(rec *record) error {
	for {
		if err := discard(n.r, &n.used); err != nil {
			return err
		}
		head, err := n.r.Peek(8)
		if err != nil {
			return cut(err, len(head))
		}
		if binary.BigEndian.Uint32(head) == magicNg {
			if err := n.section(); err != nil {
				return err
			}
			continue
		}
		if n.order == nil {
			return errors.New("a block stands before the first section header")
		}
		kind, length := n.order.Uint32(head), n.order.Uint32(head[4:])
		if length < 12 || length%4 != 0 || length > maxBlock {
			return fmt.Errorf("a block claims to be %d bytes long", length)
		}
		got, err := n.block(kind, int(length), rec)
		if got || err != nil {
			return err
		}
	}
}

// section reads a section header: byte order, and a clean list of interfaces.
func (n *ngReader) section() error {
	head, err := n.r.Peek(12)
	if err != nil {
		return cut(err, 1)
	}
	switch {
	case binary.LittleEndian.Uint32(head[8:]) == magicSection:
		n.order = binary.LittleEndian
	case binary.BigEndian.Uint32(head[8:]) == magicSection:
		n.order = binary.BigEndian
	default:
		return errors.New("a section header has no byte-order magic")
	}
	length := n.order.Uint32(head[4:])
	if length < 28 || length%4 != 0 || length > maxBlock {
		return fmt.Errorf("a section header claims to be %d bytes long", length)
	}
	n.interfaces = n.interfaces[:0]
	return n.pass(int(length))
}

// pass steps over a block: over none of it, where it may still grow.
func (n *ngReader) pass(length int) error {
	if _, err := peek(&n.r, min(length, readBuffer)); err != nil {
		return cut(err, 1)
	}
	if _, err := n.r.Discard(length); err != nil {
		return cut(err, 1)
	}
	return nil
}

// block reads one block; it reports whether that gave a packet.
func (n *ngReader) block(kind uint32, length int, rec *record) (bool, error) {
	switch kind {
	case blockInterface, blockPacket, blockPacketOld, blockSimple, blockSecrets, blockCounts:
	default:
		return false, n.pass(length)
	}
	if length > readBuffer {
		return false, skip(n.r, length)
	}
	whole, err := peek(&n.r, length)
	if err != nil {
		return false, cut(err, 1)
	}
	n.used = length
	body := whole[8 : length-4]
	switch kind {
	case blockInterface:
		return false, n.describe(body)
	case blockSecrets:
		n.keys(body)
		return false, nil
	case blockCounts:
		n.counts(body)
		return false, nil
	case blockSimple:
		return true, n.simple(body, rec)
	default:
		return true, n.packet(kind, body, rec)
	}
}

// maxOffset bounds the seconds that may be added to the times of an interface: more
// cannot be told in nanoseconds.
const maxOffset = 4e9

// keys reads a block of secrets. What is no key log tells nothing, and is no
// reason to read no further.
func (n *ngReader) keys(body []byte) {
	if n.secrets == nil || len(body) < 8 || n.order.Uint32(body) != secretsTLS {
		return
	}
	if size := n.order.Uint32(body[4:]); int64(size) <= int64(len(body)-8) {
		_ = n.secrets.Read(bytes.NewReader(body[8 : 8+size]))
	}
}

// counts reads how many packets an interface, or the system, had no room for. A later
// block counts on from an earlier one.
func (n *ngReader) counts(body []byte) {
	if len(body) < 12 || int64(n.order.Uint32(body)) >= int64(len(n.interfaces)) {
		return
	}
	in, sum := &n.interfaces[n.order.Uint32(body)], uint64(0)
	n.options(body[12:], func(code uint16, value []byte) {
		if (code == 5 || code == 7) && len(value) == 8 {
			if c := n.order.Uint64(value); c < 1<<48 { // all bits say that it is not known
				sum += c
			}
		}
	})
	if sum > in.dropped {
		n.dropped += sum - in.dropped
		in.dropped = sum
	}
}

// lost returns how many packets the file says were lost, since it was asked last.
func (n *ngReader) lost() uint64 {
	lost := n.dropped
	n.dropped = 0
	return lost
}

// options hands on the options of a block, up to the first that cannot be.
func (n *ngReader) options(b []byte, each func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, size := n.order.Uint16(b), int(n.order.Uint16(b[2:]))
		if b = b[4:]; size > len(b) || code == 0 {
			return
		}
		each(code, b[:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

// describe reads an interface description block.
func (n *ngReader) describe(body []byte) error {
	if len(body) < 8 {
		return errors.New("an interface description is too short")
	}
	in := ngInterface{link: linkType(n.order.Uint16(body)), snap: n.order.Uint32(body[4:]), power: 6}
	n.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == 9 && len(value) >= 1:
			in.power, in.binary = value[0]&0x7f, value[0]&0x80 != 0
		case code == 14 && len(value) >= 8:
			// Beyond some thousand years it is no offset.
			if s := int64(n.order.Uint64(value)); s > -maxOffset && s < maxOffset {
				in.offsetS = s
			}
		}
	})
	n.interfaces = append(n.interfaces, in)
	return nil
}

// packet reads an enhanced packet block, or its obsolete forerunner.
func (n *ngReader) packet(kind uint32, body []byte, rec *record) error {
	if len(body) < 20 {
		return errors.New("a packet block is too short")
	}
	id := n.order.Uint32(body)
	if kind == blockPacketOld {
		id = uint32(n.order.Uint16(body))
	}
	if int64(id) >= int64(len(n.interfaces)) {
		return fmt.Errorf("a packet names interface %d, which was not described", id)
	}
	in := &n.interfaces[id]
	size := n.order.Uint32(body[12:])
	if int64(size) > int64(len(body)-20) {
		return fmt.Errorf("a packet of %d bytes does not fit its block", size)
	}
	rec.data, rec.link = body[20:20+size], in.link
	rec.wire = wireLength(n.order.Uint32(body[16:]), size)
	rec.nanos = in.nanos(uint64(n.order.Uint32(body[4:]))<<32 | uint64(n.order.Uint32(body[8:])))
	n.last = rec.nanos
	return nil
}

// simple reads a simple packet block: the first interface, and no time. That of the
// packet before is near.
func (n *ngReader) simple(body []byte, rec *record) error {
	if len(body) < 4 || len(n.interfaces) == 0 {
		return errors.New("a simple packet has no interface or no length")
	}
	size := n.order.Uint32(body)
	wire := size
	if snap := n.interfaces[0].snap; snap != 0 && size > snap {
		size = snap
	}
	rec.data = body[4:min(int64(len(body)), 4+int64(size))]
	rec.link, rec.nanos = n.interfaces[0].link, n.last
	rec.wire = wireLength(wire, uint32(len(rec.data)))
	return nil
}

// nanos turns a time stamp of the interface into Unix nanoseconds.
func (in *ngInterface) nanos(stamp uint64) int64 {
	var ns uint64
	switch {
	case in.binary && in.power < 64:
		hi, lo := bits.Mul64(stamp, 1e9)
		if in.power == 0 {
			ns = lo
		} else {
			ns = hi<<(64-in.power) | lo>>in.power
		}
	case in.power <= 9:
		hi, lo := bits.Mul64(stamp, uint64(math.Pow10(9-int(in.power))))
		if hi != 0 {
			lo = math.MaxInt64
		}
		ns = lo
	default:
		ns = stamp / uint64(math.Pow10(min(int(in.power)-9, 19)))
	}
	return int64(min(ns, math.MaxInt64/2)) + in.offsetS*1e9
}
