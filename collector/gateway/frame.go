package gateway

import (
	"bytes"
	"errors"
	"io"
)

// The limits of one unit. A longer one is counted, skipped and never held.
const (
	maxLine     = 1 << 20
	maxDocument = 16 << 20
	firstBuffer = 256 << 10
)

// bomBytes is the byte order mark that some tools write first.
var bomBytes = []byte("\xef\xbb\xbf")

// Reasons why a unit could not be read.
const (
	reasonTruncatedJSON  = "truncated_json"
	reasonInvalidJSON    = "invalid_json"
	reasonTooDeep        = "too_deep"
	reasonTooLong        = "too_long"
	reasonNUL            = "nul_bytes"
	reasonTruncatedInput = "truncated_input"
)

// frameKind says what the framer found.
type frameKind uint8

const (
	frameText  frameKind = iota // a line, without its end
	frameJSON                   // a document, its values in the scanner
	frameBad                    // something that is neither
	frameBlank                  // an empty line
)

// frame is one unit as it stands in the input.
type frame struct {
	kind   frameKind
	data   []byte
	offset int64
	length int64
	reason string
}

// framer cuts an input into units: lines, JSON documents one after the other
// (on a line each, several on a line, or over many lines), and the elements of
// arrays that hold units, whether the array is the whole document or stands in
// an envelope. It never holds more than one unit, and after one that cannot be
// read it goes on at the next line.
type framer struct {
	r        io.Reader
	buf      []byte
	pos, end int
	base     int64 // the offset of buf[0] in the input
	eof      bool
	// err is why reading ended early, nil at a proper end.
	err error

	// inArray says that elements of an array of units follow; enclosed, that the
	// array stands in an object.
	inArray, enclosed bool
	// midLine says that a unit ended on this line already.
	midLine bool
	// wraps counts the envelopes entered, for the report.
	wraps int
}

func newFramer(r io.Reader) *framer { return &framer{r: r, buf: make([]byte, firstBuffer)} }

// fill reads more, growing the buffer if it is full. It reports false at the end.
func (f *framer) fill() bool {
	if f.eof {
		return false
	}
	if f.pos > 0 {
		copy(f.buf, f.buf[f.pos:f.end])
		f.base += int64(f.pos)
		f.end -= f.pos
		f.pos = 0
	}
	if f.end == len(f.buf) {
		f.buf = append(f.buf, make([]byte, len(f.buf))...)
	}
	for range 100 {
		n, err := f.r.Read(f.buf[f.end:])
		f.end += n
		if err != nil {
			f.eof = true
			if !errors.Is(err, io.EOF) {
				f.err = err
			}
			return n > 0
		}
		if n > 0 {
			return true
		}
	}
	f.eof, f.err = true, io.ErrNoProgress
	return false
}

// grow reads until twice as much is held, so that scanning again stays linear.
// A line that ends sooner is enough. It reports false if nothing came.
func (f *framer) grow() bool {
	held := f.end - f.pos
	if !f.fill() {
		return false
	}
	for f.end-f.pos < 2*held && bytes.IndexByte(f.buf[f.pos+held:f.end], '\n') < 0 && f.fill() {
		continue
	}
	return true
}

// shrink lets a buffer go that one long unit has made large.
func (f *framer) shrink() {
	if len(f.buf) > 4*firstBuffer && f.end-f.pos < firstBuffer {
		small := make([]byte, firstBuffer)
		f.base += int64(f.pos)
		f.end = copy(small, f.buf[f.pos:f.end])
		f.buf, f.pos = small, 0
	}
}

// next returns the next unit; ok is false at the end of the input. What it
// returns is valid until the next call.
func (f *framer) next(s *scanner) (u frame, ok bool) {
	f.shrink()
	for {
		c, blank, found := f.lead()
		switch {
		case blank.kind != frameText:
			return blank, true
		case !found:
			return f.last()
		case f.inArray:
			u, ok = f.element(s, c)
		case c == '{':
			u, ok = f.document(s)
		case c == '[' && f.arrayOfObjects():
			f.pos++
			f.inArray, f.enclosed = true, false
			f.wraps++
			continue
		default:
			return f.line(), true
		}
		if ok {
			return u, true
		}
	}
}

