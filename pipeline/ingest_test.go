package pipeline_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// callsOf makes n believable calls: 50 credentials, 20 operations, 3 days.
func callsOf(from, n int) []schema.Call {
	calls := make([]schema.Call, n)
	for i := range calls {
		k := from + i
		c := &calls[i]
		binary.BigEndian.PutUint64(c.ID[:], uint64(k)+1)
		c.ID[15] = 9
		c.Time = start.Add(time.Duration(k%(3*86400)) * time.Second)
		c.Source = schema.Source{Type: "envoy", Name: "edge.log"}
		client := fmt.Sprintf("client-%02d", k%50)
		c.Credential = schema.Credential{Kind: schema.KindOAuthClient, ID: "https://idp.example.com|" + client, Issuer: "https://idp.example.com", Client: client, Verified: true}
		c.Scopes = [][]string{{"orders:read"}, {"orders:read", "orders:write"}, nil, {}}[k%4]
		c.Decision = schema.DecisionAllowed
		c.Method, c.Host, c.Path = "GET", "orders.example.com", fmt.Sprintf("/collection-%c/items/%d", 'a'+k%20, k%1000)
		c.Status, c.RequestBytes, c.ResponseBytes, c.DurationUS = 200, uint64(k%900), uint64(k%9000), uint64(k%50000)
		c.ClientAddress = netip.AddrFrom4([4]byte{10, 0, 3, byte(k % 64)})
		c.UserAgent, c.Tenant, c.Workload = "agent/1.0", "acme", "spiffe://example.com/ns/shop/sa/web"
		c.RequestID = fmt.Sprintf("%08x-%012x", k*7919, k*104729)
	}
	return calls
}

func batchOf(from, n int) *schema.Batch {
	return &schema.Batch{Input: schema.Input{Name: "edge.log", Format: "envoy"}, FirstUnit: uint64(from), NextUnit: uint64(from + n), Calls: callsOf(from, n)}
}

