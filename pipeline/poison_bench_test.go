package pipeline_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// BenchmarkPoison stores a clean topic and one of which every hundredth message
// cannot be read, in turns; "of clean" is the second's rate as a share of the
// first's, in CPU time of this process, and on the wall. The letters go to a real
// topic.
func BenchmarkPoison(b *testing.B) {
	const partitions, messages = 4, 200_000
	broker, conn := kafkatest.Start(b, kafkatest.Options{Fast: true}), store(b)
	clean, poisoned := broker.Topic(b, partitions), broker.Topic(b, partitions)
	for partition := range partitions {
		calls := callsOf(partition*messages/partitions, messages/partitions)
		good := wired(uint64(partition)+1, 1, calls)
		write(b, broker, clean, partition, good)
		write(b, broker, poisoned, partition, poison(good, 100))
	}
	letters, err := kafka.NewDeadLetters(kafka.Config{Brokers: broker.Brokers()}, broker.Topic(b, partitions), nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = letters.Run(b.Context()) }()
	var sums [2]rate
	topics, order := [2]string{clean, poisoned}, [2]int{1, 0}
	for b.Loop() {
		order[0], order[1] = order[1], order[0] // neither is always the first
		for _, i := range order {
			cfg := pipeline.Config{DeadLetters: letters, Digest: func([]byte) [16]byte { return [16]byte{1} }}
			stats, took := ingestAll(b, broker, conn, topics[i], catalog.Empty(), cfg, func(s pipeline.Stats) bool { return s.Calls+dead(s) == messages })
			if n := dead(stats); n != uint64(i*messages/100) {
				b.Fatalf("%d messages could not be read, want %d", n, i*messages/100)
			}
			sums[i].messages += messages
			sums[i].cpu += took.cpu
			sums[i].wall += took.wall
		}
	}
	b.ReportMetric(sums[1].perCPU()/sums[0].perCPU(), "of-clean/cpu")
	b.ReportMetric(sums[0].wall.Seconds()/sums[1].wall.Seconds(), "of-clean/wall")
	b.ReportMetric(sums[1].perCPU(), "messages/cpu-s")
}

// dead is how many messages could not be read.
func dead(s pipeline.Stats) (n uint64) {
	for _, of := range s.Dead {
		n += of
	}
	return n
}

// poison breaks every n-th message: cut off, no message at all, of a later
// version, in turns. One in 500 of those is oversized, which alone is as long as
// thousands of others: more of them would measure unpacking of bytes.
func poison(messages [][]byte, n int) [][]byte {
	random := rand.New(rand.NewPCG(3, 4))
	broken := make([][]byte, len(messages))
	copy(broken, messages)
	for i := n - 1; i < len(broken); i += n {
		m := bytes.Clone(broken[i])
		switch k := i / n; {
		case k%500 == 250:
			m = append(m, strings.Repeat("\x7a\x01x", wire.MaxMessage/3)...)
		case k%3 == 0:
			m = m[:len(m)-1-random.IntN(len(m)/2)]
		case k%3 == 1:
			m = []byte(strings.Repeat("not a message ", 1+random.IntN(40)))
		default:
			m[1] = wire.Version + 1 // the version comes first
		}
		broken[i] = m
	}
	return broken
}

// write puts messages into one partition, as they are.
func write(b *testing.B, broker *kafkatest.Broker, topic string, partition int, messages [][]byte) {
	b.Helper()
	w := &kafkago.Writer{
		Addr: kafkago.TCP(broker.Brokers()...), Topic: topic, RequiredAcks: kafkago.RequireAll, Compression: kafkago.Zstd,
		BatchSize: 2000, BatchBytes: 4 << 20, BatchTimeout: 5 * time.Millisecond,
		Balancer: kafkago.BalancerFunc(func(kafkago.Message, ...int) int { return partition }),
	}
	defer w.Close()
	for len(messages) > 0 {
		n := min(2000, len(messages))
		batch := make([]kafkago.Message, n)
		for i := range batch {
			batch[i].Value = messages[i]
		}
		if err := w.WriteMessages(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
		messages = messages[n:]
	}
}
