package schema

import (
	"crypto/sha256"
	"encoding/hex"
)

// CredentialKind says what kind of proof a caller gave.
type CredentialKind uint8

// The kinds.
const (
	// KindUnknown says that the log does not tell who called.
	KindUnknown CredentialKind = iota
	// KindAnonymous says that the caller proved nothing.
	KindAnonymous
	KindAPIKey
	KindOAuthClient
	KindUserToken
	KindMTLS
	KindServiceAccount
	KindCloudKey
	KindRoleSession
	KindBasic
	KindSessionCookie
)

var credentialKindNames = []string{
	"unknown", "anonymous", "api_key", "oauth_client", "user_token", "mtls",
	"service_account", "cloud_key", "role_session", "basic", "session_cookie",
}

// CredentialKinds lists the written words of all kinds.
func CredentialKinds() []string { return append([]string(nil), credentialKindNames...) }

func (k CredentialKind) String() string { return enumName(credentialKindNames, k) }

// MarshalText writes the kind's word.
func (k CredentialKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's word.
func (k *CredentialKind) UnmarshalText(text []byte) (err error) {
	*k, err = parseEnum[CredentialKind](credentialKindNames, "credential kind", text)
	return err
}

// Machine reports whether the kind is a machine's rather than a person's. A
// credential of unknown kind counts as neither.
func (k CredentialKind) Machine() bool {
	switch k {
	case KindAPIKey, KindOAuthClient, KindMTLS, KindServiceAccount, KindCloudKey, KindRoleSession:
		return true
	}
	return false
}

// Credential is what a caller proved itself with. None of its fields is secret:
// where the id is derived from a secret it is a keyed fingerprint ("hmac:…").
type Credential struct {
	Kind CredentialKind `json:"kind"`
	// ID is stable over calls and rotations as far as the kind allows.
	ID      string `json:"id,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Client  string `json:"client,omitempty"`
	// Instance is the single issued key or token (jti, temporary key id).
	Instance string `json:"instance,omitempty"`
	// Session is the short-lived session, such as role/session-name.
	Session string   `json:"session,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	// Verified says that the gateway checked the proof, rather than that an
	// observer merely read it.
	Verified bool `json:"verified,omitempty"`
}

// Principal is a credential without its instances: what use is folded by.
type Principal struct {
	Kind                        CredentialKind
	ID, Issuer, Subject, Client string
}

// Principal returns the part of the credential that use is folded by.
func (c *Credential) Principal() Principal {
	return Principal{c.Kind, c.ID, c.Issuer, c.Subject, c.Client}
}

// PrincipalHash is the key of a principal: Kafka partitions, ClickHouse shards
// and sorts by it.
type PrincipalHash [16]byte

// String returns the hash as hexadecimal.
func (h PrincipalHash) String() string { return hex.EncodeToString(h[:]) }

// Hash returns the first 16 bytes of SHA-256 over the principal's fields, each
// followed by a zero byte.
func (p Principal) Hash() PrincipalHash {
	buf := make([]byte, 0, 256)
	for _, s := range [...]string{p.Kind.String(), p.ID, p.Issuer, p.Subject, p.Client} {
		buf = append(append(buf, s...), 0)
	}
	sum := sha256.Sum256(buf)
	return PrincipalHash(sum[:16])
}

// PresentedHash identifies a set of presented scopes and groups, so that use
// can be folded by it. The order of the names does not matter; that no scopes
// were presented differs from an empty list.
type PresentedHash [8]byte
