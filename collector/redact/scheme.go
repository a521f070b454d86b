package redact

import "bytes"

// scheme looks at a space: after the name of a scheme, a secret follows.
func (f *finder) scheme(space int) {
	known := schemeBefore(f.text, space)
	if known == "" {
		return
	}
	from := space + 1
	for from < len(f.text) && (f.text[from] == ' ' || f.text[from] == '+') {
		from++
	}
	end := from
	for end < len(f.text) && !f.endsCredential(end) {
		end++
	}
	value := f.text[from:end]
	switch known {
	case "digest", "hawk", "oauth", "signature":
		if bytes.IndexByte(value, '=') > 0 {
			f.covered = f.lineEndQuoted(from)
			f.add(from, f.covered, ruleScheme)
		}
		return
	case "bearer", "dpop":
		if plainWord(value) || len(value) < 3 {
			return
		}
	case "basic":
		if !basicLooking(value) {
			return
		}
	default:
		if !secretLooking(value) {
			return
		}
	}
	f.add(from, end, ruleScheme)
	f.covered = max(f.covered, end)
}

// schemeBefore returns the scheme whose name ends at i, or "".
func schemeBefore(text []byte, i int) string {
	start := i
	for start > 0 && i-start < 12 && class[text[start-1]]&isLetter != 0 {
		start--
	}
	word := text[start:i]
	if len(word) < 4 || start > 0 && class[text[start-1]]&isAlnum != 0 {
		return ""
	}
	for _, s := range schemes {
		if equalFold(word, s) {
			return s
		}
	}
	return ""
}

// endsCredential reports whether the byte at i cannot be part of a credential
// that follows a scheme.
func (f *finder) endsCredential(i int) bool {
	switch f.text[i] {
	case ' ', '\t', '\n', '\r', '"', '\'', ',', ';', '<', '>', '`', '(', ')', '[', ']', '{', '}':
		return true
	case '/', '&', '?', '#':
		return f.mode == modePath && f.raw(i)
	}
	return false
}

// lineEndQuoted is the end of the line: parameters have quotes of their own.
func (f *finder) lineEndQuoted(from int) int {
	for i := from; i < len(f.text); i++ {
		if f.text[i] == '\n' || f.text[i] == '\r' {
			return i
		}
	}
	return len(f.text)
}

// plainWord reports whether value is a word that follows a scheme in speech.
func plainWord(value []byte) bool {
	end := 0
	for end < len(value) && class[value[end]]&isLetter != 0 {
		end++
	}
	if end > 16 || end < len(value) && value[end] != '.' && value[end] != '=' && value[end] != ':' {
		return false
	}
	if end < len(value) && value[end] == '.' && end+1 < len(value) {
		return false
	}
	return afterScheme[string(bytes.ToLower(value[:end]))]
}

// basicLooking reports whether value is Base64 of user:password.
func basicLooking(value []byte) bool {
	if len(value) < 4 || plainWord(value) {
		return false
	}
	bits, n := uint32(0), 0
	for _, c := range value {
		v := base64Value[c]
		if v < 0 {
			break
		}
		bits = bits<<6 | uint32(v)
		if n += 6; n >= 8 {
			n -= 8
			if byte(bits>>n) == ':' {
				return true
			}
		}
	}
	return secretLooking(value)
}