// lead skips what may stand before a unit and returns the unit's first byte. A
// line with nothing on it is a unit of its own, as long as lines are units.
func (f *framer) lead() (c byte, blank frame, found bool) {
	if f.base+int64(f.pos) == 0 {
		for f.end-f.pos < len(bomBytes) && f.fill() {
			continue
		}
		if bytes.HasPrefix(f.buf[f.pos:f.end], bomBytes) {
			f.pos += len(bomBytes)
		}
	}
	nul, start := false, f.base+int64(f.pos)
	for {
		for ; f.pos < f.end; f.pos++ {
			switch c := f.buf[f.pos]; c {
			case ' ', '\t', '\r':
			case 0:
				nul = true
			case ',':
				if !f.inArray {
					return c, frame{}, true
				}
			case '\n':
				if f.inArray {
					continue
				}
				again := f.midLine
				f.midLine = false
				if again && !nul {
					start = f.base + int64(f.pos) + 1
					continue
				}
				f.pos++
				u := frame{kind: frameBlank, offset: start, length: f.base + int64(f.pos) - start}
				if nul {
					u.kind, u.reason = frameBad, reasonNUL
				}
				return 0, u, false
			default:
				return c, frame{}, true
			}
		}
		if !f.fill() {
			if nul {
				return 0, frame{kind: frameBad, reason: reasonNUL, offset: start, length: f.base + int64(f.pos) - start}, false
			}
			return 0, frame{}, false
		}
	}
}

// last says once more if the input ended too early.
func (f *framer) last() (frame, bool) {
	if !f.inArray {
		return frame{}, false
	}
	f.inArray = false
	return frame{kind: frameBad, reason: f.cutReason(reasonTruncatedJSON), offset: f.base + int64(f.pos)}, true
}

// cutReason is why a unit has no end: the reading failed, or the log is so.
func (f *framer) cutReason(otherwise string) string {
	if f.err != nil {
		return reasonTruncatedInput
	}
	return otherwise
}

// arrayOfObjects reports whether the bracket at pos opens an array of units,
// rather than a text line that begins with a date.
func (f *framer) arrayOfObjects() bool {
	for at := 1; ; at++ {
		for f.pos+at >= f.end {
			if at > maxLine || !f.fill() {
				return false
			}
		}
		switch f.buf[f.pos+at] {
		case ' ', '\t', '\r', '\n':
		case '{':
			return true
		default:
			return false
		}
	}
}

// document reads the JSON document at pos; false says that it was an envelope.
func (f *framer) document(s *scanner) (frame, bool) {
	for {
		s.stopAtEnvelope = true
		end := s.scan(f.buf[f.pos:f.end], 0)
		s.stopAtEnvelope = false
		held := f.end - f.pos
		switch {
		case end >= 0:
			return f.take(frameJSON, "", end), true
		case end == scanEnvelope:
			f.pos += s.entered
			f.inArray, f.enclosed = true, true
			f.wraps++
			return frame{}, false
		case end == scanIncomplete && held < maxDocument && f.grow():
		case end == scanIncomplete && held >= maxDocument:
			return f.skip(reasonTooLong), true
		case end == scanIncomplete:
			return f.badLine(f.cutReason(reasonTruncatedJSON), -1), true
		case end == scanTooDeep:
			return f.badLine(reasonTooDeep, s.failed), true
		default:
			return f.badLine(reasonInvalidJSON, s.failed), true
		}
	}
}

// element reads what follows in an array of units; false says that it was no
// unit.
func (f *framer) element(s *scanner, c byte) (frame, bool) {
	switch c {
	case '{':
	case ']':
		f.pos++
		f.inArray, f.midLine = false, true
		if f.enclosed {
			return f.afterArray(s)
		}
		return frame{}, false
	default:
		f.inArray = false
		return f.badLine(reasonInvalidJSON, 0), true
	}
	for {
		end := s.scan(f.buf[f.pos:f.end], 0)
		held := f.end - f.pos
		switch {
		case end >= 0:
			return f.take(frameJSON, "", end), true
		case end == scanIncomplete && held < maxDocument && f.grow():
		case end == scanIncomplete && held >= maxDocument:
			return f.skip(reasonTooLong), true
		case end == scanIncomplete:
			f.inArray = false
			return f.take(frameBad, f.cutReason(reasonTruncatedJSON), held), true
		case end == scanTooDeep:
			return f.skip(reasonTooDeep), true
		default:
			return f.skip(reasonInvalidJSON), true
		}
	}
}

