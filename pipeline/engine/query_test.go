package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// shared is one engine for the tests that only ask questions of it: starting
// one takes half a second.
func shared(t *testing.T) driver.Conn {
	t.Helper()
	return enginetest.Open(t)
}

func execute(t testing.TB, conn driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](t testing.TB, conn driver.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestTypesRoundTrip(t *testing.T) {
	conn := shared(t)
	ctx := context.Background()
	execute(t, conn, `CREATE TABLE types (
		s String, lc LowCardinality(String), id FixedString(16), ts DateTime64(6), day Date,
		list Array(LowCardinality(String)), ip IPv6, e Enum8('allowed' = 1, 'denied' = -2),
		u8 UInt8, u16 UInt16, u32 UInt32, u64 UInt64, i64 Int64, f Float64, b Bool,
		m Map(String, UInt64), ml Map(LowCardinality(String), String), n Nullable(String),
		nested Array(Array(UInt8)), tup Tuple(a String, b UInt32), lcn LowCardinality(Nullable(String))
	) ENGINE = MergeTree ORDER BY s`)
	note := "a note"
	rows := [][]any{
		{"text \x00 \n 'q' \\ ü", "low", bytes.Repeat([]byte{0xfe}, 16), time.Date(2026, 11, 25, 1, 2, 3, 456789000, time.UTC), time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC),
			[]string{"a", "b", "a"}, netip.MustParseAddr("2001:db8::1"), "denied",
			uint8(255), uint16(65535), uint32(4294967295), uint64(18446744073709551615), int64(-9223372036854775808), 0.1, true,
			map[string]uint64{"x": 1, "y": 2}, map[string]string{"k": "v"}, &note,
			[][]uint8{{1, 2}, {}}, map[string]any{"a": "t", "b": uint32(7)}, &note},
		{"", "", make([]byte, 16), time.Unix(0, 0).UTC(), time.Unix(0, 0).UTC(),
			[]string{}, netip.MustParseAddr("::ffff:192.0.2.7"), "allowed",
			uint8(0), uint16(0), uint32(0), uint64(0), int64(0), 0.0, false,
			map[string]uint64{}, map[string]string{}, (*string)(nil),
			[][]uint8{}, map[string]any{"a": "", "b": uint32(0)}, (*string)(nil)},
	}
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO types")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := batch.Append(r...); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	got, err := conn.Query(ctx, "SELECT * FROM types ORDER BY s DESC")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Close() }()
	for _, want := range rows {
		if !got.Next() {
			t.Fatalf("a row is missing: %v", got.Err())
		}
		var (
			s, lc, id, e string
			ts, day      time.Time
			list         []string
			ip           netip.Addr
			u8           uint8
			u16          uint16
			u32          uint32
			u64          uint64
			i64          int64
			f            float64
			b            bool
			m            map[string]uint64
			ml           map[string]string
			n, lcn       *string
			nested       [][]uint8
			tup          map[string]any
		)
		if err := got.Scan(&s, &lc, &id, &ts, &day, &list, &ip, &e, &u8, &u16, &u32, &u64, &i64, &f, &b, &m, &ml, &n, &nested, &tup, &lcn); err != nil {
			t.Fatal(err)
		}
		// IPv4 in IPv6 comes back unmapped or mapped depending on the client.
		if w := want[6].(netip.Addr); ip.Unmap() != w.Unmap() {
			t.Errorf("ip = %v, want %v", ip, w)
		}
		have := []any{s, lc, []byte(id), ts.UTC(), day.UTC(), list, want[6], e, u8, u16, u32, u64, i64, f, b, m, ml, n, nested, tup, lcn}
		for i := range have {
			if !reflect.DeepEqual(have[i], want[i]) {
				t.Errorf("column %s = %#v, want %#v", got.Columns()[i], have[i], want[i])
			}
		}
	}
	if got.Next() || got.Err() != nil {
		t.Errorf("more rows, or an error: %v", got.Err())
	}
}

