package rule

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of D13.
const (
	// LineageDays is how long an issuer must be known before a new product of
	// its is news.
	LineageDays = 10
	// MaxDepth is how often a credential may be issued for another, one after
	// the other, before the chain is long.
	MaxDepth = 3
	// QuickUse is within what time of its issue a key used elsewhere was hardly
	// deployed by hand.
	QuickUse = 15 * time.Minute
	// routineDays is on how many days before an issuer must have issued lasting
	// keys for that to be its work.
	routineDays = 3
	// noveltyP is how probable a new product may be at most, by the issuer's own
	// rate of new ones, to be news.
	noveltyP = 0.05
)

// identityScopes are those of OpenID Connect that open no API.
var identityScopes = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

// Issue is lineages of one issuer and one user.
type Issue struct {
	Minter, Minted *Subject
	Lineages       []Lineage
	// Mint and Use are the first issue of a lasting credential and its first use,
	// where they were looked up.
	Mint, Use *Step
}

// first returns the time of the first issue.
func (i *Issue) first() time.Time {
	return slices.MinFunc(i.Lineages, func(a, b Lineage) int { return a.First.Compare(b.First) }).First
}

func (i *Issue) last() time.Time {
	return slices.MaxFunc(i.Lineages, func(a, b Lineage) int { return a.Last.Compare(b.Last) }).Last
}

// Ancestry says what is wrong with how credentials were issued (D13).
type Ancestry struct {
	env *Env
	// issues are in order of the names of issuer and user.
	issues []Issue
	out    Result
}

// NewAncestry groups lineages by the names of issuer and user. Whoever was not
// seen in the window has no name, and still counts as known to the issuer.
func NewAncestry(env *Env, lineages []Lineage, subject func(schema.PrincipalHash) *Subject) *Ancestry {
	a := &Ancestry{env: env}
	at := map[[2]string]int{}
	for _, l := range lineages {
		minter, minted := subject(l.Minter), subject(l.Minted)
		if minted == nil {
			minted = &Subject{Name: l.Minted.String()}
		} else if !minted.Identifies() {
			continue
		}
		if minter == nil || !minter.Identifies() {
			continue
		}
		key := [2]string{minter.Name, minted.Name}
		n, ok := at[key]
		if !ok {
			n = len(a.issues)
			at[key] = n
			a.issues = append(a.issues, Issue{Minter: minter, Minted: minted})
		}
		a.issues[n].Lineages = append(a.issues[n].Lineages, l)
	}
	for i := range a.issues {
		slices.SortFunc(a.issues[i].Lineages, func(x, y Lineage) int {
			return cmp.Or(x.First.Compare(y.First), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Operation, y.Operation), slices.Compare(x.Minter[:], y.Minter[:]),
				slices.Compare(x.Minted[:], y.Minted[:]), slices.Compare(x.Input, y.Input), slices.Compare(x.Output, y.Output), cmp.Compare(x.Example, y.Example))
		})
	}
	slices.SortFunc(a.issues, func(x, y Issue) int {
		return cmp.Or(strings.Compare(x.Minter.Name, y.Minter.Name), strings.Compare(x.Minted.Name, y.Minted.Name))
	})
	return a
}

// Lasting returns the issues of lasting credentials that were used at once, for
// which the single calls are to be looked up.
func (a *Ancestry) Lasting() []*Issue {
	var list []*Issue
	for i := range a.issues {
		if l := a.issues[i].lasting(); l != nil && a.env.Window.Contains(l.First) && l.Used.Sub(l.First) <= QuickUse {
			list = append(list, &a.issues[i])
		}
	}
	return list
}

// lasting returns the first issue of a lasting credential.
func (i *Issue) lasting() *Lineage {
	for k := range i.Lineages {
		if i.Lineages[k].LongLived {
			return &i.Lineages[k]
		}
	}
	return nil
}

