package pcap

import (
	"bytes"

	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/schema"
)

// HTTP/2 pairs by itself: request and answer carry the number of their stream.
// What can go wrong is the reading: a border between frames that is none
// (resync.go), a table slot that nobody saw filled (hpack.go). Both mark the
// call; what a slot may hold is never guessed.

// http2 reads one connection's HTTP/2.
type http2 struct {
	conn   *connection
	out    *builder
	client side
	// joined says that the connection was joined in its middle, gaps that bytes
	// were lost.
	joined, gaps bool
	// listed says that the builder knows of calls that wait, or of streams given up,
	// tunnels that a stream may carry another connection (doubt.go).
	listed, tunnels bool
	// unended says that a stream went out whose request was not seen to end: what
	// it still sends is not looked for.
	unended bool
	// cancelled counts the streams that the client gave up.
	cancelled uint16
	// dirs are the client's and the server's direction.
	dirs [2]frameReader
	// streams are open, in the order of their numbers.
	streams []*stream
	// last is the highest stream of the client that was seen.
	last uint32
	// waiting are calls that are over, but not certain yet (doubt.go).
	waiting []*stream
}

// newHTTP2 begins to read a connection from the client's first byte, or in its
// middle.
func newHTTP2(c *connection, out *builder, client side, joined bool) *http2 {
	out.stats.Protocols[speaksHTTP2]++
	h := &http2{conn: c, out: out, client: client, joined: joined}
	request, answer := &h.dirs[0], &h.dirs[1]
	request.client = true
	request.table.begin(joined)
	answer.table.begin(joined)
	if !joined {
		request.phase = framePhasePreface
	}
	for _, r := range []*frameReader{request, answer} {
		if joined || !r.client && c.midstream() {
			r.phase, r.unproven = framePhaseSearch, true
		}
	}
	return h
}

// doubted says that the beginning was found where it may not be one: in a body.
func (h *http2) doubted() *http2 {
	for i := range h.dirs {
		h.dirs[i].unproven = true
	}
	h.dirs[1].phase = framePhaseSearch
	return h
}

// adopt makes the request that asked for the upgrade the first stream.
func (h *http2) adopt(x *exchange, quality schema.Quality) *http2 {
	if x != nil {
		x.answered, x.answerDone = false, false
		h.streams = append(h.streams, &stream{id: 1, x: x, ambiguous: quality != schema.QualityComplete, requestBytes: x.call.RequestBytes})
		x.requestDone = true // the upgrade waits for the whole request
	}
	h.last = 1
	return h
}

func (h *http2) reader(from side) *frameReader {
	if from == h.client {
		return &h.dirs[0]
	}
	return &h.dirs[1]
}

// whole reports whether everything of this connection was seen.
func (h *http2) whole() bool { return !h.joined && !h.gaps }

// blockOf reads a whole header block, or what there is of it.
func (h *http2) blockOf(r *frameReader, b []byte) {
	f, cut := r.blockFrame, r.blockCut
	r.blockFrame.stream = 0
	h.unshelve(r, f.stream, b)
	d, blocks := &h.out.head, &h.out.blocks
	*d = head{}
	blocks.table, blocks.regular, blocks.cookies, blocks.starved = &r.table, false, 0, false
	blocks.arena = blocks.arena[:0]
	if err := blocks.read(b); err != nil || cut {
		if err != nil && !cut {
			h.out.stats.drop(dropBlock)
		}
		r.table.forget(&h.out.tables)
		d.unseen, cut = true, true
	}
	if cap(blocks.arena) > 64<<10 {
		defer func() { blocks.arena = nil }()
	}
	if d.unseen {
		h.out.stats.Unseen++
	}
	if blocks.starved {
		h.out.stats.drop(dropTables)
	}
	d.host0()
	switch {
	case f.kind == framePushPromise:
		h.out.stats.Pushed++
	case f.stream%2 == 0 || f.stream == noStream:
		// What a server pushes is nobody's call; what a client asks there, none either.
		if r.client && d.method != nil {
			h.out.stats.drop(dropStream)
		}
	case r.client:
		h.onRequest(r, f, d, cut)
	default:
		h.onAnswer(r, f, d, cut)
	}
}

// host0 makes :authority the host: it stands before a host header.
func (h *head) host0() {
	if len(h.authority) > 0 {
		h.doubtful = h.doubtful || h.host != nil && !bytes.EqualFold(h.host, h.authority)
		h.host = h.authority
	}
}