func TestParameters(t *testing.T) {
	conn := shared(t)
	ctx := context.Background()
	hostile := "it's \\ \"q\" \n\t {x:String} ; DROP TABLE t -- ü \x00"
	var s string
	var list []string
	var at time.Time
	var n uint64
	err := conn.QueryRow(ctx, "SELECT {s:String}, {list:Array(String)}, {at:DateTime64(6)}, {n:UInt64}",
		ch.Named("s", hostile), ch.Named("list", []string{"a'b", "c\\d", ""}),
		ch.DateNamed("at", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), ch.MicroSeconds), ch.Named("n", uint64(1<<63))).Scan(&s, &list, &at, &n)
	if err != nil {
		t.Fatal(err)
	}
	if s != hostile {
		t.Errorf("s = %q, want %q", s, hostile)
	}
	if !reflect.DeepEqual(list, []string{"a'b", "c\\d", ""}) {
		t.Errorf("list = %q", list)
	}
	if want := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC); !at.Equal(want) {
		t.Errorf("at = %v, want %v", at, want)
	}
	if n != 1<<63 {
		t.Errorf("n = %d", n)
	}
	// The other way of binding writes the values into the text.
	if got := one[string](t, conn, "SELECT ?", "it's ; here -- too"); got != "it's ; here -- too" {
		t.Errorf("bound = %q", got)
	}
	execute(t, conn, "CREATE TABLE p (x String) ENGINE = MergeTree ORDER BY x")
	execute(t, conn, "INSERT INTO p VALUES ('a'), ('b; c')")
	execute(t, conn, "INSERT INTO p SELECT {x:String}", ch.Named("x", hostile))
	execute(t, conn, "ALTER TABLE p DELETE WHERE x = {x:String} SETTINGS mutations_sync = 1", ch.Named("x", "a"))
	if got := one[uint64](t, conn, "SELECT count() FROM p WHERE x IN ({x:String}, 'b; c')", ch.Named("x", hostile)); got != 2 {
		t.Errorf("count = %d, want 2", got)
	}
}

// Settings belong to the statement that carries them.
func TestSettingsDoNotLeak(t *testing.T) {
	conn := shared(t)
	with := ch.Context(context.Background(), ch.WithSettings(ch.Settings{"max_block_size": 77, "final": 1}))
	for i := range 20 {
		var v, f string
		ctx, want := context.Background(), "65409"
		if i%2 == 0 {
			ctx, want = with, "77"
		}
		if err := conn.QueryRow(ctx, "SELECT toString(getSetting('max_block_size')), toString(getSetting('final'))").Scan(&v, &f); err != nil {
			t.Fatal(err)
		}
		if v != want || (f == "true") != (i%2 == 0) {
			t.Fatalf("round %d: max_block_size = %s, final = %s, want %s", i, v, f, want)
		}
	}
	execute(t, conn, "SET max_block_size = 99") // ends with its request
	if v := one[string](t, conn, "SELECT toString(getSetting('max_block_size'))"); v != "65409" {
		t.Errorf("max_block_size = %s after a SET of another request", v)
	}
	execute(t, conn, "CREATE TEMPORARY TABLE tmp (x UInt8)")
	if err := conn.Exec(context.Background(), "SELECT * FROM tmp"); err == nil {
		t.Error("a temporary table of another request is visible")
	}
	err := conn.Exec(ch.Context(context.Background(), ch.WithSettings(ch.Settings{"no_such_setting": 1})), "SELECT 1")
	wantCode(t, err, 115)
}

func wantCode(t *testing.T, err error, code int32) {
	t.Helper()
	var ex *ch.Exception
	if !errors.As(err, &ex) || ex.Code != code {
		t.Errorf("error = %v, want ClickHouse code %d", err, code)
	}
}

func TestEmptyAnswerHasColumns(t *testing.T) {
	conn := shared(t)
	for _, sql := range []string{
		"SELECT number AS n, toString(number) AS s FROM numbers(0)",
		"WITH 1 AS x SELECT x AS n, 'a' AS s WHERE 0 -- and a comment",
		"SELECT {a:UInt8} AS n, '' AS s WHERE 1 = 0 SETTINGS max_threads = 1;",
	} {
		rows, err := conn.Query(context.Background(), sql, ch.Named("a", uint8(1)))
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := rows.Columns(); !reflect.DeepEqual(got, []string{"n", "s"}) {
			t.Errorf("%s: columns = %q", sql, got)
		}
		if rows.Next() || rows.Err() != nil {
			t.Errorf("%s: rows, or an error: %v", sql, rows.Err())
		}
		_ = rows.Close()
	}
}

