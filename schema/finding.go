package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Severity says how bad a finding is.
type Severity uint8

// The severities, rising.
const (
	SeverityLow Severity = iota
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

var severityNames = []string{"low", "medium", "high", "critical"}

// Severities lists the written words of all severities, rising.
func Severities() []string { return append([]string(nil), severityNames...) }

func (s Severity) String() string { return enumName(severityNames, s) }

// MarshalText writes the severity's word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's word.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = parseEnum[Severity](severityNames, "severity", text)
	return err
}

// Status says where a finding stands.
type Status uint8

// The states of a finding.
const (
	StatusOpen Status = iota
	StatusResolved
	StatusSuppressed
)

var statusNames = []string{"open", "resolved", "suppressed"}

func (s Status) String() string { return enumName(statusNames, s) }

// MarshalText writes the status's word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a status's word.
func (s *Status) UnmarshalText(text []byte) (err error) {
	*s, err = parseEnum[Status](statusNames, "status", text)
	return err
}

// FindingID is the stable name of a finding: equal as long as the detection,
// the credential and the object are.
type FindingID string

// NewFindingID hashes a detection's code, the credential's name and the object
// that the detection is about (DESIGN 4.4 says which parts).
func NewFindingID(code, credential string, object ...string) FindingID {
	h := sha256.New()
	for _, s := range append([]string{code, credential}, object...) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return FindingID(code + "-" + hex.EncodeToString(h.Sum(nil)[:8]))
}

// FindingCredential is the credential as a finding names it.
type FindingCredential struct {
	// ID is the catalogue's name, else the observed id.
	ID string `json:"id"`
	// Observed are the observed ids behind that name, sorted.
	Observed []string `json:"observed"`
	// Kind is the catalogue's kind (service, agent, ci, third_party, human),
	// else the observed kind.
	Kind     string `json:"kind,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Workload string `json:"workload,omitempty"`
}

// Evidence is the calls and facts that prove a finding.
type Evidence struct {
	// Calls are at most 20, the earliest first.
	Calls   []Call   `json:"calls,omitempty"`
	Granted []string `json:"granted,omitzero"`
	// Demand are the alternatives, each the scopes that together suffice.
	Demand [][]string `json:"demand,omitempty"`
	Usual  []string   `json:"usual,omitempty"`
	Seen   []string   `json:"seen,omitempty"`
	// Path is the way of a movement, hop by hop.
	Path []string `json:"path,omitempty"`
	// Hops are the same way in parts, in the same order.
	Hops     []Hop     `json:"hops,omitempty"`
	Coverage *Coverage `json:"coverage,omitempty"`
	// BenignIf says in one sentence what would make the finding harmless.
	BenignIf string `json:"benign_if,omitempty"`
}

// Hop is one step of a movement: somebody did something with a credential.
type Hop struct {
	// Kind is call (a call that caused the next hop), secret (a secret was
	// read), mint (a credential was issued), or switch (a credential was used
	// that was neither its user's own nor handed to it).
	Kind string `json:"kind"`
	// Tier says what links the hop to the one before: 1 signed context, 2 the
	// same trace or request id, 3 nesting in time with one candidate. 0 is no
	// link: the call itself shows the hop.
	Tier int       `json:"tier,omitempty"`
	Time time.Time `json:"time"`
	// From is who acted: a workload, an address, or a credential where neither
	// is known. To is what was reached: a service, or the credential issued.
	From string `json:"from"`
	To   string `json:"to"`
	// Credential is the name of the credential used.
	Credential string `json:"credential"`
	Operation  string `json:"operation,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
	// Call is the id of the call that shows the hop.
	Call *CallID `json:"call,omitempty"`
}

// Finding is a detection's result.
type Finding struct {
	ID         FindingID         `json:"id"`
	Detection  string            `json:"detection"`
	Code       string            `json:"code"`
	Severity   Severity          `json:"severity"`
	Confidence float64           `json:"confidence"`
	Status     Status            `json:"status"`
	Verdict    *Verdict          `json:"verdict,omitempty"`
	Credential FindingCredential `json:"credential"`
	Session    string            `json:"session,omitempty"`
	Service    string            `json:"service,omitempty"`
	Operation  string            `json:"operation,omitempty"`
	Scope      string            `json:"scope,omitempty"`
	Tenant     string            `json:"tenant,omitempty"`
	// Environment is joined from the catalogue.
	Environment string    `json:"environment,omitempty"`
	First       time.Time `json:"first,omitzero"`
	Last        time.Time `json:"last,omitzero"`
	Calls       uint64    `json:"calls"`
	// Title is one sentence.
	Title string `json:"title"`
	// Reasons are all of them, not the first.
	Reasons    []string `json:"reasons"`
	Evidence   Evidence `json:"evidence"`
	Frameworks []string `json:"frameworks"`
	// Next are commands that lead on.
	Next []string `json:"next,omitempty"`
	// Score is how odd it is, where the detection weighs oddity rather than
	// proves a fault; nil for a rule, which always counts.
	Score *Score `json:"score,omitempty"`
	// OverBudget says that odder ones of the same day fill the day's budget: it
	// is kept and can be listed, but nobody is told of it and it fails no scan.
	OverBudget bool `json:"over_budget,omitempty"`
}

// Score is how odd a finding is, on axes that mean the same for all detections,
// each larger for the odder. Findings of one day are ranked by it (see the
// package detector), so what is written here never depends on the others.
type Score struct {
	// Day is the day of UTC, as 2006-01-02, whose budget it competes for.
	Day string `json:"day"`
	// Surprise is minus the decimal logarithm of how probable so odd a thing
	// would be by habit alone: 3 is one in a thousand.
	Surprise float64 `json:"surprise"`
	// Breadth is the binary logarithm of how many things are odd, or of how
	// many times the usual most was exceeded.
	Breadth float64 `json:"breadth"`
	// Reach is what could be damaged, in the points of severity: 0 and up.
	Reach int `json:"reach"`
}
