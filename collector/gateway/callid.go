package gateway

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// recentSize is how many units one generation remembers.
const recentSize = 3 << 18

// recent remembers the hashes of units: exactly for the last recentSize ones at
// least, in two generations of at most 8 MiB, and counts how often each came.
type recent struct {
	now, before map64
	// again counts those that came more than once.
	again, againBefore map[uint64]uint32
}

// map64 is a set of 64-bit hashes, open addressing, zero meaning empty.
type map64 struct {
	slots []uint64
	used  int
}

func (m *map64) has(h uint64) bool {
	if len(m.slots) == 0 {
		return false
	}
	for i := h & uint64(len(m.slots)-1); ; i = (i + 1) & uint64(len(m.slots)-1) {
		switch m.slots[i] {
		case h:
			return true
		case 0:
			return false
		}
	}
}

func (m *map64) add(h uint64) {
	if 4*m.used >= 3*len(m.slots) {
		old := m.slots
		m.slots = make([]uint64, max(1024, 2*len(old)))
		m.used = 0
		for _, h := range old {
			if h != 0 {
				m.put(h)
			}
		}
	}
	m.put(h)
}

func (m *map64) put(h uint64) {
	i := h & uint64(len(m.slots)-1)
	for m.slots[i] != 0 {
		i = (i + 1) & uint64(len(m.slots)-1)
	}
	m.slots[i] = h
	m.used++
}

// seen reports how often h came before, and counts it.
func (r *recent) seen(h uint64) uint32 {
	h |= 1
	if !r.now.has(h) {
		if !r.before.has(h) {
			if r.now.used >= recentSize {
				r.before, r.now = r.now, map64{slots: make([]uint64, len(r.now.slots))}
				r.againBefore, r.again = r.again, nil
			}
			r.now.add(h)
			return 0
		}
		// It lives on in this generation, with its count.
		r.now.add(h)
		if n := r.againBefore[h]; n > 0 {
			r.count(h, n)
		}
	}
	n := r.again[h] + 1
	r.count(h, n)
	return n
}

func (r *recent) count(h uint64, n uint32) {
	if r.again == nil {
		r.again = map[uint64]uint32{}
	}
	if len(r.again) < recentSize/4 || r.again[h] > 0 {
		r.again[h] = n
	}
}

// add remembers h; contains asks.
func (r *recent) add(h uint64) {
	h |= 1
	if r.now.has(h) {
		return
	}
	if r.now.used >= recentSize {
		r.before, r.now = r.now, map64{slots: make([]uint64, len(r.now.slots))}
	}
	r.now.add(h)
}

func (r *recent) contains(h uint64) bool { return r.now.has(h|1) || r.before.has(h|1) }

// ids makes the ids of calls.
//
// A log's own id names the call wherever a copy of the log is read, so neither
// input nor preset wrapping is part of it; the facts that "same" lists are, since
// published, masked and edited logs repeat ids. Without one, the unit's bytes and
// its ordinal among equal units of the input name it.
type ids struct {
	key *redact.Key
	// units are those of the input at hand.
	units *recent
	facts []byte
	// hash is a keyed universal hash (GMAC) of a unit's bytes, and each preset's
	// cipher turns its tag into an id: together a Carter-Wegman MAC, at a tenth of
	// an HMAC's price. All keys come from the installation key.
	hash    cipher.AEAD
	tag     []byte
	ciphers map[*reader]cipher.Block
}

func newIDs(key *redact.Key) ids {
	hash, err := cipher.NewGCM(derivedCipher(key, "unit hash"))
	if err != nil {
		panic(err) // every AES block can be used so
	}
	return ids{key: key, units: &recent{}, hash: hash, tag: make([]byte, 0, 16), ciphers: map[*reader]cipher.Block{}}
}

func derivedCipher(key *redact.Key, label string) cipher.Block {
	secret := key.Sum(label)
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // 16 bytes are a key
	}
	return block
}

// hashNonce is fixed: equal units must get equal tags.
var hashNonce [12]byte

// of returns the id of a unit's call: from the log's own id where it has one.
func (g *ids) of(r *reader, u *unit) schema.CallID {
	if r.unitID >= 0 {
		if native := u.text(r.unitID); plausibleID(native) {
			g.facts = g.facts[:0]
			for _, slot := range r.same {
				g.facts = u.appendFact(g.facts, slot)
			}
			return g.key.Sum(r.event, native, g.facts)
		}
	}
	block := g.ciphers[r]
	if block == nil {
		block = derivedCipher(g.key, r.label)
		g.ciphers[r] = block
	}
	g.tag = g.hash.Seal(g.tag[:0], hashNonce[:], nil, u.raw)
	id := g.tag
	if u.frameTimeUsed {
		mix(id, uint64(u.frameTime))
	}
	block.Encrypt(id, id)
	if n := g.units.seen(binary.LittleEndian.Uint64(id)); n > 0 {
		mix(id, uint64(n))
		block.Encrypt(id, id)
	}
	return schema.CallID(id)
}

// mix adds a number to what is encrypted next.
func mix(id []byte, n uint64) {
	binary.LittleEndian.PutUint64(id[8:], binary.LittleEndian.Uint64(id[8:])^n)
}

// plausibleID reports whether an id can tell units apart: masked logs write
// words such as "<eventId>" in its place.
func plausibleID(id []byte) bool {
	return len(id) >= 8 && len(id) <= 256 && bytes.ContainsAny(id, "0123456789") && !bytes.ContainsAny(id, "<>*{} ")
}

// appendFact writes a value so that another spelling of the same value gives the
// same bytes: objects and lists as a sum over their bytes that knows neither
// order nor white space.
func (u *unit) appendFact(dst []byte, slot int) []byte {
	dst = append(dst, 0)
	first := u.s.first[slot]
	if first == 0 {
		return dst
	}
	v := &u.s.vals[first-1]
	if v.kind != kindObject && v.kind != kindArray {
		return append(dst, u.text(slot)...)
	}
	var sum uint64
	for _, c := range v.raw {
		if c > ' ' {
			x := (uint64(c) + 1) * 0x9e3779b97f4a7c15
			sum += (x ^ x>>29) * 0xbf58476d1ce4e5b9
		}
	}
	return binary.LittleEndian.AppendUint64(dst, sum)
}
