package redact

import "bytes"

// mode says what kind of text is searched.
type mode uint8

const (
	// modePath is a request path: slashes part it, and a long random segment
	// is a secret even if it is hexadecimal.
	modePath mode = iota
	// modeText is free text, in which a hexadecimal digest is a digest.
	modeText
	// modeName is a name that identity rests on: only what is surely a secret
	// counts, since issuers give principals random names.
	modeName
)

// span is a part of the decoded text to be removed.
type span struct {
	start, end int
	rule       rule
}

// finder finds secrets in one text.
type finder struct {
	decoded
	mode  mode
	spans []span
	// covered is where the latest named value ends: what stands inside it
	// needs no second look. It also keeps the work linear.
	covered int
}

func (f *finder) add(start, end int, r rule) {
	if start < end {
		f.spans = append(f.spans, span{start, end, r})
	}
}

// find fills spans. They may overlap and are in no order.
func (f *finder) find() {
	f.spans = f.spans[:0]
	f.findPEM()
	f.findSigns()
	f.findTokens()
	if f.mode != modeName {
		f.findWide()
	}
}

// findPEM takes everything from a key's or certificate's first line to its
// last, or to the end.
func (f *finder) findPEM() {
	for from := 0; ; {
		i := bytes.Index(f.text[from:], []byte("-----BEGIN"))
		if i < 0 {
			return
		}
		start := from + i
		end := len(f.text)
		if j := bytes.Index(f.text[start+10:], []byte("-----END")); j >= 0 {
			end = start + 10 + j + 8
			if k := bytes.Index(f.text[end:], []byte("-----")); k >= 0 {
				end += k + 5
			}
		}
		f.add(start, end, rulePEM)
		from = end
	}
}

// findSigns looks at each character that can stand between a name, or a
// scheme, and a secret.
func (f *finder) findSigns() {
	f.covered = 0
	for i, c := range f.text {
		switch c {
		case '=', ':':
			if i >= f.covered {
				f.pair(i)
			}
			if c == ':' && i+2 < len(f.text) && f.text[i+1] == '/' {
				f.userInfo(i + 1)
			}
		case ' ', '\t', '+':
			if i >= f.covered {
				f.scheme(i)
			}
		case '@':
			f.bareUserInfo(i)
		case '/':
			if i == 0 && f.mode == modePath {
				f.userInfo(0)
			}
			f.segmentPair(i)
		}
	}
}

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

// userInfo looks at a URL's authority; slash is the first of its two slashes.
func (f *finder) userInfo(slash int) {
	start := slash + 1
	if start < len(f.text) && f.text[start] == '/' {
		start++
	} else if slash == 0 {
		return
	}
	f.add(start, f.lastAt(start), ruleUserInfo)
}

// lastAt returns the last @ of the authority that starts at start, or start.
func (f *finder) lastAt(start int) int { return start + lastAt(f.text[start:]) }

// lastAt returns the last @ of the authority that text begins with, or 0. A
// password with a slash in it is no valid authority, but what stands before its
// slash is then no valid port either: such a one is read on to its @.
func lastAt(text []byte) int {
	at, colon := 0, -1
	for i, c := range text {
		switch c {
		case '@':
			at = i
		case ':':
			colon = i
		case '/', '?', '#':
			if at > 0 || colon < 0 || isPort(text[colon+1:i]) {
				return at
			}
		case ' ', '\t', '\n', '"', '<', '>':
			return at
		}
	}
	return at
}

func isPort(b []byte) bool {
	for _, c := range b {
		if class[c]&isDigit == 0 {
			return false
		}
	}
	return true
}

