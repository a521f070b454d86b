package rule

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of bindings.
const (
	// SessionBinding is how long after its last call a session is bound to where it
	// was used: no session of a cloud outlives it.
	SessionBinding = 12 * time.Hour
	// KeyBinding is how far back the habits of long-lived keys are looked for.
	KeyBinding = 90 * 24 * time.Hour
	// settledSlots is in how many slots an address must have been the only one
	// before another one means anything: of a pool of two ways out, used alike, both
	// are seen by then but once in 4096 times.
	settledSlots = 12
	// habitDays and habitSpan are the days of use, over how many days, that must be
	// known of a key before where it is used is a habit: two of each weekday's kind.
	habitDays, habitSpan = 7, 14
	// stillDays is for how many days a key must not have been used from a new
	// network: of one that always is, a new one says nothing.
	stillDays = 7
	// maxHaunts is from how many places with how many clients something may be used
	// and still be at home somewhere.
	maxHaunts = 256
	maxPods   = 65536
	// sharedAge is since when others must have used a way out for it to be shared
	// rather than a thief's.
	sharedAge = 7 * 24 * time.Hour
)

// binding is what a session, or the whole credential, is bound to.
type binding struct {
	hash    schema.PrincipalHash
	session string
	// pod is the workload that a Kubernetes token is bound to.
	pod    string
	haunts []*haunt
	byKey  map[hauntKey]*haunt
	// limit replaces maxHaunts where it is more; many says that there were more.
	limit int
	many  bool
}

func (b *binding) add(key hauntKey, v *Arrival) {
	if h := b.at(key); h != nil {
		h.add(v)
	}
}

// at returns the haunt of that key, nil once there are too many: then the
// binding keeps none.
func (b *binding) at(key hauntKey) *haunt {
	if b.many {
		return nil
	}
	h := b.byKey[key]
	if h == nil {
		if len(b.haunts) >= max(b.limit, maxHaunts) {
			b.haunts, b.byKey, b.many = nil, nil, true
			return nil
		}
		if b.byKey == nil {
			b.byKey = map[hauntKey]*haunt{}
		}
		h = &haunt{hauntKey: key}
		b.byKey[key] = h
		b.haunts = append(b.haunts, h)
	}
	return h
}

// suspect is a place that a session or key should not be used from.
type suspect struct {
	binding *binding
	// home is where it was used before, nil where only the client tells.
	home, stranger *haunt
	// What tells it apart: clientNew, workloadNew and desktopNew against all that
	// was seen before; networkNew at roaming ones, addressNew at instances.
	addressNew, clientNew, workloadNew, desktopNew bool
	// inside says that home was used while the stranger was, meets that both were
	// within minutes, excursion that it went on at home after a short absence.
	inside, meets, excursion bool
	instance                 bool
	// seat says that it is in a network that is home, at another workload; and
	// occupants are the machine credentials that had long been used there.
	seat      bool
	occupants []string
	// person is who used the stranger's address before, a person.
	person string
	// issued are the calls that issued its keys, by the machine credentials that
	// have long used its address.
	issued []Step
	by     []string
}

// instanceName is how the sessions of cloud instances are called.
var instanceName = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// isInstance reports whether a session is that of one machine, which has one
// address at a time.
func isInstance(session string) bool {
	if i := strings.LastIndexByte(session, '/'); i >= 0 {
		session = session[i+1:]
	}
	return instanceName.MatchString(session)
}

// boundRule is the learned half of D06: sessions and keys that are used away
// from where they were before.
type boundRule struct {
	base
	kinds map[schema.PrincipalHash]schema.CredentialKind
	// current is the binding that arrivals are being added to; arrivals of one session
	// follow each other.
	current *binding
	// kept are bindings with more than one place, or with an odd client.
	kept []*binding
	// begins says at which public addresses which sessions began; two are enough to
	// know a common way out.
	begins map[netip.Addr][]string
	// onDesktop are sessions of instances that began on a desktop system.
	onDesktop []string
	// habit holds the haunts of keys without sessions.
	habit    map[schema.PrincipalHash]*binding
	suspects []*suspect
	settled  bool
	// nowhere says that a key or session was used from too many places to be at
	// home anywhere.
	nowhere bool
	// declared is the half that the catalogue tells, and has said.
	declared *originRule
}

// wants reports whether where the subject calls from is to be learned.
func (r *boundRule) wants() bool { return r.subject.Identifies() && len(r.subject.Principals) > 0 }

