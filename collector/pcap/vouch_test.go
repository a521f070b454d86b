package pcap

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestNoWrongPairAtAll loses packets of clients and servers of every temper: no pair may
// be wrong, marked or not.
func TestNoWrongPairAtAll(t *testing.T) {
	first, runs := otherSeeds(t)
	if testing.Short() {
		runs = 3
	}
	talks := func(how style) func(*wire, int, string, map[string]truth) {
		return func(w *wire, n int, name string, known map[string]truth) { w.talk(n, how, name, known) }
	}
	for i, kind := range []traffic{
		{"batches", talks(batches)}, {"window", talks(window)}, {"eager", talks(eager)},
		{"any", func(w *wire, n int, name string, known map[string]truth) {
			w.converse(n, anyTemper(w.rng), name, known)
		}},
	} {
		sums := make([]cell, len(impairments))
		for seed := first; seed < first+runs; seed++ {
			rng := rand.New(rand.NewPCG(seed, uint64(40+i)))
			known := map[string]truth{}
			frames := conversation(rng, 10, func(w *wire, name string) { kind.talk(w, 25, name, known) })
			whole := map[string]*schema.Call{}
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			for k := range sink.calls {
				whole[sink.calls[k].Path] = &sink.calls[k]
			}
			for j, im := range impairments {
				if im.change == nil || im.name != "all of it" && !strings.Contains(im.name, "los") && !strings.Contains(im.name, "late") && !strings.HasPrefix(im.name, "snap") {
					continue
				}
				sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, im.change(rand.New(rand.NewPCG(seed, uint64(j))), frames))))
				before := sums[j]
				sums[j].count(t, sink.calls, known, whole)
				// Of a connection that was joined late and cut as well, too little may be
				// seen of the first answer to tell whose it is.
				blind := im.name == "late, cut, lost" && 1000*sums[j].marked <= sums[j].known
				if sums[j].wrong > before.wrong || sums[j].marked > before.marked && !blind {
					t.Errorf("%s, %s, seed %d: %d wrong, %d more that are marked", kind.name, im.name, seed, sums[j].wrong-before.wrong, sums[j].marked-before.marked)
				}
			}
		}
		for j, im := range impairments {
			if c := sums[j]; c.known > 0 {
				t.Logf("%-8s %-20s found %6.2f %%  certain %6.2f %%  wrong %d, marked %d", kind.name, im.name,
					100*float64(c.found)/float64(c.known), 100*float64(c.certain)/float64(c.known), c.wrong, c.marked)
			}
		}
	}
}
