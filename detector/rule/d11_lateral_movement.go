package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Movements says what is wrong with switches of credentials (D11): those that
// belong to one movement become one finding, with the way hop by hop. It is a
// rule where who caused a switch is clear and what was reached is surely a gain,
// else a score.
func Movements(env *Env, houses *Houses, switches []*Switch) Result {
	var out Result
	for _, s := range switches {
		s.Excuse(env)
		for _, id := range s.Excused {
			withhold(&out, Withheld{LateralMovement, s.Of.Subject.Name, "its use from " + s.Place.Name, "the approved change " + id + " covers it"})
		}
	}
	list := slices.Clone(switches)
	list = slices.DeleteFunc(list, func(s *Switch) bool { return len(s.Moves) == 0 })
	for _, s := range list {
		if s.Cut {
			out.Withheld = append(out.Withheld, Withheld{LateralMovement, s.Of.Subject.Name, "later calls from " + s.Place.Name,
				"only the first of its many calls from there were looked at"})
		}
	}
	slices.SortFunc(list, func(a, b *Switch) int {
		return cmp.Or(a.First().Compare(b.First()), cmp.Compare(a.Of.Subject.Name, b.Of.Subject.Name), cmp.Compare(a.Place.Name, b.Place.Name))
	})
	for _, group := range merged(houses, list) {
		m := movement{houses: houses, base: base{env: env, subject: group[0].Of.Subject}, switches: group}
		out.Drafts = append(out.Drafts, m.draft())
	}
	return out
}

// merged groups switches, which are in order of time, into movements: those at
// one place, of one credential, or of which one called what the other serves,
// within a day of each other.
func merged(houses *Houses, list []*Switch) [][]*Switch {
	group := make([]int, len(list))
	for i := range list {
		group[i] = i
		for k := range i {
			if list[i].First().Sub(list[k].First()) <= MergeWindow && follows(houses, list[k], list[i]) {
				from, to := max(group[i], group[k]), min(group[i], group[k])
				for n := range i + 1 {
					if group[n] == from {
						group[n] = to
					}
				}
			}
		}
	}
	var out [][]*Switch
	at := map[int]int{}
	for i, s := range list {
		n, ok := at[group[i]]
		if !ok {
			n = len(out)
			at[group[i]] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], s)
	}
	return out
}

// follows reports whether a later switch belongs to an earlier one.
func follows(houses *Houses, earlier, later *Switch) bool {
	if earlier.Place.Name == later.Place.Name || earlier.Of == later.Of {
		return true
	}
	return slices.ContainsFunc(earlier.Moves, func(m Move) bool {
		return m.Decision.Authorised() && !m.Time.After(later.First().Add(clockSkew)) && houses.Serves(later.Place, m.Service) != ""
	})
}

// movement is switches that become one finding.
type movement struct {
	base
	houses   *Houses
	switches []*Switch

	path      []string
	hops      []schema.Hop
	reasons   []string
	best      gain
	byAddress bool
	causes    map[string]Tier
	gains     map[string]*Move
	seen      map[string]struct{}
	usual     map[string]struct{}
	calls     int
	span      fold
	want      earliest
}

// maxHops bounds the hops that are drawn of one movement.
const maxHops = 20

func (m *movement) draft() Draft {
	m.causes, m.gains = map[string]Tier{}, map[string]*Move{}
	m.seen, m.usual = map[string]struct{}{}, map[string]struct{}{}
	m.byAddress = true
	for _, s := range m.switches {
		m.take(s)
	}
	m.draw()
	m.reasons = append(m.reasons, "no call was seen that handed it over, and no answer that issued it")
	f := m.open(LateralMovement, m.switches[0].Place.Name)
	f.First, f.Last, f.Calls = m.span.first, m.span.last, uint64(m.calls)
	f.Evidence.Path, f.Evidence.Hops = m.path, m.hops
	f.Evidence.Usual, f.Evidence.Seen = sortedKeys(m.usual), sortedKeys(m.seen)
	m.title(&f)
	f.Reasons = m.reasons
	m.grade(&f)
	f.Next = commands(&f, "scopedrift investigate "+string(f.ID), callsOf(&schema.Finding{Credential: f.Credential})+since(f.First))
	return Draft{Finding: f, Want: m.want.cut()}
}

// take gathers what one switch says.
func (m *movement) take(s *Switch) {
	name := s.Of.Subject.Name
	m.byAddress = m.byAddress && s.Place.ByAddress()
	for _, home := range s.Homes {
		m.usual[name+" at "+home] = struct{}{}
	}
	m.seen[name+" at "+s.Place.Name] = struct{}{}
	m.calls += len(s.Moves)
	for i := range s.Moves {
		move := &s.Moves[i]
		m.span.widen(move.Time, move.Time)
		m.want.add(stepSelector(&move.Step))
		g := s.gained(m.env, move)
		if g == noGain {
			continue
		}
		m.best = max(m.best, g)
		key := move.Operation + onService(move.Service) + inTenant(move.Tenant)
		if m.gains[key] == nil {
			m.gains[key] = move
		}
	}
	m.reasons = append(m.reasons, m.why(s)...)
}

