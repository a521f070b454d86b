package pcap

import "github.com/scopedrift/scopedrift/schema"

// Where messages of a client that sends ahead were lost, the order of requests and
// answers pairs them again as soon as it is known by how many the two rows are out
// of step. Let the next answer belong to the pending request number skip. Of skip
// only bounds are known at first:
//
//   - From below: no answer is answered twice, so skip is at least 0 behind lost
//     answers, and at least 1 if an answer with a body surely began in the hole:
//     its rest was seen, and ends otherwise than a head does. (What ends like a
//     head may be the end of an interim answer, which answers nothing.)
//   - From above: a server cannot answer what it has not received. An answer whose
//     segment acknowledged only the first u pending requests belongs to one of them.
//   - From above: a client had not sent what was answered. A request whose segment
//     acknowledged the first byte of an answer comes behind that answer's.
//   - From either side: an answer that has a body does not answer HEAD.
//
// Each of these holds for every correct pair of ends, so the true skip is never
// ruled out; where one value is left, it is the true one. A server that catches up
// with its client leaves one value from above, whatever was lost.
//
// What was found behind the hole may begin inside of a body that looks like
// answers. Then there are more answers than requests: the bounds contradict each
// other, or one comes when none is waited for. So what skip pairs is certain only
// once the pipe has run empty and the client went on three times, or both sides are
// done; and the first answer behind a hole, where it may stand in the body of the
// one that was lost and for it, never is.
//
// Where requests were lost, those sent before them are answered in order all the
// same. Behind them skip is negative, -1 at most if one surely began in the hole,
// and not below what the hole has room for. The first request behind it may stand
// in a body as well, and is never certain. At the end of a connection that both
// sides closed in order, the last answer is the last request's as a rule (a server
// may have given up): such pairs are marked.

// alignment is what is known of how requests and answers are out of step.
type alignment struct {
	// unaligned says that they are; skip lies from lo to hi.
	unaligned bool
	// contradicted says that the bounds did: something was no message.
	contradicted bool
	// trial says that the pipe was not seen empty since skip became known, runsEmpty
	// counts how often it was; surely says that an answer began in the hole.
	trial, surely bool
	runsEmpty     int32
	lo, hi        int
	// loose are the answers since, in order; reading is the last of them while it
	// is read.
	loose   []*looseAnswer
	reading *looseAnswer
	// whole is how many pending requests were sent before the first that may be
	// lost: their answers come in order.
	whole int
	// tried are the calls that wait for the end of the trial.
	tried []*exchange
	// room is how many bytes there are in which requests may have been lost.
	room uint64
}

// hole is what is lost of a direction: so many bytes, 0 where that is not known.
// born says that at least one message begins there.
type hole struct {
	bytes uint32
	born  bool
	// likely is how many messages were probably lost whole (likely.go).
	likely int
}

// unsized is a hole of which nothing is known.
var unsized = hole{likely: unknownNumber}

// leastRequest is the shortest request there is: "GET / HTTP/1.1", and an empty line.
const leastRequest = 18

// blankLines is what a client may send between requests that is none.
const blankLines = 4

// unbounded is a bound that is none.
const unbounded = 1 << 30

// maxLoose is how many answers of a connection wait for a request.
const maxLoose = 64

// looseAnswer is an answer whose request is not known yet.
type looseAnswer struct {
	begin      uint32
	start, end int64 // nanos
	status     uint16
	decision   schema.Decision
	bytes      uint64
	// first says that it may have been found in a body, body that it has one.
	first, body, truncated, done bool
	// likely is the ordinal of the request that is likely its own (likely.go).
	likely uint64
}

// misalign takes note that messages of a direction are lost.
func (h *http1) misalign(isRequest bool, what hole) {
	h.endTrial(false)
	if h.broken && !h.unaligned || h.conn.midstream() {
		h.forgetAlignment()
	}
	switch {
	case isRequest && !h.unaligned:
		h.whole = len(h.pending)
		h.unaligned, h.lo, h.hi, h.room = true, -unbounded, 0, uint64(what.bytes)
		if what.born && what.bytes > blankLines {
			h.hi = -1
		}
	case isRequest && h.requestHole && h.room > 0 && what.bytes > 0:
		h.room += uint64(what.bytes) // and no request in between
	case isRequest:
		h.forgetAlignment()
		if h.pipelined && !h.rowKnown {
			h.unanswered(len(h.pending))
		}
	case !h.unaligned:
		h.unaligned, h.lo, h.hi = true, 0, unbounded
	case h.whole > 0:
		h.forgetAlignment()
	default:
		if h.lo > -unbounded {
			h.lo += len(h.loose)
		}
		h.hi = unbounded
		h.giveLoose(len(h.loose))
	}
	if !isRequest {
		h.answer.born, h.answer.tail, h.answer.lately = h.answer.born || what.born, 0, true
		h.surely = false
	}
}

