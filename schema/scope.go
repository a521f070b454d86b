package schema

// Dialect says how the names of scopes are compared.
type Dialect uint8

// The dialects.
const (
	// DialectFlat compares names for equality.
	DialectFlat Dialect = iota
	// DialectWildcard knows "*" within a name's segments (parted by ":", "."
	// and "/"), and a trailing "*" for all the rest.
	DialectWildcard
	// DialectIAM is that of AWS IAM: "service:Action" with * and ?,
	// case-insensitive, with resources.
	DialectIAM
	// DialectKubernetes is that of Kubernetes RBAC: verb, API group, resource,
	// namespace, name. As text it is the form of Kubernetes operations, "VERB
	// RESOURCE[.GROUP][/SUBRESOURCE]" or "VERB /PATH", with RBAC's wildcards; no
	// group is the core group (for "*" alone every group, "*.core" the core
	// group), and a verb alone is on everything.
	DialectKubernetes
	// DialectURL compares scopes that are URLs: scheme and host exactly, path
	// by prefix on segment borders when the granted one ends in "/" or "*".
	DialectURL
)

var dialectNames = []string{"flat", "wildcard", "iam", "kubernetes", "url"}

// Dialects lists the written words of all dialects.
func Dialects() []string { return append([]string(nil), dialectNames...) }

func (d Dialect) String() string { return enumName(dialectNames, d) }

// MarshalText writes the dialect's word.
func (d Dialect) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a dialect's word.
func (d *Dialect) UnmarshalText(text []byte) (err error) {
	*d, err = parseEnum[Dialect](dialectNames, "scope dialect", text)
	return err
}

// Scope is what the catalogue says about one named right.
type Scope struct {
	Name string `json:"name"`
	// Implies are the scopes that this one contains.
	Implies []string `json:"implies,omitempty"`
	// Sensitivity is 1 (harmless) to 4 (whoever has it owns the system); 0 is
	// unstated.
	Sensitivity uint8 `json:"sensitivity,omitempty"`
	// Rare says in words why long silence is no disuse ("yearly audit").
	Rare string `json:"rare,omitempty"`
}
