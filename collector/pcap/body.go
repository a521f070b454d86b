package pcap

import "bytes"

// How the bytes of bodies are counted: by length, in chunks, to the end of the
// connection.

// requestBody decides how the body of the request just read is framed.
func (h *http1) requestBody(r *messageReader, seq uint32) {
	f := &h.head.framing
	switch {
	case bytes.Equal(h.head.method, methodConnect):
		r.phase = phaseTunnel
		h.requestDone(r, seq, true)
	case f.encoded && f.chunked:
		r.chunks()
	case f.unusable || f.encoded:
		h.requestDone(r, seq, false)
		h.lost(r, true, unsized)
	case f.length > 0:
		r.phase, r.remain = phaseBody, f.length
	default:
		h.requestDone(r, seq, true)
	}
}

var methodConnect = []byte("CONNECT")

// answerBody decides how the body of the answer just read is framed.
func (h *http1) answerBody(r *messageReader, seq uint32, nanos int64, nobody, methodKnown bool) {
	f := &h.head.framing
	r.bodyless = !methodKnown
	h.bare = false
	switch {
	case nobody:
		if x := h.current; x != nil && x.guess != guessNone && x.head {
			h.bare, h.bareEnd = true, seq
		}
		h.answerDone(r, seq, nanos, true)
	case f.encoded && f.chunked:
		r.chunks()
	case f.unusable:
		h.answerDone(r, seq, nanos, false)
		h.lost(r, false, unsized)
	case f.encoded || !f.hasLength:
		r.phase = phaseUntilClose
	case f.length > 0:
		r.phase, r.remain = phaseBody, f.length
	default:
		h.answerDone(r, seq, nanos, true)
	}
}

// chunks begins a chunked body.
func (r *messageReader) chunks() {
	r.phase, r.size, r.digits, r.line, r.quiet, r.cr = phaseChunkSize, 0, 0, 0, false, false
}

// headless reports whether an answer of unknown request, which should have a
// body, is followed by the next answer instead: then it answered HEAD.
func (h *http1) headless(r *messageReader, c chunk) bool {
	if !r.bodyless {
		return false
	}
	r.bodyless = false
	switch answerFit(c.data) {
	case fitNo:
		h.hasBody()
		return false
	case fitSoFar: // the packet ends before it can be told
		h.answerDone(r, 0, c.nanos, false)
		h.lost(r, false, unsized)
		return true
	}
	h.out.stats.Resyncs++ // it is likeness that tells
	if h.current != nil {
		h.sendsAhead() // what should have a body has none: it answered another request
	}
	h.answerDone(r, c.seq, c.nanos, true)
	return true
}

// counted reads a body of known length.
func (h *http1) counted(r *messageReader, isRequest bool, c chunk) int {
	if h.headless(r, c) {
		return 0
	}
	n := int(min(uint64(len(c.data)), r.remain))
	h.bodyBytes(r, isRequest, c.data[:n])
	if r.remain -= uint64(n); r.remain == 0 {
		h.done(r, isRequest, c.seq+uint32(n), c.nanos)
	}
	return n
}

// untilClose counts a body that only the end of the connection ends, unless the
// next answer plainly begins: a server that forgot the length of nothing.
func (h *http1) untilClose(r *messageReader, isRequest bool, c chunk) int {
	if c.start && h.expected(c.seq) && answerFit(c.data) == fitYes {
		h.out.stats.Resyncs++ // it is likeness that tells: a body may hold what looks like an answer
		h.taint(r)
		h.answerDone(r, c.seq, c.nanos, true)
		return 0
	}
	h.bodyBytes(r, isRequest, c.data)
	h.progressed(c.nanos)
	return len(c.data)
}

// bodyBytes counts bytes of a body, and keeps those that somebody reads.
func (h *http1) bodyBytes(r *messageReader, isRequest bool, b []byte) {
	if r.body += uint64(len(b)); !r.sampled {
		return
	}
	if s := h.sample(isRequest); s != nil {
		h.out.keep(s, b)
	}
}

// sample returns what is kept of the body being read, nil if nothing is.
func (h *http1) sample(isRequest bool) *sample {
	x := h.current
	if isRequest {
		x = h.last
	}
	switch {
	case x == nil:
		return nil
	case isRequest:
		return x.ask
	}
	return x.reply
}

// maxChunkLine and maxTrailer bound what stands between chunks and behind them.
const (
	maxChunkLine = 4 << 10
	maxTrailer   = 64 << 10
)

// chunked reads a chunked body.
func (h *http1) chunked(r *messageReader, isRequest bool, c chunk) int {
	if r.phase == phaseChunk {
		n := int(min(uint64(len(c.data)), r.remain))
		h.bodyBytes(r, isRequest, c.data[:n])
		if r.remain -= uint64(n); r.remain == 0 {
			r.phase, r.line = phaseChunkEnd, 0
		}
		return n
	}
	if r.phase == phaseChunkSize && r.digits == 0 && h.headless(r, c) {
		return 0
	}
	for i, b := range c.data {
		var ok bool
		switch r.phase {
		case phaseChunkSize:
			ok = r.chunkSize(b)
		case phaseChunkEnd:
			ok = b == '\n' || b == '\r' && r.line == 0
			r.odd = r.odd || b == '\n' && r.line == 0
			if r.line++; b == '\n' {
				r.chunks()
			}
		case phaseTrailer:
			r.odd = r.odd || b == '\n' && !r.cr
			if r.cr = b == '\r'; r.odd {
				h.taint(r)
			}
			if r.remain++; b == '\n' && r.line == 0 {
				h.done(r, isRequest, c.seq+uint32(i)+1, c.nanos)
				return i + 1
			}
			if b == '\n' {
				r.line = 0
			} else if b != '\r' {
				r.line++
			}
			ok = r.remain < maxTrailer
		}
		if r.odd {
			h.taint(r)
		}
		if !ok {
			// The framing is broken: what follows cannot be told apart.
			h.out.stats.Ambiguous++
			h.tainted = true
			h.lost(r, isRequest, unsized)
			return len(c.data)
		}
		if r.phase == phaseChunk {
			return i + 1
		}
	}
	return len(c.data)
}

// taint says that readers differ about the lines of a chunked body.
func (h *http1) taint(r *messageReader) {
	r.odd = false
	if !h.tainted {
		h.out.stats.Ambiguous++
		h.tainted = true
	}
}

// chunkSize reads a byte of a chunk's size line.
func (r *messageReader) chunkSize(b byte) bool {
	r.line++
	switch {
	case b == '\n':
		if r.digits == 0 {
			return false
		}
		r.odd = !r.cr // LF alone ends the line for some readers only
		r.line, r.cr = 0, false
		if r.remain = r.size; r.size == 0 {
			r.phase = phaseTrailer
		} else {
			r.phase = phaseChunk
		}
		return true
	case r.cr:
		return false
	case b == '\r':
		r.cr = true
		return r.digits > 0
	case r.quiet:
		return r.line < maxChunkLine
	case b == ';' || b == ' ' || b == '\t':
		r.quiet = true
		return r.digits > 0
	}
	digit, ok := unhex(b)
	r.size = r.size<<4 | uint64(digit)
	r.digits++
	return ok && r.digits <= 15
}

func unhex(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10, true
	case b >= 'A' && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}
