package detector_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
)

// BenchmarkMonth judges 30 days of 1,000 credentials, each of which uses 12
// operations every hour, a tenth of them busily: the rollups of 50 million calls.
// What needs single calls (evidence, hours that stand out) finds none.
func BenchmarkMonth(b *testing.B) {
	const credentials, operations, days = 1000, 12, 30
	ctx := context.Background()
	e := enginetest.Start(b, engine.Config{})
	conn := enginetest.Connect(b, e)
	if _, err := clickhouse.Migrate(ctx, conn); err != nil {
		b.Fatal(err)
	}
	exec := func(statement string) {
		b.Helper()
		if err := conn.Exec(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
	exec("CREATE TABLE h (n UInt32, h FixedString(16)) ENGINE = MergeTree ORDER BY n")
	rows := make([]string, credentials)
	for i := range rows {
		p := schema.Principal{Kind: schema.KindOAuthClient, ID: fmt.Sprintf("client-%05d", i)}
		h := p.Hash()
		rows[i] = fmt.Sprintf("(%d, unhex('%x'))", i, h[:])
	}
	exec("INSERT INTO h VALUES " + strings.Join(rows, ","))
	exec("INSERT INTO principals SELECT h, 3, concat('client-', leftPad(toString(n), 5, '0')), '', '', '', toDateTime64('2026-03-01 00:10:00', 6), toDateTime64('2026-03-30 23:00:00', 6) FROM h")
	exec("INSERT INTO presented VALUES ('\\0\\0\\0\\0\\0\\0\\0\\0', 0, [], [])")
	ops := fmt.Sprintf("(SELECT arrayJoin(range(%d)) AS o) AS ops", operations)
	operation := "concat('GET /thing', toString(o), '/{id}')"
	keys := "h.h, 'api', " + operation + ", '', 1, 0, 1, 3, '\\0\\0\\0\\0\\0\\0\\0\\0'"
	calls := "if(h.n % 10 = 0, 40, 2)"
	exec(fmt.Sprintf("INSERT INTO use_day SELECT %s, toDate('2026-03-01') + d, toDateTime64(toDateTime(toDate('2026-03-01') + d) + 600, 6), toDateTime64(toDateTime(toDate('2026-03-01') + d) + 80000, 6), 24 * %s "+
		"FROM h, %s, (SELECT arrayJoin(range(%d)) AS d) AS ds", keys, calls, ops, days))
	exec(fmt.Sprintf("INSERT INTO use_life SELECT %s, toDateTime64('2026-03-01 00:10:00', 6), toDateTime64('2026-03-30 22:13:20', 6), range(20513, 20543), 720 * %s FROM h, %s", keys, calls, ops))
	for day := range days { // a month of sketches at once does not fit the engine's memory
		exec(fmt.Sprintf("INSERT INTO pace SELECT h.h, 'api', %s, 0, toDateTime('2026-03-01 00:00:00', 'UTC') + 3600 * t, %s, 0, "+
			"arrayReduce('uniqCombinedState(12)', arrayMap(x -> toString(x), range(toUInt64(%s)))) FROM h, %s, (SELECT arrayJoin(range(%d, %d)) AS t) AS ts"+
			" SETTINGS max_block_size = 8192, max_threads = 1", operation, calls, calls, ops, 24*day, 24*(day+1)))
	}
	exec(fmt.Sprintf("INSERT INTO source_day SELECT 'envoy', 'api', toDate('2026-03-01') + number, 1000 FROM numbers(%d)", days))
	for b.Loop() {
		var c counting
		start, cpu := time.Now(), engineCPU(b, e.PID())
		summary, err := detector.New(detector.Config{Conn: conn}).Run(ctx, &c)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.n), "findings")
		b.ReportMetric((engineCPU(b, e.PID()) - cpu).Seconds(), "engine-cpu-s")
		b.ReportMetric(float64(summary.Calls)/time.Since(start).Seconds(), "calls/s")
	}
}
