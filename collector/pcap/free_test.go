package pcap

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// freeing is a sink that gives memory back where free says so, and keeps the rest.
type freeing struct {
	free func(n int) bool
	n    int
	ids  []schema.CallID
	kept []*collector.Batch
}

func (f *freeing) Put(_ context.Context, b *collector.Batch) error {
	for i := range b.Calls {
		f.ids = append(f.ids, b.Calls[i].ID)
	}
	if f.n++; f.free(f.n) {
		b.Free()
	} else {
		f.kept = append(f.kept, b)
	}
	return nil
}

// TestGivenBackMemory: whether sinks give memory back changes no call, and what they
// keep is not touched.
func TestGivenBackMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	file := writePcap(linkEthernet, madeUp(rng, window, 20, 50, map[string]truth{}, false))
	read := func(free func(int) bool) *freeing {
		f := &freeing{free: free}
		if _, err := New(Config{Key: testKey, BatchSize: 64}).Run(context.Background(), bytes.NewReader(file), collector.Input{}, f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := read(func(int) bool { return false })
	if len(want.ids) < 1000 || len(want.kept) < 10 {
		t.Fatalf("%d calls in %d batches", len(want.ids), len(want.kept))
	}
	for _, f := range []*freeing{want, read(func(int) bool { return true }), read(func(n int) bool { return n%2 == 0 }), read(func(n int) bool { return n%3 > 0 })} {
		if !slices.Equal(f.ids, want.ids) {
			t.Error("giving memory back changes calls")
		}
		kept := 0
		for _, b := range f.kept {
			for i := range b.Calls {
				if !slices.Contains(want.ids, b.Calls[i].ID) {
					t.Fatal("a call that was kept has changed")
				}
				kept++
			}
		}
		seen := map[schema.CallID]bool{}
		for _, b := range f.kept {
			for i := range b.Calls {
				seen[b.Calls[i].ID] = true
			}
		}
		if len(seen) != kept {
			t.Errorf("%d of %d calls that were kept are still there", len(seen), kept)
		}
	}
}
