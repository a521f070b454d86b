package reenrich

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// meddling is a connection beside which an ingester writes down a batch before the
// first statement that has a text in it.
type meddling struct {
	driver.Conn
	before string
	did    bool
}

func (m *meddling) Exec(ctx context.Context, query string, args ...any) error {
	if !m.did && strings.Contains(query, m.before) {
		m.did = true
		if err := planned(ctx, m.Conn, "now64(6)"); err != nil {
			return err
		}
	}
	return m.Conn.Exec(ctx, query, args...)
}

// planned writes down a batch as an ingester does that is about to insert it.
func planned(ctx context.Context, conn driver.Conn, written string) error {
	return conn.Exec(ctx, "INSERT INTO ranges (topic, partition, first_offset, next_offset, plan, state, written) SELECT 'calls', 0, 0, 10, 'p', 'planned', "+written)
}

// TestIngestersAtWork: while somebody writes to a shared store nothing is begun,
// and nothing is swapped where that begins in between; afterwards readers are let
// in, and what was swapped is told to the detector.
func TestIngestersAtWork(t *testing.T) {
	a, b := load(t, before), load(t, after)
	conn := store(t, a, some(800))
	want := contents(t, conn)
	run := func(conn driver.Conn, name string) error {
		_, err := New(Config{Conn: conn, Catalog: b, From: start, To: start.AddDate(0, 0, 10), Run: name, Shared: true}).Run(t.Context())
		return err
	}
	var busy *Busy
	// The store was filled just now.
	if err := run(conn, "early"); !errors.As(err, &busy) || !strings.Contains(err.Error(), "stop it") {
		t.Fatalf("a store that is written to: %v", err)
	}
	age(t, conn)
	if err := planned(t.Context(), conn, "now64(6) - 5"); err != nil {
		t.Fatal(err)
	}
	if err := run(conn, "busy"); !errors.As(err, &busy) || busy.Who != "an ingester" {
		t.Fatalf("an ingester at work: %v", err)
	}
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE ranges"); err != nil {
		t.Fatal(err)
	}
	if err := run(&meddling{Conn: conn, before: "INSERT INTO swaps"}, "meddled"); !errors.Is(err, ErrWritten) {
		t.Fatalf("an ingester began: %v", err)
	}
	if got := contents(t, conn); got != want {
		t.Errorf("something was swapped: %s", difference(want, got))
	}
	if err := undisturbed(t.Context(), conn, 0, func() error { return nil }); err != nil {
		t.Errorf("a reader gets %v", err)
	}
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE ranges"); err != nil {
		t.Fatal(err)
	}
	if err := run(&meddling{Conn: conn, before: "REPLACE PARTITION"}, "late"); !errors.Is(err, errLost) {
		t.Fatalf("an ingester wrote in the moment of the swap: %v", err)
	}
	if err := conn.Exec(t.Context(), "TRUNCATE TABLE ranges"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now().UTC()
	if err := run(conn, "quiet"); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, conn), contents(t, store(t, b, some(800))); got != want {
		t.Errorf("%s", difference(want, got))
	}
	var touched, all uint64
	err := conn.QueryRow(t.Context(), "SELECT (SELECT uniqExact(credential) FROM touched WHERE stored >= toDateTime64(?, 6, 'UTC')), (SELECT uniqExact(credential) FROM calls)",
		begun.Format("2006-01-02 15:04:05.000000")).Scan(&touched, &all)
	if err != nil {
		t.Fatal(err)
	}
	if touched != all || all == 0 {
		t.Errorf("%d of %d credentials are to be judged anew", touched, all)
	}
}

// age makes what was written down of the store's filling a day older.
func age(t *testing.T, conn driver.Conn) {
	t.Helper()
	for _, statement := range []string{
		"CREATE TABLE aged AS ledger", "INSERT INTO aged SELECT * REPLACE (written - toIntervalDay(1) AS written) FROM ledger",
		"TRUNCATE TABLE ledger", "INSERT INTO ledger SELECT * FROM aged", "DROP TABLE aged",
	} {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}
