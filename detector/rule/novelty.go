package rule

import "math"

// The Pitman-Yor model of first uses. A source that acted n times on k targets
// acts next on a new one with probability (alpha + d*k) / (n + alpha). The
// discount d tells a source that keeps to its targets from one that finds a new
// one every day; a deployment tool is the latter, and for it a new target is no
// news.

// Bounds of the discount, which is the share of targets seen exactly once.
const leastDiscount, mostDiscount = 0.05, 0.9

// habit is what a model is made from: how often (on how many days) each target
// was acted on.
type habit struct {
	// n is the sum over all targets, k their number, once how many of them were
	// acted on once.
	n, k, once int
}

// add takes one more target that was acted on so often.
func (h *habit) add(times int) {
	if times <= 0 {
		return
	}
	h.n += times
	h.k++
	if times == 1 {
		h.once++
	}
}

// fresh returns the probability that the next act is on a new target; 1 where
// nothing is known.
func (h habit) fresh() float64 {
	if h.k == 0 {
		return 1
	}
	d, alpha := h.fit()
	return min(1, (alpha+d*float64(h.k))/(float64(h.n)+alpha))
}

// fit returns the model's discount and concentration.
func (h habit) fit() (d, alpha float64) {
	d = min(max(float64(h.once)/float64(h.k), leastDiscount), mostDiscount)
	return d, concentration(h.n, h.k, d)
}

// arrivals is how probable each number of new targets is among so many acts, up to
// the number most: exact, since news makes more news likelier.
func (h habit) arrivals(acts, most int) []float64 {
	p := make([]float64, most+1)
	if h.k == 0 {
		p[min(acts, most)] = 1
		return p
	}
	d, alpha := h.fit()
	p[0] = 1
	for i := range acts {
		for k := min(i, most); k >= 0; k-- {
			next := min(1, (alpha+d*float64(h.k+k))/(float64(h.n+i)+alpha))
			if k < most {
				p[k+1] += p[k] * next
			}
			p[k] *= 1 - next
		}
	}
	return p
}

// concentration solves for the alpha under which k targets are expected of n
// acts, and half a one more: who was seen with one target may have been about to
// use another, and is not sure to keep to it for ever.
func concentration(n, k int, d float64) float64 {
	low, high := 1e-3, 1e4
	want := float64(k) + 0.5
	if expectedTargets(n, high, d) < want {
		return high
	}
	for range 50 {
		middle := math.Sqrt(low * high)
		if expectedTargets(n, middle, d) < want {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Sqrt(low * high)
}

// expectedTargets is how many targets n acts of the model meet.
func expectedTargets(n int, alpha, d float64) float64 {
	lg := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	rise := lg(alpha+d+float64(n)) - lg(alpha+float64(n)) - lg(alpha+d) + lg(alpha+1)
	return math.Exp(rise)/d - alpha/d
}

// leastP bounds p-values from below: no model is surer than that.
const leastP = 1e-12

// surprise turns a p-value into a score's axis, rounded so that the bytes of a
// finding do not hang on the last digits.
func surprise(p float64) float64 { return round2(-math.Log10(max(p, leastP))) }

func round2(x float64) float64 {
	if x <= 0 {
		return 0
	}
	return math.Round(x*100) / 100
}