// A large answer passes through: neither side holds it.
func TestLargeAnswer(t *testing.T) {
	e := enginetest.Start(t, engine.Config{Memory: 400 << 20})
	conn := enginetest.Connect(t, e)
	rows, err := conn.Query(context.Background(), "SELECT number, toString(number), repeat('x', 100) FROM numbers(8000000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var n, sum uint64
	for rows.Next() {
		if n%100_000 == 0 { // scanning each would cost more than the transfer
			var a uint64
			var b, c string
			if err := rows.Scan(&a, &b, &c); err != nil {
				t.Fatal(err)
			}
			sum += a
		}
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n != 8_000_000 || sum != 79*80/2*100_000 {
		t.Errorf("%d rows, sum %d", n, sum)
	}
}

func TestConcurrent(t *testing.T) {
	conn := shared(t)
	execute(t, conn, "CREATE TABLE c (w UInt32, n UInt32) ENGINE = MergeTree ORDER BY w")
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 20 {
				ctx := context.Background()
				var got uint64
				if err := conn.QueryRow(ctx, "SELECT sum(number) + {w:UInt64} FROM numbers(1000)", ch.Named("w", uint64(w))).Scan(&got); err != nil || got != 499500+uint64(w) {
					errs <- fmt.Errorf("worker %d: %d, %w", w, got, err)
					return
				}
				if err := conn.Exec(ctx, "INSERT INTO c VALUES ({w:UInt32}, {n:UInt32})", ch.Named("w", uint32(w)), ch.Named("n", uint32(n))); err != nil {
					errs <- err
					return
				}
				if err := conn.Exec(ctx, "SELECT * FROM not_there"); err == nil {
					errs <- errors.New("a missing table is no error")
					return
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if got := one[uint64](t, conn, "SELECT count() FROM c"); got != 160 {
		t.Errorf("%d rows, want 160", got)
	}
}

func TestExceptions(t *testing.T) {
	conn := shared(t)
	ctx := context.Background()
	t.Run("before the answer", func(t *testing.T) {
		_, err := conn.Query(ctx, "SELECT * FROM not_there")
		wantCode(t, err, 60)
		_, err = conn.Query(ctx, "SELEKT 1")
		wantCode(t, err, 62)
		wantCode(t, conn.Exec(ctx, "SELECT 1; SELECT 2"), 62)
		wantCode(t, conn.Exec(ctx, ""), 62)
	})
	t.Run("in the middle of the answer", func(t *testing.T) {
		rows, err := conn.Query(ctx, "SELECT number, throwIf(number = 3000000, 'it broke') FROM numbers(10000000) SETTINGS max_threads = 1")
		if err != nil {
			t.Fatalf("the answer did not begin: %v", err)
		}
		defer func() { _ = rows.Close() }()
		n := 0
		for rows.Next() {
			n++
		}
		wantCode(t, rows.Err(), 395)
		if n == 0 || n > 3_000_000 {
			t.Errorf("%d rows before the exception", n)
		}
		if err := clickhouse.Explain(rows.Err()); !strings.Contains(err.Error(), "it broke") {
			t.Errorf("explained = %v", err)
		}
	})
	t.Run("in an insert", func(t *testing.T) {
		execute(t, conn, "CREATE TABLE checked (n UInt64, CONSTRAINT small CHECK n < 100) ENGINE = MergeTree ORDER BY n")
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO checked")
		if err != nil {
			t.Fatal(err)
		}
		for n := range 101 {
			if err := batch.Append(uint64(n)); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, batch.Send(), 469)
		if got := one[uint64](t, conn, "SELECT count() FROM checked"); got != 0 {
			t.Errorf("%d rows of a refused insert", got)
		}
	})
	t.Run("in a view of an insert", func(t *testing.T) {
		execute(t, conn, "CREATE TABLE src (n UInt64) ENGINE = MergeTree ORDER BY n")
		execute(t, conn, "CREATE TABLE dst (n UInt64) ENGINE = MergeTree ORDER BY n")
		execute(t, conn, "CREATE MATERIALIZED VIEW mv TO dst AS SELECT n + throwIf(n = 5) AS n FROM src")
		err := conn.Exec(ctx, "INSERT INTO src SELECT number FROM numbers(10)")
		wantCode(t, err, 395)
	})
	t.Run("the engine goes on", func(t *testing.T) {
		if got := one[uint8](t, conn, "SELECT 1"); got != 1 {
			t.Error(got)
		}
	})
}

func TestMemoryCap(t *testing.T) {
	e := enginetest.Start(t, engine.Config{Memory: 300 << 20})
	conn := enginetest.Connect(t, e)
	err := conn.Exec(context.Background(), "SELECT length(groupArray(number)) FROM numbers(1000000000)")
	wantCode(t, err, 241)
	if err := clickhouse.Explain(err); !clickhouse.IsKind(err, clickhouse.Memory) {
		t.Errorf("explained = %v", err)
	}
	if got := one[uint8](t, conn, "SELECT 1"); got != 1 {
		t.Error("the engine is broken after its memory cap")
	}
}

func TestDiskFull(t *testing.T) {
	conn := shared(t)
	execute(t, conn, "CREATE TABLE full (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS min_free_disk_bytes_to_perform_insert = 1152921504606846976")
	err := clickhouse.Explain(conn.Exec(context.Background(), "INSERT INTO full VALUES (1)"))
	if !clickhouse.IsKind(err, clickhouse.DiskFull) {
		t.Errorf("error = %v", err)
	}
}

// running counts the statements that the engine still works on. A cancelled
// one stays in the list until its session is closed.
func running(t *testing.T, conn driver.Conn, like string) uint64 {
	t.Helper()
	return one[uint64](t, conn, "SELECT count() FROM system.processes WHERE query LIKE {like:String} AND query NOT LIKE '%system.processes%'", ch.Named("like", like))
}

func TestCancel(t *testing.T) {
	conn := shared(t)
	execute(t, conn, "CREATE TABLE slow (n UInt64) ENGINE = MergeTree ORDER BY n")
	for _, sql := range []string{
		"SELECT max(sipHash64(number)) FROM numbers(1000000000000)",
		"SELECT number FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))",
		"INSERT INTO slow SELECT max(sipHash64(number)) FROM numbers(1000000000000)",
	} {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		rows, err := conn.Query(ctx, sql)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			_ = rows.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error = %v", sql, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: cancelled after %v", sql, d)
		}
		for deadline := time.Now().Add(10 * time.Second); running(t, conn, "%numbers(1000000000000)%") > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: still runs in the engine", sql)
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
	}
}

// The promise that the pipeline stands on: a repeated batch with its token
// changes neither the table nor what views made of it.
func TestDeduplicationThroughViews(t *testing.T) {
	dir := t.TempDir()
	insert := func(conn driver.Conn, token string, rows int) {
		t.Helper()
		ctx := ch.Context(context.Background(), ch.WithSettings(ch.Settings{
			"insert_deduplication_token":                         token,
			"deduplicate_blocks_in_dependent_materialized_views": 1,
		}))
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO raw (cred, n)")
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if err := batch.Append(fmt.Sprintf("c%d", i%3), uint64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Send(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(conn driver.Conn, want uint64) {
		t.Helper()
		if got := one[uint64](t, conn, "SELECT count() FROM raw"); got != want {
			t.Errorf("raw has %d rows, want %d", got, want)
		}
		if got := one[uint64](t, conn, "SELECT sum(calls) FROM rollup"); got != want {
			t.Errorf("rollup counts %d, want %d", got, want)
		}
	}
	e := enginetest.Start(t, engine.Config{Dir: dir})
	conn := enginetest.Connect(t, e)
	execute(t, conn, "CREATE TABLE raw (cred LowCardinality(String), n UInt64) ENGINE = MergeTree ORDER BY cred SETTINGS non_replicated_deduplication_window = 1000")
	execute(t, conn, "CREATE TABLE rollup (cred LowCardinality(String), calls SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY cred SETTINGS non_replicated_deduplication_window = 1000")
	execute(t, conn, "CREATE MATERIALIZED VIEW feed TO rollup AS SELECT cred, count() AS calls FROM raw GROUP BY cred")
	insert(conn, "t1", 300_000)
	insert(conn, "t1", 300_000)
	check(conn, 300_000)
	if got := one[uint64](t, conn, "SELECT count() FROM system.parts WHERE table = 'raw' AND level = 0"); got != 1 {
		t.Errorf("one batch made %d parts, want 1", got)
	}
	insert(conn, "t2", 300_000) // the same rows under another token are other rows
	check(conn, 600_000)
	_ = conn.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = enginetest.Start(t, engine.Config{Dir: dir})
	conn = enginetest.Connect(t, e)
	insert(conn, "t2", 300_000)
	check(conn, 600_000)
}
