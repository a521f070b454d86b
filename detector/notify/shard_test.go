package notify_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/notify"
	"github.com/scopedrift/scopedrift/schema"
)

// TestShardsTellOnce: outboxes of several shards tell one receiver of each change
// once, whichever is faster, and so do those that divide the work anew.
func TestShardsTellOnce(t *testing.T) {
	conn, told := open(t), &wall{}
	outbox := func(index, count int) *notify.Outbox {
		return notify.New(notify.Config{Conn: conn, Receiver: told, Shard: detector.Shard{Index: index, Count: count}})
	}
	flush := func(boxes ...*notify.Outbox) {
		t.Helper()
		for _, o := range boxes {
			if err := o.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var want []string
	find := func(second, n int) {
		t.Helper()
		f := finding(fmt.Sprintf("f%d-%d", second, n), schema.StatusOpen)
		f.Credential.ID = fmt.Sprint("job", n)
		want = append(want, string(f.ID)+" open")
		save(t, conn, second, f)
	}
	for n := range 8 {
		find(1, n)
	}
	a, b := outbox(1, 2), outbox(2, 2)
	flush(a)
	if len(told.got) == 0 || len(told.got) == 8 {
		t.Fatalf("one of two shards tells of %d of 8", len(told.got))
	}
	// What the other shard is told of later is no reason to pass over its own.
	for n := range 8 {
		find(3, n)
	}
	flush(b, a, b, a)
	slices.Sort(want)
	slices.Sort(told.got)
	if !slices.Equal(told.got, want) {
		t.Errorf("told %q, want %q", told.got, want)
	}

	// Three instead of two, then one: nothing is told again, and nothing left out.
	told.got = nil
	flush(outbox(1, 3), outbox(2, 3), outbox(3, 3))
	find(5, 1)
	flush(outbox(1, 3), outbox(2, 3), outbox(3, 3))
	flush(outbox(1, 1))
	find(6, 2)
	flush(outbox(1, 1), outbox(1, 2), outbox(2, 2))
	if !slices.Equal(told.got, []string{"f5-1 open", "f6-2 open"}) {
		t.Errorf("told %q", told.got)
	}
}
