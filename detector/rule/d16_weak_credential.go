package rule

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of D16.
const (
	// MaxKeyAge is how old a static key may grow.
	MaxKeyAge = 90 * 24 * time.Hour
	// veryOld is the age from which it counts twice.
	veryOld = 365 * 24 * time.Hour
)

// SecretParameters are the names of query parameters, in lower case, that carry a
// secret by which a caller proves itself. Names that mean other things, too
// ("key", "token", "code"), and those of signed addresses, which carry a key's
// id and no secret, are not among them.
var SecretParameters = []string{
	"access_token", "api-key", "api_key", "api_token", "apikey", "apitoken", "auth_token", "authtoken", "bearer_token", "client_secret",
	"id_token", "ocp-apim-subscription-key", "private_token", "subscription-key", "x-api-key",
}

// Exposure says that accepted calls of a principal had a parameter of
// [SecretParameters] in their address. First and Last are the times of the
// earliest and the latest.
type Exposure struct {
	Hash               schema.PrincipalHash
	Service, Parameter string
	First, Last        time.Time
}

// Lasting is an instance of a credential (one key, one token) that was accepted
// for a long time: First and Last are the earliest and the latest call with it.
type Lasting struct {
	Hash        schema.PrincipalHash
	Instance    string
	First, Last time.Time
}

// weakRule is D16: what the calls and the catalogue prove about how a credential
// is made and carried, whoever uses it.
type weakRule struct {
	base
	fold
	done
	// seen is when each principal was accepted, before the window too.
	seen      map[schema.PrincipalHash]*fold
	inside    map[schema.PrincipalHash]bool
	places    map[schema.PrincipalHash]map[string]struct{}
	exposures []Exposure
	lasting   []Lasting
}

func (r *weakRule) use(u *Use) {
	if !r.take(&u.Row) {
		return
	}
	r.inside[u.Hash] = true
	r.fold.add(u, Selector{Hash: u.Hash, Service: u.Service, Operation: u.Operation, Decisions: accepted, From: u.First, To: u.First})
	r.done.add(u)
	if env := r.environment(u.Service); env != "" && u.Decision.Authorised() {
		if r.places[u.Hash] == nil {
			r.places[u.Hash] = map[string]struct{}{}
		}
		r.places[u.Hash][env] = struct{}{}
	}
}

// take notes when a principal was accepted; false says that the row does not
// count.
func (r *weakRule) take(row *Row) bool {
	if !slices.Contains(accepted, row.Decision) || !row.Certain || !r.concerns() || local(row.Service) {
		return false
	}
	if r.seen == nil {
		r.seen, r.inside = map[schema.PrincipalHash]*fold{}, map[schema.PrincipalHash]bool{}
		r.places = map[schema.PrincipalHash]map[string]struct{}{}
	}
	one := r.seen[row.Hash]
	if one == nil {
		one = &fold{}
		r.seen[row.Hash] = one
	}
	one.widen(row.First, row.Last)
	return true
}

// concerns leaves out people: their passwords and tokens are another matter.
// Whose password an undeclared one is cannot be seen.
func (r *weakRule) concerns() bool {
	if d := r.subject.Declared; d != nil {
		return d.Kind != callerHuman && (d.Kind != "" || r.subject.Machine() || r.password())
	}
	return r.subject.Identifies() && r.subject.Machine()
}

// password reports whether one of the subject's principals is a user with a
// password.
func (r *weakRule) password() bool { return slices.Contains(r.subject.Kinds(), schema.KindBasic) }

