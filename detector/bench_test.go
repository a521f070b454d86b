package detector_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// counting counts findings and drops them.
type counting struct{ n int }

func (c *counting) Finding(schema.Finding) error { c.n++; return nil }
func (c *counting) Note(string)                  {}

// engineCPU reads how much processor time the engine has used. Beside wall time
// it is what tells a slow query from a busy machine.
func engineCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	return spenttest.Of(b, pid).CPU
}

// BenchmarkPosture judges 90 days of 10,000 declared credentials, each of which
// uses 12 operations every day: 10.8 million rows of the daily rollup that
// stand for a billion calls.
func BenchmarkPosture(b *testing.B) {
	const credentials, operations, days = 10_000, 12, 90
	ctx := context.Background()
	e := enginetest.Start(b, engine.Config{})
	conn := enginetest.Connect(b, e)
	if _, err := clickhouse.Migrate(ctx, conn); err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("services:\n  - name: api\n    hosts: [api.test]\n    authority: idp\n    grant: declared\n    operations:\n")
	for o := range operations {
		fmt.Fprintf(&text, "      - {operation: \"GET /thing%d/{id}\", scopes: [[thing%d]], class: read}\n", o, o)
	}
	text.WriteString("      - {operation: \"DELETE /all\", scopes: [[all]], class: delete}\ncredentials:\n")
	var hashes []string
	for c := range credentials {
		p := schema.Principal{Kind: schema.KindOAuthClient, ID: fmt.Sprintf("client-%05d", c)}
		fmt.Fprintf(&text, "  - {id: c%05d, match: [{id: client-%05d}], owner: x, grants: [{authority: idp, scopes: [", c, c)
		for o := range operations {
			fmt.Fprintf(&text, "thing%d, ", o)
		}
		text.WriteString("all]}]}\n")
		h := p.Hash()
		hashes = append(hashes, "unhex('"+fmt.Sprintf("%x", h[:])+"')")
	}
	text.WriteString("sources: [{name: edge, complete: true, sample: 1.0}]\n")
	dir := b.TempDir()
	writeFile(b, filepath.Join(dir, "catalog.yaml"), text.String())
	cat, err := catalog.Load(dir)
	if err != nil {
		b.Fatal(err)
	}
	exec := func(statement string) {
		b.Helper()
		if err := conn.Exec(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
	exec("CREATE TABLE h (n UInt32, h FixedString(16)) ENGINE = MergeTree ORDER BY n")
	for start := 0; start < credentials; start += 2000 {
		var rows []string
		for i := start; i < start+2000; i++ {
			rows = append(rows, fmt.Sprintf("(%d, %s)", i, hashes[i]))
		}
		exec("INSERT INTO h SETTINGS max_query_size = 10000000 VALUES " + strings.Join(rows, ","))
	}
	exec("INSERT INTO principals SELECT h, 3, concat('client-', leftPad(toString(n), 5, '0')), '', '', '', toDateTime64('2026-01-01 00:10:00', 6), toDateTime64('2026-03-31 23:00:00', 6) FROM h")
	exec("INSERT INTO presented VALUES ('\\0\\0\\0\\0\\0\\0\\0\\0', 0, [], [])")
	keys := "h.h, 'api', concat('GET /thing', toString(o), '/{id}'), '', 1, 0, 1, 3, '\\0\\0\\0\\0\\0\\0\\0\\0'"
	exec(fmt.Sprintf("INSERT INTO use_day SELECT %s, toDate('2026-01-01') + d, toDateTime64(toDateTime(toDate('2026-01-01') + d) + 600, 6), toDateTime64(toDateTime(toDate('2026-01-01') + d) + 80000, 6), 93 "+
		"FROM h, (SELECT arrayJoin(range(%d)) AS o) AS ops, (SELECT arrayJoin(range(%d)) AS d) AS ds", keys, operations, days))
	// A job's calls of a day are of one hour, and of few objects.
	exec(fmt.Sprintf("INSERT INTO pace SELECT h.h, 'api', concat('GET /thing', toString(o), '/{id}'), 0, toDateTime(toDate('2026-01-01') + d, 'UTC') + 3600 * (n %% 22), 93, 0, "+
		"arrayReduce('uniqCombinedState(12)', arrayMap(i -> toString(i * 7 + n), range(3))) FROM h, (SELECT arrayJoin(range(%d)) AS o) AS ops, (SELECT arrayJoin(range(%d)) AS d) AS ds", operations, days))
	exec(fmt.Sprintf("INSERT INTO use_life SELECT %s, toDateTime64('2026-01-01 00:10:00', 6), toDateTime64('2026-03-31 22:13:20', 6), range(20454, 20544), 93 * 90 FROM h, (SELECT arrayJoin(range(%d)) AS o) AS ops", keys, operations))
	exec(fmt.Sprintf("INSERT INTO source_day SELECT 'envoy', 'api', toDate('2026-01-01') + number, 1000 FROM numbers(%d)", days))
	for b.Loop() {
		var c counting
		start, cpu := time.Now(), engineCPU(b, e.PID())
		summary, err := detector.New(detector.Config{Catalog: cat, Conn: conn}).Run(ctx, &c)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.n), "findings")
		b.ReportMetric((engineCPU(b, e.PID()) - cpu).Seconds(), "engine-cpu-s")
		b.ReportMetric(float64(summary.Calls)/time.Since(start).Seconds(), "calls/s")
	}
}
