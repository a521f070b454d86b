package redact

import "bytes"

const (
	// maxQueryNames and maxQueryName bound what is kept of a query string.
	maxQueryNames = 64
	maxQueryName  = 64
)

// Target splits a request target in origin, absolute or authority form (RFC
// 9112 §3.2). Path has its secrets replaced by "{redacted}", and in absolute
// form is without scheme and authority; query holds the names of the query
// parameters, decoded, each once and at most 64 of them, never their values.
// A fragment is dropped. Both are valid until the next call of Target and may
// alias target.
func (s *Scrubber) Target(target []byte) (path []byte, query [][]byte) {
	path, rest, absolute := splitTarget(target)
	raw, scrubbed := path, false
	s.object = s.object[:0]
	if s.suspicious(path, modePath) {
		path, scrubbed = s.scrub(path, modePath, pathMark, &s.path), true
	}
	if absolute {
		// What was the middle is now the beginning, where two slashes mean an
		// authority. The copy is rare, and keeps the passes off their own input.
		if path = afterAuthority(path); s.suspicious(path, modePath) {
			path, scrubbed = s.scrub(bytes.Clone(path), modePath, pathMark, &s.path), true
		}
	}
	if scrubbed && bytes.Contains(path, pathMark) {
		s.object = s.digest(append(s.object, path...), raw)
	}
	if len(rest) == 0 {
		return path, nil
	}
	return path, s.queryNames(rest)
}

// splitTarget returns the path and the query, which has lost its "?". The path
// of an absolute target still has its authority before it, without user
// information, so that a secret which begins there is found as a whole.
func splitTarget(target []byte) (path, query []byte, absolute bool) {
	path = target
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i+1:]
	}
	if len(path) == 0 || path[0] == '/' {
		return path, query, false
	}
	if i := bytes.Index(path, []byte("://")); i > 0 && i <= 8 && isScheme(path[:i]) {
		path = path[i+3:]
		return path[lastAt(path):], query, true
	}
	if i := bytes.LastIndexByte(path, '@'); i >= 0 && bytes.IndexByte(path[i:], '/') < 0 {
		path = path[i+1:] // user information of the authority form
	}
	return path, query, false
}

func afterAuthority(path []byte) []byte {
	if slash := bytes.IndexByte(path, '/'); slash >= 0 {
		return path[slash:]
	}
	return rootPath
}

var rootPath = []byte("/")

func isScheme(b []byte) bool {
	for _, c := range b {
		if class[c]&isAlnum == 0 {
			return false
		}
	}
	return true
}

// queryNames collects the names in a query string.
func (s *Scrubber) queryNames(query []byte) [][]byte {
	s.queries, s.names = s.queries[:0], s.names[:0]
	for len(query) > 0 && len(s.queries) < maxQueryNames {
		var part []byte
		part, query, _ = bytes.Cut(query, []byte("&"))
		name, _, _ := bytes.Cut(part, []byte("="))
		if name = s.queryName(name); len(name) == 0 {
			continue
		}
		known := false
		for _, q := range s.queries {
			known = known || bytes.Equal(q, name)
		}
		if !known {
			s.queries = append(s.queries, name)
		}
	}
	return s.queries
}

// queryName decodes one name and scrubs it: whoever forgets the "=" sends the
// secret as the name. A name is cut only after it is scrubbed, and never to a
// part of a replacement.
func (s *Scrubber) queryName(name []byte) []byte {
	if s.suspicious(name, modePath) {
		name = s.scrub(name, modePath, pathMark, &s.name)
	}
	if len(name) > 4*maxQueryName || noisyName(name) {
		s.counts[ruleRandom]++
		return pathMark
	}
	start := len(s.names)
	for i := 0; i < len(name) && len(s.names)-start < maxQueryName; {
		c, n := name[i], 1
		if c == '%' {
			c, n = escape(name[i:])
		}
		if c < ' ' || c == 0x7f {
			c = '.'
		}
		s.names = append(s.names, c)
		i += n
	}
	return s.names[start:len(s.names):len(s.names)]
}

// minNoisyName is the length from which a query name of noise is a secret that
// stands where a name should: programs choose names, and choose words.
const minNoisyName = 16

func noisyName(name []byte) bool {
	if len(name) < minNoisyName || bytes.Contains(name, []byte("redacted")) {
		return false
	}
	l := lookAt(name)
	return l.longest >= minNoisyName && l.classes&isDigit != 0 && l.classes&isLetter != 0 && l.random(40)
}

// credentialNames are query parameters that carry a credential, best first.
// From weakNames on they are words that other parameters are called by too: a
// value must look like a secret there.
var credentialNames = [...]string{
	"access_token", "api_key", "apikey", "api-key", "x-api-key", "auth_token", "authtoken", "id_token", "bearer_token",
	"private_token", "subscription-key", "ocp-apim-subscription-key", "x-amz-credential", "awsaccesskeyid", "x-goog-credential",
	"client_secret", "app_key", "appkey", "api_token", "apitoken", "session_id", "sessionid",
	"key", "token", "jwt", "sig", "signature", "code", "appid", "auth", "secret", "session", "sid",
}

// weakNames is the index of the first name that needs a telling value.
const weakNames = 22

var credentialNameBytes = func() (names [len(credentialNames)][]byte) {
	for i, n := range credentialNames {
		names[i] = []byte(n)
	}
	return names
}()

// QueryCredential returns the credential that a target's query carries, and the
// name of its parameter in lower case: access_token, api_key, sig and their
// like. Where there are several, the one that says most about the caller. The
// value aliases target and is as the client wrote it, escapes included. Differ says
// that the parameter stands there again with another value: readers take the first or
// the last.
func (s *Scrubber) QueryCredential(target []byte) (name []byte, value Secret, differ bool) {
	i := bytes.IndexByte(target, '?')
	if i < 0 {
		return nil, Secret{}, false
	}
	query := target[i+1:]
	if i := bytes.IndexByte(query, '#'); i >= 0 {
		query = query[:i]
	}
	best := len(credentialNames)
	for len(query) > 0 {
		var part []byte
		part, query, _ = bytes.Cut(query, []byte("&"))
		n, v, _ := bytes.Cut(part, []byte("="))
		if len(v) == 0 || len(n) > 3*maxQueryName {
			continue
		}
		if bytes.IndexByte(n, '%') >= 0 {
			n = unescapedName(n)
		}
		for rank, known := range credentialNames[:min(best+1, len(credentialNames))] {
			if !equalFold(n, known) || rank >= weakNames && !secretLooking(v) {
				continue
			}
			if rank == best {
				differ = differ || !bytes.Equal(v, value.Reveal())
			} else {
				best, value, differ = rank, NewSecret(v), false
			}
			break
		}
	}
	if best == len(credentialNames) {
		return nil, Secret{}, false
	}
	return credentialNameBytes[best], value, differ
}

// unescapedName undoes the escapes in the name of a query parameter.
func unescapedName(name []byte) []byte {
	out := make([]byte, 0, len(name))
	for len(name) > 0 {
		c, n := name[0], 1
		if c == '%' {
			c, n = escape(name)
		}
		out, name = append(out, c), name[n:]
	}
	return out
}
