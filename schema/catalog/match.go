package catalog

import (
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// matches reports whether the principal is the one that the entry describes.
func (m *Match) matches(p *schema.Principal) bool {
	return (m.Kind == nil || *m.Kind == p.Kind) &&
		(m.ID == "" || Glob(m.ID, p.ID)) &&
		(m.Issuer == "" || Glob(m.Issuer, p.Issuer)) &&
		(m.Subject == "" || Glob(m.Subject, p.Subject)) &&
		(m.Client == "" || Glob(m.Client, p.Client))
}

// matcher is one match entry and the credential it belongs to; order is the
// credential's place in the catalogue.
type matcher struct {
	match      *Match
	credential *Credential
	order      int
}

// matcherIndex finds the match entries that can match a principal. An entry is
// kept under one of its texts that holds no wildcard, so that a catalogue of
// many thousand credentials costs a few map lookups a principal; only entries
// that consist of wildcards are tried one by one.
type matcherIndex struct {
	byID, byClient, bySubject, byIssuer map[string][]matcher
	rest                                []matcher
}

func newMatcherIndex(credentials []*Credential) matcherIndex {
	x := matcherIndex{
		byID: map[string][]matcher{}, byClient: map[string][]matcher{},
		bySubject: map[string][]matcher{}, byIssuer: map[string][]matcher{},
	}
	for order, c := range credentials {
		for i := range c.Match {
			m := &c.Match[i]
			entry := matcher{m, c, order}
			switch {
			case exact(m.ID):
				x.byID[m.ID] = append(x.byID[m.ID], entry)
			case exact(m.Client):
				x.byClient[m.Client] = append(x.byClient[m.Client], entry)
			case exact(m.Subject):
				x.bySubject[m.Subject] = append(x.bySubject[m.Subject], entry)
			case exact(m.Issuer):
				x.byIssuer[m.Issuer] = append(x.byIssuer[m.Issuer], entry)
			default:
				x.rest = append(x.rest, entry)
			}
		}
	}
	return x
}

// exact reports whether a glob is given and holds no wildcard.
func exact(glob string) bool { return glob != "" && !strings.ContainsAny(glob, "*?") }

// CredentialFor returns the credential that the catalogue declares for the
// principal, or nil. Where two match, the error is *[Ambiguous] and names the
// two that come first in the catalogue.
func (c *Catalog) CredentialFor(p schema.Principal) (*Credential, error) {
	var first, second matcher
	for _, list := range [...][]matcher{
		c.matchers.byID[p.ID], c.matchers.byClient[p.Client], c.matchers.bySubject[p.Subject],
		c.matchers.byIssuer[p.Issuer], c.matchers.rest,
	} {
		for _, m := range list {
			if m.credential == first.credential || m.credential == second.credential || !m.match.matches(&p) {
				continue
			}
			switch {
			case first.credential == nil:
				first = m
			case m.order < first.order:
				first, second = m, first
			case second.credential == nil || m.order < second.order:
				second = m
			}
		}
	}
	if second.credential != nil {
		return nil, &Ambiguous{Principal: p, First: first.credential, Second: second.credential}
	}
	return first.credential, nil
}
