package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Tunables of D15; what they are for stands in docs/detections/burst.md.
const (
	// leastBurst is how many calls an hour must have, timesPeak how many times
	// what 99 % of the hours with calls keep to.
	leastBurst = 60
	timesPeak  = 3
	// burstChance is how probable a tick like it may be under a steady rate.
	burstChance = 1e-5
	// leastWeeks is of how many earlier weeks the same hour must be known.
	leastWeeks = 2
	// leastSecrets is how many distinct secrets within ten minutes are bulk, or how
	// many credentials made.
	leastSecrets = 10
	// tenfold is from how many times the usual most on reading secrets is grave, if
	// there are thirty or more: fewer a workload may need to start.
	tenfold = 10
)

const week = 7 * 24 * time.Hour

// surgeHour is one hour of one class of operations that stands out.
type surgeHour struct {
	hash    schema.PrincipalHash
	service string
	class   schema.Class
	ops     []string
	hour    time.Time
	// calls is the hour's, usual what 99 % of hours keep to (of objects, for
	// secrets), rate what the same hour of earlier weeks had on average.
	calls, usual uint64
	rate, score  float64
	weeks, known int
	// secrets says that distinct secrets are counted, or credentials made, and
	// not how fast. They are not many for who never did it if nobody knows what
	// it does at all.
	secrets bool
	objects uint64
}

// bulky classes give away what opens more: how many counts, however slowly.
func bulky(c schema.Class) bool { return c == schema.ClassSecret || c == schema.ClassMint }

type classKey struct {
	hash    schema.PrincipalHash
	service string
	class   schema.Class
}

// classHour is an hour of all operations of a class.
type classHour struct {
	calls, objects uint64
	ops            []string
}

// findBursts finds the hours to be looked at, of each class of operations.
func (r *paceRule) findBursts() []*surgeHour {
	folded := map[classKey]map[int64]*classHour{}
	for i := range r.paces {
		p := &r.paces[i]
		key := classKey{p.Hash, p.Service, r.env.class(p.Service, p.Operation)}
		if folded[key] == nil {
			folded[key] = map[int64]*classHour{}
		}
		for _, h := range p.Hours {
			one := folded[key][h.Start.Unix()]
			if one == nil {
				one = &classHour{}
				folded[key][h.Start.Unix()] = one
			}
			one.calls += h.Calls
			one.objects += h.Objects
			one.ops = append(one.ops, p.Operation)
		}
	}
	var list []*surgeHour
	for key, hours := range folded {
		list = append(list, r.burstsOf(key, hours)...)
	}
	slices.SortFunc(list, func(a, b *surgeHour) int {
		return cmp.Or(a.hour.Compare(b.hour), slices.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.service, b.service), cmp.Compare(a.class, b.class))
	})
	return list[:min(len(list), mostHours)]
}

// burstsOf goes through the hours of a class. What stands out is not taken into
// the habit: a burst must not make the next one usual.
func (r *paceRule) burstsOf(key classKey, hours map[int64]*classHour) (list []*surgeHour) {
	starts := make([]int64, 0, len(hours))
	for at := range hours {
		starts = append(starts, at)
	}
	slices.Sort(starts)
	first := time.Unix(starts[0], 0).UTC()
	normal := map[int64]uint64{}
	var calls, objects []uint64
	var days dayCount
	for _, at := range starts {
		h, start := hours[at], time.Unix(at, 0).UTC()
		one := &surgeHour{hash: key.hash, service: key.service, class: key.class, ops: h.ops, hour: start, calls: h.calls, objects: h.objects, known: len(calls)}
		if key.class == schema.ClassMint {
			one.objects = h.calls // each makes another, whatever it is called
		}
		mature := paceMature(first, start, days.n)
		odd := false
		switch {
		case bulky(key.class) && (mature || r.grown(start)) && one.objects >= leastSecrets && one.objects > timesPeak*quantile(objects, 0.99):
			one.secrets, one.usual, odd = true, quantile(objects, 0.99), true
		case !mature:
		case h.calls >= leastBurst && h.calls > timesPeak*quantile(calls, 0.99):
			one.usual = quantile(calls, 0.99)
			odd = one.weekly(normal, first)
		}
		if odd && !start.Before(r.env.Window.From) {
			list = append(list, one)
		}
		if !odd {
			normal[at] = h.calls
			calls, objects = insert(calls, h.calls), insert(objects, one.objects)
		}
		days.add(start)
	}
	return list
}

