package pcap

import (
	"hash/maphash"
	"slices"
)

// A connection hands the bytes of its two directions to a protocol in causal
// order: in the order of the sequence numbers, and never before the bytes of
// the other direction that the segment itself acknowledges. So an answer is
// seen after its request and a request after the answers that its sender had,
// in whatever order the capture wrote them.
//
// What cannot be handed on yet is held. A hole is final once the peer has
// acknowledged past it (then nobody will send it again) and a window of packets
// and time for reordering has passed; then the protocol is told of the gap.
// Where bytes overlap, those that came first win.

// side is one direction of a connection: 0 flows from the smaller endpoint to
// the larger one, 1 back.
type side uint8

func (s side) other() side { return 1 - s }

// chunk is bytes of one direction, in order and without overlap. data is valid
// during the call only.
type chunk struct {
	data []byte
	// seq is the sequence number of data[0]; ack what the segment acknowledged.
	seq, ack uint32
	hasAck   bool
	// start says that data[0] is the first byte of its TCP segment.
	start bool
	nanos int64
}

// protocol reads a connection's bytes. Its methods are called in causal order
// by one goroutine. data returns the protocol to go on with (itself, mostly)
// and the bytes that the new one is to read first.
type protocol interface {
	data(from side, c chunk) (next protocol, rest chunk)
	// gap says that n bytes from seq on will never be seen.
	gap(from side, seq, n uint32)
	// end says that a direction is closed: no more bytes come.
	end(from side, nanos int64)
	// close says that the connection is over or forgotten. What is pending goes
	// out now.
	close()
}

// before compares sequence numbers over the wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// segment is a held TCP segment. data is a copy of its own.
type segment struct {
	chunk
	// missing bytes follow data that the capture cut off.
	missing  uint32
	fin, rst bool
	number   uint64 // of its packet
}

func (s *segment) end() uint32 { return s.seq + uint32(len(s.data)) + s.missing }

// direction is one half of a connection.
type direction struct {
	// started says that next is known; fromSYN that it is so from the
	// handshake rather than from the middle.
	started, fromSYN bool
	// seen says that a packet of this direction was captured, dataSeen that one
	// with payload was.
	seen, dataSeen bool
	closed         bool
	// first is where next began, next the number of the byte to come.
	first, next uint32
	// acked is the highest number that the peer acknowledged.
	acked    uint32
	hasAcked bool

	held      []segment
	heldBytes int

	// sums are of the segments that came last, the newest at last.
	sums [recentSegments]segmentSum
	last uint8
}

// recentSegments is how many segments of a direction are remembered, to tell
// whether what is sent again is the same.
const recentSegments = 8

// segmentSum remembers a segment by a sum of its bytes.
type segmentSum struct {
	seq, length uint32
	sum         uint64
}

// conflicts remembers a segment, and reports whether its place held other bytes
// before. Of a receiver that took the others nobody knows what it read. A single
// byte is no proof: keep-alives send one that means nothing.
func (d *direction) conflicts(seed maphash.Seed, seq uint32, data []byte) bool {
	if len(data) < 2 {
		return false
	}
	sum := maphash.Bytes(seed, data)
	for i := range d.sums {
		if s := &d.sums[i]; s.seq == seq && s.length == uint32(len(data)) {
			return s.sum != sum
		}
	}
	d.last = (d.last + 1) % recentSegments
	d.sums[d.last] = segmentSum{seq, uint32(len(data)), sum}
	return false
}

// connection is one TCP connection.
type connection struct {
	table *table
	key   flowKey
	dirs  [2]direction
	proto protocol
	// client is the side that opened the connection; clientKnown says that the
	// handshake showed it.
	client      side
	clientKnown bool
	// over says that both directions ended; what still comes is late.
	over bool
	// conflicting says that the same place was sent with different bytes: from
	// there on nothing is certain.
	conflicting bool
	// far counts the packets in a row that do not fit the numbers at all.
	far int

	last         int64 // nanos of the last packet
	newer, older *connection
}

// midstream reports whether the capture began after the connection did.
func (c *connection) midstream() bool { return !c.dirs[0].fromSYN || !c.dirs[1].fromSYN }