// onRequest takes the head of a request, or its trailers.
func (h *http2) onRequest(r *frameReader, f frameHead, d *head, cut bool) {
	s := h.find(f.stream)
	ends := f.flags&flagEndStream != 0
	if d.method != nil && h.awaits(f.stream) {
		h.contradict(r)
	}
	switch {
	case s != nil && s.x != nil:
		// Trailers; a second head is against the rules.
		if d.method != nil || d.target != nil {
			s.ambiguous = true
			h.contradict(r)
		}
		if ends {
			h.ended(r, f.stream, r.blockNanos)
		}
		return
	case s == nil && f.stream <= h.last && h.whole():
		// Of a stream that is over.
		if d.method != nil {
			h.out.stats.drop(dropStream)
		}
		return
	case d.method == nil && d.target == nil:
		if !r.unproven {
			h.last = max(h.last, f.stream)
		}
		if d.unseen {
			h.out.stats.drop(dropTruncated)
		}
		return
	}
	if s == nil {
		s = h.out.stream(f.stream)
	} else {
		s.orphaned = true
	}
	h.grows(r, f.stream)
	h.last = max(h.last, f.stream)
	x := h.out.exchange()
	x.nanos, x.truncated, x.requestDone = r.blockNanos, cut, ends
	s.x = x
	h.out.request(h.conn.origin(h.client), uint64(f.stream), x, d, d.unseen)
	if n := len(d.target); n > 0 && d.target[0] != '/' && !x.connect && string(d.target) != "*" {
		s.ambiguous = true // not the form of a path here
	}
	s.grpc = h.out.grpcRequest(x, d)
	s.grpcMaybe = !s.grpc && d.unseen && d.contentType == nil && (d.method == nil || string(d.method) == "POST")
	h.tunnels = h.tunnels || x.connect
	h.note(s, r, d)
	if s.ambiguous {
		h.out.stats.Ambiguous++
	}
	if !s.orphaned {
		h.open(s)
	}
}

// note keeps what makes a call uncertain.
func (h *http2) note(s *stream, r *frameReader, d *head) {
	s.unseen = s.unseen || d.unseen
	s.doubtful(r)
	s.ambiguous = s.ambiguous || d.ambiguous
}

// onAnswer takes the head of an answer, or its trailers.
func (h *http2) onAnswer(r *frameReader, f frameHead, d *head, cut bool) {
	s := h.find(f.stream)
	ends := f.flags&flagEndStream != 0
	interim := d.statusKnown && d.status < 200 && !ends
	switch {
	case s == nil && d.statusKnown && h.awaits(f.stream):
		h.contradict(r)
		return
	case s == nil && f.stream <= h.last && h.whole(), s == nil && !d.statusKnown:
		return // of a stream that is over, or the trailers of one that was not seen
	case interim:
		h.out.stats.Interim++
		return
	case s == nil || s.x == nil:
		if s == nil || !s.orphaned {
			h.out.stats.Responses++
			h.out.orphan(h.conn.origin(h.client), uint64(f.stream), d, r.blockNanos)
		}
		if s == nil && !ends {
			h.openOrphan(f.stream)
		}
	case s.orphaned:
	case !s.x.answered && (d.statusKnown || !d.trailers()):
		h.answered(s, r, d, cut, ends)
	case s.x.answered && d.statusKnown && s.statusUnseen:
		// The head before it, whose status is not known, was an interim one.
		h.out.stats.Responses--
		h.out.stats.Interim++
		s.statusUnseen = false
		h.answered(s, r, d, cut, ends)
	default:
		if s.x.answered && d.statusKnown {
			s.ambiguous = true // two answers to one request
			h.contradict(r)
		}
		if !s.x.answered {
			// Only the trailers are left of it.
			h.out.stats.Responses++
			s.x.answered, s.unseen = true, true
		}
		h.result(s, d, true)
		h.out.lasted(s.x, r.blockNanos)
	}
	if ends {
		h.ended(r, f.stream, r.blockNanos)
	}
}

// trailers reports whether a head without status can only be trailers.
func (h *head) trailers() bool { return h.grpcStatus != nil || !h.unseen }

