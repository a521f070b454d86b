package pcap

import "hash/maphash"

// One connection may be seen in several VLANs: a mirror of a router's port has each
// packet as it comes in and as it goes out, or the requests in one VLAN and the answers
// in another. And two connections may have all in common but the VLAN, where tenants
// have the same addresses. The numbers of TCP tell which it is: both sides begin with
// one out of four billion. So the VLAN is no part of a connection's name, as long as
// the numbers fit and the bytes do not contradict each other.

// in reports whether the connection was seen in a VLAN.
func (c *connection) in(vlan uint32) bool {
	return c.vlans[0] == vlan || c.vlans[1] == vlan || c.vlans[2] == vlan
}

// inVLAN returns the connection of a packet in another VLAN than c was first seen in;
// c may be nil. If there is none yet, it returns nil, and key becomes that of the new
// one; like is then what it begins like, or nil.
func (t *table) inVLAN(c *connection, key *flowKey, from side, p *packet) (own, like *connection) {
	if t.apart > 0 {
		other := *key
		other.vlan = p.vlan
		if o := t.find(maphash.Comparable(t.seed, other), &other); o != nil {
			*key = other
			return o, nil
		}
	}
	switch {
	case c == nil:
		return nil, nil
	case c.in(p.vlan):
		if len(p.payload) == 0 || !c.dirs[from].contradicts(&t.recall, p.seq, p.payload) {
			return c, nil
		}
		// It only began like this one.
		for i := range c.vlans {
			if c.vlans[i] == p.vlan {
				c.vlans[i] = 0
			}
		}
		like = c
	case c.admits(from, p):
		return c, nil
	}
	key.vlan = p.vlan
	return nil, like
}

// admits reports whether a packet in another VLAN is one of this connection, and if so
// takes note of the VLAN.
func (c *connection) admits(from side, p *packet) bool {
	d, peer := &c.dirs[from], &c.dirs[from.other()]
	fits := 0
	if d.started {
		if p.flags&flagSYN != 0 && (c.over || p.seq+1 != d.first) || !near(p.seq, d.next) {
			return false
		}
		fits++
	}
	if p.flags&flagACK != 0 && peer.started {
		if !near(p.ack, peer.next) {
			return false
		}
		fits++
	}
	if fits == 0 || len(p.payload) > 0 && d.contradicts(&c.table.recall, p.seq, p.payload) {
		return false
	}
	for i := range c.vlans {
		if c.vlans[i] == 0 {
			c.vlans[i] = p.vlan
			return true
		}
	}
	return false
}

// beginLike gives a connection the handshake of another, if that was seen.
func (c *connection) beginLike(like *connection) {
	if like == nil || like.midstream() {
		return
	}
	c.client, c.clientKnown, c.bothOpened, c.synSeen = like.client, like.clientKnown, like.bothOpened, like.synSeen
	for i := range c.dirs {
		c.dirs[i].start(like.dirs[i].first, true)
		c.dirs[i].seen = like.dirs[i].seen
	}
}
