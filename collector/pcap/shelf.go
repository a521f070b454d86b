package pcap

// shelf keeps the client's header table over a hole. Streams are opened with
// numbers that only grow, so where the first that is opened behind the hole is the
// next odd number after the last before it, none was opened in it. If all requests
// from before end outside it, none had trailers in it either. So it held no header
// block, and the table stands as it did: lost were window updates, pings, the
// middle of a body. That first block must be the stream's head, not its trailers,
// which says itself that it is one, whatever the table holds (asksPlainly).
//
// Of the server's direction nothing like that is known: what was lost may have
// been any answer, or an interim one.
type shelf struct {
	table hpackTable
	// last is the highest stream before the hole.
	last uint32
}

// shelve takes the table of a direction that loses its border, if it may be
// needed again; else the table is forgotten.
func (h *http2) shelve(r *frameReader) {
	if r.shelf != nil && len(r.table.entries) == 0 {
		return // another hole, and no header block since
	}
	h.dropShelf(r)
	if !r.client || r.unproven || h.last == 0 || h.unended {
		r.table.forget(&h.out.tables)
		return
	}
	r.shelf = &shelf{table: r.table, last: h.last}
	r.table.clear()
}

// sending reports whether a request up to stream last was not seen to end.
func (h *http2) sending(last uint32) bool {
	for _, s := range h.streams {
		if s.id <= last && (s.x == nil || !s.x.requestDone) {
			return true
		}
	}
	return false
}

// unshelve puts the table back where the header block b of the given stream proves
// that no other was lost.
func (h *http2) unshelve(r *frameReader, stream uint32, b []byte) {
	if r.shelf == nil {
		return
	}
	if stream == r.shelf.last+2 && len(r.table.entries) == 0 && !h.unended && !h.sending(r.shelf.last) && asksPlainly(b) {
		r.table = r.shelf.table
		r.shelf = nil
		return
	}
	h.dropShelf(r)
}

// dropShelf forgets the table that is kept.
func (h *http2) dropShelf(r *frameReader) {
	if r.shelf != nil {
		r.shelf.table.forget(&h.out.tables)
	}
	r.shelf = nil
}

// asksPlainly reports whether a header block surely is the head of a request: one of
// its fields is a pseudo header of the static table, as the scheme nearly always is.
// Trailers have none (RFC 9113 §8.1).
func asksPlainly(b []byte) bool {
	for len(b) > 0 {
		prefix, texts := uint(4), 1
		switch c := b[0]; {
		case c >= 0x80:
			prefix, texts = 7, 0
		case c >= 0x40:
			prefix = 6
		case c >= 0x20:
			prefix, texts = 5, 0
		}
		resize := prefix == 5
		index, rest, err := hpackInt(b, prefix)
		if err != nil {
			return false
		}
		if !resize && index >= 1 && index <= 7 {
			return true
		}
		if texts > 0 && index == 0 {
			texts++
		}
		for ; texts > 0; texts-- {
			if len(rest) == 0 {
				return false
			}
			n, text, err := hpackInt(rest, 7)
			if err != nil || n > len(text) {
				return false
			}
			rest = text[n:]
		}
		b = rest
	}
	return false
}
