// Package identify names the credential behind a request from the evidence that
// a log or a packet shows, by the rules of DESIGN 4.1.
//
// Callers fill an [Evidence] and ask an Identifier. The package promises that
// the same evidence always gives the same name, that no secret is part of it,
// and that a name is never guessed: evidence that is not understood gives kind
// unknown. It does not verify signatures.
package identify

import "github.com/scopedrift/scopedrift/collector/redact"

// Evidence is all that one request shows about who is calling. Byte slices may
// alias the source's buffer; an absent value is nil. The spellings of "missing"
// that logs use ("-", null, "") are removed before they come here.
type Evidence struct {
	// KeyID is the id that the issuer or gateway gives the key itself.
	KeyID []byte
	// APIClient is the name of an API client that the gateway authenticated.
	APIClient []byte
	// JWT are the claims that the gateway verified and wrote to the log.
	JWT Claims

	// Authorization, APIKey and SessionCookie are raw values as a packet or a
	// careless log shows them.
	Authorization redact.Secret
	APIKey        redact.Secret
	SessionCookie redact.Secret
	// Query is a credential in the query string and QueryName the name of its
	// parameter, as redact.Scrubber.QueryCredential finds them.
	QueryName []byte
	Query     redact.Secret
	// BasicUser is the user of HTTP basic authentication, as logs name it.
	BasicUser []byte

	// XFCC is a whole x-forwarded-client-cert header.
	XFCC []byte
	// ClientCert is a header that holds the client's certificate itself, and
	// ClientSubject one that names its subject, where a proxy writes those instead.
	ClientCert, ClientSubject []byte
	// PeerURISAN, PeerSubject and PeerFingerprint are of the verified client
	// certificate; the fingerprint is SHA-256 in hexadecimal.
	PeerURISAN, PeerSubject, PeerFingerprint []byte

	Kubernetes Kubernetes
	Cloud      Cloud

	// Complete says that the source shows whole requests (a capture with all
	// headers), so that no credential means that the caller showed none. Logs
	// leave things out: they say nothing by silence.
	Complete bool
}

// Claims are the fields of a JWT that identity and scopes need. Scope holds
// scope, scp, roles and permissions: one name an element.
type Claims struct {
	Issuer, AuthorizedParty, ClientID, Subject, ID []byte
	Audience                                       [][]byte
	Scopes                                         [][]byte
	// ScopesPresent says that a scope claim was there, even if empty.
	ScopesPresent bool
	// IssuedAt and Expires are Unix seconds, 0 if absent.
	IssuedAt, Expires int64
	// Actors are the nested act claims, nearest first.
	Actors [][]byte
	// Confirmation is the thumbprint of the key that the token is bound to
	// (cnf, RFC 7800), empty if anybody may bear it.
	Confirmation []byte
	// GrantType (gty), IDType (idtyp) and Username (preferred_username) tell a
	// client's own token from that of a user.
	GrantType, IDType, Username []byte
}

// Kubernetes is the user part of an audit record.
type Kubernetes struct {
	User   []byte
	Groups [][]byte
	// CredentialID is extra["authentication.kubernetes.io/credential-id"].
	CredentialID []byte
	// Impersonated, with its groups, is the user who acts; User then stands
	// behind in the actor chain.
	Impersonated       []byte
	ImpersonatedGroups [][]byte
	// Pod and Node are extra["authentication.kubernetes.io/pod-name"] and
	// node-name: the workload.
	Pod, Node []byte
}

// Cloud is the userIdentity of a CloudTrail record.
type Cloud struct {
	// Type is IAMUser, AssumedRole, Root, FederatedUser, AWSService,
	// AWSAccount, SAMLUser, WebIdentityUser, IdentityCenterUser, …
	Type                                             []byte
	ARN, AccountID, PrincipalID, UserName, AccessKey []byte
	// InvokedBy is the service that calls on the identity's behalf.
	InvokedBy []byte
	// IssuerARN and IssuerType are sessionContext.sessionIssuer's.
	IssuerARN, IssuerType []byte
	// Provider is the identity provider of a federated or web identity.
	Provider []byte
	// SourceIdentity is sessionContext.sourceIdentity.
	SourceIdentity []byte
}
