package detector_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

func loadText(t *testing.T, text string) *catalog.Catalog {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "catalog.yaml"), text)
	c, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const shop = `
services:
  - name: orders
    hosts: [orders.test]
    operations:
      - {operation: "GET /orders", scopes: [[read]]}
      - {operation: "POST /orders", scopes: [[write]]}
credentials:
  - {id: shop, match: [{id: shop}], owner: x, grants: [{scopes: [read, write]}]}
  - {id: shops, match: [{id: "s*p2"}], owner: x}
  - {id: second, match: [{id: "sh*2"}], owner: x}
sources: [{name: edge, complete: true, sample: 1.0}]
`

const month = `{"at":"2026-02-01T10:00:00Z","every":"24h","times":40,"as":"oauth_client/shop","do":"GET orders.test/orders"}`

func TestTwoCredentialsForOnePrincipal(t *testing.T) {
	cat := loadText(t, shop)
	calls := detectortest.Calls(t, cat, []byte(month+"\n"+`{"at":"2026-02-01T10:00:00Z","as":"oauth_client/shop2","do":"GET orders.test/orders"}`))
	_, err := detector.New(detector.Config{Catalog: cat, Facts: memory.New(calls)}).Run(context.Background(), &detectortest.Output{})
	var ambiguous *catalog.Ambiguous
	if !errors.As(err, &ambiguous) || !strings.Contains(err.Error(), `"shops"`) || !strings.Contains(err.Error(), `"second"`) {
		t.Fatalf("got %v", err)
	}
	if ambiguous.ExitCode() != 2 {
		t.Errorf("exit code %d", ambiguous.ExitCode())
	}
}

func TestNothingToJudge(t *testing.T) {
	out := detectortest.Run(t, detector.Config{Facts: memory.New(nil)})
	want := []string{
		"no catalogue: nothing is known of grants, demands and owners, so only what needs none of them is reported",
		"no calls are stored in the window, so there is nothing to judge",
	}
	if !slices.Equal(out.Notes, want) || len(out.Findings) > 0 {
		t.Errorf("said %q and found %v", out.Notes, out.Findings)
	}
	if _, err := detector.New(detector.Config{}).Run(context.Background(), out); err == nil {
		t.Error("a detector without a store should say so")
	}
	cat := loadText(t, shop)
	calls := detectortest.Calls(t, cat, []byte(month))
	late := schema.Window{From: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	if out := detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(calls), Window: late}); len(out.Notes) != 1 {
		t.Errorf("said %q", out.Notes)
	}
}

// TestWhatWasNotReadIsNotUnused holds D04 to its silence where inputs were not
// read, in whole or in part.
func TestWhatWasNotReadIsNotUnused(t *testing.T) {
	cat := loadText(t, shop)
	calls := detectortest.Calls(t, cat, []byte(month))
	unused := func(facts *memory.Facts) (n int, why string) {
		out := detectortest.Run(t, detector.Config{Catalog: cat, Facts: facts})
		for i := range out.Findings {
			if out.Findings[i].Code == rule.UnusedScope {
				n++
			}
		}
		for _, w := range out.Summary.Withheld {
			why += w.Why
		}
		return n, why
	}
	facts := memory.New(calls)
	if n, _ := unused(facts); n != 1 {
		t.Fatalf("%d findings before", n)
	}
	facts.Unread = []string{`input "a.log" was not read to its end`}
	if n, why := unused(facts); n != 0 || why != facts.Unread[0] {
		t.Errorf("%d findings, withheld for %q", n, why)
	}
	facts.Unread = nil
	facts.Lost = []rule.Loss{{SourceType: "test", Reason: "invalid_json", Units: 1, Calls: 40}}
	if n, _ := unused(facts); n != 1 {
		t.Errorf("%d findings with one unreadable line of 41", n)
	}
	facts.Lost[0].Units = 20
	if n, why := unused(facts); n != 0 || !strings.Contains(why, "20 units of test logs could not be read: invalid_json") {
		t.Errorf("%d findings, withheld for %q", n, why)
	}
	facts.Lost[0].SourceType = "other"
	if n, _ := unused(facts); n != 0 {
		t.Errorf("%d findings with losses of an unknown kind of log", n)
	}
	// Encrypted connections are of the service whose host they name.
	for host, want := range map[string]int{"orders.test": 0, "elsewhere.test": 1, "": 1} {
		facts.Lost[0].Reason = schema.LostTLS + host
		if n, why := unused(facts); n != want {
			t.Errorf("%d findings with encrypted connections to %q, withheld for %q", n, host, why)
		}
	}
}

type failing struct{ detectortest.Output }

var errHandler = errors.New("the pipe is closed")

func (f *failing) Finding(schema.Finding) error { return errHandler }

