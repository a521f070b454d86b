package redact

import (
	"bytes"
	"slices"

	"github.com/scopedrift/scopedrift/schema"
)

// rule numbers the reasons for which something is removed.
type rule uint8

const (
	rulePEM rule = iota
	ruleJWT
	rulePrefix
	rulePair
	ruleScheme
	ruleUserInfo
	ruleSegment
	ruleRandom
	ruleEncoding
	ruleCount
)

var ruleNames = [ruleCount]string{
	"pem", "jwt", "known_prefix", "named_value", "auth_scheme", "user_info", "session_segment", "random_token", "deep_encoding",
}

// What stands in place of a secret.
var (
	pathMark = []byte(schema.RedactedPath)
	textMark = []byte(schema.RedactedText)
)

// Scrubber removes secrets from request targets and free text, and counts what
// it removed by rule. It is not safe for use by several goroutines: make one
// for each.
//
// Its rules, by the names in Counts: pem (keys and certificates), jwt (Base64
// of JSON), known_prefix (secrets whose makers mark them), named_value
// (password=…), auth_scheme (Bearer …), user_info (user:password@host),
// session_segment (/sid/…), random_token (noise of 32 or more characters; in
// paths hexadecimal digits too), deep_encoding (escaped over and over). What
// stays: UUIDs, digests that name their kind (sha256:…), ARNs, AWS access key
// ids, and names made of words.
type Scrubber struct {
	counts [ruleCount]uint64
	find   finder
	// two buffers for each of path, text and query name: a pass reads one and
	// writes the other.
	path, text, name [2][]byte

	names   []byte
	queries [][]byte

	// key tells objects apart whose names lost a secret; object is the last
	// path's, resource the buffer of Resource.
	key              *Key
	object, resource []byte
}

// NewScrubber returns a scrubber for one goroutine. Without a key (nil) names
// that lost a secret get no digest.
func NewScrubber(key *Key) *Scrubber { return &Scrubber{key: key} }

// Counts returns how often each rule removed something; rules that never did
// are left out.
func (s *Scrubber) Counts() map[string]uint64 {
	counts := make(map[string]uint64, len(s.counts))
	for r, n := range s.counts {
		if n > 0 {
			counts[ruleNames[r]] = n
		}
	}
	return counts
}

// Text returns free text (a user agent, a policy, a resource, a header) with
// its secrets replaced by "[redacted]": text itself where there are none, else
// a buffer that is valid until the next call of Text or Host.
func (s *Scrubber) Text(text []byte) []byte {
	if !s.suspicious(text, modeText) {
		return text
	}
	return s.scrub(text, modeText, textMark, &s.text)
}

// Host returns a host as logs and headers show it, without user information
// and without secrets. What it returns is valid as long as that of Text.
func (s *Scrubber) Host(host []byte) []byte {
	if i := bytes.LastIndexByte(host, '@'); i >= 0 {
		s.counts[ruleUserInfo]++
		host = host[i+1:]
	}
	return s.Text(host)
}

// Clean reports whether a name that identity rests on (a subject, a client, a
// group) is free of secrets. It does not object to random characters, which
// issuers use in names, only to what is surely a secret.
func (s *Scrubber) Clean(name []byte) bool {
	if !s.suspicious(name, modeName) {
		return true
	}
	return bytes.Equal(s.scrub(name, modeName, textMark, &s.name), name)
}

// maxPasses bounds how often a text is scrubbed until nothing changes.
const maxPasses = 4

// scrub removes secrets until nothing changes, so that scrubbing its result
// again changes nothing. A text that never settles is removed as a whole.
func (s *Scrubber) scrub(text []byte, m mode, mark []byte, buffers *[2][]byte) []byte {
	for pass := range maxPasses {
		out, changed := s.pass(text, m, mark, &buffers[pass%2])
		if !changed {
			return text
		}
		text = out
	}
	s.counts[ruleEncoding]++
	return mark
}

// pass removes what it finds once.
func (s *Scrubber) pass(text []byte, m mode, mark []byte, buffer *[]byte) (out []byte, changed bool) {
	f := &s.find
	f.mode = m
	defer f.release()
	if !f.set(text, bytes.IndexByte(text, '%') >= 0 || bytes.IndexByte(text, '\\') >= 0) {
		s.counts[ruleEncoding]++
		return mark, !bytes.Equal(text, mark)
	}
	f.find()
	if len(f.spans) == 0 {
		return text, false
	}
	slices.SortFunc(f.spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return int(a.rule) - int(b.rule)
	})
	out = (*buffer)[:0]
	done := 0
	for i := 0; i < len(f.spans); {
		first := f.spans[i]
		end := first.end
		for i++; i < len(f.spans) && f.spans[i].start <= end; i++ {
			end = max(end, f.spans[i].end)
		}
		from, to := int(f.origin(first.start)), int(f.origin(end))
		out = append(out, text[done:from]...)
		if !bytes.Equal(text[from:to], mark) {
			s.counts[first.rule]++
			changed = true
		}
		out = append(out, mark...)
		done = to
	}
	out = append(out, text[done:]...)
	*buffer = out
	return out, changed
}

