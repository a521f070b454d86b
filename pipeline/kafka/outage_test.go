package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// TestGroupOutlivesBroker: a member that reads and commits while the broker is
// killed, hangs and comes back loses no message, and goes on where it committed.
func TestGroupOutlivesBroker(t *testing.T) {
	b := kafkatest.Start(t, kafkatest.Options{})
	const partitions, rounds, n = 2, 3, 200
	topic := b.Topic(t, partitions)
	p, _ := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic, Report: func(error) {}})
	g, err := kafka.NewGroup(kafka.GroupConfig{
		Config: kafka.Config{Brokers: b.Brokers()}, Group: kafkatest.Name(t), Topic: topic, Session: 6 * time.Second, Report: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	read := map[string]int{} // "partition/offset", how often
	stop := running(t, g, func(ctx context.Context, lane *kafka.Lane) error {
		at, plan := lane.Committed()
		if at < 0 {
			at = 0
		} else if want := fmt.Sprint("plan of ", at); plan != want {
			t.Errorf("beside %d is %q", at, plan)
		}
		for ctx.Err() == nil {
			var got []int64
			next, err := lane.Fetch(ctx, at, math.MaxInt64, func(offset int64, _ []byte) error {
				got = append(got, offset)
				return nil
			})
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			if next == at {
				continue
			}
			// What was read counts once it is committed.
			if err := lane.Commit(ctx, next, fmt.Sprint("plan of ", next)); err != nil {
				if errors.Is(err, kafka.ErrFenced) || ctx.Err() != nil {
					return kafka.ErrFenced
				}
				return err
			}
			mu.Lock()
			for _, offset := range got {
				read[fmt.Sprint(lane.Partition, "/", offset)]++
			}
			mu.Unlock()
			at = next
		}
		return nil
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(read)
	}
	for round := range rounds {
		if err := p.Put(t.Context(), batchOf("outage", round, n)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "everything is read", func() bool { return count() == (round+1)*(n+1) })
		switch round {
		case 0:
			b.Kill()
			time.Sleep(500 * time.Millisecond)
			b.Restart(t)
		case 1:
			b.Pause()
			time.Sleep(3 * time.Second)
			b.Resume()
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for place, times := range read {
		// A commit whose answer was lost is made again by the next generation's
		// lane only if it had not arrived.
		if times != 1 {
			t.Errorf("%s was read and committed %d times", place, times)
		}
	}
}

// TestGrowth: a topic that gets more partitions has them written and read without
// a restart.
func TestGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s: both sides look for new partitions every 10 s")
	}
	t.Parallel()
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 1)
	p, _ := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic})
	if err := p.Put(t.Context(), batchOf("growth", 0, 10)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[int]bool{}
	running(t, member(t, b, kafkatest.Name(t), topic), func(ctx context.Context, lane *kafka.Lane) error {
		for at := int64(0); ctx.Err() == nil; {
			next, err := lane.Fetch(ctx, at, math.MaxInt64, func(int64, []byte) error {
				mu.Lock()
				defer mu.Unlock()
				seen[lane.Partition] = true
				return nil
			})
			if err != nil && ctx.Err() == nil {
				return err
			}
			at = next
		}
		return nil
	})
	has := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) == n
		}
	}
	eventually(t, "the first partition is read", has(1))
	if _, err := b.Client(t).CreatePartitions(t.Context(), &kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: 4}}}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(60 * time.Second)
	for number := 1; !has(4)() && time.Now().Before(deadline); number++ {
		if err := p.Put(t.Context(), batchOf("growth", number, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	if !has(4)() {
		t.Errorf("after 60 s only partitions %v are read", seen)
	}
}