func TestHandlerEndsTheRun(t *testing.T) {
	cat := loadText(t, shop)
	_, err := detector.New(detector.Config{Catalog: cat, Facts: memory.New(detectortest.Calls(t, cat, []byte(month)))}).Run(context.Background(), &failing{})
	if !errors.Is(err, errHandler) {
		t.Errorf("got %v", err)
	}
}

// TestLedger asks the store about inputs that were not read to their end and
// about units that could not be read.
func TestLedger(t *testing.T) {
	s := newStores(t)
	cat := loadText(t, shop)
	conn, _ := s.fill(t, cat, detectortest.Calls(t, cat, []byte(month)), 10, 15)
	ctx := context.Background()
	facts := detector.Store(conn)
	incomplete, err := facts.Incomplete(ctx)
	if err != nil || len(incomplete) > 0 {
		t.Fatalf("incomplete %v, %v", incomplete, err)
	}
	insert := func(name, state string, done int, skipped string) {
		t.Helper()
		err := conn.Exec(ctx, "INSERT INTO ledger (run, source_type, source_name, first_unit, next_unit, calls, skipped, done, state) VALUES ('r', 'envoy', '"+
			name+"', 0, 10, 7, "+skipped+", "+string(rune('0'+done))+", '"+state+"')")
		if err != nil {
			t.Fatal(err)
		}
	}
	insert("a.log", "planned", 1, "map('not_a_call:empty', 2, 'invalid_json', 1)")
	if incomplete, err = facts.Incomplete(ctx); err != nil || !slices.Equal(incomplete, []string{`input "a.log" was not read to its end`}) {
		t.Errorf("incomplete %q, %v", incomplete, err)
	}
	insert("a.log", "confirmed", 1, "map('not_a_call:empty', 2, 'invalid_json', 1)")
	insert("b.log", "confirmed", 1, "map('not_tcp', 2, 'ip_fragment', 3, 'invalid_json', 4)")
	if incomplete, err = facts.Incomplete(ctx); err != nil || len(incomplete) > 0 {
		t.Errorf("incomplete %q, %v", incomplete, err)
	}
	losses, err := facts.Losses(ctx)
	if want := []rule.Loss{{SourceType: "envoy", Reason: "invalid_json", Units: 5, Calls: 14}}; err != nil || !slices.Equal(losses, want) {
		t.Errorf("lost %+v, %v", losses, err)
	}
	// What a collector dropped, and what Kafka lost, falls into days. A range that
	// was noted twice counts once.
	for range 2 {
		for _, statement := range []string{
			"INSERT INTO ledger (run, source_type, source_name, first_unit, next_unit, skipped, first_time, last_time, followed, state) VALUES" +
				" ('k', 'nginx', 'c.log', 0, 10, map('lost:spool_full', 9), '2026-01-02 10:00:00', '2026-01-04 01:00:00', 1, 'confirmed')",
			"INSERT INTO ranges (topic, partition, first_offset, next_offset, plan, calls, lost, dead, lost_from, lost_to, state, written) VALUES" +
				" ('t', 0, 0, 50, 'p', 6, 40, map('truncated', 4), '2026-01-05 10:00:00', '2026-01-05 11:00:00', 'confirmed', now())," +
				" ('t', 0, 50, 90, 'p', 0, 30, map(), '2026-01-05 10:00:00', '2026-01-05 11:00:00', 'planned', now())",
		} {
			if err := conn.Exec(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	day := func(n int) schema.Day { return schema.DayOf(time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)) }
	want := []rule.Loss{
		{SourceType: "envoy", Reason: "invalid_json", Units: 5, Calls: 14},
		{SourceType: "nginx", Reason: "lost:spool_full", Units: 9, From: day(2), To: day(4)},
		{SourceType: "kafka", Reason: "lost:retention", Units: 40, Calls: 6, From: day(5), To: day(5)},
		{SourceType: "kafka", Reason: "truncated", Units: 4, Calls: 6},
	}
	if losses, err = facts.Losses(ctx); err != nil || !slices.Equal(losses, want) {
		t.Errorf("lost %+v, %v", losses, err)
	}
	if incomplete, err = facts.Incomplete(ctx); err != nil || len(incomplete) > 0 {
		t.Errorf("incomplete %q, %v", incomplete, err)
	}
	// A batch that was planned a while ago and is not stored stands still.
	if err := conn.Exec(ctx, "INSERT INTO ranges (topic, partition, first_offset, next_offset, plan, state, written) VALUES"+
		" ('t', 1, 0, 50, 'p', 'confirmed', now() - 600), ('t', 1, 50, 90, 'q', 'planned', now() - 300)"); err != nil {
		t.Fatal(err)
	}
	if incomplete, err = facts.Incomplete(ctx); err != nil || !slices.Equal(incomplete, []string{`partition 1 of topic "t" is not stored from offset 50 on`}) {
		t.Errorf("incomplete %q, %v", incomplete, err)
	}
}
