package gateway

import (
	"encoding/binary"
	"math/bits"
)

// kind is the JSON kind of a value, or kindText for a field of a text line.
type kind uint8

const (
	kindAbsent kind = iota
	kindNull
	kindBool
	kindNumber
	kindString
	kindObject
	kindArray
	kindText
)

// value is one value that a path found. raw aliases the unit: what stands
// between the quotes of a string, else the whole span.
type value struct {
	raw  []byte
	kind kind
	// escaped says that raw holds escape sequences.
	escaped bool
	slot    uint16
}

// The results of a scan that is not the end position of a value. A scan never
// says that a value is wrong when more input could still make it right.
const (
	scanIncomplete = -1
	scanInvalid    = -2
	scanTooDeep    = -3
	scanEnvelope   = -4
)

// maxDepth bounds nesting, and with it the stack.
const maxDepth = 200

// scanner reads JSON values strictly (RFC 8259; invalid UTF-8 is let through)
// and keeps those that a path of the trie names, without copying. It accepts
// exactly what encoding/json accepts, up to maxDepth; a duplicate key replaces
// what the first one gave. Not for concurrent use.
type scanner struct {
	trie *trie
	data []byte
	vals []value
	// first is, for a slot, 1 + the position of its first value in vals.
	first []int32

	// failed is where the last scan found that the value is wrong, and entered
	// where it stopped for an envelope: behind the array's bracket.
	failed, entered int
	// stopAtEnvelope makes the scan stop at an array of units.
	stopAtEnvelope bool

	// owner is, for a node, the last object it was found in (objects are numbered
	// over all scans), and mark how many values were known then.
	owner  []uint64
	mark   []int32
	object uint64
	key    []byte

	// guesses are, for a node, the keys of the last object there, in their order:
	// logs write the same keys in the same order line after line.
	guesses [][]guess
}

func newScanner(t *trie) *scanner {
	return &scanner{
		trie: t, first: make([]int32, t.slots+1), owner: make([]uint64, t.nodes), mark: make([]int32, t.nodes),
		guesses: make([][]guess, t.nodes),
	}
}

// reset forgets the values of the last scan.
func (s *scanner) reset() {
	for i := range s.vals {
		s.first[s.vals[i].slot] = 0
	}
	s.vals = s.vals[:0]
}

// scan reads one value that begins at data[pos] and returns the position after
// it, or one of the scan results.
func (s *scanner) scan(data []byte, pos int) int {
	s.reset()
	s.data = data
	return s.value(pos, s.trie.root, 0)
}

// expand reads an object that a log wrote as text, as the value of node n, and
// keeps its values beside those of the last scan. It reports whether data is one
// object.
func (s *scanner) expand(data []byte, n *node) bool {
	known, unit := len(s.vals), s.data
	s.data = data
	end := s.value(s.space(0), n, 1)
	if end < 0 || s.space(end) < len(data) {
		for i := known; i < len(s.vals); i++ {
			if slot := s.vals[i].slot; s.first[slot] == int32(i+1) {
				s.first[slot] = 0
			}
		}
		s.vals, s.data = s.vals[:known], unit
		return false
	}
	s.data = unit
	return true
}

// rest reads what follows a member's value up to the end of its object.
func (s *scanner) rest(data []byte, pos int) int {
	s.reset()
	s.data = data
	s.object++
	return s.members(pos, s.trie.root, 1, false)
}

// fail notes where the value is wrong.
func (s *scanner) fail(pos int) int {
	s.failed = pos
	return scanInvalid
}

