package clickhouse_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema/table"
)

func rendered(t *testing.T) []table.Step {
	t.Helper()
	steps, err := table.Steps()
	if err != nil {
		t.Fatal(err)
	}
	out, err := table.Cluster{Name: "c", Database: "default"}.Render(steps)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func number(t *testing.T, conn driver.Conn, query string) (n uint64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// TestClusterStatementsParse lets ClickHouse itself read every statement of a
// cluster.
func TestClusterStatementsParse(t *testing.T) {
	conn := enginetest.Open(t)
	for _, step := range rendered(t) {
		for _, statement := range step.Statements {
			rows, err := conn.Query(t.Context(), "EXPLAIN AST "+statement)
			if err != nil {
				t.Errorf("%s: %v\n%s", step.Name, err, statement)
				continue
			}
			for rows.Next() {
			}
			if err := rows.Err(); err != nil {
				t.Errorf("%s: %v\n%s", step.Name, err, statement)
			}
			_ = rows.Close()
		}
	}
}

// TestClusterHoldsTogether runs the cluster's tables and views on one server:
// what is inserted into the local part of calls reaches every rollup, and is read
// under the names that a single server has.
func TestClusterHoldsTogether(t *testing.T) {
	conn := enginetest.Open(t)
	enginetest.AsShard(t, conn)
	insert := "INSERT INTO calls_local (time, id, credential, service, operation, decision) SELECT toDateTime64('2026-03-01 10:00:00', 6, 'UTC') + number * 60," +
		" toFixedString(leftPad(toString(number), 16, '0'), 16), toFixedString(leftPad(toString(number % 7), 16, 'c'), 16), 'orders', 'GET /x', 1 FROM numbers(5000)"
	if err := conn.Exec(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]uint64{
		"SELECT count() FROM calls":                                            5000,
		"SELECT sum(calls) FROM use_hour":                                      5000,
		"SELECT sum(calls) FROM use_day":                                       5000,
		"SELECT sum(calls) FROM use_life":                                      5000,
		"SELECT sum(calls) FROM source_day":                                    5000,
		"SELECT uniqExact(credential) FROM principals":                         7,
		"SELECT uniqExact(presented) FROM presented":                           1,
		"SELECT uniqExact(" + table.ShardKey + " % 3) < 4 FROM use_life":       1,
		"SELECT uniqExact(" + table.ShardKey + ") <= 7 FROM principals":        1,
		"SELECT count() FROM findings":                                         0,
		"SELECT count() FROM ledger":                                           0,
		"SELECT count() FROM calls WHERE credential = unhex(repeat('00', 16))": 0,
	} {
		if strings.Contains(query, "<") {
			query = strings.Replace(query, "SELECT ", "SELECT toUInt64(", 1)
			query = strings.Replace(query, " FROM", ") FROM", 1)
		}
		if got := number(t, conn, query); got != want {
			t.Errorf("%s gives %d, want %d", query, got, want)
		}
	}
}

// TestClusterStores are told from a single server's, and never mixed.
func TestClusterStores(t *testing.T) {
	conn := enginetest.Open(t)
	if clustered, err := clickhouse.Clustered(t.Context(), conn); err != nil || clustered {
		t.Errorf("an empty store is a cluster's: %v, %v", clustered, err)
	}
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	var single *clickhouse.SingleStoreError
	if _, err := clickhouse.MigrateCluster(t.Context(), conn, "c"); !errors.As(err, &single) || single.Hint() == "" {
		t.Errorf("a single server's tables are taken over: %v", err)
	}
	if _, err := clickhouse.MigrateCluster(t.Context(), conn, "c'"); err == nil {
		t.Error("a hostile name is accepted")
	}
}

// TestUpgradeLosesNothing brings a store of the first schema that holds calls
// forward to the newest: all of it is still there, folded as before, and what
// comes later is folded like it.
func TestUpgradeLosesNothing(t *testing.T) {
	conn := enginetest.Open(t)
	steps, err := table.Steps()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clickhouse.StoreVersion(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	for _, statement := range steps[0].Statements {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Exec(t.Context(), "INSERT INTO schema_version (step, name) VALUES (1, '0001_first')"); err != nil {
		t.Fatal(err)
	}
	fill := func(from int) {
		t.Helper()
		if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO calls (time, id, source_type, source_name, credential, credential_id, credential_instance, query_keys, mints, service, operation, decision, presented)"+
			" SELECT toDateTime64('2026-03-01 10:00:00', 6, 'UTC') + number * 600, toFixedString(leftPad(toString(number), 16, '0'), 16), 'envoy', 'edge.log',"+
			" toFixedString(leftPad(toString(number %% 11), 16, 'c'), 16), toString(number %% 11), concat('key', toString(number %% 7)), if(number %% 5 = 0, ['Page'], []), if(number %% 97 = 0, 'other', ''), 'orders', concat('GET /', toString(number %% 13)), number %% 3,"+
			" toFixedString(leftPad(toString(number %% 2), 8, 'p'), 8) FROM numbers(%d, 4000)", from)); err != nil {
			t.Fatal(err)
		}
	}
	fill(0)
	if err := conn.Exec(t.Context(), "INSERT INTO findings (id, code, body) VALUES ('f', 'D01', '{}')"); err != nil {
		t.Fatal(err)
	}
	tables := append(table.Sharded(steps[:1]), table.Findings, table.Ledger, table.Grants)
	sums := func() (all []string) {
		for _, name := range tables {
			query := "SELECT count() FROM " + name
			if name != table.Principals && name != table.Presented && name != table.Findings && name != table.Ledger && name != table.Grants && name != table.Calls {
				query = "SELECT sum(calls) FROM " + name
			}
			all = append(all, fmt.Sprint(name, " ", number(t, conn, query)))
		}
		return all
	}
	before := sums()
	ran, err := clickhouse.Migrate(t.Context(), conn)
	if err != nil || len(ran) != len(steps)-1 {
		t.Fatalf("%d steps ran: %v", len(ran), err)
	}
	if after := sums(); !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	fill(4000)
	// What later steps fold knows of the calls that were there before them.
	if n, accepted := number(t, conn, "SELECT sum(calls) FROM places"), number(t, conn, "SELECT countIf(decision IN (1, 2, 3)) FROM calls"); n != accepted || n < 5000 {
		t.Errorf("places count %d calls, want %d", n, accepted)
	}
	if n, accepted := number(t, conn, "SELECT sum(calls) FROM pace"), number(t, conn, "SELECT countIf(decision IN (1, 2, 3)) FROM calls"); n != accepted {
		t.Errorf("pace counts %d calls, want %d", n, accepted)
	}
	for _, c := range []struct{ rollup, want string }{
		{"SELECT count() FROM (SELECT DISTINCT credential, parameter, day FROM parameters)",
			"SELECT count() FROM (SELECT DISTINCT credential, lower(p), toDate(time) FROM calls ARRAY JOIN query_keys AS p WHERE decision IN (1, 2, 3) AND quality = 0)"},
		{"SELECT count() FROM (SELECT DISTINCT credential, credential_instance, day FROM instances)",
			"SELECT count() FROM (SELECT DISTINCT credential, credential_instance, toDate(time) FROM calls WHERE decision IN (1, 2, 3))"},
		{"SELECT count() FROM issues", "SELECT countIf(mints != '') FROM calls"},
	} {
		if n, want := number(t, conn, c.rollup), number(t, conn, c.want); n != want || n == 0 {
			t.Errorf("%s gives %d, want %d", c.rollup, n, want)
		}
	}
	for _, name := range table.Sharded(steps[:1]) {
		switch name {
		case table.Calls, table.Principals, table.Presented:
			continue
		}
		if n := number(t, conn, "SELECT sum(calls) FROM "+name); n != 8000 {
			t.Errorf("%s counts %d calls, want 8000", name, n)
		}
	}
	if again, err := clickhouse.Migrate(t.Context(), conn); err != nil || len(again) != 0 {
		t.Errorf("a second migration ran %d steps: %v", len(again), err)
	}
}

// TestRetain sets time limits, changes nothing twice, and takes them away.
func TestRetain(t *testing.T) {
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		give    table.Retention
		changed []string
	}{
		{table.Retention{}, nil},
		{table.Retention{Calls: 30, Hours: 180, Days: 800}, []string{"calls", "use_hour", "pace", "use_day", "places", "parameters", "instances", "issues"}},
		{table.Retention{Calls: 30, Hours: 180, Days: 800}, nil},
		{table.Retention{Calls: 14}, []string{"calls"}},
		{table.Retention{Calls: table.Forever, Hours: table.Forever}, []string{"calls", "use_hour", "pace"}},
		{table.Retention{Calls: table.Forever}, nil},
	} {
		got, err := clickhouse.Retain(t.Context(), conn, c.give, "")
		if err != nil || !slices.Equal(got, c.changed) {
			t.Errorf("%+v changes %v, want %v: %v", c.give, got, c.changed, err)
		}
	}
	if err := conn.Exec(t.Context(), "INSERT INTO calls (time) SELECT now64(6) - toIntervalDay(number) FROM numbers(40)"); err != nil {
		t.Fatal(err)
	}
	if _, err := clickhouse.Retain(t.Context(), conn, table.Retention{Calls: 30}, ""); err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "OPTIMIZE TABLE calls FINAL"); err != nil {
		t.Fatal(err)
	}
	if n := number(t, conn, "SELECT count() FROM calls WHERE time < now64(6) - toIntervalDay(31)"); n != 0 {
		t.Errorf("%d calls are older than what is kept", n)
	}
	if n := number(t, conn, "SELECT count() FROM calls WHERE time > now64(6) - toIntervalDay(29)"); n < 28 {
		t.Errorf("only %d younger calls are left", n)
	}
	if n := number(t, conn, "SELECT sum(calls) FROM use_life"); n != 40 {
		t.Errorf("lifetime use counts %d calls, want 40", n)
	}
}
