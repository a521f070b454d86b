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
	var best []byte
	rank := 0
	for pair := range bytes.SplitSeq(header, []byte{';'}) {
		name, value, ok := bytes.Cut(bytes.Trim(pair, " \t"), []byte{'='})
		if !ok || len(value) == 0 || len(name) > 64 {
			continue
		}
		if r := cookieRank(name); r > rank {
			best, rank = bytes.Trim(value, `"`), r
		}
	}
	return best
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
