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

// Identifier names credentials. It remembers what it has named, in bounded
// memory, and is not safe for use by several goroutines: make one for each.
type Identifier struct {
	key      *redact.Key
	scrubber *redact.Scrubber
	known    memory[[2]uint64, *known]
	strings  memory[string, string]
	scratch  []byte
	flaws    [flawCount]uint64
}

// known is an answer that was given before.
type known struct {
	identity Identity
	flaw     flaw
	// token says that the credential's instance is the verified token's id,
	// which is no part of the digest: tokens come and go, and all else about
	// them stays. The last one is remembered, unless it held a secret.
	token bool
	last  string
}

// flaw is a reason for which evidence could not be read.
type flaw uint8

const (
	flawNone flaw = iota
	flawXFCC
	flawClientCert
	flawAuthorization
	flawName
	flawCount
)

var flawNames = [flawCount]string{"", "malformed_xfcc", "malformed_client_certificate", "malformed_authorization", "secret_in_name"}

// How many answers and names are remembered in each of two generations.
const (
	maxKnown   = 4096
	maxStrings = 8192
)

// New makes an identifier whose fingerprints are made with k.
func New(k *redact.Key) *Identifier {
	return &Identifier{
		key: k, scrubber: redact.NewScrubber(k),
		known: memory[[2]uint64, *known]{size: maxKnown}, strings: memory[string, string]{size: maxStrings},
	}
}

// Flaws returns how many calls had evidence that could not be read, or a name
// that held a secret and was replaced by its fingerprint, by reason.
func (i *Identifier) Flaws() map[string]uint64 {
	flaws := map[string]uint64{}
	for f, n := range i.flaws {
		if n > 0 {
			flaws[flawNames[f]] = n
		}
	}
	return flaws
}

// Identify names the credential behind ev and writes all of out. Equal
// evidence gets the same answer, without allocation as long as it is
// remembered.
func (i *Identifier) Identify(ev *Evidence, out *Identity) {
	k := i.recognise(ev)
	*out = k.identity
	if k.ofToken(ev) {
		out.Credential.Instance = k.last
	}
}

// Shared is Identify for callers that keep many answers at a time: equal evidence
// gets the same pointer, as long as it is remembered. Nobody may change what is there.
func (i *Identifier) Shared(ev *Evidence) *Identity {
	k := i.recognise(ev)
	if !k.ofToken(ev) {
		return &k.identity
	}
	own := k.identity
	own.Credential.Instance = k.last
	return &own
}

// ofToken reports whether the instance is that of the token, which is in last.
func (k *known) ofToken(ev *Evidence) bool { return k.token && len(ev.JWT.ID) > 0 }

// recognise returns what is known of ev.
func (i *Identifier) recognise(ev *Evidence) *known {
	id := i.digest(ev)
	k, ok := i.known.get(id)
	if !ok {
		k = &known{}
		i.name(ev, k)
		i.known.put(id, k)
	}
	f := k.flaw
	if k.ofToken(ev) && k.last != string(ev.JWT.ID) {
		var one known
		k.last = (&rules{Identifier: i, known: &one}).str(ev.JWT.ID)
		if one.flaw != flawNone {
			f = one.flaw
		}
	}
	if f != flawNone {
		i.flaws[f]++
	}
	return k
}

// name applies the rules in the order of DESIGN 4.1; the first whose evidence
// is there decides.
//
// A name that a gateway gave (an API client, a basic user) stands before the
// client certificate: in a mesh every call has one, which says from where the
// call came, not on whose behalf. An opaque token stands behind it, since its
// fingerprint says nothing to anybody.
func (i *Identifier) name(ev *Evidence, k *known) {
	r := rules{Identifier: i, ev: ev, known: k, out: &k.identity}
	r.hop = r.xfcc()
	r.workload()
	r.authorization = ParseAuthorization(ev.Authorization)
	switch {
	case r.keyID():
	case r.cloud():
	case r.cloudSignature():
	case r.jwt():
	case r.apiClient():
	case r.basicUser():
	case r.certificate():
	case r.kubernetes():
	case r.token():
	case r.clientCert():
	case k.flaw != flawNone:
		// Something was shown; who it names cannot be read.
	case ev.Complete:
		k.identity.Credential.Kind = schema.KindAnonymous
	}
}

// memory remembers values in two generations: what was not asked for while one
// filled is forgotten with the next.
type memory[K comparable, V any] struct {
	size     int
	young    map[K]V
	previous map[K]V
}

func (m *memory[K, V]) get(key K) (V, bool) {
	v, ok := m.young[key]
	if ok {
		return v, true
	}
	if v, ok = m.previous[key]; ok {
		m.put(key, v)
	}
	return v, ok
}

func (m *memory[K, V]) put(key K, v V) {
	if m.young == nil {
		m.young = make(map[K]V)
	}
	if len(m.young) >= m.size {
		m.previous, m.young = m.young, m.previous
		clear(m.young)
		if m.young == nil {
			m.young = make(map[K]V, m.size)
		}
	}
	m.young[key] = v
}