// Finish returns what was found, with the chains that issues form.
func (a *Ancestry) Finish(chains []ChainLink, subject func(schema.PrincipalHash) *Subject) Result {
	for i := range a.issues {
		issue := &a.issues[i]
		a.widening(issue)
		a.newPair(issue)
		a.lastingKey(issue)
	}
	a.deep(chains, subject)
	return a.out
}

// excused reports whether an approved change covers an issue, and notes it.
func (a *Ancestry) excused(issue *Issue, l *Lineage) bool {
	act := a.env.actOf(&Step{Service: l.Service, Operation: l.Operation, Time: l.First})
	act.Last = l.Last
	c := a.env.Changed(issue.Minter, act)
	if c == nil {
		c = a.env.Changed(issue.Minted, act)
	}
	if c != nil {
		withhold(&a.out, Withheld{TokenLineage, issue.Minter.Name, "a credential for " + issue.Minted.Name, "the approved change " + c.ID + " covers it"})
	}
	return c != nil
}

// begin begins a finding of D13 with what all have.
func (a *Ancestry) begin(of *Subject, issue *Issue, object ...string) (base, schema.Finding) {
	b := base{env: a.env, subject: of}
	f := b.open(TokenLineage, object...)
	if issue != nil {
		l := &issue.Lineages[0]
		f.First, f.Last, f.Service, f.Operation = issue.first(), issue.last(), l.Service, l.Operation
		f.Environment = b.environment(l.Service)
	}
	return b, f
}

// end completes a finding: its way, the calls that prove it, and commands.
func (a *Ancestry) end(f schema.Finding, lineages []Lineage, subject func(*Lineage) (minter, minted string)) {
	var want earliest
	days := map[schema.Day]bool{}
	for i := range lineages {
		l := &lineages[i]
		minter, minted := subject(l)
		if len(f.Evidence.Path) < maxHops {
			f.Evidence.Path = append(f.Evidence.Path, fmt.Sprintf("%d. %s  %s called %s%s and obtained a credential used as %s [tier 1: %s]",
				len(f.Evidence.Path)+1, stamp(l.First), minter, l.Operation, onService(l.Service), minted, TierSigned))
			f.Evidence.Hops = append(f.Evidence.Hops, schema.Hop{Kind: "mint", Tier: int(TierSigned), Time: l.First, From: minter, To: minted, Credential: minter, Operation: l.Operation})
		}
		for _, d := range l.Days {
			days[d] = true
		}
		want.add(Selector{Hash: l.Minter, Service: l.Service, Operation: l.Operation, Decisions: []schema.Decision{schema.DecisionAllowed}, From: l.First, To: l.First})
		want.add(Selector{Hash: l.Minted, Decisions: accepted, From: l.Used, To: l.Used})
	}
	f.Calls = uint64(len(lineages))
	f.Reasons = append(f.Reasons, fmt.Sprintf("seen on %s, first at %s", count(len(days), "day"), stamp(f.First)))
	f.Next = commands(&f, "scopedrift investigate "+string(f.ID), callsOf(&schema.Finding{Credential: f.Credential})+since(f.First))
	a.out.Drafts = append(a.out.Drafts, Draft{Finding: f, Want: want.cut()})
}

// within keeps the lineages of an issue in the window.
func (a *Ancestry) within(issue *Issue, keep func(*Lineage) bool) []Lineage {
	var list []Lineage
	for i := range issue.Lineages {
		l := &issue.Lineages[i]
		if !l.Last.Before(a.env.Window.From) && keep(l) {
			list = append(list, *l)
		}
	}
	return list
}

func pairNames(issue *Issue) func(*Lineage) (string, string) {
	return func(*Lineage) (string, string) { return issue.Minter.Name, issue.Minted.Name }
}

