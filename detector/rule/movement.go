package rule

import (
	"cmp"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Tunables of causes.
const (
	// SyncWindow is how long a call may have been open, where the log does not
	// tell how long it was, and still be the cause of another.
	SyncWindow = 5 * time.Second
	// JobWindow is how much later than its cause, of the same trace, a call may
	// come: what was queued is done within it.
	JobWindow = 15 * time.Minute
	// clockSkew is how far apart two reporters may see one call.
	clockSkew = time.Second
	// clockJitter is how much a call that contains another may seem to end before
	// it, as clocks within one network differ.
	clockJitter = 10 * time.Millisecond
	// MergeWindow is within what time switches are parts of one movement, and
	// how long before one a secret may have been read for it.
	MergeWindow = 24 * time.Hour
)

// Cause is an inbound call that made a workload act.
type Cause struct {
	Step Step
	// Subject is whose credential it carried, nil where nobody is known.
	Subject *Subject
	Tier    Tier
	// Served says how it is known that the workload serves the call's service,
	// "" where it is not.
	Served string
	// Clear says that no other credential's call can be the cause.
	Clear bool
}

// Switch is the use of a credential at a place that has its own, and to which
// this one was neither handed nor issued.
type Switch struct {
	Stray
	// Own are the credentials at home at the place.
	Own []*Residence
	// Moves are the calls, by time.
	Moves []Move
	// Secret is the last call that read a secret there shortly before.
	Secret *Step
	// SecretBy is whose credential read it.
	SecretBy *Subject
	// Before says, of the credentials that could have reached it without the
	// switch, whether one had reached an operation in time.
	Before func(*Subject, Op) bool
	// Excused are the approved changes that cover other calls of it.
	Excused []string
	// Cut says that not all calls were looked at.
	Cut bool
}

// Move is a call of a switch and what caused it.
type Move struct {
	Step
	Cause *Cause
}

// First returns the time of the first move.
func (s *Switch) First() time.Time { return s.Moves[0].Time }

// Handed reports whether the credential of a step came to the place: a call
// before, of the same trace, carried it to what the place serves, or the token
// says that one of the place's own acts. near are calls of the same trace. Where
// nobody is known to serve what was called before, it may have been the place.
func Handed(step *Step, place *Place, houses *Houses, own []*Residence, near []Step) bool {
	for _, actor := range step.Actors {
		for _, r := range own {
			if r.Subject.named(actor) {
				return true
			}
		}
	}
	for i := range near {
		c := &near[i]
		if c.Hash == step.Hash && c.Seat() != place.Name && c.Time.Before(step.Time) && !twiceSeen(c, step) &&
			(houses.Serves(place, c.Service) != "" || !houses.Known(c.Service)) {
			return true
		}
	}
	return false
}

// named reports whether an observed id or the name is the subject's.
func (s *Subject) named(id string) bool {
	return id == s.Name || slices.ContainsFunc(s.Principals, func(p Principal) bool { return p.ID == id || p.Subject == id && id != "" })
}

// twiceSeen reports whether two steps are likely one call that two reporters
// saw.
func twiceSeen(a, b *Step) bool {
	apart := a.Time.Sub(b.Time).Abs()
	return a.Hash == b.Hash && a.Service == b.Service && a.Operation == b.Operation && a.Reporter != b.Reporter && apart <= clockSkew
}

// FindCause finds the call that made a place act. traced are the calls of the
// step's trace, open those to services the place serves around the time.
//
// Of a trace, calls to what the place serves come first, and of those the ones
// that contain the step before those that were over. A call to what others
// serve is no cause, whatever its time.
func FindCause(step *Step, place *Place, houses *Houses, traced, open []Step, subject func(schema.PrincipalHash) *Subject) *Cause {
	for _, serves := range [...]bool{true, false} {
		for _, may := range [...]func(c, step *Step) bool{contains, wasOver} {
			c := chosen(step, place, houses, traced, func(c *Step) bool {
				return may(c, step) && (houses.Serves(place, c.Service) != "" || !serves && !houses.Known(c.Service))
			})
			if c != nil {
				c.Tier, c.Subject = TierTrace, subject(c.Step.Hash)
				return c
			}
		}
	}
	if len(traced) > 0 {
		return nil // the trace shows others, and none of them called the place
	}
	c := chosen(step, place, houses, open, func(c *Step) bool {
		return houses.Serves(place, c.Service) != "" && c.Duration > 0 && !c.Time.After(step.Time) && !c.End().Before(step.End())
	})
	if c == nil || !c.Clear {
		return nil // with more than one candidate, time is no evidence
	}
	c.Tier, c.Subject = TierNested, subject(c.Step.Hash)
	return c
}

// contains reports whether a call was made before another and open until that
// was answered. One that only overlaps would have to be read backwards, which
// clocks that differ by little suggest too easily.
func contains(c, step *Step) bool {
	switch {
	case c.Time.After(step.Time) || c.Time.Equal(step.Time) && c.Duration <= step.Duration:
		return false
	case c.Duration == 0:
		return !c.Time.Add(SyncWindow).Before(step.Time)
	}
	return c.End().After(step.Time) && !c.End().Add(clockJitter).Before(step.End())
}

// wasOver reports whether a call was answered before another was made, within
// the time in which queued work is done.
func wasOver(c, step *Step) bool {
	return c.Time.Before(step.Time) && !c.End().After(step.Time) && !c.Time.Add(JobWindow).Before(step.Time)
}

// chosen returns the latest of the calls that may have caused the step.
func chosen(step *Step, place *Place, houses *Houses, list []Step, may func(*Step) bool) *Cause {
	var best *Step
	alone := true
	for i := range list {
		c := &list[i]
		if c.ID == step.ID || c.Hash == step.Hash || c.Seat() == place.Name || !c.Decision.Authorised() || !may(c) {
			continue
		}
		alone = alone && (best == nil || c.Hash == best.Hash)
		if best == nil || cmp.Or(c.Time.Compare(best.Time), slices.Compare(best.ID[:], c.ID[:])) > 0 {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	return &Cause{Step: *best, Served: houses.Serves(place, best.Service), Clear: alone}
}

// gain says what a move reached that could not be reached without the switch.
type gain uint8

const (
	noGain gain = iota
	// gainMaybe: new to the place's own credentials, and who caused it is not
	// clear.
	gainMaybe
	// gainSure: honoured, and neither the place's own credentials nor the
	// causing one reached it before or is granted it.
	gainSure
)

// gained weighs one move.
func (s *Switch) gained(env *Env, m *Move) gain {
	if m.Decision != schema.DecisionAllowed || !m.Certain || m.Operation == "" {
		return noGain
	}
	op := Op{m.Service, m.Operation}
	for _, r := range s.Own {
		if s.Before(r.Subject, op) || env.holds(r.Subject, m, nil) {
			return noGain
		}
	}
	if m.Cause == nil || m.Cause.Subject == nil {
		return gainMaybe
	}
	if s.Before(m.Cause.Subject, op) || env.holds(m.Cause.Subject, m, &m.Cause.Step) {
		return noGain
	}
	if !m.Cause.Clear || m.Cause.Tier > TierTrace {
		return gainMaybe
	}
	return gainSure
}

// holds reports whether a subject surely held what a move needs; with is a call
// of it, whose token is then known.
func (e *Env) holds(s *Subject, m *Move, with *Step) bool {
	request := compare.Request{
		Declared: s.Declared, Service: m.Service, Operation: m.Operation, Tenant: m.Tenant, RouteSource: m.RouteSource,
		Resource: m.Resource, ResourceKnown: true, Time: m.Time,
	}
	if len(s.Principals) > 0 {
		request.Kind = s.Principals[0].Kind
	}
	if with != nil {
		request.Scopes, request.Groups = with.Scopes, with.Groups
	}
	return e.Compare.Judge(&request).Holding == compare.Holds
}

// withhold notes what is not said, once.
func withhold(out *Result, w Withheld) {
	if !slices.Contains(out.Withheld, w) {
		out.Withheld = append(out.Withheld, w)
	}
}

// actOf is what a single call did, for approved changes.
func (e *Env) actOf(s *Step) catalog.Act {
	act := catalog.Act{Service: s.Service, Operation: s.Operation, Tenant: s.Tenant, Address: s.Address, First: s.Time, Last: s.Time}
	if one := e.Catalog.ServiceNamed(s.Service); one != nil {
		act.Environment = one.Environment
	}
	return act
}

// Excuse drops the moves that an approved change covers, for the credential or
// the workload that used it, and notes that.
func (s *Switch) Excuse(env *Env) {
	s.Moves = slices.DeleteFunc(s.Moves, func(m Move) bool {
		c := env.Changed(s.Of.Subject, env.actOf(&m.Step), m.Workload)
		if c != nil {
			s.Excused = append(s.Excused, c.ID)
		}
		return c != nil
	})
	s.Excused = unique(s.Excused)
}
