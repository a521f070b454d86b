package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// lineForm is one form of a text line, made of literal text and fields:
//
//	{client} {ident} {user} [{time:clf}] "{request}" {status:status} {bytes:count}
//
// A field ends where the literal behind it begins; one in quotes may hold
// escaped quotes, and unescaped ones as long as what follows does not look like
// the rest of the line. {name:type} is checked, {_} is skipped, {*} skips as
// much as there is.
type lineForm struct {
	pieces []piece
	// must is how many pieces have to match; those behind may be cut short.
	must int
	// open says that more text may follow.
	open      bool
	notACall  string
	needsTime bool
}

// piece is literal text or a field.
type piece struct {
	literal []byte
	// slot is where the field's value goes, -1 for a skipped one.
	slot   int
	field  bool
	quoted bool
	greedy bool
	kind   fieldKind
}

// fieldKind restricts what a field may hold.
type fieldKind uint8

const (
	fieldAny fieldKind = iota
	fieldIP
	fieldAddress
	fieldStatus
	fieldCount
	fieldNumber
	fieldCLF
	fieldISO
	fieldWhen
	fieldWord
	fieldID
	fieldRest
)

var fieldKinds = map[string]fieldKind{
	"ip": fieldIP, "address": fieldAddress, "status": fieldStatus, "count": fieldCount, "number": fieldNumber,
	"clf": fieldCLF, "iso": fieldISO, "when": fieldWhen, "word": fieldWord, "id": fieldID, "rest": fieldRest,
}

var (
	errLineEmpty    = errors.New("the form of a line is empty")
	errLineBrace    = errors.New("a { has no }")
	errLineAdjacent = errors.New("two fields stand side by side: put text between them")
	errLineKind     = errors.New("the type is not known; there are ip, address, status, count, number, clf, iso, when, word, id, rest")
)

// parseLineForm compiles the forms; slotOf gives a field's slot.
func parseLineForm(spec *lineSpec, slotOf func(name string) int) (*lineForm, error) {
	must, err := parsePieces(spec.Line, slotOf)
	if err != nil {
		return nil, err
	}
	if len(must) == 0 {
		return nil, errLineEmpty
	}
	then, err := parsePieces(spec.Then, slotOf)
	if err != nil {
		return nil, err
	}
	f := &lineForm{
		pieces: append(must, then...), must: len(must), open: spec.Rest == "any",
		notACall: spec.NotACall, needsTime: spec.NeedsTime,
	}
	for i := range f.pieces {
		if i == 0 || !f.pieces[i].field {
			continue
		}
		before := f.pieces[i-1]
		if before.field {
			return nil, errLineAdjacent
		}
		f.pieces[i].quoted = bytes.HasSuffix(before.literal, []byte(`"`)) && i+1 < len(f.pieces) &&
			bytes.HasPrefix(f.pieces[i+1].literal, []byte(`"`))
	}
	return f, nil
}

