package pcap

import (
	"bytes"

	"github.com/scopedrift/scopedrift/schema"
)

// phase is where the reader of one direction stands in its messages.
type phase uint8

const (
	// phaseIdle waits for a message to begin.
	phaseIdle phase = iota
	// phaseHead collects a head that began in an earlier segment.
	phaseHead
	// phaseBody counts a body of known length.
	phaseBody
	// phaseChunkSize, phaseChunk, phaseChunkEnd and phaseTrailer read a
	// chunked body.
	phaseChunkSize
	phaseChunk
	phaseChunkEnd
	phaseTrailer
	// phaseUntilClose counts a body that ends with the connection.
	phaseUntilClose
	// phaseTunnel waits for the answer to CONNECT.
	phaseTunnel
	// phaseSearch has lost the border between messages and looks for the next.
	phaseSearch
)

// messageReader reads the messages of one direction. What each piece of a body is
// counted by stands first, in one line of memory.
type messageReader struct {
	phase phase
	// sampled says that somebody may read the body (sample).
	sampled bool
	// quiet says that the rest of a chunk's size line means nothing.
	quiet bool
	// cr says that CR came last, odd that a line of a chunked body ended as it should
	// not.
	cr, odd bool
	// born says that an answer begins in what was lost last, lately that none was
	// read since (align.go).
	born, lately bool
	// guessed says that it was said of a hole what it likely held, interim that the
	// last answer was one, whose final one is still to come.
	guessed, interim bool
	// bodyless says that the method of the request is unknown, so that the
	// body may be left out in spite of its length (an answer to HEAD).
	bodyless bool
	// started says that a message was read: what follows cannot be another
	// protocol.
	started bool
	// digits are those of a chunk's size line.
	digits uint8
	// remain is what is left of the body or of the chunk, body how many bytes of
	// the body came, without framing.
	remain, body uint64
	// longest is the longest segment; begun counts the messages, inside those that
	// began inside of a segment (likely.go).
	longest, begun, inside uint32
	// tail are the last bytes that were passed over (align.go).
	tail uint32
	// begin is the chunk position at which the message began.
	begin struct {
		hasAck   bool
		seq, ack uint32
		nanos    int64
	}
	// size is what a chunk's size line says so far, line counts the bytes of a line.
	size uint64
	line uint32
	// scanned is how much of head was looked through for its end.
	scanned uint32
	// head is a head that spans segments.
	head []byte
}

// http1 reads one connection's HTTP/1 messages and pairs them (pair.go).
type http1 struct {
	conn   *connection
	out    *builder
	client side
	// shaken says that a request began a handshake that proves the connection itself.
	shaken  bool
	request messageReader
	answer  messageReader
	// head is the one that was parsed last; all connections share it.
	head *head
	pairing
}

func newHTTP1(c *connection, out *builder, client side) *http1 {
	out.stats.Protocols[speaksHTTP1]++
	return &http1{conn: c, out: out, client: client, head: &out.head}
}

// data reads a chunk. It returns another protocol once the connection changes
// to one.
func (h *http1) data(from side, c chunk) (protocol, chunk) {
	r, isRequest := &h.answer, from == h.client
	if isRequest {
		r = &h.request
	}
	if c.start {
		r.longest = max(r.longest, uint32(len(c.data)))
	}
	for len(c.data) > 0 {
		var n int
		switch r.phase {
		case phaseIdle:
			n = h.idle(r, c)
		case phaseHead:
			var next protocol
			if next, n = h.more(r, isRequest, c); next != nil {
				return next, advance(c, n)
			}
		case phaseBody:
			n = h.counted(r, isRequest, c)
		case phaseChunkSize, phaseChunk, phaseChunkEnd, phaseTrailer:
			n = h.chunked(r, isRequest, c)
		case phaseUntilClose:
			n = h.untilClose(r, isRequest, c)
		case phaseTunnel:
			n = len(c.data)
			r.body += uint64(n)
		case phaseSearch:
			if isRequest && bytes.HasPrefix(c.data, http2Preface) {
				next := newHTTP2(h.conn, h.out, h.client, false).doubted()
				next.gaps = true
				return h.become(next), c
			}
			n = h.search(r, isRequest, c)
		}
		c = advance(c, n)
	}
	return h, chunk{}
}

