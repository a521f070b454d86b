package direct_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// callsOf makes n believable calls: 50 credentials, 20 operations, 30 days.
func callsOf(from, n int) []schema.Call {
	calls := make([]schema.Call, n)
	for i := range calls {
		k := from + i
		c := &calls[i]
		binary.BigEndian.PutUint64(c.ID[:], uint64(k)+1)
		c.ID[15] = 9
		c.Time = start.Add(time.Duration(k%(30*86400)) * time.Second)
		c.Source = schema.Source{Type: "envoy", Name: "edge.log"}
		client := clients[k%len(clients)]
		c.Credential = schema.Credential{Kind: schema.KindOAuthClient, ID: client, Issuer: "https://idp.example.com", Client: client, Instance: instances[k%len(instances)], Verified: true}
		c.Scopes = scopeSets[k%len(scopeSets)]
		c.Decision = schema.DecisionAllowed
		c.Method, c.Host, c.Path = "GET", "orders.example.com", paths[k%len(paths)]
		c.Status, c.RequestBytes, c.ResponseBytes, c.DurationUS = 200, uint64(k%900), uint64(k%9000), uint64(k%50000)
		c.ClientAddress, c.PeerAddress = addresses[k%len(addresses)], addresses[(k+7)%len(addresses)]
		c.UserAgent, c.Tenant, c.Workload = "agent/1.0", "acme", "spiffe://example.com/ns/shop/sa/web"
		c.RequestID = instances[(k*7)%len(instances)]
	}
	return calls
}

var (
	clients, instances, paths []string
	addresses                 []netip.Addr
	scopeSets                 = [][]string{{"orders:read"}, {"orders:read", "orders:write"}, nil, {}}
)

func init() {
	for i := range 50 {
		clients = append(clients, fmt.Sprintf("https://idp.example.com|client-%02d", i))
	}
	for i := range 997 {
		instances = append(instances, fmt.Sprintf("%08x-0000-4000-8000-%012x", i*7919, i*104729))
	}
	for i := range 20 {
		paths = append(paths, fmt.Sprintf("/collection-%c/items/%d", 'a'+i, 1000+i))
	}
	for i := range 64 {
		addresses = append(addresses, netip.AddrFrom4([4]byte{10, 0, 3, byte(i)}))
	}
}

