package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// batchOf makes a batch of n calls by ten credentials; number tells batches apart.
func batchOf(input string, number, n int) *schema.Batch {
	b := &schema.Batch{
		Input: schema.Input{Name: input, Format: "test"}, FirstUnit: uint64(number * n), NextUnit: uint64((number + 1) * n),
		Calls: make([]schema.Call, n),
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range b.Calls {
		unit := number*n + i
		c := &b.Calls[i]
		c.Time = start.Add(time.Duration(unit) * time.Millisecond)
		c.Credential = schema.Credential{Kind: schema.KindAPIKey, ID: fmt.Sprintf("key-%d", unit%10)}
		c.Service, c.Operation, c.Method = "orders", "GET /orders/{id}", "GET"
		c.Path = fmt.Sprintf("/orders/%s-%d", input, unit)
		c.Status = 200
	}
	return b
}

// produced is what a topic holds, decoded.
type produced struct {
	partition int
	offset    int64
	key       string
	message   wire.Message
}

func decode(t *testing.T, b *kafkatest.Broker, topic string) []produced {
	t.Helper()
	var all []produced
	d := wire.NewDecoder()
	for _, m := range b.Messages(t, topic) {
		message, err := d.Message(m.Value)
		if err != nil {
			t.Fatalf("partition %d offset %d: %v", m.Partition, m.Offset, err)
		}
		all = append(all, produced{m.Partition, m.Offset, string(m.Key), message})
	}
	return all
}

// producer runs a producer to a topic until the test ends.
func producer(t *testing.T, cfg kafka.ProducerConfig) (p *kafka.Producer, stop func() error) {
	t.Helper()
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Logf("reported: %v", err) }
	}
	p, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return p, stop
}