func (r *boundRule) arrival(v *Arrival) {
	if provider(v.Agent) || provider(v.Workload) || !v.Address.IsValid() && v.Workload == "" {
		return
	}
	if r.current != nil && (r.current.hash != v.Hash || r.current.session != v.Session) {
		r.end()
	}
	if r.current == nil {
		r.current = &binding{hash: v.Hash, session: v.Session}
		if r.kind(v.Hash) == schema.KindServiceAccount {
			r.current.limit = maxPods // each has a token of its own
		}
	}
	key := keyOfArrival(v)
	if r.kind(v.Hash) == schema.KindServiceAccount {
		key.workload = v.Workload // whole, since a token of a pod is bound to that one
	}
	r.current.add(key, v)
}

// podOf names the pod that a haunt is of, "" where the workload's name is not that
// of one replica.
func podOf(s *haunt) string {
	if baseWorkload(s.workload) == s.workload {
		return ""
	}
	return s.workload
}

func (r *boundRule) kind(h schema.PrincipalHash) schema.CredentialKind {
	if r.kinds == nil {
		r.kinds = map[schema.PrincipalHash]schema.CredentialKind{}
		for i := range r.subject.Principals {
			r.kinds[r.subject.Principals[i].Hash] = r.subject.Principals[i].Kind
		}
	}
	return r.kinds[h]
}

// end closes the open binding: most sessions were used from one place, and leave
// nothing but where they began.
func (r *boundRule) end() {
	b := r.current
	r.current = nil
	if b == nil {
		return
	}
	if b.many {
		r.nowhere = true
		return
	}
	for _, s := range b.haunts {
		s.close()
	}
	sortHaunts(b.haunts)
	kind := r.kind(b.hash)
	switch {
	case isInstance(b.session):
		r.begin(b)
		if desktopOnly(b) {
			r.onDesktop = append(r.onDesktop, b.session)
		}
		if len(b.haunts) > 1 || b.haunts[0].desktop {
			r.kept = append(r.kept, b)
		}
	case b.session != "" || kind == schema.KindSessionCookie:
		r.begin(b)
		if len(b.haunts) > 1 {
			r.kept = append(r.kept, b)
		}
	case kind == schema.KindServiceAccount:
		r.pods(b)
	case r.subject.Machine():
		r.learn(b)
	}
}

func desktopOnly(b *binding) bool {
	return !slices.ContainsFunc(b.haunts, func(s *haunt) bool { return !s.desktop })
}

// begin notes at which public addresses a session began: in each view, and of
// each version of addresses, the earliest.
func (r *boundRule) begin(b *binding) {
	if r.begins == nil {
		r.begins = map[netip.Addr][]string{}
	}
	seen := map[track]bool{}
	for _, s := range b.haunts {
		t := s.track()
		if seen[t] || !s.address.IsValid() {
			continue
		}
		seen[t] = true
		if names := r.begins[s.address]; public(s.address) && len(names) < 3 && !slices.Contains(names, b.session) {
			r.begins[s.address] = append(names, b.session)
		}
	}
}

// track is what may be compared: one view, one version of addresses, inside or
// outside.
type track struct {
	view       string
	v6, public bool
}

func (s *haunt) track() track { return track{s.view, s.address.Is6(), public(s.address)} }

// pods splits the calls of a service account by the pods that its tokens are
// bound to; what names no pod is a key like others.
func (r *boundRule) pods(b *binding) {
	byPod := map[string]*binding{}
	rest := &binding{hash: b.hash}
	for _, s := range b.haunts {
		pod := podOf(s)
		if pod == "" {
			rest.haunts = append(rest.haunts, s)
			continue
		}
		one := byPod[pod]
		if one == nil {
			one = &binding{hash: b.hash, pod: pod}
			byPod[pod] = one
		}
		one.haunts = append(one.haunts, s)
	}
	for _, pod := range sortedKeys(byPod) {
		if one := byPod[pod]; len(one.haunts) > 1 {
			r.kept = append(r.kept, one)
		}
	}
	if len(rest.haunts) > 0 && r.subject.Machine() {
		r.learn(rest)
	}
}

// learn adds to the habits of a key.
func (r *boundRule) learn(b *binding) {
	if r.habit == nil {
		r.habit = map[schema.PrincipalHash]*binding{}
	}
	h := r.habit[b.hash]
	if h == nil {
		h = &binding{hash: b.hash}
		r.habit[b.hash] = h
	}
	for _, s := range b.haunts {
		key := s.hauntKey
		key.address = netip.Addr{}
		if one := h.at(key); one != nil {
			one.fold(s)
		}
	}
	r.nowhere = r.nowhere || h.many
}