// local reports whether a service is the caller's own machine: what is tried
// there is carried nowhere.
func local(service string) bool {
	host := service
	if i := strings.LastIndexByte(host, ':'); i > 0 && !strings.HasSuffix(host, "]") && strings.Count(host, ":") == 1 {
		host = host[:i]
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// WantsExposures returns the principals whose addresses D16 must see. Call it
// after all uses.
func (s *Set) WantsExposures() (hashes []schema.PrincipalHash) {
	for _, p := range s.weak.principals() {
		switch p.Kind {
		case schema.KindAPIKey, schema.KindOAuthClient, schema.KindUserToken, schema.KindBasic, schema.KindUnknown:
			hashes = append(hashes, p.Hash)
		}
	}
	return hashes
}

// Exposure takes one of those.
func (s *Set) Exposure(e *Exposure) {
	if !local(e.Service) {
		s.weak.exposures = append(s.weak.exposures, *e)
	}
}

// WantsLasting returns the principals of which D16 must see the instances that
// were accepted for longer than the time it returns. Call it after all uses.
func (s *Set) WantsLasting() (hashes []schema.PrincipalHash, over time.Duration) {
	over = MaxKeyAge
	d := s.subject.Declared
	if d != nil && d.MaxTokenLifetime > 0 {
		over = min(over, d.MaxTokenLifetime+skew)
	}
	for _, p := range s.weak.principals() {
		if p.Kind == schema.KindCloudKey || d != nil && d.MaxTokenLifetime > 0 && tokenKind(p.Kind) {
			hashes = append(hashes, p.Hash)
		}
	}
	return hashes, over
}

// Lasting takes one of those.
func (s *Set) Lasting(l *Lasting) { s.weak.lasting = append(s.weak.lasting, *l) }

// tokenKind reports whether the instances of a kind are single tokens, each with
// a life of its own.
func tokenKind(k schema.CredentialKind) bool {
	switch k {
	case schema.KindOAuthClient, schema.KindUserToken, schema.KindServiceAccount, schema.KindRoleSession:
		return true
	}
	return false
}

// principals are those that were accepted in the window.
func (r *weakRule) principals() (list []*Principal) {
	for i := range r.subject.Principals {
		if p := &r.subject.Principals[i]; r.inside[p.Hash] {
			list = append(list, p)
		}
	}
	return list
}

// weakness is one thing that is weak: what names it, the same for all
// credentials, why is the sentence.
type weakness struct {
	what, why string
	points    int
}

func (r *weakRule) finish(out *Result) {
	if r.subject.Declared == nil && r.password() && !r.concerns() {
		out.Withheld = append(out.Withheld, Withheld{WeakCredential, r.subject.Name, "the password", "it is not declared, and may be a person's"})
	}
	list := slices.Concat(r.passwords(), r.addresses(), r.ages(), r.lifetimes(), r.environments())
	if len(list) == 0 {
		return
	}
	f := r.open(WeakCredential)
	r.fold.close(&f)
	if services := sortedKeys(r.services); len(services) == 1 {
		f.Service = services[0]
		f.Environment = r.environment(f.Service)
	}
	var what []string
	var w weight
	for _, one := range list {
		if !slices.Contains(what, one.what) {
			what = append(what, one.what)
			w.add(one.points, one.what)
		}
		f.Reasons = append(f.Reasons, one.why)
	}
	f.Evidence.Seen = what
	f.Title = fmt.Sprintf("%s is weak: %s", r.subject.Name, strings.Join(what, ", "))
	if slices.ContainsFunc(sortedKeys(r.services), func(s string) bool { return isProduction(r.environment(s)) }) {
		w.add(1, "used in production")
	}
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityMedium)
	f.Confidence = 0.95
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: what calls and catalogue say is certain, and the credential was accepted", f.Confidence))
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential}))
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: r.evidence()})
}

// evidence prefers the calls that show a weakness to any others.
func (r *weakRule) evidence() []Selector {
	var want earliest
	for _, e := range r.exposures {
		for _, at := range []time.Time{e.First, e.Last} {
			want.add(Selector{Hash: e.Hash, Service: e.Service, Decisions: accepted, From: at, To: at})
		}
	}
	for _, l := range r.lasting {
		for _, at := range []time.Time{l.First, l.Last} {
			want.add(Selector{Hash: l.Hash, Decisions: accepted, From: at, To: at})
		}
	}
	if len(want.list) == 0 {
		return r.want.cut()
	}
	return want.cut()
}

// passwords: the same secret with every call.
func (r *weakRule) passwords() []weakness {
	if !slices.ContainsFunc(r.principals(), func(p *Principal) bool { return p.Kind == schema.KindBasic }) {
		return nil
	}
	return []weakness{{"a password", "it proves itself with user name and password (basic authentication), which every call carries and whoever reads one call has", 1}}
}

// addresses: a secret in the address is in every log on the way.
func (r *weakRule) addresses() []weakness {
	byName := map[string]*fold{}
	services := map[string]map[string]struct{}{}
	for _, e := range r.exposures {
		if byName[e.Parameter] == nil {
			byName[e.Parameter], services[e.Parameter] = &fold{}, map[string]struct{}{}
		}
		byName[e.Parameter].widen(e.First, e.Last)
		services[e.Parameter][e.Service] = struct{}{}
	}
	var list []weakness
	for _, name := range sortedKeys(byName) {
		list = append(list, weakness{"a secret in the URL", fmt.Sprintf("its calls to %s carry the parameter %q in the URL, which logs, proxies and browsers keep: from %s to %s",
			some(sortedKeys(services[name]), 3), name, stamp(byName[name].first), stamp(byName[name].last)), 2})
	}
	return list
}

