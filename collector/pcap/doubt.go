package pcap

import "slices"

// A border between frames that was found by likeness may lie in a body that
// looks like frames. It is proven by the other direction, whose own border was
// never in doubt: a stream that was opened behind the one is answered behind the
// other, and so is the next, and the next.
//
// Were it not so, the first of what was read would be the inside of one DATA frame
// that began in the hole. Then each stream of it that is answered must have been
// opened for real, in that hole as well, and whoever wrote the body must have known
// their numbers; a real head that comes later for one of them is a second head, or
// a number that does not grow, which contradicts the whole row. The number that he
// can know is that of his own stream: so the first that agrees proves those behind
// it, and never itself. (Who owns the whole connection knows them all. Nothing that is
// left tells his reading from the true one, should the tap lose just the packet with
// the true heads; docs/capture.md says so.) Answers are easier to make up, since many streams may wait
// for one: there the row must also be longer than a frame, or reach to the end of
// the direction, so that the true answers have come to contradict. Only a tunnel inside the connection (CONNECT) carries
// frames with numbers that follow each other so: there, nothing is proven but by
// length (provenAfter).
//
// Calls that are over before the proof wait for it.

// confirmations is how many streams both directions must agree on. One or two
// numbers may be met by chance, as by the bytes of another connection in a body.
// Where neither border is proven each counts half: then both may lie in bodies,
// but of one connection inside this one, or numbers would not agree.
const confirmations = 3

// maxWaiting bounds the calls of a connection that wait for a proof: those that a
// direction with so many streams open at a time may end before the third.
const maxWaiting = 128

// agreement is what the other direction said of a border that is not proven.
type agreement struct {
	// heads counts the heads of streams since the border was found; first is the
	// earliest of them that was confirmed, 0 while none is.
	heads, first uint32
	// score is two for each stream that was confirmed, or one (confirmations).
	score uint32
	// highest is the stream that was opened last.
	highest uint32
	// barred says that something contradicted.
	barred bool
}

// doubtful notes that a head of the stream was read where the border is not proven.
func (s *stream) doubtful(r *frameReader) {
	if r.unproven {
		r.heads++
		s.doubts[r.index()] = r.heads
	}
}

// grows checks that a stream which is opened has a higher number than those before.
func (h *http2) grows(r *frameReader, id uint32) {
	if r.unproven && id <= r.highest {
		h.contradict(r)
	}
	r.highest = max(r.highest, id)
}

// doubted reports whether a proof of the border would make the call certain.
func (s *stream) doubted() bool { return s.doubts[0] != 0 || s.doubts[1] != 0 }

// index is that of the direction: the client's first.
func (r *frameReader) index() int {
	if r.client {
		return 0
	}
	return 1
}

// confirm takes note that a server's answer was read for a request that no answer
// was read for before.
func (h *http2) confirm(s *stream) {
	if h.tunnels || s.unproven || h.dirs[0].barred || h.dirs[1].barred {
		return
	}
	score := uint32(2)
	if s.doubts[0] != 0 && s.doubts[1] != 0 {
		score = 1
	}
	for i := range h.dirs {
		r, at := &h.dirs[i], s.doubts[i]
		if at == 0 || !r.unproven {
			continue
		}
		if r.score += score; r.first == 0 || at < r.first {
			r.first = at
		}
	}
	for i := range h.dirs {
		h.tryProof(&h.dirs[i], false)
	}
}

// tryProof proves the border of a direction if there is enough to prove it; over
// says that the direction ended behind a whole frame.
func (h *http2) tryProof(r *frameReader, over bool) {
	switch {
	case !r.unproven:
	case r.score >= 2*confirmations && (r.client || over || r.chained >= usualFrame):
		h.prove(r, r.first)
	case r.chained >= provenAfter:
		h.prove(r, r.heads)
	}
}

