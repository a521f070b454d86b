package pcap

import (
	"bytes"
	"slices"
)

// Where a place is sent twice with other bytes, nobody knows which of them the
// receiver took, or whether it took any. So the bytes that passed last are
// remembered: of all connections together in one ring, of which each direction knows
// its own pieces. Segments need not have the same borders to be compared. Bodies that
// nobody reads are left out: what is in them makes no difference.

const (
	recallBlock  = 64 << 10
	recallBlocks = 64
	// recentPieces is how many pieces of a direction are remembered; segments that
	// follow each other without another connection between are one.
	recentPieces = 8
)

// recall is the ring. Its blocks are made when they are first written.
type recall struct {
	blocks [recallBlocks][]byte
	// at is how many bytes were written, gaps at the ends of blocks included.
	at uint64
}

// room returns where the next n bytes will stand; a block holds them in one piece.
func (m *recall) room(n int) uint64 {
	if left := recallBlock - m.at%recallBlock; uint64(n) > left {
		m.at += left
	}
	return m.at
}

// put writes bytes, and returns where they stand.
func (m *recall) put(b []byte) uint64 {
	at := m.room(len(b))
	block := &m.blocks[at/recallBlock%recallBlocks]
	if *block == nil {
		*block = make([]byte, recallBlock)
	}
	copy((*block)[at%recallBlock:], b)
	m.at += uint64(len(b))
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

// piece is a row of bytes of one direction that is remembered.
type piece struct {
	seq, length uint32
	at          uint64
}

// contradicts reports whether data says something else than what passed at its place
// before.
func (d *direction) contradicts(m *recall, seq uint32, data []byte) bool {
	if len(data) == 1 && seq+1 == d.next && d.hasAcked && !before(d.acked, d.next) {
		return false // a keep-alive, whose byte means nothing, and which comes when all has arrived
	}
	if d.pieces == nil {
		return false
	}
	for i := range d.pieces {
		p := &d.pieces[i]
		ahead := int32(p.seq - seq) // where the piece begins, seen from data
		from, to := max(0, int64(ahead)), min(int64(len(data)), int64(ahead)+int64(p.length))
		if from >= to {
			continue
		}
		if old := m.get(p.at+uint64(from-int64(ahead)), int(to-from)); old != nil && !bytes.Equal(old, data[from:to]) {
			return true
		}
	}
	return false
}

// remembers reports whether a segment lies in a piece.
func (d *direction) remembers(m *recall, seq uint32, data []byte) bool {
	if d.pieces == nil {
		return false
	}
	for i := range d.pieces {
		if p := &d.pieces[i]; seq-p.seq < p.length && seq-p.seq+uint32(len(data)) <= p.length && m.get(p.at, 0) != nil {
			return true
		}
	}
	return false
}

// remember keeps a segment in mind.
func (d *direction) remember(t *table, seq uint32, data []byte) {
	data = data[:min(len(data), recallBlock)]
	if d.pieces == nil {
		d.pieces = t.newPieces()
	}
	m, last := &t.recall, &d.pieces[d.lastPiece]
	at := m.room(len(data))
	if last.length > 0 && at%recallBlock != 0 && last.seq+last.length == seq && last.at+uint64(last.length) == at {
		m.put(data)
		last.length += uint32(len(data))
		return
	}
	d.lastPiece = (d.lastPiece + 1) % recentPieces
	d.pieces[d.lastPiece] = piece{seq, uint32(len(data)), m.put(data)}
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
			return
		}
		if d.remembers(&c.table.recall, p.seq, p.payload) {
			return // sent again
		}
	}
	d.remember(c.table, p.seq, p.payload)
}

// indifferent reports whether the next n bytes lie in a body that nobody reads.
func (h *http1) indifferent(from side, n int) bool {
	s := h.sample(from == h.client)
	return (s == nil || s.cut) && h.inside(from, uint64(n))
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