// ages: static keys that were not changed for long.
func (r *weakRule) ages() []weakness {
	var list []weakness
	oldest := time.Duration(0)
	grow := func(since, until time.Time, why string) {
		if age := until.Sub(since); age > MaxKeyAge {
			oldest = max(oldest, age)
			list = append(list, weakness{"an old static key", fmt.Sprintf(why, stamp(since), span(age)), 0})
		}
	}
	if d := r.subject.Declared; d != nil && !d.Issued.IsZero() && slices.ContainsFunc(r.principals(), func(p *Principal) bool { return static(p.Kind) }) {
		grow(d.Issued, r.last, "the catalogue says that it was issued at %s, and it was used %s later")
	}
	for _, p := range r.principals() {
		// An id that is a fingerprint of the secret, or the key's own, changes
		// when the secret does.
		if fingerprinted(p) {
			grow(r.seen[p.Hash].first, r.seen[p.Hash].last, "the same key was seen from %s on, and "+p.ID+" was still used %s later")
		}
	}
	for _, l := range r.lasting {
		if r.kind(l.Hash) == schema.KindCloudKey {
			grow(l.First, l.Last, "the same key was seen from %s on, and "+l.Instance+" was still used %s later")
		}
	}
	if oldest > veryOld {
		for i := range list {
			list[i].points = 1
		}
	}
	slices.SortFunc(list, func(a, b weakness) int { return strings.Compare(a.why, b.why) })
	return list
}

// static reports whether secrets of a kind stay until somebody changes them.
func static(k schema.CredentialKind) bool {
	return k == schema.KindAPIKey || k == schema.KindBasic || k == schema.KindCloudKey
}

func fingerprinted(p *Principal) bool {
	return p.Kind == schema.KindAPIKey && strings.HasPrefix(p.ID, "hmac:") || p.Kind == schema.KindCloudKey && strings.HasPrefix(p.ID, "AKIA")
}

// lifetimes: tokens that live longer than they may.
func (r *weakRule) lifetimes() []weakness {
	d := r.subject.Declared
	if d == nil || d.MaxTokenLifetime == 0 {
		return nil
	}
	n, longest := 0, Lasting{}
	for _, l := range r.lasting {
		// Clocks may disagree.
		if !tokenKind(r.kind(l.Hash)) || l.Last.Sub(l.First) <= d.MaxTokenLifetime+skew {
			continue
		}
		n++
		a, b := l.Last.Sub(l.First), longest.Last.Sub(longest.First)
		if n == 1 || a > b || a == b && l.Instance < longest.Instance {
			longest = l
		}
	}
	if n == 0 {
		return nil
	}
	return []weakness{{"tokens that live too long", fmt.Sprintf("%s accepted for longer than the %s that the catalogue allows, the longest from %s on for %s",
		count(n, "token")+wasWere(n), span(d.MaxTokenLifetime), stamp(longest.First), span(longest.Last.Sub(longest.First))), 1}}
}

func wasWere(n int) string {
	if n == 1 {
		return " was"
	}
	return " were"
}

// environments: one secret on both sides of the boundary of production.
func (r *weakRule) environments() []weakness {
	if d := r.subject.Declared; d != nil && d.Approved != nil && len(d.Approved.Environments) > 1 {
		return nil
	}
	for _, p := range r.principals() {
		if p.Kind != schema.KindAPIKey && !fingerprinted(p) {
			continue // the name of a client, a user or a workload is no secret
		}
		production, other := "", ""
		for _, env := range sortedKeys(r.places[p.Hash]) {
			switch {
			case isProduction(env):
				production = env
			case !everywhere(env):
				other = env
			}
		}
		if production != "" && other != "" {
			return []weakness{{"one secret in two environments", fmt.Sprintf("the same key (%s) is accepted in %s and in %s, so whoever reads it there has it here", p.ID, production, other), 2}}
		}
	}
	return nil
}

// everywhere reports whether an environment stands for all of them.
func everywhere(environment string) bool {
	switch strings.ToLower(environment) {
	case "shared", "global", "common", "all", "any", "management", "mgmt":
		return true
	}
	return false
}

// Weaknesses turns the findings of D16 into one, for when there is no catalogue
// that could own any of the credentials. It returns false where there is nothing
// to sum up.
func Weaknesses(drafts []Draft) (Draft, bool) {
	if len(drafts) == 0 {
		return Draft{}, false
	}
	one, _ := sum(WeakCredential, drafts)
	f := &one.Finding
	f.Title = fmt.Sprintf("%s weak; without a catalogue nobody is known to own %s", count(len(drafts), "credential")+areIs(len(drafts)), itThem(len(drafts)))
	kinds := map[string]int{}
	for i := range drafts {
		for _, what := range drafts[i].Finding.Evidence.Seen {
			kinds[what]++
		}
	}
	for _, what := range sortedKeys(kinds) {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s: %s", what, count(kinds[what], "credential")))
	}
	for i := range drafts {
		if len(f.Reasons) > 20 {
			f.Reasons = append(f.Reasons, fmt.Sprintf("and %d more", len(drafts)-i))
			break
		}
		f.Reasons = append(f.Reasons, drafts[i].Finding.Title)
	}
	f.Reasons = append(f.Reasons, "severity low: an inventory, not an accusation", "confidence 0.95: what the calls show is certain, and each of them was accepted")
	f.Next = commands(f, "scopedrift credentials", "scopedrift check catalog PATH")
	return one, true
}

func areIs(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}
