package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// BenchmarkIngest measures the way from a broker into ClickHouse: rows/cpu-s is
// calls for each second of this process's CPU, all of it, Kafka's client and the
// garbage collector included; rows/s is the wall's, with broker and ClickHouse on
// the same cores. What names the operations is a catalogue, or the paths
// themselves where there is none.
func BenchmarkIngest(b *testing.B) {
	broker, conn := kafkatest.Start(b, kafkatest.Options{Fast: true}), store(b)
	topic := broker.Topic(b, 4)
	for at := 0; at < benchRows; at += 20_000 {
		produce(b, broker, topic, batchOf(at, 20_000))
	}
	b.Run("learned", func(b *testing.B) {
		for b.Loop() {
			_, rows := ingestAll(b, broker, conn, topic, catalog.Empty(), pipeline.Config{}, func(s pipeline.Stats) bool { return s.Calls == benchRows })
			rows.report(b)
		}
	})
	b.Run("catalogue", func(b *testing.B) {
		known := benchCatalog(b)
		for b.Loop() {
			stats, rows := ingestAll(b, broker, conn, topic, known, pipeline.Config{}, func(s pipeline.Stats) bool { return s.Calls == benchRows })
			rows.report(b)
			if stats.Unmapped > 0 {
				b.Errorf("%d calls have no route", stats.Unmapped)
			}
		}
	})
}

// benchRows is how many calls one turn of a benchmark stores: several blocks a
// lane, so that what only the first one costs does not decide.
const benchRows = 800_000

// benchCatalog has the operations that callsOf makes calls of.
func benchCatalog(b *testing.B) *catalog.Catalog {
	b.Helper()
	text := "services:\n  - name: orders\n    hosts: [orders.example.com]\n    operations:\n"
	for i := range 20 {
		text += fmt.Sprintf("      - {operation: \"GET /collection-%c/items/{id}\", scopes: [[orders:read]]}\n", 'a'+i)
	}
	file := filepath.Join(b.TempDir(), "catalog.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	known, err := catalog.Load(file)
	if err != nil {
		b.Fatal(err)
	}
	return known
}

// rate is what storing some messages took.
type rate struct {
	messages  float64
	cpu, wall time.Duration
}

func (r rate) perCPU() float64 { return r.messages / r.cpu.Seconds() }

func (r rate) report(b *testing.B) {
	b.ReportMetric(r.perCPU(), "rows/cpu-s")
	b.ReportMetric(r.messages/r.wall.Seconds(), "rows/s")
}

// ingestAll empties the store and reads a topic from its beginning, as a new
// group, until enough is stored.
func ingestAll(b *testing.B, broker *kafkatest.Broker, conn driver.Conn, topic string, known *catalog.Catalog, cfg pipeline.Config, enough func(pipeline.Stats) bool) (pipeline.Stats, rate) {
	b.Helper()
	b.StopTimer()
	for _, table := range []string{"ranges", "calls"} {
		if err := conn.Exec(b.Context(), "TRUNCATE TABLE "+table); err != nil {
			b.Fatal(err)
		}
	}
	cfg.Conn, cfg.Local, cfg.Current = conn, true, func() *catalog.Catalog { return known }
	in := pipeline.New(cfg)
	g, err := kafka.NewGroup(kafka.GroupConfig{Config: kafka.Config{Brokers: broker.Brokers()}, Group: kafkatest.Name(b), Topic: topic})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var done sync.WaitGroup
	runtime.GC() // what producers left is no cost of the ingester
	before, began := spenttest.Own(b), time.Now()
	b.StartTimer()
	done.Go(func() {
		if err := g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
			return in.Handle(ctx, lane.Topic, lane.Partition, lane)
		}); err != nil {
			b.Error(err)
		}
	})
	until(b, "all is stored", func() bool { return enough(in.Stats()) })
	stats := in.Stats()
	took := rate{float64(stats.Calls), spenttest.Own(b) - before, time.Since(began)}
	cancel()
	done.Wait()
	return stats, took
}
