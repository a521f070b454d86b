package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of D02.
const (
	probeWindow     = time.Hour
	probeOperations = 4
	probeServices   = 2
	probeResources  = 3
	// stableDays of refusals make an operation a misconfiguration.
	stableDays = 7
)

// probingRule is D02: distinct operations, new for the credential, denied or
// out of its grant, over several services or kinds of resource, in an hour.
//
// An operation is new only if the very first call of it was such an attempt.
// Each operation therefore has one moment at which it counts, and the sliding
// hour runs over those moments: repeats, folds and orders do not matter.
type probingRule struct {
	base
	pools map[schema.PrincipalHash]*probePool
}

// probePool is who is counted together: the whole credential, or one user of an
// application.
type probePool struct {
	// first is the credential's earliest accepted call of any operation.
	first   time.Time
	subject string
	ops     map[Op]*attempt
}

// attempt is what a pool did with one operation.
type attempt struct {
	Op
	kind string
	// first is the earliest call that was answered, or was out of grant; one
	// refused for the credential itself is none. probe is the earliest that was
	// denied or out of grant, failed the earliest that only failed.
	first, probe, failed time.Time
	// old says that the operation was called before the window.
	old       bool
	days      daySet
	denied    bool
	beyond    bool
	learned   bool
	decisions map[schema.Decision]struct{}
	fold      fold
}

// pool returns the key under which a use is counted. Users of one application
// share its credential, and must not add up to one prober.
func pool(u *Use) schema.PrincipalHash {
	if u.Principal.Kind == schema.KindUserToken && u.Principal.Subject != "" {
		return u.Hash
	}
	return schema.PrincipalHash{}
}

func (r *probingRule) use(u *Use) {
	if u.Decision == schema.DecisionUnauthenticated || !r.subject.Identifies() {
		return
	}
	if r.pools == nil {
		r.pools = map[schema.PrincipalHash]*probePool{}
	}
	p := r.pools[pool(u)]
	if p == nil {
		p = &probePool{first: u.First, ops: map[Op]*attempt{}}
		if pool(u) != (schema.PrincipalHash{}) {
			p.subject = u.Principal.Subject
		}
		r.pools[pool(u)] = p
	}
	if u.First.Before(p.first) {
		p.first = u.First
	}
	op, kind := probed(u)
	a := p.ops[op]
	if a == nil {
		a = &attempt{Op: op, kind: kind, days: daySet{}, decisions: map[schema.Decision]struct{}{}}
		p.ops[op] = a
	}
	probing := u.Certain && (u.Decision == schema.DecisionDenied || u.Judgement.Holding == compare.Lacks)
	if probing {
		a.count(u)
	}
	earliest := &a.first
	if u.Decision == schema.DecisionError && !probing {
		earliest = &a.failed
	}
	if earliest.IsZero() || u.First.Before(*earliest) {
		*earliest = u.First
	}
}

// fresh reports whether the operation was new when it was probed. That it failed
// (was throttled) a moment before is part of the same try.
func (a *attempt) fresh() bool {
	return !a.probe.IsZero() && a.probe.Equal(a.first) && !a.old && (a.failed.IsZero() || a.probe.Sub(a.failed) <= probeWindow)
}

// count takes a use that was denied or out of grant.
func (a *attempt) count(u *Use) {
	if a.probe.IsZero() || u.First.Before(a.probe) {
		a.probe = u.First
	}
	if u.Decision == schema.DecisionDenied {
		a.denied = true
		for _, d := range u.Days {
			a.days[d] = struct{}{}
		}
	} else {
		a.beyond = true
	}
	a.learned = a.learned || u.RouteSource == schema.RouteLearned
	a.decisions[u.Decision] = struct{}{}
	// One call proves the attempt; its repeats would only crowd out the others.
	first := u.calls()
	first.To = first.From
	a.fold.add(u, first)
}

// probed returns the operation as D02 counts it, and the kind of resource it
// touches. A learned route may hold what is really a parameter, so of those
// only method and leading word count.
func probed(u *Use) (Op, string) {
	kind := resourceKind(u.Operation, u.RouteSource == schema.RouteLearned)
	op := Op{u.Service, u.Operation}
	if u.RouteSource == schema.RouteLearned {
		method, _, _ := strings.Cut(u.Operation, " ")
		op.Operation = method + " " + kind
	}
	return op, kind
}

