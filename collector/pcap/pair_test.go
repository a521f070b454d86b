package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// outcome judges the calls of a made-up capture by its truth.
type outcome struct {
	certain, wrong, wrongMarked, calls, known int
}

func judge(t *testing.T, sink *collected, known map[string]truth) (o outcome) {
	t.Helper()
	o.known = len(known)
	seen := map[string]bool{}
	for i := range sink.calls {
		c := &sink.calls[i]
		o.calls++
		fact, real := known[c.Path]
		if c.Path != "" && !real {
			t.Errorf("call of a path that nobody asked for: %s", c.Path)
		}
		if c.Path != "" && seen[c.Path] {
			t.Errorf("request %s was reported twice", c.Path)
		}
		seen[c.Path] = true
		switch {
		case c.Path == "" || c.Status == 0:
		case int(c.Status) != fact.status && c.Quality.Certain():
			o.wrong++
			t.Logf("wrong and certain: %s has %d, want %d", c.Path, c.Status, fact.status)
		case int(c.Status) != fact.status:
			o.wrongMarked++
		case c.Quality.Certain():
			o.certain++
		}
	}
	return o
}

// madeUp is a capture of connections in one style.
func madeUp(rng *rand.Rand, how style, connections, calls int, known map[string]truth, late bool) []frame {
	var all [][]frame
	for i := range connections {
		var frames []frame
		var nanos int64
		client, server := addr4(byte(1+i%200), uint16(20000+i)), addr4(250, 8080)
		if i%5 == 4 {
			client, server = addr6(byte(1+i%200), uint16(20000+i)), addr6(250, 8080)
		}
		w := newWire(rng, client, server, &frames, &nanos)
		if i%3 == 1 {
			w.vlans = []uint16{7}
		}
		if !late || i%2 == 0 {
			w.handshake()
		}
		w.talk(calls, how, fmt.Sprintf("%d", i), known)
		if i%4 != 3 {
			w.close()
		}
		all = append(all, frames)
	}
	return mix(rng, all)
}

// seeds is how many captures are made up for each kind of damage.
const seeds = 20

var styleNames = map[style]string{lockstep: "lockstep", batches: "batches", window: "window", moody: "moody"}

func TestNoWrongPairs(t *testing.T) {
	for _, how := range []style{lockstep, batches, window, moody} {
		for _, late := range []bool{false, true} {
			for _, d := range []damage{
				{}, {reorder: .05}, {repeat: .02}, {loss: .001}, {loss: .005, reorder: .01},
				{loss: .01}, {loss: .01, reorder: .05, repeat: .01}, {loss: .02, reorder: .05},
			} {
				name := fmt.Sprintf("%s/late=%v/loss=%v,reorder=%v,repeat=%v", styleNames[how], late, d.loss, d.reorder, d.repeat)
				t.Run(name, func(t *testing.T) {
					var sum outcome
					for seed := range uint64(seeds) {
						rng := rand.New(rand.NewPCG(seed, uint64(how)))
						known := map[string]truth{}
						frames := d.apply(rng, madeUp(rng, how, 8, 12, known, late))
						sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
						o := judge(t, sink, known)
						if o.wrong > 0 || o.wrongMarked > 0 {
							t.Errorf("seed %d: %d wrong pairs, %d more that are marked", seed, o.wrong, o.wrongMarked)
						}
						if d == (damage{}) && !late && o.certain != o.known {
							t.Errorf("seed %d: %d certain pairs of %d in a whole capture; %+v", seed, o.certain, o.known, stats)
						}
						sum.certain += o.certain
						sum.known += o.known
						sum.wrong += o.wrong
						sum.wrongMarked += o.wrongMarked
					}
					t.Logf("certain %d of %d (%.2f %%), wrong %d, wrong but marked %d",
						sum.certain, sum.known, 100*float64(sum.certain)/float64(sum.known), sum.wrong, sum.wrongMarked)
				})
			}
		}
	}
}
