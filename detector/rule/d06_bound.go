package rule

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// addresses are those of which it must be known who used them before.
func (r *boundRule) addresses() []string {
	r.settle()
	set := map[string]struct{}{}
	for _, s := range r.suspects {
		if s.seat {
			continue // a workload tells more than its address
		}
		for a := range s.stranger.addresses {
			set[a.String()] = struct{}{}
		}
	}
	return sortedKeys(set)
}

// tenancy takes who used one of the addresses.
func (r *boundRule) tenancy(t *Tenancy, by *Subject) {
	if by == nil || by == r.subject || !by.Identifies() {
		return
	}
	for _, s := range r.suspects {
		if _, at := s.stranger.addresses[t.Address]; !at || s.seat || !t.First.Before(s.stranger.first) {
			continue
		}
		if by.Person() {
			if !s.instance {
				continue // people share networks with people
			}
			if s.person == "" || by.Name < s.person {
				s.person = by.Name
			}
		} else if !t.First.After(s.stranger.first.Add(-sharedAge)) && !slices.Contains(s.by, by.Name) {
			s.by = append(s.by, by.Name)
		}
	}
}

// Person reports whether the credential is a person's, as far as it shows.
func (s *Subject) Person() bool {
	if s.Declared != nil && s.Declared.Kind != "" {
		return s.Declared.Kind == "human"
	}
	return !s.Machine() && slices.ContainsFunc(s.Kinds(), func(k schema.CredentialKind) bool {
		return k == schema.KindUserToken || k == schema.KindSessionCookie || k == schema.KindBasic
	})
}

// keys are the issued keys of which it must be known who issued them.
func (r *boundRule) keys() []string {
	r.settle()
	set := map[string]struct{}{}
	for _, s := range r.suspects {
		for k := range s.stranger.keys {
			set[k] = struct{}{}
		}
	}
	return sortedKeys(set)
}

// issued takes the call whose answer issued one of the keys.
func (r *boundRule) issued(c *Step) {
	for _, s := range r.suspects {
		if _, ok := s.stranger.keys[c.Mints]; ok {
			s.issued = append(s.issued, *c)
		}
	}
}

// certainty is how sure a suspect is.
type certainty uint8

const (
	// dismissed: something explains it.
	dismissed certainty = iota
	maybe
	surely
)

// judge weighs a suspect by all that is known of it.
func (r *boundRule) judge(s *suspect) certainty {
	shared := len(s.by) > 1
	on := s.stranger.network.Addr()
	switch {
	case s.instance && s.addressNew:
		other := s.clientNew || s.desktopNew || s.workloadNew
		after := s.home.last.After(s.stranger.first)
		switch {
		case shared && !s.desktopNew:
			return dismissed
		case s.inside, other && (s.meets || after || s.desktopNew):
			return surely
		}
		return maybe
	case s.instance:
		// Only the client is odd: a desktop system on an instance.
		if s.person != "" {
			return surely
		}
		return maybe
	case s.seat:
		if len(s.occupants) == 0 || len(s.occupants) > maxOwn {
			return dismissed
		}
		return maybe
	case shared:
		return dismissed
	case s.binding.session != "" || r.kind(s.binding.hash) == schema.KindSessionCookie:
		if s.inside && (s.clientNew || s.desktopNew) && public(on) {
			return surely
		}
		return maybe
	}
	if s.inside && s.clientNew && public(on) && (s.desktopNew || handDriven[s.stranger.family] == surelyHand) {
		return surely
	}
	return maybe
}

func (r *boundRule) finish(out *Result) {
	r.settle()
	if r.nowhere {
		out.Withheld = append(out.Withheld, Withheld{AwayFromHome, r.subject.Name, "where it is at home",
			fmt.Sprintf("it is used from more than %d places", maxHaunts)})
	}
	type object struct{ session, pod string }
	groups := map[object][]*suspect{}
	var order []object
	for _, s := range r.suspects {
		if r.judge(s) == dismissed || r.declared != nil && r.declared.away[s.binding.session] != nil {
			continue
		}
		o := object{s.binding.session, s.binding.pod}
		if groups[o] == nil {
			order = append(order, o)
		}
		groups[o] = append(groups[o], s)
	}
	for _, o := range order {
		out.Drafts = append(out.Drafts, r.draft(o.session, o.pod, groups[o]))
	}
}

