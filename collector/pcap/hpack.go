package pcap

import (
	"bytes"
	"errors"
	"slices"
	"unsafe"
)

// HPACK (RFC 7541) as a bystander must read it. A table entry that was filled
// where nobody looked is unseen, not guessed: indexes count from the newest
// entry, so those made since stay right however many were missed before.
// Entries may be kept longer than the sender keeps them, which names nothing
// wrongly: a sender does not refer to what it has dropped. The same holds where
// the table's size is not known: an entry that was too large for it emptied it,
// so that nothing refers to its place, nor to any before.
//
// Of an entry only what somebody reads is kept: for all other fields its place
// and size. So a table of 4 KiB costs a fraction of that, and a bomb of
// references costs a byte each.

// hpackEntry is one entry of a dynamic table. With many connections most of their
// memory are these, so it is eight bytes: no table is larger than 64 KiB.
type hpackEntry struct {
	// at is where in the table's texts its value begins, counted up to 65,535 and from
	// 0 again.
	at uint16
	// bytes are those of name and value, nameLen of the name alone: unseenName where
	// that is not known, which is none of bytes.
	bytes, nameLen uint16
	field          field
	// known says that value is the entry's.
	known bool
}

const unseenName = 1<<16 - 1

// size is what the entry counts (RFC 7541 §4.1).
func (e *hpackEntry) size() int { return hpackOverhead + int(e.bytes) }

// length is how much of the value is kept: all where somebody reads the field.
func (e *hpackEntry) length() int {
	if e.field <= fieldOdd || !e.known {
		return 0
	}
	return int(e.bytes - e.nameLen)
}

// cost is about what the entry takes of memory.
func (e *hpackEntry) cost() int { return int(unsafe.Sizeof(*e)) + e.length() }

// hpackTable is the dynamic table of one direction.
type hpackTable struct {
	// entries are in the order of their making, the newest last. The first evicted of
	// them are there no more.
	entries []hpackEntry
	// texts are the values of the entries, one behind the other, behind dead bytes of
	// those that are there no more. While a block is read nothing of it is overwritten:
	// the head may hold it.
	texts   []byte
	dead    int32
	size    int32 // as RFC 7541 §4.1 counts it, as far as it is known
	max     int32 // that the sender keeps to
	evicted uint16
	// lost says that entries were made before the first one here.
	lost bool
}

// live are the entries that are there.
func (t *hpackTable) live() []hpackEntry { return t.entries[t.evicted:] }

// kept is about how many bytes are held.
func (t *hpackTable) kept() int {
	return len(t.live())*int(unsafe.Sizeof(hpackEntry{})) + len(t.texts) - int(t.dead)
}

const (
	// hpackDefaultMax is the table size of a new connection.
	hpackDefaultMax = 4096
	// hpackLargest is the largest table that is followed; of a larger one the
	// oldest entries are taken as unseen.
	hpackLargest  = 64 << 10
	hpackOverhead = 32
	// maxCookies and maxCookieBytes bound what is put together of cookies.
	maxCookies, maxCookieBytes = 64, 16 << 10
)

var errHPACK = errors.New("a header block is not HPACK")

// forget says that blocks were lost: all entries so far are unseen.
func (t *hpackTable) forget(budget *int) {
	*budget += t.kept()
	t.clear()
}

// clear leaves the entries to whoever has them.
func (t *hpackTable) clear() {
	*t = hpackTable{max: t.max, lost: true}
}

// value returns what is kept of the value of an entry that is there. It is never nil:
// an empty value was said, too.
func (t *hpackTable) value(e *hpackEntry) []byte {
	length := e.length()
	if length == 0 {
		return []byte{}
	}
	at := int(t.dead) + int(e.at-t.live()[0].at)
	return t.texts[at : at+length : at+length]
}

// push adds an entry with its value. Both lists grow by a fifth and what their
// memory has room for anyway: they stay as long as the connection does.
func (t *hpackTable) push(e hpackEntry, value []byte) {
	if len(t.texts)+len(value) > cap(t.texts) {
		live := t.texts[t.dead:]
		t.texts = append(slices.Grow([]byte(nil), len(live)+len(value)+len(live)/5+16), live...)
		t.dead = 0
	}
	if n := len(t.entries); n == cap(t.entries) {
		live := t.live()
		if int(t.evicted) <= n/8 {
			t.entries = slices.Grow([]hpackEntry(nil), n+n/5+8)
		}
		t.entries, t.evicted = append(t.entries[:0], live...), 0
	}
	e.at = 0
	if live := t.live(); len(live) > 0 {
		e.at = live[0].at + uint16(len(t.texts)-int(t.dead))
	}
	t.texts = append(t.texts, value...)
	t.entries = append(t.entries, e)
}

// tidy makes room of what is dead: no head holds it.
func (t *hpackTable) tidy() {
	if t.dead > 0 {
		t.texts, t.dead = append(t.texts[:0], t.texts[t.dead:]...), 0
	}
}

