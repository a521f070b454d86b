package pcap

import "math/bits"

// A client that always has one more request on the way than was seen looks as one that
// waits: its answers begin where the newest request expects its own. So what a client
// does is learned only while every byte of its connection is seen, and forgotten where
// it may have begun to send ahead in packets that are lost: where answers are lost, too,
// or fewer were seen than requests were sent at least.
//
// Later, or where the beginning was not seen, pauses show it. An answer to a request that
// nobody saw comes when it is ready, not when the next request is sent: one that comes
// within a hundredth of the pause before its request does so by chance once in a hundred
// times. Pauses must be longer than any acknowledgement is delayed, since a server may
// hold an answer back until that comes.

// habit is what is known of a client that seems to wait for its answers.
type habit struct {
	// lastEndNanos is when the answer to the last request ended, pause how long the
	// client then sent nothing; patience is how many times chance was halved.
	lastEndNanos, pause int64
	patience            uint8
}

// longPause is in nanoseconds; acknowledgements come within half a second (RFC 9293
// §3.8.6.3).
const longPause = 500e6

// patient is how many times chance must be halved until it is none. A single pause
// counts for mostPatience, so that it takes three at least.
const patient, mostPatience = 20, 8

// paused takes note of a request that was sent when all before it were answered.
func (h *http1) paused(x *exchange) {
	if h.lastEndNanos > 0 {
		h.pause = x.nanos - h.lastEndNanos
	}
	h.lockstep = h.lockstep || !h.broken && !h.conn.midstream()
}

// waited takes note of when the answer to a request began.
func (h *http1) waited(x *exchange, nanos int64) {
	delay := max(nanos-x.nanos, 1)
	if h.pause < longPause || h.pause/8 < delay {
		return
	}
	h.patience += uint8(min(bits.Len64(uint64(h.pause/delay))-1, mostPatience))
	if h.patience >= patient {
		h.patience, h.lockstep = patient, true
		h.vouch(guessPlace) // it waited before, too
	}
}

// forgetHabit says that the client may do otherwise since.
func (h *http1) forgetHabit() { h.lockstep, h.patience = false, 0 }
