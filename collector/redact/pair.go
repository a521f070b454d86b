package redact

import "bytes"

// pair looks at name=value and name: value, with and without quotes.
func (f *finder) pair(sign int) {
	if f.text[sign] == ':' {
		if start := botBefore(f.text, sign); start >= 0 {
			f.add(start, f.segmentEnd(sign+1), ruleSegment)
			return
		}
	}
	name, quoted := f.nameBefore(sign)
	if len(name) < 2 {
		return
	}
	s := nameStrength(name)
	if s == nameHarmless {
		return
	}
	start := sign + 1
	for start < len(f.text) && start <= sign+4 && (f.text[start] == ' ' || f.text[start] == '\t') {
		start++
	}
	if start == len(f.text) {
		return
	}
	if f.text[start] == '{' && !bytes.HasPrefix(f.text[start:], pathMark) {
		return // an object: its own names tell
	}
	if f.text[start] == '[' && !bytes.HasPrefix(f.text[start:], textMark) && start+1 < len(f.text) {
		f.list(start + 1)
		return
	}
	quote := f.text[start] == '"' || f.text[start] == '\'' || f.text[start] == '`'
	tight := f.text[sign] == ':' && !quoted && !quote && start == sign+1
	if tight && (f.mode == modeName || f.text[start] == '/' || f.text[start] == ':') {
		return
	}
	end := start
	switch {
	case quote:
		start++
		end = f.closing(start)
	case s == nameLine:
		end = f.lineEnd(start)
	default:
		end = f.valueEnd(start)
	}
	value := f.text[start:end]
	if s == nameLine && f.signed(value) {
		return
	}
	if namesKey(value) || (s == nameWeak || tight) && !secretLooking(value) {
		return
	}
	f.add(start, end, rulePair)
	f.covered = end
}

// list takes the quoted values of a JSON list that starts at start.
func (f *finder) list(start int) {
	for i := start; i < len(f.text); i++ {
		switch c := f.text[i]; {
		case c == '"':
			end := f.closing(i + 1)
			f.add(i+1, end, rulePair)
			f.covered = end
			i = end
		case c != ',' && c > ' ':
			return
		}
	}
}

// nameBefore returns the name that ends before a sign, and whether it stands
// in quotes. A name inside an ARN or URN is none.
func (f *finder) nameBefore(sign int) (name []byte, quoted bool) {
	end := sign
	for end > 0 && sign-end < 2 && f.text[end-1] == ' ' {
		end--
	}
	if end > 0 && (f.text[end-1] == '"' || f.text[end-1] == '\'' || f.text[end-1] == '`') {
		end--
		quoted = true
	}
	if end > 0 && f.text[end-1] == ']' {
		if open := bytes.LastIndexByte(f.text[max(0, end-maxName):end], '['); open > 0 {
			inner := f.text[max(0, end-maxName)+open+1 : end-1]
			if len(inner) > 2 {
				return bytes.Trim(inner, `"'`), quoted
			}
			end = max(0, end-maxName) + open
		}
	}
	start := end
	for start > 0 && end-start < maxName && class[f.text[start-1]]&isToken != 0 && f.text[start-1] != '+' {
		start--
	}
	if start > 0 && f.text[start-1] == ':' && f.text[sign] == ':' {
		return nil, false
	}
	return f.text[start:end], quoted
}

// closing returns where a quoted value ends: at the quote that is written like
// the opening one, or at the end.
func (f *finder) closing(start int) int {
	q, raw := f.text[start-1], f.raw(start-1)
	for i := start; i < len(f.text); i++ {
		if f.text[i] == q && f.raw(i) == raw && (i == start || f.text[i-1] != '\\') {
			return i
		}
	}
	return len(f.text)
}

// valueEnd returns where an unquoted value ends. Only characters that stand in
// the original as they are end it: an escaped one is part of the value.
func (f *finder) valueEnd(start int) int {
	for i := start; i < len(f.text); i++ {
		switch f.text[i] {
		case ' ', '\t', '\n', '\r', '&', ';', '"', '\'', '<', '>', '`':
			if f.raw(i) {
				return i
			}
		case '/', '?', '#':
			if f.mode == modePath && f.raw(i) {
				return i
			}
		}
	}
	return len(f.text)
}

func (f *finder) lineEnd(start int) int {
	for i := start; i < len(f.text); i++ {
		if c := f.text[i]; (c == '\n' || c == '\r' || c == '"') && f.raw(i) || c == '/' && f.mode == modePath && f.raw(i) {
			return i
		}
	}
	return len(f.text)
}

// signed reports whether an authorization value is a request signature: its
// key id is a name, and its signature is found by its own name.
func (f *finder) signed(value []byte) bool {
	return hasPrefixFold(value, "aws4-") || hasPrefixFold(value, "goog4-")
}

// namesKey reports whether a value is an AWS access key id, alone or as the
// head of a credential scope: a name, though it is called a credential.
func namesKey(value []byte) bool {
	if len(value) < 16 || value[0] != 'A' {
		return false
	}
	switch string(value[:4]) {
	case "AKIA", "ASIA", "AROA", "AIDA":
	default:
		return false
	}
	for i, c := range value {
		if c == '/' {
			return i >= 16 && lookAt(value[i:]).longest < minRandom
		}
		if class[c]&(isUpper|isDigit) == 0 || i >= 32 {
			return false
		}
	}
	return len(value) <= 24
}

// secretLooking reports whether a value whose name leaves it open is a secret:
// long, or with digits among its letters.
func secretLooking(value []byte) bool {
	if bytes.HasPrefix(value, []byte("[redacted]")) || bytes.HasPrefix(value, []byte("{redacted}")) {
		return true
	}
	if len(value) < 8 {
		return false
	}
	l := lookAt(value)
	if l.classes&isDigit != 0 && l.classes&isLetter != 0 && l.random(30) {
		return true
	}
	return len(value) >= 16 && l.random(30)
}
