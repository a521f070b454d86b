package redact

import "bytes"

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

// sessionNames are path segments that nothing but a session follows;
// tokenNames are followed by tokens and by other things too.
var (
	sessionNames = [...]string{"sid", "jsessionid", "sessionid", "session_id", "session-id", "phpsessid"}
	tokenNames   = [...]string{
		"session", "token", "apikey", "api_key", "api-key", "access_token", "access-token", "accesstoken", "refresh_token",
		"magic", "magic-link", "password-reset", "reset-password", "reset", "invite", "invitation", "verify", "confirm",
		"confirmation", "activate", "activation", "unsubscribe", "password",
	}
)

// pairLengths has a bit for each length that such a name has, by the name's
// first letter.
var pairLengths = func() (t [32]uint32) {
	for _, name := range sessionNames {
		t[name[0]&31] |= 1 << len(name)
	}
	for _, name := range tokenNames {
		t[name[0]&31] |= 1 << len(name)
	}
	return t
}()

// pairName judges a path segment: sure names are followed by nothing else than
// a session.
func pairName(segment []byte) (sure, named bool) {
	if len(segment) < 3 || len(segment) > 31 || pairLengths[segment[0]&31]>>len(segment)&1 == 0 {
		return false, false
	}
	for _, name := range sessionNames {
		if equalFold(segment, name) {
			return true, true
		}
	}
	for _, name := range tokenNames {
		if equalFold(segment, name) {
			return false, true
		}
	}
	return false, false
}
