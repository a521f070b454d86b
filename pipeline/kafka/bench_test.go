package kafka_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
)

// realistic makes n calls as a gateway's JSON log gives them: 200 clients, 20
// services, ids of their own.
func realistic(n int) *schema.Batch {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	hex := func(bytes int) string {
		var s strings.Builder
		for range bytes / 8 {
			fmt.Fprintf(&s, "%016x", random.Uint64())
		}
		return s.String()
	}
	b := batchOf("bench", 0, n)
	for i := range b.Calls {
		c := &b.Calls[i]
		client, service := random.IntN(200), random.IntN(20)
		for at := range c.ID {
			c.ID[at] = byte(random.Uint32())
		}
		c.Time = c.Time.Add(time.Duration(random.IntN(1000)) * time.Microsecond)
		c.Source = schema.Source{Type: "envoy", Name: "gateway-eu-1"}
		c.Credential = schema.Credential{
			Kind: schema.KindOAuthClient, ID: fmt.Sprintf("https://idp.example.com/|client-%d", client), Issuer: "https://idp.example.com/",
			Subject: fmt.Sprintf("service-%d", client), Client: fmt.Sprintf("client-%d", client), Instance: hex(16), Verified: true,
		}
		c.Scopes = []string{"orders:read", fmt.Sprintf("service-%d:write", service)}
		c.Decision, c.Reporter = schema.DecisionAllowed, schema.ReporterGateway
		c.Service, c.Operation = fmt.Sprintf("service-%d", service), fmt.Sprintf("GET /v1/things-%d/{id}", random.IntN(40))
		c.Host, c.Path = fmt.Sprintf("service-%d.example.com", service), "/v1/things/"+hex(16)
		c.RequestBytes, c.ResponseBytes, c.DurationUS = uint64(random.IntN(900)), uint64(random.IntN(90_000)), uint64(random.IntN(300_000))
		c.ClientAddress = netip.AddrFrom4([4]byte{10, 1, byte(random.IntN(8)), byte(random.IntN(250))})
		c.UserAgent = fmt.Sprintf("service-%d/1.%d (go)", client, client%7)
		c.RequestID, c.TraceID = hex(16), hex(16)
	}
	return b
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
	batch := realistic(size)
	if err := p.Put(ctx, batch); err != nil {
		b.Fatal(err)
	}
	calls := 0
	before := spenttest.Own(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Put(ctx, batch); err != nil {
			b.Fatal(err)
		}
		calls += size
	}
	b.ReportMetric(float64(calls)/(spenttest.Own(b)-before).Seconds(), "calls/cpu-s")
	b.ReportMetric(float64(calls)/b.Elapsed().Seconds(), "calls/s")
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(memory.Sys)/(1<<20), "MiB")
	stats := p.Stats()
	b.ReportMetric(float64(stats.Sent)/float64(stats.Messages), "sent-B/call")
	b.ReportMetric(float64(stats.Bytes)/float64(stats.Messages), "wire-B/call")
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
	batch := realistic(size)
	for range batches {
		if err := p.Put(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
	want := int64(batches * (size + 1))
	round := 0
	before, messages := spenttest.Own(b), int64(0)
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
	b.ReportMetric(float64(messages)/(spenttest.Own(b)-before).Seconds(), "calls/cpu-s")
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "calls/s")
}
