package recommend

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomProblem makes a small problem: needs in DNF, red operations that share
// their atoms, costs.
func randomProblem(r *rand.Rand) *problem {
	p := &problem{atoms: 1 + r.IntN(10)}
	clauses := func() []clause {
		var list []clause
		for range 1 + r.IntN(3) {
			var c clause
			for range 1 + r.IntN(3) {
				c = append(c, r.IntN(p.atoms))
			}
			slices.Sort(c)
			list = append(list, slices.Compact(c))
		}
		return minimal(list)
	}
	for range r.IntN(7) {
		p.needs = append(p.needs, clauses())
	}
	for range r.IntN(12) {
		p.red = append(p.red, redOperation{clauses(), 1 + r.IntN(10)})
	}
	if r.IntN(2) == 0 {
		p.cost = make([]int, p.atoms)
		for i := range p.cost {
			p.cost[i] = r.IntN(5)
		}
	}
	return p
}

// bruteForce tries all sets.
func bruteForce(p *problem) (excess, size int) {
	excess = -1
	for mask := range 1 << p.atoms {
		kept := make([]bool, p.atoms)
		for a := range kept {
			kept[a] = mask>>a&1 == 1
		}
		if slices.ContainsFunc(p.needs, func(n []clause) bool { return !open(n, kept) }) {
			continue
		}
		e, n := p.excess(kept), bits.OnesCount(uint(mask))
		if excess < 0 || e < excess || e == excess && n < size {
			excess, size = e, n
		}
	}
	return excess, size
}

func TestSolveAgainstBruteForce(t *testing.T) {
	nodes := 0
	for seed := range uint64(12000) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := randomProblem(r)
		s := solve(p, nodeLimit)
		excess, size := bruteForce(p)
		if !s.optimal || s.excess != excess || len(s.keep) != size {
			t.Fatalf("seed %d: keeps %v with excess %d (optimal %v), best is %d scopes with excess %d\n%+v", seed, s.keep, s.excess, s.optimal, size, excess, p)
		}
		kept := p.set(s.keep)
		if slices.ContainsFunc(p.needs, func(n []clause) bool { return !open(n, kept) }) {
			t.Fatalf("seed %d: %v leaves a need open", seed, s.keep)
		}
		nodes += s.nodes
		// The order of needs and red operations does not matter, but for which
		// of equally good sets is kept; the caller sorts them.
		r.Shuffle(len(p.needs), func(i, j int) { p.needs[i], p.needs[j] = p.needs[j], p.needs[i] })
		r.Shuffle(len(p.red), func(i, j int) { p.red[i], p.red[j] = p.red[j], p.red[i] })
		if again := solve(p, nodeLimit); again.excess != excess || len(again.keep) != size {
			t.Fatalf("seed %d: another order gives another quality", seed)
		}
	}
	t.Logf("12000 problems in %d nodes", nodes)
}

// TestSolveGivesUpHonestly holds a search that is cut short to its word: a
// cover, called not optimal.
func TestSolveGivesUpHonestly(t *testing.T) {
	gaveUp := 0
	for seed := range uint64(2000) {
		p := randomProblem(rand.New(rand.NewPCG(seed, 9)))
		s := solve(p, 1)
		kept := p.set(s.keep)
		if slices.ContainsFunc(p.needs, func(n []clause) bool { return !open(n, kept) }) {
			t.Fatalf("seed %d: a need is open", seed)
		}
		excess, size := bruteForce(p)
		if s.optimal && (s.excess != excess || len(s.keep) != size) {
			t.Fatalf("seed %d: called optimal and is not", seed)
		}
		if !s.optimal {
			gaveUp++
		}
	}
	if gaveUp == 0 {
		t.Fatal("the limit was never reached, so nothing was tested")
	}
}

func TestMinimal(t *testing.T) {
	got := minimal([]clause{{1, 2, 3}, {2}, {1, 3}, {2}, {0, 2}})
	if !slices.EqualFunc(got, []clause{{2}, {1, 3}}, func(a, b clause) bool { return slices.Equal(a, b) }) {
		t.Fatalf("kept %v", got)
	}
}

// BenchmarkSolve is a wide grant: 700 scopes over 9,000 operations, of which 40
// are needed.
func BenchmarkSolve(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	p := &problem{atoms: 700}
	for i := range 9000 {
		var clauses []clause
		for range 1 + r.IntN(4) {
			clauses = append(clauses, clause{r.IntN(p.atoms)})
		}
		clauses = minimal(clauses)
		if i < 40 {
			p.needs = append(p.needs, clauses)
		} else {
			p.red = append(p.red, redOperation{clauses, 1 + r.IntN(10)})
		}
	}
	var s solution
	for b.Loop() {
		s = solve(p, nodeLimit)
	}
	b.ReportMetric(float64(s.nodes), "nodes")
	if !s.optimal {
		b.Log("not proved optimal")
	}
}
