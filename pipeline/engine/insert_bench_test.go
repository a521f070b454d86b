package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// wideColumns is a row as wide as a call: 40 columns, half of them of low
// cardinality.
func wideColumns() (names, types []string) {
	names = append(names, "time", "id")
	types = append(types, "DateTime64(6)", "FixedString(16)")
	add := func(prefix, typ string, n int) {
		for i := range n {
			names = append(names, fmt.Sprintf("%s%d", prefix, i))
			types = append(types, typ)
		}
	}
	add("lc", "LowCardinality(String)", 20)
	add("s", "String", 6)
	add("u", "UInt32", 6)
	add("e", "UInt8", 4)
	add("l", "Array(LowCardinality(String))", 2)
	return names, types
}

// wideBlock fills a batch by whole columns, the fastest way in.
func wideBlock(b *testing.B, batch driver.Batch, types []string, rows int) {
	b.Helper()
	var (
		at     = make([]time.Time, rows)
		ids    = make([]string, rows)
		low    = make([]string, rows)
		text   = make([]string, rows)
		u32    = make([]uint32, rows)
		u8     = make([]uint8, rows)
		lists  = make([][]string, rows)
		values = [8]string{}
	)
	for i := range values {
		values[i] = fmt.Sprintf("value-%d", i)
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range rows {
		at[i] = start.Add(time.Duration(i) * time.Millisecond)
		ids[i] = fmt.Sprintf("%016x", i*7919)
		low[i] = values[i%8]
		text[i] = "/v1/orders/" + ids[i][8:]
		u32[i], u8[i] = uint32(i*31), uint8(i%5)
		lists[i] = values[:i%3]
	}
	for i, typ := range types {
		var v any = text
		switch {
		case strings.HasPrefix(typ, "DateTime64"):
			v = at
		case strings.HasPrefix(typ, "FixedString"):
			v = ids
		case strings.HasPrefix(typ, "Array"):
			v = lists
		case strings.HasPrefix(typ, "LowCardinality"):
			v = low
		case typ == "UInt32":
			v = u32
		case typ == "UInt8":
			v = u8
		}
		if err := batch.Column(i).Append(v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInsert measures rows of a wide table from Go values to stored, over
// the unix socket and, in comparison, over loopback TCP with LZ4.
func BenchmarkInsert(b *testing.B) {
	const rows = 100_000
	e := enginetest.Start(b, engine.Config{Listen: "127.0.0.1:0"})
	for _, target := range []struct {
		name string
		clickhouse.Target
	}{
		{"socket", clickhouse.Target{Socket: e.Socket()}},
		{"tcp-lz4", clickhouse.Target{URL: "http://" + e.Address()}},
	} {
		b.Run(target.name, func(b *testing.B) {
			ctx := context.Background()
			conn, err := clickhouse.Open(ctx, target.Target)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			names, types := wideColumns()
			var ddl []string
			known := make([]ch.ColumnNameAndType, len(names))
			for i := range names {
				ddl = append(ddl, names[i]+" "+types[i])
				known[i] = ch.ColumnNameAndType{Name: names[i], Type: types[i]}
			}
			execute(b, conn, "DROP TABLE IF EXISTS wide SYNC")
			execute(b, conn, "CREATE TABLE wide ("+strings.Join(ddl, ", ")+") ENGINE = MergeTree ORDER BY (lc0, time) SETTINGS non_replicated_deduplication_window = 1000")
			before := spenttest.Of(b, e.PID()).CPU
			b.ResetTimer()
			for n := range b.N {
				ctx := ch.Context(ctx, ch.WithColumnNamesAndTypes(known), ch.WithSettings(ch.Settings{
					"insert_deduplication_token": fmt.Sprint(target.name, b.N, "-", n),
				}))
				batch, err := conn.PrepareBatch(ctx, "INSERT INTO wide ("+strings.Join(names, ", ")+")")
				if err != nil {
					b.Fatal(err)
				}
				wideBlock(b, batch, types, rows)
				if err := batch.Send(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((spenttest.Of(b, e.PID()).CPU-before).Nanoseconds())/float64(rows*b.N), "engine-cpu-ns/row")
			b.ReportMetric(float64(spenttest.Of(b, e.PID()).Peak)/(1<<20), "engine-peak-MiB")
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			if got := one[uint64](b, conn, "SELECT count() FROM wide"); got != uint64(rows*b.N) {
				b.Errorf("%d rows, want %d", got, rows*b.N)
			}
		})
	}
}
