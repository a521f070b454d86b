package recommend

import (
	"slices"
)

// problem is a cover problem over atoms 0..atoms-1, the held scopes.
//
// Each need must be satisfied: one of its clauses must be kept whole. Among all
// sets that satisfy all needs, the best opens the least besides (excess), then
// is the smallest. Excess is the weight of the red operations that the set
// opens, each counted once however many scopes open it, and the costs of the
// kept atoms themselves, which stand for what cannot be listed.
type problem struct {
	atoms int
	needs [][]clause
	red   []redOperation
	cost  []int
}

// clause is atoms, ascending, that suffice together.
type clause []int

// redOperation is one that is not needed: it is open if any clause is kept.
type redOperation struct {
	clauses []clause
	weight  int
}

// solution is what is kept.
type solution struct {
	keep    []int
	excess  int
	optimal bool
	nodes   int
}

// nodeLimit bounds the search of one component; beyond it the best found so
// far is returned, not optimal.
const nodeLimit = 20_000

// solve finds the best cover.
//
// The problem falls apart into components that share no atom in a need or a red
// operation; each is searched by itself. The search branches on the open need
// with the fewest clauses, takes its clauses in the order of what they add, and
// cuts a branch whose bound is no better than the best found: excess and size
// only grow, so the cheapest ways to satisfy open needs that have nothing in
// common add up to such a bound. Needs with one clause are taken first, which
// settles most.
func solve(p *problem, limit int) solution {
	out := solution{optimal: true}
	for _, part := range p.components() {
		s := part.search(limit)
		out.keep = append(out.keep, s.keep...)
		out.nodes += s.nodes
		out.optimal = out.optimal && s.optimal
	}
	slices.Sort(out.keep)
	out.excess = p.excess(p.set(out.keep))
	return out
}

// set marks atoms.
func (p *problem) set(atoms []int) []bool {
	in := make([]bool, p.atoms)
	for _, a := range atoms {
		in[a] = true
	}
	return in
}

// open reports whether one of the clauses is kept whole.
func open(clauses []clause, kept []bool) bool {
	return slices.ContainsFunc(clauses, func(c clause) bool { return whole(c, kept) })
}

func whole(c clause, kept []bool) bool {
	for _, a := range c {
		if !kept[a] {
			return false
		}
	}
	return true
}

// excess is what a set opens besides the needs.
func (p *problem) excess(kept []bool) (sum int) {
	for i := range p.red {
		if open(p.red[i].clauses, kept) {
			sum += p.red[i].weight
		}
	}
	for a, in := range kept {
		if in && p.cost != nil {
			sum += p.cost[a]
		}
	}
	return sum
}

// components splits the problem. Atoms in no need are in none: they are never
// kept.
func (p *problem) components() []*problem {
	parent := make([]int, p.atoms)
	for i := range parent {
		parent[i] = i
	}
	find := func(a int) int {
		for parent[a] != a {
			parent[a] = parent[parent[a]]
			a = parent[a]
		}
		return a
	}
	useful := make([]bool, p.atoms)
	join := func(clauses []clause) {
		first := -1
		for _, c := range clauses {
			for _, a := range c {
				if !useful[a] {
					continue
				}
				if first < 0 {
					first = find(a)
				}
				parent[find(a)] = first
			}
		}
	}
	for _, n := range p.needs {
		for _, c := range n {
			for _, a := range c {
				useful[a] = true
			}
		}
	}
	for _, n := range p.needs {
		join(n)
	}
	for i := range p.red {
		join(p.red[i].clauses)
	}
	byRoot := map[int]*problem{}
	var order []*problem
	of := func(a int) *problem {
		root := find(a)
		if byRoot[root] == nil {
			byRoot[root] = &problem{atoms: p.atoms, cost: p.cost}
			order = append(order, byRoot[root])
		}
		return byRoot[root]
	}
	for _, n := range p.needs {
		if len(n) == 0 || slices.ContainsFunc(n, func(c clause) bool { return len(c) == 0 }) {
			continue // nothing can, or nothing need, be kept for it
		}
		part := of(n[0][0])
		part.needs = append(part.needs, n)
	}
	for i := range p.red {
		var kept []clause
		for _, c := range p.red[i].clauses {
			if !slices.ContainsFunc(c, func(a int) bool { return !useful[a] }) && len(c) > 0 {
				kept = append(kept, c)
			}
		}
		if len(kept) > 0 {
			part := of(kept[0][0])
			part.red = append(part.red, redOperation{kept, p.red[i].weight})
		}
	}
	return order
}

// search is the state of a depth-first search.
type search struct {
	p    *problem
	kept []bool
	size int
	// opened says which red operations are open, excess what kept opens.
	opened []bool
	excess int
	// redOf lists the red operations that an atom is part of; touched, for
	// each need, the red operations and atoms that any of its clauses can
	// change, as bits.
	redOf   [][]int
	touched []bitset

	best       []bool
	bestExcess int
	bestLen    int
	nodes      int
	limit      int
}

type bitset []uint64

func (b bitset) add(i int) { b[i/64] |= 1 << (i % 64) }