// widening is the hard rule: what was issued presents more than what it was
// issued for did, and the catalogue gives the difference to neither of the two.
func (a *Ancestry) widening(issue *Issue) {
	extra := map[string]struct{}{}
	input := map[string]struct{}{}
	list := a.within(issue, func(l *Lineage) bool {
		if len(l.Input) == 0 || len(l.Output) == 0 {
			return false // what is not told cannot be compared
		}
		found := false
		for _, out := range l.Output {
			if !slices.Contains(identityScopes, out) && !a.covered(l.Input, out) && !a.grantedTo(issue.Minter, out, l.Used) && !a.grantedTo(issue.Minted, out, l.Used) {
				extra[out], found = struct{}{}, true
			}
		}
		if found {
			for _, in := range l.Input {
				input[in] = struct{}{}
			}
		}
		return found
	})
	if len(list) == 0 {
		return
	}
	_, f := a.begin(issue.Minted, issue, "widening", issue.Minter.Name)
	f.Title = fmt.Sprintf("a token that %s obtained presents %s, which the token it was issued for did not hold", issue.Minter.Name, some(sortedKeys(extra), 3))
	f.Evidence.Granted, f.Evidence.Seen = sortedKeys(input), sortedKeys(extra)
	f.Severity, f.Confidence = schema.SeverityHigh, 0.85
	f.Reasons = []string{
		"issued for a token with " + some(sortedKeys(input), 8),
		"what was issued presents besides: " + some(sortedKeys(extra), 8),
		"the catalogue gives that to neither of the two",
		"severity high: an exchange must not widen",
		"confidence 0.85: both tokens show their scopes, and the issued one was accepted",
	}
	a.end(f, list, pairNames(issue))
}

// covered reports whether one of the scopes is the needed one, implies it, or
// covers it as a pattern, in whichever dialect.
func (a *Ancestry) covered(held []string, needed string) bool {
	seen := map[string]bool{}
	queue := slices.Clone(held)
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if seen[s] {
			continue
		}
		seen[s] = true
		for _, d := range [...]schema.Dialect{schema.DialectFlat, schema.DialectWildcard, schema.DialectURL} {
			if compare.Covers(d, s, needed) {
				return true
			}
		}
		queue = append(queue, a.env.Catalog.Scopes[s].Implies...)
	}
	return false
}

// grantedTo reports whether the catalogue gives a subject a scope at a time.
func (a *Ancestry) grantedTo(s *Subject, scope string, at time.Time) bool {
	if s.Declared == nil {
		return false
	}
	return slices.ContainsFunc(s.Declared.Grants, func(g schema.Grant) bool {
		return g.Effect == schema.EffectAllow && !at.Before(g.From) && (g.To.IsZero() || at.Before(g.To)) && a.covered(g.Scopes, scope)
	})
}

// newPair is a score: an issuer that is known for long issues a credential to
// somebody for the first time, which it seldom does.
func (a *Ancestry) newPair(issue *Issue) {
	first := issue.first()
	if issue.Minter == issue.Minted || !issue.Minter.Machine() || !a.env.Window.Contains(first) {
		return
	}
	var since time.Time
	var others []time.Time
	known := []string{}
	for i := range a.issues {
		o := &a.issues[i]
		if o.Minter != issue.Minter {
			continue
		}
		at := o.first()
		if since.IsZero() || at.Before(since) {
			since = at
		}
		if o.Minted != issue.Minted && at.Before(first) {
			others = append(others, at)
			if len(o.Minted.Principals) > 0 {
				known = append(known, o.Minted.Name)
			}
		}
	}
	for i := range issue.Minter.Principals {
		if seen := issue.Minter.Principals[i].First; seen.Before(since) {
			since = seen
		}
	}
	days := first.Sub(since).Hours() / 24
	if days < LineageDays {
		return
	}
	fresh := 0 // the first day's are what it was known with
	for _, at := range others {
		if at.Sub(since) > 24*time.Hour {
			fresh++
		}
	}
	p := 1 - math.Exp(-(float64(fresh)+0.5)/days)
	if p > noveltyP {
		a.out.Withheld = append(a.out.Withheld, Withheld{TokenLineage, issue.Minter.Name, "a credential for " + issue.Minted.Name,
			"it issues credentials for somebody new often enough"})
		return
	}
	if a.excused(issue, &issue.Lineages[0]) {
		return
	}
	b, f := a.begin(issue.Minter, issue, "pair", issue.Minted.Name)
	f.Title = fmt.Sprintf("%s obtained a credential as %s for the first time", issue.Minter.Name, issue.Minted.Name)
	slices.Sort(known)
	f.Evidence.Usual, f.Evidence.Seen = known, []string{issue.Minted.Name}
	w := b.env.weigh(f.Service, f.Operation)
	f.Severity, f.Confidence = schema.SeverityMedium, 0.55
	f.Score = &schema.Score{Day: first.UTC().Format(time.DateOnly), Surprise: math.Round(-100*math.Log10(p)) / 100, Breadth: 0, Reach: w.points}
	f.Reasons = []string{
		fmt.Sprintf("known for %s; obtained credentials before as %s", count(int(days), "day"), some(known, 5)),
		fmt.Sprintf("a new one on a day has a probability of %.2f by its own rate", p),
		w.reason(f.Severity),
		"confidence 0.55: new is not wrong",
	}
	a.end(f, issue.Lineages[:1], pairNames(issue))
}

