package identify

import (
	"bytes"
	"strings"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// rules are the identity rules over one evidence. Each reports whether it
// applied.
type rules struct {
	*Identifier
	ev            *Evidence
	known         *known
	out           *Identity
	authorization Authorization
	// hop is the nearest hop's certificate of an x-forwarded-client-cert
	// header, nil if there is none; before it stand those behind.
	hop    *XFCCElement
	behind []XFCCElement
}

// maxNameSize bounds a name; a longer one is replaced by its fingerprint.
const maxNameSize = 512

// str makes a string of a name. Names that hold a secret, or are far too long,
// become fingerprints: equal names stay equal, and nothing is revealed.
func (r *rules) str(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := r.strings.get(string(b)); ok {
		return s
	}
	if len(b) > maxNameSize || !r.scrubber.Clean(b) {
		r.known.flaw = flawName
		return r.key.Fingerprint("name", redact.NewSecret(b))
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	r.strings.put(string(b), s)
	return s
}

// pair makes issuer|name, or name alone.
func (r *rules) pair(issuer, name []byte) string {
	if len(issuer) == 0 {
		return r.str(name)
	}
	return r.str(bytes.Join([][]byte{issuer, name}, []byte("|")))
}

func (r *rules) list(names [][]byte) []string {
	if len(names) == 0 {
		return nil
	}
	list := make([]string, 0, min(len(names), maxScopes))
	for _, n := range names[:min(len(names), maxScopes)] {
		if s := r.str(n); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// actor appends to the actor chain what acts through the call and is not the
// credential itself.
func (r *rules) actor(b []byte) {
	if s := r.str(b); s != "" && s != r.out.Credential.ID && s != r.out.Credential.Subject {
		r.out.ActorChain = append(r.out.ActorChain, s)
	}
}

// scopes takes the scopes of a token.
func (r *rules) scopes(c *Claims) {
	if c.ScopesPresent || len(c.Scopes) > 0 {
		if r.out.Scopes = r.list(c.Scopes); r.out.Scopes == nil {
			r.out.Scopes = []string{}
		}
	}
}

// keyID: the issuer's own id of the key.
func (r *rules) keyID() bool {
	if len(r.ev.KeyID) == 0 {
		return false
	}
	r.out.Credential = schema.Credential{
		Kind: schema.KindAPIKey, ID: r.str(r.ev.KeyID), Client: r.str(r.ev.APIClient), Verified: true,
	}
	r.behindKey()
	return true
}

// behindKey takes from a verified token what a key beside it does not say.
func (r *rules) behindKey() {
	c := &r.ev.JWT
	r.out.Credential.Subject = r.str(c.Subject)
	r.scopes(c)
	for _, a := range c.Actors {
		r.actor(a)
	}
}

// cloudSignature: the key id in a signed request.
func (r *rules) cloudSignature() bool {
	a := r.authorization
	if !r.authorized() {
		switch string(r.ev.QueryName) {
		case "x-amz-credential", "x-goog-credential", "awsaccesskeyid":
			a.scope(unescapeQuery(r.ev.Query.Reveal()))
		}
	}
	switch a.Kind {
	case schema.KindCloudKey, schema.KindRoleSession, schema.KindServiceAccount:
	default:
		return false
	}
	if len(a.Name) == 0 {
		return false
	}
	c := &r.out.Credential
	c.Kind, c.ID = a.Kind, r.str(a.Name)
	if a.Kind == schema.KindRoleSession {
		c.Instance = c.ID
	}
	return true
}

// authorized reports whether the request has an Authorization header that proves
// something. Anybody may put more beside it, which servers do not look at then.
func (r *rules) authorized() bool {
	return len(r.authorization.Name) > 0 || !r.authorization.Token.Empty()
}

// jwt: the claims that a gateway verified, else those of a raw token, wherever
// it stands: but not beside a header that is there to prove who calls.
func (r *rules) jwt() bool {
	if r.claims(&r.ev.JWT, true) {
		return true
	}
	query := redact.NewSecret(unescapeQuery(r.ev.Query.Reveal()))
	sources := [...]redact.Secret{r.authorization.Token, r.ev.APIKey, query, r.ev.SessionCookie}
	last := len(sources)
	switch {
	case r.authorized():
		last = 1
	case !r.ev.APIKey.Empty():
		last = 2
	}
	for _, s := range sources[:last] {
		if s.Empty() {
			continue
		}
		if c, _, ok := ParseJWT(s); ok && r.claims(&c, false) {
			if r.out.Credential.Instance == "" {
				r.out.Credential.Instance = r.key.Fingerprint("jwt", s)
			}
			return true
		}
	}
	return false
}

// claims names the credential of a token: issuer and client, where the token
// has a client; else issuer and subject.
func (r *rules) claims(c *Claims, verified bool) bool {
	client := c.AuthorizedParty
	if len(client) == 0 {
		client = c.ClientID
	}
	if len(client) == 0 && len(c.Subject) == 0 {
		return false
	}
	cr := &r.out.Credential
	*cr = schema.Credential{Issuer: r.str(c.Issuer), Subject: r.str(c.Subject), Client: r.str(client), Verified: verified}
	if r.known.token = verified; !verified {
		cr.Instance = r.str(c.ID)
	}
	switch {
	case len(client) == 0:
		cr.ID, cr.Kind = r.pair(c.Issuer, c.Subject), schema.KindUserToken
		if machineSubject(c.Subject) {
			cr.Kind = schema.KindServiceAccount
		}
	case ownToken(c, client):
		cr.ID, cr.Kind = r.pair(c.Issuer, client), schema.KindOAuthClient
	default:
		cr.ID, cr.Kind = r.pair(c.Issuer, client), schema.KindUserToken
	}
	if r.out.Workload == "" && bytes.HasPrefix(c.Subject, []byte("spiffe://")) {
		r.out.Workload = cr.Subject
	}
	r.scopes(c)
	for _, a := range c.Actors {
		r.actor(a)
	}
	return true
}

// machineSubject reports whether a subject says of itself that it is software:
// a Kubernetes service account or a SPIFFE id.
func machineSubject(subject []byte) bool {
	return bytes.HasPrefix(subject, []byte("system:serviceaccount:")) || bytes.HasPrefix(subject, []byte("spiffe://"))
}

// ownToken reports whether a token is its client's own, rather than that of a
// user on whose behalf the client acts: it has no subject, its subject is the
// client or the client's service account, or the token says so itself.
func ownToken(c *Claims, client []byte) bool {
	sub := c.Subject
	switch {
	case len(sub) == 0, bytes.Equal(sub, client), machineSubject(sub):
		return true
	case string(c.GrantType) == "client-credentials", string(c.GrantType) == "client_credentials", string(c.IDType) == "app":
		return true
	case bytes.HasPrefix(c.Username, []byte("service-account-")), bytes.HasPrefix(sub, []byte("service-account-")):
		return true
	}
	rest, found := bytes.CutPrefix(sub, client)
	if found && string(rest) == "@clients" {
		return true
	}
	rest, found = bytes.CutSuffix(sub, client)
	return found && (string(rest) == "client:" || string(rest) == "client|" || string(rest) == "clients/")
}

// apiClient: the name of a client that the gateway authenticated by its key.
func (r *rules) apiClient() bool {
	if len(r.ev.APIClient) == 0 {
		return false
	}
	r.out.Credential = schema.Credential{Kind: schema.KindAPIKey, ID: r.str(r.ev.APIClient), Verified: true}
	return true
}

// basicUser: the user of basic or digest authentication, and names of signing
// keys.
func (r *rules) basicUser() bool {
	a := &r.authorization
	switch {
	case len(r.ev.BasicUser) > 0:
		r.out.Credential = schema.Credential{Kind: schema.KindBasic, ID: r.str(r.ev.BasicUser), Verified: true}
	case len(a.Name) > 0:
		r.out.Credential = schema.Credential{Kind: a.Kind, ID: r.str(a.Name), Issuer: r.str(a.Issuer)}
	default:
		return false
	}
	return true
}

// token: the fingerprint of a secret that has no name.
func (r *rules) token() bool {
	kind, s := r.authorization.Kind, r.authorization.Token
	switch {
	case r.authorization.Scheme == "ntlm", r.authorization.Scheme == "negotiate":
		// A step of a handshake, another each time: it names nobody.
		return true
	case !s.Empty():
		if kind == schema.KindBasic {
			r.known.flaw = flawAuthorization
		}
	case !r.ev.APIKey.Empty():
		kind, s = schema.KindAPIKey, r.ev.APIKey
	case !r.ev.Query.Empty():
		kind, s = schema.KindAPIKey, redact.NewSecret(unescapeQuery(r.ev.Query.Reveal()))
		if bytes.HasPrefix(r.ev.QueryName, []byte("s")) && bytes.HasSuffix(r.ev.QueryName, []byte("id")) || string(r.ev.QueryName) == "session" {
			kind = schema.KindSessionCookie
		}
	case !r.ev.SessionCookie.Empty():
		kind, s = schema.KindSessionCookie, r.ev.SessionCookie
	default:
		return false
	}
	r.out.Credential = schema.Credential{Kind: kind, ID: r.key.Fingerprint(kind.String(), s)}
	return true
}

// unescapeQuery undoes the escapes of a query value; what is no escape stays.
func unescapeQuery(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if hi, lo := hexValue(b[i+1]), hexValue(b[i+2]); hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
