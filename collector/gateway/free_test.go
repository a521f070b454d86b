package gateway

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// freeing is a sink that gives memory back where free says so, and keeps the
// rest.
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

// TestGivenBackMemory: whether sinks give memory back changes no call, and what
// they keep is not touched.
func TestGivenBackMemory(t *testing.T) {
	data := envoyLines(5000)
	read := func(free func(int) bool) (ids []schema.CallID, kept int) {
		g, err := New(Config{Key: redact.NewKey([32]byte{1}), BatchSize: 128, Stdin: bytes.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		f := &freeing{free: free}
		if _, err := g.Run(context.Background(), []string{"-"}, f); err != nil {
			t.Fatal(err)
		}
		at := map[schema.CallID]bool{}
		for _, b := range f.kept {
			for i := range b.Calls {
				at[b.Calls[i].ID] = true
			}
		}
		return f.ids, len(at)
	}
	want, kept := read(func(int) bool { return false })
	if len(want) != 5000 || kept != 5000 {
		t.Fatalf("%d calls, %d kept", len(want), kept)
	}
	all, _ := read(func(int) bool { return true })
	some, half := read(func(n int) bool { return n%2 == 0 })
	if !slices.Equal(all, want) || !slices.Equal(some, want) {
		t.Error("giving memory back changes calls")
	}
	// Batches are of 128 calls: 39 whole ones and the rest.
	if wantHalf := 20 * 128; half != wantHalf {
		t.Errorf("%d of %d calls that were kept are still there", half, wantHalf)
	}
}
