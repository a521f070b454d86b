package pcap

import (
	"bytes"
	"encoding/json"
)

// jsonMembers calls visit for each member of the JSON object that b holds, with
// its key, escapes undone, and the raw text of its value. It reports whether the
// object is whole and nothing stands behind it.
// What is not JSON ends it; nothing is checked beyond what finding the borders
// needs.
func jsonMembers(b []byte, visit func(key, value []byte)) bool {
	if b = jsonSpace(b); len(b) == 0 || b[0] != '{' {
		return false
	}
	b = jsonSpace(b[1:])
	if len(b) > 0 && b[0] == '}' {
		return len(jsonSpace(b[1:])) == 0
	}
	for {
		n := jsonString(b)
		if n == 0 {
			return false
		}
		key := b[1 : n-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			text, _ := jsonText(b[:n])
			key = []byte(text)
		}
		if b = jsonSpace(b[n:]); len(b) == 0 || b[0] != ':' {
			return false
		}
		b = jsonSpace(b[1:])
		n = jsonValue(b)
		if n == 0 {
			return false
		}
		visit(key, b[:n])
		if b = jsonSpace(b[n:]); len(b) == 0 {
			return false
		}
		switch b[0] {
		case ',':
			b = jsonSpace(b[1:])
		case '}':
			return len(jsonSpace(b[1:])) == 0
		default:
			return false
		}
	}
}

// jsonElements calls visit with the raw text of each element of the JSON array that b
// holds. It reports whether the array is whole and nothing stands behind it.
func jsonElements(b []byte, visit func(value []byte)) bool {
	if b = jsonSpace(b); len(b) == 0 || b[0] != '[' {
		return false
	}
	if b = jsonSpace(b[1:]); len(b) > 0 && b[0] == ']' {
		return len(jsonSpace(b[1:])) == 0
	}
	for {
		n := jsonValue(b)
		if n == 0 {
			return false
		}
		visit(b[:n])
		if b = jsonSpace(b[n:]); len(b) == 0 {
			return false
		}
		switch b[0] {
		case ',':
			b = jsonSpace(b[1:])
		case ']':
			return len(jsonSpace(b[1:])) == 0
		default:
			return false
		}
	}
}

func jsonSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// jsonString returns the length of the string at b's beginning, 0 if there is
// no whole one.
func jsonString(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// jsonValue returns the length of the value at b's beginning, 0 if there is no
// whole one.
func jsonValue(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := jsonString(b[i:])
			if n == 0 {
				return 0
			}
			if depth == 0 {
				return i + n
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
		}
	}
	return 0
}

// jsonText returns the text of a raw value that is a string.
func jsonText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}