// stepSelector finds the call of a step again.
func stepSelector(s *Step) Selector {
	return Selector{Hash: s.Hash, Service: s.Service, Operation: s.Operation, Tenant: s.Tenant, HasTenant: true,
		Decisions: []schema.Decision{s.Decision}, Session: s.Session, Workload: s.Workload, Address: s.Address, HasOrigin: true, From: s.Time, To: s.Time}
}

// why says what makes a switch of it.
func (m *movement) why(s *Switch) []string {
	var own []string
	for _, r := range s.Own {
		own = append(own, r.Subject.Name)
	}
	told := fmt.Sprintf("learned: on at least %.0f %% of its days before", 100*HomeShare)
	if s.Declared {
		told = "declared"
	}
	reasons := []string{
		fmt.Sprintf("%s is at home at %s (%s)", s.Of.Subject.Name, some(s.Homes, 3), told),
		fmt.Sprintf("%s, whose own credentials are %s, used it from %s on, in %s", s.Place.Name, some(own, 3), stamp(s.First()), count(len(s.Moves), "call")),
	}
	if s.Place.ByAddress() {
		reasons = append(reasons, "the logs name no workload, so the place is an address with a kind of client, which several workloads may share")
	}
	if m.sameOwner(s) {
		reasons = append(reasons, fmt.Sprintf("both belong to %s", s.Of.Subject.Declared.Owner))
	}
	return reasons
}

// sameOwner reports whether the catalogue gives the credential and one of the
// place's own to one owner.
func (m *movement) sameOwner(s *Switch) bool {
	d := s.Of.Subject.Declared
	return d != nil && d.Owner != "" && slices.ContainsFunc(s.Own, func(r *Residence) bool {
		return r.Subject.Declared != nil && r.Subject.Declared.Owner == d.Owner
	})
}

// leg is a hop with the sentence that tells it.
type leg struct {
	hop  schema.Hop
	text string
}

// draw draws the way, in order of time; a call that is both a switch and the
// cause of the next one is one hop.
func (m *movement) draw() {
	var legs []leg
	shown := map[schema.CallID]bool{}
	add := func(l leg) {
		if !shown[*l.hop.Call] {
			shown[*l.hop.Call] = true
			legs = append(legs, l)
		}
	}
	for _, s := range m.switches {
		ops := map[string]bool{}
		for i := range s.Moves {
			move := &s.Moves[i]
			key := move.Service + "\x00" + move.Operation + "\x00" + move.Tenant
			if !ops[key] {
				ops[key] = true
				add(switchLeg(s, move))
			}
		}
	}
	for _, s := range m.switches {
		if s.Secret != nil {
			m.want.add(stepSelector(s.Secret))
			add(secretLeg(s))
		}
		for i := range s.Moves {
			if c := s.Moves[i].Cause; c != nil && c.Clear && shown[s.Moves[i].ID] {
				m.want.add(stepSelector(&c.Step))
				add(m.causeLeg(s, c))
			}
		}
	}
	slices.SortStableFunc(legs, func(a, b leg) int { return a.hop.Time.Compare(b.hop.Time) })
	more := max(0, len(legs)-maxHops)
	for i, l := range legs[:len(legs)-more] {
		line := fmt.Sprintf("%d. %s  %s", i+1, stamp(l.hop.Time), l.text)
		if l.hop.Tier > 0 {
			line += fmt.Sprintf(" [tier %d: %s]", l.hop.Tier, Tier(l.hop.Tier))
		}
		m.path, m.hops = append(m.path, line), append(m.hops, l.hop)
	}
	if more > 0 {
		m.path = append(m.path, fmt.Sprintf("and %s more", count(more, "hop")))
	}
}

func target(service string) string {
	if service == "" {
		return "an unknown service"
	}
	return service
}

// switchLeg tells that a place used a credential that is not its own.
func switchLeg(s *Switch, move *Move) leg {
	l := leg{hop: schema.Hop{Kind: "switch", Time: move.Time, From: s.Place.Name, To: target(move.Service), Credential: s.Of.Subject.Name,
		Operation: move.Operation, Tenant: move.Tenant, Call: &move.ID},
		text: fmt.Sprintf("%s called %s%s%s with %s (%s)", s.Place.Name, move.Operation, onService(move.Service), inTenant(move.Tenant),
			s.Of.Subject.Name, move.Decision)}
	if move.Cause != nil && move.Cause.Clear {
		l.hop.Tier = int(move.Cause.Tier)
	}
	return l
}

// secretLeg tells that a place read a secret before.
func secretLeg(s *Switch) leg {
	by := nameOf(s.SecretBy)
	return leg{hop: schema.Hop{Kind: "secret", Time: s.Secret.Time, From: s.Place.Name, To: target(s.Secret.Service), Credential: by,
		Operation: s.Secret.Operation, Tenant: s.Secret.Tenant, Call: &s.Secret.ID},
		text: fmt.Sprintf("%s read a secret: %s%s with %s", s.Place.Name, s.Secret.Operation, onService(s.Secret.Service), by)}
}

