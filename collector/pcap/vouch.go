package pcap

import (
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// A pair that nothing proves waits until something else than what made it likely has
// said the same, or the opposite. Then it goes out marked, or request and answer go
// out apart.
//
// What is likely by place (an answer that begins where a client that seems to wait
// expects it) is refuted by all that shows that the client sends ahead: a request that
// comes too early, an answer that nobody waits for. A client that always has one more
// request on the way shows it when it stops, at the latest.
//
// What is likely by count (likely.go) is refuted by whatever contradicts the row. Where
// few packets were lost, and each alone, that suffices: the mistake would be two that were
// lost one behind the other and taken for one. Where more were lost, such a pair must be
// vouched for: by a proof that leaves the same request for the next answer; by a
// client that sends only when nothing is on the way, and goes on exactly when nothing
// should be; or by the end, where a client that had everything closes, and everything is
// answered.

// guess is how a pair was made that nothing proves.
type guess uint8

const (
	guessNone guess = iota
	// guessPlace is where the answer begins, guessCount how many messages were lost.
	guessPlace
	guessCount
	// guessWrong was refuted before the call was over.
	guessWrong
)

// guesses are the pairs of a connection that are likely only.
type guesses struct {
	// guessed are the calls that are over and wait, in order.
	guessed []*exchange
	// parted says that the client closed when the server had sent everything up to
	// partedAt.
	parted   bool
	partedAt uint32
	// bare says that the answer which ended at bareEnd has no body if its pair is right.
	bare    bool
	bareEnd uint32
	// replyAck is what the last answer acknowledged.
	replyAck    uint32
	hasReplyAck bool
	// tailLost says that answers may be lost since the last that was read.
	tailLost bool
	// cutOff says that a direction ended within a message.
	cutOff bool
	// slowest is the longest that a request waited for its answer, in nanoseconds.
	slowest int64
	// lostSide is the direction that lost bytes since a message was read, 0 for none;
	// holes counts the losses; dense says that one may have held several messages.
	lostSide lossSide
	dense    bool
	holes    uint32
	// endedAt is when the last answer ended, 0 where that is not known.
	endedAt int64
}

// lossSide is a direction that lost bytes.
type lossSide uint8

const (
	lostAsks lossSide = 1 + iota
	lostAnswers
)

// fewHoles is how many requests there must be for each hole but the first, so that two
// packets are hardly ever lost side by side.
const fewHoles = 8

// leastBegun is how many messages of a direction must have begun with packets, so that a
// lost packet is likely one of them.
const leastBegun = 4

// noteLoss takes note of so many lost bytes, and reports whether both directions lost
// some at once: then more packets were lost than show.
func (h *http1) noteLoss(isRequest bool, bytes uint32) (both bool) {
	r, is := &h.answer, lostAnswers
	if isRequest {
		r, is = &h.request, lostAsks
	}
	both = h.lostSide != 0 && h.lostSide != is
	h.lostSide = is
	h.holes++
	h.dense = h.dense || both || bytes > max(r.longest, usualSegment) || uint64(h.holes-1)*fewHoles > h.requests || r.begun < leastBegun
	return both
}

// hold keeps a call that is over and likely only.
func (h *http1) hold(x *exchange) {
	if x.guess == guessWrong {
		h.part(x)
		return
	}
	if len(h.guessed) >= maxLoose || h.out.live > h.out.limits.PendingTotal/2 {
		h.guessed = append(h.guessed, x)
		h.unvouched(1)
		return
	}
	if len(h.guessed) == 0 {
		h.out.doubt(h)
	}
	h.guessed = append(h.guessed, x)
}

// unvouched sends the n first calls out for which nothing more will speak, nor against
// them.
func (h *http1) unvouched(n int) {
	for _, x := range h.guessed[:n] {
		if x.guess == guessCount && h.dense {
			h.part(x)
		} else {
			h.out.emit(h.conn.origin(h.client), x)
		}
	}
	h.guessed = slices.Delete(h.guessed, 0, n)
}

// vouch sends out the calls of a kind that wait: something else said the same.
func (h *http1) vouch(is guess) {
	h.guessed = slices.DeleteFunc(h.guessed, func(x *exchange) bool {
		if x.guess == is {
			h.out.emit(h.conn.origin(h.client), x)
		}
		return x.guess == is
	})
	h.eachOpen(is, guessNone)
}

// refute sends request and answer of the calls of a kind that wait out apart.
func (h *http1) refute(is guess) {
	h.guessed = slices.DeleteFunc(h.guessed, func(x *exchange) bool {
		if x.guess == is {
			h.part(x)
		}
		return x.guess == is
	})
	h.eachOpen(is, guessWrong)
}

// eachOpen changes the guess of the calls that are not over.
func (h *http1) eachOpen(is, now guess) {
	for _, x := range [...]*exchange{h.current, h.last} {
		if x != nil && x.guess == is {
			x.guess = now
		}
	}
}

// part sends request and answer out apart.
func (h *http1) part(x *exchange) {
	h.orphans++
	h.out.orphanOf(h.conn.origin(h.client), h.orphans, x.call.Status, x.call.Decision, x.replied)
	if x.reply != nil {
		h.out.give(x.reply)
	}
	x.reply, x.answered = nil, false
	c := &x.call
	c.Status, c.Decision, c.ResponseBytes, c.DurationUS = 0, schema.DecisionUnknown, 0, 0
	h.out.stats.Unanswered++
	c.Quality = h.unansweredQuality(x)
	h.out.emit(h.conn.origin(h.client), x)
}

// unansweredQuality says what is known of a request that no answer is known of.
func (h *http1) unansweredQuality(x *exchange) schema.Quality {
	switch {
	case x.truncated:
		return schema.QualityTruncated
	case h.broken && h.pipelined:
		return schema.QualityGap
	}
	return schema.QualityUnanswered
}

// mayHaveBegunBefore reports whether a request may stand in a first packet that was lost,
// and this be a client that sends ahead: then each answer is that to the one before.
func (h *http1) mayHaveBegunBefore() bool { return !h.conn.synSeen && h.patience < patient }

// satisfied reports whether the connection is over and the client closed first, when it
// had everything.
func (h *http1) satisfied() bool {
	client, server := &h.conn.dirs[h.client], &h.conn.dirs[h.client.other()]
	return client.closed && server.closed && h.parted && !h.cutOff && h.partedAt == server.next-1
}

// quiet reports whether the connection goes on, but whoever waited for an answer would
// have it by now: it was quiet longer than any answer took.
func (h *http1) quiet() bool {
	return !h.conn.dirs[0].closed && !h.conn.dirs[1].closed && h.conn.table.now-h.conn.last >= h.slowest
}

// sendsAhead takes note that the client does.
func (h *http1) sendsAhead() {
	if !h.pipelined {
		h.pipelined = true
		h.refute(guessPlace)
		h.refute(guessCount)
	}
}