// lastingKey fires on a key that outlives the session it was made with, and on
// one that was used within minutes from elsewhere.
func (a *Ancestry) lastingKey(issue *Issue) {
	l := issue.lasting()
	if l == nil || !a.env.Window.Contains(l.First) {
		return
	}
	session := slices.Contains(issue.Minter.Kinds(), schema.KindRoleSession)
	elsewhere := issue.Mint != nil && issue.Use != nil && apart(issue.Mint, issue.Use)
	if !session && !elsewhere {
		return
	}
	days := map[schema.Day]bool{}
	for i := range a.issues {
		if o := &a.issues[i]; o.Minter == issue.Minter {
			for k := range o.Lineages {
				if o.Lineages[k].LongLived {
					for _, d := range before(o.Lineages[k].Days, schema.DayOf(l.First)) {
						days[d] = true
					}
				}
			}
		}
	}
	if len(days) >= routineDays {
		a.out.Withheld = append(a.out.Withheld, Withheld{TokenLineage, issue.Minter.Name, "a lasting key for " + issue.Minted.Name, "issuing such keys is its work"})
		return
	}
	if a.excused(issue, l) {
		return
	}
	b, f := a.begin(issue.Minted, issue, "key", issue.Minter.Name)
	f.First, f.Last, f.Service, f.Operation = l.First, l.Last, l.Service, l.Operation
	w := b.env.weigh(f.Service, f.Operation)
	f.Severity, f.Confidence = schema.SeverityMedium, 0.6
	f.Title = fmt.Sprintf("%s made the lasting key %s", issue.Minter.Name, issue.Minted.Name)
	if session {
		f.Title = fmt.Sprintf("a session of %s made the key %s, which outlives it", issue.Minter.Name, issue.Minted.Name)
		f.Reasons = append(f.Reasons, "the issuer is a session, and what it issued is not bound to its end")
	}
	if elsewhere {
		f.Title += fmt.Sprintf("; it was used from elsewhere %s later", span(l.Used.Sub(l.First)))
		f.Reasons = append(f.Reasons, fmt.Sprintf("made from %s, used from %s", seatOr(issue.Mint), seatOr(issue.Use)))
		f.Evidence.Usual, f.Evidence.Seen = []string{seatOr(issue.Mint)}, []string{seatOr(issue.Use)}
		f.Confidence = 0.7
	}
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: the answer names the key; whether it was wanted it does not", f.Confidence))
	a.end(f, []Lineage{*l}, pairNames(issue))
}

func seatOr(s *Step) string { return cmp.Or(s.Seat(), "a place the log does not tell") }

