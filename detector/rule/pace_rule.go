package rule

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/schema"
)

// paceRule is what D10 and D15 share: how fast the subject works, and the single
// calls of the hours that stand out.
type paceRule struct {
	base
	paces []Pace
	// lacks are operations that were let through without their scope: D01 speaks
	// of those, and D15 only of secrets and rights among them.
	lacks map[Op]struct{}
	// lived are the days on which the subject was authorised to do anything.
	lived  map[schema.Day]struct{}
	norms  map[NormKey]RouteNorm
	visits map[VisitKey]*visited
	surges map[SurgeKey]Surge

	bulks  []*bulk
	bursts []*surgeHour
}

func (r *paceRule) finish(out *Result) {
	r.finishBulks(out)
	r.finishBursts(out)
}

// Bounds of what is looked at call by call, for one subject: the earliest hours
// that stand out tell what it is about, whatever follows.
const (
	mostHours = 24
	mostNorms = 16
)

func (r *paceRule) use(u *Use) {
	if u.Judgement.Holding == compare.Lacks && u.Decision == schema.DecisionAllowed {
		if r.lacks == nil {
			r.lacks = map[Op]struct{}{}
		}
		r.lacks[Op{u.Service, u.Operation}] = struct{}{}
	}
	r.lives(&u.Row)
}

// lives takes the days of a row, of the window or before it.
func (r *paceRule) lives(row *Row) {
	if !row.Decision.Authorised() {
		return
	}
	if r.lived == nil {
		r.lived = map[schema.Day]struct{}{}
	}
	for _, d := range row.Days {
		r.lived[d] = struct{}{}
	}
}

// livedBefore is on how many days before a time the subject was known.
func (r *paceRule) livedBefore(now time.Time) (n int) {
	for d := range r.lived {
		if d < schema.DayOf(now) {
			n++
		}
	}
	return n
}

// grown reports whether the subject was known for a learning period before a time:
// then that it never did something is a habit, too.
func (r *paceRule) grown(now time.Time) bool {
	for d := range r.lived {
		if d+learningDays <= schema.DayOf(now) {
			return r.livedBefore(now) >= matureDays
		}
	}
	return false
}

func (r *paceRule) pace(p *Pace) { r.paces = append(r.paces, *p) }

// beyond reports whether an operation was let through without its scope.
func (r *paceRule) beyond(op Op) bool {
	_, out := r.lacks[op]
	return out
}

