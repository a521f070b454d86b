package rule

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// draw simulates the model: it returns the habit after n acts, and the share of
// the following acts that were on new targets.
func draw(r *rand.Rand, n, more int, alpha, d float64) (habit, float64) {
	var times []int
	act := func(total int) bool {
		x := r.Float64() * (float64(total) + alpha)
		for i := range times {
			if x -= float64(times[i]) - d; x < 0 {
				times[i]++
				return false
			}
		}
		times = append(times, 1)
		return true
	}
	for i := range n {
		act(i)
	}
	var h habit
	for _, t := range times {
		h.add(t)
	}
	fresh := 0
	for i := range more {
		if act(n + i) {
			fresh++
		}
	}
	return h, float64(fresh) / float64(more)
}

// TestFreshIsCalibrated holds the predicted chance of a new target to what the
// model does, for sources that keep to few targets and for ones that do not.
func TestFreshIsCalibrated(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct{ alpha, d float64 }{{0.5, 0.05}, {3, 0.1}, {20, 0.1}, {2, 0.6}, {5, 0.8}} {
		predicted, real := 0.0, 0.0
		const sources = 400
		for range sources {
			h, share := draw(r, 400, 20, c.alpha, c.d)
			predicted += h.fresh() / sources
			real += share / sources
		}
		if ratio := predicted / real; ratio < 0.6 || ratio > 2.5 { // surer than that would be wrong, less sure only costs
			t.Errorf("alpha %.1f, d %.2f: predicted %.4f, happened %.4f", c.alpha, c.d, predicted, real)
		}
	}
}

// TestCombinedIsNoSurerThanChance: of days on which targets are new by chance, and
// as rare as chance has it, no more than a share of x may look as improbable as x.
func TestCombinedIsNoSurerThanChance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const days, targets = 40000, 12
	for _, fresh := range []float64{0.005, 0.02, 0.1, 0.4} {
		for _, level := range []float64{0.05, 0.01, 0.001} {
			odd := 0
			for range days {
				var list []first
				for range targets {
					if r.Float64() < fresh {
						list = append(list, first{fresh, r.Float64()})
					}
				}
				if combined(list, targets) <= level {
					odd++
				}
			}
			if share := float64(odd) / days; share > 1.2*level {
				t.Errorf("first uses come with %.3f: %.4f of days look as improbable as %.3f", fresh, share, level)
			}
		}
	}
	if p := combined([]first{{1e-2, 1e-2}, {1e-2, 1e-2}}, 10); p > 1e-4 || p < 1e-7 {
		t.Errorf("two together are %g", p)
	}
	// Five new things of fifteen are far less likely than one, even where none of
	// them is rare.
	common := slices.Repeat([]first{{0.01, 0.5}}, 5)
	if one, five := combined(common[:1], 15), combined(common, 15); five > one/1000 {
		t.Errorf("one of fifteen is %g, five are %g", one, five)
	}
	if p := combined(nil, 10); p != 1 {
		t.Errorf("nothing new is %g", p)
	}
}

// TestConcentration: the alpha found is the one under which as many targets are
// expected as were seen.
func TestConcentration(t *testing.T) {
	for _, n := range []int{20, 300, 40000} {
		for _, k := range []int{2, 5, 18} {
			for _, d := range []float64{leastDiscount, 0.4} {
				a := concentration(n, k, d)
				if a <= 1.1e-3 || a >= 9.9e3 {
					continue // no alpha gives that: the bound is as near as can be
				}
				if got := expectedTargets(n, a, d); math.Abs(got-float64(k)-0.5) > 0.01*float64(k) {
					t.Errorf("n %d, k %d, d %.2f: alpha %g expects %.2f", n, k, d, a, got)
				}
			}
		}
	}
}
