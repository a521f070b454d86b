package rule

import "math"

// How often news comes, and how improbable a window with as much of it is.
//
// What is new on one day in one respect is one piece of news, of one thing or
// more: a release brings several at once. Pieces come at a rate that is the
// credential's own; how rates differ among credentials of its kind (a gamma
// distribution) is what is known before its own history tells more. So a
// credential that kept to its habits for weeks among others that do is much surer
// to keep to them than its own weeks alone can tell, and one that finds new things
// every other day is not.

// Tunables of the rates.
const (
	// weekDays is how long a window is in which news is taken together, and how
	// long after its first day a credential's calls do not count as kept habit:
	// weekly work must have been seen.
	weekDays = 7
	// dayShare is which share of a day's chance of a false discovery is spent on
	// the day alone; the rest is for the week that ends with it. Most is found in
	// a day, and a week has more news to pay with.
	dayShare = 0.75
	// graveInDay and graveInWeek are which shares of it are for what touches secrets
	// or rights: one such thing may be all of a day's news, while a week is asked
	// for how much there was.
	graveInDay, graveInWeek = 0.5, 0.25
	// leastShape and mostShape bound how different rates are taken to be, as the
	// shape of the gamma distribution. Some credentials always find ten times as
	// much as most do, whatever the known ones say: 1/4 leaves room for that.
	leastShape, mostShape = 0.05, 0.25
	// leastExposure is of how many days of credentials of its kind must tell
	// before all credentials are asked.
	leastExposure = 100
)

// tempo is how fast news comes to the credentials of a group in one respect.
type tempo struct {
	// credentials, pieces and days say what it stands on.
	credentials, pieces, days int
	// mean is of pieces a day, shape how alike the rates are.
	mean, shape float64
	// several says how many of the pieces had more than one thing, grave how many
	// touched secrets or rights.
	several, grave int
}

// exposure sums what a tempo is made of: in whole numbers, so that no order of
// the credentials matters.
type exposure struct{ n, x, e, ee, xe, xx, several, grave int }

// add takes one credential with so many pieces in so many days.
func (s *exposure) add(pieces, several, grave, days int) {
	if days == 0 {
		return
	}
	s.n++
	s.x += pieces
	s.e += days
	s.ee += days * days
	s.xe += pieces * days
	s.xx += pieces * pieces
	s.several += several
	s.grave += grave
}

// tempo fits the gamma distribution by its moments. One piece more than was seen
// is taken for granted: that nothing came so far is no proof that nothing comes.
func (s *exposure) tempo() tempo {
	t := tempo{credentials: s.n, pieces: s.x, days: s.e, several: s.several, grave: s.grave, shape: mostShape}
	t.mean = float64(s.x+1) / float64(s.e+1)
	if s.ee > 0 {
		beyond := float64(s.xx) - 2*t.mean*float64(s.xe) + t.mean*t.mean*float64(s.ee) - float64(s.x)
		if beyond > 0 {
			t.shape = min(max(t.mean*t.mean*float64(s.ee)/beyond, leastShape), mostShape)
		}
	}
	return t
}

// arrivals is how probable each number of pieces is in so many days, up to the
// number most, for a credential with so many pieces in so many days before (a
// negative binomial distribution).
func (t *tempo) arrivals(pieces, before, days, most int) []float64 {
	shape := t.shape + float64(pieces)
	rate := t.shape/t.mean + float64(before)
	p := make([]float64, most+1)
	p[0] = math.Pow(rate/(rate+float64(days)), shape)
	for k := range most {
		p[k+1] = p[k] * (shape + float64(k)) / float64(k+1) * float64(days) / (rate + float64(days))
	}
	return p
}

// piece is news of one day in one respect.
type piece struct {
	dimension dimension
	// tail is how probable something as rare is, where something new is used;
	// things is how much there is of it.
	tail   float64
	things int
	// grave says that it touches secrets or rights.
	grave bool
}