func parsePieces(text string, slotOf func(name string) int) ([]piece, error) {
	var pieces []piece
	for text != "" {
		open := strings.IndexByte(text, '{')
		if open != 0 {
			if open < 0 {
				open = len(text)
			}
			pieces, text = append(pieces, piece{literal: []byte(text[:open]), slot: -1}), text[open:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if end < 0 {
			return nil, errLineBrace
		}
		name, kindName, typed := strings.Cut(text[1:end], ":")
		p := piece{slot: -1, field: true, greedy: name == "*"}
		if typed {
			k, ok := fieldKinds[kindName]
			if !ok {
				return nil, fmt.Errorf("field %s: type %q: %w", name, kindName, errLineKind)
			}
			p.kind = k
		}
		if name != "_" && name != "*" {
			p.slot = slotOf(name)
		}
		pieces, text = append(pieces, p), text[end+1:]
	}
	return pieces, nil
}

// match reads a line into the scanner's values. It reports false, with values
// left over, where the line is not of this form.
func (f *lineForm) match(line []byte, s *scanner) bool {
	s.reset()
	pos := 0
	for i := range f.pieces {
		p := &f.pieces[i]
		if !p.field {
			if !bytes.HasPrefix(line[pos:], p.literal) {
				// The optional tail ends here, or does not begin.
				return i >= f.must && (pos == len(line) || f.open || cutShort(line[pos:], p.literal))
			}
			pos += len(p.literal)
			continue
		}
		end := f.end(line, pos, i)
		if end < 0 {
			if i < f.must {
				return false
			}
			end = len(line) // cut short within this field
		}
		if raw := line[pos:end]; !p.kind.holds(raw) {
			return i >= f.must && f.open
		} else if p.slot >= 0 {
			s.keepText(p.slot, raw)
		}
		pos = end
	}
	return pos == len(line) || f.open
}

// cutShort reports whether the line ended within a literal.
func cutShort(rest, literal []byte) bool { return bytes.HasPrefix(literal, rest) }

// end finds where field i, which begins at pos, ends.
func (f *lineForm) end(line []byte, pos, i int) int {
	p := &f.pieces[i]
	if i+1 == len(f.pieces) {
		if p.greedy || p.kind == fieldRest {
			return len(line)
		}
		if space := bytes.IndexByte(line[pos:], ' '); space >= 0 {
			return pos + space
		}
		return len(line)
	}
	literal := f.pieces[i+1].literal
	switch {
	case p.quoted:
		return f.closing(line, pos, i)
	case p.greedy:
		if at := bytes.LastIndex(line[pos:], literal); at >= 0 {
			return pos + at
		}
	default:
		if at := bytes.Index(line[pos:], literal); at >= 0 {
			return pos + at
		}
		if i+1 >= f.must && f.open {
			// The tail is absent: the field is the next word.
			if space := bytes.IndexByte(line[pos:], ' '); space >= 0 {
				return pos + space
			}
			return len(line)
		}
	}
	if i+1 >= f.must {
		return len(line)
	}
	return -1
}

// closing finds the quote that closes a quoted field: the first unescaped one
// behind which the line goes on as the form says.
func (f *lineForm) closing(line []byte, pos, i int) int {
	literal := f.pieces[i+1].literal
	for at := pos; ; at++ {
		next := bytes.IndexByte(line[at:], '"')
		if next < 0 {
			return -1
		}
		at += next
		backslashes := 0
		for at-backslashes > pos && line[at-backslashes-1] == '\\' {
			backslashes++
		}
		if backslashes%2 == 1 {
			continue
		}
		rest := line[at:]
		if bytes.HasPrefix(rest, literal) {
			rest = rest[len(literal):]
			if i+2 < len(f.pieces) {
				if f.pieces[i+2].kind.begins(rest) {
					return at
				}
			} else if len(rest) == 0 || rest[0] == ' ' {
				return at
			}
		} else if i+1 >= f.must && cutShort(rest, literal) {
			return at
		}
	}
}

// begins reports whether text can begin with a field of this kind.
func (k fieldKind) begins(text []byte) bool {
	switch k {
	case fieldStatus, fieldCount, fieldNumber:
		return len(text) > 0 && (text[0]-'0' <= 9 || text[0] == '-')
	}
	return true
}

// holds reports whether raw is of this kind.
func (k fieldKind) holds(raw []byte) bool {
	switch k {
	case fieldIP:
		return parseAddress(raw).IsValid() && raw[0] != '['
	case fieldAddress:
		return parseAddress(raw).IsValid()
	case fieldStatus:
		_, ok := digits(raw)
		return ok && (len(raw) == 3 || string(raw) == "0") || string(raw) == "-"
	case fieldCount:
		_, ok := digits(raw)
		return ok || string(raw) == "-"
	case fieldNumber:
		_, ok := parseDecimal(raw, 1e6)
		return ok || string(raw) == "-"
	case fieldCLF:
		return len(raw) >= 20 && raw[2] == '/' && raw[6] == '/'
	case fieldISO:
		return len(raw) >= 19 && raw[4] == '-' && raw[7] == '-'
	case fieldWhen:
		return fieldCLF.holds(raw) || fieldISO.holds(raw)
	case fieldWord:
		return len(raw) > 0 && !bytes.ContainsFunc(raw, func(r rune) bool {
			return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
		})
	case fieldID:
		return len(raw) >= 8 && fieldWord.holds(raw)
	}
	return true
}

// keepText records a field of a text line.
func (s *scanner) keepText(slot int, raw []byte) {
	s.vals = append(s.vals, value{raw, kindText, bytes.IndexByte(raw, '\\') >= 0, uint16(slot)})
	if s.first[slot] == 0 {
		s.first[slot] = int32(len(s.vals))
	}
}
