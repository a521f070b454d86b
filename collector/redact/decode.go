package redact

// maxDecodeRounds bounds how often an encoding is undone. What is encoded more
// often than that hides something and is removed as a whole.
const maxDecodeRounds = 4

// decoded is a view of a text with its escapes undone, and for each byte the
// place in the text where it comes from.
type decoded struct {
	text []byte
	// at[i] is the offset in the original of text[i]; at[len(text)] is the
	// original's length. Nil: text is the original.
	at []int32

	spareText []byte
	spareAt   []int32
}

// set undoes percent escapes (%41) and the escapes that logs write (\x41,
// \u0041, \"), again and again as far as maxDecodeRounds. It reports false if
// something is left then.
func (d *decoded) set(original []byte, escapes bool) bool {
	d.text, d.at = original, nil
	if !escapes {
		return true
	}
	for range maxDecodeRounds {
		if !d.round() {
			return true
		}
	}
	return !hasEscape(d.text)
}

// round undoes one layer and reports whether there was one.
func (d *decoded) round() bool {
	if !hasEscape(d.text) {
		return false
	}
	text, at := d.spareText[:0], d.spareAt[:0]
	for i := 0; i < len(d.text); {
		c, n := escape(d.text[i:])
		text = append(text, c)
		at = append(at, d.origin(i))
		i += n
	}
	at = append(at, d.origin(len(d.text)))
	if d.at == nil {
		d.text, d.at, d.spareText, d.spareAt = text, at, nil, nil
		return true
	}
	d.text, d.spareText = text, d.text
	d.at, d.spareAt = at, d.at
	return true
}

// release keeps the buffers for the next text.
func (d *decoded) release() {
	if d.at != nil {
		clear(d.text)
		d.spareText, d.spareAt = d.text[:0], d.at[:0]
	}
	d.text, d.at = nil, nil
}

func (d *decoded) origin(i int) int32 {
	if d.at == nil {
		return int32(i)
	}
	return d.at[i]
}

// raw reports whether the byte at i stands in the original as it is.
func (d *decoded) raw(i int) bool { return d.at == nil || d.at[i+1]-d.at[i] == 1 }

func hasEscape(text []byte) bool {
	for i, c := range text {
		if c == '%' || c == '\\' {
			if _, n := escape(text[i:]); n > 1 {
				return true
			}
		}
	}
	return false
}

// escape reads one byte or one escape, and says how long it was.
func escape(text []byte) (c byte, size int) {
	switch {
	case text[0] == '%' && len(text) >= 3 && isHex(text[1]) && isHex(text[2]):
		return unhex(text[1])<<4 | unhex(text[2]), 3
	case text[0] != '\\' || len(text) < 2:
		return text[0], 1
	}
	switch {
	case text[1] == 'x' && len(text) >= 4 && isHex(text[2]) && isHex(text[3]):
		return unhex(text[2])<<4 | unhex(text[3]), 4
	case text[1] == 'u' && len(text) >= 6 && text[2] == '0' && text[3] == '0' && isHex(text[4]) && isHex(text[5]):
		return unhex(text[4])<<4 | unhex(text[5]), 6
	case text[1] == 'n', text[1] == 'r', text[1] == 't':
		return '\n', 2
	case text[1] == '"', text[1] == '/', text[1] == '\\':
		return text[1], 2
	}
	return text[0], 1
}

func isHex(c byte) bool { return class[c]&isHexDigit != 0 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
