package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of D10; what they are for stands in
// docs/detections/object-enumeration.md.
const (
	// leastBulk is how many distinct objects an hour must exceed, whatever is
	// usual; timesUsual how many times what 99.5 % of hours keep to.
	leastBulk  = 50
	timesUsual = 3
	// leastRun is how many ids in a row are a walk, where they are half of all
	// objects or more.
	leastRun = 20
	// guessing is from which share of missed objects on ids are guessed rather
	// than known: a back-fill or an export knows what it reads.
	guessing = 0.3
	// leastHoles is from which share of missed objects on a walk may be one along
	// ids that are not known, if so many are not usual for the credential.
	leastHoles = 0.1
	// habitLag is after how long an unusual hour teaches, if its ids were not
	// guessed: a job that runs on becomes a habit.
	habitLag = 7 * 24 * time.Hour
)

// bulk is the hours of one operation, by one principal, that touched unusually
// many objects, or may have walked along their ids.
type bulk struct {
	hash  schema.PrincipalHash
	op    Op
	hours []bulkHour
}

type bulkHour struct {
	PaceHour
	// usual is what most hours keep to; limit what is unusual, 0 where nobody
	// knows. known says how many hours tell.
	usual, limit uint64
	known        int
	// others says that not its own hours tell but those of others.
	others uint64
	// misses and asked are the calls of its own hours before that missed, and all.
	misses, asked uint64
}

// holes reports whether so large a share of the objects missed that, with what is
// usual for the credential, it is no chance. Where its history tells nothing, it is
// never so. (Chernoff's bound on the binomial distribution.)
func (h *bulkHour) holes(objects int, missed float64) bool {
	usual := h.usualMisses()
	if missed < leastHoles || missed <= usual {
		return false
	}
	far := missed * math.Log(missed/usual)
	if missed < 1 {
		far += (1 - missed) * math.Log((1-missed)/(1-usual))
	}
	return math.Exp(-float64(objects)*far) <= burstChance
}

// usualMisses is which share of its calls missed before, as far as they can tell.
func (h *bulkHour) usualMisses() float64 { return shareOf(int(h.misses), int(h.asked)) }

func (h *bulkHour) over() bool { return h.limit > 0 && h.Objects > h.limit }

// findBulks finds the hours to be looked at, of each operation.
func (r *paceRule) findBulks() []*bulk {
	var list []*bulk
	for i := range r.paces {
		p := &r.paces[i]
		b := &bulk{hash: p.Hash, op: Op{p.Service, p.Operation}}
		if r.beyond(b.op) {
			continue
		}
		var usual []uint64
		var waiting []PaceHour
		var days dayCount
		var misses, asked uint64
		norm, hasNorm := r.norms[NormKey{p.Hash, b.op}]
		for _, h := range p.Hours {
			for len(waiting) > 0 && h.Start.Sub(waiting[0].Start) >= habitLag {
				usual = insert(usual, waiting[0].Objects)
				waiting = waiting[1:]
			}
			one := bulkHour{PaceHour: h, misses: misses, asked: asked}
			mature := paceMature(p.Hours[0].Start, h.Start, days.n)
			switch {
			case mature:
				one.usual, one.known = quantile(usual, 0.995), len(usual)
				one.limit = max(leastBulk, timesUsual*one.usual)
			case hasNorm && norm.Principals >= leastPeers && norm.Hours >= 24:
				one.usual, one.known, one.others = norm.Most, int(norm.Hours), norm.Principals
				one.limit = max(leastBulk, timesUsual*one.usual)
			}
			walks := mature && h.Objects >= leastRun && h.Objects > one.usual
			if !h.Start.Before(r.env.Window.From) && (one.over() || walks || one.limit == 0 && h.Objects > leastBulk) {
				b.hours = append(b.hours, one)
			}
			switch {
			case !one.over():
				usual = insert(usual, h.Objects)
			case float64(h.Missed) < guessing*float64(h.Calls):
				waiting = append(waiting, h)
			}
			days.add(h.Start)
			misses, asked = misses+h.Missed, asked+h.Calls
		}
		if len(b.hours) > 0 {
			list = append(list, b)
		}
	}
	return list
}

// enumeration is what of an operation's hours is worth a finding.
type enumeration struct {
	hours  []bulkHour
	hashes []schema.PrincipalHash
	// objects is the most of an hour, run the longest row of ids, missed the
	// largest share of missed objects.
	top     bulkHour
	run     int
	missed  float64
	walked  bool
	over    bool
	guessed bool
	// holes says that a walk over the limit missed more than is usual.
	holes  bool
	misses float64
}