// causeLeg tells which call made a place act.
func (m *movement) causeLeg(s *Switch, c *Cause) leg {
	by := nameOf(c.Subject)
	from := c.Step.Seat()
	if from == "" {
		from = by
	}
	served := ""
	if c.Served != "" {
		served = fmt.Sprintf("; %s serves it (%s)", s.Place.Name, c.Served)
	}
	if _, ok := m.causes[by]; !ok || m.causes[by] > c.Tier {
		m.causes[by] = c.Tier
	}
	return leg{hop: schema.Hop{Kind: "call", Time: c.Step.Time, From: from, To: target(c.Step.Service), Credential: by,
		Operation: c.Step.Operation, Tenant: c.Step.Tenant, Call: &c.Step.ID},
		text: fmt.Sprintf("%s called %s%s with %s%s", from, c.Step.Operation, onService(c.Step.Service), by, served)}
}

func nameOf(s *Subject) string {
	if s == nil {
		return "an unknown credential"
	}
	return s.Name
}

// title says it in one sentence.
func (m *movement) title(f *schema.Finding) {
	first := m.switches[0]
	var names, places []string
	for _, s := range m.switches {
		if !slices.Contains(names, s.Of.Subject.Name) {
			names = append(names, s.Of.Subject.Name)
		}
		if !slices.Contains(places, s.Place.Name) {
			places = append(places, s.Place.Name)
		}
	}
	f.Title = fmt.Sprintf("%s acted with %s, which is at home at %s", first.Place.Name, first.Of.Subject.Name, some(first.Homes, 2))
	if len(m.switches) > 1 {
		f.Title = fmt.Sprintf("a movement over %s with %s that are not their own: %s", count(len(places), "place"), count(len(names), "credential"), strings.Join(names, ", then "))
	}
	last := m.switches[len(m.switches)-1]
	target := &last.Moves[0]
	if len(m.gains) > 0 {
		for _, key := range sortedKeys(m.gains) {
			if g := m.gains[key]; m.env.weigh(g.Service, g.Operation).points > m.env.weigh(target.Service, target.Operation).points {
				target = g
			}
		}
	}
	f.Service, f.Operation, f.Tenant = target.Service, target.Operation, target.Tenant
	f.Environment = m.environment(f.Service)
}

// grade weighs the movement.
func (m *movement) grade(f *schema.Finding) {
	w := weight{}
	for _, key := range sortedKeys(m.gains) {
		g := m.gains[key]
		if one := m.env.weigh(g.Service, g.Operation); one.points > w.points || len(w.terms) == 0 {
			w = one
		}
	}
	if len(m.switches) > 1 {
		w.add(1, fmt.Sprintf("%d switches", len(m.switches)))
	}
	shared := slices.ContainsFunc(m.switches, m.sameOwner)
	secret := slices.ContainsFunc(m.switches, func(s *Switch) bool { return s.Secret != nil })
	if secret {
		w.add(1, "a secret was read there shortly before")
	}
	why := ""
	switch {
	case m.best == gainSure && !m.byAddress && !shared:
		f.Severity, f.Confidence = w.severity(schema.SeverityHigh, 4), 0.9
		why = "the trace shows what caused it, and neither that credential nor the place's own reached this before or is granted it"
	case m.best >= gainMaybe:
		f.Severity, f.Confidence = schema.SeverityMedium, 0.6
		why = "what was reached is new to the place's own credentials, but what caused it is not clear"
	default:
		f.Severity, f.Confidence = schema.SeverityLow, 0.4
		why = "nothing was reached that could not have been reached without it"
	}
	if m.best != noGain {
		m.gainReasons(f)
	}
	if f.Severity <= schema.SeverityMedium {
		if m.byAddress {
			f.Confidence -= 0.1
		}
		if shared {
			f.Confidence -= 0.1
			why += "; one owner holds both"
		}
		f.Score = m.score(&w)
	}
	f.Confidence = math.Round(f.Confidence*100) / 100
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: %s", f.Confidence, why))
}

func (m *movement) gainReasons(f *schema.Finding) {
	f.Reasons = append(f.Reasons, "reached with it: "+some(sortedKeys(m.gains), 5))
	for _, name := range sortedKeys(m.causes) {
		f.Reasons = append(f.Reasons, fmt.Sprintf("caused by a call with %s (tier %d: %s)", name, m.causes[name], m.causes[name]))
	}
}

// score says how odd it is: how long the credential was at home without this,
// and how much was reached.
func (m *movement) score(w *weight) *schema.Score {
	s := m.switches[0]
	days := HomeDays
	if !s.Declared {
		days = 0
		for _, p := range s.Of.Places {
			days = max(days, len(before(p.days, schema.DayOf(s.First()))))
		}
	}
	round := func(x float64) float64 { return math.Round(100*x) / 100 }
	return &schema.Score{
		Day: s.First().UTC().Format(time.DateOnly), Surprise: round(math.Log10(float64(days+1)) + float64(len(m.switches))),
		Breadth: round(math.Log2(float64(1 + len(m.gains)))), Reach: w.points,
	}
}
