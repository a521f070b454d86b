package rule

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of human use.
const (
	// humanScore is what the signs must add up to, two of them at least, over
	// humanCalls or more.
	humanScore = 0.7
	humanCalls = 5
	// newPoints are those of a client that the credential never had, and of an
	// address that a person had used before: two of the weaker signs, neither of
	// which fires with a command-line tool alone.
	newPoints, personPoints = 0.2, 0.2
	// sitting is how long somebody may pause before it is another sitting.
	sitting = 30 * time.Minute
	// thinkLeast and thinkMost bound the median pause of a person: below is a
	// script, above a schedule.
	thinkLeast, thinkMost = 3 * time.Second, 5 * time.Minute
	// thinkSpread is the standard deviation of the logarithm of pauses from which
	// they are a person's; a schedule has none, and people about 1.
	thinkSpread = 0.5
	// maxHands is how many calls of one credential's hand clients are looked at.
	maxHands = 20000
)

// humanRule is D08: a person drives a machine credential.
type humanRule struct {
	base
	agents map[string]struct{}
	hands  map[string]*hand
	calls  int
	habit  clientHabit
	// asked are the addresses of which it must be known who used them, with the
	// first call by a client of people from there.
	asked map[netip.Addr]time.Time
	// people are, by address, persons who used it before; shared are addresses
	// that several machines have long used.
	people map[netip.Addr]string
	shared map[netip.Addr][]string
}

// hand is what one client did from one place.
type hand struct {
	place, family string
	desktop       bool
	steps         []Step
	addresses     map[netip.Addr]struct{}
}

// wants reports whether a person would be strange here.
func (r *humanRule) wants() bool {
	kind, _ := r.subject.CallerKind()
	return r.subject.Machine() && kind != "human"
}

// driven says how surely a client is driven by a person, given who owns the
// credential: build jobs call command-line tools all day.
func (r *humanRule) driven(agent string) handUse {
	use := handDriven[ClientFamily(agent)]
	if kind, _ := r.subject.CallerKind(); kind == "ci" && use == maybeHand && !Desktop(agent) {
		return 0
	}
	if use == 0 && Desktop(agent) {
		return maybeHand
	}
	return use
}

func (r *humanRule) arrival(v *Arrival) {
	if r.wants() && v.Agent != "" && !provider(v.Agent) {
		r.habit.add(v)
	}
	if v.Agent == "" || !v.Last.After(r.env.Window.From) || provider(v.Agent) || r.driven(v.Agent) == 0 {
		return
	}
	if r.agents == nil {
		r.agents = map[string]struct{}{}
	}
	r.agents[v.Agent] = struct{}{}
}

// clients are the user agents whose single calls are to be looked at.
func (r *humanRule) clients() []string {
	if !r.wants() {
		return nil
	}
	return sortedKeys(r.agents)
}

// step takes one call by one of the clients, in order of time.
func (r *humanRule) step(s *Step) {
	if _, ok := r.agents[s.Agent]; !ok || !slices.Contains(accepted, s.Decision) || r.calls == maxHands {
		return
	}
	r.calls++
	family := ClientFamily(s.Agent)
	name := SeatName(s.Workload, s.Address, "")
	key := name + "\x00" + family
	if r.hands == nil {
		r.hands = map[string]*hand{}
	}
	h := r.hands[key]
	if h == nil {
		h = &hand{place: name, family: family, addresses: map[netip.Addr]struct{}{}}
		r.hands[key] = h
	}
	h.desktop = h.desktop || Desktop(s.Agent)
	if s.Address.IsValid() {
		h.addresses[s.Address.Unmap().WithZone("")] = struct{}{}
	}
	h.steps = append(h.steps, *s)
}

// sittings cuts the calls where somebody paused for long, and leaves out those
// sittings whose operations came in the same order before: that is a script.
func (h *hand) sittings() [][]Step {
	var all [][]Step
	from := 0
	for i := 1; i <= len(h.steps); i++ {
		if i == len(h.steps) || h.steps[i].Time.Sub(h.steps[i-1].Time) > sitting {
			all = append(all, h.steps[from:i])
			from = i
		}
	}
	orders := map[string]int{}
	order := func(list []Step) string {
		var b strings.Builder
		last := ""
		for i := range list {
			if op := list[i].Service + " " + list[i].Operation; op != last {
				b.WriteString(op + "\n")
				last = op
			}
		}
		return b.String()
	}
	for _, one := range all {
		orders[order(one)]++
	}
	return slices.DeleteFunc(all, func(one []Step) bool { return orders[order(one)] > 1 })
}

