package investigate

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Kinds of questions.
const (
	KindCredential = "credential"
	KindWorkload   = "workload"
	KindFinding    = "finding"
)

// Question is what was asked.
type Question struct {
	// Kind is one of the kinds; empty is a credential, or else a workload, of
	// that name.
	Kind string `json:"kind"`
	// Name is the credential's name in the catalogue or observed id, the
	// workload's name or address, or the finding's id.
	Name string `json:"name"`
	// Finding is the finding of that id; its credential is looked into.
	Finding *schema.Finding `json:"-"`
}

// Investigation is the answer.
type Investigation struct {
	Question Question      `json:"question"`
	Window   schema.Window `json:"window"`
	// Credentials are those asked about; for a workload those that it used.
	Credentials []Credential `json:"credentials"`
	Timeline    Timeline     `json:"timeline"`
	// Findings are the stored ones about the credentials, by time.
	Findings []Mention `json:"findings"`
	// Used is what was done, the gravest first.
	Used []Used `json:"used"`
	// Places are from where the credentials were used, the first seen first.
	Places []Place `json:"places"`
	// Stranger is the place in Places that does not belong and was seen first:
	// its index, -1 where none is known.
	Stranger int `json:"stranger"`
	// Links is where the calls came from and led to.
	Links Links `json:"links"`
	// Coverage is what was seen of the services used.
	Coverage []schema.Coverage `json:"coverage"`
	Notes    []string          `json:"notes,omitempty"`
	// Next are commands that lead on.
	Next []string `json:"next,omitempty"`

	principals []schema.PrincipalHash
}

// Principals are the hashes of all that was observed of the credentials, sorted:
// whose calls the answer stands on.
func (r *Investigation) Principals() []schema.PrincipalHash { return r.principals }

// Credential is who a credential is, what it holds, and what that opens.
type Credential struct {
	schema.FindingCredential
	// Declared says that the catalogue knows it.
	Declared bool      `json:"declared"`
	Purpose  string    `json:"purpose,omitempty"`
	Issued   time.Time `json:"issued,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Days     int       `json:"days"`
	Calls    uint64    `json:"calls"`
	// Basis says where what it holds is known from: declared, presented, none.
	Basis string `json:"basis"`
	// Holds are its scopes at the end of the window.
	Holds []Held `json:"holds"`
	// Possible is what they open, service by service.
	Possible []Possible `json:"possible"`
}

// Bases of what a credential holds.
const (
	BasisDeclared  = "declared"
	BasisPresented = "presented"
	BasisNone      = "none"
)

// Held is one scope that is held.
type Held struct {
	Scope     string `json:"scope"`
	Authority string `json:"authority,omitempty"`
	// On tells in words on what alone it is held, empty for everything.
	On string `json:"on,omitempty"`
	// Source names where the grant was read, or "presented", or the group.
	Source      string `json:"source,omitempty"`
	Conditional bool   `json:"conditional,omitempty"`
	// Used says that it took part in a call of the window, or may have.
	Used bool `json:"used"`
}

// Possible is what a credential may do at one service, of the operations that
// the catalogue lists.
type Possible struct {
	Service     string `json:"service"`
	Environment string `json:"environment,omitempty"`
	// Operations are all it may call, Used how many of them it did.
	Operations int `json:"operations"`
	Used       int `json:"used"`
	// Unknown is how many operations nobody can tell about.
	Unknown int `json:"unknown,omitempty"`
	// Unused are those it did not call, the most sensitive first.
	Unused []Operation `json:"unused,omitempty"`
}

// Operation is an operation that the catalogue lists.
type Operation struct {
	Operation string `json:"operation"`
	Class     string `json:"class,omitempty"`
	// Sensitivity is 1 to 4, 0 unstated.
	Sensitivity uint8 `json:"sensitivity,omitempty"`
}

// Verdicts counts calls by verdict.
type Verdicts struct {
	Exercised uint64 `json:"exercised,omitempty"`
	Beyond    uint64 `json:"beyond,omitempty"`
	Denied    uint64 `json:"denied,omitempty"`
	Unmapped  uint64 `json:"unmapped,omitempty"`
}

// Calls is their sum.
func (v *Verdicts) Calls() uint64 { return v.Exercised + v.Beyond + v.Denied + v.Unmapped }

func (v *Verdicts) add(verdict schema.Verdict, n uint64) {
	switch verdict {
	case schema.VerdictExercised:
		v.Exercised += n
	case schema.VerdictBeyond:
		v.Beyond += n
	case schema.VerdictDenied:
		v.Denied += n
	default:
		v.Unmapped += n
	}
}

// Add adds what another counts.
func (v *Verdicts) Add(o Verdicts) {
	v.Exercised += o.Exercised
	v.Beyond += o.Beyond
	v.Denied += o.Denied
	v.Unmapped += o.Unmapped
}

// Used is what one credential did with one operation in one tenant.
type Used struct {
	Credential string `json:"credential"`
	Service    string `json:"service"`
	Operation  string `json:"operation"`
	Tenant     string `json:"tenant,omitempty"`
	// Class and Sensitivity are the catalogue's.
	Class       string    `json:"class,omitempty"`
	Sensitivity uint8     `json:"sensitivity,omitempty"`
	Verdicts    Verdicts  `json:"verdicts"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	// Days is on how many days.
	Days int `json:"days"`
}

// Timeline is the window in equal steps, of which those that follow each other
// and are alike stand together.
type Timeline struct {
	// Step is hour, day or week.
	Step    string   `json:"step"`
	Periods []Period `json:"periods"`
}

// Period is one or several steps of a timeline.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Steps is how many steps of the same look it is.
	Steps    int      `json:"steps"`
	Verdicts Verdicts `json:"verdicts"`
	// Services are those called, sorted.
	Services []string `json:"services,omitempty"`
	// New are operations and places that the window had not shown before; of
	// the first period with calls nothing is new.
	New []string `json:"new,omitempty"`
	// Findings are those that begin in it.
	Findings []schema.FindingID `json:"findings,omitempty"`
}

// Mention is a stored finding in short.
type Mention struct {
	ID         schema.FindingID `json:"id"`
	Code       string           `json:"code"`
	Detection  string           `json:"detection"`
	Severity   schema.Severity  `json:"severity"`
	Status     schema.Status    `json:"status"`
	Credential string           `json:"credential"`
	First      time.Time        `json:"first,omitzero"`
	Last       time.Time        `json:"last,omitzero"`
	Title      string           `json:"title"`
}

// Place is from where credentials were used: a workload, or a network and a
// kind of client where no workload is known.
type Place struct {
	Name     string `json:"name"`
	Workload string `json:"workload,omitempty"`
	// Networks are those of the addresses, sorted; Addresses how many there are.
	Networks  []string `json:"networks,omitempty"`
	Addresses int      `json:"addresses,omitempty"`
	// Address is the only one, if there is but one.
	Address string `json:"address,omitempty"`
	// Clients are programs without their versions, sorted.
	Clients     []string  `json:"clients,omitempty"`
	Credentials []string  `json:"credentials"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Days        int       `json:"days"`
	Calls       uint64    `json:"calls"`
	// Share is its part of the accepted calls, 0..1.
	Share float64 `json:"share"`
	// Strange says why it does not belong, empty where it may.
	Strange string `json:"strange,omitempty"`
}
