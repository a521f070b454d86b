package pipeline_test

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// BenchmarkIngest measures the way from a broker into ClickHouse: rows/cpu-s is
// calls for each second of this process's CPU, all of it, Kafka's client and the
// garbage collector included; rows/s is the wall's, with broker and ClickHouse on
// the same cores.
func BenchmarkIngest(b *testing.B) {
	const rows = 400_000
	broker, conn := kafkatest.Start(b, kafkatest.Options{Fast: true}), store(b)
	topic := broker.Topic(b, 4)
	for at := 0; at < rows; at += 20_000 {
		produce(b, broker, topic, batchOf(at, 20_000))
	}
	for b.Loop() {
		b.StopTimer()
		if err := conn.Exec(b.Context(), "TRUNCATE TABLE ranges"); err != nil {
			b.Fatal(err)
		}
		in := pipeline.New(pipeline.Config{Conn: conn, Local: true})
		g, err := kafka.NewGroup(kafka.GroupConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Group: kafkatest.Name(b), Topic: topic})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		var done sync.WaitGroup
		before, began := cpu(), time.Now()
		b.StartTimer()
		done.Go(func() {
			if err := g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
				return in.Handle(ctx, lane.Topic, lane.Partition, lane)
			}); err != nil {
				b.Error(err)
			}
		})
		until(b, "all is stored", func() bool { return in.Stats().Calls == rows })
		b.ReportMetric(rows/(cpu()-before).Seconds(), "rows/cpu-s")
		b.ReportMetric(rows/time.Since(began).Seconds(), "rows/s")
		cancel()
		done.Wait()
	}
}

// cpu is what this process has used, of both kinds.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