// forgetAlignment says that nothing is known of skip.
func (h *http1) forgetAlignment() {
	h.giveLoose(len(h.loose))
	if h.pipelined && !h.rowKnown {
		h.unanswered(h.whole) // nobody knows how many were lost behind them
	}
	h.unaligned, h.whole, h.lo, h.hi, h.room = true, 0, -unbounded, unbounded, 0
}

// boundRoom learns how many requests may be lost before the first behind a hole:
// each takes room, and one at either end may lie in the hole in part.
func (h *http1) boundRoom(x *exchange) {
	if x.afterHole && h.room > 0 {
		h.lo = -int(min(h.room/leastRequest+2, unbounded))
	}
	h.room = 0
}

// letLoose sends out the n first loose answers alone.
func (h *http1) letLoose(n int) {
	for _, a := range h.loose[:n] {
		h.orphans++
		h.out.orphanOf(h.conn.origin(h.client), h.orphans, a.status, a.decision, a.start)
		if a == h.reading {
			h.reading = nil
		}
	}
	h.loose = h.loose[:copy(h.loose, h.loose[n:])]
}

// bound learns from the answer that begins now, and reports whether skip is known.
func (h *http1) bound(r *messageReader) bool {
	if !h.unaligned {
		h.forgetAlignment()
	}
	if r.born && len(h.loose) == 0 && r.tail != 0 && !r.tailEndsHead() && h.lo > -unbounded {
		h.lo++
		h.surely = true
	}
	r.born, r.lately = false, false
	received := 0
	for received < len(h.pending) && r.begin.hasAck && !before(r.begin.ack, h.pending[received].headEnd) {
		received++
	}
	if r.begin.hasAck {
		h.hi = min(h.hi, received-1-len(h.loose))
	}
	return h.narrow()
}

// boundRequest learns from the request that was added to the pending ones last.
func (h *http1) boundRequest(x *exchange) {
	if !h.unaligned || !x.hasAck {
		return
	}
	for n := len(h.loose); n > 0; n-- {
		if before(h.loose[n-1].begin, x.ack) {
			h.hi = min(h.hi, len(h.pending)-1-n)
			break
		}
	}
	if h.narrow() {
		h.align()
	}
}

// narrow rules out what cannot be at either end, and reports whether skip is known.
func (h *http1) narrow() bool {
	if h.lo == -unbounded || h.contradicted {
		return false
	}
	for h.lo < h.hi && h.rulesOut(h.lo) {
		h.lo++
	}
	for h.lo < h.hi && h.hi < unbounded && h.rulesOut(h.hi) {
		h.hi--
	}
	if h.lo > h.hi || h.lo == h.hi && h.rulesOut(h.lo) {
		h.forgetAlignment()
		h.contradicted = true
		return false
	}
	return h.lo == h.hi
}

// rulesOut reports whether skip would make an answer with a body one to HEAD.
func (h *http1) rulesOut(skip int) bool {
	for i, a := range h.loose {
		if at := i + skip; a.body && at >= 0 && at < len(h.pending) && h.pending[at].head {
			return true
		}
	}
	return false
}

// hasBody takes note that the answer being read has a body.
func (h *http1) hasBody() {
	if a := h.reading; a != nil && !a.body {
		if a.body = true; h.narrow() {
			h.align()
		}
	}
}

// align pairs the loose answers, now that skip is known; from here on order pairs.
func (h *http1) align() {
	h.trial, h.runsEmpty = true, 0
	if h.agrees(h.lo) {
		h.vouch(guessCount)
	}
	h.pairLoose(h.lo, schema.QualityComplete)
	h.unaligned, h.broken, h.answersLost = false, false, false
	h.forgetRow()
}

// isFirst reports whether the answer that begins may stand for the one that was lost.
func (h *http1) isFirst() bool { return len(h.loose) == 0 && !h.surely }

// ranEmpty takes note that a request comes when none is pending.
func (h *http1) ranEmpty() {
	if h.runsEmpty++; h.trial && h.runsEmpty >= confirmations {
		h.endTrial(true)
	}
}