// draft makes one finding of all strange places of a session or key.
func (r *boundRule) draft(session, pod string, list []*suspect) Draft {
	objects := []string{session}
	if pod != "" {
		objects = append(objects, pod)
	}
	f := r.open(AwayFromHome, objects...)
	f.Session = session
	var want earliest
	var reporters [4]uint64
	usual, seen, from := map[string]struct{}{}, map[string]struct{}{}, map[string]struct{}{}
	how, first, last := maybe, list[0].stranger.first, list[0].stranger.last
	for _, s := range list {
		how = max(how, r.judge(s))
		x := s.stranger
		if x.first.Before(first) {
			first = x.first
		}
		if x.last.After(last) {
			last = x.last
		}
		for i, n := range x.reporters {
			reporters[i] += n
		}
		for _, w := range x.want.list {
			want.add(w)
		}
		if s.home != nil {
			usual[s.home.name()+" with "+s.home.with()] = struct{}{}
		}
		seen[x.name()+" with "+x.with()] = struct{}{}
		from[x.name()] = struct{}{}
	}
	f.First, f.Last, f.Calls = first, last, ranked(&reporters)
	f.Evidence.Usual, f.Evidence.Seen = sortedKeys(usual), sortedKeys(seen)
	if len(usual) == 0 {
		f.Evidence.Usual = []string{"an instance, which runs no desktop system"}
	}
	f.Title = fmt.Sprintf("%s was used from %s, away from where it is bound to", r.who(session, pod), some(sortedKeys(from), 2))
	f.Reasons = r.bindingReason(list[0])
	for _, s := range list[:min(len(list), 5)] {
		f.Reasons = append(f.Reasons, s.why()...)
		f.Evidence.Path = append(f.Evidence.Path, s.path()...)
	}
	f.Evidence.Path = unique(f.Evidence.Path)
	for i := range f.Evidence.Path {
		f.Evidence.Path[i] = fmt.Sprintf("%d. %s", i+1, f.Evidence.Path[i])
	}
	r.grade(&f, how, list)
	f.Next = commands(&f, "scopedrift investigate "+string(f.ID), callsOf(&schema.Finding{Credential: f.Credential})+since(first))
	return Draft{Finding: f, Want: want.cut()}
}

func (r *boundRule) who(session, pod string) string {
	switch {
	case session != "":
		return "session " + session + " of " + r.subject.Name
	case pod != "":
		return "the token of " + pod + ", " + r.subject.Name + ","
	}
	return r.subject.Name
}

// bindingReason says what the session or key is bound to, and why.
func (r *boundRule) bindingReason(s *suspect) []string {
	switch {
	case s.instance && s.home != nil:
		return []string{fmt.Sprintf("it is issued to one machine, which has one address at a time: it was at %s (%s) from %s on", s.home.name(), s.home.with(), stamp(s.home.first))}
	case s.instance:
		return []string{"it is issued to one instance, as its name says, and instances run no desktop system"}
	case s.binding.session != "" || r.kind(s.binding.hash) == schema.KindSessionCookie:
		return []string{fmt.Sprintf("the session was used from %s (%s) from %s on, and still is", s.home.name(), s.home.with(), stamp(s.home.first))}
	}
	return []string{fmt.Sprintf("by habit it is used from %s (%s), since %s at least, and still is", s.home.name(), s.home.with(), stamp(s.home.first))}
}