// settle finds the suspects, after all arrivals.
func (r *boundRule) settle() {
	if r.settled {
		return
	}
	r.settled = true
	r.end()
	for _, b := range r.kept {
		switch {
		case b.pod != "" || isInstance(b.session):
			r.instance(b)
		default:
			r.roaming(b)
		}
	}
	for _, h := range r.habit {
		for _, s := range h.haunts {
			s.close()
		}
		sortHaunts(h.haunts)
		r.habits(h)
	}
	r.suspects = slices.DeleteFunc(r.suspects, func(s *suspect) bool {
		// Where several instances run a desktop system, one more is no surprise.
		fleet := s.instance && !s.addressNew && len(r.onDesktop) > 2
		return s.stranger.last.Before(r.env.Window.From) || fleet
	})
	slices.SortFunc(r.suspects, func(a, b *suspect) int {
		return cmp.Or(slices.Compare(a.binding.hash[:], b.binding.hash[:]), cmp.Compare(a.binding.session, b.binding.session),
			cmp.Compare(a.binding.pod, b.binding.pod), a.stranger.first.Compare(b.stranger.first), a.stranger.address.Compare(b.stranger.address),
			compareHaunts(a.stranger, b.stranger))
	})
}

// declaredHome reports whether the catalogue says that the place is home, or
// away, which the declared half of D06 says.
func (r *boundRule) declaredHome(s *haunt) bool {
	d := r.subject.Declared
	if d == nil {
		return false
	}
	if r.declaredWorkload(s) {
		return true
	}
	return d.Approved != nil && d.Approved.Networks != nil && s.address.IsValid() && inside(d.Approved.Networks, s.address)
}

// instance judges a session of one machine, which has one address at a time.
func (r *boundRule) instance(b *binding) {
	byTrack := map[track][]*haunt{}
	var known []*haunt
	for _, s := range b.haunts {
		t := s.track()
		one := &suspect{binding: b, stranger: s, instance: true}
		one.desktopNew = s.desktop && !slices.ContainsFunc(known, func(o *haunt) bool { return o.desktop })
		one.clientNew = s.family != "" && len(known) > 0 && !slices.ContainsFunc(known, func(o *haunt) bool { return o.family == s.family })
		one.workloadNew = s.workload != "" && slices.ContainsFunc(known, func(o *haunt) bool { return o.workload != "" }) &&
			!slices.ContainsFunc(known, func(o *haunt) bool { return o.workload == s.workload })
		if (r.left(one, byTrack[t]) || one.desktopNew) && !r.declaredHome(s) {
			r.suspects = append(r.suspects, one)
			continue // what a thief does binds nothing
		}
		byTrack[t], known = append(byTrack[t], s), append(known, s)
	}
}

// left says whether a machine's session left the address it was bound to, given
// what was seen of it before.
func (r *boundRule) left(one *suspect, known []*haunt) bool {
	s := one.stranger
	one.home = lastBefore(known, s)
	if one.home == nil || !s.address.IsValid() || one.home.address == s.address ||
		slices.ContainsFunc(known, func(o *haunt) bool { return o.address == s.address }) {
		return false
	}
	if from := r.begins[s.address]; len(from) > 1 || len(from) == 1 && from[0] != one.binding.session && public(s.address) && public(one.home.address) &&
		len(r.begins[one.home.address]) > 1 {
		return false // a way out that sessions of this credential share
	}
	if public(s.address) && homeNetwork(s.address) == one.home.network && !one.clientNew && !one.desktopNew {
		return false // another address of one pool
	}
	one.addressNew = true
	for _, o := range known {
		if o.address == one.home.address {
			one.inside = one.inside || o.inside(s)
			one.meets = one.meets || o.meets(s)
			one.excursion = one.excursion || o.last.After(s.last) && s.slots[len(s.slots)-1]-s.slots[0] <= 2
		}
	}
	other := one.clientNew || one.workloadNew || one.desktopNew
	return other || settledAt(known, one.home.address, s.slots[0]) && (one.inside || one.excursion)
}

// lastBefore returns the haunt that was last used before another began, if that
// was not too long before to be bound to it.
func lastBefore(known []*haunt, s *haunt) *haunt {
	var home *haunt
	last := int32(-1)
	for _, o := range known {
		at, _ := slices.BinarySearch(o.slots, s.slots[0]+1)
		if at > 0 && o.slots[at-1] > last && o.first.Before(s.first) {
			home, last = o, o.slots[at-1]
		}
	}
	if home == nil || s.slots[0]-last > int32(SessionBinding/SlotLength) {
		return nil
	}
	return home
}

// settledAt reports whether an address was the only one for long enough before a
// slot.
func settledAt(known []*haunt, address netip.Addr, slot int32) bool {
	var at, elsewhere []int32
	for _, o := range known {
		end, _ := slices.BinarySearch(o.slots, slot)
		if o.address == address {
			at = append(at, o.slots[:end]...)
		} else {
			elsewhere = append(elsewhere, o.slots[:end]...)
		}
	}
	slices.Sort(at)
	at = slices.Compact(at)
	if len(at) < settledSlots {
		return false
	}
	from := at[len(at)-settledSlots]
	return !slices.ContainsFunc(elsewhere, func(s int32) bool { return s >= from })
}