// packet takes one TCP segment.
func (c *connection) packet(from side, p *packet) {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	c.attach(from, p)
	d.seen = true
	if p.flags&flagACK != 0 && (!peer.hasAcked || before(peer.acked, p.ack)) {
		peer.acked, peer.hasAcked = p.ack, true
	}
	if p.flags&flagSYN != 0 {
		p.seq++ // data may follow in the same packet (fast open)
	}
	if len(p.payload) == 0 && p.missing == 0 && p.flags&(flagFIN|flagRST) == 0 {
		c.progress(p)
		return
	}
	if c.over || d.closed {
		c.table.stats.drop(dropLate)
		return
	}
	s := segment{
		chunk:   chunk{p.payload, p.seq, p.ack, p.flags&flagACK != 0, true, p.nanos},
		missing: p.missing, fin: p.flags&flagFIN != 0, rst: p.flags&flagRST != 0, number: p.number,
	}
	if len(p.payload) > 0 {
		d.dataSeen = true
		if d.conflicts(c.table.seed, p.seq, p.payload) {
			c.table.stats.Conflicting++
			c.conflicting = true
		}
	}
	switch {
	case before(s.end(), d.next) || s.end() == d.next && !s.fin && !s.rst:
		c.table.stats.Retransmitted++
	case len(d.held) == 0 && c.ready(from, &s):
		c.deliver(from, &s)
	default:
		c.hold(from, s)
	}
	c.progress(p)
}

// attach learns where the directions stand from the first packets.
func (c *connection) attach(from side, p *packet) {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if p.flags&flagSYN != 0 {
		if !c.clientKnown {
			c.clientKnown, c.client = true, from
			if p.flags&flagACK != 0 {
				c.client = from.other()
			}
		}
		d.start(p.seq+1, true)
		if p.flags&flagACK != 0 {
			peer.start(p.ack, true)
		}
		return
	}
	d.start(p.seq, false)
	if p.flags&flagACK != 0 && !peer.started {
		// What the sender had received when it sent this: an answer that was
		// lost before is then seen as a hole instead of shifting the pairs.
		// Where the second packet of a handshake was lost, the third says the same.
		peer.start(p.ack, d.fromSYN && d.first == p.seq && !d.dataSeen)
	}
}

// start sets where a direction begins, unless that is known already; a late
// handshake packet can still confirm it.
func (d *direction) start(seq uint32, fromSYN bool) {
	if !d.started {
		d.started, d.first, d.next = true, seq, seq
	}
	if fromSYN && seq == d.first {
		d.fromSYN = true
	}
}

// unrelated reports whether a handshake packet belongs to a later connection
// between the same endpoints.
func (c *connection) unrelated(from side, p *packet) bool {
	d := &c.dirs[from]
	return p.flags&flagSYN != 0 && d.started && (c.over || p.seq+1 != d.first)
}

// maxAhead is how far a segment may lie from where its direction stands:
// beyond it the capture has a hole that nothing bridges, or the packet is forged.
const maxAhead = 1 << 26

// misfits reports whether so many packets in a row do not fit the numbers that
// the connection is better begun anew, as one seen from its middle.
func (c *connection) misfits(from side, p *packet) bool {
	d := &c.dirs[from]
	if !d.started || p.flags&(flagSYN|flagRST) != 0 || len(p.payload) == 0 {
		return false
	}
	if distance := int32(p.seq - d.next); distance < maxAhead && distance > -maxAhead {
		c.far = 0
		return false
	}
	c.far++
	return c.far >= 4
}

// ready reports whether a segment can be handed on now.
func (c *connection) ready(from side, s *segment) bool {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if before(d.next, s.seq) {
		return false
	}
	// A direction that was never captured cannot be waited for.
	return !s.hasAck || !peer.started || !peer.seen || !before(peer.next, s.ack)
}