// why lists what is odd about a place.
func (s *suspect) why() []string {
	x := s.stranger
	var odd []string
	for _, one := range []struct {
		is   bool
		what string
	}{
		{s.addressNew && s.instance, "another address"}, {s.addressNew && !s.instance, "a new network"}, {s.clientNew, "another client"},
		{s.workloadNew, "another workload"}, {s.desktopNew, "a desktop system"},
	} {
		if one.is {
			odd = append(odd, one.what)
		}
	}
	reasons := []string{fmt.Sprintf("from %s on it was used from %s with %s: %s", stamp(x.first), x.name(), x.with(), some(odd, 5))}
	switch {
	case s.inside:
		reasons = append(reasons, fmt.Sprintf("both were in use at once: %s went on between %s and %s", s.home.name(), stamp(x.first), stamp(x.last)))
	case s.meets:
		reasons = append(reasons, "both were in use within five minutes")
	case s.excursion:
		reasons = append(reasons, "it was there for minutes only, which may also be a way out that failed over")
	}
	if len(s.occupants) > 0 {
		reasons = append(reasons, fmt.Sprintf("%s is the seat of others: %s had been used there for %d days and more", x.workload, some(s.occupants, 3), int(sharedAge.Hours()/24)))
	}
	if s.person != "" {
		reasons = append(reasons, fmt.Sprintf("%s, a person, had used that address before", s.person))
	}
	if len(x.agents) > 0 {
		reasons = append(reasons, fmt.Sprintf("the client calls itself %s", some(quoted(sortedKeys(x.agents)), 2)))
	}
	return reasons
}

// path tells how the key came there, each line with its time first.
func (s *suspect) path() []string {
	var lines []string
	for i := range s.issued {
		c := &s.issued[i]
		lines = append(lines, fmt.Sprintf("%s  %s issued key %s%s", stamp(c.Time), c.CredentialID, c.Mints, onService(c.Service)))
	}
	if s.home != nil {
		lines = append(lines, fmt.Sprintf("%s  used from %s with %s", stamp(s.home.first), s.home.name(), s.home.with()))
	}
	return append(lines, fmt.Sprintf("%s  used from %s with %s", stamp(s.stranger.first), s.stranger.name(), s.stranger.with()))
}

// grade gives severity and confidence, and a score to what is not sure.
func (r *boundRule) grade(f *schema.Finding, how certainty, list []*suspect) {
	w := weight{}
	w.holder(r.subject)
	any := func(ok func(*suspect) bool) bool { return slices.ContainsFunc(list, ok) }
	if any(func(s *suspect) bool { return public(s.stranger.network.Addr()) }) {
		w.add(1, "from a public address")
	}
	if any(func(s *suspect) bool { return s.desktopNew }) {
		w.add(1, "on a desktop system")
	}
	novelties := 0
	for _, s := range list {
		n := 0
		for _, is := range [...]bool{s.addressNew, s.clientNew, s.workloadNew, s.desktopNew, s.inside, s.person != ""} {
			if is {
				n++
			}
		}
		novelties = max(novelties, n)
	}
	why := ""
	switch {
	case how == surely:
		f.Severity, why = w.severity(schema.SeverityHigh, 3), "nothing known explains it"
		f.Confidence = min(0.7+0.05*float64(novelties), 0.95)
	default:
		f.Severity, why = schema.SeverityMedium, "a move, a second way out or a colleague may explain it"
		f.Confidence = min(0.4+0.05*float64(novelties), 0.65)
		round := func(x float64) float64 { return math.Round(100*x) / 100 }
		f.Score = &schema.Score{Day: f.First.UTC().Format(time.DateOnly), Surprise: float64(novelties), Breadth: round(math.Log2(float64(1 + len(list)))), Reach: w.points}
	}
	f.Confidence = math.Round(f.Confidence*100) / 100
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s between %s and %s", count(f.Calls, "call"), stamp(f.First), stamp(f.Last)),
		w.reason(f.Severity), fmt.Sprintf("confidence %.2f: learned from traffic, %s; %s", f.Confidence, count(novelties, "sign"), why))
}
