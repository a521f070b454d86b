package gateway

import (
	"unicode"
	"unicode/utf8"
)

// DeadLetter keeps what is left of units that could not be read. It never sees
// their text: digest is keyed, and shape has letters as a and digits as 9.
type DeadLetter interface {
	// Bad is called once for each unit, in the order of the input; offset and
	// length are bytes of the input after decompression.
	Bad(input string, unit uint64, offset, length int64, reason string, digest [16]byte, shape string)
}

// maxShape is how many characters of a unit's shape are kept.
const maxShape = 256

// shapeOf returns the shape of a unit: letters become a, digits 9, everything
// else stays, so that one can see what kind of line it was and nothing else.
func shapeOf(data []byte) string {
	shape := make([]byte, 0, min(len(data), maxShape))
	for n := 0; len(data) > 0 && n < maxShape; n++ {
		r, size := utf8.DecodeRune(data)
		data = data[size:]
		switch {
		case r == utf8.RuneError && size == 1:
			shape = append(shape, '?')
		case unicode.IsLetter(r), unicode.IsMark(r):
			shape = append(shape, 'a')
		case unicode.IsNumber(r):
			shape = append(shape, '9')
		default:
			shape = utf8.AppendRune(shape, r)
		}
	}
	return string(shape)
}