// deliver hands a ready segment to the protocol, without what was seen before.
func (c *connection) deliver(from side, s *segment) {
	d := &c.dirs[from]
	if peer := &c.dirs[from.other()]; s.hasAck && peer.started && !peer.seen && before(peer.next, s.ack) {
		c.lose(from.other(), s.ack-peer.next)
	}
	if old := d.next - s.seq; old > 0 {
		if old >= uint32(len(s.data)) {
			over := old - uint32(len(s.data))
			s.data, s.missing = nil, s.missing-min(over, s.missing)
		} else {
			s.data = s.data[old:]
		}
		s.seq, s.start = d.next, false
		c.table.stats.Overlapping++
	}
	if len(s.data) > 0 {
		d.next += uint32(len(s.data))
		rest := s.chunk
		for len(rest.data) > 0 {
			c.proto, rest = c.proto.data(from, rest)
		}
	}
	if s.missing > 0 {
		c.table.stats.CutBytes += uint64(s.missing)
		c.lose(from, s.missing)
	}
	if s.rst {
		c.finish()
	} else if s.fin && !d.closed {
		d.closed = true
		d.next++
		c.proto.end(from, s.nanos)
		if c.dirs[from.other()].closed {
			c.finish()
		}
	}
}

// lose tells the protocol that n bytes from next on are gone for good.
func (c *connection) lose(from side, n uint32) {
	d := &c.dirs[from]
	seq := d.next
	d.next += n
	if d.seen {
		c.table.stats.Gaps++
		c.table.stats.GapBytes += uint64(n)
	} else {
		c.table.stats.OneSidedBytes += uint64(n)
	}
	c.proto.gap(from, seq, n)
}

// finish ends the connection: both sides are closed, or one reset it.
func (c *connection) finish() {
	if c.over {
		return
	}
	c.over = true
	c.proto.close()
	c.proto = &opaque{}
	for i := range c.dirs {
		c.release(side(i))
	}
}

// hold keeps a copy of a segment, in order and without overlap.
func (c *connection) hold(from side, s segment) {
	d := &c.dirs[from]
	if c.skipsHolding() {
		return
	}
	if !before(s.seq, d.next+maxAhead) {
		c.table.stats.drop(dropFarAhead)
		return
	}
	c.table.stats.Held++
	at := len(d.held)
	for at > 0 && before(s.seq, d.held[at-1].seq) {
		at--
	}
	// What an earlier held segment covers already is cut off the front.
	if at > 0 {
		if end := d.held[at-1].end(); before(s.seq, end) {
			if !before(end, s.end()) && !s.fin && !s.rst {
				c.table.stats.Retransmitted++
				return
			}
			s = s.from(end)
			c.table.stats.Overlapping++
		}
	}
	for {
		var tail segment
		split := false
		if at < len(d.held) && before(d.held[at].seq, s.end()) {
			// It runs into a later one: keep the part before, go on with the
			// part behind.
			c.table.stats.Overlapping++
			end := d.held[at].end()
			if before(end, s.end()) {
				tail, split = s.from(end), true
			}
			s = s.until(d.held[at].seq)
		}
		if len(s.data) > 0 || s.missing > 0 || s.fin || s.rst {
			s.data = c.table.copy(s.data)
			d.heldBytes += len(s.data)
			c.table.held += len(s.data)
			d.held = slices.Insert(d.held, at, s)
			at++
		}
		if !split {
			break
		}
		s = tail
		at++
	}
	if d.heldBytes > c.table.limits.HeldPerDirection || len(d.held) > maxHeldSegments {
		c.table.stats.drop(dropHeldLimit)
		for len(d.held) > 0 && (d.heldBytes > c.table.limits.HeldPerDirection || len(d.held) > maxHeldSegments) {
			c.force()
			c.drain()
		}
	}
}

// maxHeldSegments bounds the list that is searched for each held segment.
const maxHeldSegments = 1024

// from returns the part of s at or after seq.
func (s segment) from(seq uint32) segment {
	cut := seq - s.seq
	if n := uint32(len(s.data)); cut >= n {
		s.missing -= min(cut-n, s.missing)
		s.data = nil
	} else {
		s.data = s.data[cut:]
	}
	s.seq, s.start = seq, false
	return s
}

