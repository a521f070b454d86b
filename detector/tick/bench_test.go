package tick_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// The crowd is 10,000 declared credentials that each make 111 calls a day, of 12
// operations, from a place of their own: 1.11 million a day, 10⁸ in 90 days.
const (
	crowd      = 10_000
	crowdCalls = 111
	crowdOps   = 12
	crowdDay   = "toDate('2026-01-01')"
)

// crowdCatalog declares the crowd.
func crowdCatalog(b *testing.B) *catalog.Catalog {
	b.Helper()
	var text, scopes strings.Builder
	text.WriteString("services:\n  - name: api\n    hosts: [api.test]\n    authority: idp\n    grant: declared\n    operations:\n")
	for o := range crowdOps {
		fmt.Fprintf(&text, "      - {operation: \"GET /thing%d/{id}\", scopes: [[thing%d]], class: read}\n", o, o)
		fmt.Fprintf(&scopes, "thing%d, ", o)
	}
	text.WriteString("      - {operation: \"DELETE /all\", scopes: [[all]], class: delete}\ncredentials:\n")
	for c := range crowd {
		fmt.Fprintf(&text, "  - {id: c%05d, match: [{id: client-%05d}], owner: x, grants: [{authority: idp, scopes: [%sall]}]}\n", c, c, scopes.String())
	}
	text.WriteString("sources: [{name: edge, complete: true, sample: 1.0}]\n")
	path := filepath.Join(b.TempDir(), "catalog.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cat, err := catalog.Load(path)
	if err != nil {
		b.Fatal(err)
	}
	return cat
}

// crowdStore makes a store of so many days. Calls are attached rather than
// inserted, and the rollups folded from each day beside by the selects of their
// views, which takes a tenth of the time.
func crowdStore(b *testing.B, conn driver.Conn, days int) {
	b.Helper()
	exec := func(statement string) {
		b.Helper()
		if err := conn.Exec(context.Background(), statement); err != nil {
			b.Fatalf("%.200s: %v", statement, err)
		}
	}
	exec("CREATE TABLE h (n UInt32, h FixedString(16)) ENGINE = MergeTree ORDER BY h")
	for start := 0; start < crowd; start += 2000 {
		var rows []string
		for i := start; i < start+2000; i++ {
			p := schema.Principal{Kind: schema.KindOAuthClient, ID: fmt.Sprintf("client-%05d", i)}
			h := p.Hash()
			rows = append(rows, fmt.Sprintf("(%d, unhex('%x'))", i, h[:]))
		}
		exec("INSERT INTO h SETTINGS max_query_size = 10000000 VALUES " + strings.Join(rows, ","))
	}
	// One day is made, and its rollups folded by the selects of their views; the
	// others are that day later on.
	exec("CREATE TABLE filled AS calls")
	exec("INSERT INTO filled " + crowdRows(crowdDay, "h", crowdCalls, 0) + " SETTINGS max_insert_threads = 2")
	daily := map[string]string{
		table.UseHour: "hour + 86400 * %[1]d AS hour, first + toIntervalDay(%[1]d) AS first, last + toIntervalDay(%[1]d) AS last",
		table.Pace:    "hour + 86400 * %[1]d AS hour",
		table.UseDay:  "day + %[1]d AS day, first + toIntervalDay(%[1]d) AS first, last + toIntervalDay(%[1]d) AS last",
		table.Places:  "day + %[1]d AS day, first + toIntervalDay(%[1]d) AS first, last + toIntervalDay(%[1]d) AS last",
	}
	names := slices.Sorted(maps.Keys(daily))
	for _, name := range names {
		f, err := table.FeedOf(name)
		if err != nil {
			b.Fatal(err)
		}
		exec("CREATE TABLE one_" + name + " AS " + name)
		exec("INSERT INTO one_" + name + " " + strings.Replace(f.Query, "FROM calls", "FROM filled", 1) + " SETTINGS max_bytes_before_external_group_by = 268435456")
		exec("OPTIMIZE TABLE one_" + name + " FINAL")
		exec("SYSTEM STOP MERGES " + name)
	}
	exec("CREATE TABLE later AS calls")
	exec("SYSTEM STOP MERGES later")
	for day := range days {
		id := time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC).Format("20060102")
		exec(fmt.Sprintf("INSERT INTO later SELECT * REPLACE (time + toIntervalDay(%[1]d) AS time, murmurHash3_128(id, %[1]d) AS id) FROM filled SETTINGS max_threads = 1", day))
		exec("ALTER TABLE calls ATTACH PARTITION ID '" + id + "' FROM later")
		exec("ALTER TABLE later DROP PARTITION ID '" + id + "'")
		for _, name := range names {
			exec("INSERT INTO " + name + " SELECT * REPLACE (" + fmt.Sprintf(daily[name], day) + ") FROM one_" + name + " SETTINGS max_threads = 1, optimize_on_insert = 0")
		}
	}
	exec("DROP TABLE filled SYNC")
	for _, name := range names {
		// As they would be after a while; else the engine is at it while steps are measured.
		exec("DROP TABLE one_" + name + " SYNC")
		exec("SYSTEM START MERGES " + name)
		exec("OPTIMIZE TABLE " + name + " FINAL")
	}
	const keys = "credential, service, operation, tenant, decision, reporter, certain, route_source, presented"
	span := fmt.Sprintf("toDateTime64('2026-01-01 00:00:00', 6, 'UTC') AS first, toDateTime64(toDateTime(%s + %d), 6, 'UTC') - toIntervalSecond(10) AS last", crowdDay, days)
	ops := fmt.Sprintf("(SELECT number AS o FROM numbers(%d)) AS ops", crowdOps)
	one := "h.h AS credential, 'api' AS service, concat('GET /thing', toString(o), '/{id}') AS operation, '' AS tenant, 1 AS decision, 0 AS reporter, 1 AS certain, 3 AS route_source, toFixedString('', 8) AS presented"
	exec(fmt.Sprintf("INSERT INTO use_life (%s, first, last, days, calls) SELECT %s, %s, range(toUInt16(%s), toUInt16(%s + %d)), 9 * %d FROM h, %s", keys, one, span, crowdDay, crowdDay, days, days, ops))
	exec("INSERT INTO principals SELECT h, 3, concat('client-', leftPad(toString(n), 5, '0')), '', '', '', " + span + " FROM h")
	exec("INSERT INTO presented VALUES ('\\0\\0\\0\\0\\0\\0\\0\\0', 0, [], [])")
	exec(fmt.Sprintf("INSERT INTO source_day SELECT 'envoy', 'api', %s + number, %d FROM numbers(%d)", crowdDay, crowd*crowdCalls, days))
}

