package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// chaos is what two writers wrote and two members of a group read.
type chaos struct {
	t      *testing.T
	broker *kafkatest.Broker
	topic  string
	group  string

	mu        sync.Mutex
	put       int
	committed map[int]int64
	read      map[string]int
}

// TestChaos: whatever happens to the broker and to the members, every call that was
// acknowledged is read, and no lane begins before what was committed. How long it
// goes on is SCOPEDRIFT_TEST_CHAOS_TIME, such as 10m.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	duration, err := time.ParseDuration(os.Getenv("SCOPEDRIFT_TEST_CHAOS_TIME"))
	if err != nil {
		duration = 20 * time.Second
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := kafkatest.Start(t, kafkatest.Options{})
	c := &chaos{t: t, broker: b, topic: b.Topic(t, 4), group: kafkatest.Name(t), committed: map[int]int64{}, read: map[string]int{}}
	p, stop := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: c.topic, Report: func(error) {}})
	quit := make(chan struct{})
	var writers sync.WaitGroup
	for writer := range 2 {
		writers.Go(func() { c.write(p, fmt.Sprint("writer", writer), quit) })
	}
	members := []func() error{running(t, c.member(), c.lane), running(t, c.member(), c.lane)}
	some := func(most time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(most)))) }
	for end := time.Now().Add(duration); time.Now().Before(end); some(4 * time.Second) {
		switch random.IntN(5) {
		case 0, 1:
			b.Kill()
			some(2 * time.Second)
			b.Restart(t)
		case 2: // at times longer than a member's session
			b.Pause()
			some(10 * time.Second)
			b.Resume()
		default:
			i := random.IntN(len(members))
			if err := members[i](); err != nil {
				t.Error(err)
			}
			members[i] = running(t, c.member(), c.lane)
		}
	}
	close(quit)
	writers.Wait()
	eventually(t, "every call is read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.read) == c.put
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	surplus := 0
	for _, times := range c.read {
		surplus += times - 1
	}
	t.Logf("%d calls, %d read again, %d writes repeated", c.put, surplus, p.Stats().Retries)
}

func (c *chaos) write(p *kafka.Producer, name string, quit <-chan struct{}) {
	const size = 50
	for number := 0; ; number++ {
		select {
		case <-quit:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if err := p.Put(context.Background(), batchOf(name, number, size)); err != nil {
			c.t.Error(err)
			return
		}
		c.mu.Lock()
		c.put += size
		c.mu.Unlock()
	}
}

func (c *chaos) member() *kafka.Group {
	g, err := kafka.NewGroup(kafka.GroupConfig{
		Config: kafka.Config{Brokers: c.broker.Brokers()}, Group: c.group, Topic: c.topic, Session: 6 * time.Second, Report: func(error) {},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

// lane reads, notes what it read, and commits: at least once.
func (c *chaos) lane(ctx context.Context, lane *kafka.Lane) error {
	at, _ := lane.Committed()
	at = max(at, 0)
	c.mu.Lock()
	if at < c.committed[lane.Partition] {
		c.t.Errorf("a lane of partition %d begins at %d, although %d is committed", lane.Partition, at, c.committed[lane.Partition])
	}
	c.mu.Unlock()
	decoder := wire.NewDecoder()
	for ctx.Err() == nil {
		var paths []string
		next, err := lane.Fetch(ctx, at, math.MaxInt64, func(_ int64, value []byte) error {
			message, err := decoder.Message(value)
			if message.Call != nil {
				paths = append(paths, message.Call.Path)
			}
			return err
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if next == at {
			continue
		}
		c.mu.Lock()
		for _, path := range paths {
			c.read[path]++
		}
		c.mu.Unlock()
		if err := lane.Commit(ctx, next, ""); err != nil {
			if ctx.Err() != nil || errors.Is(err, kafka.ErrFenced) {
				return kafka.ErrFenced
			}
			return err
		}
		c.mu.Lock()
		c.committed[lane.Partition] = max(c.committed[lane.Partition], next)
		c.mu.Unlock()
		at = next
	}
	return nil
}