// bareUserInfo looks at user:password@host without a URL's beginning. What
// looks like a mail address behind the name of its kind (user:ann@example.com)
// is one.
func (f *finder) bareUserInfo(at int) {
	if f.mode == modeName {
		return
	}
	colon := -1
	for i := at - 1; i >= 0 && at-i < 256; i-- {
		c := f.text[i]
		if c == ' ' || c == '/' || c == '"' || c == '\'' || c == ',' || c == '\n' || c == '\t' || c == '=' || c == '@' {
			break
		}
		if c == ':' {
			if colon >= 0 {
				return // more than one: an ARN, a URN, a name in parts
			}
			colon = i
		}
	}
	head := colon
	for head > 0 && class[f.text[head-1]]&isAlnum != 0 {
		head--
	}
	if colon <= 0 || memberKinds[string(bytes.ToLower(f.text[max(head, colon-20):max(colon, 0)]))] || at+1 == len(f.text) || class[f.text[at+1]]&isAlnum == 0 && f.text[at+1] != '[' {
		return
	}
	password := f.text[colon+1 : at]
	if len(password) < 4 {
		return
	}
	for _, c := range password {
		if class[c]&(isLetter) == 0 && c != '.' && c != '-' && c != '_' {
			f.add(colon+1, at, ruleUserInfo)
			return
		}
	}
}

// memberKinds are words that stand before a name with an @ in it, as in
// serviceAccount:job@project.example.
var memberKinds = map[string]bool{
	"user": true, "group": true, "serviceaccount": true, "domain": true, "principal": true, "mailto": true, "acct": true,
	"sip": true, "xmpp": true, "email": true, "upn": true, "oidc": true, "saml": true, "ldap": true, "azuread": true,
	"okta": true, "google": true, "github": true, "member": true, "account": true, "subject": true, "sub": true,
}

// segmentPair looks at a slash: after a segment that names a session or a
// token, the next segment is one.
func (f *finder) segmentPair(slash int) {
	start := slash
	for start > 0 && slash-start < 16 && f.text[start-1] != '/' {
		if class[f.text[start-1]]&isToken == 0 {
			return
		}
		start--
	}
	if start == slash || start == 0 || f.text[start-1] != '/' {
		return
	}
	end := f.segmentEnd(slash + 1)
	if webhookBefore(f.text, slash) {
		f.add(slash+1, end, ruleSegment)
		return
	}
	sure, named := pairName(f.text[start:slash])
	if !named {
		return
	}
	value := f.text[slash+1 : end]
	l := lookAt(value)
	switch {
	case bytes.Contains(value, []byte("redacted")):
		return
	case sure && (l.classes&isDigit != 0 || len(value) >= 16):
	case !sure && f.mode == modePath && len(value) >= 8 && l.classes&isDigit != 0 && (l.random(40) || isUUID(value)):
	default:
		return
	}
	f.add(slash+1, end, ruleSegment)
}

func (f *finder) segmentEnd(start int) int {
	end := start
	for end < len(f.text) && !f.endsCredential(end) && f.text[end] != '/' {
		end++
	}
	return end
}

// botBefore returns where the number starts if the colon at i stands in a chat
// bot's address, bot123456789:secret, else -1.
func botBefore(text []byte, i int) int {
	start := i
	for start > 0 && i-start < 14 && class[text[start-1]]&isDigit != 0 {
		start--
	}
	if i-start >= 6 && start >= 3 && equalFold(text[start-3:start], "bot") && (start == 3 || class[text[start-4]]&isAlnum == 0) {
		return start
	}
	return -1
}

// webhookBefore reports whether the slash at i stands before the secret of a
// chat's incoming webhook, /T…/B…/secret.
func webhookBefore(text []byte, i int) bool {
	for _, first := range [...]byte{'B', 'T'} {
		end := i
		for i > 0 && class[text[i-1]]&(isUpper|isDigit) != 0 {
			i--
		}
		if end-i < 9 || end-i > 14 || text[i] != first || i == 0 || text[i-1] != '/' {
			return false
		}
		i--
	}
	return true
}

// pairName judges a path segment: sure names are followed by nothing else than
// a session.
func pairName(segment []byte) (sure, named bool) {
	if len(segment) < 3 || len(segment) > 14 {
		return false, false
	}
	switch lower(segment[0]) {
	case 's', 't', 'j', 'a', 'p', 'r', 'm':
	default:
		return false, false
	}
	for _, s := range [...]string{"sid", "jsessionid", "sessionid", "session_id", "session-id", "phpsessid"} {
		if equalFold(segment, s) {
			return true, true
		}
	}
	for _, s := range [...]string{
		"session", "token", "apikey", "api_key", "api-key", "access_token", "access-token", "accesstoken", "refresh_token",
		"magic", "magic-link", "password-reset", "reset-password",
	} {
		if equalFold(segment, s) {
			return false, true
		}
	}
	return false, false
}