func (b bitset) meets(other bitset) bool {
	for i := range b {
		if b[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

func (b bitset) join(other bitset) {
	for i := range b {
		b[i] |= other[i]
	}
}

func newSearch(p *problem, limit int) *search {
	s := &search{p: p, kept: make([]bool, p.atoms), opened: make([]bool, len(p.red)), limit: limit, redOf: make([][]int, p.atoms)}
	for i := range p.red {
		for _, c := range p.red[i].clauses {
			for _, a := range c {
				if list := s.redOf[a]; len(list) == 0 || list[len(list)-1] != i {
					s.redOf[a] = append(list, i)
				}
			}
		}
	}
	for _, n := range p.needs {
		bits := make(bitset, (len(p.red)+p.atoms+63)/64)
		for _, c := range n {
			for _, a := range c {
				bits.add(len(p.red) + a)
				for _, i := range s.redOf[a] {
					bits.add(i)
				}
			}
		}
		s.touched = append(s.touched, bits)
	}
	return s
}

// keep keeps atoms and returns the red operations that it opened.
func (s *search) keep(atoms []int) (opened []int) {
	for _, a := range atoms {
		s.kept[a] = true
		if s.p.cost != nil {
			s.excess += s.p.cost[a]
		}
	}
	s.size += len(atoms)
	for _, a := range atoms {
		for _, i := range s.redOf[a] {
			if !s.opened[i] && open(s.p.red[i].clauses, s.kept) {
				s.opened[i] = true
				s.excess += s.p.red[i].weight
				opened = append(opened, i)
			}
		}
	}
	return opened
}

// drop undoes keep.
func (s *search) drop(atoms, opened []int) {
	for _, a := range atoms {
		s.kept[a] = false
		if s.p.cost != nil {
			s.excess -= s.p.cost[a]
		}
	}
	s.size -= len(atoms)
	for _, i := range opened {
		s.opened[i] = false
		s.excess -= s.p.red[i].weight
	}
}

func (p *problem) search(limit int) solution {
	s := newSearch(p, limit)
	s.greedy()
	s.descend()
	out := solution{nodes: s.nodes, optimal: s.nodes <= s.limit, excess: s.bestExcess}
	for a, in := range s.best {
		if in {
			out.keep = append(out.keep, a)
		}
	}
	return out
}

// greedy finds a first cover: for each open need in turn, the clause that adds
// the least.
func (s *search) greedy() {
	var atoms, opened []int
	for _, n := range s.p.needs {
		if open(n, s.kept) {
			continue
		}
		added := s.choices(n)[0].added
		opened = append(opened, s.keep(added)...)
		atoms = append(atoms, added...)
	}
	s.accept()
	s.drop(atoms, opened)
}

func (s *search) accept() {
	s.best = slices.Clone(s.kept)
	s.bestExcess, s.bestLen = s.excess, s.size
}

// choice is one way to satisfy a need from here, and the excess it adds.
type choice struct {
	added  []int
	excess int
}

// choices returns the ways to satisfy a need, the cheapest first; of two that
// add the same, one.
func (s *search) choices(n []clause) []choice {
	list := make([]choice, 0, len(n))
	before := s.excess
	for _, c := range n {
		var one choice
		for _, a := range c {
			if !s.kept[a] {
				one.added = append(one.added, a)
			}
		}
		opened := s.keep(one.added)
		one.excess = s.excess - before
		s.drop(one.added, opened)
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b choice) int {
		if a.excess != b.excess {
			return a.excess - b.excess
		}
		if len(a.added) != len(b.added) {
			return len(a.added) - len(b.added)
		}
		return slices.Compare(a.added, b.added)
	})
	return slices.CompactFunc(list, func(a, b choice) bool { return slices.Equal(a.added, b.added) })
}

// openNeed is a need that is not satisfied yet.
type openNeed struct {
	index          int
	choices        []choice
	excess, fewest int
}

// descend tries all ways to satisfy what is open.
func (s *search) descend() {
	if s.nodes++; s.nodes > s.limit {
		return
	}
	var list []openNeed
	branch := -1
	for i, n := range s.p.needs {
		if open(n, s.kept) {
			continue
		}
		one := openNeed{index: i, choices: s.choices(n)}
		one.excess, one.fewest = one.choices[0].excess, len(one.choices[0].added)
		for k := range one.choices {
			one.fewest = min(one.fewest, len(one.choices[k].added))
		}
		if branch < 0 || len(one.choices) < len(list[branch].choices) {
			branch = len(list)
		}
		list = append(list, one)
	}
	if branch < 0 {
		if s.better(s.excess, s.size) {
			s.accept()
		}
		return
	}
	choices := list[branch].choices
	if !s.better(s.bound(list)) {
		return
	}
	for _, c := range choices {
		opened := s.keep(c.added)
		s.descend()
		s.drop(c.added, opened)
		if s.nodes > s.limit {
			return
		}
	}
}

// bound returns excess and size that no way to satisfy the open needs can be
// below: needs that touch nothing in common add up.
func (s *search) bound(list []openNeed) (excess, size int) {
	slices.SortStableFunc(list, func(a, b openNeed) int {
		if a.excess != b.excess {
			return b.excess - a.excess
		}
		return b.fewest - a.fewest
	})
	excess, size = s.excess, s.size
	used := make(bitset, len(s.touched[0]))
	for i := range list {
		touched := s.touched[list[i].index]
		if used.meets(touched) {
			continue
		}
		used.join(touched)
		excess += list[i].excess
		size += list[i].fewest
	}
	return excess, size
}

// better reports whether excess and size would beat the best found.
func (s *search) better(excess, size int) bool {
	return s.best == nil || excess < s.bestExcess || excess == s.bestExcess && size < s.bestLen
}

// minimal drops clauses that contain another, and repeats.
func minimal(clauses []clause) []clause {
	slices.SortFunc(clauses, func(a, b clause) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return slices.Compare(a, b)
	})
	var kept []clause
	for _, c := range clauses {
		if !slices.ContainsFunc(kept, func(k clause) bool { return within(k, c) }) {
			kept = append(kept, c)
		}
	}
	return kept
}

// within reports whether all of a is in b; both ascend.
func within(a, b clause) bool {
	i := 0
	for _, x := range b {
		if i < len(a) && a[i] == x {
			i++
		}
	}
	return i == len(a)
}
