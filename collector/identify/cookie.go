package identify

import "bytes"

// CookieOf returns the session cookie of a log field that holds either a whole
// Cookie header or one cookie's value: the value of the header's session cookie,
// nil where it has none, else the field itself. Other cookies beside it say
// nothing about who calls, and change from call to call.
func CookieOf(field []byte) []byte {
	if value := SessionCookie(field); value != nil {
		return value
	}
	for pair := range bytes.SplitSeq(field, []byte{';'}) {
		// What follows the "=" that fills up Base64 is no value.
		if name, value, _ := bytes.Cut(bytes.TrimSpace(pair), []byte{'='}); len(name) > 0 && len(bytes.Trim(value, "=")) > 0 {
			return nil
		}
	}
	return field
}

// SessionCookie returns, of a Cookie header, the value of the cookie that looks most like the one
// that authenticates a session, or nil: names that say session come before
// those that say token.
func SessionCookie(header []byte) []byte {
	value, _ := SessionCookies(header)
	return value
}

// SessionCookies is SessionCookie that also reports whether the cookie stands there
// again with another value: of those some servers take the first, some the last
// (RFC 6265 §5.4 leaves their order to clients).
func SessionCookies(header []byte) (best []byte, differ bool) {
	var bestName []byte
	rank := 0
	for pair := range bytes.SplitSeq(header, []byte{';'}) {
		name, value, ok := bytes.Cut(bytes.Trim(pair, " \t"), []byte{'='})
		if !ok || len(value) == 0 || len(name) > 64 {
			continue
		}
		switch r := cookieRank(name); {
		case r > rank:
			best, bestName, rank, differ = bytes.Trim(value, `"`), name, r, false
		case r == rank && r > 0 && bytes.Equal(name, bestName):
			differ = differ || !bytes.Equal(bytes.Trim(value, `"`), best)
		}
	}
	return best, differ
}

// minProof is the length from which a cookie's value may prove something: what is
// shorter chooses a language, or can be guessed.
const minProof = 16

// harmlessCookies begin the names of cookies that count visitors or keep choices.
var harmlessCookies = [...]string{"_ga", "_gid", "_gcl", "_fbp", "_fbc", "_hj", "_pk_", "__utm", "amp_", "ajs_", "mp_", "optimizely", "optanon", "cookieconsent", "cookie_consent"}

// CookiesMayProve reports whether a Cookie header without a session that can be told by
// its name may hold one all the same: then nobody may say that the caller is anonymous.
func CookiesMayProve(header []byte) bool {
	for pair := range bytes.SplitSeq(header, []byte{';'}) {
		name, value, _ := bytes.Cut(bytes.Trim(pair, " \t"), []byte{'='})
		harmless := len(value) < minProof
		name = bytes.ToLower(name[:min(len(name), 64)])
		for _, prefix := range harmlessCookies {
			harmless = harmless || bytes.HasPrefix(name, []byte(prefix))
		}
		if !harmless && !bytes.Contains(name, []byte("csrf")) && !bytes.Contains(name, []byte("xsrf")) {
			return true
		}
	}
	return false
}

func cookieRank(name []byte) int {
	var buf [64]byte
	lower := buf[:0]
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	has := func(s string) bool { return bytes.Contains(lower, []byte(s)) }
	switch {
	case has("csrf") || has("xsrf"):
		return 0
	case has("sess"):
		return 4
	case bytes.HasSuffix(lower, []byte("sid")):
		return 3
	case has("token") || has("jwt"):
		return 2
	case has("auth"):
		return 1
	}
	return 0
}