// expectation is what news a window may have by chance.
type expectation struct {
	// pieces says by respect how probable each number of pieces is.
	pieces [dimensions][]float64
	// grave is the share of pieces of a respect that touch secrets or rights.
	grave [dimensions]float64
	// reserved is which share of what may be chance is for those.
	reserved float64
	// more is the chance that a piece has one thing more.
	more float64
}

// shareOf estimates a share of which so many of so many are known: neither none nor
// all can be sure.
func shareOf(part, whole int) float64 { return float64(part+1) / float64(whole+2) }

// mostPieces bounds the pieces that are counted; a window with more is as
// improbable as one with so many.
const mostPieces = 48

// convolved is how probable each number of pieces is in all respects together.
func (x *expectation) convolved() []float64 {
	all := make([]float64, mostPieces+1)
	all[0] = 1
	for _, p := range x.pieces {
		if p == nil {
			continue
		}
		next := make([]float64, mostPieces+1)
		for i, a := range all {
			for k := range min(len(p), mostPieces+1-i) {
				next[i+k] += a * p[k]
			}
		}
		all = next
	}
	return all
}

// mark is how probable a piece is among pieces: uniform at most, whatever the
// kinds of pieces there are (the respects, with and without secrets or rights). Each
// kind has its share of what may be chance, so that one which comes seldom is as odd
// as it is beside one that comes every day.
func (x *expectation) mark(one piece) float64 {
	respects, sum := 0.0, 0.0
	for _, p := range x.pieces {
		if p != nil {
			respects++
			sum += 1 - p[0]
		}
	}
	comes := (1 - x.pieces[one.dimension][0]) / max(sum, leastP)
	if one.grave {
		comes *= x.grave[one.dimension] / x.reserved
	} else {
		comes *= (1 - x.grave[one.dimension]) / (1 - x.reserved)
	}
	return min(1, max(respects*comes*smallest(one.tail, one.things), leastP))
}

// smallest corrects the smallest of so many p-values for having been chosen (Šidák).
func smallest(p float64, of int) float64 {
	return -math.Expm1(float64(max(of, 1)) * math.Log1p(-min(p, 1-1e-15)))
}

// p is how probable it is by chance that a window weighs as much as these pieces
// do. A piece weighs by how improbable one is and how rare it is, a thing more in it
// by how improbable that is; the probability of all windows that weigh as much, or
// more, is summed up: numbers of pieces by their rates, numbers of things by a
// geometric distribution, and marks, which are uniform, so that the sum of their
// logarithms has a gamma distribution.
func (x *expectation) p(list []piece) float64 {
	if len(list) == 0 {
		return 1
	}
	number := x.convolved()
	one := max(1, -math.Log(max(1-number[0], leastP)))
	extra := 0.0
	if x.more > 0 {
		extra = max(0.3, -math.Log(x.more))
	}
	weight := 0.0
	for _, n := range list[:min(len(list), mostPieces)] {
		weight += one - math.Log(x.mark(n)) + extra*float64(max(n.things, 1)-1)
	}
	weight -= 1e-9 // so that rounding takes nothing out of the sum that is as heavy
	less := 0.0
	for m := 0; m <= mostPieces && one*float64(m) < weight; m++ {
		things := math.Pow(1-x.more, float64(m)) // of no thing more
		for z := 0; ; z++ {
			rest := weight - one*float64(m) - extra*float64(z)
			if rest <= 0 || z > 0 && (extra == 0 || m == 0) {
				break
			}
			if m == 0 {
				less += number[0]
				break
			}
			less += number[m] * things * gammaBelow(m, rest)
			things *= x.more * float64(m+z) / float64(z+1)
		}
	}
	return min(1, max(leastP, 1-less))
}

// gammaBelow is how probable it is that so many exponential numbers add up to less.
func gammaBelow(n int, x float64) float64 {
	term, sum := 1.0, 1.0
	for i := 1; i < n; i++ {
		term *= x / float64(i)
		sum += term
	}
	return max(0, 1-math.Exp(-x)*sum)
}
