package gateway

import (
	"bytes"
	"net/url"

	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// who names the credential by all that the unit shows.
func (b *builder) who(r *reader, u *unit, c *schema.Call, target []byte) {
	e := &b.evidence
	*e = identify.Evidence{}
	get := func(f fieldName) []byte { return u.get(&r.fields[f]) }

	e.KeyID, e.APIClient, e.BasicUser = get(fKeyID), get(fAPIClient), get(fBasicUser)
	e.BasicUser = bytes.Trim(e.BasicUser, `"`) // Apache writes a user without a name as ""
	e.Authorization = redact.NewSecret(get(fAuthorization))
	e.APIKey = redact.NewSecret(get(fAPIKey))
	e.SessionCookie = redact.NewSecret(identify.CookieOf(get(fSessionCookie)))
	e.XFCC, e.PeerURISAN = get(fXFCC), get(fPeerURISAN)
	e.PeerSubject, e.PeerFingerprint = get(fPeerSubject), get(fPeerFingerprint)
	if bytes.IndexByte(target, '?') >= 0 {
		e.QueryName, e.Query, _ = b.scrub.QueryCredential(target)
		if b.tenant != nil {
			c.Tenant = b.texts.text(queryValue(target, b.tenant))
		}
	}
	b.claims(r, u, &e.JWT)
	switch r.Decision {
	case "kubernetes":
		b.cluster(r, u, &e.Kubernetes)
	case "cloudtrail":
		cloud(r, u, &e.Cloud)
	}
	b.identify.Identify(e, &b.identity)
	c.Credential, c.Scopes = b.identity.Credential, b.identity.Scopes
	c.Workload, c.ActorChain = b.identity.Workload, b.identity.ActorChain
}

// claims reads the fields of a token that the gateway verified.
func (b *builder) claims(r *reader, u *unit, j *identify.Claims) {
	get := func(f fieldName) []byte { return u.get(&r.fields[f]) }
	j.Issuer, j.AuthorizedParty, j.ClientID = get(fJWTIssuer), get(fJWTAuthorizedParty), get(fJWTClientID)
	j.Subject, j.ID = get(fJWTSubject), get(fJWTID)
	b.lists[0], _ = u.list(b.lists[0][:0], &r.fields[fJWTAudience], false)
	j.Audience = b.lists[0]
	b.lists[1], j.ScopesPresent = u.list(b.lists[1][:0], &r.fields[fJWTScopes], true)
	j.Scopes = b.lists[1]
	b.lists[2], _ = u.list(b.lists[2][:0], &r.fields[fJWTActors], false)
	j.Actors = b.lists[2]
	j.IssuedAt, j.Expires = unixSeconds(get(fJWTIssuedAt)), unixSeconds(get(fJWTExpires))
}

// cluster reads the user of a Kubernetes audit record.
func (b *builder) cluster(r *reader, u *unit, k *identify.Kubernetes) {
	get := func(f fieldName) []byte { return u.get(&r.fields[f]) }
	k.User, k.CredentialID, k.Impersonated = get(fK8sUser), get(fK8sCredentialID), get(fK8sImpersonated)
	k.Pod, k.Node = get(fK8sPod), get(fK8sNode)
	b.lists[3], _ = u.list(b.lists[3][:0], &r.fields[fK8sGroups], false)
	k.Groups = b.lists[3]
	b.lists[4], _ = u.list(b.lists[4][:0], &r.fields[fK8sImpersonatedGroups], false)
	k.ImpersonatedGroups = b.lists[4]
}

// cloud reads the userIdentity of a CloudTrail record.
func cloud(r *reader, u *unit, k *identify.Cloud) {
	get := func(f fieldName) []byte { return u.get(&r.fields[f]) }
	k.Type, k.ARN, k.AccountID, k.PrincipalID = get(fCloudType), get(fCloudARN), get(fCloudAccount), get(fCloudPrincipal)
	k.UserName, k.AccessKey, k.InvokedBy = get(fCloudUser), get(fCloudAccessKey), get(fCloudInvokedBy)
	k.IssuerARN, k.IssuerType = get(fCloudIssuerARN), get(fCloudIssuerType)
	k.Provider, k.SourceIdentity = get(fCloudProvider), get(fCloudSourceIdentity)
	if client := get(fClient); k.InvokedBy == nil && client != nil && !parseAddress(client).IsValid() {
		// A service calls on the identity's behalf: its name stands where the
		// address of a client would.
		k.InvokedBy = client
	}
}

// unixSeconds reads a claim's time, 0 if there is none.
func unixSeconds(text []byte) int64 {
	n, ok := parseDecimal(text, 1)
	if !ok {
		return 0
	}
	return n
}

// queryValue returns the value of a query parameter, decoded.
func queryValue(target, key []byte) []byte {
	_, query, _ := bytes.Cut(target, []byte("?"))
	query, _, _ = bytes.Cut(query, []byte("#"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		if name, v, ok := bytes.Cut(pair, []byte("=")); ok && bytes.Equal(name, key) {
			if decoded, err := url.QueryUnescape(string(v)); err == nil {
				return []byte(decoded)
			}
			return v
		}
	}
	return nil
}
