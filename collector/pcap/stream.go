package pcap

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

// direction is one half of a connection. It lies in one line of memory, since with
// many connections at a time nothing of them is in a cache when its packet comes.
type direction struct {
	// started says that next is known; fromSYN that it is so from the
	// handshake rather than from the middle.
	started, fromSYN bool
	// seen says that a packet of this direction was captured, dataSeen that one
	// with payload was.
	seen, dataSeen bool
	// absent says that it was waited for in vain: the capture has one direction
	// only.
	absent   bool
	closed   bool
	hasAcked bool
	// first is where next began, next the number of the byte to come, acked the
	// highest that this direction's bytes were acknowledged up to by the peer.
	first, next, acked uint32
	heldBytes          uint32
	// mark is where span bytes begin: those that were given up last, or, of a
	// direction that has ended, what came behind its end.
	mark, span uint32
	// held are segments that came too early, in order and without overlap.
	held []segment
	// newest is where in the ring the newest piece is of what passed last (recall.go).
	newest uint64
}

// connection is one TCP connection.
type connection struct {
	hash    uint64      // of key
	sibling *connection // the next with a like hash
	key     flowKey
	// vlans are those that it was seen in (vlan.go).
	vlans [3]uint32
	// client is the side that opened the connection; clientKnown says that the
	// handshake showed it.
	client      side
	clientKnown bool
	// bothOpened says that both sides opened it at once: either may be the client;
	// synSeen that the first packet of all was seen. Where it was lost, it may have held
	// a request (TCP fast open), and what its answer acknowledges does not tell.
	bothOpened, synSeen bool
	// over says that both directions ended; what still comes is late.
	over bool
	// conflicting says that the same place was sent with different bytes: from
	// there on nothing is certain.
	conflicting bool
	// cutting says that what is lost now was cut off a packet that is seen.
	cutting bool
	// replaced says that it took the place of one that was not seen to end.
	replaced bool
	// holder says that it stands among those that hold segments.
	holder bool
	// far counts the packets in a row, of each side, that do not fit the numbers.
	far [2]uint8
	// knocked is 1 and the side that sent a handshake in the middle, 0 if none did;
	// knock is the first number behind it.
	knocked uint8
	knock   uint32

	dirs  [2]direction
	proto protocol
	table *table

	last         int64 // nanos of the last packet
	linked       int64 // last, when it moved to the end of its list
	newer, older *connection
}

// midstream reports whether the capture began after the connection did.
func (c *connection) midstream() bool { return !c.dirs[0].fromSYN || !c.dirs[1].fromSYN }

// packet takes one TCP segment.
func (c *connection) packet(from side, p *packet) {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if p.flags&(flagACK|flagSYN|flagRST) == 0 {
		if !c.midstream() {
			// No receiver takes it (RFC 9293 §3.10.7.4).
			c.table.stats.drop(dropNoAck)
			return
		}
		c.conflicting = c.conflicting || len(p.payload) > 0
	}
	c.attach(from, p)
	d.seen, d.absent = true, false
	if p.flags&flagACK != 0 && (!peer.hasAcked || before(peer.acked, p.ack)) {
		peer.acked, peer.hasAcked = p.ack, true
	}
	if p.flags&flagSYN != 0 {
		p.seq++ // data may follow in the same packet (fast open)
		if n := uint32(len(p.payload)); n > 0 && d.hasAcked && before(d.acked, p.seq+n) {
			// The other side is there, and did not take it.
			c.table.stats.drop(dropKnock)
			p.payload, p.missing = nil, 0
		}
	}
	if len(p.payload) == 0 && p.missing == 0 && p.flags&(flagFIN|flagRST) == 0 {
		c.progress(from, p)
		return
	}
	if !c.over && d.closed && p.flags&flagRST != 0 && p.seq == d.next {
		// Whoever closes before everything was sent to him resets what still comes:
		// there is nobody left to end the other direction.
		c.flush()
		return
	}
	if c.over || d.closed {
		c.behindEnd(d, p)
		return
	}
	if p.urgent {
		c.setApart(d, p)
	}
	if p.doubtful {
		c.conflicting = true
		c.table.stats.drop(dropLength)
	}
	s := segment{
		chunk:   chunk{p.payload, p.seq, p.ack, p.flags&flagACK != 0, true, p.nanos},
		missing: p.missing, fin: p.flags&flagFIN != 0, rst: p.flags&flagRST != 0, number: p.number,
	}
	if len(p.payload) > 0 {
		d.dataSeen = true
		c.compare(from, d, p)
	}
	switch {
	case before(s.end(), d.next) || s.end() == d.next && !s.fin && !s.rst:
		c.countPassed(d, &s)
	case len(d.held) == 0 && c.ready(from, &s):
		c.deliver(from, &s)
	default:
		c.hold(from, s)
	}
	c.progress(from, p)
}

