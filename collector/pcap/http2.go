package pcap

import (
	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/schema"
)

// HTTP/2 pairs by itself: request and answer carry the number of their stream.
// What can go wrong is the reading: a border between frames that is none
// (resync.go), a table slot that nobody saw filled (hpack.go). Both mark the
// call; what a slot may hold is never guessed.

// stream is one stream that is open.
type stream struct {
	id uint32
	// x is its request, nil where that was not seen: then the answer went out
	// alone, and what follows of it goes nowhere.
	x *exchange
	// unseen says that fields of request or answer are not known, unproven that
	// one of them stood behind a border found by likeness, ambiguous that readers
	// may differ about them, orphaned that an answer went out alone before.
	unseen, unproven, ambiguous, orphaned bool
	// cancelled says that the client gave it up.
	cancelled bool
	// grpc says that only a gRPC status tells the result; grpcMaybe that the
	// field which would tell was not seen. resultKnown says that the status came.
	grpc, grpcMaybe, resultKnown bool
	// ended says that the server ended the stream itself.
	ended                       bool
	requestBytes, responseBytes uint64
}

// http2 reads one connection's HTTP/2.
type http2 struct {
	conn   *connection
	out    *builder
	client side
	// dirs are the client's and the server's direction.
	dirs [2]frameReader
	// streams are open, in the order of their numbers.
	streams []*stream
	// last is the highest stream of the client that was seen.
	last uint32
	// joined says that the connection was joined in its middle, gaps that bytes
	// were lost.
	joined, gaps bool
	cancelled    int // streams
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

// find returns an open stream, nil if there is none.
func (h *http2) find(id uint32) *stream {
	if i := h.index(id); i < len(h.streams) && h.streams[i].id == id {
		return h.streams[i]
	}
	return nil
}

// index returns where a stream stands, or would. The newest are asked for most.
func (h *http2) index(id uint32) int {
	i := len(h.streams)
	for n := 0; i > 0 && h.streams[i-1].id >= id; n++ {
		if i--; n == 8 {
			low := 0
			for low < i {
				if mid := int(uint(low+i) >> 1); h.streams[mid].id < id {
					low = mid + 1
				} else {
					i = mid
				}
			}
			break
		}
	}
	return i
}

// open adds a stream. Where there are too many, the oldest goes out as it is.
func (h *http2) open(s *stream) {
	i := h.index(s.id)
	h.streams = append(h.streams, nil)
	copy(h.streams[i+1:], h.streams[i:])
	h.streams[i] = s
	limits := &h.out.limits
	for len(h.streams) > limits.Streams || len(h.streams) > 1 && h.out.live > limits.PendingTotal {
		h.out.stats.drop(dropPending)
		h.finish(h.streams[0])
	}
}

// maxOrphans bounds the streams of a connection that are kept only to know that
// their answer went out.
const maxOrphans = 16

// openOrphan remembers an answer that went out alone.
func (h *http2) openOrphan(id uint32) {
	n, oldest := 0, (*stream)(nil)
	for _, s := range h.streams {
		if s.x == nil {
			if n++; oldest == nil {
				oldest = s
			}
		}
	}
	if n >= maxOrphans {
		h.remove(oldest)
	}
	h.open(&stream{id: id, orphaned: true})
}

// whole reports whether everything of this connection was seen.
func (h *http2) whole() bool { return !h.joined && !h.gaps }

// blockOf reads a whole header block, or what there is of it.
func (h *http2) blockOf(r *frameReader, b []byte) {
	f, cut := r.blockFrame, r.blockCut
	r.blockFrame.stream = 0
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
		// What a server pushes is nobody's call.
	case r.client:
		h.onRequest(r, f, d, cut)
	default:
		h.onAnswer(r, f, d, cut)
	}
}

// host0 makes :authority the host: it stands before a host header.
func (h *head) host0() {
	if len(h.authority) > 0 {
		h.host = h.authority
	}
}

// onRequest takes the head of a request, or its trailers.
func (h *http2) onRequest(r *frameReader, f frameHead, d *head, cut bool) {
	s := h.find(f.stream)
	ends := f.flags&flagEndStream != 0
	switch {
	case s != nil && s.x != nil:
		// Trailers; a second head is against the rules.
		if d.method != nil || d.target != nil {
			s.ambiguous = true
		}
		if ends {
			h.ended(r, f.stream, r.blockNanos)
		}
		return
	case s == nil && f.stream <= h.last && h.whole():
		return // of a stream that is over
	case d.method == nil && d.target == nil:
		if d.unseen {
			h.out.stats.drop(dropTruncated)
		}
		return
	}
	if s == nil {
		s = &stream{id: f.stream}
	} else {
		s.orphaned = true
	}
	h.last = max(h.last, f.stream)
	x := h.out.exchange()
	x.nanos, x.truncated, x.requestDone = r.blockNanos, cut, ends
	s.x = x
	h.out.request(h.conn.origin(h.client), uint64(f.stream), x, d, d.unseen)
	s.grpc = h.out.grpcRequest(x, d)
	s.grpcMaybe = !s.grpc && d.unseen && d.contentType == nil && (d.method == nil || string(d.method) == "POST")
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
	s.unproven = s.unproven || r.unproven
	s.ambiguous = s.ambiguous || d.ambiguous
}