// value reads one value; n is nil where no path leads.
func (s *scanner) value(pos int, n *node, depth int) int {
	if pos >= len(s.data) {
		return scanIncomplete
	}
	start := pos
	var v value
	switch c := s.data[pos]; c {
	case '"':
		end, escaped := s.str(pos)
		if end < 0 {
			return end
		}
		v, pos = value{s.data[start+1 : end-1], kindString, escaped, 0}, end
	case '{', '[':
		return s.nested(pos, n, depth, c == '{')
	case 't':
		pos, v.kind = s.literal(pos, "true"), kindBool
	case 'f':
		pos, v.kind = s.literal(pos, "false"), kindBool
	case 'n':
		pos, v.kind = s.literal(pos, "null"), kindNull
	default:
		pos, v.kind = s.number(pos), kindNumber
	}
	if pos < 0 || n == nil || n.slot < 0 {
		return pos
	}
	if v.kind != kindString {
		v.raw = s.data[start:pos]
	}
	s.keep(n, v)
	return pos
}

// nested reads an object or array.
func (s *scanner) nested(pos int, n *node, depth int, object bool) int {
	if depth >= maxDepth {
		s.failed = pos
		return scanTooDeep
	}
	start, at := pos, -1
	if n != nil && n.slot >= 0 {
		// The place is kept now, so that elements stand behind their array; the
		// span is known later.
		at = len(s.vals)
		k := kindArray
		if object {
			k = kindObject
		}
		s.keep(n, value{s.data[start:start], k, false, 0})
	}
	if object {
		s.object++
		pos = s.members(pos+1, n, depth+1, true)
	} else {
		pos = s.elements(pos+1, n, depth+1)
	}
	if at >= 0 && pos >= 0 && at < len(s.vals) && int(s.vals[at].slot) == n.slot {
		s.vals[at].raw = s.data[start:pos]
	}
	return pos
}

// keep records a value.
func (s *scanner) keep(n *node, v value) {
	v.slot = uint16(n.slot)
	s.vals = append(s.vals, v)
	if s.first[n.slot] == 0 {
		s.first[n.slot] = int32(len(s.vals))
	}
}

// members reads members of an object up to its end; first says that none was
// read yet.
func (s *scanner) members(pos int, n *node, depth int, first bool) int {
	if n != nil && !n.descends() {
		n = nil
	}
	object := s.object
	for index := 0; ; index++ {
		pos = s.space(pos)
		if pos >= len(s.data) {
			return scanIncomplete
		}
		switch c := s.data[pos]; {
		case c == '}':
			return pos + 1
		case first:
			first = false
		case c == ',':
			if pos = s.space(pos + 1); pos >= len(s.data) {
				return scanIncomplete
			}
		default:
			return s.fail(pos)
		}
		var child *node
		if pos, child = s.member(pos, n, index); pos < 0 {
			return pos
		}
		if child != nil {
			s.meet(child, object)
			if child.envelope && s.stopAtEnvelope && depth == 1 {
				if entered := s.envelope(pos); entered != 0 {
					return entered
				}
			}
		}
		if pos = s.value(pos, child, depth); pos < 0 {
			return pos
		}
	}
}

// forget drops the values at and below a node that were found since its object
// began.
func (s *scanner) forget(n *node) {
	for i := s.mark[n.id]; i < int32(len(s.vals)); i++ {
		if id := s.trie.nodeOf[s.vals[i].slot]; id >= n.low && id < n.high {
			s.first[s.vals[i].slot] = 0
			s.vals[i].slot = uint16(s.trie.slots) // no path's slot
		}
	}
	for i := len(s.vals) - 1; i >= 0; i-- {
		s.first[s.vals[i].slot] = int32(i + 1)
	}
}

// envelope decides whether the value at pos is an array of objects, and says
// so; 0 means that it is not one.
func (s *scanner) envelope(pos int) int {
	if pos >= len(s.data) {
		return scanIncomplete
	}
	if s.data[pos] != '[' {
		return 0
	}
	inside := s.space(pos + 1)
	if inside >= len(s.data) {
		return scanIncomplete
	}
	if s.data[inside] != '{' {
		return 0
	}
	s.entered = pos + 1
	return scanEnvelope
}