func advance(c chunk, n int) chunk {
	if n > 0 {
		c.data, c.seq, c.start = c.data[n:], c.seq+uint32(n), false
	}
	return c
}

// idle skips empty lines between messages and begins the next message.
func (h *http1) idle(r *messageReader, c chunk) int {
	n := 0
	for n < len(c.data) && (c.data[n] == '\r' || c.data[n] == '\n') {
		n++
	}
	if n < len(c.data) {
		r.start(advance(c, n))
	}
	return n
}

func (r *messageReader) start(c chunk) {
	r.phase = phaseHead
	if !r.interim {
		if r.begun++; !c.start {
			r.inside++
		}
	}
	r.interim = false
	r.begin.seq, r.begin.ack, r.begin.hasAck, r.begin.nanos = c.seq, c.ack, c.hasAck, c.nanos
	r.head, r.scanned, r.body = nil, 0, 0
}

// more reads on in a head. A head that lies in one segment is not copied.
func (h *http1) more(r *messageReader, isRequest bool, c chunk) (protocol, int) {
	whole, kept := c.data, len(r.head)
	if kept > 0 {
		h.grow(r, c.data[:min(len(c.data), h.out.limits.HeadBytes+1)])
		whole = r.head
	} else if n := len(whole); n > 0 {
		var f fit
		if isRequest {
			f = requestFit(whole[:min(n, 4096)], false)
		} else {
			f = answerFit(whole)
		}
		if f == fitNo {
			return h.noMessage(r, isRequest, c)
		}
	}
	end := headEnd(whole, int(r.scanned))
	if kept > 0 && bytes.IndexByte(r.head[:kept], '\n') < 0 {
		// The first line has grown: is it still one?
		if isRequest && requestFit(r.head, false) == fitNo || !isRequest && answerFit(r.head) == fitNo {
			return h.noMessage(r, isRequest, c)
		}
	}
	if end < 0 {
		r.scanned = uint32(max(0, len(whole)-3))
		if len(whole) > h.out.limits.HeadBytes {
			h.out.stats.drop(dropHead)
			return h.tooLong(r, isRequest, whole), len(c.data)
		}
		if kept == 0 {
			h.grow(r, whole)
		}
		return nil, len(c.data)
	}
	used := end - kept
	next := h.message(r, isRequest, whole[:end], c.seq+uint32(used), c.nanos, false)
	h.shrink(r)
	return next, used
}

// noMessage is what to do with bytes that begin no message: at the very start
// the connection speaks something else, later the border is lost.
func (h *http1) noMessage(r *messageReader, isRequest bool, c chunk) (protocol, int) {
	preface := isRequest && bytes.HasPrefix(r.head, http2Preface[:14])
	kept := max(0, len(r.head)-len(c.data)) // of earlier segments
	h.shrink(r)
	if !h.request.started && !h.answer.started {
		h.shrink(&h.request)
		h.shrink(&h.answer)
		h.out.stats.forget(speaksHTTP1)
		s := newSniffer(h.conn, h.out)
		if preface {
			h2 := newHTTP2(h.conn, h.out, h.client, false)
			h2.dirs[0].have = uint8(kept)
			return h2, 0
		}
		s.holes[0] = h.hadGap
		if s.searching = h.conn.midstream() || h.hadGap; !s.searching {
			return s.settle(speaksOther), 0
		}
		next, _ := s.pass(c)
		return next, len(c.data)
	}
	if !isRequest && h.bare && r.begin.seq == h.bareEnd {
		h.sendsAhead() // it has a body after all: it did not answer HEAD
	}
	h.lost(r, isRequest, unsized)
	return nil, len(c.data)
}