// afterArray reads the rest of the envelope.
func (f *framer) afterArray(s *scanner) (frame, bool) {
	for {
		s.stopAtEnvelope = true
		end := s.rest(f.buf[f.pos:f.end], 0)
		s.stopAtEnvelope = false
		held := f.end - f.pos
		switch {
		case end >= 0:
			f.pos += end
			return frame{}, false
		case end == scanEnvelope:
			f.pos += s.entered
			f.inArray = true
			return frame{}, false
		case end == scanIncomplete && held < maxDocument && f.grow():
		case end == scanIncomplete && held < maxDocument:
			return f.take(frameBad, f.cutReason(reasonTruncatedJSON), held), true
		default:
			return f.badLine(reasonInvalidJSON, s.failed), true
		}
	}
}

// take makes a unit of the next n bytes.
func (f *framer) take(k frameKind, reason string, n int) frame {
	u := frame{kind: k, data: f.buf[f.pos : f.pos+n], offset: f.base + int64(f.pos), length: int64(n), reason: reason}
	f.pos += n
	f.midLine = true
	return u
}

// line reads a text line.
func (f *framer) line() frame {
	end, ok := f.lineEnd(maxLine)
	if !ok {
		return f.dropLine()
	}
	u := f.take(frameText, "", end)
	if f.pos >= f.end && f.err != nil {
		u.kind, u.reason = frameBad, reasonTruncatedInput
	}
	f.endLine()
	u.data = bytes.TrimRight(u.data, "\r \t\x00")
	return u
}

// badLine makes a unit of the line at pos, which is no document. failed is how
// far it was one; a document that failed behind the line, or at its very end,
// was cut short there.
func (f *framer) badLine(reason string, failed int) frame {
	end, ok := f.lineEnd(maxDocument)
	if !ok {
		return f.dropLine()
	}
	if failed >= end && reason == reasonInvalidJSON {
		reason = reasonTruncatedJSON
	}
	u := f.take(frameBad, reason, end)
	f.endLine()
	return u
}

// lineEnd returns how long the line at pos is; false if longer than limit.
func (f *framer) lineEnd(limit int) (int, bool) {
	looked := 0
	for {
		if i := bytes.IndexByte(f.buf[f.pos+looked:f.end], '\n'); i >= 0 {
			return looked + i, looked+i <= limit
		}
		if looked = f.end - f.pos; looked > limit {
			return 0, false
		}
		if !f.fill() {
			return f.end - f.pos, true
		}
	}
}

// endLine goes past the end of the line.
func (f *framer) endLine() {
	if f.pos < f.end && f.buf[f.pos] == '\n' {
		f.pos++
	}
	f.midLine = false
}

// headOf is how much of a unit that is skipped is kept for its digest.
const headOf = 4096

// dropLine skips a line without holding it.
func (f *framer) dropLine() frame {
	u := frame{kind: frameBad, reason: reasonTooLong, offset: f.base + int64(f.pos)}
	u.data = bytes.Clone(f.buf[f.pos:min(f.pos+headOf, f.end)])
	for {
		if i := bytes.IndexByte(f.buf[f.pos:f.end], '\n'); i >= 0 {
			f.pos += i
			break
		}
		if f.pos = f.end; !f.fill() {
			break
		}
	}
	u.length = f.base + int64(f.pos) - u.offset
	f.endLine()
	return u
}

// skip goes past a document without holding it: to the bracket that closes it,
// or to the line on which another one begins as this one did.
func (f *framer) skip(reason string) frame {
	u := frame{kind: frameBad, reason: reason, offset: f.base + int64(f.pos)}
	u.data = bytes.Clone(f.buf[f.pos:min(f.pos+headOf, f.end)])
	w := walker{}
	for {
		n, done := w.walk(f.buf[f.pos:f.end])
		f.pos += n
		if done || !f.fill() {
			break
		}
	}
	u.length = f.base + int64(f.pos) - u.offset
	f.midLine = true
	return u
}

// walker finds the end of a JSON value by its brackets and strings alone.
type walker struct {
	depth            int
	inString, escape bool
	lineStart        bool
}

// walk looks at more of the value. done says that it ended, n bytes further.
func (w *walker) walk(data []byte) (n int, done bool) {
	for i, c := range data {
		first := w.lineStart
		w.lineStart = c == '\n'
		if w.inString {
			switch {
			case c == '\n': // no string goes over a line: the value is broken
				return i, true
			case w.escape:
				w.escape = false
			case c == '\\':
				w.escape = true
			case c == '"':
				w.inString = false
			}
			continue
		}
		switch c {
		case '"':
			w.inString = true
		case '{', '[':
			if first && c == '{' && w.depth > 0 {
				return i, true // the next unit of a list of lines
			}
			w.depth++
		case '}', ']':
			if w.depth--; w.depth <= 0 {
				return i + 1, true
			}
		}
	}
	return len(data), false
}