// apart reports whether two steps surely came from different networks and
// workloads.
func apart(a, b *Step) bool {
	if a.Workload != "" && b.Workload != "" {
		return baseWorkload(a.Workload) != baseWorkload(b.Workload)
	}
	return a.Address.IsValid() && b.Address.IsValid() && network(a.Address) != network(b.Address)
}

// network is the neighbourhood of an address: /24, or /64 of version 6.
func network(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // both lengths are valid for their version
	return p
}

// deep fires on chains of issues that are longer than any before.
func (a *Ancestry) deep(chains []ChainLink, subject func(schema.PrincipalHash) *Subject) {
	depth := map[string]int{}
	from := map[string]*ChainLink{}
	goesOn := map[string]bool{}
	longest, learned := 0, time.Time{}
	deepest := map[*Subject]*ChainLink{}
	for i := range chains {
		goesOn[chains[i].Instance] = true
	}
	for i := range chains { // in order of time
		c := &chains[i]
		d := depth[c.Instance] + 1
		if d > depth[c.Minted] {
			depth[c.Minted], from[c.Minted] = d, c
		}
		s := subject(c.Minter)
		routine := d <= longest && c.Time.Sub(learned) > 24*time.Hour
		if d > longest {
			longest, learned = d, c.Time
		}
		if d <= MaxDepth || routine || goesOn[c.Minted] || s == nil || !s.Identifies() || !a.env.Window.Contains(c.Time) {
			continue
		}
		if best := deepest[s]; best == nil || d > depth[best.Minted] {
			deepest[s] = c
		}
	}
	names := make([]*Subject, 0, len(deepest))
	for s := range deepest {
		names = append(names, s)
	}
	slices.SortFunc(names, func(x, y *Subject) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range names {
		a.chain(s, deepest[s], depth[deepest[s].Minted], from, subject)
	}
}

// chain draws a deep chain.
func (a *Ancestry) chain(s *Subject, last *ChainLink, depth int, from map[string]*ChainLink, subject func(schema.PrincipalHash) *Subject) {
	var links []*ChainLink
	for c := last; c != nil && len(links) < maxHops; c = from[c.Instance] {
		if slices.Contains(links, c) {
			break
		}
		links = append(links, c)
	}
	slices.Reverse(links)
	b, f := a.begin(s, nil, "depth")
	f.First, f.Last, f.Service, f.Operation, f.Calls = links[0].Time, last.Time, last.Service, last.Operation, uint64(len(links))
	f.Environment = b.environment(f.Service)
	f.Title = fmt.Sprintf("%s obtained a credential at the end of a chain of %d", s.Name, depth)
	f.Severity, f.Confidence = schema.SeverityMedium, 0.6
	f.Reasons = []string{fmt.Sprintf("each key of the chain was issued to the holder of the one before; %d is more than %d, and no longer one was seen before", depth, MaxDepth),
		"severity medium: a long chain hides who acts", "confidence 0.60: every link is an answer that was seen"}
	var want earliest
	for i, c := range links {
		name := nameOf(subject(c.Minter))
		f.Evidence.Path = append(f.Evidence.Path, fmt.Sprintf("%d. %s  %s called %s%s and obtained a further credential [tier 1: %s]", i+1, stamp(c.Time), name, c.Operation, onService(c.Service), TierSigned))
		f.Evidence.Hops = append(f.Evidence.Hops, schema.Hop{Kind: "mint", Tier: int(TierSigned), Time: c.Time, From: name, To: c.Minted, Credential: name, Operation: c.Operation})
		want.add(Selector{Hash: c.Minter, Service: c.Service, Operation: c.Operation, Decisions: []schema.Decision{schema.DecisionAllowed}, From: c.Time, To: c.Time})
	}
	f.Next = commands(&f, "scopedrift investigate "+string(f.ID), callsOf(&schema.Finding{Credential: f.Credential})+since(f.First))
	a.out.Drafts = append(a.out.Drafts, Draft{Finding: f, Want: want.cut()})
}
