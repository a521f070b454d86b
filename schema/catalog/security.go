package catalog

import (
	"fmt"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// scheme is a security scheme of an OpenAPI document.
type scheme struct {
	// kinds are the credential kinds that it authenticates; nil is any.
	kinds []schema.CredentialKind
}

// readSchemes reads the document's security schemes.
func (r *specReader) readSchemes() {
	r.schemes = map[string]scheme{}
	section := r.doc.get("components").get("securitySchemes")
	if r.swagger {
		section = r.doc.get("securityDefinitions")
	}
	if !section.is(kindMap) {
		return
	}
	for _, e := range section.all() {
		n := r.resolve(e.value)
		if !n.is(kindMap) {
			r.note(e.line, fmt.Sprintf("security scheme %q is no mapping", e.key))
			continue
		}
		kinds, ok := schemeKinds(n)
		if !ok {
			r.note(e.line, fmt.Sprintf("security scheme %q has the unknown type %q", e.key, n.textOf("type")))
		}
		r.schemes[e.key] = scheme{kinds}
	}
}

// tokenKinds are the kinds of a bearer token that an authorization server
// issued.
var tokenKinds = []schema.CredentialKind{schema.KindOAuthClient, schema.KindUserToken, schema.KindServiceAccount}

// schemeKinds returns the credential kinds that a scheme authenticates. False
// says that its type is unknown: then it may be any.
func schemeKinds(n *node) ([]schema.CredentialKind, bool) {
	switch n.textOf("type") {
	case "oauth2", "openIdConnect":
		return tokenKinds, true
	case "basic":
		return []schema.CredentialKind{schema.KindBasic}, true
	case "mutualTLS":
		return []schema.CredentialKind{schema.KindMTLS}, true
	case "apiKey":
		if n.get("x-amazon-apigateway-authtype").is(kindText) && strings.EqualFold(n.textOf("x-amazon-apigateway-authtype"), "awsSigv4") {
			return []schema.CredentialKind{schema.KindCloudKey, schema.KindRoleSession}, true
		}
		if n.textOf("in") == "cookie" {
			return []schema.CredentialKind{schema.KindSessionCookie}, true
		}
		return []schema.CredentialKind{schema.KindAPIKey}, true
	case "http":
		switch strings.ToLower(n.textOf("scheme")) {
		case "basic", "digest":
			return []schema.CredentialKind{schema.KindBasic}, true
		case "bearer", "dpop":
			// A bearer token may be an issued one or a plain key.
			return append([]schema.CredentialKind{schema.KindAPIKey}, tokenKinds...), true
		}
	}
	return nil, false
}

// demand reads a security section: a list of alternatives, each of which needs
// all schemes it names.
func (r *specReader) demand(n *node, source string) schema.Demand {
	d := schema.Demand{Source: source}
	switch {
	case n == nil || n.kind == kindNull:
		d.Why = "the OpenAPI document states no security for it"
		return d
	case n.kind != kindList:
		r.note(n.line, "a security section is no list")
		d.Why = "its security section in the OpenAPI document cannot be read"
		return d
	case len(n.items) == 0:
		d.State = schema.DemandPublic
		return d
	}
	public, unread, scoped := false, false, false
	for _, item := range n.items {
		if !item.is(kindMap) {
			r.note(item.line, "a security alternative is no mapping")
			unread = true
			continue
		}
		if len(item.all()) == 0 {
			public = true
			continue
		}
		alternatives, ok := r.alternatives(item)
		unread = unread || !ok
		d.Alternatives = append(d.Alternatives, alternatives...)
	}
	for i := range d.Alternatives {
		scoped = scoped || !d.Alternatives[i].Unscoped
	}
	switch {
	case public:
		d.State = schema.DemandPublic
	case unread:
		d.Why = "a part of its security section in the OpenAPI document cannot be read"
	case !scoped:
		d.Why = fmt.Sprintf("its security in the OpenAPI document (%s) states no scopes", d.Alternatives[0].Scheme)
	default:
		d.State = schema.DemandKnown
	}
	return d
}

// maxAlternatives bounds what several lists of any-scopes multiply to.
const maxAlternatives = 256

// alternatives reads one alternative of a security section: the schemes in it
// are all needed. It becomes one alternative for the kinds of those schemes
// that carry scopes, and an unscoped one for the kinds of those that do not.
// False says that a part of it could not be read.
func (r *specReader) alternatives(item *node) ([]schema.Alternative, bool) {
	sets := [][]string{nil}
	var names []string
	var scopedKinds, bareKinds []schema.CredentialKind
	scoped, scopedAny, bareAny := false, false, false
	ok := true
	for _, e := range item.all() {
		scopes, read := r.scopes(&e)
		ok = ok && read
		names = append(names, e.key)
		known, defined := r.schemes[e.key]
		if !defined {
			r.note(e.line, fmt.Sprintf("security scheme %q is not defined", e.key))
		}
		if len(scopes) == 0 {
			bareKinds = union(bareKinds, known.kinds)
			bareAny = bareAny || known.kinds == nil
			continue
		}
		scoped = true
		scopedKinds = union(scopedKinds, known.kinds)
		scopedAny = scopedAny || known.kinds == nil
		if sets = r.multiply(sets, scopes); len(sets) > maxAlternatives {
			r.note(e.line, fmt.Sprintf("a security alternative has more than %d combinations of scopes", maxAlternatives))
			return nil, false
		}
	}
	name := strings.Join(names, "+")
	var list []schema.Alternative
	if scoped {
		if scopedAny {
			scopedKinds = nil
		}
		for _, set := range sets {
			list = append(list, schema.Alternative{Scopes: set, Scheme: name, Kinds: scopedKinds})
		}
		if bareKinds = minus(bareKinds, scopedKinds); scopedAny || bareKinds == nil {
			return list, ok
		}
	} else if bareAny {
		bareKinds = nil
	}
	return append(list, schema.Alternative{Scopes: []string{}, Scheme: name, Kinds: bareKinds, Unscoped: true}), ok
}

// scopes reads the list of scopes beside a scheme's name.
func (r *specReader) scopes(e *entry) ([]string, bool) {
	switch {
	case e.value.is(kindNull):
		r.note(e.line, fmt.Sprintf("security scheme %q is used without a list of scopes; read as an empty one", e.key))
		return nil, true
	case !e.value.is(kindList):
		r.note(e.line, fmt.Sprintf("the scopes of security scheme %q are no list", e.key))
		return nil, false
	}
	scopes := make([]string, 0, len(e.value.items))
	for _, item := range e.value.items {
		if item.text == "" {
			r.note(item.line, fmt.Sprintf("a scope of security scheme %q is no text", e.key))
			return nil, false
		}
		scopes = append(scopes, item.text)
	}
	return scopes, true
}

// multiply adds the scopes of one scheme to each set: all of them, or in turn
// each one.
func (r *specReader) multiply(sets [][]string, scopes []string) [][]string {
	choices := [][]string{scopes}
	if r.anyScope {
		choices = choices[:0]
		for i := range scopes {
			choices = append(choices, scopes[i:i+1])
		}
	}
	if len(sets)*len(choices) > maxAlternatives {
		return make([][]string, maxAlternatives+1)
	}
	var out [][]string
	for _, set := range sets {
		for _, choice := range choices {
			out = append(out, append(append(make([]string, 0, len(set)+len(choice)), set...), choice...))
		}
	}
	return out
}

// union returns a with what b has besides.
func union(a, b []schema.CredentialKind) []schema.CredentialKind {
	out := append([]schema.CredentialKind(nil), a...)
	return append(out, minus(b, a)...)
}

// minus returns what a has and b has not; nil where that is nothing.
func minus(a, b []schema.CredentialKind) []schema.CredentialKind {
	var out []schema.CredentialKind
	for _, k := range a {
		found := false
		for _, other := range b {
			found = found || other == k
		}
		if !found {
			out = append(out, k)
		}
	}
	return out
}