// order makes the paces' order no matter of how they were read.
func (r *paceRule) order() {
	r.paces = slices.DeleteFunc(r.paces, func(p Pace) bool {
		return r.beyond(Op{p.Service, p.Operation}) && !bulky(r.env.class(p.Service, p.Operation))
	})
	slices.SortFunc(r.paces, func(a, b Pace) int {
		return cmp.Or(bytes.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
}

// normKeys names the operations whose norm must be known, since the subject is
// too young there for a habit of its own. Call it after all paces.
func (r *paceRule) normKeys() []NormKey {
	r.order()
	var keys []NormKey
	for i := range r.paces {
		p := &r.paces[i]
		if r.beyond(Op{p.Service, p.Operation}) {
			continue
		}
		first, days := p.Hours[0].Start, dayCount{}
		for _, h := range p.Hours {
			if h.Objects > leastBulk && !paceMature(first, h.Start, days.n) && !h.Start.Before(r.env.Window.From) {
				keys = append(keys, NormKey{p.Hash, Op{p.Service, p.Operation}})
				break
			}
			days.add(h.Start)
		}
	}
	return keys[:min(len(keys), mostNorms)]
}

func (r *paceRule) norm(n *RouteNorm) {
	if r.norms == nil {
		r.norms = map[NormKey]RouteNorm{}
	}
	r.norms[n.NormKey] = *n
}

// visitKeys names the hours that must be looked at call by call. Call it after
// all norms.
func (r *paceRule) visitKeys() []VisitKey {
	r.bulks = r.findBulks()
	r.bursts = r.findBursts()
	set := map[VisitKey]struct{}{}
	for _, b := range r.bulks {
		for _, h := range b.hours[:min(len(b.hours), mostHours)] {
			set[VisitKey{b.hash, b.op.Service, b.op.Operation, h.Start}] = struct{}{}
		}
	}
	for _, b := range r.bursts {
		for _, op := range b.ops {
			set[VisitKey{b.hash, b.service, op, b.hour}] = struct{}{}
		}
	}
	keys := make([]VisitKey, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareVisits)
	r.visits = map[VisitKey]*visited{}
	return keys
}

func compareVisits(a, b VisitKey) int {
	return cmp.Or(bytes.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), a.Hour.Compare(b.Hour))
}

func (r *paceRule) visit(v *Visit) {
	one := r.visits[v.VisitKey]
	if one == nil {
		one = &visited{objects: map[string]bool{}, minutes: map[int64]uint64{}}
		r.visits[v.VisitKey] = one
	}
	one.add(v)
}

// dayCount counts distinct days of ascending times.
type dayCount struct {
	last schema.Day
	n    int
}

func (d *dayCount) add(t time.Time) {
	if day := schema.DayOf(t); d.n == 0 || day != d.last {
		d.last = day
		d.n++
	}
}

// visited is what the single calls of an hour tell.
type visited struct {
	// objects says of each whether all calls to it missed.
	objects map[string]bool
	minutes map[int64]uint64
	// recent are the first times of distinct objects, ascending.
	firsts []time.Time
}

func (v *visited) add(one *Visit) {
	missed, known := v.objects[one.Object]
	if !known {
		v.firsts = append(v.firsts, one.Time)
		missed = true
	}
	v.objects[one.Object] = missed && one.Missed
	v.minutes[one.Time.Unix()/60]++
}

// missedShare is the share of objects that no call reached.
func (v *visited) missedShare() float64 {
	n := 0
	for _, missed := range v.objects {
		if missed {
			n++
		}
	}
	return float64(n) / float64(max(len(v.objects), 1))
}

// numbered splits an object at its last run of digits.
func numbered(object string) (around [2]string, number int64, ok bool) {
	end := len(object)
	for end > 0 && (object[end-1] < '0' || object[end-1] > '9') {
		end--
	}
	begin := end
	for begin > 0 && object[begin-1] >= '0' && object[begin-1] <= '9' {
		begin--
	}
	if begin == end || end-begin > 18 {
		return around, 0, false
	}
	for _, c := range object[begin:end] {
		number = number*10 + int64(c-'0')
	}
	return [2]string{object[:begin], object[end:]}, number, true
}

// run is the length of the longest row of ids that follow each other, each one or
// two above the one before. The set is looked at, not the order in time: who
// walks with eight hands walks, too.
func (v *visited) run() int {
	ids := map[[2]string][]int64{}
	for object := range v.objects {
		if around, number, ok := numbered(object); ok {
			ids[around] = append(ids[around], number)
		}
	}
	longest := 0
	for _, list := range ids {
		slices.Sort(list)
		run := 1
		for i := 1; i < len(list); i++ {
			if gap := list[i] - list[i-1]; gap > 0 && gap <= 2 {
				run++
			} else {
				run = 1
			}
			longest = max(longest, run)
		}
	}
	return longest
}

// peak is the most calls of a minute.
func (v *visited) peak() (minute int64, calls uint64) {
	for m, n := range v.minutes {
		if n > calls || n == calls && m < minute {
			minute, calls = m, n
		}
	}
	return minute, calls
}

// within10 is the most distinct objects first touched in a span of ten minutes.
func (v *visited) within10() int {
	most, from := 0, 0
	for to := range v.firsts {
		for v.firsts[to].Sub(v.firsts[from]) >= 10*time.Minute {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// callsWithin10 is the most calls in ten minutes of the clock that follow each
// other.
func (v *visited) callsWithin10() int {
	most := 0
	for from := range v.minutes {
		n := uint64(0)
		for m := from; m < from+10; m++ {
			n += v.minutes[m]
		}
		most = max(most, int(n))
	}
	return most
}

// microcluster is how much more often than before something happens in a tick
// (MIDAS): a calls now, s in all of t ticks. Under a steady rate it is chi-squared
// with one degree of freedom.
func microcluster(a, s, t float64) float64 {
	if t < 2 || s <= 0 {
		return 0
	}
	d := a - s/t
	return d * d * t * t / (s * (t - 1))
}

// tailOf is the probability that a chi-squared number with one degree of freedom
// is larger.
func tailOf(score float64) float64 { return math.Erfc(math.Sqrt(score / 2)) }
