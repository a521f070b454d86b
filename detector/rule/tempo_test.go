package rule

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gamma draws from a gamma distribution of some shape and mean (Marsaglia and
// Tsang).
func gamma(r *rand.Rand, shape, mean float64) float64 {
	boost := 1.0
	k := shape
	if k < 1 {
		boost, k = math.Pow(r.Float64(), 1/k), k+1
	}
	d := k - 1.0/3
	for {
		x := r.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(r.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return boost * d * v * mean / shape
		}
	}
}

func poisson(r *rand.Rand, mean float64) int {
	n := 0
	for t := r.ExpFloat64(); t < mean; t += r.ExpFloat64() {
		n++
	}
	return n
}

// TestWindowsAreNoOdderThanChance: of windows whose news comes as the model says,
// no more than a share of x may look as improbable as x, whatever the rates, the
// days and the number of respects; and not far less, or nothing would be found.
func TestWindowsAreNoOdderThanChance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const rounds = 30000
	for _, c := range []struct {
		mean, shape, more float64
		days              int
	}{{0.003, 0.1, 0.3, 1}, {0.003, 0.25, 0.5, 7}, {0.05, 0.2, 0.4, 7}, {0.4, 0.25, 0.2, 7}, {2, 0.25, 0.6, 1}} {
		kind := [2]tempo{{mean: c.mean, shape: c.shape}, {mean: c.mean / 3, shape: c.shape}}
		levels := []float64{0.05, 0.01, 0.001}
		odd, most := make([]int, len(levels)), 0.0
		for range rounds {
			var x expectation
			x.more, x.reserved = c.more, graveInDay
			x.grave[operations], x.grave[tenants] = 0.1, 0.1
			var list []piece
			for i, d := range []dimension{operations, tenants} {
				const before = 20
				rate := gamma(r, c.shape, kind[i].mean)
				x.pieces[d] = kind[i].arrivals(poisson(r, rate*before), before, c.days, mostPieces)
				for range poisson(r, rate*float64(c.days)) {
					one := piece{d, r.Float64(), 1, r.Float64() < 0.1}
					for r.Float64() < c.more {
						one.things++
						one.tail = min(one.tail, r.Float64())
					}
					list = append(list, one)
				}
			}
			p := x.p(list)
			for i, level := range levels {
				if p <= level {
					odd[i]++
				}
			}
			if len(list) > 0 {
				most = max(most, p)
			}
		}
		for i, level := range levels {
			if share := float64(odd[i]) / rounds; share > 1.2*level+2e-4 {
				t.Errorf("%+v: %.4f of windows look as improbable as %.3f", c, share, level)
			}
		}
	}
}

// TestWeighing: more news, rarer news, and news where it comes seldom are less
// probable; a history of it makes it likely.
func TestWeighing(t *testing.T) {
	kind := tempo{mean: 0.003, shape: 0.2}
	quiet := expectation{more: 0.3, reserved: graveInDay}
	quiet.pieces[operations], quiet.pieces[services] = kind.arrivals(0, 20, 7, mostPieces), kind.arrivals(0, 20, 7, mostPieces)
	busy := expectation{more: 0.3, reserved: graveInDay}
	busy.pieces[operations], busy.pieces[services] = kind.arrivals(12, 20, 7, mostPieces), kind.arrivals(0, 20, 7, mostPieces)
	op := func(tail float64, things int) piece { return piece{operations, tail, things, false} }
	order := [][]piece{
		{op(0.9, 1)}, {op(0.1, 1)}, {op(0.1, 2)}, {op(0.5, 1), op(0.5, 1)}, {op(0.5, 1), op(0.5, 1), op(0.5, 1)}, {op(0.1, 4), op(0.1, 3), op(0.1, 2), op(0.1, 2)},
	}
	last := 1.0
	for i, list := range order {
		p := quiet.p(list)
		if p >= last || p < leastP {
			t.Errorf("window %d is %g, the one before %g", i, p, last)
		}
		last = p
		if b := busy.p(list); b < p {
			t.Errorf("window %d is %g for who finds new things all the time, and %g for who never does", i, b, p)
		}
	}
	if p := quiet.p(nil); p != 1 {
		t.Errorf("nothing new is %g", p)
	}
	if p := busy.p(order[3]); p < 0.05 {
		t.Errorf("two new things in a week are %g for who finds four a week", p)
	}
	many := make([]piece, 300)
	for i := range many {
		many[i] = op(0.5, 3)
	}
	if p := quiet.p(many); p != leastP {
		t.Errorf("three hundred pieces of news are %g", p)
	}
}

// TestTempoIsOfAll: the rates of a group are fitted from sums.
func TestTempoIsOfAll(t *testing.T) {
	var alike, apart exposure
	for i := range 100 {
		alike.add(i%2, 0, 0, 20)
		apart.add(i/95*10, i/95*2, 0, 20)
	}
	a, b := alike.tempo(), apart.tempo()
	if a.pieces != 50 || b.pieces != 50 || a.mean != b.mean {
		t.Errorf("as much news makes the same rate: %+v, %+v", a, b)
	}
	if a.shape != mostShape || b.shape >= a.shape {
		t.Errorf("rates that differ more have the smaller shape: %g, %g", a.shape, b.shape)
	}
	var none exposure
	if n := none.tempo(); n.mean != 1 {
		t.Errorf("of nobody, news every day must be expected, not %g", n.mean)
	}
}
