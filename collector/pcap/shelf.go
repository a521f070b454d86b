package pcap

// shelf keeps the client's header table over a hole. Streams are opened with
// numbers that only grow, so where the first that is opened behind the hole is the
// next odd number after the last before it, none was opened in it. If all requests
// from before end outside it, none had trailers in it either. So it held no header
// block, and the table stands as it did: lost were window updates, pings, the
// middle of a body.
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

// unshelve puts the table back where a header block of the given stream proves
// that no other was lost.
func (h *http2) unshelve(r *frameReader, stream uint32) {
	if r.shelf == nil {
		return
	}
	if stream == r.shelf.last+2 && len(r.table.entries) == 0 && !h.unended && !h.sending(r.shelf.last) {
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