// behindEnd takes a segment of a direction that has ended.
func (c *connection) behindEnd(d *direction, p *packet) {
	n := uint32(len(p.payload)) + p.missing
	late := n > 0 && (before(d.next, p.seq+n) || before(p.seq, d.first))
	if !c.over && len(p.payload) > 0 && d.contradicts(&c.table.recall, p.seq, p.payload) {
		// The end may have been forged, and this be what arrived.
		c.table.stats.Conflicting++
		c.conflicting = true
	}
	if late {
		c.table.stats.drop(dropLate)
		d.mark, d.span = p.seq, n
	} else {
		c.table.stats.Retransmitted++ // or a reset, which ends what is over
	}
}

// countPassed counts a segment all of which was handed on, or given up, before.
func (c *connection) countPassed(d *direction, s *segment) {
	switch n := s.end() - s.seq; {
	case d.gaveUp(s.seq, n):
		c.table.stats.drop(dropGivenUp)
	case d.precedes(s.seq, n):
		c.table.stats.drop(dropBefore)
	default:
		c.table.stats.Retransmitted++
	}
}

// attach learns where the directions stand from the first packets.
func (c *connection) attach(from side, p *packet) {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if p.flags&flagSYN != 0 {
		c.synSeen = c.synSeen || p.flags&flagACK == 0
		if p.flags&flagACK == 0 && c.clientKnown && c.client != from && !d.started {
			// Both open it at once: either may be the client.
			c.clientKnown, c.bothOpened = false, true
		}
		if !c.clientKnown && !c.bothOpened {
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
		// Not so where a handshake may have been forged in the middle of another
		// connection, which goes on: then the second packet never was.
		peer.start(p.ack, d.fromSYN && d.first == p.seq && !d.dataSeen && !c.replaced)
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

// knocks reports whether a packet is a handshake in the middle of a connection, and takes
// note of it. A receiver that still has the connection does not take it (RFC 5961 §4); one
// that has not answers, and then it is a later one.
func (c *connection) knocks(from side, p *packet) bool {
	if c.over || p.flags&flagSYN == 0 || !c.unrelated(from, p) {
		return false
	}
	if p.flags&flagACK != 0 {
		// The answer, unless it is the client that says so.
		return c.clientKnown && c.client == from
	}
	if c.knock, c.knocked = p.seq+1, uint8(1+from); len(p.payload) > 0 {
		c.table.stats.drop(dropKnock)
	}
	return true
}

// begins reports whether a packet goes on from a handshake in the middle, whose answer was
// lost: its numbers are those of the later connection on both sides.
func (c *connection) begins(from side, p *packet) bool {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	return c.knocked == uint8(1+from) && p.flags&(flagSYN|flagRST|flagACK) == flagACK && p.seq == c.knock && p.seq != d.next &&
		(!peer.started || !near(p.ack, peer.next))
}

// maxNear is how far the numbers of a packet may lie from where a connection stands to
// be taken for its own where there is a doubt: what one side may have under way.
const maxNear = 1 << 20

func near(a, b uint32) bool { return int32(a-b) < maxNear && int32(a-b) > -maxNear }

// maxAhead is how far a segment may lie from where its direction stands:
// beyond it the capture has a hole that nothing bridges, or the packet is forged.
const maxAhead = 1 << 26

// misfits reports whether so many packets in a row do not fit the numbers that
// the connection is better begun anew, as one seen from its middle.
func (c *connection) misfits(from side, p *packet) bool {
	d := &c.dirs[from]
	if !d.started || p.flags&(flagSYN|flagRST) != 0 || len(p.payload) < 2 { // one byte is a keep-alive
		return false
	}
	distance, n := int32(p.seq-d.next), uint32(len(p.payload))
	fits := distance < maxAhead && distance > -maxAhead
	if fits && distance < 0 && !d.closed {
		// It was given up, or comes before the handshake, which may have been forged.
		fits = !d.gaveUp(p.seq, n) && !(d.fromSYN && d.precedes(p.seq, n))
	}
	if fits {
		c.far[from] = 0
		return false
	}
	c.far[from]++
	return c.far[from] >= 4
}

// precedes reports whether n bytes from seq on come before what was seen first.
func (d *direction) precedes(seq, n uint32) bool { return n > 1 && !before(d.first, seq+n) }

// gaveUp reports whether n bytes from seq on were given up, in part at least.
func (d *direction) gaveUp(seq, n uint32) bool {
	return seq-d.mark < d.span || n > 0 && d.mark-seq < n && d.span > 0
}

// goesOn reports whether what came behind the end of a direction was acknowledged: then
// that end was forged, or these are numbers of a later connection.
func (c *connection) goesOn(from side, p *packet) bool {
	peer := &c.dirs[from.other()]
	return peer.closed && peer.span > 0 && p.flags&(flagSYN|flagRST|flagACK) == flagACK && p.ack-peer.mark-1 < peer.span
}

// ready reports whether a segment can be handed on now.
func (c *connection) ready(from side, s *segment) bool {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if before(d.next, s.seq) {
		return false
	}
	// A direction that is not captured cannot be waited for.
	return !s.hasAck || !peer.started || peer.absent || !before(peer.next, s.ack)
}

// deliver hands a ready segment to the protocol, without what was seen before.
func (c *connection) deliver(from side, s *segment) {
	d := &c.dirs[from]
	if peer := &c.dirs[from.other()]; s.hasAck && peer.started && peer.absent && before(peer.next, s.ack) {
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
		c.table.stats.StreamBytes += uint64(len(s.data))
		rest := s.chunk
		for len(rest.data) > 0 {
			c.proto, rest = c.proto.data(from, rest)
		}
	}
	if s.missing > 0 {
		c.table.stats.CutBytes += uint64(s.missing)
		c.cutting = true
		c.lose(from, s.missing)
		c.cutting = false
	}
	if s.rst {
		c.finish()
	} else if s.fin && !d.closed {
		d.closed, d.span = true, 0
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
	if d.span == 0 || d.mark+d.span != seq {
		d.mark, d.span = seq, 0
	}
	d.span += n
	switch {
	case seq == d.first && !d.fromSYN && d.seen:
		// Nothing before it was seen: it was on its way when the capture began.
		c.table.stats.EarlierBytes += uint64(n)
	case d.seen:
		c.table.stats.Gaps++
		c.table.stats.GapBytes += uint64(n)
	default:
		c.table.stats.OneSidedBytes += uint64(n)
	}
	c.proto.gap(from, seq, n)
}

// nothing is the protocol of what is over.
var nothing = &opaque{}

// finish ends the connection: both sides are closed, or one reset it.
func (c *connection) finish() {
	if c.over {
		return
	}
	c.over = true
	c.proto.close()
	c.proto = nothing
	for i := range c.dirs {
		if d := &c.dirs[i]; !d.closed {
			d.closed, d.span = true, 0
		}
		for k := range c.dirs[i].held {
			c.dirs[i].late(c.table.stats, &c.dirs[i].held[k])
		}
		c.release(side(i))
		c.dirs[i].newest = 0
	}
	c.table.ended(c)
}