// tooLong gives a head up that exceeds the limit: its first line still counts.
func (h *http1) tooLong(r *messageReader, isRequest bool, whole []byte) protocol {
	next := h.cutHead(r, isRequest, whole, r.begin.nanos)
	h.shrink(r)
	h.lost(r, isRequest, unsized)
	return next
}

// grow adds to a split head and accounts for the memory.
func (h *http1) grow(r *messageReader, b []byte) {
	r.head = h.conn.table.extend(r.head, b)
}

// shrink forgets a split head.
func (h *http1) shrink(r *messageReader) {
	h.conn.table.recycle(r.head)
	r.head, r.scanned = nil, 0
}

// headEnd returns where the empty line behind a head ends, or -1. Lines may end
// in CR LF or LF.
func headEnd(b []byte, from int) int {
	for {
		n := bytes.IndexByte(b[from:], '\n')
		if n < 0 {
			return -1
		}
		from += n + 1
		if from < len(b) && b[from] == '\n' {
			return from + 1
		}
		if from+1 < len(b) && b[from] == '\r' && b[from+1] == '\n' {
			return from + 2
		}
	}
}

// message takes a whole head that ends before seq.
func (h *http1) message(r *messageReader, isRequest bool, b []byte, seq uint32, nanos int64, truncated bool) protocol {
	if !h.head.parse(b, isRequest, h.out.tenantHeader) {
		h.lost(r, isRequest, unsized)
		return nil
	}
	r.started = true
	if h.head.ambiguous {
		h.out.stats.Ambiguous++
		h.tainted = true
	}
	if isRequest {
		h.onRequest(r, seq, truncated)
		if r.sampled = h.sample(true) != nil; !truncated {
			h.requestBody(r, seq)
		}
		return nil
	}
	next := h.onAnswer(r, seq, nanos, truncated)
	r.sampled = h.sample(false) != nil
	return next
}

// done ends the message of a direction at seq.
func (h *http1) done(r *messageReader, isRequest bool, seq uint32, nanos int64) {
	if isRequest {
		h.requestDone(r, seq, true)
	} else {
		h.answerDone(r, seq, nanos, true)
	}
}

// search looks for the next message: at the start of a segment, or at the very
// byte where the answer to a known request must begin.
func (h *http1) search(r *messageReader, isRequest bool, c chunk) int {
	if isRequest {
		if c.start && requestFit(c.data, true) != fitNo {
			r.start(c)
			return 0
		}
		if h.room > 0 {
			h.room += uint64(len(c.data))
		}
		return len(c.data)
	}
	if c.start && answerFit(c.data) != fitNo {
		r.start(c)
		return 0
	}
	if n := h.expectedWithin(c.seq+1, len(c.data)-1); n >= 0 && answerFit(c.data[n+1:]) != fitNo {
		r.pass(c.data[:n+1])
		r.start(advance(c, n+1))
		return n + 1
	}
	r.pass(c.data)
	return len(c.data)
}

// gap skips n bytes that will never be seen.
func (h *http1) gap(from side, seq, n uint32) {
	r, isRequest := &h.answer, from == h.client
	if isRequest {
		r = &h.request
	}
	h.out.spoil(h.sample(isRequest))
	// What follows a message whose end is known is another.
	lost := hole{bytes: n, born: r.phase == phaseIdle || r.phase == phaseBody && !r.bodyless, likely: r.likelyLost(n)}
	switch r.phase {
	case phaseBody, phaseChunk:
		if r.bodyless {
			h.answerDone(r, 0, 0, false) // nobody knows whether that was a body
			break
		}
		k := min(uint64(n), r.remain)
		if r.phase == phaseChunk && k == r.remain && uint64(n) > k {
			break // the hole reaches into the framing
		}
		r.body += k
		if r.remain -= k; r.remain > 0 {
			return
		}
		if r.phase == phaseChunk {
			r.phase, r.line = phaseChunkEnd, 0
			return
		}
		h.done(r, isRequest, seq+uint32(k), 0)
		if lost.bytes -= uint32(k); lost.bytes == 0 {
			return
		}
		lost.likely = unknownNumber
	case phaseUntilClose:
		r.body += uint64(n)
		return
	case phaseHead:
		h.cutHead(r, isRequest, r.head, r.begin.nanos)
		h.shrink(r)
	}
	h.lost(r, isRequest, lost)
}

