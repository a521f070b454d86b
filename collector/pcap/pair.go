package pcap

import (
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Which answer belongs to which request is decided by what TCP itself says, not
// by the order of arrival:
//
//   - As long as both directions were seen whole from the handshake on, the
//     n-th answer belongs to the n-th request.
//   - After bytes were lost, an answer belongs to the request whose segment
//     acknowledged everything up to the answer's first byte, and nothing more:
//     a client that waits for each answer sends the next request exactly then.
//     That holds only for a client that was seen to wait (lockstep) and never
//     seen to send ahead (pipelined). Where the beginning of the connection was not
//     seen, or what it did while both sides lost bytes, long pauses show it
//     (patience.go).
//   - Where the client sends ahead, by counting what can have been lost (align.go).
//   - In all cases the answer's segment must have acknowledged the request's
//     head: a server cannot answer what it has not received.
//
// A pair that is not certain by these rules is marked, and where the rules
// contradict it, request and answer go out apart.

// exchange is a request and what is known of its answer.
type exchange struct {
	call facts
	// ack is what the request's first segment acknowledged; expect is where in
	// the other direction its answer begins: there, or behind an interim one.
	ack, expect uint32
	hasAck      bool
	// headEnd and end are where its head and the whole request end.
	headEnd, end uint32
	endKnown     bool

	head, connect bool // method
	upgrade       upgrade
	// afterHole says that bytes before it are lost that may be requests.
	afterHole bool
	truncated bool
	// doubtful says that readers may differ about who calls whom.
	doubtful bool
	// requestDone, answered and answerDone are the steps it went through.
	requestDone, answered, answerDone bool
	// guess is how the pair was made where nothing proves it (vouch.go).
	guess guess
	// nanos is when it was asked, replied when the answer began.
	nanos, replied int64
	// ordinal is which request of its connection it is, from 1.
	ordinal uint64

	// ask and reply are what is kept of the bodies (sample.go), nil for nothing. form says that
	// the request is such as asks for a token, rpc that its body named, or should
	// have, what it wants: then only the answer's body tells the result.
	ask, reply *sample
	form       bool
	rpc        bodyKind
}

// upgrade is what a request asks the connection to become.
type upgrade uint8

const (
	upgradeNone upgrade = iota
	upgradeOther
	upgradeHTTP2
)

// pairing is the part of http1 that pairs.
type pairing struct {
	// pending are requests without answer, in order; current is the exchange
	// whose answer is being read; last is the request read last, until done.
	pending []*exchange
	current *exchange
	last    *exchange

	// broken says that the order of messages no longer pairs them: bytes that
	// may be messages were lost.
	broken bool
	// tainted says that a message's framing was ambiguous: from there on no
	// pair is certain.
	tainted bool
	// pipelined says that the client was seen to send ahead, lockstep that it
	// was seen to wait.
	pipelined, lockstep bool
	// requestsLost says that requests may be lost at all, requestBorn that one began in
	// the last hole.
	requestsLost, requestBorn bool
	// interims says that the server sent an interim answer.
	interims bool
	// requestHole says that requests may be lost since the last one;
	// answersLost that answers may be since the last certain place.
	requestHole, answersLost bool
	// answersSince counts the answers since the last request.
	answersSince int
	// lastEnd is where the answer to the last request ended.
	lastEnd      uint32
	lastEndKnown bool
	hadGap       bool

	alignment
	likelihood
	habit
	guesses

	requests, orphans uint64
}

// lost says that the border between messages is lost in one direction.
func (h *http1) lost(r *messageReader, isRequest bool, what hole) {
	h.suppose(isRequest, what)
	h.misalign(isRequest, what)
	if isRequest {
		h.requestHole, h.requestsLost, h.requestBorn = true, true, what.born && what.bytes > blankLines
		if h.last != nil {
			h.requestDone(r, 0, false)
		}
	} else {
		h.answersLost = true
		h.tailLost = h.tailLost || !h.conn.cutting
		if h.current != nil {
			h.answerDone(r, 0, 0, false)
		}
	}
	if r.phase != phaseSearch {
		h.out.stats.Resyncs++
	}
	r.phase = phaseSearch
	h.broken, h.hadGap = true, true
}

// ordered reports whether order alone pairs the next answer.
func (h *http1) ordered() bool { return (!h.broken || h.whole > 0) && !h.conn.midstream() }

// onRequest takes the request whose head was just parsed and ends before seq.
func (h *http1) onRequest(r *messageReader, seq uint32, truncated bool) {
	x := h.out.exchange()
	x.ack, x.expect, x.hasAck = r.begin.ack, r.begin.ack, r.begin.hasAck
	x.headEnd, x.end, x.endKnown = seq, 0, false
	x.nanos, x.truncated = r.begin.nanos, truncated
	x.afterHole, h.requestHole = h.requestHole, false
	if len(h.pending) == 0 && h.current == nil {
		h.ranEmpty()
	}
	h.boundRoom(x)
	h.pause = 0
	h.observeOrder(x)
	h.answersSince, h.lastEndKnown = 0, false
	h.requests++
	x.ordinal = h.requests
	h.shaken = h.shaken || identify.ConnectionBound(redact.NewSecret(h.head.authorization)) ||
		identify.ConnectionBound(redact.NewSecret(h.head.proxyAuthorization))
	h.head.bound = h.shaken
	h.out.request(h.conn.origin(h.client), h.requests, x, h.head, truncated)
	h.out.grpcRequest(x, h.head)
	h.last = x
	h.pending = append(h.pending, x)
	h.supposeRequest(x)
	for h.tooMany() {
		h.out.stats.drop(dropPending)
		h.broken = true
		if h.forgetAlignment(); h.tooMany() { // it may have sent some out
			h.unanswered(1)
		}
	}
	h.boundRequest(x)
	if truncated {
		h.requestDone(r, 0, false)
	}
}

// tooMany reports whether more requests wait for answers than may.
func (h *http1) tooMany() bool {
	n := len(h.pending)
	return n > h.out.limits.Pending || n > 1 && h.out.live > h.out.limits.PendingTotal
}

// observeOrder learns from a new request whether the client waits for answers.
func (h *http1) observeOrder(x *exchange) {
	if x.afterHole {
		h.forgetHabit() // with what was lost it may have begun to send ahead
	}
	var before *exchange
	if n := len(h.pending); n > 0 {
		before = h.pending[n-1]
	} else if h.current != nil && !h.current.answerDone {
		before = h.current
	}
	switch {
	case before != nil:
		// Sent while an earlier one was not answered, unless the answer was lost.
		if !h.answersLost || x.hasAck && before.hasAck && x.ack == before.ack {
			h.sendsAhead()
		} else if h.interims {
			h.forgetHabit() // what was lost may have been another interim answer
		}
	case x.afterHole:
		// What was lost held a request; if nothing answered that, it was sent ahead.
		answered := h.answersSince
		if h.requestBorn && h.requests > 0 {
			answered-- // that was the one before
		}
		if answered <= 0 && !h.answersLost && (h.requests > 0 || !h.conn.midstream() || x.ack == h.conn.dirs[h.client.other()].first) {
			h.sendsAhead()
		}
	case h.lastEndKnown && x.hasAck && x.ack == h.lastEnd:
		h.paused(x)
	}
}

// requestDone ends the request being read; endKnown says that it ends at seq.
func (h *http1) requestDone(r *messageReader, seq uint32, endKnown bool) {
	if r.phase != phaseTunnel && endKnown {
		r.phase = phaseIdle
	}
	x := h.last
	if x == nil {
		return
	}
	h.last = nil
	x.requestDone, x.end, x.endKnown = true, seq, endKnown
	x.call.RequestBytes = r.body
	if x.answerDone {
		h.send(x)
	}
}

// onAnswer takes the answer whose head was just parsed and ends before seq. It
// returns another protocol if the answer changes to one.
func (h *http1) onAnswer(r *messageReader, seq uint32, nanos int64, truncated bool) protocol {
	status := h.head.status
	if status < 200 && !(status == 101 && h.upgrades(r)) {
		h.interim(r, seq, truncated)
		return nil
	}
	h.answersSince++
	h.lostSide, h.tailLost = 0, false
	if r.begin.hasAck && h.hasReplyAck && r.begin.ack == h.replyAck && !h.conn.conflicting {
		h.sendsAhead() // both had been asked before the first was answered
	}
	h.replyAck, h.hasReplyAck = r.begin.ack, r.begin.hasAck
	x, quality := h.match(r)
	if status == 101 && !truncated && x != nil && x.changesTo(upgradeOf(h.head.upgrade)) == upgradeHTTP2 {
		r.phase = phaseIdle
		return h.toHTTP2(x, quality)
	}
	h.out.stats.Responses++
	switch {
	case x == nil && h.broken && h.pipelined && h.whole == 0:
		h.unpaired(r, truncated)
	case x == nil:
		h.orphans++
		h.out.orphan(h.conn.origin(h.client), h.orphans, h.head, r.begin.nanos)
	default:
		if truncated || x.truncated {
			quality = schema.QualityTruncated
		} else if h.tainted || h.conn.conflicting {
			quality = schema.QualityGap
		} else if quality == schema.QualityComplete && h.mayHaveBegunBefore() {
			quality, x.guess = schema.QualityMidstream, guessPlace
		}
		x.answered, x.replied = true, r.begin.nanos
		h.slowest = max(h.slowest, r.begin.nanos-x.nanos)
		x.call.Quality = quality
		h.out.answer(x, h.head, r.begin.nanos)
	}
	h.current = x
	if truncated {
		h.answerDone(r, 0, 0, false)
		return nil
	}
	nobody := status == 204 || status == 304
	if x != nil {
		nobody = nobody || x.head || x.connect && status < 300 || status == 101
	}
	h.answerBody(r, seq, nanos, nobody, x != nil && x.guess == guessNone)
	switch {
	case x == nil:
	case x.connect && h.request.body > 0:
		// What was sent before the answer is the tunnel's, or it is requests that
		// were not read.
		h.taint(&h.request)
		if status < 300 {
			return h.become(newSniffer(h.conn, h.out).settle(speaksUpgraded))
		}
		h.lost(&h.request, true, unsized)
	case x.connect && status < 300:
		return h.become(newSniffer(h.conn, h.out))
	case x.connect:
		h.request.phase = phaseIdle
	case status == 101:
		return h.become(newSniffer(h.conn, h.out).settle(speaksUpgraded))
	}
	return nil
}

// changesTo returns what a 101 that names to changes to: to, or what the request asks
// for where it names nothing.
func (x *exchange) changesTo(to upgrade) upgrade {
	if to == upgradeNone || x.upgrade == upgradeNone {
		return x.upgrade
	}
	return to
}

// upgrades reports whether the request that a 101 would answer asked for it.
func (h *http1) upgrades(r *messageReader) bool {
	x := h.peek(r)
	return x != nil && x.upgrade != upgradeNone
}

// peek returns the request that the message being read would answer, if any.
func (h *http1) peek(r *messageReader) *exchange {
	if h.ordered() {
		if len(h.pending) > 0 {
			return h.pending[0]
		}
		return nil
	}
	for i := len(h.pending) - 1; i >= 0; i-- {
		if h.pending[i].hasAck && h.pending[i].expect == r.begin.seq {
			return h.pending[i]
		}
	}
	return nil
}

// interim takes a 1xx answer: the final one begins behind it.
func (h *http1) interim(r *messageReader, seq uint32, truncated bool) {
	h.out.stats.Interim++
	h.interims = true
	if x := h.peek(r); x != nil {
		x.expect = seq
	}
	if truncated {
		h.answersLost = true
		return
	}
	r.phase, r.interim = phaseIdle, true
}

// match finds the request that the answer being read belongs to, takes it out
// of the pending ones, and says how certain the pair is.
func (h *http1) match(r *messageReader) (*exchange, schema.Quality) {
	if h.ordered() {
		if len(h.pending) > 0 {
			x := h.pending[0]
			if r.begin.hasAck && !before(r.begin.ack, x.headEnd) && !before(r.begin.seq, x.ack) {
				if h.whole > 0 && x.endKnown && before(x.end, r.begin.ack) {
					h.sendsAhead() // with what was lost
				}
				h.take(0)
				h.supposed(x)
				return x, schema.QualityComplete
			}
		}
		// Answered before it was asked: whatever this is, order is no proof here.
		if !h.conn.synSeen {
			h.refute(guessPlace)
		}
		h.broken, h.hadGap = true, true
		h.forgetAlignment()
		h.endTrial(false)
		return nil, schema.QualityOrphan
	}
	if h.pipelined {
		if first := h.isFirst(); h.bound(r) {
			h.align()
			x, quality := h.match(r)
			if first && !h.surely && quality == schema.QualityComplete {
				quality = schema.QualityGap
			}
			return x, quality
		}
		return nil, schema.QualityOrphan
	}
	h.forgetAlignment()
	for i := len(h.pending) - 1; i >= 0; i-- {
		x := h.pending[i]
		if !x.hasAck || x.expect != r.begin.seq {
			continue
		}
		if !r.begin.hasAck || before(r.begin.ack, x.headEnd) {
			return h.likelyMatch(r)
		}
		if x.endKnown && before(x.end, r.begin.ack) {
			// The server had more than this request: the client sends ahead.
			h.sendsAhead()
			return nil, schema.QualityOrphan
		}
		h.unanswered(i)
		h.take(0)
		h.supposed(x)
		h.answersLost = false
		h.waited(x, r.begin.nanos)
		if h.lockstep && !x.afterHole {
			return x, schema.QualityComplete
		}
		if h.requestsLost || h.conn.midstream() || h.interims {
			x.guess = guessPlace // by what nobody saw, or by an answer behind it
		}
		if h.hadGap {
			return x, schema.QualityGap
		}
		return x, schema.QualityMidstream
	}
	if len(h.pending) == 0 && h.requests > 0 && !h.requestHole && !h.conn.conflicting {
		h.sendsAhead() // nobody waits for it, and no request is lost
	}
	return h.likelyMatch(r)
}

func (h *http1) take(i int) {
	h.whole = max(0, h.whole-1)
	copy(h.pending[i:], h.pending[i+1:])
	h.pending[len(h.pending)-1] = nil
	h.pending = h.pending[:len(h.pending)-1]
}

// answerDone ends the answer being read; endKnown says that it ends at seq.
func (h *http1) answerDone(r *messageReader, seq uint32, nanos int64, endKnown bool) {
	r.phase = phaseIdle
	h.endedAt = nanos
	if a := h.reading; a != nil {
		a.done, a.bytes, a.end = true, r.body, nanos
		h.reading = nil
		if h.rowKnown && h.hopeless() {
			h.giveLoose(len(h.loose))
		}
	}
	x := h.current
	h.current = nil
	if x == nil {
		return
	}
	if endKnown && len(h.pending) == 0 {
		h.lastEnd, h.lastEndKnown, h.lastEndNanos = seq, true, nanos
	}
	x.answerDone = true
	x.call.ResponseBytes = r.body
	h.out.lasted(x, nanos)
	if x.requestDone {
		h.send(x)
	}
}

// progressed notes the time of the last byte of an answer without an end.
func (h *http1) progressed(nanos int64) {
	if h.current != nil {
		h.out.lasted(h.current, nanos)
	}
}

// expected reports whether the answer to a known request begins at seq.
func (h *http1) expected(seq uint32) bool { return h.expectedWithin(seq, 1) == 0 }

// expectedWithin returns how far behind seq the first answer to a known request
// begins, or -1 if none does within n bytes.
func (h *http1) expectedWithin(seq uint32, n int) int {
	best := -1
	for _, x := range h.pending {
		if d := int(int32(x.expect - seq)); x.hasAck && d >= 0 && d < n && (best < 0 || d < best) {
			best = d
		}
	}
	return best
}

// unanswered sends out the n oldest pending requests.
func (h *http1) unanswered(n int) {
	for range n {
		x := h.pending[0]
		h.take(0)
		h.out.stats.Unanswered++
		x.call.Quality = h.unansweredQuality(x)
		x.answerDone = true
		if x.requestDone {
			h.send(x)
		}
	}
}

// flush sends out everything: the connection is over.
func (h *http1) flush() {
	if h.current != nil || h.reading != nil {
		h.answerDone(&h.answer, 0, 0, false)
	}
	if h.tailLost && !(h.requestHole && h.requestBorn) && len(h.pending) == 0 {
		h.refute(guessPlace) // what was lost at the end answered something
	}
	h.alignEnd()
	h.unanswered(len(h.pending))
	if h.last != nil {
		h.requestDone(&h.request, 0, false)
	}
	h.unvouched(len(h.guessed))
}