// TestProducer holds it to its order: each credential in one partition, the one
// that Java's client would choose; sequences without a hole; the account behind
// the calls that it counts.
func TestProducer(t *testing.T) {
	b := kafkatest.Shared(t)
	const partitions, inputs, batches, size = 5, 3, 8, 500
	topic := b.Topic(t, partitions)
	p, stop := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic})
	var freed atomic.Int64
	var writers sync.WaitGroup
	for input := range inputs {
		writers.Go(func() {
			for number := range batches {
				batch := batchOf(fmt.Sprint("input", input), number, size)
				batch.Skipped = map[string]uint64{"no request": 2}
				batch.Done = number == batches-1
				batch.Free = func() { freed.Add(1) }
				if err := p.Put(t.Context(), batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if freed.Load() != inputs*batches {
		t.Errorf("%d of %d batches were given back", freed.Load(), inputs*batches)
	}
	if err := p.Put(t.Context(), batchOf("late", 0, 1)); err == nil {
		t.Error("a producer that has ended takes a batch")
	}
	checkProduced(t, decode(t, b, topic), p.Epoch(), partitions, inputs, batches, size, false)
	stats := p.Stats()
	if stats.Messages != inputs*batches*(size+1) || stats.Buffered != 0 || stats.Retries != 0 || !stats.Failing.IsZero() {
		t.Errorf("stats are %+v", stats)
	}
}

// checkProduced checks what is in a topic. Copies are allowed where a broker died:
// they have the number of the original, and come with all that follows it.
func checkProduced(t *testing.T, all []produced, epoch uint64, partitions, inputs, batches, size int, copies bool) {
	t.Helper()
	seen, last, counted := map[string]int{}, map[int]uint64{}, map[string]uint64{}
	var numbers []int
	for i := range partitions {
		numbers = append(numbers, i)
	}
	for _, m := range all {
		if m.message.Epoch != epoch {
			t.Fatalf("a message of epoch %d", m.message.Epoch)
		}
		if want := (kafkago.Murmur2Balancer{}).Balance(kafkago.Message{Key: []byte(m.key)}, numbers...); m.partition != want {
			t.Fatalf("key %x is in partition %d, the Java client puts it into %d", m.key, m.partition, want)
		}
		switch next := last[m.partition] + 1; {
		case m.message.Sequence == next:
			last[m.partition] = next
		case m.message.Sequence < next && copies:
			continue
		default:
			t.Fatalf("partition %d offset %d has sequence %d after %d", m.partition, m.offset, m.message.Sequence, next-1)
		}
		switch {
		case m.message.Call != nil:
			c := m.message.Call
			if hash := c.Credential.Principal().Hash(); m.key != string(hash[:]) {
				t.Fatalf("a call has key %x instead of its principal's hash", m.key)
			}
			seen[c.Path]++
		default:
			counted[m.message.Account.Input.Name] += m.message.Account.Calls
			if a := m.message.Account; a.FirstTime.IsZero() || !a.LastTime.After(a.FirstTime) {
				t.Errorf("an account spans %s to %s", a.FirstTime, a.LastTime)
			}
		}
	}
	for input := range inputs {
		if got := counted[fmt.Sprint("input", input)]; got != uint64(batches*size) {
			t.Errorf("accounts of input %d count %d calls of %d", input, got, batches*size)
		}
		for unit := range batches * size {
			path := fmt.Sprintf("/orders/input%d-%d", input, unit)
			if seen[path] != 1 {
				t.Fatalf("%s is there %d times, besides copies", path, seen[path])
			}
		}
	}
	if len(seen) != inputs*batches*size {
		t.Errorf("%d calls, want %d", len(seen), inputs*batches*size)
	}
}

// TestBrokerDies: what was acknowledged is there although the broker is killed in
// the middle, again and again; the writers only wait.
func TestBrokerDies(t *testing.T) {
	b := kafkatest.Start(t, kafkatest.Options{})
	const partitions, inputs, batches, size, kills = 3, 2, 60, 200, 3
	topic := b.Topic(t, partitions)
	var reports atomic.Int64
	p, stop := producer(t, kafka.ProducerConfig{
		Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic, Buffer: 256 << 10,
		Report: func(err error) {
			reports.Add(1)
		},
	})
	var put atomic.Int64
	var writers sync.WaitGroup
	for input := range inputs {
		writers.Go(func() {
			for number := range batches {
				if err := p.Put(t.Context(), batchOf(fmt.Sprint("input", input), number, size)); err != nil {
					t.Error(err)
					return
				}
				put.Add(1)
			}
		})
	}
	for kill := 1; kill <= kills; kill++ {
		eventually(t, "progress", func() bool { return put.Load() >= int64(kill*inputs*batches/(kills+2)) })
		b.Kill()
		eventually(t, "the failure is known", func() bool { return !p.Stats().Failing.IsZero() || put.Load() == inputs*batches })
		if s := p.Stats(); s.Buffered > s.Limit+inputs*(wire.MaxMessage+64<<10) {
			t.Errorf("%d bytes wait, of at most %d", s.Buffered, s.Limit)
		}
		b.Restart(t)
	}
	writers.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d errors were healed; stats %+v", reports.Load(), p.Stats())
	checkProduced(t, decode(t, b, topic), p.Epoch(), partitions, inputs, batches, size, true)
}

// TestPutEnds: with the broker away, Put returns when its context ends, and Run
// when its own does and the drain is over.
func TestPutEnds(t *testing.T) {
	p, stop := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: []string{"127.0.0.1:1"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Put(ctx, batchOf("x", 0, 10)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put returned %v", err)
	}
	eventually(t, "the reason is known", func() bool { return strings.Contains(p.Stats().LastError, "no broker listens") })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := p.Put(t.Context(), batchOf("x", 0, 10)); err == nil {
		t.Error("a producer that has ended takes a batch")
	}
}

// TestTooLarge: a call that no broker takes is lost alone, and its account says so.
func TestTooLarge(t *testing.T) {
	b := kafkatest.Shared(t)
	topic := b.Topic(t, 2, kafkago.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "20000"})
	p, _ := producer(t, kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic})
	batch := batchOf("large", 0, 3000)
	// Noise, so that no compression helps.
	noise := func(n int) string {
		var s strings.Builder
		for seed := uint64(n); s.Len() < n; seed = seed*6364136223846793005 + 1442695040888963407 {
			fmt.Fprintf(&s, "%016x", seed)
		}
		return s.String()
	}
	batch.Calls[1234].Path = noise(100_000) // for this topic
	batch.Calls[2345].Path = noise(2_000_000)
	if err := p.Put(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	calls, sequences := 0, map[int][]uint64{}
	var account *schema.Account
	for _, m := range decode(t, b, topic) {
		sequences[m.partition] = append(sequences[m.partition], m.message.Sequence)
		if m.message.Account != nil {
			account = m.message.Account
		} else {
			calls++
		}
	}
	if calls != 2998 {
		t.Errorf("%d calls of 3000 arrived", calls)
	}
	if account == nil || account.Calls != 2998 || account.Skipped[kafka.LostTooLarge] != 2 {
		t.Errorf("the account is %+v", account)
	}
	if p.Stats().TooLarge != 2 {
		t.Errorf("stats are %+v", p.Stats())
	}
}

// TestNotices: the findings topic holds CloudEvents, the dead-letter topic letters.
func TestNotices(t *testing.T) {
	b := kafkatest.Shared(t)
	topic, dead := b.Topic(t, 3), b.Topic(t, 1)
	findings, err := kafka.NewFindings(kafka.Config{Brokers: b.Brokers()}, topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	letters, err := kafka.NewDeadLetters(kafka.Config{Brokers: b.Brokers()}, dead, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = findings.Run(ctx) })
	running.Go(func() { _ = letters.Run(ctx) })
	defer running.Wait()
	defer cancel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	if err := findings.Put(ctx, kafka.Notice{ID: "f-1/1", Type: "scopedrift.finding.opened", Source: "/test", Subject: "f-1", Time: at, Data: []byte(`{"a":1}`)}); err != nil {
		t.Fatal(err)
	}
	if err := findings.Put(ctx, kafka.Notice{}); err == nil {
		t.Error("a notice without an id is taken")
	}
	if err := letters.Put(ctx, kafka.DeadLetter{Topic: "x", Partition: 1, Offset: 7, Length: 3, Reason: wire.ReasonTruncated, Time: at}); err != nil {
		t.Fatal(err)
	}
	got := b.Messages(t, topic)
	if len(got) != 1 || string(got[0].Key) != "f-1" || string(got[0].Value) != `{"a":1}` {
		t.Fatalf("the findings topic holds %+v", got)
	}
	headers := map[string]string{}
	for _, h := range got[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	for key, want := range map[string]string{"ce_specversion": "1.0", "ce_id": "f-1/1", "ce_type": "scopedrift.finding.opened",
		"ce_source": "/test", "ce_time": "2026-11-01T12:00:00Z", "content-type": "application/json"} {
		if headers[key] != want {
			t.Errorf("header %s is %q, want %q", key, headers[key], want)
		}
	}
	got = b.Messages(t, dead)
	if len(got) != 1 || string(got[0].Value) != `{"topic":"x","partition":1,"offset":7,"length":3,"reason":"truncated","time":"2026-11-01T12:00:00Z"}` {
		t.Errorf("the dead-letter topic holds %+v", got)
	}
}