func store(t testing.TB) driver.Conn {
	t.Helper()
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// one reads a single number.
func one(t *testing.T, conn driver.Conn, query string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func run(t *testing.T, cfg direct.Config, batches ...*schema.Batch) direct.Stats {
	t.Helper()
	p := direct.New(cfg)
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		if err := p.Put(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := p.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func TestCallsAreStoredOnceAndAccountedFor(t *testing.T) {
	conn := store(t)
	in := schema.Input{Name: "edge.log", Format: "envoy"}
	batches := func() (list []*schema.Batch) {
		for i := range 10 {
			list = append(list, &schema.Batch{Input: in, FirstUnit: uint64(i * 1010), NextUnit: uint64(i*1010 + 1010), Calls: callsOf(i*1000, 1000), Skipped: map[string]uint64{"bad_json": 10}, Done: i == 9})
		}
		return list
	}
	stats := run(t, direct.Config{Conn: conn, Run: "first", BlockRows: 3000}, batches()...)
	if stats.Calls != 10_000 || stats.Repeated != 0 || stats.Skipped["bad_json"] != 100 {
		t.Errorf("the first run counts %+v", stats)
	}
	// The same again, by a pipeline that knows the store.
	again := run(t, direct.Config{Conn: conn, Run: "second", BlockRows: 3000, Known: true}, batches()...)
	if again.Calls != 0 || again.Repeated != 10_000 {
		t.Errorf("the second run counts %+v", again)
	}
	for query, want := range map[string]uint64{
		"SELECT count() FROM calls":                                                                10_000,
		"SELECT uniqExact(id) FROM calls":                                                          10_000,
		"SELECT sum(calls) FROM use_hour":                                                          10_000,
		"SELECT sum(calls) FROM use_day":                                                           10_000,
		"SELECT sum(calls) FROM use_life":                                                          10_000,
		"SELECT uniqExact(credential) FROM principals":                                             50,
		"SELECT uniqExact(presented) FROM presented":                                               4,
		"SELECT count() FROM presented FINAL WHERE scopes_known = 0":                               1,
		"SELECT count() FROM calls WHERE toDate(time) NOT BETWEEN '2026-03-01' AND '2026-03-30'":   0,
		"SELECT uniqExact(first_unit, next_unit) FROM ledger WHERE run = 'first'":                  4,
		"SELECT sum(calls) FROM ledger FINAL WHERE run = 'first' AND state = 'confirmed'":          10_000,
		"SELECT sum(repeated) FROM ledger FINAL WHERE run = 'second' AND state = 'confirmed'":      10_000,
		"SELECT sum(skipped['bad_json']) FROM ledger FINAL WHERE run='first' AND state='planned'":  100,
		"SELECT toUInt64(max(done)) FROM ledger FINAL WHERE run='first' AND state='confirmed'":     1,
		"SELECT max(next_unit) FROM ledger FINAL WHERE run='first' AND done = 1":                   10_100,
		"SELECT uniqExact(client_address) FROM calls":                                              64,
		"SELECT countIf(startsWith(IPv6NumToString(client_address), '::ffff:10.0.3.')) FROM calls": 10_000,
	} {
		if got := one(t, conn, query); got != want {
			t.Errorf("%s gives %d, want %d", query, got, want)
		}
	}
}

// TestRepair breaks off a run between calls and rollups, which one insert does
// not bind together, and wants the next run to make the rollups true.
func TestRepair(t *testing.T) {
	conn := store(t)
	in := schema.Input{Name: "edge.log", Format: "envoy"}
	run(t, direct.Config{Conn: conn, Run: "whole"}, &schema.Batch{Input: in, NextUnit: 1000, Calls: callsOf(0, 1000), Done: true})
	for _, statement := range []string{
		"INSERT INTO ledger (run, source_type, source_name, first_unit, next_unit, state, written) VALUES ('broken', 'envoy', 'edge.log', 0, 500, 'planned', now64(6))",
		"TRUNCATE TABLE use_day", "TRUNCATE TABLE places", "ALTER TABLE use_life DELETE WHERE service LIKE 'o%' SETTINGS mutations_sync = 1", "INSERT INTO use_hour SELECT * FROM use_hour",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	cautious := run(t, direct.Config{Conn: conn, Run: "beside", Known: true})
	if cautious.Repaired != 0 {
		t.Error("a range that another run may be at work on was taken for abandoned")
	}
	stats := run(t, direct.Config{Conn: conn, Run: "next", Known: true, Exclusive: true}, &schema.Batch{Input: in, NextUnit: 1500, Calls: callsOf(0, 1500), Done: true})
	if stats.Repaired != 1 || stats.Calls != 500 || stats.Repeated != 1000 {
		t.Errorf("counted %+v", stats)
	}
	for _, rollup := range []string{"use_hour", "use_day", "use_life", "source_day"} {
		if n := one(t, conn, "SELECT sum(calls) FROM "+rollup); n != 1500 {
			t.Errorf("%s counts %d calls, want 1500", rollup, n)
		}
	}
	if n, accepted := one(t, conn, "SELECT sum(calls) FROM places"), one(t, conn, "SELECT countIf(decision IN (1, 2, 3)) FROM calls"); n != accepted || n == 0 {
		t.Errorf("places count %d calls, want %d", n, accepted)
	}
	if again := run(t, direct.Config{Conn: conn, Run: "after", Known: true, Exclusive: true}); again.Repaired != 0 {
		t.Error("a repaired range was repaired again")
	}
}

// TestRepairKeepsWhatIsOlderThanTheCalls: raw calls are kept for a while only, and
// rollups longer. What breaks off afterwards is repaired, and nothing of old is lost.
func TestRepairKeepsWhatIsOlderThanTheCalls(t *testing.T) {
	conn := store(t)
	in := schema.Input{Name: "edge.log", Format: "envoy"}
	old, young := callsOf(0, 500), callsOf(500, 500)
	for i := range old {
		old[i].Time = old[i].Time.AddDate(0, -3, 0)
		if i%2 == 0 {
			young[i].Credential.ID, young[i].Credential.Client = "hired lately", "hired lately"
		}
	}
	run(t, direct.Config{Conn: conn, Run: "whole"}, &schema.Batch{Input: in, NextUnit: 1000, Calls: append(old, young...), Done: true})
	life := "SELECT sipHash64(arraySort(groupArray((credential, service, operation, decision, f, l, d)))) FROM (SELECT credential, service, operation, decision," +
		" min(first) AS f, max(last) AS l, arraySort(arrayDistinct(groupArrayArray(days))) AS d FROM use_life GROUP BY credential, service, operation, decision)"
	want, counted := one(t, conn, life), one(t, conn, "SELECT sum(calls) FROM use_day")
	for _, statement := range []string{
		"INSERT INTO ledger (run, source_type, source_name, first_unit, next_unit, state, written) VALUES ('broken', 'envoy', 'edge.log', 0, 500, 'planned', now64(6))",
		// The old calls are gone, and of a young day's the rollups know nothing.
		"ALTER TABLE calls DELETE WHERE time < '" + young[0].Time.AddDate(0, -1, 0).Format("2006-01-02 15:04:05") + "' SETTINGS mutations_sync = 1",
		"CREATE TABLE kept AS use_life", "INSERT INTO kept SELECT * FROM use_life WHERE first < '" + young[0].Time.AddDate(0, -1, 0).Format("2006-01-02 15:04:05") + "'",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if n := one(t, conn, "SELECT count() FROM calls"); n != 500 {
		t.Fatalf("%d calls are left, want 500", n)
	}
	if stats := run(t, direct.Config{Conn: conn, Run: "next", Known: true, Exclusive: true}); stats.Repaired != 1 {
		t.Errorf("counted %+v", stats)
	}
	if got := one(t, conn, life); got != want {
		t.Error("lifetimes are others than before")
	}
	if n := one(t, conn, "SELECT sum(calls) FROM use_day"); n != counted {
		t.Errorf("days count %d calls, want %d", n, counted)
	}
	// What only the calls know comes back.
	if err := conn.Exec(t.Context(), "ALTER TABLE use_life DELETE WHERE last > '"+young[0].Time.AddDate(0, -1, 0).Format("2006-01-02 15:04:05")+"' SETTINGS mutations_sync = 1"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO use_life SELECT * FROM kept"); err != nil {
		t.Fatal(err)
	}
	if one(t, conn, life) == want {
		t.Fatal("nothing is missing: this tests nothing")
	}
	if err := conn.Exec(t.Context(), "INSERT INTO ledger (run, source_type, source_name, first_unit, next_unit, state, written) VALUES ('broken again', 'envoy', 'edge.log', 0, 500, 'planned', now64(6))"); err != nil {
		t.Fatal(err)
	}
	run(t, direct.Config{Conn: conn, Run: "after", Known: true, Exclusive: true})
	if got := one(t, conn, life); got != want {
		t.Error("what only the calls knew is not there again")
	}
}

func TestWindow(t *testing.T) {
	conn := store(t)
	batch := &schema.Batch{Input: schema.Input{Name: "a"}, NextUnit: 100, Calls: callsOf(0, 100), Done: true}
	stats := run(t, direct.Config{Conn: conn, Run: "w", Window: schema.Window{From: start.Add(10 * time.Second), To: start.Add(30 * time.Second)}}, batch)
	if stats.Calls != 20 || stats.OutsideWindow != 80 {
		t.Errorf("counted %+v, want 20 inside and 80 outside", stats)
	}
}

// TestFailureIsReported holds the pipeline to saying that a block was not
// written, before the end and at it.
func TestFailureIsReported(t *testing.T) {
	conn := store(t)
	if err := conn.Exec(t.Context(), "DROP TABLE calls SYNC"); err != nil {
		t.Fatal(err)
	}
	p := direct.New(direct.Config{Conn: conn, Run: "broken", BlockRows: 100})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		err = p.Put(t.Context(), &schema.Batch{Input: schema.Input{Name: "a"}, FirstUnit: uint64(i * 100), NextUnit: uint64(i*100 + 100), Calls: callsOf(i*100, 100)})
	}
	if err == nil {
		t.Error("a thousand blocks went into a table that is not there")
	}
	if _, end := p.Close(t.Context()); end == nil {
		t.Error("Close says that all is well")
	}
	if n := one(t, conn, "SELECT count() FROM ledger WHERE state = 'confirmed'"); n != 0 {
		t.Errorf("%d ranges are confirmed", n)
	}
	if n := one(t, conn, "SELECT count() FROM ledger WHERE state = 'planned'"); n == 0 {
		t.Error("no range was planned, so that the failure leaves no trace")
	}
}

// TestEveryColumnIsReadBack compares what was put with what is stored, column by
// column, over blocks whose columns of low cardinality have few, many and very
// many different texts, and lists that are shared, equal, empty and absent.
func TestEveryColumnIsReadBack(t *testing.T) {
	conn := store(t)
	for i, n := range []int{1, 300, 70_000, 1, 300, 70_000} {
		local := i < 3
		t.Run(fmt.Sprint(n, " local ", local), func(t *testing.T) {
			if err := conn.Exec(t.Context(), "TRUNCATE TABLE calls"); err != nil {
				t.Fatal(err)
			}
			calls := variousCalls(n)
			below := byte(255) // of many calls a share is compared
			if n > 1000 {
				below = 8
			}
			want := map[schema.CallID]schema.Call{}
			for _, c := range calls {
				if c.ID[0] <= below {
					want[c.ID] = c
				}
			}
			var batches []*schema.Batch
			for some := range slices.Chunk(calls, 2048) {
				batches = append(batches, &schema.Batch{Input: schema.Input{Name: "edge.log"}, Calls: some})
			}
			run(t, direct.Config{Conn: conn, Local: local, Run: fmt.Sprint("columns-", i), BlockRows: 1 << 20}, batches...)
			if stored := one(t, conn, "SELECT count() FROM calls"); stored != uint64(n) {
				t.Errorf("%d calls are stored", stored)
			}
			rows, err := conn.Query(t.Context(), fmt.Sprintf("SELECT * FROM calls WHERE reinterpretAsUInt8(substring(id, 1, 1)) <= %d", below))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				compareRow(t, rows, want)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			if len(want) > 0 {
				t.Errorf("%d calls are not stored", len(want))
			}
		})
	}
}

// variousCalls makes n calls that differ in every field.
func variousCalls(n int) []schema.Call {
	random := rand.New(rand.NewPCG(3, uint64(n)))
	text := func(kinds int) string {
		if random.IntN(4) == 0 {
			return ""
		}
		return fmt.Sprint("text-", random.IntN(kinds)) // equal texts, each its own string
	}
	shared := [][]string{nil, {}, {"a"}, {"b", "a"}, {"a", ""}}
	list := func() []string {
		if random.IntN(3) == 0 {
			return []string{text(9), text(9)}
		}
		return shared[random.IntN(len(shared))]
	}
	addr := func() (a netip.Addr) {
		switch random.IntN(3) {
		case 0:
			a = netip.AddrFrom4([4]byte{10, 1, byte(random.IntN(256)), 7})
		case 1:
			a = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", random.IntN(1<<16)))
		}
		return a
	}
	calls := make([]schema.Call, n)
	for i := range calls {
		c := &calls[i]
		binary.BigEndian.PutUint64(c.ID[:], random.Uint64())
		c.Time = start.Add(time.Duration(random.Int64N(1e6)) * time.Microsecond)
		c.Source = schema.Source{Type: text(2), Name: text(3)}
		c.Reporter, c.Decision = schema.Reporter(random.IntN(4)), schema.Decision(random.IntN(6))
		c.Quality = schema.Quality(random.IntN(6))
		c.Credential = schema.Credential{Kind: schema.CredentialKind(random.IntN(11)), ID: text(n), Issuer: text(9), Subject: text(n),
			Client: text(300), Instance: text(n), Session: text(n), Groups: list(), Verified: random.IntN(2) == 0}
		c.Scopes, c.PermissionsUsed, c.QueryKeys, c.ActorChain = list(), list(), list(), list()
		c.Policy, c.Resource, c.Mints = text(300), text(n), text(n)
		// What the source names is not changed by the catalogue.
		c.Service, c.Operation, c.RouteSource = "service-"+text(300), "operation-"+text(300), schema.RouteFromSource
		c.Method, c.Host, c.Path = text(5), text(20), text(n)
		c.Status, c.RequestBytes, c.ResponseBytes, c.DurationUS = uint16(random.IntN(600)), random.Uint64(), random.Uint64(), random.Uint64()
		c.ClientAddress, c.PeerAddress = addr(), addr()
		c.Workload, c.UserAgent, c.Tenant, c.Environment = text(20), fmt.Sprint("agent-", i), text(7), text(3)
		c.RequestID, c.TraceID = text(n), text(n)
	}
	return calls
}

// compareRow compares a stored row with the call that it was, and takes it off
// the list.
func compareRow(t *testing.T, rows driver.Rows, want map[schema.CallID]schema.Call) {
	t.Helper()
	names := rows.Columns()
	values := make([]any, len(names))
	for i, typ := range rows.ColumnTypes() {
		values[i] = reflect.New(typ.ScanType()).Interface()
	}
	if err := rows.Scan(values...); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for i, name := range names {
		got[name] = reflect.ValueOf(values[i]).Elem().Interface()
	}
	id := schema.CallID([]byte(got["id"].(string)))
	c, ok := want[id]
	if !ok {
		t.Fatalf("call %s was never put", id)
	}
	delete(want, id)
	flag := map[bool]uint8{true: 1}
	principal := c.Credential.Principal().Hash()
	for name, value := range map[string]any{
		"time": c.Time, "source_type": c.Source.Type, "source_name": c.Source.Name, "reporter": uint8(c.Reporter),
		"credential": string(principal[:]), "credential_kind": uint8(c.Credential.Kind), "credential_id": c.Credential.ID,
		"credential_issuer": c.Credential.Issuer, "credential_subject": c.Credential.Subject, "credential_client": c.Credential.Client,
		"credential_instance": c.Credential.Instance, "session": c.Credential.Session, "groups": c.Credential.Groups,
		"verified": flag[c.Credential.Verified], "scopes": c.Scopes, "scopes_known": flag[c.Scopes != nil],
		"permissions_used": c.PermissionsUsed, "decision": uint8(c.Decision), "policy": c.Policy, "service": c.Service,
		"operation": c.Operation, "route_source": uint8(c.RouteSource), "method": c.Method, "host": c.Host, "path": c.Path,
		"query_keys": c.QueryKeys, "resource": c.Resource, "status": c.Status, "request_bytes": c.RequestBytes,
		"response_bytes": c.ResponseBytes, "duration_us": c.DurationUS, "workload": c.Workload, "user_agent": c.UserAgent,
		"tenant": c.Tenant, "environment": c.Environment, "request_id": c.RequestID, "trace_id": c.TraceID,
		"actor_chain": c.ActorChain, "mints": c.Mints, "quality": uint8(c.Quality),
		"client_address": c.ClientAddress, "peer_address": c.PeerAddress,
	} {
		if a, b := fmt.Sprint(got[name]), wanted(value); a != b {
			t.Errorf("call %s: %s is %s, want %s", id, name, a, b)
		}
	}
	if len(got) != len(table.CallColumns) {
		t.Errorf("the table has %d columns", len(got))
	}
}

// wanted writes a value as it should come back.
func wanted(value any) string {
	if addr, ok := value.(netip.Addr); ok {
		if !addr.IsValid() {
			return "::"
		}
		return net.IP(addr.AsSlice()).String()
	}
	return fmt.Sprint(value)
}

// TestNewerStoreIsRefused holds the migrator to its promise.
func TestNewerStoreIsRefused(t *testing.T) {
	conn := store(t)
	if steps, err := clickhouse.Migrate(t.Context(), conn); err != nil || len(steps) != 0 {
		t.Fatalf("a second migration ran %d steps: %v", len(steps), err)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO schema_version (step, name) VALUES (9999, 'from the future')"); err != nil {
		t.Fatal(err)
	}
	_, err := clickhouse.Migrate(t.Context(), conn)
	newer, ok := err.(*clickhouse.NewerStoreError)
	if !ok || newer.Store != 9999 {
		t.Errorf("got %v, want a refusal", err)
	}
}

func BenchmarkStore(b *testing.B) {
	conn := store(b)
	ctx := context.Background()
	const rows = 1 << 16
	next := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var batches []*schema.Batch
		for i := 0; i < rows; i += 4096 {
			batches = append(batches, &schema.Batch{Input: schema.Input{Name: "bench"}, FirstUnit: uint64(next), NextUnit: uint64(next + 4096), Calls: callsOf(next, 4096)})
			next += 4096
		}
		b.StartTimer()
		p := direct.New(direct.Config{Conn: conn, Run: fmt.Sprint(next)})
		if err := p.Open(ctx); err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			if err := p.Put(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := p.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
