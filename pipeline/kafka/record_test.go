package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// FuzzFrame holds our record batches to kafka-go's reader of them.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), 3, "content-type", "application/json")
	f.Add([]byte(nil), []byte{}, 1, "", "")
	f.Add(bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte("call"), 4000), 200, "a", "")
	framer, err := newFramer()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, n int, name, content string) {
		n = 1 + (n&0x7fffffff)%300
		var headers []header
		if name != "" {
			headers = []header{{name, content}}
		}
		c := &chunk{}
		for i := range n {
			c.tails = appendTail(c.tails, key, append(fmt.Append(nil, i), value...), headers)
			c.items = append(c.items, item{end: len(c.tails)})
		}
		now := time.UnixMilli(1_700_000_000_123)
		var set protocol.RecordSet
		if _, err := set.ReadFrom(bytes.NewReader(framer.frame(c, now))); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			r, err := set.Records.ReadRecord()
			if err != nil {
				t.Fatalf("record %d of %d: %v", i, n, err)
			}
			gotKey, err := protocol.ReadAll(r.Key)
			gotValue, err2 := protocol.ReadAll(r.Value)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			if r.Offset != int64(i) || !r.Time.Equal(now) || !bytes.Equal(gotKey, key) || (gotKey == nil) != (key == nil) ||
				!bytes.Equal(gotValue, append(fmt.Append(nil, i), value...)) || len(r.Headers) != len(headers) {
				t.Fatalf("record %d came back as offset %d, key %q, %d headers", i, r.Offset, gotKey, len(r.Headers))
			}
			if len(headers) == 1 && (r.Headers[0].Key != name || string(r.Headers[0].Value) != content) {
				t.Fatalf("header came back as %q: %q", r.Headers[0].Key, r.Headers[0].Value)
			}
		}
		if _, err := set.Records.ReadRecord(); err == nil {
			t.Fatal("a record too many")
		}
	})
}

// FuzzPartition holds our choice of partition to kafka-go's copy of Java's.
func FuzzPartition(f *testing.F) {
	for n := range 9 {
		f.Add([]byte("\xff\x80credentials")[:n], 12)
	}
	f.Fuzz(func(t *testing.T, key []byte, n int) {
		n = 1 + (n&0x7fffffff)%64
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		if key == nil {
			key = []byte{}
		}
		if got, want := PartitionOf(key, n), (kafka.Murmur2Balancer{}).Balance(kafka.Message{Key: key}, all...); got != want {
			t.Errorf("key %x of %d: %d, Java's choice is %d", key, n, got, want)
		}
	})
}

// FuzzBalance: whatever members claim to have had, each partition goes to one
// member, and no two members differ by more than one.
func FuzzBalance(f *testing.F) {
	f.Add([]byte{1, 0, 1, 2}, []byte{1, 2, 3}, 6, 2)
	f.Add([]byte{}, []byte{9, 9}, 1, 5)
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte{1, 0x80}, 12, 3)
	f.Fuzz(func(t *testing.T, one, two []byte, partitions, members int) {
		partitions, members = (partitions&0x7fffffff)%40, 1+(members&0x7fffffff)%7
		var group []kafka.GroupMember
		for i := range members {
			data := one
			if i%2 == 1 {
				data = two
			}
			group = append(group, kafka.GroupMember{ID: fmt.Sprint("m", i), Topics: []string{"t"}, UserData: data})
		}
		checkShare(t, group, partitions)
	})
}

func checkShare(t *testing.T, group []kafka.GroupMember, partitions int) map[string][]int {
	t.Helper()
	var all []kafka.Partition
	for i := range partitions {
		all = append(all, kafka.Partition{Topic: "t", ID: i})
	}
	given := map[string][]int{}
	owners := map[int]string{}
	for id, topics := range new(balance).AssignGroups(group, all) {
		given[id] = topics["t"]
		for _, p := range topics["t"] {
			if other, twice := owners[p]; twice || p < 0 || p >= partitions {
				t.Fatalf("partition %d is given to %s and %q", p, id, other)
			}
			owners[p] = id
		}
		if n := len(topics["t"]); n < partitions/len(group) || n > (partitions+len(group)-1)/len(group) {
			t.Errorf("%s has %d of %d partitions among %d", id, n, partitions, len(group))
		}
	}
	if len(owners) != partitions || len(given) != len(group) {
		t.Fatalf("%d of %d partitions are given to %d of %d members", len(owners), partitions, len(given), len(group))
	}
	return given
}

// TestBalanceSticks: members that come and go move as few partitions as can be.
func TestBalanceSticks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	held := map[string]*balance{}
	const partitions = 24
	before := map[int]string{}
	for round := range 200 {
		if id := fmt.Sprint("m", random.IntN(8)); held[id] != nil && len(held) > 1 {
			delete(held, id)
		} else if held[id] == nil {
			held[id] = &balance{}
		}
		var group []kafka.GroupMember
		for _, id := range slices.Sorted(maps.Keys(held)) {
			data, err := held[id].UserData()
			if err != nil {
				t.Fatal(err)
			}
			group = append(group, kafka.GroupMember{ID: id, Topics: []string{"t"}, UserData: data})
		}
		moved := 0
		now := map[int]string{}
		for id, given := range checkShare(t, group, partitions) {
			held[id].remember(given)
			for _, p := range given {
				now[p] = id
				// What a member that left had has to move anyhow.
				if owner := before[p]; owner != id && held[owner] != nil && round > 0 {
					moved++
				}
			}
		}
		if most := (partitions + len(group) - 1) / len(group); moved > most {
			t.Errorf("round %d: %d partitions moved from members that stayed, of %d a member", round, moved, most)
		}
		before = now
	}
}

// TestBudget: who waits is woken, and an ended context ends the wait.
func TestBudget(t *testing.T) {
	b := newBudget(100)
	if err := b.take(t.Context(), 150); err != nil {
		t.Fatal(err)
	}
	if b.tryTake(1) {
		t.Error("an empty budget gives")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("take returned %v", err)
	}
	done := make(chan error)
	for range 3 {
		go func() { done <- b.take(t.Context(), 10) }()
	}
	b.give(150)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if b.free != 70 {
		t.Errorf("%d are free", b.free)
	}
}