// elements reads the elements of an array up to its end. Elements of an array
// at a path's end are values of that path themselves.
func (s *scanner) elements(pos int, n *node, depth int) int {
	pos = s.space(pos)
	if pos < len(s.data) && s.data[pos] == ']' {
		return pos + 1
	}
	for index := 0; ; index++ {
		var child *node
		if n != nil {
			child = n.element(index)
		}
		if pos = s.value(pos, child, depth); pos < 0 {
			return pos
		}
		if pos = s.space(pos); pos >= len(s.data) {
			return scanIncomplete
		}
		switch s.data[pos] {
		case ']':
			return pos + 1
		case ',':
			pos = s.space(pos + 1)
		default:
			return s.fail(pos)
		}
	}
}

// space skips white space.
func (s *scanner) space(pos int) int {
	for pos < len(s.data) {
		if c := s.data[pos]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return pos
		}
		pos++
	}
	return pos
}

const (
	lowBits   = 0x0101010101010101
	highBits  = 0x8080808080808080
	quoteMask = '"' * lowBits
	slashMask = '\\' * lowBits
	spaceMask = ' ' * lowBits
)

// str reads a string from its opening quote and returns the position after its
// closing one. Eight bytes are looked at together: the lowest high bit marks
// the first quote, backslash or control character.
func (s *scanner) str(pos int) (end int, escaped bool) {
	data := s.data
	pos++
	for {
		for pos+8 <= len(data) {
			x := binary.LittleEndian.Uint64(data[pos:])
			q, b := x^quoteMask, x^slashMask
			stop := ((q-lowBits)&^q | (b-lowBits)&^b | (x-spaceMask)&^x) & highBits
			if stop != 0 {
				pos += bits.TrailingZeros64(stop) / 8
				goto found
			}
			pos += 8
		}
		for pos < len(data) && data[pos] != '"' && data[pos] != '\\' && data[pos] >= ' ' {
			pos++
		}
		if pos >= len(data) {
			return scanIncomplete, escaped
		}
	found:
		switch data[pos] {
		case '"':
			return pos + 1, escaped
		case '\\':
			escaped = true
			if pos = s.escape(pos); pos < 0 {
				return pos, escaped
			}
		default:
			return s.fail(pos), escaped
		}
	}
}

// escape checks the escape sequence at pos and returns the position after it.
func (s *scanner) escape(pos int) int {
	if pos+1 >= len(s.data) {
		return scanIncomplete
	}
	switch s.data[pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return pos + 2
	case 'u':
		for i := pos + 2; i < pos+6; i++ {
			if i >= len(s.data) {
				return scanIncomplete
			}
			if _, ok := hexDigit(s.data[i]); !ok {
				return s.fail(i)
			}
		}
		return pos + 6
	}
	return s.fail(pos + 1)
}

// literal checks one of the three words.
func (s *scanner) literal(pos int, word string) int {
	for i := range len(word) {
		if pos+i >= len(s.data) {
			return scanIncomplete
		}
		if s.data[pos+i] != word[i] {
			return s.fail(pos + i)
		}
	}
	return pos + len(word)
}

// number checks a number. One that ends with the data may go on, which matters
// to nobody: a unit is an object.
func (s *scanner) number(pos int) int {
	data := s.data
	if pos < len(data) && data[pos] == '-' {
		pos++
	}
	start := pos
	if pos < len(data) && data[pos] == '0' {
		pos++
	} else {
		pos = skipDigits(data, pos)
	}
	if pos == start {
		return s.shortNumber(pos)
	}
	if pos < len(data) && data[pos] == '.' {
		start = pos + 1
		if pos = skipDigits(data, start); pos == start {
			return s.shortNumber(pos)
		}
	}
	if pos < len(data) && data[pos]|0x20 == 'e' {
		pos++
		if pos < len(data) && (data[pos] == '+' || data[pos] == '-') {
			pos++
		}
		start = pos
		if pos = skipDigits(data, start); pos == start {
			return s.shortNumber(pos)
		}
	}
	return pos
}

func (s *scanner) shortNumber(pos int) int {
	if pos >= len(s.data) {
		return scanIncomplete
	}
	return s.fail(pos)
}

func skipDigits(data []byte, pos int) int {
	for pos < len(data) && data[pos]-'0' <= 9 {
		pos++
	}
	return pos
}
