package pipeline

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLeftOut writes and reads plans that leave out any messages, as many as fit.
func TestLeftOut(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		first := r.Int64N(1 << 50)
		size := 1 + r.IntN(3000)
		var left leftOut
		chosen := map[int64]bool{}
		share := r.IntN(10)
		for i := range int64(size) {
			if r.IntN(10) < share && left.add(first+i) {
				chosen[first+i] = true
			}
		}
		p := newPlan(first, first+int64(size), r.IntN(3), left)
		text := p.String()
		if len(text) > 4096 {
			t.Fatalf("a plan takes %d bytes", len(text))
		}
		got, ok, err := parsePlan(text, first)
		if err != nil || !ok || got.String() != text {
			t.Fatalf("%q: %v", text, err)
		}
		for i := range int64(size) + 2 {
			if offset := first + i - 1; got.left.has(offset) != chosen[offset] {
				t.Fatalf("seed %d: offset %d is left out: %v", seed, offset, !chosen[offset])
			}
		}
	}
	var left leftOut
	for i := range int64(mostSpans) {
		if !left.add(2 * i) {
			t.Fatal("no room for", i)
		}
	}
	if left.add(1<<40) || !left.add(2*mostSpans-1) {
		t.Error("a plan that is full takes what goes on with its last span, and nothing else")
	}
}

// FuzzPlan reads hostile metadata: what is read stands for itself, and names no
// message outside its range.
func FuzzPlan(f *testing.F) {
	for _, text := range []string{"", "scopedrift/1 0 9 aa", "scopedrift/2 0 9 aa 2", "scopedrift/3 0 9 aa 0 1.2,3.1", "scopedrift/3 0 9 aa 0 0.a",
		"scopedrift/3 0 9 aa 0 -1.2", "scopedrift/3 0 9 aa -1 1.1", "scopedrift/3 0 9 aa 0 " + strings.Repeat("0.1,", 300) + "0.1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok, err := parsePlan(text, 0)
		if err != nil && ok || errors.Is(err, errPlan) && p.next != 0 {
			t.Fatalf("%q: %+v, %v", text, p, err)
		}
		if ok && p.String() != text {
			t.Fatalf("%q is read as %q", text, p)
		}
		for _, s := range p.left {
			if s.first < p.first || s.next > p.next || s.next <= s.first {
				t.Fatalf("%q leaves out %+v", text, s)
			}
		}
	})
}