// sign is something that tells a person, with what it counts.
type sign struct {
	points float64
	text   string
	// strange says that it tells the caller from the credential's own program,
	// rather than people from programs.
	strange bool
}

// signs weighs what a client did. With too few calls for a rhythm only those
// signs count that one call shows.
func (r *humanRule) signs(h *hand, sittings [][]Step, few bool) []sign {
	var list []sign
	graphical := handDriven[h.family] == surelyHand
	switch {
	case graphical:
		list = append(list, sign{points: 0.5, text: fmt.Sprintf("%s is driven by people", h.family)})
	case h.desktop:
		list = append(list, sign{points: 0.4, text: fmt.Sprintf("%s runs on a desktop system", orUnnamed(h.family))})
	default:
		list = append(list, sign{points: 0.25, text: fmt.Sprintf("%s is a command-line tool", h.family)})
	}
	median, spread, ok := pauses(sittings)
	schedule := ok && spread < thinkSpread // a monitor is a new client, too
	if text, foreign := r.habit.foreign(h.family); foreign && !schedule {
		list = append(list, sign{points: newPoints, text: text, strange: true})
	}
	if text, ok := r.person(h); ok {
		list = append(list, sign{points: personPoints, text: text, strange: true})
	}
	if few {
		return list
	}
	if ok && median >= thinkLeast && median <= thinkMost && spread >= thinkSpread {
		list = append(list, sign{points: 0.3, text: fmt.Sprintf("pauses as of somebody who reads and thinks: %s in the middle, uneven (spread %.1f)", span(median), spread)})
	}
	if text, ok := workingHours(sittings); ok {
		list = append(list, sign{points: 0.2, text: text})
	}
	// A script that runs once, such as a check after a release, calls many things
	// once, too; but it does not wait in between.
	if text, found := exploring(sittings); found && (graphical || ok && median >= thinkLeast) {
		list = append(list, sign{points: 0.25, text: text})
	}
	return list
}

func orUnnamed(family string) string {
	if family == "" {
		return "its client"
	}
	return family
}

// pauses returns the median pause within sittings and how uneven pauses are: the
// standard deviation of their logarithms.
func pauses(sittings [][]Step) (median time.Duration, spread float64, ok bool) {
	var logs []float64
	for _, one := range sittings {
		for i := 1; i < len(one); i++ {
			// Calls of one click come together: they are one act.
			if gap := one[i].Time.Sub(one[i-1].Time); gap >= 500*time.Millisecond {
				logs = append(logs, math.Log(gap.Seconds()))
			}
		}
	}
	if len(logs) < humanCalls-1 {
		return 0, 0, false
	}
	slices.Sort(logs)
	mean, sum := 0.0, 0.0
	for _, x := range logs {
		mean += x / float64(len(logs))
	}
	for _, x := range logs {
		sum += (x - mean) * (x - mean)
	}
	median = time.Duration(math.Exp(logs[len(logs)/2]) * float64(time.Second)).Round(time.Second)
	return median, math.Sqrt(sum / float64(len(logs))), true
}

// workingHours reports whether calls on three days or more lie in the eleven
// hours of a working day, and never at a weekend.
func workingHours(sittings [][]Step) (string, bool) {
	days := map[schema.Day]struct{}{}
	var hours [24]bool
	for _, one := range sittings {
		for i := range one {
			t := one[i].Time.UTC()
			if day := t.Weekday(); day == time.Saturday || day == time.Sunday {
				return "", false
			}
			days[schema.DayOf(t)] = struct{}{}
			hours[t.Hour()] = true
		}
	}
	longest := 0 // the longest run of hours without a call, around the clock
	for from := range 24 {
		n := 0
		for n < 24 && !hours[(from+n)%24] {
			n++
		}
		longest = max(longest, n)
	}
	if len(days) < 3 || longest < 13 {
		return "", false
	}
	return fmt.Sprintf("only on working days, within %d hours of the day", 24-longest), true
}