// weekly holds an hour to the same hour of earlier weeks.
func (s *surgeHour) weekly(normal map[int64]uint64, first time.Time) bool {
	sum := uint64(0)
	for at := s.hour.Add(-week); !at.Before(first.Truncate(time.Hour)); at = at.Add(-week) {
		sum += normal[at.Unix()]
		s.weeks++
	}
	if s.weeks < leastWeeks {
		return false
	}
	s.rate = float64(sum) / float64(s.weeks)
	s.score = microcluster(float64(s.calls), float64(sum+s.calls), float64(s.weeks+1))
	return tailOf(s.score) <= burstChance
}

// confirmed holds the hour's busiest minute to the rate, or counts the secrets of
// its busiest ten minutes.
func (r *paceRule) confirmed(s *surgeHour) (peak uint64, ok bool) {
	all := &visited{objects: map[string]bool{}, minutes: map[int64]uint64{}}
	for _, op := range s.ops {
		v := r.visits[VisitKey{s.hash, s.service, op, s.hour}]
		if v == nil {
			continue
		}
		for m, n := range v.minutes {
			all.minutes[m] += n
		}
		all.firsts = append(all.firsts, v.firsts...)
	}
	slices.SortFunc(all.firsts, time.Time.Compare)
	if s.secrets {
		n := all.within10()
		if s.class == schema.ClassMint {
			n = all.callsWithin10()
		}
		return uint64(n), n >= leastSecrets && uint64(n) > timesPeak*s.usual
	}
	_, peak = all.peak()
	ticks := 60 * float64(s.weeks+1)
	total := s.rate*float64(s.weeks) + float64(s.calls)
	return peak, tailOf(microcluster(float64(peak), total, ticks)) <= burstChance
}

// surgeKeys names the hours at which others may have been busy as well: all
// caches warm up when everything restarts. Call it after all visits.
func (r *paceRule) surgeKeys() []SurgeKey {
	var keys []SurgeKey
	kept := r.bursts[:0]
	for _, s := range r.bursts {
		if _, ok := r.confirmed(s); ok {
			kept = append(kept, s)
			keys = append(keys, SurgeKey{s.service, s.hour})
		}
	}
	r.bursts = kept
	slices.SortFunc(keys, func(a, b SurgeKey) int { return cmp.Or(cmp.Compare(a.Service, b.Service), a.Hour.Compare(b.Hour)) })
	return slices.Compact(keys)
}

func (r *paceRule) surge(s *Surge) {
	if r.surges == nil {
		r.surges = map[SurgeKey]Surge{}
	}
	r.surges[s.SurgeKey] = *s
}

type burstKey struct {
	service string
	class   schema.Class
}

func (r *paceRule) finishBursts(out *Result) {
	found := map[burstKey][]*surgeHour{}
	var keys []burstKey
	for _, s := range r.bursts { // in order of time
		if all := r.surges[SurgeKey{s.service, s.hour}]; all.Raised >= leastPeers && 2*all.Raised >= all.Active {
			out.Withheld = append(out.Withheld, Withheld{Code: Burst, Credential: r.subject.Name, Object: "class " + s.class.String() + onService(s.service),
				Why: "half or more of those that called " + s.service + " in that hour were busier than usual, as after a restart"})
			continue
		}
		key := burstKey{s.service, s.class}
		if found[key] == nil {
			keys = append(keys, key)
		}
		found[key] = append(found[key], s)
	}
	for _, key := range keys {
		out.Drafts = append(out.Drafts, r.burst(key, found[key]))
	}
}

