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

	connections map[flowKey]*connection
	// newest and oldest are the ends of the list by last packet.
	newest, oldest *connection
	held           int // bytes of all held segments and split heads
	now            int64
	buffers        [][]byte
	seed           maphash.Seed
}

func newTable(limits Limits, stats *Stats, begin func(*connection) protocol) *table {
	return &table{limits: limits, stats: stats, begin: begin, connections: map[flowKey]*connection{}, seed: maphash.MakeSeed()}
}

// packet hands a segment to its connection.
func (t *table) packet(p *packet) {
	t.now = max(t.now, p.nanos)
	key, from := keyOf(p)
	c := t.connections[key]
	if c != nil && (c.unrelated(from, p) || c.misfits(from, p)) {
		t.remove(c)
		c = nil
	}
	if c == nil {
		c = &connection{table: t, key: key}
		c.proto = t.begin(c)
		t.connections[key] = c
		t.stats.Connections++
	} else {
		t.unlink(c)
	}
	c.last = t.now
	t.link(c)
	c.packet(from, p)
	t.bound()
}

// bound evicts what is too old or too much, the connection first that was
// quiet longest.
func (t *table) bound() {
	for t.oldest != nil {
		switch {
		case t.now-t.oldest.last > int64(t.limits.Idle):
			if !t.oldest.over {
				t.stats.drop(dropIdle)
			}
		case len(t.connections) > t.limits.Connections:
			if !t.oldest.over {
				t.stats.drop(dropConnections)
			}
		case t.held > t.limits.HeldTotal:
			t.stats.drop(dropMemory)
		default:
			return
		}
		t.remove(t.oldest)
	}
}

// remove ends a connection and forgets it.
func (t *table) remove(c *connection) {
	c.flush()
	c.count()
	t.unlink(c)
	delete(t.connections, c.key)
}

func (t *table) link(c *connection) {
	c.newer, c.older = nil, t.newest
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
