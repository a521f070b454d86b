package rule

import (
	"math"
	"math/rand/v2"
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

// TestArrivalsOfAHabit holds the exact number of new targets to what the model
// does.
func TestArrivalsOfAHabit(t *testing.T) {
	h := habit{}
	for _, times := range []int{30, 30, 29, 28, 1, 2} {
		h.add(times)
	}
	p := h.arrivals(40, 40)
	sum, mean := 0.0, 0.0
	for k, x := range p {
		sum, mean = sum+x, mean+float64(k)*x
	}
	d, alpha := h.fit()
	want := (float64(h.k) + alpha/d) * (math.Exp(lgamma(alpha+d+float64(h.n)+40)-lgamma(alpha+d+float64(h.n))-lgamma(alpha+float64(h.n)+40)+lgamma(alpha+float64(h.n))) - 1)
	if math.Abs(sum-1) > 1e-9 || math.Abs(mean-want) > 1e-6 {
		t.Errorf("probabilities add up to %g; %g new targets expected, the model says %g", sum, mean, want)
	}
	if one := h.arrivals(1, 3); math.Abs(one[1]-h.fresh()) > 1e-12 {
		t.Errorf("one act is new with %g, and the next act with %g", one[1], h.fresh())
	}
}

func lgamma(x float64) float64 { v, _ := math.Lgamma(x); return v }

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