// crowdRows selects calls of one day, so many of each credential in a table.
func crowdRows(day, from string, calls, second int) string {
	return fmt.Sprintf("(time, id, source_type, credential, credential_kind, credential_id, decision, service, operation, route_source, method, host, path, status, workload, client_address)"+
		" SELECT toDateTime64(toDateTime(%[1]s), 6, 'UTC') + toIntervalSecond(intDiv(86000 * k, %[3]d) + n %% 300 + %[4]d) AS time, murmurHash3_128(n, k, %[1]s, %[4]d), 'envoy', h, 3,"+
		" concat('client-', leftPad(toString(n), 5, '0')), 1, 'api', concat('GET /thing', toString(k %% %[5]d), '/{id}'), 3, 'GET', 'api.test', '/', 200,"+
		" concat('deploy/app-', toString(n)), toIPv6('::ffff:10.1.2.3') FROM %[2]s, (SELECT number AS k FROM numbers(%[3]d)) AS ks", day, from, calls, second, crowdOps)
}

// crowdDays are the sizes of store that are measured, in days.
func crowdDays(b *testing.B) []int {
	b.Helper()
	if text := os.Getenv("SCOPEDRIFT_BENCH_DAYS"); text != "" {
		days, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		return []int{days}
	}
	return []int{1, 9, 90}
}