// contradict takes note of a second head for one stream: what was read behind a
// border that is not proven was no row of frames, or this is none.
func (h *http2) contradict(r *frameReader) {
	if r.unproven {
		h.doubtForGood(r)
		r.barred = true
	}
}

// awaits reports whether the call of a stream is over and waits for a proof.
func (h *http2) awaits(id uint32) bool {
	return slices.ContainsFunc(h.waiting, func(s *stream) bool { return s.id == id })
}

// prove says that the border of a direction is one, behind so many heads.
func (h *http2) prove(r *frameReader, heads uint32) {
	h.settleDoubts(r.index(), func(at uint32) bool { return at > heads })
	r.unproven, r.agreement = false, agreement{}
}

// settleDoubts decides what was read in a direction since its border was found.
func (h *http2) settleDoubts(i int, proven func(at uint32) bool) {
	for _, list := range [...][]*stream{h.streams, h.waiting} {
		for _, s := range list {
			if at := s.doubts[i]; at != 0 {
				s.unproven = s.unproven || !proven(at)
				s.doubts[i] = 0
			}
		}
	}
	h.letGo(func(s *stream) bool { return s.unproven || !s.doubted() })
}

// doubtForGood gives up the proof of what was read since the border was found.
func (h *http2) doubtForGood(r *frameReader) {
	h.settleDoubts(r.index(), func(uint32) bool { return false })
	r.agreement = agreement{}
}

// wait keeps a call that is over until its border is proven. It reports whether
// it does: a call that a proof would not make certain need not wait.
func (h *http2) wait(s *stream) bool {
	limits := &h.out.limits
	if !s.doubted() || !s.provable() || h.conn.conflicting || h.out.live > limits.PendingTotal {
		return false
	}
	if len(h.waiting) >= maxWaiting {
		h.giveUp(h.waiting[0])
		h.waiting = slices.Delete(h.waiting, 0, 1)
	}
	h.list()
	h.waiting = append(h.waiting, s)
	return true
}

// provable reports whether the call would be certain were its border proven.
func (s *stream) provable() bool {
	return s.x != nil && s.x.answered && !s.x.truncated && !s.ambiguous && !s.orphaned && !s.unseen && !s.statusUnseen && !s.unproven
}

// giveUp sends out a call whose border will not be proven any more.
func (h *http2) giveUp(s *stream) {
	s.unproven = s.unproven || s.doubted()
	h.emit(s)
}

// letGo sends out the waiting calls that need not wait any longer.
func (h *http2) letGo(ready func(*stream) bool) {
	h.waiting = slices.DeleteFunc(h.waiting, func(s *stream) bool {
		if ready(s) {
			h.emit(s)
			return true
		}
		return false
	})
}

// list makes sure that settle is called in time.
func (h *http2) list() {
	if !h.listed {
		h.listed = true
		h.out.doubt(h)
	}
}

// settle sends out all calls that wait, as they are, and those that their clients
// gave up, the second time: an answer that was on its way has come by then.
func (h *http2) settle() {
	h.listed = false
	h.settleWaiting()
	for i := 0; h.cancelled > 0 && i < len(h.streams); {
		s := h.streams[i]
		if s.cancelled && s.overdue {
			h.finish(s)
			continue
		}
		if s.cancelled {
			s.overdue = true
			h.list()
		}
		i++
	}
}

func (h *http2) settleWaiting() {
	for _, s := range h.waiting {
		h.giveUp(s)
	}
	h.waiting = nil
}

// doubt remembers a connection with calls that wait, where somebody waits for
// them: of a file all calls come in time.
func (b *builder) doubt(h interface{ settle() }) {
	if b.inTime {
		b.doubts = append(b.doubts, h)
	}
}

// settle sends out the calls that waited since the last time: on a quiet
// connection the proof may not come for hours.
func (b *builder) settle() {
	for _, h := range b.doubts[:b.settled] {
		h.settle()
	}
	b.doubts = slices.Delete(b.doubts, 0, b.settled)
	b.settled = len(b.doubts)
}
