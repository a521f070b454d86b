package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
)

// TestIngestMemory lets the program catch up on twelve partitions of calls that
// are large and hardly repeat: it stays below 256 MiB. Told to end in the midst of
// it, it ends in time and with 0; the next one stores the rest, each call once.
func TestIngestMemory(t *testing.T) {
	const partitions, calls, most = 12, 120_000, 256 << 10
	environment, dir := needEngine(t), t.TempDir()
	broker := kafkatest.Start(t, kafkatest.Options{})
	names := kafka.NamesOf("memory")
	if _, err := kafka.EnsureTopics(t.Context(), kafka.Config{Brokers: broker.Brokers()}, kafka.Topics(names, partitions, 1)); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	e := enginetest.Start(t, engine.Config{Listen: listen})
	conn := enginetest.Connect(t, e)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	produceLarge(t, broker, names.Calls, calls)
	catalogue := filepath.Join(dir, "catalog.yaml")
	if err := os.WriteFile(catalogue, []byte(detectortest.Company), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, enough := range []uint64{1, calls} {
		var talk bytes.Buffer
		cmd := exec.Command(program, "ingest", "--kafka", broker.Brokers()[0], "--kafka-prefix", "memory", "--clickhouse", "http://"+listen,
			"--catalog", catalogue, "--group-session", "6s", "--metrics-listen", "off")
		cmd.Env, cmd.Stderr = environment, &talk
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		peak := 0
		for end := time.Now().Add(4 * time.Minute); storedCalls(t, conn) < enough; time.Sleep(100 * time.Millisecond) {
			peak = max(peak, spenttest.Of(t, cmd.Process.Pid).Peak>>10)
			if time.Now().After(end) {
				t.Fatalf("only %d calls are stored\n%s", storedCalls(t, conn), talk.String())
			}
		}
		peak = max(peak, spenttest.Of(t, cmd.Process.Pid).Peak>>10)
		began := time.Now()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("told to end: %v\n%s", err, talk.String())
		}
		t.Logf("peak %d MiB; ended in %v", peak>>10, time.Since(began))
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("it took %v to end", took)
		}
		if peak > most {
			t.Errorf("it held %d MiB, %d are allowed", peak>>10, most>>10)
		}
	}
	if n := storedCalls(t, conn); n != calls {
		t.Errorf("%d calls are stored, want %d", n, calls)
	}
}

func storedCalls(t *testing.T, conn driver.Conn) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), "SELECT count() FROM calls").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// produceLarge writes calls with long texts of their own.
func produceLarge(t *testing.T, b *kafkatest.Broker, topic string, n int) {
	t.Helper()
	p, err := kafka.NewProducer(kafka.ProducerConfig{Config: kafka.Config{Brokers: b.Brokers()}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const batch = 4000
	for at := 0; at < n; at += batch {
		calls := make([]schema.Call, batch)
		for i := range calls {
			k := at + i
			calls[i] = schema.Call{
				ID: schema.CallID{1, byte(k >> 16), byte(k >> 8), byte(k)}, Time: start.Add(time.Duration(k) * time.Second / 2), Source: schema.Source{Type: "envoy", Name: "edge.log"},
				Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: fmt.Sprintf("https://idp.example.com|client-%d", k%5000), Instance: fmt.Sprintf("instance-%032d", k)},
				Decision:   schema.DecisionAllowed, Method: "GET", Host: "orders.test", Path: "/items/" + strings.Repeat(strconv.Itoa(k)+"-", 60),
				Resource: fmt.Sprintf("item/%064d", k), ClientAddress: netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}),
				UserAgent: fmt.Sprintf("agent/%d", k%3000), RequestID: fmt.Sprintf("%032x", k), TraceID: fmt.Sprintf("%032x", k*7), Status: 200,
			}
		}
		if err := p.Put(t.Context(), &schema.Batch{Input: schema.Input{Name: "edge.log", Format: "envoy"}, FirstUnit: uint64(at), NextUnit: uint64(at + batch), Calls: calls}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
