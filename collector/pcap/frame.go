package pcap

import (
	"bytes"
	"encoding/binary"
)

// Frames of HTTP/2 (RFC 9113 §4). One direction of a connection is a row of
// frames, each with its length in front: a frame that is lost costs nothing
// beyond itself as long as its length is known, and a hole that swallows a head
// costs the border between frames (search, in resync.go) and what the header
// tables hold.

// The kinds of frames that are read.
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePushPromise  = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8
	frameContinuation = 9
)

// The flags of frames.
const (
	flagEndStream  = 0x01
	flagEndHeaders = 0x04
	flagPadded     = 0x08
	flagPriority   = 0x20
)

const frameHeadSize = 9

// frameHead is the head of a frame.
type frameHead struct {
	length      uint32
	kind, flags uint8
	stream      uint32
}

func parseFrameHead(b []byte) frameHead {
	return frameHead{
		uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), b[3], b[4],
		binary.BigEndian.Uint32(b[5:]) & 0x7fffffff,
	}
}

// framePhase is where the reader of one direction stands.
type framePhase uint8

const (
	framePhaseHead framePhase = iota
	// framePhasePreface is before the client's first frame.
	framePhasePreface
	framePhasePayload
	// framePhaseSearch has lost the border between frames.
	framePhaseSearch
)

// frameReader reads the frames of one direction.
type frameReader struct {
	phase  framePhase
	client bool // this is the client's direction
	// padNext says that the length of a DATA frame's padding comes first, damaged that
	// a part of the payload is lost, blockCut that the rest of a header block is, or
	// that it is too long to keep, unproven that the border between frames was found by
	// likeness.
	padNext, damaged, blockCut, unproven bool
	// head is a frame head that spans segments, of which have bytes are there.
	have uint8
	head [frameHeadSize]byte

	frame  frameHead
	remain uint32 // of the payload
	// content is what of a DATA payload is no padding.
	content uint32
	nanos   int64 // of the frame's first byte
	// payload is one that spans segments, of a frame that is looked into.
	payload []byte

	// block is a header block whose frames go on; blockFrame its first frame's
	// head, with stream 0 if there is none.
	block      []byte
	blockNanos int64
	blockFrame frameHead

	// chained is how many bytes have fitted since an unproven border, agreement what
	// the other direction says of it.
	chained uint32
	agreement

	table hpackTable
	// shelf keeps the client's table over a hole, nil where none is kept.
	shelf *shelf
}

// provenAfter is how many bytes must fit frame on frame until a border that was
// found by likeness counts as one: four times the largest usual frame, in which
// a body could look like frames.
const provenAfter = 64 << 10

// lookedInto reports whether a frame's payload is collected.
func (f *frameHead) lookedInto() bool {
	switch f.kind {
	case frameHeaders, frameReset, framePushPromise, frameGoAway, frameContinuation:
		return true
	}
	return false
}

// data reads a chunk.
func (h *http2) data(from side, c chunk) (protocol, chunk) {
	r := h.reader(from)
	for len(c.data) > 0 {
		var n int
		switch r.phase {
		case framePhasePreface:
			n = h.preface(r, c)
		case framePhaseHead:
			n = h.frameHead(r, c)
		case framePhasePayload:
			n = h.payload(r, c)
		case framePhaseSearch:
			n = h.search(r, c)
		}
		c = advance(c, n)
	}
	return h, chunk{}
}

// preface reads the text that a client begins with.
func (h *http2) preface(r *frameReader, c chunk) int {
	left := http2Preface[r.have:]
	n := min(len(c.data), len(left))
	if !bytes.Equal(c.data[:n], left[:n]) {
		h.lost(r)
		return 0
	}
	if r.have += uint8(n); n == len(left) {
		r.phase, r.have = framePhaseHead, 0
	}
	return n
}

// frameHead reads a frame's head.
func (h *http2) frameHead(r *frameReader, c chunk) int {
	if r.have == 0 {
		r.nanos = c.nanos
		if len(c.data) >= frameHeadSize {
			h.begin(r, c.data, c.nanos)
			return frameHeadSize
		}
	}
	n := copy(r.head[r.have:], c.data)
	if r.have += uint8(n); r.have == frameHeadSize {
		r.have = 0
		h.begin(r, r.head[:], c.nanos)
	}
	return n
}

// begin begins the frame whose head is b.
func (h *http2) begin(r *frameReader, b []byte, nanos int64) {
	if r.unproven {
		if !h.plausible(r, b) {
			h.lost(r)
			return
		}
	}
	r.frame = parseFrameHead(b)
	f := &r.frame
	if r.unproven {
		r.chained += frameHeadSize + f.length
		h.tryProof(r, false)
	}
	h.out.stats.Frames++
	r.phase, r.remain, r.damaged = framePhasePayload, f.length, false
	r.padNext, r.content = false, 0
	if f.kind == frameData {
		r.content = f.length
		r.padNext = f.flags&flagPadded != 0 && f.length > 0
	}
	if f.length == 0 {
		h.frameEnd(r, nil, nanos)
	}
}

// payload reads on in a frame's payload.
func (h *http2) payload(r *frameReader, c chunk) int {
	n := int(min(uint64(len(c.data)), uint64(r.remain)))
	b := c.data[:n]
	r.remain -= uint32(n)
	switch {
	case r.frame.kind == frameData:
		h.dataBytes(r, b, c.nanos)
	case r.damaged || !r.frame.lookedInto():
	case r.remain == 0 && len(r.payload) == 0:
		// Nearly always the payload lies in one segment and need not be copied.
		h.frameEnd(r, b, c.nanos)
		return n
	default:
		h.collect(r, b)
	}
	if r.remain == 0 {
		h.frameEnd(r, r.payload, c.nanos)
	}
	return n
}

