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
func (h habit) fresh() float64 { return h.freshAfter(0) }

// freshAfter is that chance where the acts since were so many, and all of them on
// new targets: news makes more news likelier.
func (h habit) freshAfter(news int) float64 {
	if h.k == 0 {
		return 1
	}
	d := min(max(float64(h.once)/float64(h.k), leastDiscount), mostDiscount)
	alpha := concentration(h.n, h.k, d)
	return min(1, (alpha+d*float64(h.k+news))/(float64(h.n+news)+alpha))
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

// fisher combines p-values: the probability that a product of so many uniform
// numbers is at most theirs.
func fisher(p []float64) float64 {
	x := 0.0
	for _, one := range p {
		x -= math.Log(max(one, leastP))
	}
	// The tail of the chi-squared distribution with an even number of degrees
	// of freedom is a sum.
	term, sum := 1.0, 1.0
	for i := 1; i < len(p); i++ {
		term *= x / float64(i)
		sum += term
	}
	return min(1, math.Exp(-x)*sum)
}

// leastP bounds p-values from below: no model is surer than that.
const leastP = 1e-30

// sidak corrects the smallest of so many p-values for having been chosen.
func sidak(p float64, tests int) float64 {
	return -math.Expm1(float64(max(tests, 1)) * math.Log1p(-min(p, 1-1e-15)))
}

// choices is how many ways there are to choose k of n.
func choices(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v }
	return math.Exp(lg(n) - lg(k) - lg(n-k))
}

// first is one first use: how probable it is that anything new is used at all
// (fresh), and that it is then something as rare (tail). Where there is no habit
// to break, a tail is uniform; fresh is a chance and not a p-value, so the
// improbability of several is their product, and only the tails are Fisher's.
type first struct{ fresh, tail float64 }

// combined is how probable as much news is, by chance, on a day on which so many
// targets were acted on. It is the smaller of the sharpest one alone (Šidák) and
// of all k together: that k of the targets are new (the product, times the ways
// to choose them) and as rare (Fisher). It is paid for by two for the sharpest
// and by two to the power of k for k together, so that looking at every number
// makes nothing likelier than it is: the inverses add up to one.
func combined(list []first, targets int) float64 {
	if len(list) == 0 {
		return 1
	}
	targets = max(targets, len(list))
	sharpest, all := 1.0, 0.0
	tails := make([]float64, len(list))
	for i, n := range list {
		sharpest = min(sharpest, n.fresh*n.tail)
		all += math.Log(max(n.fresh, leastP))
		tails[i] = n.tail
	}
	p := 2 * sidak(sharpest, targets)
	if k := len(list); k > 1 {
		p = min(p, math.Exp(all+float64(k)*math.Ln2)*choices(targets, k)*fisher(tails))
	}
	return max(leastP, min(1, p))
}

// surprise turns a p-value into a score's axis, rounded so that the bytes of a
// finding do not hang on the last digits.
func surprise(p float64) float64 { return round2(-math.Log10(max(p, leastP))) }

func round2(x float64) float64 {
	if x <= 0 {
		return 0
	}
	return math.Round(x*100) / 100
}
