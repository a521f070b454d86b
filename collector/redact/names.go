package redact

// strength says how sure a name is that a secret follows.
type strength uint8

const (
	// nameHarmless says nothing.
	nameHarmless strength = iota
	// nameWeak names secrets and other things ("code", "key"): the value must
	// look like a secret too.
	nameWeak
	// nameStrong names nothing but secrets.
	nameStrong
	// nameLine names a header whose whole value is secret, spaces included.
	nameLine
)

// exactNames are names in lower case without joins.
var exactNames = map[string]strength{
	"pwd": nameStrong, "pass": nameStrong, "pw": nameStrong, "userpass": nameStrong, "dbpass": nameStrong, "psk": nameStrong,
	"sig": nameStrong, "session": nameStrong, "sid": nameStrong, "connectsid": nameStrong, "auth": nameStrong,
	"bearer": nameStrong, "otp": nameStrong, "totp": nameStrong, "pat": nameStrong, "xauth": nameStrong, "sas": nameStrong,
	"code": nameWeak, "key": nameWeak, "ticket": nameWeak, "hmac": nameWeak, "nonce": nameWeak, "pin": nameWeak,
	"tokens": nameWeak, "secrets": nameWeak, "keys": nameWeak, "hash": nameWeak, "samlresponse": nameStrong,
	"samlrequest": nameStrong, "samlart": nameStrong, "xamzsecuritytoken": nameStrong, "codeverifier": nameStrong,
	"devicecode": nameStrong, "usercode": nameStrong, "authcode": nameStrong, "authorizationcode": nameStrong,
	"resetcode": nameStrong, "invitecode": nameStrong, "verificationcode": nameStrong, "magiclink": nameStrong,
	"authorization": nameLine, "proxyauthorization": nameLine, "xauthorization": nameLine,
	"cookie": nameLine, "setcookie": nameLine,
}

// lastWords end names of secrets: client_secret, X-Amz-Security-Token,
// MuseSessionID.
var lastWords = [...]string{
	"password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "tokenid", "apikey", "apikeys", "accesskey",
	"secretkey", "privatekey", "sharedkey", "accountkey", "authkey", "signingkey", "encryptionkey", "masterkey",
	"subscriptionkey", "licensekey", "consumerkey", "functionskey", "keysecret", "keymaterial", "keydata", "signature",
	"sessionid", "sessid", "sessionkey", "credential", "credentials", "jwt", "assertion", "authorization", "cookie", "cookies",
	"secretaccesskey", "basicauth",
}

// nameEnds has a bit for each three letters that end one of these names, so
// that the filter asks no further for the rest; schemeEnds one for each two
// letters that end a scheme.
var (
	nameEnds = func() (t [1 << 15 / 64]uint64) {
		add := func(word string) {
			if len(word) == 2 { // any letter may stand before it
				for a := range byte(32) {
					n := endOf(a, word[0], word[1])
					t[n/64] |= 1 << (n % 64)
				}
				return
			}
			n := endOf(word[len(word)-3], word[len(word)-2], word[len(word)-1])
			t[n/64] |= 1 << (n % 64)
		}
		for name := range exactNames {
			add(name)
		}
		for _, word := range lastWords {
			add(word)
		}
		return t
	}()
	schemeEnds = func() (t [32]uint32) {
		for _, s := range schemes {
			t[s[len(s)-2]&31] |= 1 << (s[len(s)-1] & 31)
		}
		return t
	}()
)

func endOf(a, b, c byte) uint { return uint(a&31)<<10 | uint(b&31)<<5 | uint(c&31) }

// endsName reports whether text may end with the name of a secret. It may be
// wrong in one direction only.
func endsName(text []byte) bool {
	n := len(text)
	if n < 3 || class[text[n-2]]&isLetter == 0 || class[text[n-3]]&isLetter == 0 {
		return n >= 2 // joins or a border within the last letters
	}
	e := endOf(text[n-3], text[n-2], text[n-1])
	return nameEnds[e/64]>>(e%64)&1 != 0
}

func endsScheme(a, b byte) bool { return schemeEnds[a&31]>>(b&31)&1 != 0 }

// maxName is how much of a name is looked at, from its end.
const maxName = 64

// nameStrength judges a name in any case, with or without joins.
func nameStrength(name []byte) strength {
	var buf [maxName]byte
	n := maxName
	for i := len(name) - 1; i >= 0 && n > 0; i-- {
		if class[name[i]]&isAlnum != 0 {
			n--
			buf[n] = lower(name[i])
		}
	}
	word := buf[n:]
	if len(word) < 2 || !endsName(word) {
		return nameHarmless
	}
	if s, ok := exactNames[string(word)]; ok {
		return s
	}
	for _, last := range lastWords {
		if len(word) >= len(last) && string(word[len(word)-len(last):]) == last {
			return nameStrong
		}
	}
	return nameHarmless
}

// schemes of HTTP authentication after which a secret follows.
var schemes = [...]string{
	"bearer", "basic", "digest", "dpop", "token", "negotiate", "ntlm", "apikey", "ssws", "geniekey", "hawk", "oauth", "signature",
}

// afterScheme are words that follow a scheme's name in plain speech.
var afterScheme = map[string]bool{
	"auth": true, "authentication": true, "authorization": true, "token": true, "tokens": true, "credential": true,
	"credentials": true, "error": true, "scheme": true, "is": true, "was": true, "not": true, "and": true, "or": true,
	"for": true, "from": true, "in": true, "of": true, "to": true, "with": true, "required": true, "missing": true,
	"invalid": true, "expired": true, "realm": true, "header": true, "plan": true, "the": true, "a": true, "an": true,
	"by": true, "on": true, "failed": true, "rejected": true, "has": true, "does": true, "user": true, "users": true,
	"access": true, "request": true, "requests": true,
}