// until returns the part of s before seq.
func (s segment) until(seq uint32) segment {
	keep := seq - s.seq
	if n := uint32(len(s.data)); keep < n {
		s.data, s.missing = s.data[:keep], 0
	} else {
		s.missing = min(s.missing, keep-n)
	}
	s.fin, s.rst = false, false
	return s
}

// skipsHolding reports whether order no longer matters: what cannot be read is
// not kept.
func (c *connection) skipsHolding() bool {
	_, unread := c.proto.(*opaque)
	return unread || c.over
}

// progress hands on what can be handed on, and declares holes final.
func (c *connection) progress(p *packet) {
	for len(c.dirs[0].held) > 0 || len(c.dirs[1].held) > 0 {
		if c.drain() {
			continue
		}
		if !c.final(p) {
			return
		}
		c.force()
	}
}

// drain delivers every held segment that is ready; it reports whether any was.
func (c *connection) drain() bool {
	any := false
	for again := true; again; {
		again = false
		for i := range c.dirs {
			d := &c.dirs[i]
			for len(d.held) > 0 && c.ready(side(i), &d.held[0]) {
				s := d.held[0]
				d.held[0] = segment{}
				d.held = d.held[1:]
				d.heldBytes -= len(s.data)
				c.table.held -= len(s.data)
				buffer := s.data
				if (!before(s.end(), d.next) || s.fin || s.rst) && (!d.closed || s.rst) {
					c.deliver(side(i), &s)
				}
				c.table.recycle(buffer)
				any, again = true, true
			}
			if len(d.held) == 0 {
				d.held = nil
			}
		}
	}
	return any
}

// final reports whether the hole that blocks the oldest held segment will never
// be filled.
func (c *connection) final(p *packet) bool {
	limits := &c.table.limits
	from := c.oldest()
	d := &c.dirs[from]
	s := &d.held[0]
	waited, packets := p.nanos-s.nanos, p.number-s.number
	if before(d.next, s.seq) && c.dirs[from.other()].seen && !(d.hasAcked && before(d.next, d.acked)) {
		// Not acknowledged: the sender will send it again.
		return waited > int64(limits.Retransmission)
	}
	return packets >= uint64(limits.ReorderPackets) && waited >= int64(limits.ReorderTime) ||
		waited >= 100*int64(limits.ReorderTime) || packets >= 64*uint64(limits.ReorderPackets)
}

// oldest returns the side whose first held segment came first.
func (c *connection) oldest() side {
	a, b := c.dirs[0].held, c.dirs[1].held
	if len(a) == 0 || len(b) > 0 && b[0].number < a[0].number {
		return 1
	}
	return 0
}

// force gives up the hole that blocks the oldest held segment.
func (c *connection) force() {
	from := c.oldest()
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if len(d.held) == 0 {
		return
	}
	s := &d.held[0]
	if before(d.next, s.seq) {
		c.lose(from, s.seq-d.next)
		return
	}
	if s.hasAck && peer.started && before(peer.next, s.ack) {
		to := s.ack
		if len(peer.held) > 0 && before(peer.next, peer.held[0].seq) && before(peer.held[0].seq, to) {
			to = peer.held[0].seq
		}
		if to-peer.next > maxAhead {
			// An acknowledgement of what cannot be: believe the bytes instead.
			c.table.stats.drop(dropFarAhead)
			s.hasAck = false
			return
		}
		if len(peer.held) > 0 && !before(peer.next, peer.held[0].seq) {
			// The other side waits for us as well: cut the knot here.
			s.hasAck = false
			return
		}
		c.lose(from.other(), to-peer.next)
	}
}

// flush gives up every hole: the connection is forgotten or the file ends.
func (c *connection) flush() {
	for len(c.dirs[0].held) > 0 || len(c.dirs[1].held) > 0 {
		if !c.drain() {
			c.force()
		}
	}
	c.finish()
}

// release drops what is held of one direction.
func (c *connection) release(s side) {
	d := &c.dirs[s]
	for i := range d.held {
		c.table.held -= len(d.held[i].data)
		c.table.recycle(d.held[i].data)
	}
	d.held, d.heldBytes = nil, 0
}
