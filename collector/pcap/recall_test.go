package pcap

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestRecall states that what the ring gives back is what was put there, or nothing,
// however often it went around.
func TestRecall(t *testing.T) {
	type kept struct {
		at   uint64
		text []byte
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var m recall
	var all []kept
	found, gone := 0, 0
	for i := range 3000 {
		text := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, rng.IntN(recallBlock/2))
		all = append(all, kept{m.put(text), text})
		k := all[rng.IntN(len(all))]
		switch got := m.get(k.at, len(k.text)); {
		case got == nil:
			gone++
		case !bytes.Equal(got, k.text):
			t.Fatalf("at %d of %d stands something else", k.at, m.at)
		default:
			found++
		}
		if last := all[len(all)-1]; !bytes.Equal(m.get(last.at, len(last.text)), last.text) && len(last.text) > 0 {
			t.Fatal("what was put last is gone")
		}
	}
	if found == 0 || gone == 0 {
		t.Errorf("%d found, %d gone", found, gone)
	}
}