func store(t testing.TB) driver.Conn {
	t.Helper()
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// one reads a single number.
func one(t testing.TB, conn driver.Conn, query string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), "SELECT toUInt64("+query+")").Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// produce sends batches and returns when the broker has them.
func produce(t testing.TB, b *kafkatest.Broker, topic string, batches ...*schema.Batch) {
	t.Helper()
	p, err := kafka.NewProducer(kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for _, batch := range batches {
		if err := p.Put(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// ingest runs an ingester as a member of a group; stop ends it.
func ingest(t testing.TB, b *kafkatest.Broker, topic, group string, cfg pipeline.Config) (in *pipeline.Ingester, stop func() error) {
	t.Helper()
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 200 * time.Millisecond
	}
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Logf("reported: %v", err) }
	}
	cfg.Local = true
	in = pipeline.New(cfg)
	g, err := kafka.NewGroup(kafka.GroupConfig{
		Config: kafka.Config{Brokers: b.Brokers()}, Group: group, Topic: topic, Session: 10 * time.Second,
		Report: func(err error) { t.Logf("group reported: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
			return in.Handle(ctx, lane.Topic, lane.Partition, lane)
		})
	}()
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return in, stop
}

// until waits for a truth.
func until(t testing.TB, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if ask() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// whole checks that rollups hold what the calls do, and that the confirmed
// ranges follow each other.
func whole(t testing.TB, conn driver.Conn) {
	t.Helper()
	calls := one(t, conn, "(SELECT count() FROM calls)")
	for _, rollup := range []string{"use_hour", "use_day", "use_life", "source_day"} {
		if n := one(t, conn, "(SELECT sum(calls) FROM "+rollup+")"); n != calls {
			t.Errorf("%s holds %d calls, the store %d", rollup, n, calls)
		}
	}
	if n := one(t, conn, `(SELECT countIf(before != 0 AND before != first_offset) FROM (SELECT first_offset,
		lagInFrame(next_offset) OVER (PARTITION BY topic, partition ORDER BY first_offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
		FROM (SELECT DISTINCT topic, partition, first_offset, next_offset FROM ranges WHERE state = 'confirmed')))`); n != 0 {
		t.Errorf("%d ranges have a hole or an overlap before them", n)
	}
}

// TestIngest stores what was produced, once, with its accounts.
func TestIngest(t *testing.T) {
	b, conn := kafkatest.Shared(t), store(t)
	topic := b.Topic(t, 3)
	produce(t, b, topic, batchOf(0, 5000), batchOf(5000, 5000))
	in, stop := ingest(t, b, topic, kafkatest.Name(t), pipeline.Config{Conn: conn, BlockRows: 1000})
	until(t, "all is stored", func() bool { s := in.Stats(); return s.Calls == 10000 && s.Accounts == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := one(t, conn, "(SELECT uniqExact(id) FROM calls)"); n != 10000 {
		t.Errorf("%d calls are stored", n)
	}
	if n := one(t, conn, "(SELECT sum(calls) FROM ledger WHERE state = 'confirmed')"); n != 10000 {
		t.Errorf("the ledger knows %d calls", n)
	}
	if n := one(t, conn, "(SELECT count() FROM ranges WHERE state = 'planned') - (SELECT count() FROM ranges WHERE state = 'confirmed')"); n != 0 {
		t.Errorf("%d ranges are planned and not confirmed", n)
	}
	whole(t, conn)
	s := in.Stats()
	if s.Missing+s.Lost+s.Repeated+s.Copied+s.Replayed+s.Retries != 0 || len(s.Dead) != 0 || s.Lanes != 0 {
		t.Errorf("something happened: %+v", s)
	}
}

// TestIngestGoesOn: a second member of the group, later, stores the rest, and
// knows repeats of a producer that sent a batch again.
func TestIngestGoesOn(t *testing.T) {
	b, conn := kafkatest.Shared(t), store(t)
	topic, group := b.Topic(t, 2), kafkatest.Name(t)
	produce(t, b, topic, batchOf(0, 2000))
	in, stop := ingest(t, b, topic, group, pipeline.Config{Conn: conn})
	until(t, "the first half is stored", func() bool { return in.Stats().Calls == 2000 })
	produce(t, b, topic, batchOf(1000, 2000))
	until(t, "the second half is stored", func() bool { s := in.Stats(); return s.Calls == 3000 && s.Repeated == 1000 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	produce(t, b, topic, batchOf(3000, 1000))
	in, stop = ingest(t, b, topic, group, pipeline.Config{Conn: conn})
	until(t, "what came meanwhile is stored", func() bool { return in.Stats().Calls == 1000 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := one(t, conn, "(SELECT count() FROM calls)"); n != 4000 {
		t.Errorf("%d calls are stored", n)
	}
	whole(t, conn)
}

// TestDeadLetters puts what cannot be read into the real topic, and says where it
// is; what is beside it is stored.
func TestDeadLetters(t *testing.T) {
	b, conn := kafkatest.Shared(t), store(t)
	topic, aside := b.Topic(t, 1), b.Topic(t, 1)
	produce(t, b, topic, batchOf(0, 100))
	w := &kafkago.Writer{Addr: kafkago.TCP(b.Brokers()...), Topic: topic, RequiredAcks: kafkago.RequireAll}
	if err := w.WriteMessages(t.Context(), kafkago.Message{Value: []byte("not a message, with hunter2-canary in it")}, kafkago.Message{}); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	produce(t, b, topic, batchOf(100, 100))
	letters, err := kafka.NewDeadLetters(kafka.Config{Brokers: b.Brokers()}, aside, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = letters.Run(t.Context()) }()
	in, stop := ingest(t, b, topic, kafkatest.Name(t), pipeline.Config{Conn: conn, DeadLetters: letters})
	until(t, "all is stored", func() bool { return in.Stats().Calls == 200 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	offsets := map[int64]string{}
	for _, m := range b.Messages(t, aside) {
		var l kafka.DeadLetter
		if err := json.Unmarshal(m.Value, &l); err != nil || l.Topic != topic || l.Reason == "" || bytes.Contains(m.Value, []byte("hunter2")) {
			t.Errorf("%s: %v", m.Value, err)
		}
		offsets[l.Offset] = l.Reason
	}
	if len(offsets) != 2 || offsets[101] == "" || offsets[102] == "" {
		t.Errorf("letters of %v", offsets)
	}
	whole(t, conn)
}