func (r *paceRule) burst(key burstKey, hours []*surgeHour) Draft {
	f := r.open(Burst, key.service, key.class.String())
	f.Service, f.Environment = key.service, r.environment(key.service)
	var span fold
	var w weight
	top, topPeak := hours[0], uint64(0)
	for _, s := range hours {
		span.widen(s.hour, s.hour.Add(time.Hour-time.Microsecond))
		f.Calls += s.calls
		for _, op := range s.ops {
			span.want.add(hourWant(s.hash, s.service, op, s.hour))
			if one := r.env.weigh(s.service, op); w.terms == nil || one.points > w.points {
				w = one
			}
		}
		peak, _ := r.confirmed(s)
		if topPeak == 0 || float64(s.size())*float64(max(top.usual, 1)) > float64(top.size())*float64(max(s.usual, 1)) {
			top, topPeak = s, peak
		}
	}
	w.holder(r.subject)
	f.First, f.Last = span.first, span.last
	if len(top.ops) == 1 && len(hours) == 1 {
		f.Operation = top.ops[0]
	}
	times := float64(top.size()) / float64(max(top.usual, 1))
	probability := max(leastP, tailOf(top.score))
	if top.secrets {
		probability = burstChance
		did, what := "read", count(topPeak, "distinct secret")
		if key.class == schema.ClassMint {
			did, what = "made", count(topPeak, "credential")
		}
		usual := fmt.Sprintf("in 99 %% of %s with any it was at most %d in the whole hour", count(top.known, "hour"), top.usual)
		if top.known == 0 {
			usual = fmt.Sprintf("on the %s that it was seen before it never did", count(r.livedBefore(top.hour), "day"))
		}
		f.Title = fmt.Sprintf("%s %s %s within ten minutes%s", r.subject.Name, did, what, onService(key.service))
		f.Reasons = append(f.Reasons, fmt.Sprintf("%s within ten minutes of the hour of %s; %s", what, stamp(top.hour), usual))
	} else {
		f.Title = fmt.Sprintf("%s made %s of class %s%s within an hour, %.0f times the usual most", r.subject.Name, count(top.calls, "call"), key.class, onService(key.service), times)
		f.Reasons = append(f.Reasons,
			fmt.Sprintf("%s in the hour of %s, %d of them in one minute; in 99 %% of %s it was at most %d", count(top.calls, "call"), stamp(top.hour), topPeak, count(top.known, "hour"), top.usual),
			fmt.Sprintf("the same hour of %s had %.0f on average: under a steady rate that is %s", count(top.weeks, "week"), top.rate, odds(probability)))
	}
	f.Evidence.Usual = []string{"never"}
	if top.known > 0 {
		f.Evidence.Usual = []string{fmt.Sprintf("at most %d in 99 %% of %s", top.usual, count(top.known, "hour"))}
	}
	f.Evidence.Seen = []string{fmt.Sprintf("%d in the hour of %s by %s", top.size(), stamp(top.hour), some(top.ops, 5))}
	if len(hours) > 1 {
		f.Reasons = append(f.Reasons, "in "+count(len(hours), "hour"))
	}
	f.Severity, f.Confidence = min(w.severity(schema.SeverityLow, 4), schema.SeverityMedium), 0.6
	if top.secrets {
		f.Severity, f.Confidence = schema.SeverityMedium, 0.75
		if key.class == schema.ClassMint && top.objects < timesPeak*leastSecrets {
			f.Severity = schema.SeverityLow // applications that start take their roles
		}
		if times >= tenfold && top.objects >= timesPeak*leastSecrets && w.points >= 4 {
			f.Severity = schema.SeverityHigh
		}
	}
	f.Reasons = append(f.Reasons, w.reason(f.Severity), fmt.Sprintf("confidence %.2f: how much is certain, what for is not", f.Confidence))
	// Real traffic is burstier than a steady rate; what was never seen in so many
	// hours is all that is sure, and the rate tells a thousandfold more at most.
	surprise := min(surprise(probability), math.Log10(float64(max(top.known, r.livedBefore(top.hour))+1))+3)
	f.Score = &schema.Score{Day: schema.DayOf(f.First).String(), Surprise: round2(surprise), Breadth: round2(math.Log2(times)), Reach: w.points}
	f.Next = commands(&f, callsOf(&f))
	return Draft{Finding: f, Want: span.want.cut()}
}

// size is what is counted: distinct secrets or calls.
func (s *surgeHour) size() uint64 {
	if s.secrets {
		return s.objects
	}
	return s.calls
}
