package pcap

import "bytes"

// Where the border between frames is lost, the next one is found by likeness. A
// frame head is nine bytes with little freedom: a length that is usual, a kind
// of ten, flags that this kind has, a stream that can be. What is found so is
// marked unproven until much has fitted; no call of it is certain before.

// frameFlags are the flags that each kind may have.
var frameFlags = [10]uint8{
	frameData:         flagEndStream | flagPadded,
	frameHeaders:      flagEndStream | flagEndHeaders | flagPadded | flagPriority,
	frameSettings:     flagEndStream, // the same bit is ACK
	framePing:         flagEndStream,
	framePushPromise:  flagEndHeaders | flagPadded,
	frameContinuation: flagEndHeaders,
}

// usualFrame is the longest frame that is believed while the border is unproven.
const usualFrame = 16 << 10

// largeFrame is the longest DATA frame that is believed then, of a stream that is
// known.
const largeFrame = 1 << 20

// frameFit reports whether b, at least a frame head, may be one.
func frameFit(b []byte) bool {
	if b[0] != 0 || b[5] >= 0x80 {
		return false
	}
	f := parseFrameHead(b)
	switch f.kind {
	case 0x0a, 0x0c, 0x10: // ALTSVC, ORIGIN, PRIORITY_UPDATE
		return f.flags == 0 && f.length < 2048 && (f.stream == 0 || f.kind == 0x0a)
	}
	if f.kind > frameContinuation {
		return false
	}
	if f.length > usualFrame || f.flags&^frameFlags[f.kind] != 0 {
		return false
	}
	switch f.kind {
	case frameData, frameHeaders, frameContinuation:
		return f.stream != 0 && !(f.kind == frameHeaders && f.length == 0)
	case framePriority:
		return f.stream != 0 && f.length == 5
	case frameReset:
		return f.stream != 0 && f.length == 4
	case framePushPromise:
		return f.stream != 0 && f.length > 4
	case frameSettings:
		return f.stream == 0 && f.length%6 == 0 && f.length <= 20*6 && (f.flags == 0 || f.length == 0)
	case framePing:
		return f.stream == 0 && f.length == 8
	case frameGoAway:
		return f.stream == 0 && f.length >= 8 && f.length < 1024
	case frameWindowUpdate:
		return f.length == 4
	}
	return false
}

// largeData reports whether f, whose head is b, may be a DATA frame longer than
// usual.
func (f *frameHead) largeData(b []byte) bool {
	return f.kind == frameData && f.length <= largeFrame && f.flags&^frameFlags[frameData] == 0 && f.stream != 0 && b[5] < 0x80
}

// farStream is how far ahead of the last stream another may lie: streams are
// opened one by one.
const farStream = 2 << 10

// plausible is frameFit with what is known of this connection.
func (h *http2) plausible(r *frameReader, b []byte) bool {
	f := parseFrameHead(b)
	if !frameFit(b) && !(f.largeData(b) && h.find(f.stream) != nil) {
		return false
	}
	if r.blockFrame.stream != 0 {
		return f.kind == frameContinuation && f.stream == r.blockFrame.stream
	}
	if f.kind == frameContinuation || r.client && f.kind == framePushPromise {
		return false
	}
	if f.stream == 0 || h.last == 0 {
		return true
	}
	if f.stream%2 == 0 {
		return !r.client || f.kind == framePriority || f.kind == frameWindowUpdate || f.kind == frameReset
	}
	if !r.client && !h.dirs[0].unproven {
		return f.stream <= h.last // nothing is answered that was not asked
	}
	return f.stream <= h.last+farStream
}

// likeness says how well bytes look like a row of frames.
type likeness struct {
	frames int
	// blocks is how many header blocks begin as one must.
	blocks int
	// toServer and toClient say that the blocks begin as requests, or answers.
	toServer, toClient bool
}

// chain walks over frames from b's beginning. ok is false where one does not fit.
func chain(b []byte, fit func([]byte) bool) (l likeness, ok bool) {
	for len(b) >= frameHeadSize {
		if !fit(b) {
			return l, false
		}
		f := parseFrameHead(b)
		l.frames++
		rest := b[frameHeadSize:]
		if f.kind == frameHeaders {
			switch blockFit(f, rest) {
			case fitRequest:
				l.blocks++
				l.toServer = true
			case fitAnswer:
				l.blocks++
				l.toClient = true
			case fitNone:
				return l, false
			}
		}
		if uint64(f.length) >= uint64(len(rest)) {
			return l, l.frames > 0
		}
		b = rest[f.length:]
	}
	return l, l.frames > 0 && (len(b) == 0 || b[0] == 0)
}

