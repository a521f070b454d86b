package output

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Safe returns s with everything that is not plainly visible written as an
// escape: control characters, line ends, bidirectional and zero-width marks,
// odd spaces, and bytes that are not UTF-8. It returns s itself when clean.
func Safe(s string) string {
	for i, r := range s {
		if !visible(r) || r == utf8.RuneError && isInvalid(s[i:]) {
			return escape(s, i)
		}
	}
	return s
}

// visible reports whether a rune may reach a terminal as it is. unicode.IsPrint
// leaves out all of categories C and Z but the plain space, which is what we
// want: U+202E and U+200B are Cf.
func visible(r rune) bool { return r >= ' ' && r < 0x7f || r > 0x7f && unicode.IsPrint(r) }

func isInvalid(s string) bool {
	_, size := utf8.DecodeRuneInString(s)
	return size == 1
}

func escape(s string, from int) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:from])
	for i := from; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case visible(r):
			b.WriteString(s[i : i+size])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// Cell returns s as a CSV cell that no spreadsheet takes for a formula: what
// begins with = + - @ (or an escape or space before one) gets an apostrophe in
// front, as the common advice is. Numbers of ours never begin with a sign.
func Cell(s string) string {
	// A leading tab or carriage return is a formula's disguise too, and so are
	// the full-width forms that some spreadsheets fold.
	switch trimmed := strings.TrimLeft(s, " \t\r\n\v\f\u00a0\ufeff"); {
	case trimmed != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(trimmed)[0]):
		return "'" + Safe(s)
	case s != "" && (s[0] == '\t' || s[0] == '\r' || s[0] == '\n'):
		return "'" + Safe(s)
	}
	return Safe(s)
}

// safeJSON escapes, in encoded JSON, every rune that is not plainly visible.
// Outside ASCII those can only stand inside strings, so the document keeps its
// meaning; inside ASCII the encoder has done all but DEL.
func safeJSON(data []byte) []byte {
	clean := true
	for _, c := range data {
		if c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return data
	}
	out := make([]byte, 0, len(data)+32)
	for i := 0; i < len(data); {
		if c := data[i]; c < 0x7f {
			out = append(out, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case visible(r):
			out = append(out, data[i:i+size]...)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			hi := 0xd800 + (r-0x10000)>>10
			lo := 0xdc00 + (r-0x10000)&0x3ff
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		}
		i += size
	}
	return out
}

// Width returns how many columns a terminal needs for a safe string: 0 for
// combining marks, 2 for the wide scripts and pictures, else 1.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f,
		r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f,
		r >= 0xff01 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff, r >= 0x1f900 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// Clip shortens a safe string to at most width columns, with an ellipsis where
// it had to cut.
func Clip(s string, width int) string {
	if width <= 0 || Width(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n+runeWidth(r) > width-1 {
			return s[:i] + "…"
		}
		n += runeWidth(r)
	}
	return s
}
