package engine_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// The engine is killed during inserts, again and again: each time the command
// hears of it, and what was acknowledged is there afterwards, once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	acknowledged := 0
	const rows = 20_000
	for round := range 6 {
		e, err := engine.Start(ctx, enginetest.Config(t, engine.Config{Dir: dir}))
		if err != nil {
			t.Fatal(err)
		}
		if e.Joined() {
			t.Fatal("joined a dead engine")
		}
		conn, err := clickhouse.Open(ctx, clickhouse.Target{Socket: e.Socket()})
		if err != nil {
			t.Fatal(err)
		}
		execute(t, conn, "CREATE TABLE IF NOT EXISTS k (batch UInt32, n UInt64, s String) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000")
		if got := one[uint64](t, conn, "SELECT uniqExact(batch) FROM k WHERE batch < {n:UInt32}", ch.Named("n", uint32(acknowledged))); got != uint64(acknowledged) {
			t.Fatalf("round %d: %d of %d acknowledged batches are there", round, got, acknowledged)
		}
		if got := one[uint64](t, conn, "SELECT countIf(c != {rows:UInt64}) FROM (SELECT count() AS c FROM k GROUP BY batch)", ch.Named("rows", uint64(rows))); got != 0 {
			t.Fatalf("round %d: %d batches are not whole", round, got)
		}
		wait := time.Duration(rand.IntN(400)) * time.Millisecond
		time.AfterFunc(wait, func() { _ = syscall.Kill(e.PID(), syscall.SIGKILL) })
		for err == nil {
			// The first one repeats the one that failed in the round before.
			bctx := ch.Context(ctx, ch.WithSettings(ch.Settings{"insert_deduplication_token": strconv.Itoa(acknowledged)}))
			err = conn.Exec(bctx, "INSERT INTO k SELECT {b:UInt32}, number, toString(number) FROM numbers({rows:UInt64})",
				ch.Named("b", uint32(acknowledged)), ch.Named("rows", uint64(rows)))
			if err == nil {
				acknowledged++
			}
		}
		if err := clickhouse.Explain(err); !clickhouse.IsKind(err, clickhouse.Broken) && !clickhouse.IsKind(err, clickhouse.Unreachable) {
			t.Errorf("round %d: the insert's error = %v", round, err)
		}
		if blamed := e.Blame(err); !engine.IsKind(blamed, engine.Died) {
			t.Errorf("round %d: Blame = %v", round, blamed)
		}
		_ = conn.Close()
		<-e.Done()
		for range 2 {
			if err := e.Close(); !engine.IsKind(err, engine.Died) {
				t.Errorf("Close after a kill = %v", err)
			}
		}
		if !gone(filepath.Dir(e.Socket())) {
			t.Error("the socket was left behind")
		}
	}
	if acknowledged == 0 {
		t.Error("no insert was acknowledged in any round")
	}
}

// A kill in the middle of an answer is an error, not an end.
func TestKillDuringAnswer(t *testing.T) {
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	conn := enginetest.Connect(t, e)
	rows, err := conn.Query(context.Background(), "SELECT number FROM numbers(1000000000000)")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; rows.Next(); n++ {
		if n == 1_000_000 {
			_ = syscall.Kill(e.PID(), syscall.SIGKILL)
		}
	}
	if err := clickhouse.Explain(rows.Err()); !clickhouse.IsKind(err, clickhouse.Broken) || !engine.IsKind(e.Blame(err), engine.Died) {
		t.Errorf("error = %v", err)
	}
	if err := e.Close(); !engine.IsKind(err, engine.Died) {
		t.Errorf("Close = %v", err)
	}
}

// A command that joined hears of the death as well.
func TestJoinedHearsOfDeath(t *testing.T) {
	dir := t.TempDir()
	p := startParent(t, dir)
	e, err := engine.Start(context.Background(), enginetest.Config(t, engine.Config{Dir: dir}))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-e.Done()
	if !engine.IsKind(e.Err(), engine.Died) || !engine.IsKind(e.Close(), engine.Died) {
		t.Errorf("Err = %v, Close = %v", e.Err(), e.Close())
	}
}