// exploring reports whether operations came as somebody finds their way: many
// for the first time, in no order that came again.
func exploring(sittings [][]Step) (string, bool) {
	seen := map[Op]bool{}
	calls := 0
	for _, one := range sittings {
		calls += len(one)
		for i := range one {
			seen[Op{one[i].Service, one[i].Operation}] = true
		}
	}
	if len(seen) < 4 || float64(len(seen)) < 0.4*float64(calls) {
		return "", false
	}
	return fmt.Sprintf("%d operations in %d calls, in an order that never came again: somebody finds their way", len(seen), calls), true
}

func (r *humanRule) finish(out *Result) {
	if r.calls == maxHands {
		out.Withheld = append(out.Withheld, Withheld{HumanUse, r.subject.Name, "later calls by clients of people", "only the first of its many calls were looked at"})
	}
	f := r.open(HumanUse)
	var want earliest
	best, note, sure := 0.0, true, false
	var w weight
	for _, key := range sortedKeys(r.hands) {
		h := r.hands[key]
		sittings := h.sittings()
		calls := 0
		for _, one := range sittings {
			calls += len(one)
		}
		few := calls < humanCalls
		signs := r.signs(h, sittings, few)
		score := 0.0
		for _, s := range signs {
			score += s.points
		}
		score = math.Round(100*score) / 100
		if calls == 0 || len(signs) < 2 || score < humanScore {
			continue
		}
		note = note && few
		sure = sure || !few && len(signs) > 2 && slices.ContainsFunc(signs, func(s sign) bool { return s.strange })
		place := h.place
		if place == "" {
			place = "an address that the log does not tell"
		}
		f.Evidence.Seen = append(f.Evidence.Seen, orUnnamed(h.family)+" from "+place)
		for _, s := range signs {
			f.Reasons = append(f.Reasons, fmt.Sprintf("%s (%+.2f)", s.text, s.points))
		}
		best = max(best, score)
		f.Calls += uint64(calls)
		for _, one := range sittings {
			for i := range one {
				s := &one[i]
				if f.First.IsZero() || s.Time.Before(f.First) {
					f.First = s.Time
				}
				if s.Time.After(f.Last) {
					f.Last = s.Time
				}
				want.add(stepSelector(s))
				if one := r.env.weigh(s.Service, s.Operation); one.points > w.points || len(w.terms) == 0 {
					w = one
				}
			}
		}
	}
	if best == 0 {
		return
	}
	f.Title = fmt.Sprintf("a person drives %s, a machine's credential: %s", r.subject.Name, some(f.Evidence.Seen, 2))
	f.Evidence.Usual = []string{"a program"}
	f.Severity = min(w.severity(schema.SeverityLow, 2), schema.SeverityMedium)
	severity := w.reason(f.Severity)
	f.Confidence = math.Round(100*min(0.9*best, 0.9)) / 100
	switch {
	case note:
		// Fewer calls show no rhythm: worth a note, and nobody's sleep.
		f.Severity, f.Confidence = schema.SeverityLow, min(f.Confidence, 0.6)
		severity = fmt.Sprintf("severity low: fewer than %d calls are a note", humanCalls)
	case sure && f.Severity < schema.SeverityMedium:
		// What was done is little; who holds the key may do all that it can.
		f.Severity = schema.SeverityMedium
		severity = "severity medium: three signs and more, and the client is not the program's own"
	}
	f.Score = &schema.Score{Day: f.First.UTC().Format(time.DateOnly), Surprise: math.Round(300*best) / 100,
		Breadth: math.Round(100*math.Log2(float64(1+len(f.Evidence.Seen)))) / 100, Reach: w.points}
	f.Reasons = append(f.Reasons, fmt.Sprintf("%s between %s and %s", count(f.Calls, "call"), stamp(f.First), stamp(f.Last)), severity,
		fmt.Sprintf("confidence %.2f: signs add up to %.2f, %.1f are needed", f.Confidence, best, humanScore))
	f.Next = commands(&f, callsOf(&schema.Finding{Credential: f.Credential})+since(f.First))
	out.Drafts = append(out.Drafts, Draft{Finding: f, Want: want.cut()})
}