// What the start of a header block looks like.
const (
	fitNone    = iota // no block
	fitUnknown        // it may be one
	fitRequest
	fitAnswer
)

// blockFit looks at the first field of a header block.
func blockFit(f frameHead, b []byte) int {
	if f.flags&flagPadded != 0 {
		if len(b) == 0 {
			return fitUnknown
		}
		if uint32(b[0]) >= f.length {
			return fitNone
		}
		b = b[1:]
	}
	if f.flags&flagPriority != 0 {
		if f.length < 6 {
			return fitNone
		}
		b = b[min(5, len(b)):]
	}
	// Changes of the table's size stand in front.
	for i := 0; i < 2 && len(b) > 0 && b[0]>>5 == 1; i++ {
		_, rest, err := hpackInt(b, 5)
		if err != nil {
			return fitUnknown
		}
		b = rest
	}
	if len(b) == 0 {
		return fitUnknown
	}
	index := 0
	var err error
	switch c := b[0]; {
	case c >= 0x80:
		index, _, err = hpackInt(b, 7)
	case c >= 0x40:
		index, _, err = hpackInt(b, 6)
	case c >= 0x20:
		return fitNone
	default:
		index, _, err = hpackInt(b, 4)
	}
	switch {
	case err != nil:
		return fitUnknown
	case index >= 1 && index <= 7:
		// :authority, :method, :path and :scheme have the first places.
		return fitRequest
	case index >= 8 && index <= 14:
		return fitAnswer
	}
	return fitUnknown
}

// search looks for the next frame: at the start of a segment, or where inside
// one a row of frames begins that fits what is known.
func (h *http2) search(r *frameReader, c chunk) int {
	if r.client && bytes.HasPrefix(c.data, http2Preface) {
		// A new beginning, as behind an upgrade.
		r.phase, r.have = framePhasePreface, 0
		return 0
	}
	fit := func(b []byte) bool { return h.plausible(r, b) }
	for at := 0; at+frameHeadSize <= len(c.data); at++ {
		b := c.data[at:]
		if b[0] != 0 || !h.plausible(r, b) {
			continue
		}
		l, ok := chain(b, fit)
		if !ok || l.toServer && !r.client || l.toClient && r.client {
			continue
		}
		f := parseFrameHead(b)
		known := f.stream != 0 && h.find(f.stream) != nil
		whole := uint64(f.length)+frameHeadSize <= uint64(len(b))
		accept := false
		if c.start && at == 0 {
			accept = l.blocks > 0 || l.frames > 1 || known || whole && f.kind != frameData && f.kind != frameHeaders
		} else {
			accept = l.blocks > 0 && (l.frames > 1 || known || whole && int(f.length)+frameHeadSize == len(b)) ||
				l.frames > 1 && known || l.frames > 2 && f.kind != frameData
		}
		if accept {
			r.phase, r.have, r.unproven, r.chained = framePhaseHead, 0, true, 0
			return at
		}
	}
	return len(c.data)
}

// attachFit reports whether a segment in the middle of a connection is HTTP/2,
// and whether a client sent it: a row of frames with a header block that begins
// as a request or an answer does.
func attachFit(b []byte) (fromClient, ok bool) {
	if len(b) < frameHeadSize+1 || b[0] != 0 {
		return false, false
	}
	begun := uint32(0) // the stream whose head came last
	l, ok := chain(b, func(b []byte) bool {
		f := parseFrameHead(b)
		if f.kind == frameHeaders {
			begun = f.stream
		}
		return frameFit(b) || f.stream == begun && f.largeData(b)
	})
	if !ok || l.blocks == 0 || l.toServer == l.toClient {
		return false, false
	}
	return l.toServer, true
}

// isSettings reports whether b begins as a server of HTTP/2 does: with its
// settings.
func isSettings(b []byte) bool {
	if len(b) < frameHeadSize || b[3] != frameSettings || b[4] != 0 || !frameFit(b) {
		return false
	}
	l, ok := chain(b, frameFit)
	return ok && l.frames > 0
}
