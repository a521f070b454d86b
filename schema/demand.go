package schema

// DemandState says whether it is known what an operation needs.
type DemandState uint8

// The states.
const (
	// DemandUnmapped says that it is not known: never guessed.
	DemandUnmapped DemandState = iota
	// DemandKnown says that the alternatives are complete.
	DemandKnown
	// DemandPublic says that no scope is needed.
	DemandPublic
)

var demandStateNames = []string{"unmapped", "known", "public"}

func (s DemandState) String() string { return enumName(demandStateNames, s) }

// MarshalText writes the state's word.
func (s DemandState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's word.
func (s *DemandState) UnmarshalText(text []byte) (err error) {
	*s, err = parseEnum[DemandState](demandStateNames, "demand state", text)
	return err
}

// Alternative is one set of scopes that together suffice.
type Alternative struct {
	Scopes []string `json:"scopes"`
	// Scheme is the security scheme this alternative belongs to, empty where
	// the catalogue states it.
	Scheme string `json:"scheme,omitempty"`
	// Kinds are the credential kinds that the scheme authenticates; nil is
	// any.
	Kinds []CredentialKind `json:"kinds,omitempty"`
	// Unscoped says that the scheme authenticates without scopes (an API
	// key): for its kinds the demand is unmapped, not free.
	Unscoped bool `json:"unscoped,omitempty"`
}

// Applies reports whether the alternative speaks about credentials of kind k.
func (a *Alternative) Applies(k CredentialKind) bool {
	if a.Kinds == nil {
		return true
	}
	for _, kind := range a.Kinds {
		if kind == k {
			return true
		}
	}
	return false
}

// Demand is the scopes an operation needs: alternatives (OR) of sets (AND).
type Demand struct {
	State        DemandState   `json:"state"`
	Alternatives []Alternative `json:"alternatives,omitempty"`
	// Source names who says so: a file and line, or a table of facts.
	Source string `json:"source,omitempty"`
	// Why explains an unmapped demand in words.
	Why string `json:"why,omitempty"`
}

// Class is what an operation does to data.
type Class uint8

// The classes, in the order of their weight.
const (
	ClassUnstated Class = iota
	ClassRead
	ClassWrite
	ClassDelete
	ClassAdmin
	ClassSecret
	ClassMint
)

var classNames = []string{"", "read", "write", "delete", "admin", "secret", "mint"}

// Classes lists the written words of all classes.
func Classes() []string { return append([]string(nil), classNames[1:]...) }

func (c Class) String() string { return enumName(classNames, c) }

// MarshalText writes the class's word.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a class's word.
func (c *Class) UnmarshalText(text []byte) (err error) {
	*c, err = parseEnum[Class](classNames, "class", text)
	return err
}
