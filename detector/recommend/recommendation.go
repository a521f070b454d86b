package recommend

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Recommendation is a smaller grant for one credential, its proof and its undo.
type Recommendation struct {
	Credential schema.FindingCredential `json:"credential"`
	// Window is the span of calls it stands on.
	Window schema.Window `json:"window"`
	// Basis is what stands for the grant: "declared" entries of the
	// catalogue, or scopes "presented" by tokens where nothing is declared;
	// "none" where neither is known.
	Basis string `json:"basis"`
	// Smaller says that there is something to remove.
	Smaller bool `json:"smaller"`
	// Keep are the scopes that calls need, Remove those that can go, Unknown
	// those that are kept because nothing can be said; together they are all
	// that is held.
	Keep    []Keep    `json:"keep"`
	Remove  []Remove  `json:"remove"`
	Unknown []Unknown `json:"unknown"`
	// Quarantined are suspicious operations, which are no need.
	Quarantined []Quarantined `json:"quarantined,omitempty"`
	// Outside are operations that were authorised at call time but lie outside
	// what is held now, so that no proposal can keep them.
	Outside []Operation `json:"outside,omitempty"`
	Solver  Solver      `json:"solver"`
	// Replay is the window's calls against the proposal, HoldOut the last
	// part of the window against a proposal made without it.
	Replay  Replay   `json:"replay"`
	HoldOut *HoldOut `json:"hold_out,omitempty"`
	// Grants are the entries of the proposal, Before those it replaces.
	Grants []schema.Grant `json:"grants"`
	Before []schema.Grant `json:"before"`
	// Proposal and Inverse are the same as catalogue YAML, to apply and to
	// undo.
	Proposal string `json:"proposal"`
	Inverse  string `json:"inverse"`
	// Notes are sentences about the whole.
	Notes []string `json:"notes,omitempty"`
}

// Held names one held scope.
type Held struct {
	Scope     string `json:"scope"`
	Authority string `json:"authority,omitempty"`
	// On tells in words on what alone it is held, empty for everything.
	On string `json:"on,omitempty"`
	// Source is where the entry was read.
	Source string `json:"source,omitempty"`
}

// Operation is use of one operation.
type Operation struct {
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	Tenant    string    `json:"tenant,omitempty"`
	Calls     uint64    `json:"calls"`
	Days      int       `json:"days"`
	Last      time.Time `json:"last"`
}

// Keep is a scope that calls need.
type Keep struct {
	Held
	// Operations are those for which it is kept: without it they would be
	// refused, or another scope would have to be kept.
	Operations []Operation `json:"operations"`
	Calls      uint64      `json:"calls"`
	Days       int         `json:"days"`
	LastUse    time.Time   `json:"last_use"`
	// Samples are ids of calls that need it.
	Samples []schema.CallID `json:"samples"`
}

// Classes of scopes to remove.
const (
	Unused    = "unused"
	Redundant = "redundant"
)

// Remove is a scope that can go.
type Remove struct {
	Held
	// Class is "unused" if it took part in no needed call, "redundant" if all
	// its calls are also covered by what is kept.
	Class string `json:"class"`
	// CoveredBy are the kept scopes that cover a redundant one's calls.
	CoveredBy []string `json:"covered_by,omitempty"`
	// DaysObserved are the days since Since on which use would have been seen.
	DaysObserved int       `json:"days_observed"`
	Since        time.Time `json:"since,omitzero"`
	// LastUse is when it last took part in any call, zero for never.
	LastUse time.Time `json:"last_use,omitzero"`
	// Opens says what it opens, where that can be listed.
	Opens string `json:"opens,omitempty"`
	// Confidence is that it is not needed, 0..1; Label puts it in a word
	// (high, medium, low), which the calendar may lower; Why explains both.
	Confidence float64  `json:"confidence"`
	Label      string   `json:"label"`
	Why        string   `json:"why"`
	Caveats    []string `json:"caveats,omitempty"`
	// Rank orders removals: how much the worst operation can do.
	Rank int `json:"rank"`
}

// Unknown is a scope that is kept because nothing can be said.
type Unknown struct {
	Held
	Why string `json:"why"`
}

// Quarantined is a suspicious operation.
type Quarantined struct {
	Operation
	// Findings are the ids of the findings that say why.
	Findings []schema.FindingID `json:"findings"`
	// Refused says that the proposal would refuse it.
	Refused bool `json:"refused"`
}

// Solver says how the proposal was found.
type Solver struct {
	// Optimal says that no proposal opens less.
	Optimal bool `json:"optimal"`
	// Nodes is how many partial proposals were looked at.
	Nodes int `json:"nodes"`
	// ExcessBefore and ExcessAfter weigh what is open without being needed:
	// reads 1, writes 3, deletes 5, administration 10, times sensitivity.
	ExcessBefore int `json:"excess_before"`
	ExcessAfter  int `json:"excess_after"`
}

// Replay is calls judged against a proposal.
type Replay struct {
	Window schema.Window `json:"window"`
	// Operations, Calls and Days are what was replayed.
	Operations int    `json:"operations"`
	Calls      uint64 `json:"calls"`
	Days       int    `json:"days"`
	// Refused is what the proposal would have refused: empty if it is right.
	Refused []Operation `json:"refused"`
}

// HoldOut is the back test: a proposal made from the calls before Split, and
// replayed over those after.
type HoldOut struct {
	Split time.Time `json:"split"`
	// Removed is how many scopes that proposal would have removed.
	Removed int    `json:"removed"`
	Replay  Replay `json:"replay"`
}
