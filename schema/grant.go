package schema

import "time"

// Effect says whether a grant gives or refuses.
type Effect uint8

// The effects. Deny wins.
const (
	EffectAllow Effect = iota
	EffectDeny
)

var effectNames = []string{"allow", "deny"}

func (e Effect) String() string { return enumName(effectNames, e) }

// MarshalText writes the effect's word.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads an effect's word.
func (e *Effect) UnmarshalText(text []byte) (err error) {
	*e, err = parseEnum[Effect](effectNames, "effect", text)
	return err
}

// Grant gives scopes to a credential, or denies them, on which resources, from
// when to when, from which source.
type Grant struct {
	// Authority is who decides; empty is any.
	Authority string  `json:"authority,omitempty"`
	Dialect   Dialect `json:"dialect"`
	Effect    Effect  `json:"effect"`
	// Scopes are the names given. Nil with a non-empty Except means "all but
	// these"; empty and not nil says "nothing".
	Scopes []string `json:"scopes,omitzero"`
	// Except are the scopes left out of "all" (NotAction).
	Except []string `json:"except,omitempty"`
	// APIGroups, Resources, Namespaces and Names narrow the grant; nil is all.
	APIGroups  []string `json:"api_groups,omitzero"`
	Resources  []string `json:"resources,omitzero"`
	Namespaces []string `json:"namespaces,omitzero"`
	Names      []string `json:"names,omitzero"`
	// Conditional says that more must hold than the entry can say: it neither
	// allows nor refuses for certain.
	Conditional bool `json:"conditional,omitempty"`
	// From is inclusive, To exclusive; the zero time is unbounded.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Source names where the grant was read ("keycloak export").
	Source string `json:"source,omitempty"`
}

// InForce reports whether the grant holds at t.
func (g *Grant) InForce(t time.Time) bool {
	return (g.From.IsZero() || !t.Before(g.From)) && (g.To.IsZero() || t.Before(g.To))
}

// GrantMode says which grant counts for a service.
type GrantMode uint8

// The modes.
const (
	// GrantDefault is presented if the call carries scopes, else declared.
	GrantDefault GrantMode = iota
	// GrantPresented counts what the token presented.
	GrantPresented
	// GrantDeclared counts what the catalogue declares.
	GrantDeclared
	// GrantBoth needs both to hold.
	GrantBoth
	// GrantEither needs one of the two to hold.
	GrantEither
)

var grantModeNames = []string{"default", "presented", "declared", "both", "either"}

func (m GrantMode) String() string { return enumName(grantModeNames, m) }

// MarshalText writes the mode's word.
func (m GrantMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mode's word.
func (m *GrantMode) UnmarshalText(text []byte) (err error) {
	*m, err = parseEnum[GrantMode](grantModeNames, "grant mode", text)
	return err
}
