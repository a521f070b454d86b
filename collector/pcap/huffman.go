package pcap

import (
	"errors"
	"slices"
)

// The Huffman code of HPACK (RFC 7541, appendix B) is canonical: the lengths of
// the codes say everything. This is the length in bits for each byte, and for
// the end mark, which must not occur.
var huffmanBits = [257]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

const (
	huffmanMax  = 30 // bits of the longest code
	huffmanFast = 9  // bits looked up at once
	huffmanEnd  = 256
)

// huffmanTree is what decoding needs: a table for short codes, and for long ones
// where the codes of each length begin.
type huffmanTree struct {
	// fast holds for the next bits the byte and the length of its code, 0 where
	// that is longer.
	fast [1 << huffmanFast]struct{ symbol, bits uint8 }
	// first is the first code of each length, count how many there are, and at
	// where their symbols begin in symbols.
	first, count, at [huffmanMax + 1]uint32
	symbols          [257]uint16
}

var huffman = func() *huffmanTree {
	t := new(huffmanTree)
	order := make([]uint16, 0, 257)
	for s := range uint16(257) {
		order = append(order, s)
	}
	slices.SortStableFunc(order, func(a, b uint16) int { return int(huffmanBits[a]) - int(huffmanBits[b]) })
	copy(t.symbols[:], order)
	code, length := uint32(0), uint8(0)
	for i, s := range order {
		n := huffmanBits[s]
		code <<= n - length
		length = n
		if t.count[n] == 0 {
			t.first[n], t.at[n] = code, uint32(i)
		}
		t.count[n]++
		if n <= huffmanFast {
			low := code << (huffmanFast - n)
			for k := range uint32(1) << (huffmanFast - n) {
				t.fast[low+k].symbol, t.fast[low+k].bits = uint8(s), n
			}
		}
		code++
	}
	return t
}()

var errHuffman = errors.New("a text is not in the Huffman code of HPACK")

// appendHuffman appends the text that b encodes to dst.
func appendHuffman(dst, b []byte) ([]byte, error) {
	var (
		acc  uint64 // the next bits, at its low end
		have uint   // how many
	)
	for {
		for have <= 56-8 && len(b) > 0 {
			acc = acc<<8 | uint64(b[0])
			have += 8
			b = b[1:]
		}
		for have >= huffmanFast {
			e := huffman.fast[acc>>(have-huffmanFast)&(1<<huffmanFast-1)]
			if e.bits == 0 {
				break
			}
			dst = append(dst, e.symbol)
			have -= uint(e.bits)
		}
		if len(b) > 0 && have < huffmanMax {
			continue
		}
		if have < huffmanFast {
			return huffmanTail(dst, acc, have)
		}
		symbol, bits := huffmanLong(acc, have)
		if bits == 0 {
			return huffmanTail(dst, acc, have)
		}
		if symbol == huffmanEnd {
			return dst, errHuffman
		}
		dst = append(dst, byte(symbol))
		have -= bits
	}
}

// huffmanLong reads one code of any length; 0 bits says that have do not hold one.
func huffmanLong(acc uint64, have uint) (symbol uint16, bits uint) {
	for n := uint(5); n <= huffmanMax && n <= have; n++ {
		code := uint32(acc >> (have - n) & (1<<n - 1))
		if i := code - huffman.first[n]; huffman.count[n] > 0 && code >= huffman.first[n] && i < huffman.count[n] {
			return huffman.symbols[huffman.at[n]+i], n
		}
	}
	return 0, 0
}

// huffmanTail reads the last codes: what is left must be less than a byte of
// ones.
func huffmanTail(dst []byte, acc uint64, have uint) ([]byte, error) {
	for have > 0 {
		symbol, bits := huffmanLong(acc, have)
		if bits == 0 {
			break
		}
		if symbol == huffmanEnd {
			return dst, errHuffman
		}
		dst = append(dst, byte(symbol))
		have -= bits
	}
	if rest := acc & (1<<have - 1); have > 7 || rest != 1<<have-1 {
		return dst, errHuffman
	}
	return dst, nil
}
