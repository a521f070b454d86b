package pcap

import "github.com/scopedrift/scopedrift/schema"

// The streams of an HTTP/2 connection: which are open, how they end, and how
// certain their calls are.

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
	// statusUnseen says that the status of its answer is not known.
	statusUnseen bool
	// doubts are which heads its request's, or its answer's, was behind a border
	// that is not proven yet; 0 where it is (doubt.go).
	doubts [2]uint32
	// cancelled says that the client gave it up, overdue that it did so a while ago.
	cancelled, overdue bool
	// grpc says that only a gRPC status tells the result; grpcMaybe that the
	// field which would tell was not seen. resultKnown says that the status came.
	grpc, grpcMaybe, resultKnown bool
	// ended says that the server ended the stream itself.
	ended                       bool
	requestBytes, responseBytes uint64
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
		h.out.release(oldest)
	}
	s := h.out.stream(id)
	s.orphaned = true
	h.open(s)
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
	h.list()
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

// finish ends a stream: its call goes out, or waits for a proof.
func (h *http2) finish(s *stream) {
	h.remove(s)
	if s.x == nil {
		h.out.release(s)
		return
	}
	h.unended = h.unended || !s.x.requestDone
	if !h.wait(s) {
		h.giveUp(s)
	}
}

// emit sends a stream's call out: that was the last of the stream.
func (h *http2) emit(s *stream) {
	x := s.x
	x.call.RequestBytes, x.call.ResponseBytes = s.requestBytes, s.responseBytes
	x.call.Quality = h.quality(s)
	if !x.answered {
		h.out.stats.Unanswered++
	}
	h.out.emit(h.conn.origin(h.client), x)
	h.out.release(s)
}

// quality says how certain a call is.
func (h *http2) quality(s *stream) schema.Quality {
	x := s.x
	switch {
	case x.truncated:
		return schema.QualityTruncated
	case !x.answered:
		return schema.QualityUnanswered
	case s.ambiguous, s.orphaned, h.conn.conflicting, (s.unseen || s.statusUnseen || s.unproven) && h.gaps:
		return schema.QualityGap
	case s.unseen, s.statusUnseen, s.unproven:
		return schema.QualityMidstream
	case s.grpc && !s.resultKnown && x.call.Status == 200 && !s.ended:
		// Its trailers are not there.
		return schema.QualityTruncated
	}
	return schema.QualityComplete
}
