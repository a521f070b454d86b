package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// TestKilledBetweenTokenAndPart: a kill between a part's token and its name leaves
// a token without rows. The rows are stored when they come again, in the table and
// in what a view makes of it, and others are not stored twice, merged or not.
func TestKilledBetweenTokenAndPart(t *testing.T) {
	for _, table := range []string{"raw", "sums"} {
		t.Run(table, func(t *testing.T) {
			dir := t.TempDir()
			e, conn := open(t, dir)
			for _, ddl := range []string{
				"CREATE TABLE raw (d Date, n UInt64) ENGINE = MergeTree PARTITION BY d ORDER BY n SETTINGS non_replicated_deduplication_window = 100",
				"CREATE TABLE sums (d Date, n UInt64) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(d) ORDER BY d SETTINGS non_replicated_deduplication_window = 100",
				"CREATE MATERIALIZED VIEW v TO sums AS SELECT d, sum(n) AS n FROM raw GROUP BY d",
			} {
				execute(t, conn, ddl)
			}
			for token := range 3 {
				store(t, conn, token)
			}
			execute(t, conn, "OPTIMIZE TABLE raw FINAL")
			store(t, conn, 3)
			name := one[string](t, conn, "SELECT path FROM system.parts WHERE table = {t:String} AND active ORDER BY max_block_number DESC, partition DESC LIMIT 1", ch.Named("t", table))
			kill(e, conn)
			// As it was a moment before: the token is written, the part has no name yet.
			name = strings.TrimSuffix(name, "/")
			if err := os.Rename(name, filepath.Join(filepath.Dir(name), "tmp_insert_"+filepath.Base(name))); err != nil {
				t.Fatal(err)
			}
			e, conn = open(t, dir)
			for token := range 4 {
				store(t, conn, token)
			}
			check(t, conn, 4)
			// A second time nothing is to be mended.
			kill(e, conn)
			e, conn = open(t, dir)
			store(t, conn, 3)
			check(t, conn, 4)
			kill(e, conn)
		})
	}
}

// TestTokenCutOff: a full disk may leave half a line in the log of tokens. What was
// written before and comes afterwards is known all the same.
func TestTokenCutOff(t *testing.T) {
	dir := t.TempDir()
	e, conn := open(t, dir)
	execute(t, conn, "CREATE TABLE raw (d Date, n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100")
	execute(t, conn, "CREATE TABLE sums AS raw")
	store(t, conn, 0)
	kill(e, conn)
	logs, err := filepath.Glob(filepath.Join(dir, "clickhouse", "store", "*", "*", "deduplication_logs", "*"))
	if err != nil || len(logs) != 2 {
		t.Fatalf("%d logs: %v", len(logs), err)
	}
	for _, path := range logs {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("1\tall_9_9")
			_ = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		e, conn = open(t, dir)
		for token := range 2 {
			store(t, conn, token)
		}
		if n := one[uint64](t, conn, "SELECT count() FROM raw"); n != 600 {
			t.Errorf("%d rows, want 600", n)
		}
		kill(e, conn)
	}
}

func open(t *testing.T, dir string) (*engine.Engine, driver.Conn) {
	t.Helper()
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(t.Context(), clickhouse.Target{Socket: e.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	return e, conn
}

func kill(e *engine.Engine, conn driver.Conn) {
	_ = conn.Close()
	_ = syscall.Kill(e.PID(), syscall.SIGKILL)
	<-e.Done()
	_ = e.Close()
}

// store inserts 300 rows of three days, the same for the same token.
func store(t *testing.T, conn driver.Conn, token int) {
	t.Helper()
	ctx := ch.Context(t.Context(), ch.WithSettings(ch.Settings{
		"insert_deduplication_token": fmt.Sprint("token ", token), "deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
	if err := conn.Exec(ctx, "INSERT INTO raw SELECT toDate('2026-01-01') + number % 3, number + {t:UInt32} * 1000 FROM numbers(300)", ch.Named("t", uint32(token))); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, conn driver.Conn, tokens uint64) {
	t.Helper()
	if rows, ids := one[uint64](t, conn, "SELECT count() FROM raw"), one[uint64](t, conn, "SELECT uniqExact(n) FROM raw"); rows != 300*tokens || ids != rows {
		t.Errorf("%d rows, %d of them different; want %d", rows, ids, 300*tokens)
	}
	if in, out := one[uint64](t, conn, "SELECT sum(n) FROM raw"), one[uint64](t, conn, "SELECT sum(n) FROM sums"); in != out {
		t.Errorf("the sum is %d and the view's %d", in, out)
	}
}
