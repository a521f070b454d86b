package identify

import (
	"bytes"
	"encoding/base64"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Authorization is what an Authorization header says, its secrets apart from
// its names.
type Authorization struct {
	// Scheme is in lower case; empty where the header has a token alone.
	Scheme string
	// Kind is the kind of credential that the scheme stands for. A bearer
	// token is an api_key until it turns out to be a JWT: whoever holds it,
	// is it.
	Kind schema.CredentialKind
	// Name is the caller's public name where the scheme has one: a user, an
	// access key id, a key id, a consumer key.
	Name []byte
	// Issuer is the realm or provider that the name belongs to, if stated.
	Issuer []byte
	// Token is the secret to fingerprint where there is no name: the token of
	// a bearer, else the whole header.
	Token redact.Secret
}

// ParseAuthorization reads the value of an Authorization header (RFC 9110
// §11.6.2). It knows Bearer, DPoP and the schemes that carry a bare token;
// Basic and Digest (the user; a password is never looked at alone); AWS
// signatures of version 2 and 4 and Google's of the same form (the key id);
// HTTP signatures, Hawk, HMAC, OAuth 1 and Azure's shared keys (key id, id, user,
// consumer key, account). Anything else is
// a secret as a whole.
func ParseAuthorization(value redact.Secret) Authorization {
	raw := bytes.TrimSpace(value.Reveal())
	if len(raw) == 0 {
		return Authorization{}
	}
	end := bytes.IndexAny(raw, " \t")
	if end < 0 {
		if schemeName(raw) != "other" || nothing(raw) {
			return Authorization{} // a scheme, and nothing to prove it
		}
		return Authorization{Kind: schema.KindAPIKey, Token: redact.NewSecret(raw)}
	}
	scheme, rest := raw[:end], bytes.TrimSpace(raw[end:])
	if nothing(rest) {
		return Authorization{Scheme: schemeName(scheme)}
	}
	a := Authorization{Scheme: schemeName(scheme), Token: redact.NewSecret(raw)}
	switch a.Scheme {
	case "bearer", "dpop", "token", "apikey", "ssws", "geniekey", "oauth2", "jwt", "access_token", "api-key", "key":
		a.Kind = schema.KindAPIKey
		a.Token = redact.NewSecret(tokenValue(rest))
	case "basic":
		a.basic(rest)
	case "digest":
		a.Kind, a.Name, a.Issuer = schema.KindBasic, parameter(rest, "username"), parameter(rest, "realm")
	case "aws4-hmac-sha256", "aws4-ecdsa-p256-sha256", "goog4-rsa-sha256", "goog4-hmac-sha256", "tc3-hmac-sha256", "oss4-hmac-sha256":
		a.scope(parameter(rest, "credential"))
	case "aws", "goog1":
		id, _, _ := bytes.Cut(rest, []byte(":"))
		a.keyID(id)
	case "sharedkey", "sharedkeylite":
		// Azure: the account whose key signed.
		if id, _, _ := bytes.Cut(rest, []byte(":")); accountName(id) {
			a.Kind, a.Name = schema.KindAPIKey, id
		}
	case "hmac":
		// Others than Kong's name the key elsewhere; what signs each request anew is no key.
		if a.Name = parameter(rest, "username"); len(a.Name) > 0 {
			a.Kind = schema.KindAPIKey
		}
	case "signature":
		a.Kind, a.Name = schema.KindAPIKey, parameter(rest, "keyid")
	case "hawk":
		a.Kind, a.Name = schema.KindAPIKey, parameter(rest, "id")
	case "oauth":
		if a.Name = parameter(rest, "oauth_consumer_key"); a.Name != nil {
			a.Kind = schema.KindOAuthClient
		} else if bytes.IndexByte(rest, '=') < 0 {
			a.Kind, a.Token = schema.KindAPIKey, redact.NewSecret(rest)
		}
	}
	if len(a.Name) > 0 {
		a.Token = redact.Secret{}
	}
	return a
}

// schemeName returns a scheme's name in lower case, without allocation for
// those that are known.
func schemeName(scheme []byte) string {
	for _, known := range [...]string{
		"bearer", "basic", "digest", "dpop", "token", "apikey", "ssws", "geniekey", "oauth2", "jwt", "access_token", "api-key", "key",
		"aws4-hmac-sha256", "aws4-ecdsa-p256-sha256", "goog4-rsa-sha256", "goog4-hmac-sha256", "aws", "goog1", "signature", "hawk",
		"oauth", "negotiate", "ntlm", "tc3-hmac-sha256", "oss4-hmac-sha256", "sharedkey", "sharedkeylite", "hmac",
	} {
		if bytes.EqualFold(scheme, []byte(known)) {
			return known
		}
	}
	return "other"
}

// nothing reports whether a token is what programs send that have none.
func nothing(token []byte) bool {
	switch string(bytes.ToLower(token)) {
	case "null", "undefined", "none", "nil":
		return true
	}
	return false
}

// ConnectionBound reports whether an Authorization header is a step of a handshake that
// proves a connection rather than a request (NTLM, Negotiate: RFC 4559). Such a header
// names nobody, and what follows on the connection is that caller's without saying so.
func ConnectionBound(header redact.Secret) bool {
	scheme := bytes.TrimSpace(header.Reveal())
	if end := bytes.IndexAny(scheme, " \t"); end >= 0 {
		scheme = scheme[:end]
	}
	return bytes.EqualFold(scheme, []byte("ntlm")) || bytes.EqualFold(scheme, []byte("negotiate"))
}

// tokenValue takes token="…" apart, which some clients send.
func tokenValue(rest []byte) []byte {
	if v, ok := bytes.CutPrefix(rest, []byte(`token=`)); ok {
		rest, _, _ = bytes.Cut(v, []byte(","))
	}
	return bytes.Trim(rest, `"`)
}

// standIns are user names that say that the password is a token.
var standIns = map[string]bool{
	"x-access-token": true, "oauth2": true, "oauth2accesstoken": true, "token": true, "__token__": true, "apikey": true,
	"api": true, "gitlab-ci-token": true, "x-token-auth": true, "x-oauth-basic": true, "bearer": true, "_json_key": true, "<token>": true,
}

// minToken is the length from which a stand-in's password is a token, rather
// than one that a person chose.
const minToken = 20

// basic reads user and password. The name is the user, except where that is
// only a stand-in for the token beside it, or is the token itself, its password
// being empty or a stand-in.
func (a *Authorization) basic(encoded []byte) {
	a.Kind = schema.KindBasic
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(encoded))+3)
	n, err := base64.RawStdEncoding.Decode(decoded, bytes.TrimRight(encoded, "="))
	if err != nil {
		return
	}
	user, password, found := bytes.Cut(decoded[:n], []byte(":"))
	switch {
	case !found || len(user) == 0:
		return // the header as a whole is all there is to know it by
	case len(password) >= minToken && standIns[string(bytes.ToLower(user))]:
		a.Kind, a.Token = schema.KindAPIKey, redact.NewSecret(password)
	case len(user) >= minToken && bytes.IndexByte(user, '@') < 0 && (len(password) <= 1 || standIns[string(bytes.ToLower(password))]):
		a.Kind, a.Token = schema.KindAPIKey, redact.NewSecret(user)
	default:
		a.Name = user
	}
}

