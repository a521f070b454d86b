package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestEager joins clients late that always have one or two more requests on the way
// than they wait for: the newest request expects its answer where that to an older one
// begins. Nothing in the numbers tells them from clients that wait.
func TestEager(t *testing.T) {
	for _, loss := range []float64{.02, .1, .3, -1} {
		late := loss < 0
		certain, marked := 0, 0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 9))
			known := map[string]truth{}
			frames := conversation(rng, 20, func(w *wire, name string) { w.talk(25, eager, name, known) })
			if late {
				frames = attachedLate(rng, frames)
			} else {
				frames = damage{loss: loss}.apply(rng, frames)
			}
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			for i := range sink.calls {
				c := &sink.calls[i]
				switch wrong := c.Path != "" && c.Status != 0 && int(c.Status) != known[c.Path].status; {
				case wrong && c.Quality.Certain():
					t.Errorf("loss %v, seed %d: wrong and certain: %s", loss, seed, line(c))
				case wrong:
					marked++
				case c.Quality.Certain():
					certain++
				}
			}
		}
		t.Logf("loss %v: certain %d, wrong but marked %d", loss, certain, marked)
		if loss == .02 && certain < 6000 || loss < .3 && marked > 0 || marked > 100 {
			t.Errorf("%d certain of 10,000, %d wrong pairs that are marked", certain, marked)
		}
	}
}

// TestPatience joins a client late that pauses now and then: its pauses show that it
// waits.
func TestPatience(t *testing.T) {
	for _, test := range []struct {
		pause, delay time.Duration
		certain      bool
	}{
		{3 * time.Second, 5 * time.Millisecond, true},
		{time.Second, 50 * time.Millisecond, true},
		{300 * time.Millisecond, time.Microsecond, false},
		{time.Second, 300 * time.Millisecond, false},
	} {
		var frames []frame
		var nanos int64 = 1_700_000_000e9
		rng := rand.New(rand.NewPCG(4, 4))
		w := newWire(rng, addr4(1, 40000), addr4(2, 8080), &frames, &nanos)
		for i := range 12 {
			w.send([]byte(ask(fmt.Sprintf("/%d", i))))
			nanos += int64(test.delay)
			w.serverHas = w.clientSeq
			w.reply([]byte(page(200+i, "hello")))
			w.clientHas = w.serverSeq
			nanos += int64(test.pause)
		}
		sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		for k := range sink.calls {
			c := &sink.calls[k]
			var i int
			fmt.Sscanf(c.Path, "/%d", &i)
			if int(c.Status) != 200+i || c.Quality.Certain() && (!test.certain || i < 3) || i > 8 && c.Quality.Certain() != test.certain {
				t.Errorf("pause %v, delay %v: %s", test.pause, test.delay, line(c))
			}
		}
	}
}
