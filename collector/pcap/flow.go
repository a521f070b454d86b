package pcap

import (
	"bytes"
	"hash/maphash"
)

// flowKey names a connection: its endpoints in order, and the tunnel it was
// seen in.
type flowKey struct {
	a, b   endpoint
	tunnel uint32
}

// keyOf returns the key of a packet's connection and the side that sent it.
func keyOf(p *packet) (flowKey, side) {
	if bytes.Compare(p.src[:], p.dst[:]) <= 0 {
		return flowKey{p.src, p.dst, p.tunnel}, 0
	}
	return flowKey{p.dst, p.src, p.tunnel}, 1
}

// endpoint returns the endpoint that a side sends from.
func (k *flowKey) endpoint(s side) *endpoint {
	if s == 0 {
		return &k.a
	}
	return &k.b
}

// table holds the connections that are open, and bounds them: by number, by
// age, and by the bytes held for all of them together.
type table struct {
	limits Limits
	stats  *Stats
	// begin makes the protocol of a new connection.
	begin func(*connection) protocol

	// connections holds them by a hash of their keys: with many at a time each
	// look-up waits for memory, and so for one line of it instead of three. Those
	// that share a hash hang on each other.
	connections map[uint64]*connection
	number      int // of connections
	// newest and oldest are the ends of the list by last packet, roughly: a
	// connection moves to its end only once in a while, and when it is looked at.
	newest, oldest *connection
	held           int // bytes of all held segments and split heads
	now            int64
	buffers        [][]byte
	seed           maphash.Seed
}

func newTable(limits Limits, stats *Stats, begin func(*connection) protocol) *table {
	return &table{limits: limits, stats: stats, begin: begin, connections: map[uint64]*connection{}, seed: maphash.MakeSeed()}
}

// packet hands a segment to its connection.
func (t *table) packet(p *packet) {
	t.now = max(t.now, p.nanos)
	key, from := keyOf(p)
	hash := maphash.Comparable(t.seed, key)
	c := t.connections[hash]
	for c != nil && c.key != key {
		c = c.sibling
	}
	if c != nil && (c.unrelated(from, p) || c.misfits(from, p)) {
		t.remove(c)
		c = nil
	}
	if c == nil {
		c = &connection{table: t, key: key, hash: hash, sibling: t.connections[hash]}
		c.proto = t.begin(c)
		t.connections[hash] = c
		t.number++
		t.stats.Connections++
		c.last = t.now
		t.link(c)
	} else if c.last = t.now; c.last-c.linked > int64(t.limits.Idle)/relinks {
		t.unlink(c)
		t.link(c)
	}
	c.packet(from, p)
	t.bound()
}

// relinks is how often, at most, a connection that is never quiet moves in the list
// while a quiet one becomes idle.
const relinks = 64

// bound evicts what is too old or too much, the connection first that was
// quiet longest.
func (t *table) bound() {
	for t.oldest != nil {
		c := t.oldest
		idle, many, much := t.now-c.linked > int64(t.limits.Idle), t.number > t.limits.Connections, t.held > t.limits.HeldTotal
		switch {
		case !idle && !many && !much:
			return
		case c.last > c.linked:
			// It was not quiet: the next in the list may have been, longer.
			t.unlink(c)
			t.link(c)
			continue
		case idle && !c.over:
			t.stats.drop(dropIdle)
		case idle:
		case many && !c.over:
			t.stats.drop(dropConnections)
		case many:
		default:
			t.stats.drop(dropMemory)
		}
		t.remove(c)
	}
}

// remove ends a connection and forgets it.
func (t *table) remove(c *connection) {
	c.flush()
	c.count()
	t.unlink(c)
	t.number--
	switch first := t.connections[c.hash]; {
	case first != c:
		for first.sibling != c {
			first = first.sibling
		}
		first.sibling = c.sibling
	case c.sibling != nil:
		t.connections[c.hash] = c.sibling
	default:
		delete(t.connections, c.hash)
	}
}

func (t *table) link(c *connection) {
	c.newer, c.older, c.linked = nil, t.newest, c.last
	if t.newest != nil {
		t.newest.newer = c
	}
	t.newest = c
	if t.oldest == nil {
		t.oldest = c
	}
}

func (t *table) unlink(c *connection) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		t.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		t.oldest = c.newer
	}
	c.newer, c.older = nil, nil
}

// bufferSize is what most segments fit in; only such buffers are kept for reuse.
const bufferSize = 2048

// copy returns a copy of data in a buffer that recycle takes back.
func (t *table) copy(data []byte) []byte {
	if n := len(t.buffers); n > 0 && len(data) <= bufferSize {
		b := t.buffers[n-1]
		t.buffers = t.buffers[:n-1]
		return append(b[:0], data...)
	}
	return append(make([]byte, 0, max(len(data), bufferSize)), data...)
}

func (t *table) recycle(b []byte) {
	if cap(b) >= bufferSize && cap(b) < 2*bufferSize && len(t.buffers) < 1024 {
		t.buffers = append(t.buffers, b[:0])
	}
}