// resourceKind tells from an operation's name what kind of thing it touches: the
// route up to its first parameter, the Kubernetes resource, the noun of a cloud
// action, the service of a gRPC method.
func resourceKind(operation string, learned bool) string {
	verb, rest, spaced := strings.Cut(operation, " ")
	switch {
	case spaced && strings.HasPrefix(rest, "/"):
		return routeKind(rest, learned)
	case spaced && verb == "tools/call" || verb == "query":
		return operation
	case spaced:
		kind, _, _ := strings.Cut(rest, "/")
		return kind
	case strings.HasPrefix(operation, "/"):
		if i := strings.LastIndexByte(operation, '/'); i > 0 {
			return operation[:i]
		}
		return operation
	}
	service, action, ok := strings.Cut(operation, ":")
	if !ok {
		return operation
	}
	// The noun begins at the second capital: ListBuckets, GetObjectAcl.
	for i := 1; i < len(action); i++ {
		if action[i] >= 'A' && action[i] <= 'Z' {
			return service + ":" + action[i:]
		}
	}
	return operation
}

func routeKind(route string, learned bool) string {
	var kept []string
	for _, segment := range strings.Split(strings.Trim(route, "/"), "/") {
		if strings.ContainsAny(segment, "{*") {
			break
		}
		kept = append(kept, segment)
		if learned && segment != "api" && !version(segment) {
			break
		}
	}
	return "/" + strings.Join(kept, "/")
}

// version reports whether a path segment is an API version such as v2.
func version(segment string) bool {
	return len(segment) > 1 && (segment[0] == 'v' || segment[0] == 'V') && segment[1] >= '0' && segment[1] <= '9'
}

// needsHistory reports whether somebody may be probing, so that it matters what
// was called before the window.
func (r *probingRule) needsHistory() bool {
	for _, p := range r.pools {
		if len(p.candidates()) >= probeOperations {
			return true
		}
	}
	return false
}

// before takes what a principal did before the window.
func (r *probingRule) before(h *History) {
	u := Use{Row: Row{Use: schema.Use{Service: h.Service, Operation: h.Operation, RouteSource: h.RouteSource}}}
	op, _ := probed(&u)
	for _, key := range []schema.PrincipalHash{h.Hash, {}} {
		p := r.pools[key]
		if p == nil {
			continue
		}
		if h.First.Before(p.first) {
			p.first = h.First
		}
		if a := p.ops[op]; a != nil && h.First.Before(a.first) {
			a.old = true
		}
	}
}

func compareOps(a, b Op) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
}

// candidates returns the new operations in the order of their moment.
func (p *probePool) candidates() []*attempt {
	var list []*attempt
	for _, a := range p.ops {
		if a.fresh() && len(a.days) < stableDays {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *attempt) int {
		return cmp.Or(a.probe.Compare(b.probe), compareOps(a.Op, b.Op))
	})
	return list
}

// hour is a qualifying window: the attempts of one hour.
type hour struct {
	attempts            []*attempt
	services, resources int
}

// hours returns the widest of the windows that qualify, and all attempts that
// lie in any.
func (p *probePool) hours() (busiest hour, all []*attempt) {
	list := p.candidates()
	in := map[*attempt]bool{}
	for i := range list {
		j := i
		for j < len(list) && list[j].probe.Sub(list[i].probe) <= probeWindow {
			j++
		}
		h := measure(list[i:j])
		if !h.qualifies() {
			continue
		}
		for _, a := range h.attempts {
			in[a] = true
		}
		if len(h.attempts) > len(busiest.attempts) {
			busiest = h
		}
	}
	for _, a := range list {
		if in[a] {
			all = append(all, a)
		}
	}
	return busiest, all
}

func measure(attempts []*attempt) hour {
	services, kinds := map[string]bool{}, map[[2]string]bool{}
	for _, a := range attempts {
		services[a.Service] = true
		kinds[[2]string{a.Service, a.kind}] = true
	}
	return hour{attempts, len(services), len(kinds)}
}

func (h *hour) qualifies() bool {
	return len(h.attempts) >= probeOperations && (h.services >= probeServices || h.resources >= probeResources)
}

func (r *probingRule) finish(out *Result) {
	var best hour
	var all []*attempt
	var who *probePool
	probers := 0
	for _, key := range r.poolKeys() {
		p := r.pools[key]
		h, attempts := p.hours()
		if len(attempts) == 0 {
			continue
		}
		probers++
		all = append(all, attempts...)
		if len(h.attempts) > len(best.attempts) {
			best, who = h, p
		}
	}
	if who == nil {
		return
	}
	f, want := r.finding(best, all, who, probers)
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: want})
}

