package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// Bounds of what a Decoder remembers. At the second kind the memory starts anew.
const (
	// longestText and longestList are in bytes; what is longer is not remembered.
	longestText, longestList = 512, 1024
	maxTexts, maxTextBytes   = 1 << 14, 2 << 20
	maxLists, maxListBytes   = 1 << 12, 2 << 20
	recentTexts, recentLists = 1024, 256
	// chunkSize is the memory that texts which do not repeat share.
	chunkSize = 64 << 10
)

// memory makes texts of bytes: one and the same text of what repeats.
type memory struct {
	// recent are looked at first: a hash of a text's ends leads to each.
	recent      [recentTexts]string
	recentLists [recentLists]list
	texts       map[string]string
	textBytes   int
	lists       map[string][]string
	listBytes   int
	// chunk is where texts that do not repeat are written one after another.
	chunk []byte
}

// list is a list with the bytes that it was read from.
type list struct {
	raw   string
	texts []string
}

// place is where a text may stand among n recent ones; n is a power of two.
func place(b []byte, n uint64) uint64 {
	var h uint64
	switch l := len(b); {
	case l >= 8:
		h = binary.LittleEndian.Uint64(b) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(b[l-8:]), 29)
	case l >= 4:
		h = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[l-4:]))<<32
	default:
		h = uint64(b[0]) | uint64(b[l/2])<<8 | uint64(b[l-1])<<16
	}
	return (h + uint64(len(b))) * 0x9e3779b97f4a7c15 >> 32 & (n - 1)
}

// repeating returns the text that b holds, the same one each time as far as the
// memory reaches; false says that it is not UTF-8.
func (m *memory) repeating(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", true
	}
	recent := &m.recent[place(b, recentTexts)]
	if *recent == string(b) {
		return *recent, true
	}
	if len(b) > longestText {
		return m.single(b)
	}
	text, known := m.texts[string(b)]
	if !known {
		if !utf8.Valid(b) {
			return "", false
		}
		if m.texts == nil || len(m.texts) >= maxTexts || m.textBytes+len(b) > maxTextBytes {
			m.texts, m.textBytes = map[string]string{}, 0
		}
		text = string(b) // not in a chunk, which it would keep
		m.texts[text] = text
		m.textBytes += len(b)
	}
	*recent = text
	return text, true
}

// single returns the text that b holds, which is not expected again soon.
func (m *memory) single(b []byte) (string, bool) {
	if !utf8.Valid(b) {
		return "", false
	}
	if len(b) == 0 {
		return "", true
	}
	if len(b) > chunkSize/4 {
		return string(b), true
	}
	if len(b) > cap(m.chunk)-len(m.chunk) {
		m.chunk = make([]byte, 0, chunkSize)
	}
	start := len(m.chunk)
	m.chunk = append(m.chunk, b...)
	// What stands in the chunk is never written again.
	return unsafe.String(&m.chunk[start], len(b)), true
}

// list returns the texts of the elements of a list. raw is the elements as they
// stand in the message, each with its tag and length; count is how many.
func (m *memory) list(raw []byte, count int) ([]string, bool) {
	recent := &m.recentLists[place(raw, recentLists)]
	if recent.raw == string(raw) {
		return recent.texts, true
	}
	if known, ok := m.lists[string(raw)]; ok {
		*recent = list{string(raw), known}
		return known, true
	}
	texts := make([]string, 0, count)
	for r := (reader{data: raw}); r.more(); {
		r.tag()
		text, ok := m.repeating(r.bytes())
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	if len(raw) > longestList {
		return texts, true
	}
	cost := len(raw) + count*int(unsafe.Sizeof(""))
	if m.lists == nil || len(m.lists) >= maxLists || m.listBytes+cost > maxListBytes {
		m.lists, m.listBytes = map[string][]string{}, 0
	}
	key := string(raw)
	m.lists[key] = texts
	m.listBytes += cost
	*recent = list{key, texts}
	return texts, true
}
