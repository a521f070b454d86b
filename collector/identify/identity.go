package identify

import (
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Identity is what the evidence says about who is calling. Its strings and
// slices are shared with later answers: nobody may change them.
type Identity struct {
	Credential schema.Credential
	// Scopes are the scopes that the call presented; nil where it carries no
	// scope claim, empty where the claim is.
	Scopes []string
	// Workload is who the network says is calling (SPIFFE id, pod, service),
	// whatever the credential says.
	Workload string
	// ActorChain are the identities that act through this call, nearest first.
	ActorChain []string
}

// Identifier names credentials. It remembers what it has named and is not safe
// for use by several goroutines: make one for each.
type Identifier struct {
	key *redact.Key
}

// New makes an identifier whose fingerprints are made with k.
func New(k *redact.Key) *Identifier { return &Identifier{key: k} }
