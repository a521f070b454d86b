package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// fill writes n messages "partition/number" to each partition, in batches of ten.
func fill(t *testing.T, b *kafkatest.Broker, topic string, partitions, n int) {
	t.Helper()
	for partition := range partitions {
		conn, err := kafkago.DialLeader(t.Context(), "tcp", b.Brokers()[0], topic, partition)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; at += 10 {
			var messages []kafkago.Message
			for i := at; i < min(at+10, n); i++ {
				messages = append(messages, kafkago.Message{Value: fmt.Appendf(nil, "%d/%d", partition, i)})
			}
			if _, err := conn.WriteMessages(messages...); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
	}
}

func member(t *testing.T, b *kafkatest.Broker, group, topic string) *kafka.Group {
	t.Helper()
	g, err := kafka.NewGroup(kafka.GroupConfig{
		Config: kafka.Config{Brokers: b.Brokers()}, Group: group, Topic: topic, Session: 10 * time.Second,
		Report: func(err error) { t.Logf("reported: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// running runs a member in the background; stop ends it and returns its error.
func running(t *testing.T, g *kafka.Group, handle func(context.Context, *kafka.Lane) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, handle) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// once runs a handler on the only partition of a topic and returns its error.
func once(t *testing.T, g *kafka.Group, handle func(context.Context, *kafka.Lane) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
		defer cancel()
		return handle(ctx, lane)
	}); err != nil {
		t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("the handler was not called in a minute")
	}
}

// TestLaneReadsRanges attacks the bounds of a fetch: the middle of a producer's
// batch, a limit in the middle of another, a stop, and what the partition lacks.
func TestLaneReadsRanges(t *testing.T) {
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 1)
	fill(t, b, topic, 1, 100)
	once(t, member(t, b, kafkatest.Name(t), topic), func(ctx context.Context, lane *kafka.Lane) error {
		if offset, metadata := lane.Committed(); offset != -1 || metadata != "" {
			t.Errorf("a new group has committed %d, %q", offset, metadata)
		}
		if first, next, err := lane.Bounds(ctx); first != 0 || next != 100 || err != nil {
			t.Errorf("bounds are %d, %d, %v", first, next, err)
		}
		for _, c := range []struct{ from, limit, stop, wantNext int64 }{
			{0, math.MaxInt64, -1, 100}, {7, math.MaxInt64, -1, 100}, {7, 8, -1, 8}, {3, 17, -1, 17},
			{99, 100, -1, 100}, {95, 1000, -1, 100}, {20, 90, 42, 43}, {100, 200, -1, 100}, {10, 10, -1, 10},
		} {
			var got []int64
			at := c.from
			for range 20 { // a fetch may return less than there is
				next, err := lane.Fetch(ctx, at, c.limit, func(offset int64, value []byte) error {
					if want := fmt.Sprintf("0/%d", offset); string(value) != want {
						t.Errorf("offset %d holds %q", offset, value)
					}
					got = append(got, offset)
					if offset == c.stop {
						return kafka.ErrStop
					}
					return nil
				})
				if err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
				if at = next; at >= c.wantNext {
					break
				}
			}
			if at != c.wantNext || len(got) != int(c.wantNext-c.from) {
				t.Errorf("%+v: went on to %d with %d messages", c, at, len(got))
			}
			for i, offset := range got {
				if offset != c.from+int64(i) {
					t.Errorf("%+v: message %d has offset %d", c, i, offset)
				}
			}
		}
		refused := errors.New("refused")
		if next, err := lane.Fetch(ctx, 5, 50, func(offset int64, _ []byte) error {
			if offset == 12 {
				return refused
			}
			return nil
		}); next != 12 || !errors.Is(err, refused) {
			t.Errorf("an error of each ends the fetch at %d with %v", next, err)
		}
		if _, err := lane.Fetch(ctx, 101, 200, nil); !errors.Is(err, kafka.ErrOutOfRange) {
			t.Errorf("beyond the end: %v", err)
		}
		return nil
	})
}

// TestLaneReadsLongMessages: longer than the first buffer, several times.
func TestLaneReadsLongMessages(t *testing.T) {
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 1, kafkago.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "8000000"})
	conn, err := kafkago.DialLeader(t.Context(), "tcp", b.Brokers()[0], topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sizes := []int{10, 64 << 10, 64<<10 + 1, 900_000, 5_000_000, 0, 20}
	for _, size := range sizes {
		if _, err := conn.WriteMessages(kafkago.Message{Value: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	once(t, member(t, b, kafkatest.Name(t), topic), func(ctx context.Context, lane *kafka.Lane) error {
		var got []int
		for at := int64(0); at < int64(len(sizes)) && ctx.Err() == nil; {
			next, err := lane.Fetch(ctx, at, math.MaxInt64, func(_ int64, value []byte) error {
				got = append(got, len(value))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			at = next
		}
		if !slices.Equal(got, sizes) {
			t.Errorf("read messages of %v bytes, want %v", got, sizes)
		}
		return nil
	})
}

// TestPlanInMetadata is the protocol's ground: what one member plans, the next
// one finds, and a lane does not go back.
func TestPlanInMetadata(t *testing.T) {
	b := kafkatest.Shared(t)
	topic, group := b.Topic(t, 1), kafkatest.Name(t)
	plan := "1 end=50 batch=00112233445566778899aabbccddeeff"
	once(t, member(t, b, group, topic), func(ctx context.Context, lane *kafka.Lane) error {
		if err := lane.Commit(ctx, 30, ""); err != nil {
			t.Error(err)
		}
		if err := lane.Commit(ctx, 30, plan); err != nil {
			t.Error(err)
		}
		if err := lane.Commit(ctx, 29, ""); err == nil {
			t.Error("a lane went back")
		}
		return nil
	})
	once(t, member(t, b, group, topic), func(ctx context.Context, lane *kafka.Lane) error {
		if offset, metadata := lane.Committed(); offset != 30 || metadata != plan {
			t.Errorf("the next member finds %d, %q", offset, metadata)
		}
		return nil
	})
}

// TestRetention: what the broker deleted is out of range, and the bounds say so.
func TestRetention(t *testing.T) {
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 1)
	fill(t, b, topic, 1, 40)
	b.DeleteBefore(t, topic, 0, 25)
	once(t, member(t, b, kafkatest.Name(t), topic), func(ctx context.Context, lane *kafka.Lane) error {
		if _, err := lane.Fetch(ctx, 3, 40, nil); !errors.Is(err, kafka.ErrOutOfRange) {
			t.Errorf("reading what was deleted: %v", err)
		}
		first, next, err := lane.Bounds(ctx)
		if first != 25 || next != 40 || err != nil {
			t.Errorf("bounds are %d, %d, %v", first, next, err)
		}
		return nil
	})
}

// TestRebalance: two members share the partitions; no partition is ever at two of
// them; a commit of a generation that is over is fenced; each keeps what it had.
func TestRebalance(t *testing.T) {
	b := kafkatest.Shared(t)
	const partitions = 6
	topic, group := b.Topic(t, partitions), kafkatest.Name(t)
	fill(t, b, topic, partitions, 10)

	var mu sync.Mutex
	owners := map[int]string{}
	holds := func(who string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, owner := range owners {
			if owner == who {
				n++
			}
		}
		return n
	}
	handler := func(who string, ended func(*kafka.Lane)) func(context.Context, *kafka.Lane) error {
		return func(ctx context.Context, lane *kafka.Lane) error {
			mu.Lock()
			if other := owners[lane.Partition]; other != "" {
				t.Errorf("%s is given partition %d, which %s has", who, lane.Partition, other)
			}
			owners[lane.Partition] = who
			mu.Unlock()
			<-ctx.Done()
			// What is drained is still committed: the group waits.
			drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := lane.Commit(drain, 1, "drained by "+who); err != nil {
				t.Errorf("%s commits partition %d while it drains: %v", who, lane.Partition, err)
			}
			mu.Lock()
			delete(owners, lane.Partition)
			mu.Unlock()
			if ended != nil {
				ended(lane)
			}
			return nil
		}
	}
	old := make(chan *kafka.Lane, partitions)
	one := member(t, b, group, topic)
	stopOne := running(t, one, handler("one", func(l *kafka.Lane) {
		select {
		case old <- l:
		default:
		}
	}))
	eventually(t, "one has all", func() bool { return holds("one") == partitions })
	stopTwo := running(t, member(t, b, group, topic), handler("two", nil))
	eventually(t, "both have half", func() bool { return holds("one") == partitions/2 && holds("two") == partitions/2 })

	if err := (<-old).Commit(t.Context(), 2, "too late"); !errors.Is(err, kafka.ErrFenced) {
		t.Errorf("a commit of the old generation: %v", err)
	}
	if s := one.Stats(); s.Fenced != 1 || s.Generations != 2 || s.Lanes != partitions/2 {
		t.Errorf("stats are %+v", s)
	}
	if err := stopTwo(); err != nil {
		t.Error(err)
	}
	eventually(t, "one has all again", func() bool { return holds("one") == partitions })
	if err := stopOne(); err != nil {
		t.Error(err)
	}
}

// TestHandlerError ends the member, with the partition in the sentence.
func TestHandlerError(t *testing.T) {
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 1)
	full := errors.New("the disk is full")
	err := member(t, b, kafkatest.Name(t), topic).Run(t.Context(), func(context.Context, *kafka.Lane) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("run returned %v", err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not in 40 s: %s", what)
}