// answered takes the final answer's head; ends says that nothing follows it.
func (h *http2) answered(s *stream, r *frameReader, d *head, cut, ends bool) {
	h.out.stats.Responses++
	x := s.x
	x.answered = true
	x.truncated = x.truncated || cut
	h.out.answer(x, d, r.blockNanos)
	h.note2(s, r, d)
	known := d.contentType != nil || !d.unseen
	switch {
	case known && isGRPC(d.contentType):
		s.grpc = true
	case known && s.grpc:
		// An error of something in between, in plain HTTP.
		s.grpc = d.status == 200
	case !known:
		s.grpc = s.grpc || s.grpcMaybe
	}
	switch {
	case !d.statusKnown:
		x.call.Status, x.call.Decision = 0, schema.DecisionUnknown
	case s.grpc && d.status == 200:
		x.call.Decision = schema.DecisionUnknown
		h.result(s, d, ends)
	case d.unseen && d.status >= 300 && d.status < 400 && d.location == nil:
		// Whether it leads to a log-in page is not known.
		x.call.Decision = schema.DecisionUnknown
	}
}

// note2 is note for an answer: only its status, and what tells a result where
// that does not, must have been seen.
func (h *http2) note2(s *stream, r *frameReader, d *head) {
	s.doubtful(r)
	s.ambiguous = s.ambiguous || d.ambiguous
	if s.statusUnseen = !d.statusKnown; d.statusKnown {
		h.confirm(s)
	}
}

// result takes the gRPC status of trailers, or of an answer that has no body. In a
// head that more follows it is not final: trailers say otherwise.
func (h *http2) result(s *stream, d *head, final bool) {
	code, ok := decimal(d.grpcStatus)
	if !ok || s.resultKnown {
		return
	}
	s.grpc, s.resultKnown = true, final
	s.x.call.Decision = decide.GRPC(int(min(code, 1<<16)))
}

// body takes bytes of a body.
func (h *http2) body(r *frameReader, b []byte, nanos int64) {
	s := h.find(r.frame.stream)
	if s == nil || s.x == nil {
		return
	}
	if r.client && s.x.requestDone || !r.client && s.x.answerDone {
		s.ambiguous = true // behind the end: refused, or read all the same
		return
	}
	if r.client {
		s.requestBytes += uint64(len(b))
		h.out.keep(s.x.ask, b)
	} else {
		s.responseBytes += uint64(len(b))
		h.out.keep(s.x.reply, b)
		h.out.lasted(s.x, nanos)
	}
}

// bodyGap takes n bytes of a body that were lost.
func (h *http2) bodyGap(r *frameReader, n uint32) {
	s := h.find(r.frame.stream)
	if s == nil || s.x == nil {
		return
	}
	if r.client {
		s.requestBytes += uint64(n)
		h.out.spoil(s.x.ask)
	} else {
		s.responseBytes += uint64(n)
		h.out.spoil(s.x.reply)
	}
}

// ended closes a direction of a stream.
func (h *http2) ended(r *frameReader, id uint32, nanos int64) {
	s := h.find(id)
	if s == nil {
		return
	}
	if s.x == nil {
		if !r.client {
			h.remove(s)
		}
		return
	}
	if r.client {
		s.x.requestDone = true
	} else {
		s.x.answerDone, s.ended = true, true
		h.out.lasted(s.x, nanos)
	}
	if s.x.requestDone && (s.x.answerDone || s.orphaned && !r.client) {
		h.finish(s)
	}
}

// goAway ends the streams that the server says it never looked at.
func (h *http2) goAway(r *frameReader, last uint32) {
	if r.client {
		return
	}
	for i := len(h.streams) - 1; i >= 0 && h.streams[i].id > last; i-- {
		if s := h.streams[i]; s.x == nil || !s.x.answered {
			h.finish(s)
		}
	}
}

// end closes a direction.
func (h *http2) end(from side, _ int64) {
	switch r := h.reader(from); {
	case r.phase == framePhasePayload:
		h.cutPayload(r)
		r.phase = framePhaseSearch
	case r.phase == framePhaseHead && r.have == 0:
		h.tryProof(r, true)
	}
}

// close sends out what is open.
func (h *http2) close() {
	for i := range h.dirs {
		r := &h.dirs[i]
		if r.phase == framePhasePayload {
			h.cutPayload(r)
		}
		if r.blockFrame.stream != 0 {
			h.blockEnd(r, true)
		}
		h.release(&r.payload)
		r.table.forget(&h.out.tables)
		h.dropShelf(r)
	}
	for len(h.streams) > 0 {
		h.finish(h.streams[0])
	}
	h.settleWaiting()
}
