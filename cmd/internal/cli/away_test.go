package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// awaySeconds is for how long TestAway takes broker and engine away. make chaos
// sets a minute.
const awaySeconds = "SCOPEDRIFT_TEST_AWAY"

// What a collector and an ingester may hold, whoever is away.
const (
	mostOfCollector = 128 << 10 // KiB
	mostOfIngester  = 256 << 10
)

// TestAway takes the broker away, and then the engine, while two logs are written
// and followed, one with a spool: both collectors and the ingester say so in metric,
// readiness and log, hold no more than they may, and in the end every line is stored.
func TestAway(t *testing.T) {
	away := 4 * time.Second
	if n, err := strconv.Atoi(os.Getenv(awaySeconds)); err == nil {
		away = time.Duration(n) * time.Second
	}
	environment, dir := needEngine(t), t.TempDir()
	broker := kafkatest.Start(t, kafkatest.Options{})
	if _, err := kafka.EnsureTopics(t.Context(), kafka.Config{Brokers: broker.Brokers()}, kafka.Topics(kafka.NamesOf("away"), 3, 1)); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	serve := func() *engine.Engine {
		e, err := engine.Start(t.Context(), enginetest.Config(t, engine.Config{Dir: filepath.Join(dir, "store"), Listen: listen}))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	server := serve()
	defer func() { _ = server.Close() }()
	catalogue := filepath.Join(dir, "catalog.yaml")
	appendTo(t, catalogue, []byte(detectortest.Company))
	toKafka := []string{"--kafka", broker.Brokers()[0], "--kafka-prefix", "away"}
	in := startDaemon(t, environment, append([]string{"ingest", "--clickhouse", "http://" + listen, "--catalog", catalogue, "--batch-age", "200ms", "--group-session", "6s"}, toKafka...)...)
	logs := []string{filepath.Join(dir, "plain.log"), filepath.Join(dir, "spooled.log")}
	var collectors []*daemon
	for i, path := range logs {
		args := append([]string{"collect", "gateway", "--follow", "--checkpoint", path + ".checkpoint"}, toKafka...)
		if i == 1 {
			args = append(args, "--spool", path+".spool")
		}
		collectors = append(collectors, startDaemon(t, environment, append(args, path)...))
	}
	w := newEvenWriter(t, logs)
	defer w.stop()
	stored := func() bool { return in.metric("scopedrift_calls_stored_total") > 0 }
	in.until(t, "something is stored", stored)

	broker.Kill()
	time.Sleep(away)
	plain, spooled := collectors[0], collectors[1]
	plain.until(t, "the collector says that Kafka is away", func() bool { code, text := plain.get("/readyz"); return code == 503 && strings.Contains(text, "kafka") })
	if spooled.metric("scopedrift_spool_waiting_batches") == 0 {
		t.Error("nothing waits in the spool while Kafka is away")
	}
	for _, d := range collectors {
		if d.metric("scopedrift_produce_retries_total") == 0 {
			t.Error("a collector tells of no failed request")
		}
	}
	in.until(t, "the ingester counts Kafka's errors", func() bool { return in.metric("scopedrift_kafka_errors_total") > 0 })
	w.hold(t, plain, in)
	broker.Restart(t)
	w.caughtUp(t, in, listen)

	_ = syscall.Kill(server.PID(), syscall.SIGKILL)
	<-server.Done()
	_ = server.Close()
	time.Sleep(away)
	in.until(t, "the ingester counts attempts", func() bool { return in.metric("scopedrift_ingest_retries_total") > 0 })
	w.hold(t, plain, in)
	server = serve()
	w.caughtUp(t, in, listen)
	w.stop()
	w.caughtUp(t, in, listen)
	for _, d := range append(collectors, in) {
		log := d.stderr.String()
		jsonOnly(t, log)
		if !strings.Contains(log, `"level":"warn"`) || !strings.Contains(log, "tried again") && !strings.Contains(log, `"hint"`) {
			t.Errorf("the log tells of nothing that is being healed:\n%s", log)
		}
		if n := strings.Count(log, "\n"); n > 40+int(2*away/time.Second) {
			t.Errorf("the log has %d lines for two outages of %v", n, away)
		}
		d.terminate(t)
	}
}

// evenWriter writes numbered lines to logs at a steady rate.
type evenWriter struct {
	written atomic.Int64
	end     context.CancelFunc
	done    sync.WaitGroup
}

func newEvenWriter(t *testing.T, logs []string) *evenWriter {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &evenWriter{end: cancel}
	w.done.Go(func() {
		n := 0
		for ctx.Err() == nil {
			for _, path := range logs {
				var b strings.Builder
				for range 20 {
					n++
					b.WriteString(collectedLine(n))
				}
				file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err == nil {
					_, err = file.WriteString(b.String())
					_ = file.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			w.written.Store(int64(n))
			time.Sleep(20 * time.Millisecond)
		}
	})
	return w
}

func (w *evenWriter) stop() {
	w.end()
	w.done.Wait()
}

// hold wants processes to hold no more than they may.
func (w *evenWriter) hold(t *testing.T, collector, in *daemon) {
	t.Helper()
	a, b := spenttest.Of(t, collector.Process.Pid).Peak>>10, spenttest.Of(t, in.Process.Pid).Peak>>10
	t.Logf("after %d lines the collector held %d MiB, the ingester %d MiB", w.written.Load(), a>>10, b>>10)
	if a > mostOfCollector || b > mostOfIngester {
		t.Errorf("the collector held %d MiB of %d, the ingester %d of %d", a>>10, mostOfCollector>>10, b>>10, mostOfIngester>>10)
	}
}

// caughtUp waits until every line that is written by now is stored.
func (w *evenWriter) caughtUp(t *testing.T, in *daemon, listen string) {
	t.Helper()
	want, got, rows := w.written.Load(), uint64(0), uint64(0)
	conn, err := clickhouse.Open(t.Context(), clickhouse.Target{URL: "http://" + listen})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		query := fmt.Sprintf("SELECT uniqExact(id), count() FROM calls WHERE toUInt64OrZero(extract(request_id, '[0-9]+')) <= %d", want)
		if err := conn.QueryRow(t.Context(), query).Scan(&got, &rows); err == nil && got == uint64(want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d lines are stored\n%s", got, want, in.stderr.String())
		}
	}
	t.Logf("%d lines are stored, %d of them twice", got, rows-got)
}
