package pcap

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"
)

// flowKey names a connection: its endpoints in order, and the tunnel it was
// seen in.
type flowKey struct {
	a, b   endpoint
	tunnel uint32
	// vlan tells connections apart that have all else in common (vlan.go), 0 for the
	// first of them.
	vlan uint32
}

// keyOf returns the key of a packet's connection and the side that sent it.
func keyOf(p *packet) (flowKey, side) {
	if bytes.Compare(p.src[:], p.dst[:]) <= 0 {
		return flowKey{p.src, p.dst, p.tunnel, 0}, 0
	}
	return flowKey{p.dst, p.src, p.tunnel, 0}, 1
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

	// heads are the connections by the lower bits of their hashes, a power of two of
	// them; those that share the bits hang on each other. With many at a time each
	// look-up waits for memory: here for one line of it, mostly.
	heads  []*connection
	number int // of connections
	// apart is how many of them have all in common with others but the VLAN.
	apart int
	// open are the connections that go on, over those that ended, which are kept to
	// know what is late.
	open, over queue

	// held is how many bytes all held segments and split heads take up, holders are the
	// connections that began to hold segments, the first of them first.
	held    int
	holders []*connection
	now     int64
	buffers [][]byte
	recall  recall
	seed    maphash.Seed
}

func newTable(limits Limits, stats *Stats, begin func(*connection) protocol) *table {
	return &table{limits: limits, stats: stats, begin: begin, heads: make([]*connection, 64), seed: maphash.MakeSeed()}
}

// packet hands a segment to its connection.
func (t *table) packet(p *packet) {
	t.now = max(t.now, p.nanos)
	key, from := keyOf(p)
	hash := maphash.Comparable(t.seed, key)
	c := t.find(hash, &key)
	var like *connection
	if c == nil && t.apart > 0 || c != nil && c.vlans[0] != p.vlan {
		c, like = t.inVLAN(c, &key, from, p)
		hash = maphash.Comparable(t.seed, key)
	}
	replaced, synSeen := false, false
	if c != nil && c.knocks(from, p) {
		return
	}
	if c != nil && (c.unrelated(from, p) || c.misfits(from, p) || c.goesOn(from, p) || c.begins(from, p)) {
		replaced = !c.over
		synSeen = c.knocked == 1+uint8(from) && p.seq == c.knock || c.knocked == 1+uint8(from.other()) && p.ack == c.knock
		t.remove(c)
		c = nil
	}
	if c == nil {
		c = &connection{table: t, key: key, hash: hash, vlans: [3]uint32{p.vlan}, last: t.now, replaced: replaced, synSeen: synSeen}
		c.proto = t.begin(c)
		c.beginLike(like)
		t.stats.Connections++
		t.insert(c)
		t.open.link(c)
	} else if c.last = t.now; c.last-c.linked > int64(t.limits.Idle)/relinks {
		t.queueOf(c).relink(c)
	}
	c.packet(from, p)
	t.bound()
}

// find returns the connection of a key, nil if there is none.
func (t *table) find(hash uint64, key *flowKey) *connection {
	c := *t.head(hash)
	for c != nil && (c.hash != hash || c.key != *key) {
		c = c.sibling
	}
	return c
}

// head returns where the connections with the lower bits of a hash begin.
func (t *table) head(hash uint64) **connection {
	return &t.heads[hash&uint64(len(t.heads)-1)]
}

// insert adds a connection. There are at least twice as many heads.
func (t *table) insert(c *connection) {
	if c.key.vlan != 0 {
		t.apart++
	}
	if t.number++; 2*t.number > len(t.heads) {
		old := t.heads
		t.heads = make([]*connection, 2*len(old))
		for _, c := range old {
			for c != nil {
				next, at := c.sibling, t.head(c.hash)
				c.sibling, *at = *at, c
				c = next
			}
		}
	}
	at := t.head(c.hash)
	c.sibling, *at = *at, c
}

// relinks is how often, at most, a connection that is never quiet moves in its
// queue while a quiet one becomes idle.
const relinks = 64

// linger is how long a connection that ended is kept, as TCP itself does for what
// is still under way (RFC 9293 §3.3.2): the usual TIME-WAIT.
const linger = time.Minute