// BenchmarkCrowd asks two things of a store of 1, 9 and 90 days of the crowd.
func BenchmarkCrowd(b *testing.B) {
	cat := crowdCatalog(b)
	for _, days := range crowdDays(b) {
		b.Run(fmt.Sprintf("calls=%d", days*crowd*crowdCalls), func(b *testing.B) {
			e := enginetest.Start(b, engine.Config{})
			conn := enginetest.Connect(b, e)
			if _, err := clickhouse.Migrate(b.Context(), conn); err != nil {
				b.Fatal(err)
			}
			filled := time.Now()
			crowdStore(b, conn, days)
			b.Logf("%d days were filled in %v", days, time.Since(filled).Round(time.Second))
			b.Run("investigate", func(b *testing.B) { benchInvestigate(b, e, conn, cat) })
			b.Run("tick", func(b *testing.B) { benchTick(b, e, conn, cat, days) })
		})
	}
}

// benchInvestigate looks into one credential after another: all that the first
// screen shows.
func benchInvestigate(b *testing.B, e *engine.Engine, conn driver.Conn, cat *catalog.Catalog) {
	cpu, mine := spenttest.Of(b, e.PID()).CPU, spenttest.Own(b)
	for n := 0; b.Loop(); n++ {
		question := investigate.Question{Name: fmt.Sprintf("c%05d", 97*n%crowd)}
		result, err := investigate.New(investigate.Config{Detector: detector.Config{Catalog: cat, Conn: conn}}).Investigate(b.Context(), question)
		if err != nil || len(result.Used) != crowdOps {
			b.Fatalf("%+v, %v", result, err)
		}
	}
	b.ReportMetric((spenttest.Of(b, e.PID()).CPU-cpu).Seconds()/float64(b.N), "engine-cpu-s/op")
	b.ReportMetric((spenttest.Own(b)-mine).Seconds()/float64(b.N), "own-cpu-s/op")
}

// benchTick is a step in which one in a hundred credentials made calls since the
// last step. It tells of the engine's processor time beside that on the wall.
func benchTick(b *testing.B, e *engine.Engine, conn driver.Conn, cat *catalog.Catalog, days int) {
	h := &house{conn: conn, cat: cat}
	one, _ := h.ticker("one")
	begun := time.Now()
	if result, err := one.Tick(b.Context(), false); err != nil || !result.Full {
		b.Fatalf("the first step: %+v, %v", result, err)
	}
	b.Logf("the first step, over everything, took %v", time.Since(begun).Round(time.Millisecond))
	var wall, own, engineCPU time.Duration
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		some := fmt.Sprintf("(SELECT * FROM h WHERE n %% 100 = %d)", n%100)
		if err := conn.Exec(b.Context(), "INSERT INTO calls "+crowdRows(fmt.Sprintf("%s + %d", crowdDay, days-1), some+" AS h", 3, n+1)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		begun, cpu, mine := time.Now(), spenttest.Of(b, e.PID()).CPU, spenttest.Own(b)
		result, err := one.Tick(b.Context(), false)
		if err != nil || result.Full || result.Credentials != crowd/100 {
			b.Fatalf("a step: full %v, %d credentials, %v", result.Full, result.Credentials, err)
		}
		wall += time.Since(begun)
		engineCPU += spenttest.Of(b, e.PID()).CPU - cpu
		own += spenttest.Own(b) - mine
	}
	b.ReportMetric(engineCPU.Seconds()/float64(b.N), "engine-cpu-s/op")
	b.ReportMetric(own.Seconds()/float64(b.N), "own-cpu-s/op")
	b.ReportMetric(wall.Seconds()/float64(b.N), "s/op")
}