func (r *paceRule) finishBulks(out *Result) {
	found := map[Op]*enumeration{}
	for _, b := range r.bulks {
		for i := range b.hours {
			h := b.hours[i]
			v := r.visits[VisitKey{b.hash, b.op.Service, b.op.Operation, h.Start}]
			run, missed, objects := 0, 0.0, int(h.Objects)
			if v != nil {
				run, missed, objects = v.run(), v.missedShare(), len(v.objects)
				h.Objects = uint64(objects) // what was counted call by call is exact
			}
			walked := run >= leastRun && 2*run >= objects
			guessed := missed >= guessing
			if !guessed && r.env.class(b.op.Service, b.op.Operation) == schema.ClassSecret {
				continue // many secrets at once are D15's
			}
			if !h.over() && !(walked && h.limit > 0 && (guessed || h.Objects > h.usual)) && !(walked && guessed && h.Objects > leastBulk) {
				continue
			}
			e := found[b.op]
			if e == nil {
				e = &enumeration{}
				found[b.op] = e
			}
			e.hours = append(e.hours, h)
			e.hashes = append(e.hashes, b.hash)
			e.over, e.walked, e.guessed = e.over || h.over(), e.walked || walked, e.guessed || guessed
			e.missed = max(e.missed, missed)
			if walked && h.over() && h.holes(objects, missed) {
				e.holes, e.misses = true, h.usualMisses()
			}
			if walked {
				e.run = max(e.run, run)
			}
			if h.Objects > e.top.Objects || h.Objects == e.top.Objects && h.Start.Before(e.top.Start) {
				e.top = h
			}
		}
	}
	ops := make([]Op, 0, len(found))
	for op := range found {
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	for _, op := range ops {
		out.Drafts = append(out.Drafts, r.enumerated(op, found[op]))
	}
}

// hourWant selects the calls of an hour of an operation.
func hourWant(hash schema.PrincipalHash, service, operation string, hour time.Time) Selector {
	return Selector{Hash: hash, Service: service, Operation: operation, From: hour, To: hour.Add(time.Hour - time.Microsecond),
		Decisions: []schema.Decision{schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied}}
}

func (r *paceRule) enumerated(op Op, e *enumeration) Draft {
	f := r.open(ObjectEnumeration, op.Service, op.Operation)
	f.Service, f.Operation, f.Environment = op.Service, op.Operation, r.environment(op.Service)
	var span fold
	for i, h := range e.hours {
		span.widen(h.Start, h.Start.Add(time.Hour-time.Microsecond))
		span.want.add(hourWant(e.hashes[i], op.Service, op.Operation, h.Start))
		f.Calls += h.Calls
	}
	f.First, f.Last = span.first, span.last
	f.Title = fmt.Sprintf("%s touched %s within an hour by %s%s", r.subject.Name, count(e.top.Objects, "object"), op.Operation, onService(op.Service))
	f.Evidence.Seen = []string{fmt.Sprintf("%s and %s in the hour of %s", count(e.top.Objects, "object"), count(e.top.Calls, "call"), stamp(e.top.Start))}
	if e.top.known > 0 {
		whose := fmt.Sprintf("%s with this operation", count(e.top.known, "hour"))
		if e.top.others > 0 {
			whose = fmt.Sprintf("%s of %s, its own being too few", count(e.top.known, "hour"), count(e.top.others, "other credential"))
		}
		f.Evidence.Usual = []string{fmt.Sprintf("at most %s in 99.5 %% of %s", count(e.top.usual, "object"), whose)}
	}
	if e.over {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s in the hour of %s, where at most %d are usual (%s) and more than %d unusual",
			count(e.top.Objects, "distinct object"), stamp(e.top.Start), e.top.usual, f.Evidence.Usual[0], e.top.limit))
	}
	if e.walked {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%d ids follow each other in a row: it walked along them", e.run))
	}
	if e.guessed {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%.0f %% of the objects did not exist or were refused: the ids were guessed", 100*e.missed))
	} else if e.holes {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%.0f %% of the objects did not exist or were refused, where it misses %.0f %% by habit: ids were counted up rather than known", 100*e.missed, 100*e.misses))
	} else if e.missed >= leastHoles {
		f.Reasons = append(f.Reasons, fmt.Sprintf("%.0f %% of the objects did not exist or were refused, which is too few for guesses, and with its habit no sign of ids that were counted up", 100*e.missed))
	} else {
		f.Reasons = append(f.Reasons, "nearly all objects existed, as for one who knows their ids: an export, a back-fill, a crawler")
	}
	w := r.env.weigh(op.Service, op.Operation)
	w.holder(r.subject)
	f.Severity, f.Confidence = e.severity(&w)
	if len(e.hours) > 1 {
		f.Reasons = append(f.Reasons, fmt.Sprintf("in %s", count(len(e.hours), "hour")))
	}
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: of amount, walk and guesses, %d hold", f.Confidence, e.signs()))
	f.Score = &schema.Score{Day: schema.DayOf(f.First).String(), Surprise: round2(e.surprise()),
		Breadth: round2(math.Log2(float64(max(e.top.Objects, 1)) / float64(max(e.top.usual, 1)))), Reach: w.points}
	f.Next = commands(&f, callsOf(&f))
	return Draft{Finding: f, Want: span.want.cut()}
}

func (e *enumeration) signs() (n int) {
	for _, yes := range []bool{e.over, e.walked, e.guessed || e.holes} {
		if yes {
			n++
		}
	}
	return n
}

// severity: amount alone, or ids in a row that all exist, is what exports do, and
// low. Guessed ids make it worse, and so do holes in a walk; all three together, of
// what matters, are high.
func (e *enumeration) severity(w *weight) (schema.Severity, float64) {
	switch {
	case !e.guessed && e.holes:
		return schema.SeverityMedium, 0.65
	case !e.guessed:
		return schema.SeverityLow, 0.5
	case e.signs() == 3 && w.points >= 2:
		return schema.SeverityHigh, 0.85
	case e.signs() >= 2:
		return schema.SeverityMedium, 0.75
	}
	return schema.SeverityLow, 0.5
}

// surprise: no hour of those known was like it, and neither ids in a row nor
// misses come by chance; a factor of ten each is what they are worth.
func (e *enumeration) surprise() float64 {
	return math.Log10(float64(e.top.known+1)) + float64(e.signs()-1)
}