// minTorn is the length of the shortest piece of a key that tells itself; no
// other token that any rule finds is shorter.
const minTorn = len("-----END")

// suspicious is the filter before everything else: it reports false for a text
// in which no rule can find anything. It reads each byte once.
func (s *Scrubber) suspicious(text []byte, m mode) bool {
	start, wide, segment := 0, 0, -1 // of the token; of tokens and slashes; of the path segment
	colon := false
	for i, c := range text {
		k := class[c]
		if k&isTrigger == 0 && k&isToken != 0 {
			continue
		}
		if c != '+' {
			if i-start >= minTorn && suspiciousToken(text, start, i, m) {
				return true
			}
			start = i + 1
			if c != '/' && m != modeName {
				if i-wide >= minRandom && m == modeText && suspiciousWide(text[wide:i]) {
					return true
				}
				wide = i + 1
			}
		}
		switch c {
		case '%', '\\':
			if hasEscape(text[i:min(len(text), i+6)]) {
				return true
			}
		case '=', ':':
			colon = colon || c == ':'
			if i > 0 && suspiciousName(text, i) {
				return true
			}
		case ' ', '\t', '+':
			if i >= 4 && endsScheme(text[i-2], text[i-1]) && schemeBefore(text, i) != "" {
				return true
			}
		case '@':
			if colon || m == modePath && len(text) > 1 && text[1] == '/' {
				return true
			}
		case '/':
			if segment >= 0 && i-segment > 3 {
				if _, named := pairName(text[segment+1 : i]); named || webhookBefore(text, i) {
					return true
				}
			}
			segment = i
		}
	}
	if len(text)-start >= minTorn && suspiciousToken(text, start, len(text), m) {
		return true
	}
	return len(text)-wide >= minRandom && m == modeText && suspiciousWide(text[wide:])
}

// suspiciousWide looks at tokens with slashes between them in free text: a
// stretch of Base64 has capitals, small letters, digits, and a piece that looks
// like noise.
func suspiciousWide(tokens []byte) bool {
	start, piece := 0, 0
	noise := false
	for i := 0; i <= len(tokens); i++ {
		ends := i == len(tokens) || tokens[i] == '.' || tokens[i] == '~'
		if !ends && tokens[i] != '/' {
			continue
		}
		noise = noise || i-piece >= 5 && lookAt(tokens[piece:i]).random(30)
		piece = i + 1
		if ends {
			if noise && i-start >= minRandom && lookAt(tokens[start:i]).mixed() {
				return true
			}
			start, noise = i+1, false
		}
	}
	return false
}

// suspiciousName reports whether the sign at i may follow the name of a secret.
func suspiciousName(text []byte, i int) bool {
	switch c := text[i-1]; {
	case c == '"' || c == '\'' || c == '`' || c == ' ' || c == ']':
		return true
	case class[c]&isJoin != 0:
		return i >= 3
	case class[c]&isDigit != 0:
		return text[i] == ':' && botBefore(text, i) >= 0
	}
	if !endsName(text[:i]) {
		return false
	}
	start := i
	for start > 0 && i-start < maxName && class[text[start-1]]&isToken != 0 && text[start-1] != '+' {
		start--
	}
	return nameStrength(text[start:i]) != nameHarmless
}

// suspiciousToken looks at the token between start and end.
func suspiciousToken(text []byte, start, end int, m mode) bool {
	token := text[start:end]
	if bytes.Contains(token, pemDashes) && (bytes.Contains(token, pemHead) || bytes.Contains(token, pemHeadEnd) || bytes.Contains(token, pemTail)) {
		return true
	}
	if len(token) < minPrefixed || isUUID(token) {
		return false
	}
	if _, by := findSign(token); by != signNone {
		return true
	}
	switch {
	case m == modeName:
		return false
	case len(token) >= minRandom:
		return noisy(token) || noisyPiece(token, m == modePath)
	case m != modePath, !lookAt(token).random(30):
		return false
	}
	// Shorter noise counts only as a part of Base64 with slashes.
	if start > 1 && text[start-1] == '/' {
		before := start - 1
		for before > 0 && class[text[before-1]]&isToken != 0 {
			before--
		}
		if start-1-before >= 5 && lookAt(text[before:start-1]).random(30) {
			return true
		}
	}
	if end+5 < len(text) && text[end] == '/' {
		after := end + 1
		for after < len(text) && class[text[after]]&isToken != 0 {
			after++
		}
		return after-end-1 >= 5 && lookAt(text[end+1:after]).random(30)
	}
	return false
}
