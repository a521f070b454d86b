package pcap

import (
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// Where lost messages leave no proof which request an answer belongs to (align.go),
// it is still likely as a rule, and such a pair goes out marked. Beside the rows
// that are proven from there is one that is likely: the requests that wait, with an
// empty place for each that was probably lost. An answer takes the first of them, a
// lost answer does so too.
//
// How many messages a hole held is likely only where it can be one packet, and the
// peer was seen to begin its messages with a packet: a hole that begins between two
// messages then held one, a hole that begins inside of one held none. Otherwise the
// row is given up, and begun anew where the pipe has probably run dry: at a request
// whose sender had all that the server had sent, if this client was never seen to
// send in that state while an earlier request waited.
//
// What contradicts the row (an answer that came before its request had arrived, one
// with a body to HEAD) gives it up as well. Proof always goes before it.

// likelihood is what is likely of a connection whose order is broken.
type likelihood struct {
	// row are the ordinals of the requests that wait, noRequest for one that was
	// probably lost; rowKnown says that it is likely at all.
	row      []uint64
	rowKnown bool
	// dry counts the requests that were sent with all that the server had sent
	// while nothing was pending, wet those while something was.
	dry, wet uint32
	// lastAck is what the request before acknowledged.
	lastAck    uint32
	hasLastAck bool
}

// leastDry is how often a client must have been seen to send only when the pipe was
// dry until that is taken for its habit.
const leastDry = 2

// noRequest stands for a request that nobody saw.
const noRequest = 0

// usualSegment is the longest segment of most networks: what fits a frame of Ethernet.
const usualSegment = 1460

// unknownNumber is a number of lost messages of which nothing is likely.
const unknownNumber = -1

// interimBytes is the length of the shortest answer that answers nothing: "HTTP/1.1
// 100 Continue" and an empty line.
const interimBytes = 25

// proxyBytes is the length of the longest PROXY header that is text.
const proxyBytes = 107

// mayBeOne reports whether so many lost bytes are likely one packet of a sender that
// begins its messages with packets.
func (r *messageReader) mayBeOne(n uint32) bool {
	return n > 0 && n <= max(r.longest, usualSegment) && r.inside*16 <= r.begun
}

// misjudged reports whether a hole was said to hold so many messages of a sender that
// turns out not to begin them with packets. It says so once.
func (r *messageReader) misjudged() bool {
	is := r.guessed && r.inside*16 > r.begun
	r.guessed = r.guessed && !is
	return is
}

// likelyLost is how many messages a hole of n bytes at this place held.
func (r *messageReader) likelyLost(n uint32) int {
	if !r.mayBeOne(n) {
		return unknownNumber
	}
	r.guessed = true
	switch r.phase {
	case phaseIdle:
		if n <= interimBytes {
			return 0
		}
		return 1
	case phaseChunkSize, phaseChunk, phaseChunkEnd, phaseTrailer:
		return 0
	}
	return unknownNumber
}

// suppose takes note of a hole in one direction.
func (h *http1) suppose(isRequest bool, what hole) {
	if !h.broken && !h.conn.midstream() {
		h.rowKnown = true
		h.row = h.row[:0]
		for _, x := range h.pending {
			h.row = append(h.row, x.ordinal)
		}
	}
	if h.noteLoss(isRequest, what.bytes) {
		what.likely = unknownNumber
	}
	if !h.rowKnown {
		return
	}
	switch {
	case what.likely == unknownNumber:
		if !h.dense {
			h.vouch(guessCount) // nothing will speak against them any more
		}
		h.forgetRow()
	case isRequest:
		for range what.likely {
			h.row = append(h.row, noRequest)
		}
	case what.likely > len(h.row):
		h.forgetRow()
	default:
		h.row = slices.Delete(h.row, 0, what.likely)
	}
}

// forgetRow says that nothing is likely any more.
func (h *http1) forgetRow() {
	h.row, h.rowKnown = h.row[:0], false
	for _, a := range h.loose {
		a.likely = noRequest
	}
	h.refute(guessCount)
}

// supposeRequest adds a request to the row; it may show that the pipe has run dry.
func (h *http1) supposeRequest(x *exchange) {
	h.lostSide = 0
	server := &h.conn.dirs[h.client.other()]
	had := x.hasAck && !x.afterHole && x.ack == server.next && (!h.hasLastAck || before(h.lastAck, x.ack)) &&
		(h.answer.phase == phaseIdle || h.answer.phase == phaseSearch)
	h.lastAck, h.hasLastAck = x.ack, x.hasAck
	if !h.broken && !h.conn.midstream() {
		if had && len(h.pending) > 1 {
			h.wet++
		} else if had && h.requests > 1 {
			h.dry++
		}
		return
	}
	switch {
	case !had:
	case !h.rowKnown:
		h.rowKnown = h.dry >= leastDry && h.wet*16 <= h.dry
	case len(h.row) > 0:
		h.wet++
		h.forgetRow() // one of the two is wrong
		return
	default:
		h.dry++
		if h.slowest > 0 && h.endedAt > 0 && x.nanos-h.endedAt >= 8*h.slowest {
			h.vouch(guessCount) // whoever waited for an answer would have it by now
		}
	}
	if h.rowKnown {
		h.row = append(h.row, x.ordinal)
	}
	if len(h.row) > h.out.limits.Pending {
		h.forgetRow()
	}
}

// supposeAnswer returns the ordinal of the request that the answer which begins now
// probably belongs to.
func (h *http1) supposeAnswer(r *messageReader) uint64 {
	if h.answer.misjudged() || h.request.misjudged() {
		h.forgetRow()
	}
	if !h.rowKnown {
		return noRequest
	}
	if len(h.row) == 0 {
		h.forgetRow()
		return noRequest
	}
	ordinal := h.row[0]
	h.row = slices.Delete(h.row, 0, 1)
	if i := h.waits(ordinal); i >= 0 {
		if x := h.pending[i]; r.begin.hasAck && before(r.begin.ack, x.headEnd) || x.hasAck && before(r.begin.seq, x.ack) {
			h.forgetRow()
			return noRequest
		}
	}
	return ordinal
}

// waits returns which of the pending requests has the ordinal, -1 if none.
func (h *http1) waits(ordinal uint64) int {
	if ordinal == noRequest {
		return -1
	}
	return slices.IndexFunc(h.pending, func(x *exchange) bool { return x.ordinal == ordinal })
}

// giveLoose sends out the n first loose answers, with the request that is likely
// theirs.
func (h *http1) giveLoose(n int) {
	for range n {
		a := h.loose[0]
		i := h.waits(a.likely)
		if i >= 0 && a.body && h.pending[i].head {
			i = -1
			h.forgetRow()
		}
		if i < 0 {
			h.letLoose(1)
			continue
		}
		h.unanswered(i)
		x := h.pending[0]
		h.take(0)
		if h.lo > -unbounded {
			h.lo -= i + 1
		}
		if h.hi < unbounded {
			h.hi -= i + 1
		}
		h.loose = h.loose[:copy(h.loose, h.loose[1:])]
		x.guess = guessCount
		h.join(x, a, schema.QualityGap)
	}
}

// hopeless reports whether no proof will come for what is loose.
func (h *http1) hopeless() bool {
	return h.unaligned && h.whole == 0 && (h.contradicted || h.lo == -unbounded && !(h.requestHole && h.room > 0))
}

// likelySkip reports whether skip is not at odds with what is likely of the loose
// answers, and whether no request may be lost among those that it would pair.
func (h *http1) likelySkip(skip int) bool {
	for i, x := range h.pending {
		if x.afterHole && i > max(skip, 0) {
			return false
		}
	}
	for i, a := range h.loose {
		if at := h.waits(a.likely); at >= 0 && at != i+skip {
			return false
		}
	}
	return true
}

// agrees reports whether the row says that the next answer, or the first that is
// loose, is that of the pending request number skip, and nothing else of any.
func (h *http1) agrees(skip int) bool {
	if !h.rowKnown {
		return false
	}
	for i, a := range h.loose {
		if at := h.waits(a.likely); at != i+skip && !(at < 0 && i+skip < 0) {
			return false
		}
	}
	if len(h.loose) > 0 {
		return true
	}
	return len(h.row) > 0 && skip >= 0 && h.waits(h.row[0]) == skip
}

// supposed takes note that a request was answered which its answer named otherwise.
func (h *http1) supposed(x *exchange) {
	switch i := slices.Index(h.row, x.ordinal); {
	case !h.rowKnown:
	case i != 0:
		h.forgetRow()
	default:
		h.row = slices.Delete(h.row, 0, 1)
	}
}

// likelyMatch is match where nothing but what is likely is left.
func (h *http1) likelyMatch(r *messageReader) (*exchange, schema.Quality) {
	i := h.waits(h.supposeAnswer(r))
	if i < 0 {
		return nil, schema.QualityOrphan
	}
	h.unanswered(i)
	x := h.pending[0]
	h.take(0)
	x.guess = guessCount
	x.form = false // who was given a token must not be guessed
	return x, schema.QualityGap
}

// lostBegin takes note that the beginning of a direction was lost, n bytes of it;
// n is 0 where more was. Of what was passed over since nobody knows what it was.
func (h *http1) lostBegin(isRequest bool, n uint32, passed bool) {
	what := unsized
	if n > 0 && !h.conn.midstream() {
		r := &h.answer
		if isRequest {
			r = &h.request
		}
		if n > proxyBytes {
			what.likely = r.likelyLost(n)
		}
		if !passed {
			what.bytes = n // what was in it may have been a PROXY header alone
		}
	}
	h.suppose(isRequest, what)
	h.misalign(isRequest, what)
	h.broken, h.requestsLost = true, h.requestsLost || isRequest
}