// dataBytes takes bytes of a DATA frame.
func (h *http2) dataBytes(r *frameReader, b []byte, nanos int64) {
	if r.padNext {
		r.padNext = false
		r.content -= min(r.content, 1+uint32(b[0]))
		b = b[1:]
	}
	n := min(uint32(len(b)), r.content)
	r.content -= n
	h.body(r, b[:n], nanos)
}

// collect keeps a part of a payload that spans segments.
func (h *http2) collect(r *frameReader, b []byte) {
	if room := h.out.limits.HeadBytes - len(r.payload); len(b) > room {
		b = b[:room]
		r.damaged = true
		h.out.stats.drop(dropHead)
	}
	r.payload = h.conn.table.extend(r.payload, b)
}

// release forgets what was collected of a payload.
func (h *http2) release(b *[]byte) {
	h.conn.table.recycle(*b)
	*b = nil
}

// frameEnd ends a frame. payload is that of one that is looked into.
func (h *http2) frameEnd(r *frameReader, payload []byte, nanos int64) {
	f := r.frame
	r.phase = framePhaseHead
	if r.blockFrame.stream != 0 && (f.kind != frameContinuation || f.stream != r.blockFrame.stream) {
		// A block may not be interrupted (RFC 9113 §4.3): its rest is not to come.
		h.blockEnd(r, true)
	}
	switch f.kind {
	case frameData:
		if f.flags&flagEndStream != 0 {
			h.ended(r, f.stream, nanos)
		}
	case frameHeaders, framePushPromise:
		h.blockBegin(r, f, payload)
	case frameContinuation:
		h.blockMore(r, f, payload)
	case frameReset:
		h.reset(r, f.stream)
	case frameGoAway:
		if len(payload) >= 4 && !r.damaged {
			h.goAway(r, binary.BigEndian.Uint32(payload)&0x7fffffff)
		}
	}
	h.release(&r.payload)
}

// blockBegin takes the first frame of a header block.
func (h *http2) blockBegin(r *frameReader, f frameHead, b []byte) {
	pad := 0
	if f.flags&flagPadded != 0 && len(b) > 0 {
		pad = int(b[0])
		b = b[1:]
	}
	skip := 0
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		skip = 5
	} else if f.kind == framePushPromise {
		skip = 4
	}
	if len(b) < skip || !r.damaged && len(b) < skip+pad {
		h.out.stats.drop(dropFrame)
		r.damaged, pad, skip = true, 0, len(b)
	}
	b = b[skip:]
	if !r.damaged {
		b = b[:len(b)-pad]
	}
	r.blockFrame, r.blockNanos, r.blockCut = f, r.nanos, r.damaged
	if f.stream == 0 {
		// No stream has this number: what it does to the table still counts.
		r.blockFrame.stream = noStream
	}
	if f.flags&flagEndHeaders != 0 {
		h.blockOf(r, b)
		return
	}
	h.grow(r, b)
}

// noStream stands for a stream that cannot be: ids have 31 bits.
const noStream = 1 << 31

// blockMore takes a frame that goes on with a header block.
func (h *http2) blockMore(r *frameReader, f frameHead, b []byte) {
	if r.blockFrame.stream == 0 {
		// Its beginning is lost, and with it the table.
		r.table.forget(&h.out.tables)
		h.dropShelf(r)
		return
	}
	h.grow(r, b)
	r.blockCut = r.blockCut || r.damaged
	if f.flags&flagEndHeaders != 0 {
		h.blockEnd(r, r.blockCut)
	}
}

// grow adds to a block that spans frames.
func (h *http2) grow(r *frameReader, b []byte) {
	if r.blockCut {
		return
	}
	if room := h.out.limits.HeadBytes - len(r.block); len(b) > room {
		b = b[:room]
		r.blockCut = true
		h.out.stats.drop(dropHead)
	}
	r.block = h.conn.table.extend(r.block, b)
}

// blockEnd reads a block that spanned frames.
func (h *http2) blockEnd(r *frameReader, cut bool) {
	r.blockCut = cut
	h.blockOf(r, r.block)
	h.release(&r.block)
}

// gap skips n bytes that will never be seen.
func (h *http2) gap(from side, _, n uint32) {
	r := h.reader(from)
	h.gaps = true
	if r.phase != framePhasePayload || n > r.remain {
		if r.phase == framePhasePayload {
			h.cutPayload(r)
		}
		h.lost(r)
		return
	}
	// The frame's end is known: nothing beyond it is lost.
	r.remain -= n
	if r.frame.kind == frameData {
		if r.padNext {
			r.padNext = false // how much of it is padding is not known
		}
		h.bodyGap(r, min(n, r.content))
		r.content -= min(n, r.content)
	}
	if r.remain == 0 {
		r.damaged = true
		h.frameEnd(r, r.payload, 0)
		return
	}
	r.damaged = true
}

// cutPayload takes what there is of a frame whose rest is lost.
func (h *http2) cutPayload(r *frameReader) {
	switch r.frame.kind {
	case frameHeaders, framePushPromise, frameContinuation:
		r.damaged = true
		h.frameEnd(r, r.payload, 0)
	case frameData:
		// The hole begins in the body.
		h.bodyGap(r, r.content)
	}
}

// lost says that the border between frames is lost: header blocks may have been.
func (h *http2) lost(r *frameReader) {
	if r.blockFrame.stream != 0 {
		h.blockEnd(r, true)
	}
	h.release(&r.payload)
	h.shelve(r)
	if r.phase != framePhaseSearch {
		h.out.stats.Resyncs++
	}
	r.phase, r.have, r.unproven, r.chained = framePhaseSearch, 0, true, 0
	h.gaps = true
	h.doubtForGood(r)
	if !r.client {
		h.sweep()
	}
}