// onAnswer takes the head of an answer, or its trailers.
func (h *http2) onAnswer(r *frameReader, f frameHead, d *head, cut bool) {
	s := h.find(f.stream)
	ends := f.flags&flagEndStream != 0
	interim := d.statusKnown && d.status < 200 && !ends
	switch {
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
		h.answered(s, r, d, cut)
	default:
		if !s.x.answered {
			// Only the trailers are left of it.
			h.out.stats.Responses++
			s.x.answered, s.unseen = true, true
		}
		h.result(s, d)
		h.out.lasted(s.x, r.blockNanos)
	}
	if ends {
		h.ended(r, f.stream, r.blockNanos)
	}
}

// trailers reports whether a head without status can only be trailers.
func (h *head) trailers() bool { return h.grpcStatus != nil || !h.unseen }

// answered takes the final answer's head.
func (h *http2) answered(s *stream, r *frameReader, d *head, cut bool) {
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
		h.result(s, d)
	case d.unseen && d.status >= 300 && d.status < 400 && d.location == nil:
		// Whether it leads to a log-in page is not known.
		x.call.Decision = schema.DecisionUnknown
	}
}

// note2 is note for an answer: only its status, and what tells a result where
// that does not, must have been seen.
func (h *http2) note2(s *stream, r *frameReader, d *head) {
	s.unproven = s.unproven || r.unproven
	s.ambiguous = s.ambiguous || d.ambiguous
	if !d.statusKnown {
		s.unseen = true
	}
}

// result takes the gRPC status of trailers, or of an answer that has no body.
func (h *http2) result(s *stream, d *head) {
	code, ok := decimal(d.grpcStatus)
	if !ok || s.resultKnown {
		return
	}
	s.grpc, s.resultKnown = true, true
	s.x.call.Decision = decide.GRPC(int(min(code, 1<<16)))
}

// body takes bytes of a body.
func (h *http2) body(r *frameReader, b []byte, nanos int64) {
	s := h.find(r.frame.stream)
	if s == nil || s.x == nil {
		return
	}
	if r.client {
		s.requestBytes += uint64(len(b))
		h.out.keep(&s.x.ask, b)
	} else {
		s.responseBytes += uint64(len(b))
		h.out.keep(&s.x.reply, b)
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
		h.out.give(&s.x.ask)
		s.x.ask.cut = true
	} else {
		s.responseBytes += uint64(n)
		h.out.give(&s.x.reply)
		s.x.reply.cut = true
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

// maxCancelled bounds the streams of a connection that the client gave up, but
// that a server may still answer.
const maxCancelled = 64

// reset ends a stream at once. What a client gives up may be done all the same:
// its answer is waited for.
func (h *http2) reset(r *frameReader, id uint32) {
	s := h.find(id)
	if s == nil {
		return
	}
	if !r.client || s.x == nil || s.x.answered {
		h.finish(s)
		return
	}
	if s.x.requestDone = true; s.cancelled {
		return
	}
	s.cancelled = true
	if h.cancelled++; h.cancelled <= maxCancelled {
		return
	}
	for _, s := range h.streams {
		if s.cancelled {
			h.finish(s)
			return
		}
	}
}

// goAway ends the streams that the server says it never looked at.
func (h *http2) goAway(r *frameReader, last uint32) {
	if r.client {
		return
	}
	for len(h.streams) > 0 {
		s := h.streams[len(h.streams)-1]
		if s.id <= last || s.x != nil && s.x.answered {
			return
		}
		h.finish(s)
	}
}

// sweep sends out what may have ended where nobody saw it: answers that were
// begun, unless their result comes at the end.
func (h *http2) sweep() {
	for i := 0; i < len(h.streams); {
		s := h.streams[i]
		if s.x == nil || s.x.answered && !s.grpc {
			h.finish(s)
			continue
		}
		i++
	}
}

func (h *http2) remove(s *stream) {
	if s.cancelled {
		h.cancelled--
	}
	i := h.index(s.id)
	copy(h.streams[i:], h.streams[i+1:])
	h.streams[len(h.streams)-1] = nil
	h.streams = h.streams[:len(h.streams)-1]
}

// finish sends a stream's call out.
func (h *http2) finish(s *stream) {
	h.remove(s)
	x := s.x
	if x == nil {
		return
	}
	x.call.RequestBytes, x.call.ResponseBytes = s.requestBytes, s.responseBytes
	x.call.Quality = h.quality(s)
	if !x.answered {
		h.out.stats.Unanswered++
	}
	h.out.emit(x)
}

// quality says how certain a call is.
func (h *http2) quality(s *stream) schema.Quality {
	x := s.x
	switch {
	case x.truncated:
		return schema.QualityTruncated
	case !x.answered:
		return schema.QualityUnanswered
	case s.ambiguous, s.orphaned, h.conn.conflicting, (s.unseen || s.unproven) && h.gaps:
		return schema.QualityGap
	case s.unseen, s.unproven:
		return schema.QualityMidstream
	case s.grpc && !s.resultKnown && x.call.Status == 200 && !s.ended:
		// Its trailers are not there.
		return schema.QualityTruncated
	}
	return schema.QualityComplete
}

// end closes a direction.
func (h *http2) end(from side, _ int64) {
	if r := h.reader(from); r.phase == framePhasePayload {
		h.cutPayload(r)
		r.phase = framePhaseSearch
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
	}
	for len(h.streams) > 0 {
		h.finish(h.streams[0])
	}
}