// scope reads a credential scope, KEYID/date/region/service/request.
func (a *Authorization) scope(scope []byte) {
	id := scope
	// The key id of Google's form is a mail address; neither has a slash.
	if i := bytes.IndexByte(scope, '/'); i >= 0 {
		id = scope[:i]
	} else if i := bytes.Index(scope, []byte("%2F")); i >= 0 {
		id = scope[:i]
	} else if i := bytes.Index(scope, []byte("%2f")); i >= 0 {
		id = scope[:i]
	}
	a.keyID(id)
}

// keyID takes the id of a cloud key: a long-term one is a key, a temporary one
// a session whose role the request does not tell, a mail address the account
// that signed.
func (a *Authorization) keyID(id []byte) {
	if len(id) == 0 || len(id) > 128 {
		return
	}
	if secretKey(id) {
		a.Kind, a.Token = schema.KindCloudKey, redact.NewSecret(id)
		return
	}
	a.Name, a.Kind = id, schema.KindCloudKey
	switch {
	case temporaryKey(id):
		a.Kind = schema.KindRoleSession
	case bytes.IndexByte(id, '@') > 0, bytes.Contains(id, []byte("%40")):
		a.Kind = schema.KindServiceAccount
	}
}

// secretKey reports whether what stands for a key's id looks like the key itself, which
// people put there by mistake: 40 characters or more of all kinds.
func secretKey(id []byte) bool {
	var lower, upper, digit bool
	for _, c := range id {
		lower = lower || c >= 'a' && c <= 'z'
		upper = upper || c >= 'A' && c <= 'Z'
		digit = digit || c >= '0' && c <= '9'
	}
	return len(id) >= 40 && lower && upper && digit && bytes.IndexByte(id, '@') < 0 && !bytes.Contains(id, []byte("%40"))
}

// accountName reports whether b can be the name of a storage account of Azure.
func accountName(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(b) >= 3 && len(b) <= 24
}

// longTermKey and temporaryKey tell AWS access key ids by their first letters.
func longTermKey(id []byte) bool { return len(id) >= 16 && string(id[:4]) == "AKIA" }

func temporaryKey(id []byte) bool { return len(id) >= 16 && string(id[:4]) == "ASIA" }

// parameter returns the value of name="value" or name=value in a list apart by
// commas, or nil. Name is in lower case.
func parameter(list []byte, name string) []byte {
	for len(list) > 0 {
		list = bytes.TrimLeft(list, " \t,")
		key, rest, found := bytes.Cut(list, []byte("="))
		if !found {
			return nil
		}
		var value []byte
		if len(rest) > 0 && rest[0] == '"' {
			end := bytes.IndexByte(rest[1:], '"')
			if end < 0 {
				return nil
			}
			value, list = rest[1:1+end], rest[end+2:]
		} else if end := bytes.IndexByte(rest, ','); end >= 0 {
			value, list = rest[:end], rest[end:]
		} else {
			value, list = rest, nil
		}
		if bytes.EqualFold(bytes.TrimSpace(key), []byte(name)) && len(value) > 0 {
			return value
		}
	}
	return nil
}
