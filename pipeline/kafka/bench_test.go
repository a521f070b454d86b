package kafka_test

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// cpu is the processor time that this process used; the broker is another one.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProducer is one writer's batches of 4,096 calls to 12 partitions of a
// broker on loopback, each acknowledged before the next. calls/cpu-s counts the
// processor time of this side only.
func BenchmarkProducer(b *testing.B) {
	broker := kafkatest.Start(b, kafkatest.Options{Fast: true})
	topic := broker.Topic(b, 12)
	p, err := kafka.NewProducer(kafka.ProducerConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Topic: topic})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	const size = 4096
	batch := batchOf("bench", 0, size)
	if err := p.Put(ctx, batch); err != nil {
		b.Fatal(err)
	}
	calls := 0
	before := cpu()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Put(ctx, batch); err != nil {
			b.Fatal(err)
		}
		calls += size
	}
	b.ReportMetric(float64(calls)/(cpu()-before).Seconds(), "calls/cpu-s")
	b.ReportMetric(float64(calls)/b.Elapsed().Seconds(), "calls/s")
	stats := p.Stats()
	b.ReportMetric(float64(stats.Sent)/float64(stats.Messages), "wire-B/call")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFetch reads calls by four lanes at once, without decoding them.
func BenchmarkFetch(b *testing.B) {
	broker := kafkatest.Start(b, kafkatest.Options{Fast: true})
	const partitions, batches, size = 4, 100, 4096
	topic := broker.Topic(b, partitions)
	p, err := kafka.NewProducer(kafka.ProducerConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Topic: topic})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for number := range batches {
		if err := p.Put(ctx, batchOf("bench", number, size)); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
	want := int64(batches * (size + 1))
	round := 0
	before, messages := cpu(), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		round++
		g, err := kafka.NewGroup(kafka.GroupConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Group: fmt.Sprint("bench", round), Topic: topic})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		var got, length atomic.Int64
		if err := g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
			for at := int64(0); ctx.Err() == nil; {
				next, err := lane.Fetch(ctx, at, math.MaxInt64, func(_ int64, value []byte) error {
					length.Add(int64(len(value)))
					if got.Add(1) == want {
						cancel()
					}
					return nil
				})
				if err != nil {
					return err
				}
				at = next
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		cancel()
		messages += want
	}
	b.ReportMetric(float64(messages)/(cpu()-before).Seconds(), "calls/cpu-s")
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "calls/s")
}
