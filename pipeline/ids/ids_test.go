package ids

import (
	"math/rand/v2"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

func TestIDMemory(t *testing.T) {
	m := New(100)
	id := func(n int) schema.CallID { return schema.CallID{byte(n), byte(n >> 8), 1} }
	for n := range 100 {
		if !m.Add(id(n)) {
			t.Fatalf("id %d is said to be known", n)
		}
	}
	for n := range 100 {
		if m.Add(id(n)) {
			t.Fatalf("id %d was forgotten within the limit", n)
		}
	}
	if m.Forgot() {
		t.Error("the memory says it forgot, and it did not")
	}
	for n := range 1000 {
		m.Add(id(n))
		if m.Held() > 150 {
			t.Fatalf("the memory holds %d ids, and its limit is 100", m.Held())
		}
		for back := range min(50, n) {
			if m.Add(id(n - back)) {
				t.Fatalf("id %d was forgotten, and only %d came after it", n-back, back)
			}
		}
	}
	if !m.Forgot() {
		t.Error("the memory forgot ids and does not say so")
	}
}

// TestIDSet compares with a map, with ids that are nothing like hashes.
func TestIDSet(t *testing.T) {
	var s set
	known := map[schema.CallID]bool{}
	random := rand.New(rand.NewPCG(7, 8))
	for range 200_000 {
		var id schema.CallID
		id[random.IntN(16)] = byte(random.IntN(256))
		id[random.IntN(16)] = byte(random.IntN(256))
		id[15] = byte(random.IntN(8))
		if s.has(id) != known[id] || s.add(id) == known[id] || !s.has(id) {
			t.Fatalf("%v: a map says %v", id, known[id])
		}
		known[id] = true
	}
	if s.size != len(known) {
		t.Errorf("it says it has %d ids, and has %d", s.size, len(known))
	}
}
