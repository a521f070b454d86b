package redact

// Bits of class: what a byte can be part of.
const (
	isLower = 1 << iota
	isUpper
	isDigit
	isHexDigit
	// isJoin joins the parts of a token: - _ . ~ +
	isJoin
	// isTrigger is looked at by the filter before it goes on.
	isTrigger
)

const (
	isLetter = isLower | isUpper
	isAlnum  = isLetter | isDigit
	isToken  = isAlnum | isJoin
)

// class says what each byte can be part of.
var class = func() (t [256]uint8) {
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isLower
		t[c-'a'+'A'] |= isUpper
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= isDigit | isHexDigit
	}
	for c := 'a'; c <= 'f'; c++ {
		t[c] |= isHexDigit
		t[c-'a'+'A'] |= isHexDigit
	}
	for _, c := range "-_.~+" {
		t[c] |= isJoin
	}
	for _, c := range "=:%\\@/ +\t" {
		t[c] |= isTrigger
	}
	return t
}()

func lower(c byte) byte {
	if class[c]&isUpper != 0 {
		return c | 0x20
	}
	return c
}

// equalFold reports whether b is the lower-case word, in any case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := range b {
		if lower(b[i]) != word[i] {
			return false
		}
	}
	return true
}

func hasPrefixFold(b []byte, word string) bool {
	return len(b) >= len(word) && equalFold(b[:len(word)], word)
}

// isUUID reports whether b has the written form of a UUID, 36 characters in
// groups of 8, 4, 4, 4 and 12. Letters beyond f are let pass: published examples
// mask UUIDs with words.
func isUUID(b []byte) bool {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return false
	}
	for i, c := range b {
		if class[c]&isAlnum == 0 && i != 8 && i != 13 && i != 18 && i != 23 {
			return false
		}
	}
	return true
}
