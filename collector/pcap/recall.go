package pcap

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
)

// Where a place is sent twice with other bytes, nobody knows which of them the
// receiver took, or whether it took any. So the bytes that passed last are
// remembered: of all connections together in one ring, where the pieces of each
// direction lie in a row, the newest first. So a direction needs no more than the
// place of one, and what was overwritten takes no room. Segments need not have the same
// borders to be compared. Bodies that nobody reads are left out: what is in them makes
// no difference.

const (
	recallBlock  = 64 << 10
	recallBlocks = 64
	// recentPieces is how many pieces of a direction are looked at; segments that
	// follow each other without another connection between are one.
	recentPieces = 8
	// pieceHead is what stands before the bytes of a piece.
	pieceHead = 8 + 4 + 4
)

// recall is the ring. Its blocks are made when they are first written.
type recall struct {
	blocks [recallBlocks][]byte
	// at is how many bytes were written, gaps at the ends of blocks included.
	at uint64
	// last is the direction that the newest piece is of.
	last *direction
}

// room returns where the next n bytes will stand; a block holds them in one piece.
func (m *recall) room(n int) uint64 {
	if left := recallBlock - m.at%recallBlock; uint64(n) > left {
		m.at += left
	}
	return m.at
}

// take makes room for n bytes, and returns where they stand.
func (m *recall) take(n int) (at uint64, b []byte) {
	at = m.room(n)
	block := &m.blocks[at/recallBlock%recallBlocks]
	if *block == nil {
		*block = make([]byte, recallBlock)
	}
	m.at += uint64(n)
	from := at % recallBlock
	return at, (*block)[from : from+uint64(n)]
}

// put writes bytes, and returns where they stand.
func (m *recall) put(b []byte) uint64 {
	at, to := m.take(len(b))
	copy(to, b)
	return at
}

// get returns n bytes that were written at at, nil if others were written there since.
func (m *recall) get(at uint64, n int) []byte {
	if m.at/recallBlock-at/recallBlock >= recallBlocks {
		return nil
	}
	from := at % recallBlock
	return m.blocks[at/recallBlock%recallBlocks][from : from+uint64(n)]
}

// piece is a row of bytes of one direction that is remembered. In the ring its bytes
// stand behind its other fields.
type piece struct {
	// older is the place of the one before and 1, 0 where there is none.
	older uint64
	seq   uint32
	data  []byte
}

// read returns the piece at a place and 1; ok is false where it is gone.
func (m *recall) read(place uint64) (p piece, ok bool) {
	if place == 0 {
		return p, false
	}
	head := m.get(place-1, pieceHead)
	if head == nil {
		return p, false
	}
	p.older, p.seq = binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint32(head[8:])
	p.data = m.get(place-1+pieceHead, int(binary.LittleEndian.Uint32(head[12:])))
	return p, true
}

// pieces yields the newest pieces of a direction that are there.
func (d *direction) pieces(m *recall) iter.Seq[piece] {
	return func(yield func(piece) bool) {
		p, ok := m.read(d.newest)
		for n := 0; ok && n < recentPieces && yield(p); n++ {
			p, ok = m.read(p.older)
		}
	}
}

// contradicts reports whether data says something else than what passed at its place
// before.
func (d *direction) contradicts(m *recall, seq uint32, data []byte) bool {
	if len(data) == 1 && seq+1 == d.next && d.hasAcked && !before(d.acked, d.next) {
		return false // a keep-alive, whose byte means nothing, and which comes when all has arrived
	}
	for p := range d.pieces(m) {
		ahead := int64(int32(p.seq - seq)) // where the piece begins, seen from data
		from, to := max(0, ahead), min(int64(len(data)), ahead+int64(len(p.data)))
		if from < to && !bytes.Equal(p.data[from-ahead:to-ahead], data[from:to]) {
			return true
		}
	}
	return false
}

// remembers reports whether a segment lies in a piece.
func (d *direction) remembers(m *recall, seq uint32, data []byte) bool {
	for p := range d.pieces(m) {
		if ahead := uint64(seq - p.seq); ahead < uint64(len(p.data)) && ahead+uint64(len(data)) <= uint64(len(p.data)) {
			return true
		}
	}
	return false
}

// remember keeps a segment in mind.
func (d *direction) remember(m *recall, seq uint32, data []byte) {
	data = data[:min(len(data), recallBlock-pieceHead)]
	if m.last == d {
		// The newest piece may go on. Its bytes end where the next will stand.
		if p, ok := m.read(d.newest); ok && p.seq+uint32(len(p.data)) == seq && m.at%recallBlock != 0 && m.room(len(data)) == d.newest-1+pieceHead+uint64(len(p.data)) {
			m.put(data)
			binary.LittleEndian.PutUint32(m.get(d.newest-1+12, 4), uint32(len(p.data)+len(data)))
			return
		}
	}
	at, b := m.take(pieceHead + len(data))
	binary.LittleEndian.PutUint64(b, d.newest)
	binary.LittleEndian.PutUint32(b[8:], seq)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(data)))
	copy(b[pieceHead:], data)
	d.newest, m.last = at+1, d
}

// careless is a protocol that can say that the next n bytes of a direction mean
// nothing, whatever they are.
type careless interface {
	indifferent(from side, n int) bool
}

// setApart takes an urgent byte out of the row, as most systems do; of what is sent
// like that nothing is certain.
func (c *connection) setApart(d *direction, p *packet) {
	c.table.stats.Urgent++
	c.conflicting = true
	if at := p.urgentAt; at >= 0 && at < len(p.payload) && p.seq == d.next {
		p.payload = slices.Concat(p.payload[:at], p.payload[at+1:])
		p.seq++
		d.next++
	}
}

// compare looks whether a segment contradicts an earlier one.
func (c *connection) compare(from side, d *direction, p *packet) {
	if c.skipsHolding() {
		return
	}
	fresh := p.seq == d.next && len(d.held) == 0
	if fresh {
		if r, ok := c.proto.(careless); ok && r.indifferent(from, len(p.payload)) {
			return
		}
	}
	if !fresh {
		if d.contradicts(&c.table.recall, p.seq, p.payload) {
			c.table.stats.Conflicting++
			c.conflicting = true
			c.prefer(from, p)
			return
		}
		if d.remembers(&c.table.recall, p.seq, p.payload) {
			return // sent again
		}
	}
	d.remember(&c.table.recall, p.seq, p.payload)
}

// indifferent reports whether the next n bytes lie in a body that nobody reads.
func (h *http1) indifferent(from side, n int) bool {
	r, isRequest := &h.answer, from == h.client
	if isRequest {
		r = &h.request
	}
	switch {
	case !h.inside(from, uint64(n)):
		return false
	case !r.sampled:
		return true // asked of most packets, in one line of memory
	}
	s := h.sample(isRequest)
	return s == nil || s.cut
}

// indifferent reports whether the next n bytes lie in a body that nobody reads.
func (h *http2) indifferent(from side, n int) bool {
	r := h.reader(from)
	if r.phase != framePhasePayload || r.frame.kind != frameData || r.padNext || uint64(n) > uint64(r.remain) {
		return false
	}
	s := h.find(r.frame.stream)
	if s == nil || s.x == nil {
		return s == nil
	}
	if r.client {
		return s.x.ask == nil || s.x.ask.cut
	}
	return s.x.reply == nil || s.x.reply.cut
}
