package detector

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// reservoir is how many days a score is compared with: its own and those before.
const reservoir = 30

// Rank says of each finding that is a score whether it is over the budget of its
// day, and returns those of which it said otherwise before. Rules are left as
// they are.
//
// The scores of a day are ranked by how many scores of this and the 29 days
// before are at most as odd on every axis (the directed anomaly score), then by
// reach, then by id; notes, of low severity, take what the others leave. Detections
// take turns in that order: one event that many credentials show in one respect
// does not keep other respects out. Scores of one credential take one place: who
// looks at one of them sees the others, too. So what a day
// that has passed said is not changed by later ones. Before that, the first uses
// of the day must hold together as discoveries: of those that the line of
// Benjamini and Hochberg accepts, one in twenty is expected to be chance.
//
// All scores that stand must be given, whichever pass found them: a pass over
// some credentials ranks its findings together with those that stand of others.
func Rank(findings []*schema.Finding, active int) (changed []*schema.Finding) {
	byDay := map[string][]*schema.Finding{}
	vectors := map[string]vectorCounts{}
	for _, f := range findings {
		if f.Score == nil {
			continue
		}
		day := f.Score.Day
		byDay[day] = append(byDay[day], f)
		if vectors[day] == nil {
			vectors[day] = vectorCounts{}
		}
		vectors[day][vectorOf(f.Score)]++
	}
	days := make([]string, 0, len(byDay))
	for day := range byDay {
		days = append(days, day)
	}
	slices.Sort(days)
	budget := rule.Budget(active)
	for i, day := range days {
		compared := vectorCounts{}
		for _, earlier := range days[:i+1] {
			if recent(earlier, day) {
				for v, n := range vectors[earlier] {
					compared[v] += n
				}
			}
		}
		over := overBudget(byDay[day], compared, budget, active)
		for k, f := range byDay[day] {
			if f.OverBudget != over[k] {
				f.OverBudget = over[k]
				changed = append(changed, f)
			}
		}
	}
	slices.SortFunc(changed, func(a, b *schema.Finding) int { return cmp.Compare(a.ID, b.ID) })
	return changed
}

// recent reports whether a day is the other one or one of those shortly before.
// Days that are none (a finding of another release) are compared with
// themselves.
func recent(earlier, day string) bool {
	a, err1 := time.Parse(time.DateOnly, earlier)
	b, err2 := time.Parse(time.DateOnly, day)
	if err1 != nil || err2 != nil {
		return earlier == day
	}
	return b.Sub(a) < reservoir*24*time.Hour
}

// vector is a score's axes.
type vector struct {
	surprise, breadth float64
	reach             int
}

// vectorCounts says how many scores have the same axes: they are rounded, so
// that many do.
type vectorCounts map[vector]int

func vectorOf(s *schema.Score) vector { return vector{s.Surprise, s.Breadth, s.Reach} }

// directed is how many of the compared are at most as odd on every axis.
func directed(v vector, compared vectorCounts) (n int) {
	for other, count := range compared {
		if other.surprise <= v.surprise && other.breadth <= v.breadth && other.reach <= v.reach {
			n += count
		}
	}
	return n
}

// overBudget ranks the scores of one day.
func overBudget(list []*schema.Finding, compared vectorCounts, budget, active int) []bool {
	over := make([]bool, len(list))
	chance := discoveries(list, active)
	type place struct{ at, directed, turn int }
	var places []place
	for i, f := range list {
		if chance[i] {
			over[i] = true
			continue
		}
		places = append(places, place{at: i, directed: directed(vectorOf(f.Score), compared)})
	}
	odder := func(a, b place) int {
		x, y := list[a.at], list[b.at]
		return cmp.Or(cmp.Compare(note(x), note(y)), cmp.Compare(b.directed, a.directed), cmp.Compare(y.Score.Reach, x.Score.Reach), cmp.Compare(x.ID, y.ID))
	}
	slices.SortFunc(places, odder)
	turns := map[string]int{}
	for i := range places {
		code := list[places[i].at].Code
		places[i].turn = turns[code]
		turns[code]++
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(note(list[a.at]), note(list[b.at])), cmp.Compare(a.turn, b.turn), odder(a, b))
	})
	taken, looked := 0, map[string]bool{}
	for _, p := range places {
		id := list[p.at].Credential.ID
		if id != "" && looked[id] {
			continue // it comes with the one that is looked at
		}
		if over[p.at] = taken >= budget; !over[p.at] {
			taken++
			looked[id] = true
		}
	}
	return over
}

// note is 1 for findings that nobody is called for.
func note(f *schema.Finding) int {
	if f.Severity < schema.SeverityMedium {
		return 1
	}
	return 0
}

// discoveries reports which first uses (D05) of a day may be chance: those above
// the line of Benjamini and Hochberg for as many tests as there are active
// identities.
func discoveries(list []*schema.Finding, active int) (chance []bool) {
	chance = make([]bool, len(list))
	var order []int
	for i, f := range list {
		if f.Code == rule.BehaviourDrift {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := list[a], list[b]
		return cmp.Or(cmp.Compare(y.Score.Surprise, x.Score.Surprise), cmp.Compare(x.ID, y.ID))
	})
	tests := max(active, len(order))
	accepted := 0
	for k, i := range order {
		if math.Pow(10, -list[i].Score.Surprise) <= rule.FalseShare*float64(k+1)/float64(tests) {
			accepted = k + 1
		}
	}
	for _, i := range order[accepted:] {
		chance[i] = true
	}
	return chance
}

// rank ranks the findings of a pass over everything.
func (r *run) rank() {
	scores := make([]*schema.Finding, 0, len(r.drafts))
	for i := range r.drafts {
		scores = append(scores, &r.drafts[i].Finding)
	}
	Rank(scores, r.summary.Active)
}
