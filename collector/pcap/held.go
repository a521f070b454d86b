package pcap

import "slices"

// What a connection cannot hand on yet, and when it stops waiting.

// hold keeps a copy of a segment, in order and without overlap.
func (c *connection) hold(from side, s segment) {
	d := &c.dirs[from]
	if !before(s.seq, d.next+maxAhead) {
		c.table.stats.drop(dropFarAhead)
		return
	}
	if c.skipsHolding() {
		// Its order does not matter, but where the connection stands, and its end.
		if before(d.next, s.seq) {
			d.next = s.seq
		}
		c.deliver(from, &s)
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
			d.heldBytes += uint32(s.cost())
			c.table.held += segmentBytes
			d.held = slices.Insert(d.held, at, s)
			at++
		}
		if !split {
			break
		}
		s = tail
		at++
	}
	c.table.holds(c)
	if int(d.heldBytes) > c.table.limits.HeldPerDirection || len(d.held) > maxHeldSegments {
		c.table.stats.drop(dropHeldLimit)
		for len(d.held) > 0 && (int(d.heldBytes) > c.table.limits.HeldPerDirection || len(d.held) > maxHeldSegments) {
			c.force()
			c.drain()
		}
	}
}

// segmentBytes is what a held segment takes up besides its bytes, with room for the
// next in its list.
const segmentBytes = 128

// cost is what a held segment takes up.
func (s *segment) cost() int { return cap(s.data) + segmentBytes }

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

// progress hands on what can be handed on after a packet of a side, and declares holes
// final.
func (c *connection) progress(by side, p *packet) {
	for len(c.dirs[0].held) > 0 || len(c.dirs[1].held) > 0 {
		if c.drain() {
			continue
		}
		switch c.final(by, p) {
		case holeOpen:
			return
		case holeFinal:
			c.force()
		case holeRefused:
			c.refuse(c.oldest())
		}
	}
}

// overdue declares the holes final that wait for too long on connections of which no
// packet comes to show it: behind a lost packet a client may be silent for minutes, and
// the answer that it has is held. quiet is how long ago the last packet of any was seen.
func (t *table) overdue(quiet int64) {
	for _, c := range t.holders {
		if c.over || len(c.dirs[0].held)+len(c.dirs[1].held) == 0 {
			continue
		}
		from := c.oldest()
		c.progress(from, &packet{nanos: t.now + quiet, number: c.dirs[from].held[0].number})
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
				d.heldBytes -= uint32(s.cost())
				c.table.held -= segmentBytes
				buffer := s.data
				switch {
				case d.closed && !s.rst:
					d.late(c.table.stats, &s)
				case !before(s.end(), d.next) || s.fin || s.rst:
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

// What becomes of a hole: it may still be filled, it never will, or what is behind it
// was not taken.
const (
	holeOpen = iota
	holeFinal
	holeRefused
)

// final says what becomes of the hole that blocks the oldest held segment.
func (c *connection) final(by side, p *packet) int {
	limits := &c.table.limits
	from := c.oldest()
	d := &c.dirs[from]
	s := &d.held[0]
	waited, packets := p.nanos-s.nanos, p.number-s.number
	if before(d.next, s.seq) && c.dirs[from.other()].seen && !(d.hasAcked && before(d.next, d.acked)) {
		// Not acknowledged: the sender will send it again.
		switch {
		case waited <= int64(limits.Retransmission):
			return holeOpen
		case by != from && p.flags&flagACK != 0:
			// Nor is it now. Whoever sends beyond what the receiver has room for would
			// have us wait there for what is long sent.
			return holeRefused
		case waited <= 2*int64(limits.Retransmission):
			return holeOpen
		}
		return holeFinal
	}
	if packets >= uint64(limits.ReorderPackets) && waited >= int64(limits.ReorderTime) ||
		waited >= 100*int64(limits.ReorderTime) || packets >= 64*uint64(limits.ReorderPackets) {
		return holeFinal
	}
	return holeOpen
}

// refuse forgets what is held of a direction: the receiver did not take it.
func (c *connection) refuse(from side) {
	c.table.stats.Dropped[dropUnwanted] += uint64(len(c.dirs[from].held))
	c.release(from)
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
		peer.absent = !peer.seen
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

// count enters a connection that is over into the books.
func (c *connection) count() {
	a, b := &c.dirs[0], &c.dirs[1]
	if !a.dataSeen && !b.dataSeen {
		return
	}
	if a.seen && b.seen {
		c.table.stats.BothWays++
	} else {
		c.table.stats.OneWay++
	}
	if c.midstream() {
		c.table.stats.Late++
	}
}

// prefer takes a segment rather than what is held of its place, where that acknowledges
// what the other side was not seen to send and this does not: receivers drop such.
func (c *connection) prefer(from side, p *packet) {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	if !peer.started || p.flags&flagACK == 0 || before(peer.next, p.ack) {
		return
	}
	end := p.seq + uint32(len(p.payload))
	d.held = slices.DeleteFunc(d.held, func(s segment) bool {
		if !s.hasAck || !before(peer.next, s.ack) || !before(s.seq, end) || !before(p.seq, s.end()) {
			return false
		}
		c.table.stats.drop(dropUnwanted)
		d.heldBytes -= uint32(s.cost())
		c.table.held -= segmentBytes
		c.table.recycle(s.data)
		return true
	})
}

// late counts a held segment that comes behind the end.
func (d *direction) late(stats *Stats, s *segment) {
	if len(s.data) > 0 && before(d.next, s.end()) {
		stats.drop(dropLate)
	}
}

// release drops what is held of one direction.
func (c *connection) release(s side) {
	d := &c.dirs[s]
	for i := range d.held {
		c.table.held -= segmentBytes
		c.table.recycle(d.held[i].data)
	}
	d.held, d.heldBytes = nil, 0
}