func (r *probingRule) poolKeys() []schema.PrincipalHash {
	keys := make([]schema.PrincipalHash, 0, len(r.pools))
	for k := range r.pools {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	return keys
}

func (r *probingRule) finding(h hour, all []*attempt, who *probePool, probers int) (schema.Finding, []Selector) {
	f := r.open(ScopeProbing)
	var total fold
	var want earliest
	services, names := map[string]struct{}{}, map[string]struct{}{}
	worst := weight{}
	beyond, learned, last := 0, false, time.Time{}
	for _, a := range all {
		services[a.Service] = struct{}{}
		names[a.Operation+onService(a.Service)] = struct{}{}
		total.widen(a.fold.first, a.fold.last)
		f.Calls += a.fold.tally.calls()
		if list := a.fold.want.cut(); len(list) > 0 {
			want.add(list[0])
		}
		if a.beyond {
			beyond++
		}
		learned = learned || a.learned
		if w := r.env.weigh(a.Service, a.Operation); w.points > worst.points || worst.terms == nil {
			worst = w
		}
		if a.fold.last.After(last) {
			last = a.fold.last
		}
	}
	f.First, f.Last = total.first, total.last
	f.Evidence.Seen = sortedKeys(names)
	if len(services) == 1 {
		f.Service = sortedKeys(services)[0]
		f.Environment = r.environment(f.Service)
	}
	if beyond == 0 {
		f.Verdict = verdict(schema.VerdictDenied)
	}
	start, end := h.attempts[0].probe, h.attempts[len(h.attempts)-1].probe
	f.Title = fmt.Sprintf("%s tried %s that are new for it and out of its reach, within %s", r.subject.Name,
		count(len(h.attempts), "operation"), span(end.Sub(start)))

	f.Severity, f.Confidence = r.grade(&f, h, all, who, worst, beyond, learned, probers, start)
	f.Next = commands(&f, "scopedrift calls --credential "+argument(r.subject.Name)+since(f.First))
	return f, want.cut()
}

// grade writes the reasons and returns severity and confidence.
func (r *probingRule) grade(f *schema.Finding, h hour, all []*attempt, who *probePool, worst weight, beyond int, learned bool, probers int, start time.Time) (schema.Severity, float64) {
	f.Reasons = append(f.Reasons,
		fmt.Sprintf("%s from %s, over %s and %s: %s", count(len(h.attempts), "distinct operation"), stamp(start),
			count(h.services, "service"), count(h.resources, "kind")+" of resource", some(f.Evidence.Seen, 8)),
		"none of them had been called by this credential before")
	if len(all) > len(h.attempts) {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s in all qualifying hours", count(len(all), "operation")))
	}
	if beyond > 0 {
		f.Reasons = append(f.Reasons, fmt.Sprintf("out of its grant and not refused: %d of them", beyond))
	}
	if who.subject != "" {
		f.Reasons = append(f.Reasons, "all by the user "+who.subject)
	}
	if probers > 1 {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%d of its users did the like", probers))
	}
	worst.terms = append([]string{"the worst operation tried: " + strings.Join(worst.terms, ", ")}, r.moreTerms(&worst, h, beyond)...)
	severity := worst.severity(schema.SeverityMedium, 3)
	f.Reasons = append(f.Reasons, worst.reason(severity))

	confidence, terms := 0.9, []string{}
	history := start.Sub(who.first)
	switch {
	case history < 24*time.Hour:
		confidence = 0.6
		terms = append(terms, fmt.Sprintf("the logs show only %s of this credential before it, so that new may be merely new to the logs", span(history)))
	case history < 14*24*time.Hour:
		confidence = 0.75
		terms = append(terms, fmt.Sprintf("the logs show %s of this credential before it", span(history)))
	default:
		terms = append(terms, fmt.Sprintf("the logs show %s of this credential without them", span(history)))
	}
	if learned {
		confidence -= 0.1
		terms = append(terms, "some routes are learned, so that operations are counted by their leading word")
	}
	if again := r.repeated(all); again > 0 {
		confidence -= 0.1
		terms = append(terms, fmt.Sprintf("%d of them went on for a day or more, as a misconfigured service would", again))
	}
	f.Reasons = append(f.Reasons, fmt.Sprintf("confidence %.2f: %s", round(confidence), strings.Join(terms, "; ")))
	return severity, round(confidence)
}

// moreTerms weighs how broad the probing was.
func (r *probingRule) moreTerms(w *weight, h hour, beyond int) (terms []string) {
	if len(h.attempts) >= 2*probeOperations {
		w.points++
		terms = append(terms, fmt.Sprintf("%d operations in an hour", len(h.attempts)))
	}
	if beyond > 0 {
		w.points++
		terms = append(terms, "some got through")
	}
	return terms
}

// repeated counts the operations that were refused again a day later.
func (r *probingRule) repeated(all []*attempt) (n int) {
	for _, a := range all {
		if len(a.days) > 1 {
			n++
		}
	}
	return n
}
