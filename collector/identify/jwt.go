package identify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// Header is the header of a JWT.
type Header struct {
	// Algorithm is alg; "none" says that nobody signed the token.
	Algorithm, KeyID, Type []byte
	// Signed says that a signature is there. Whether it is right, nobody here
	// looked.
	Signed bool
}

// Bounds of a token that is read at all, and of its lists.
const (
	maxToken  = 64 << 10
	maxScopes = 512
	maxActors = 8
)

// ParseJWT reads header and claims of a JWT in its compact form (RFC 7519), with
// two parts or three, padded or not. It verifies nothing. It reports false for
// what is no JWT, and for an encrypted one, whose claims cannot be read. The
// claims do not alias the token.
func ParseJWT(token redact.Secret) (Claims, Header, bool) {
	raw := bytes.TrimSpace(token.Reveal())
	if len(raw) > maxToken || bytes.Count(raw, []byte(".")) > 2 {
		return Claims{}, Header{}, false
	}
	first, rest, found := bytes.Cut(raw, []byte("."))
	if !found {
		return Claims{}, Header{}, false
	}
	second, signature, _ := bytes.Cut(rest, []byte("."))
	head, ok := decodeObject(first)
	if !ok || head["enc"] != nil {
		return Claims{}, Header{}, false
	}
	body, ok := decodeObject(second)
	if !ok {
		return Claims{}, Header{}, false
	}
	h := Header{
		Algorithm: text(head["alg"]), KeyID: text(head["kid"]), Type: text(head["typ"]),
		Signed: len(signature) > 0,
	}
	return claimsOf(body), h, true
}

// decodeObject reads Base64 of a JSON object. Names keep their case, and the
// last of equal ones counts, as for the verifiers in wide use.
func decodeObject(part []byte) (map[string]json.RawMessage, bool) {
	part = bytes.TrimRight(part, "=")
	decoded := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
	encoding := base64.RawURLEncoding
	if bytes.ContainsAny(part, "+/") {
		encoding = base64.RawStdEncoding
	}
	n, err := encoding.Decode(decoded, part)
	if err != nil {
		return nil, false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(decoded[:n], &object) != nil || object == nil {
		return nil, false
	}
	return object, true
}

// claimsOf picks the claims that identity and scopes need. Where issuers name
// one thing differently, the first name of each list that is there counts.
func claimsOf(body map[string]json.RawMessage) Claims {
	c := Claims{
		Issuer:          text(body["iss"]),
		AuthorizedParty: text(body["azp"]),
		ClientID:        firstText(body, "client_id", "clientId", "appid", "cid"),
		Subject:         text(body["sub"]),
		ID:              firstText(body, "jti", "uti"),
		Audience:        names(nil, body["aud"], false),
		IssuedAt:        seconds(body["iat"]),
		Expires:         seconds(body["exp"]),
		GrantType:       text(body["gty"]),
		IDType:          text(body["idtyp"]),
		Username:        text(body["preferred_username"]),
	}
	for _, name := range [...]string{"scope", "scp", "roles", "permissions"} {
		if value, ok := body[name]; ok && !isNull(value) {
			c.ScopesPresent = true
			c.Scopes = names(c.Scopes, value, true)
		}
	}
	c.Actors = actors(body["act"])
	var cnf map[string]json.RawMessage
	if json.Unmarshal(body["cnf"], &cnf) == nil {
		c.Confirmation = firstText(cnf, "x5t#S256", "jkt", "kid")
	}
	return c
}

func isNull(value json.RawMessage) bool { return bytes.Equal(value, []byte("null")) }

// text returns a string as it is, and a number as written.
func text(value json.RawMessage) []byte {
	if len(value) == 0 {
		return nil
	}
	switch c := value[0]; {
	case c == '"':
		var s string
		if json.Unmarshal(value, &s) != nil || s == "" {
			return nil
		}
		return []byte(s)
	case c == '-' || c >= '0' && c <= '9':
		return bytes.Clone(value)
	}
	return nil
}

func firstText(object map[string]json.RawMessage, names ...string) []byte {
	for _, name := range names {
		if t := text(object[name]); t != nil {
			return t
		}
	}
	return nil
}

// names appends the elements of a list, or of a string: one name, or several
// apart by spaces or commas where split is set.
func names(list [][]byte, value json.RawMessage, split bool) [][]byte {
	if len(value) > 0 && value[0] == '[' {
		var elements []json.RawMessage
		if json.Unmarshal(value, &elements) != nil {
			return list
		}
		for _, e := range elements {
			if t := text(e); t != nil && len(list) < maxScopes {
				list = append(list, t)
			}
		}
		return list
	}
	t := text(value)
	if !split {
		if t != nil {
			list = append(list, t)
		}
		return list
	}
	for _, name := range bytes.FieldsFunc(t, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' || r == '\r' }) {
		if len(list) < maxScopes {
			list = append(list, name)
		}
	}
	return list
}

// seconds reads a NumericDate, which may have a fraction or be a string.
func seconds(value json.RawMessage) int64 {
	f, err := strconv.ParseFloat(string(text(value)), 64)
	if err != nil || f < 0 || f > 1<<53 {
		return 0
	}
	return int64(f)
}

// actors reads nested act claims (RFC 8693 §4.1), the current actor first.
func actors(value json.RawMessage) (list [][]byte) {
	for len(list) < maxActors {
		var act map[string]json.RawMessage
		if len(value) == 0 || json.Unmarshal(value, &act) != nil || act == nil {
			return list
		}
		who := firstText(act, "sub", "client_id", "azp")
		if who == nil {
			return list
		}
		if issuer := text(act["iss"]); issuer != nil {
			who = append(append(issuer, '|'), who...)
		}
		list = append(list, who)
		value = act["act"]
	}
	return list
}