// forgetUnlessWhole empties the table. One that was followed from its beginning
// stays whole.
func (t *hpackTable) forgetUnlessWhole(budget *int) {
	lost := t.lost
	t.forget(budget)
	t.lost = lost
}

// blockReader reads the fields of one header block into a head.
type blockReader struct {
	table  *hpackTable
	head   *head
	tenant string
	// budget is what all tables together may still keep.
	budget *int
	// arena holds decoded texts while the block's head is in use.
	arena []byte
	// regular says that a field other than a pseudo header came.
	regular bool
	cookies int
	starved bool
}

// read reads a block, which may be cut at its end. Of a damaged block the fields
// before the damage stand.
func (r *blockReader) read(b []byte) error {
	r.table.tidy()
	for len(b) > 0 {
		var err error
		switch c := b[0]; {
		case c >= 0x80:
			b, err = r.indexed(b)
		case c >= 0x40:
			b, err = r.literal(b, 6, true)
		case c >= 0x20:
			b, err = r.resize(b)
		default:
			b, err = r.literal(b, 4, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hpackInt reads an integer with a prefix of so many bits.
func hpackInt(b []byte, prefix uint) (n int, rest []byte, err error) {
	mask := byte(1)<<prefix - 1
	n = int(b[0] & mask)
	b = b[1:]
	if n < int(mask) {
		return n, b, nil
	}
	// Zeros may stand behind the highest bit that is set.
	for shift := uint(0); shift < 63; shift += 7 {
		if len(b) == 0 {
			return 0, nil, errHPACK
		}
		c := b[0]
		b = b[1:]
		if c&0x7f != 0 && shift > 21 {
			return 0, nil, errHPACK
		}
		n += int(c&0x7f) << min(shift, 21)
		if c < 0x80 {
			return n, b, nil
		}
	}
	return 0, nil, errHPACK
}

// lookup returns the entry with an index; seen is false for one that was made
// unseen.
func (r *blockReader) lookup(index int) (e hpackEntry, value []byte, seen bool, err error) {
	switch {
	case index == 0:
		return e, nil, false, errHPACK
	case index <= len(hpackStatic):
		s := &hpackStatic[index-1]
		f := s.field
		if r.tenant != "" && s.name == r.tenant {
			f |= fieldTenant
		}
		return hpackEntry{field: f, known: true, nameLen: uint16(len(s.name))}, s.value, true, nil
	}
	live := r.table.live()
	if n := len(live) - (index - len(hpackStatic)); n >= 0 {
		e = live[n]
		return e, r.table.value(&e), true, nil
	}
	if r.table.lost && index <= len(hpackStatic)+hpackLargest/hpackOverhead {
		return hpackEntry{field: fieldUnseen, nameLen: unseenName}, nil, false, nil
	}
	return e, nil, false, errHPACK
}

func (r *blockReader) indexed(b []byte) ([]byte, error) {
	index, b, err := hpackInt(b, 7)
	if err != nil {
		return nil, err
	}
	e, value, _, err := r.lookup(index)
	if err != nil {
		return nil, err
	}
	r.found(e.field, value, e.known)
	return b, nil
}

func (r *blockReader) resize(b []byte) ([]byte, error) {
	n, b, err := hpackInt(b, 5)
	if err != nil {
		return nil, err
	}
	t := r.table
	if n > hpackLargest {
		n, t.lost = hpackLargest, true
	}
	t.max = int32(n)
	r.evict(0)
	return b, nil
}

// text reads a text; unless it is wanted, only its length is looked at.
func (r *blockReader) text(b []byte, wanted bool) (text, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errHPACK
	}
	coded := b[0]&0x80 != 0
	n, b, err := hpackInt(b, 7)
	if err != nil || n > len(b) {
		return nil, nil, errHPACK
	}
	text, rest = b[:n], b[n:]
	if coded && wanted {
		start := len(r.arena)
		if r.arena, err = appendHuffman(r.arena, text); err != nil {
			return nil, nil, err
		}
		text = r.arena[start:len(r.arena):len(r.arena)]
	}
	return text, rest, nil
}

// literal reads a literal field, and adds it to the table if that is asked.
func (r *blockReader) literal(b []byte, prefix uint, add bool) ([]byte, error) {
	index, b, err := hpackInt(b, prefix)
	if err != nil {
		return nil, err
	}
	e := hpackEntry{known: true}
	if index > 0 {
		named, _, seen, err := r.lookup(index)
		if err != nil {
			return nil, err
		}
		e.field, e.nameLen = named.field, named.nameLen
		e.known = seen
	} else {
		var name []byte
		if name, b, err = r.text(b, true); err != nil {
			return nil, err
		}
		e.field, e.nameLen = fieldOf(name, r.tenant), uint16(min(len(name), unseenName-1))
		if e.field <= fieldSecretive && forbidden(name) {
			e.field = fieldOdd
		}
	}
	wanted := e.field > fieldOdd
	value, b, err := r.text(b, wanted || add)
	if err != nil {
		return nil, err
	}
	if r.found(e.field, value, e.known); wanted && bytes.ContainsAny(value, "\x00\r\n") {
		// Not allowed (RFC 9113 §8.2.1): who passes it on in HTTP/1 writes two headers.
		r.head.doubtful = true
		e.field = fieldOdd
	}
	if add {
		r.add(e, value)
	}
	return b, nil
}

// forbidden reports whether a name is against the rules (RFC 9113 §8.2.1): some refuse it,
// some take it as meant.
func forbidden(name []byte) bool {
	for i, c := range name {
		if c >= 'A' && c <= 'Z' || !isToken[c] && (c != ':' || i > 0) {
			return true
		}
	}
	return len(name) == 0
}

// add makes a new entry.
func (r *blockReader) add(e hpackEntry, value []byte) {
	t := r.table
	size := hpackOverhead + len(value)
	if e.nameLen != unseenName {
		size += int(e.nameLen)
	}
	if size > int(t.max) {
		// What is larger than the table empties it instead.
		t.forgetUnlessWhole(r.budget)
		return
	}
	r.evict(size)
	if e.field <= fieldOdd || !e.known {
		value = nil
	}
	e.bytes = uint16(size - hpackOverhead)
	cost := e.cost()
	if cost > *r.budget {
		// All tables together are full: this one is begun anew.
		t.forget(r.budget)
		r.starved = true
		return
	}
	*r.budget -= cost
	t.size += int32(size)
	t.push(e, value)
}

// begin makes the table of a direction that is read from its beginning, or from
// its middle, where its size is not known.
func (t *hpackTable) begin(midstream bool) {
	t.max, t.lost = hpackDefaultMax, midstream
	if midstream {
		t.max = hpackLargest
	}
}

// leastDead is how many bytes of values that are gone may stay while a block is read,
// beside as many as those that are there.
const leastDead = 1 << 10

// evict drops the oldest entries until there is room for size more bytes.
func (r *blockReader) evict(size int) {
	t := r.table
	live := t.live()
	n := 0
	for n < len(live) && int(t.size)+size > int(t.max) {
		e := &live[n]
		t.size -= int32(e.size())
		*r.budget += e.cost()
		t.dead += int32(e.length())
		n++
	}
	t.evicted += uint16(n)
	switch {
	case n == len(live):
		t.entries, t.texts, t.evicted, t.dead, t.size = nil, nil, 0, 0, 0
	case t.dead > leastDead && int(t.dead) > len(t.texts)/2:
		t.texts, t.dead = slices.Clone(t.texts[t.dead:]), 0
	}
}

// found takes a field. known says that its value is the sender's.
func (r *blockReader) found(f field, value []byte, known bool) {
	h := r.head
	if f == fieldOther || f == fieldOdd || f == fieldSecretive {
		r.regular = true
		h.doubtful = h.doubtful || f == fieldOdd
		h.secretive = h.secretive || f == fieldSecretive
		return
	}
	if f == fieldUnseen || !known {
		h.unseen = true
		return
	}
	if f.pseudo() {
		if r.regular || !h.pseudo(f&^fieldTenant, value) {
			// Readers differ about what comes twice or late.
			h.ambiguous = true
		}
		return
	}
	r.regular = true
	if f&^fieldTenant == fieldTransferEncoding {
		h.doubtful = true // not of HTTP/2: whoever passes it on in HTTP/1 sends two requests
	}
	if f == fieldCookie {
		// Cookies may come in pieces (RFC 9113 §8.2.3).
		if r.cookies++; r.cookies > 1 && r.cookies < maxCookies && len(h.cookie)+len(value) < maxCookieBytes {
			start := len(r.arena)
			r.arena = append(append(append(r.arena, h.cookie...), "; "...), value...)
			h.cookie = r.arena[start:len(r.arena):len(r.arena)]
		} else if r.cookies > 1 {
			h.doubtful = true // who calls may stand in what is left out
		}
	}
	h.keep(f, value)
	if f&^fieldTenant == fieldContentLength {
		h.contentLength(value)
	}
}

// pseudo takes a pseudo header; it reports whether that was its first.
func (h *head) pseudo(f field, value []byte) bool {
	at := &h.method
	switch f {
	case fieldMethod:
	case fieldPath:
		at = &h.target
	case fieldAuthority:
		at = &h.authority
	case fieldScheme:
		at = &h.scheme
	case fieldProtocol:
		at = &h.protocol
	case fieldStatus:
		n, ok := decimal(value)
		if h.statusKnown || !ok || len(value) != 3 {
			return false
		}
		h.status, h.statusKnown = int(n), true
		return true
	}
	if *at != nil {
		return false
	}
	if *at = value; value == nil {
		*at = []byte{} // it was said
	}
	return true
}