// send hands a finished call on, or keeps it while it is tried.
func (h *http1) send(x *exchange) {
	switch {
	case x.guess != guessNone:
		h.hold(x)
		return
	case !h.trial || x.call.Quality != schema.QualityComplete:
		h.out.emit(h.conn.origin(h.client), x)
		return
	}
	if len(h.tried) >= maxLoose || h.out.live > h.out.limits.PendingTotal {
		h.endTrial(false)
		h.trial = true // of those that come
		x.call.Quality = schema.QualityGap
		h.out.emit(h.conn.origin(h.client), x)
		return
	}
	if len(h.tried) == 0 {
		h.out.doubt(h)
	}
	h.tried = append(h.tried, x)
}

// endTrial sends out the calls that were tried.
func (h *http1) endTrial(passed bool) {
	for _, x := range h.tried {
		if !passed {
			x.call.Quality = schema.QualityGap
		}
		h.out.emit(h.conn.origin(h.client), x)
	}
	h.tried, h.trial = nil, false
}

// pairLoose pairs the loose answers, the first of them with the pending request
// number skip.
func (h *http1) pairLoose(skip int, quality schema.Quality) {
	if skip < 0 {
		h.letLoose(min(-skip, len(h.loose)))
	}
	h.unanswered(min(max(skip, 0), len(h.pending)))
	n := min(len(h.loose), len(h.pending))
	for _, a := range h.loose[:n] {
		x := h.pending[0]
		h.take(0)
		h.join(x, a, quality)
	}
	h.loose = h.loose[:copy(h.loose, h.loose[n:])]
	h.letLoose(len(h.loose))
}

// join makes a loose answer that of a request.
func (h *http1) join(x *exchange, a *looseAnswer, quality schema.Quality) {
	switch {
	case a.truncated || x.truncated:
		quality = schema.QualityTruncated
	case a.first || x.afterHole || h.tainted || h.conn.conflicting || h.mayHaveBegunBefore():
		quality = schema.QualityGap
	}
	x.answered, x.replied = true, a.start
	h.slowest = max(h.slowest, a.start-x.nanos)
	x.call.Quality, x.call.Status, x.call.Decision = quality, a.status, a.decision
	h.out.lasted(x, max(a.start, a.end))
	if a == h.reading {
		h.reading, h.current = nil, x
		return
	}
	x.answerDone = true
	x.call.ResponseBytes = a.bytes
	if x.requestDone {
		h.send(x)
	}
}

// unpaired keeps an answer whose head was just parsed.
func (h *http1) unpaired(r *messageReader, truncated bool) {
	if len(h.loose) >= maxLoose {
		if h.lo > -unbounded {
			h.lo++
		}
		if h.hi < unbounded {
			h.hi++
		}
		h.giveLoose(1)
	}
	a := &looseAnswer{
		begin: r.begin.seq, start: r.begin.nanos, status: uint16(h.head.status), decision: decision(h.head),
		first: h.isFirst(), truncated: truncated, likely: h.supposeAnswer(r),
	}
	if len(h.loose) == 0 {
		h.out.doubt(h)
	}
	h.loose = append(h.loose, a)
	h.reading = a
}

// settle sends out the answers that wait for a request alone.
func (h *http1) settle() {
	if h.trial {
		h.endTrial(false)
		h.trial = true
	}
	if h.lo > -unbounded {
		h.lo += len(h.loose)
	}
	if h.hi < unbounded {
		h.hi += len(h.loose)
	}
	h.giveLoose(len(h.loose))
	h.unvouched(len(h.guessed))
}

// alignEnd pairs what is left from the end, where a client that had everything closed
// in order.
func (h *http1) alignEnd() {
	skip := len(h.pending) - len(h.loose)
	over := h.conn.dirs[0].closed && h.conn.dirs[1].closed
	if h.broken && h.rowKnown && len(h.row) == 0 && (h.satisfied() || h.quiet()) {
		h.giveLoose(len(h.loose))
		h.vouch(guessCount)
	}
	if h.satisfied() {
		if h.unaligned && !h.contradicted && h.whole == 0 && !h.requestHole && !h.answer.lately &&
			skip >= h.lo && skip <= h.hi && !h.rulesOut(skip) && h.likelySkip(skip) {
			h.pairLoose(skip, schema.QualityGap)
		}
		h.letLoose(len(h.loose))
	}
	h.giveLoose(len(h.loose))
	h.endTrial(len(h.pending) == 0 && over)
}

// tailEndsHead reports whether the bytes that were passed over end as a head does.
func (r *messageReader) tailEndsHead() bool {
	return r.tail&0xffff == '\n'<<8|'\n' || r.tail&0xffffff == '\n'<<16|'\r'<<8|'\n'
}

// pass takes note of bytes that were passed over on the search for an answer.
func (r *messageReader) pass(b []byte) {
	for _, c := range b[max(0, len(b)-4):] {
		r.tail = r.tail<<8 | uint32(c)
	}
}
