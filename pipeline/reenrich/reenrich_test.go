package reenrich

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const before = `services:
  - name: orders
    environment: production
    hosts: [orders.example.com]
    tenant: {path: "/t/{tenant}"}
    operations:
      - {operation: "GET /t/{tenant}/orders/{id}", scopes: [[orders:read]]}
  - name: old
    hosts: [api.example.com]
    operations: [{operation: "GET /a/{id}", scopes: [[a]]}]
`

const after = `services:
  - name: orders
    environment: staging
    hosts: [orders.example.com]
    operations:
      - {operation: "GET /t/{team}/orders/{order}", scopes: [[orders:read]]}
      - {operation: "POST /t/{team}/orders", scopes: [[orders:write]]}
  - name: new
    environment: production
    hosts: [api.example.com, cloud.example.com]
    tenant: {path: "/b/{tenant}"}
    operations: [{operation: "GET /b/{tenant}/x", scopes: [[a]]}]
`

func load(t *testing.T, text string) *catalog.Catalog {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var start = time.Date(2026, 2, 26, 0, 0, 0, 0, time.UTC)

// some makes calls of six days over the end of a month: routed, learned, named by
// the source, not found, with tenants of the log and of the path.
func some(n int) []schema.Call {
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	calls := make([]schema.Call, n)
	for i := range calls {
		c := &calls[i]
		binary.BigEndian.PutUint64(c.ID[:], uint64(i)+1)
		c.Time = start.Add(time.Duration(random.Int64N(int64(6 * 24 * time.Hour)))).Truncate(time.Microsecond)
		c.Source = schema.Source{Type: pick("envoy", "nginx"), Name: "x"}
		client := pick("ci", "web", "job")
		c.Credential = schema.Credential{Kind: schema.KindOAuthClient, ID: client, Issuer: "https://idp.example.com", Client: client}
		c.Host = pick("orders.example.com", "api.example.com", "cloud.example.com", "other.example.com:8443")
		c.Method = pick("GET", "POST")
		c.Path = pick("/t/acme/orders/17", "/t/umbra/orders", "/a/1234", "/b/acme/x", "/nothing/here", "/t/acme/orders/981234")
		c.Status, c.Decision = 200, schema.DecisionAllowed
		switch random.IntN(5) {
		case 0:
			c.Status, c.Decision = 404, schema.DecisionNoEffect
		case 1:
			c.Status, c.Decision = 403, schema.DecisionDenied
		}
		if random.IntN(6) == 0 {
			c.Tenant = "header-tenant"
		}
		if random.IntN(6) == 0 {
			c.Operation, c.RouteSource = "s3:GetObject", schema.RouteFromSource
		}
	}
	return calls
}

// store is an engine with calls that came in under a catalogue.
func store(t *testing.T, cat *catalog.Catalog, calls []schema.Call) driver.Conn {
	t.Helper()
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	put(t, conn, cat, "first", calls)
	return conn
}

func put(t *testing.T, conn driver.Conn, cat *catalog.Catalog, run string, calls []schema.Call) {
	t.Helper()
	p := direct.New(direct.Config{Conn: conn, Catalog: cat, Run: run, BlockRows: 700})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(calls, 500) {
		if err := p.Put(t.Context(), &schema.Batch{Input: schema.Input{Name: run}, Calls: slices.Clone(part)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// contents writes all that calls and rollups hold, folded, as text.
func contents(t *testing.T, conn driver.Conn) string {
	t.Helper()
	const keys = "credential, service, operation, tenant, decision, reporter, certain, route_source, presented"
	var b strings.Builder
	for _, query := range []string{
		"SELECT concat(hex(id), ' ', toString(time), ' ', service, ' ', operation, ' ', tenant, ' ', environment, ' ', toString(decision), ' ', toString(route_source), ' ', host, path) FROM calls ORDER BY id",
		"SELECT toString((" + keys + ", hour, min(first), max(last), sum(calls))) AS x FROM use_hour GROUP BY " + keys + ", hour ORDER BY x",
		"SELECT toString((" + keys + ", day, min(first), max(last), sum(calls))) AS x FROM use_day GROUP BY " + keys + ", day ORDER BY x",
		"SELECT toString((" + keys + ", min(first), max(last), arraySort(groupUniqArrayArray(days)), sum(calls))) AS x FROM use_life GROUP BY " + keys + " ORDER BY x",
		"SELECT toString((credential, session, key, workload, client_address, user_agent, source_type, reporter, day, min(first), max(last), sum(calls)," +
			" groupBitOr(slots0), groupBitOr(slots1), groupBitOr(slots2), groupBitOr(slots3), groupBitOr(slots4))) AS x FROM places" +
			" GROUP BY credential, session, key, workload, client_address, user_agent, source_type, reporter, day ORDER BY x",
		"SELECT toString((credential, service, parameter, day, min(first), max(last))) AS x FROM parameters GROUP BY credential, service, parameter, day ORDER BY x",
		"SELECT toString((credential, credential_instance, presented, certain, day, min(first), max(last))) AS x FROM instances" +
			" GROUP BY credential, credential_instance, presented, certain, day ORDER BY x",
		"SELECT toString((time, id, credential, presented, decision, service, operation, mints)) AS x FROM issues ORDER BY x",
		"SELECT toString((source_type, service, day, sum(calls))) AS x FROM source_day GROUP BY source_type, service, day ORDER BY x",
		"SELECT toString((credential, kind, id, min(first), max(last))) AS x FROM principals GROUP BY credential, kind, id ORDER BY x",
	} {
		rows, err := conn.Query(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			b.WriteString(line + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return b.String()
}

func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return fmt.Sprintf("line %d of %d and %d:\n%q\n%q", i, len(x), len(y), x[i], append(y, "")[min(i, len(y))])
		}
	}
	return fmt.Sprintf("%d lines, %d lines", len(x), len(y))
}

func reenrich(t *testing.T, conn driver.Conn, cat *catalog.Catalog, run string, from, to int) Stats {
	t.Helper()
	stats, err := New(Config{Conn: conn, Catalog: cat, From: start.AddDate(0, 0, from), To: start.AddDate(0, 0, to), Run: run}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// TestAsIfItHadComeSo: afterwards calls and rollups are what they are where the
// calls came in under the new catalogue at once; back again as they were; and a
// second run finds nothing to do.
func TestAsIfItHadComeSo(t *testing.T) {
	calls := some(4000)
	a, b := load(t, before), load(t, after)
	conn := store(t, a, calls)
	for _, statement := range []string{
		"CREATE TABLE told (credential FixedString(16)) ENGINE = MergeTree ORDER BY credential",
		"CREATE MATERIALIZED VIEW told_feed TO told AS SELECT credential FROM calls GROUP BY credential",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	original := contents(t, conn)
	want := contents(t, store(t, b, calls))
	stats := reenrich(t, conn, b, "one", 0, 10)
	if got := contents(t, conn); got != want {
		t.Errorf("after the swap: %s", difference(want, got))
	}
	if stats.Days != 6 || stats.Swapped != 6 || stats.Calls != 4000 || stats.Changed == 0 || stats.Changed == stats.Calls || stats.Healed != 0 {
		t.Errorf("counted %+v", stats)
	}
	var told uint64
	if err := conn.QueryRow(t.Context(), "SELECT uniqExact(credential) FROM told").Scan(&told); err != nil || told != 3 {
		t.Errorf("%d credentials are to be judged anew, want 3: %v", told, err)
	}
	if again := reenrich(t, conn, b, "two", 0, 10); again.Swapped != 0 || again.Changed != 0 || again.Days != 6 {
		t.Errorf("a second run counts %+v", again)
	}
	reenrich(t, conn, a, "three", 0, 10)
	if got := contents(t, conn); got != original {
		t.Errorf("and back: %s", difference(original, got))
	}
	// What comes in later is folded as ever.
	more := some(4500)[4000:]
	put(t, conn, a, "later", more)
	if got, want := contents(t, conn), contents(t, store(t, a, some(4500))); got != want {
		t.Errorf("after more calls: %s", difference(want, got))
	}
}

// TestSomeDays: days outside stay as they are, to the letter.
func TestSomeDays(t *testing.T) {
	calls := some(3000)
	a, b := load(t, before), load(t, after)
	inside := func(c *schema.Call) bool {
		day := int(c.Time.Sub(start) / (24 * time.Hour))
		return day >= 1 && day <= 3
	}
	var in, out []schema.Call
	for _, c := range calls {
		if inside(&c) {
			in = append(in, c)
		} else {
			out = append(out, c)
		}
	}
	want := store(t, b, in)
	put(t, want, a, "outside", out)
	conn := store(t, a, calls)
	reenrich(t, conn, b, "one", 1, 3)
	if got, want := contents(t, conn), contents(t, want); got != want {
		t.Errorf("%s", difference(want, got))
	}
}

// TestLifetimeKeepsWhatDaysForgot: use by day may be kept for a shorter time than
// lifetime use, which is then the only one to know of those days.
func TestLifetimeKeepsWhatDaysForgot(t *testing.T) {
	calls := some(3000)
	a, b := load(t, before), load(t, after)
	conn := store(t, a, calls)
	for _, statement := range []string{
		"ALTER TABLE calls DROP PARTITION 20260226", "ALTER TABLE calls DROP PARTITION 20260227", "ALTER TABLE calls DROP PARTITION 20260228",
		"ALTER TABLE use_day DROP PARTITION 202602",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	reenrich(t, conn, b, "one", 0, 10)
	var total, feb uint64
	if err := conn.QueryRow(t.Context(), "SELECT sum(calls), uniqExactIf(d, d < toUInt16(toDate('2026-03-01'))) FROM (SELECT sum(calls) AS calls, groupUniqArrayArray(days) AS ds FROM use_life GROUP BY credential, service, operation, tenant, decision, reporter, certain, route_source, presented) LEFT ARRAY JOIN ds AS d").Scan(&total, &feb); err != nil {
		t.Fatal(err)
	}
	if feb != 3 {
		t.Errorf("lifetime use knows %d days of February, want 3", feb)
	}
	if err := conn.QueryRow(t.Context(), "SELECT sum(calls) FROM use_life").Scan(&total); err != nil {
		t.Fatal(err)
	}
	if total != 3000 {
		t.Errorf("lifetime use counts %d calls, want 3000", total)
	}
}

// failing is a connection that breaks at the n-th statement that swaps.
type failing struct {
	driver.Conn
	left atomic.Int64
}

var errBroken = errors.New("the engine is gone")

func (f *failing) Exec(ctx context.Context, query string, args ...any) error {
	if strings.Contains(query, "REPLACE PARTITION") && f.left.Add(-1) < 0 {
		return errBroken
	}
	return f.Conn.Exec(ctx, query, args...)
}

// TestBrokenOffIsHealed breaks the run at each of its swaps: readers are told,
// and the next run makes all of it true, whatever days it is asked for.
func TestBrokenOffIsHealed(t *testing.T) {
	calls := some(1500)
	a, b := load(t, before), load(t, after)
	want := contents(t, store(t, b, calls))
	conn := store(t, a, calls)
	for _, n := range []int{0, 2, 5} {
		reenrich(t, conn, a, fmt.Sprint("back", n), 0, 10)
		f := &failing{Conn: conn}
		f.left.Store(int64(n))
		_, err := New(Config{Conn: f, Catalog: b, From: start, To: start.AddDate(0, 0, 10), Run: fmt.Sprint("breaks", n)}).Run(t.Context())
		if !errors.Is(err, errBroken) {
			t.Fatalf("break %d: %v", n, err)
		}
		if err := undisturbed(t.Context(), conn, 0, func() error { t.Error("a reader is let in"); return nil }); !errors.Is(err, ErrHalf) {
			t.Errorf("break %d: a reader gets %v", n, err)
		}
		if stats := reenrich(t, conn, b, fmt.Sprint("heals", n), 0, 10); stats.Healed != 1 {
			t.Errorf("break %d: healed %d", n, stats.Healed)
		}
		if got := contents(t, conn); got != want {
			t.Fatalf("break %d: %s", n, difference(want, got))
		}
		if err := Undisturbed(t.Context(), conn, func() error { return nil }); err != nil {
			t.Errorf("break %d: a reader afterwards gets %v", n, err)
		}
	}
}

// TestReaders: who reads while days are swapped sees before or after, never half.
func TestReaders(t *testing.T) {
	calls := some(2000)
	cats := []*catalog.Catalog{load(t, before), load(t, after)}
	conn := store(t, cats[0], calls)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for i := 1; err == nil; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			_, err = New(Config{Conn: conn, Catalog: cats[i%2], From: start, To: start.AddDate(0, 0, 10), Run: fmt.Sprint("swap", i)}).Run(context.Background())
			time.Sleep(700 * time.Millisecond)
		}
		ended <- err
	}()
	const fold = "SELECT groupArray(x) FROM (SELECT concat(service, ' ', operation, ' ', toString(count())) AS x FROM calls GROUP BY service, operation ORDER BY x)"
	for range 8 {
		var raw, rolled []string
		err := Undisturbed(t.Context(), conn, func() error {
			raw, rolled = nil, nil
			if err := conn.QueryRow(t.Context(), fold).Scan(&raw); err != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
			return conn.QueryRow(t.Context(), strings.NewReplacer("count()", "sum(calls)", "FROM calls", "FROM use_day").Replace(fold)).Scan(&rolled)
		})
		if err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		if err == nil && !slices.Equal(raw, rolled) {
			t.Errorf("raw\n%s\nrollup\n%s", strings.Join(raw, "\n"), strings.Join(rolled, "\n"))
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