// inside reports whether the next n bytes all lie in the body being read.
func (h *http1) inside(from side, n uint64) bool {
	r := &h.answer
	if from == h.client {
		r = &h.request
	}
	return r.phase == phaseUntilClose || (r.phase == phaseBody || r.phase == phaseChunk) && r.remain > n
}

// hole says that bytes will never be seen, nobody knows how many.
func (h *http1) hole(from side) {
	r, isRequest := &h.answer, from == h.client
	if isRequest {
		r = &h.request
	}
	h.out.spoil(h.sample(isRequest))
	if r.phase == phaseHead {
		h.cutHead(r, isRequest, r.head, r.begin.nanos)
		h.shrink(r)
	}
	h.lost(r, isRequest, unsized)
}

// cutHead takes a head whose rest will never be seen: its first line may do.
func (h *http1) cutHead(r *messageReader, isRequest bool, b []byte, nanos int64) protocol {
	if bytes.IndexByte(b, '\n') < 0 {
		h.out.stats.drop(dropTruncated)
		return nil
	}
	return h.message(r, isRequest, b, r.begin.seq+uint32(len(b)), nanos, true)
}

// end closes a direction.
func (h *http1) end(from side, nanos int64) {
	r, isRequest := &h.answer, from == h.client
	if isRequest {
		r = &h.request
	}
	switch {
	case r.phase == phaseIdle, r.phase == phaseUntilClose, r.phase == phaseSearch:
	case !isRequest && r.bodyless && r.phase != phaseHead:
		h.answerDone(r, h.conn.dirs[from].next-1, nanos, true) // it had no body
	default:
		h.cutOff = true
	}
	switch r.phase {
	case phaseHead:
		h.cutHead(r, isRequest, r.head, nanos)
		h.shrink(r)
	case phaseUntilClose:
		h.answerDone(r, h.conn.dirs[from].next-1, nanos, true)
	case phaseBody, phaseChunkSize, phaseChunk, phaseChunkEnd, phaseTrailer:
		if isRequest {
			h.requestDone(r, 0, false)
		} else {
			h.answerDone(r, 0, nanos, false)
		}
	}
	r.phase = phaseSearch
	if isRequest {
		h.parted, h.partedAt = true, h.conn.dirs[from.other()].next
	}
}

// close sends out what is pending.
func (h *http1) close() {
	for i, r := range [...]*messageReader{&h.request, &h.answer} {
		if r.phase == phaseHead && len(r.head) > 0 {
			h.cutHead(r, i == 0, r.head, r.begin.nanos)
			h.shrink(r)
		}
	}
	h.flush()
}

// toHTTP2 changes the version: the answer to the request comes on stream 1.
func (h *http1) toHTTP2(x *exchange, quality schema.Quality) protocol {
	h.out.stats.Interim++
	if h.tainted || h.conn.conflicting {
		quality = schema.QualityGap
	}
	next := newHTTP2(h.conn, h.out, h.client, false)
	h.become(next)
	return next.adopt(x, quality)
}

// become hands the connection to another protocol for good.
func (h *http1) become(next protocol) protocol {
	if x := h.last; x != nil {
		h.requestDone(&h.request, 0, false)
	}
	h.close()
	return next
}