// bound forgets what is too old or too much, the connection first that was quiet
// longest, and those that are over before those that go on.
func (t *table) bound() {
	for c := t.over.oldest; c != nil && (t.number > t.limits.Connections || t.now-c.linked > int64(min(linger, t.limits.Idle))); c = t.over.oldest {
		t.remove(c)
	}
	for c := t.open.oldest; c != nil; c = t.open.oldest {
		idle, many, much := t.now-c.linked > int64(t.limits.Idle), t.number > t.limits.Connections, t.held > t.limits.HeldTotal
		switch {
		case !idle && !many && !much:
			return
		case c.last > c.linked:
			// It was not quiet: the next in the queue may have been, longer.
			t.open.relink(c)
			continue
		case idle:
			t.stats.drop(dropIdle)
		case many:
			t.stats.drop(dropConnections)
		default:
			t.stats.drop(dropMemory)
			if h := t.holder(); h != nil {
				c = h
			}
		}
		t.remove(c)
	}
}

// hoards is which part of all that may be held makes a connection one that gives way
// before others do that were quiet for longer.
const hoards = 1024

// holder returns the connection that has held much for longest, nil if there is none.
func (t *table) holder() *connection {
	for len(t.holders) > 0 {
		c := t.holders[0]
		t.holders[0] = nil
		t.holders = t.holders[1:]
		c.holder = false
		if held := c.dirs[0].heldBytes + c.dirs[1].heldBytes; !c.over && int(held) > t.limits.HeldTotal/hoards {
			return c
		}
	}
	t.holders = nil
	return nil
}

// holds takes note that a connection holds segments.
func (t *table) holds(c *connection) {
	if c.holder {
		return
	}
	if len(t.holders) == cap(t.holders) {
		// Those that hold nothing any more make room.
		t.holders = slices.DeleteFunc(t.holders, func(c *connection) bool {
			idle := c.over || len(c.dirs[0].held)+len(c.dirs[1].held) == 0
			c.holder = !idle
			return idle
		})
	}
	c.holder = true
	t.holders = append(t.holders, c)
}

// ended notes that a connection is over.
func (t *table) ended(c *connection) {
	t.open.unlink(c)
	t.over.link(c)
}

// any returns a connection, nil if there is none: the one that was quiet longest of
// those that go on, roughly, before those that are over.
func (t *table) any() *connection {
	if t.open.oldest != nil {
		return t.open.oldest
	}
	return t.over.oldest
}

// remove ends a connection and forgets it.
func (t *table) remove(c *connection) {
	c.flush()
	c.count()
	t.queueOf(c).unlink(c)
	if c.key.vlan != 0 {
		t.apart--
	}
	t.number--
	at := t.head(c.hash)
	for *at != c {
		at = &(*at).sibling
	}
	*at = c.sibling
}

func (t *table) queueOf(c *connection) *queue {
	if c.over {
		return &t.over
	}
	return &t.open
}

// queue holds connections by their last packet, roughly: one moves to the end only
// once in a while, and when it is looked at.
type queue struct{ newest, oldest *connection }

func (q *queue) link(c *connection) {
	c.newer, c.older, c.linked = nil, q.newest, c.last
	if q.newest != nil {
		q.newest.newer = c
	}
	q.newest = c
	if q.oldest == nil {
		q.oldest = c
	}
}

func (q *queue) unlink(c *connection) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		q.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		q.oldest = c.newer
	}
	c.newer, c.older = nil, nil
}

func (q *queue) relink(c *connection) {
	q.unlink(c)
	q.link(c)
}

// bufferSize is what most segments fit in; only such buffers are kept for reuse.
const bufferSize = 2048

// smallBuffer is what has a buffer of its own size: many tiny segments must not hold
// more than they count for.
const smallBuffer = 256

// copy returns a copy of data in a buffer that recycle takes back.
func (t *table) copy(data []byte) []byte {
	var b []byte
	switch n := len(t.buffers); {
	case len(data) <= smallBuffer:
		b = make([]byte, 0, len(data))
	case n > 0 && len(data) <= bufferSize:
		b = t.buffers[n-1]
		t.buffers = t.buffers[:n-1]
	default:
		b = make([]byte, 0, max(len(data), bufferSize))
	}
	t.held += cap(b)
	return append(b[:0], data...)
}

// extend adds to such a buffer, which may be nil.
func (t *table) extend(b, more []byte) []byte {
	if b == nil {
		return t.copy(more)
	}
	t.held -= cap(b)
	b = append(b, more...)
	t.held += cap(b)
	return b
}

func (t *table) recycle(b []byte) {
	t.held -= cap(b)
	if cap(b) >= bufferSize && cap(b) < 2*bufferSize && len(t.buffers) < 1024 {
		t.buffers = append(t.buffers, b[:0])
	}
}
