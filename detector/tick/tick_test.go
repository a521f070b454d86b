package tick_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

func company(t *testing.T) *catalog.Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.WriteFile(path, []byte(detectortest.Company), 0o600); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

// house is a store that calls come into.
type house struct {
	conn driver.Conn
	cat  *catalog.Catalog
	n    int
}

func open(t *testing.T, cat *catalog.Catalog) *house {
	t.Helper()
	h := &house{conn: enginetest.Open(t), cat: cat}
	if _, err := clickhouse.Migrate(t.Context(), h.conn); err != nil {
		t.Fatal(err)
	}
	return h
}

// put stores calls as a run of its own.
func (h *house) put(t *testing.T, calls []schema.Call) {
	t.Helper()
	h.n++
	p := direct.New(direct.Config{Conn: h.conn, Catalog: h.cat, Run: fmt.Sprintf("run%d", h.n), Known: true})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := p.Put(t.Context(), &schema.Batch{Input: schema.Input{Name: fmt.Sprintf("log%d", h.n), Format: "test"}, NextUnit: uint64(len(calls)), Calls: slices.Clone(calls), Done: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (h *house) ticker(holder string) (*tick.Ticker, *tick.Table) {
	return h.sharded(holder, detector.Shard{})
}

func (h *house) sharded(holder string, shard detector.Shard) (*tick.Ticker, *tick.Table) {
	store := &tick.Table{Conn: h.conn, Shard: shard, Holder: holder,
		Load: func(ctx context.Context) ([]schema.Finding, error) { return clickhouse.Findings(ctx, h.conn) },
		Write: func(ctx context.Context, findings []schema.Finding, written time.Time) error {
			return clickhouse.InsertFindings(ctx, h.conn, findings, written)
		}}
	return tick.New(tick.Config{Store: store, Shard: shard, Facts: func() detector.Facts { return detector.Store(h.conn) },
		Catalog: func() *catalog.Catalog { return h.cat }}), store
}

func step(t *testing.T, one *tick.Ticker, everything bool) tick.Result {
	t.Helper()
	result, err := one.Tick(t.Context(), everything)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// standing are the findings of the store that are not resolved, as lines.
func (h *house) standing(t *testing.T) []string {
	t.Helper()
	list, err := clickhouse.Findings(t.Context(), h.conn)
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, slices.DeleteFunc(list, func(f schema.Finding) bool { return f.Status == schema.StatusResolved }))
}

func lines(t *testing.T, list []schema.Finding) []string {
	t.Helper()
	var out []string
	for i := range list {
		line, err := json.Marshal(&list[i])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
	slices.Sort(out)
	return out
}

func (h *house) scanned(t *testing.T) []string {
	t.Helper()
	return lines(t, detectortest.Run(t, detector.Config{Catalog: h.cat, Conn: h.conn}).Findings)
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("%d findings stand, a scan has %d", len(got), len(want))
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("only continuously: %.400s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("only the scan: %.400s", line)
		}
	}
}

// TestLateAndRestarted: calls come in any order and in many batches, with steps
// and restarts in between; in the end the findings are those of a scan.
func TestLateAndRestarted(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 41))
			cat := company(t)
			h := open(t, cat)
			calls := detectortest.Random(r, 1500)
			r.Shuffle(len(calls), func(i, k int) { calls[i], calls[k] = calls[k], calls[i] })
			one, _ := h.ticker("one")
			for part := range slices.Chunk(calls, 200+r.IntN(400)) {
				h.put(t, part)
				if r.IntN(4) == 0 {
					one, _ = h.ticker("one") // it was started again
				}
				step(t, one, false)
			}
			if step(t, one, true); len(h.standing(t)) == 0 {
				t.Fatal("nothing stands: the test says nothing")
			}
			equal(t, h.standing(t), h.scanned(t))
			if result := step(t, one, true); !result.Idle || len(result.Changes) > 0 {
				t.Errorf("nothing came in, and a step had %d changes", len(result.Changes))
			}
		})
	}
}

// TestOnlyWhatChanged: a step judges the credentials of new calls and leaves the
// others as they are.
func TestOnlyWhatChanged(t *testing.T) {
	cat := company(t)
	h := open(t, cat)
	calls := detectortest.Random(rand.New(rand.NewPCG(7, 7)), 800)
	slices.SortFunc(calls, func(a, b schema.Call) int { return a.Time.Compare(b.Time) })
	last := calls[len(calls)-1]
	h.put(t, calls)
	one, _ := h.ticker("one")
	if result := step(t, one, false); !result.Full || len(result.Changes) == 0 {
		t.Fatalf("the first step is of everything, and finds something: %+v", result)
	}
	if result := step(t, one, false); !result.Idle {
		t.Fatalf("nothing came in: %+v", result)
	}
	late := calls[0]
	late.ID[0]++
	late.Time = last.Time.Add(-time.Second)
	h.put(t, []schema.Call{late})
	result := step(t, one, false)
	if result.Full || result.Credentials != 1 {
		t.Errorf("one credential made a call; judged were %d, all: %v", result.Credentials, result.Full)
	}
	for _, change := range result.Changes {
		if change.Kind == tick.Resolved {
			t.Errorf("%s was resolved by somebody's call", change.Finding.ID)
		}
	}
	step(t, one, true)
	equal(t, h.standing(t), h.scanned(t))
}

// TestTwoDetectors: of two on one shard one works; when it is gone the other goes
// on, and no finding is written twice.
func TestTwoDetectors(t *testing.T) {
	h := open(t, company(t))
	calls := detectortest.Random(rand.New(rand.NewPCG(3, 9)), 900)
	one, first := h.ticker("one")
	two, _ := h.ticker("two")
	h.put(t, calls[:450])
	done := make(chan tick.Result, 2)
	for _, ticker := range []*tick.Ticker{one, two} {
		go func() {
			result, err := ticker.Tick(context.Background(), false)
			if err != nil {
				t.Error(err)
			}
			done <- result
		}()
	}
	a, b := <-done, <-done
	if a.Standby == b.Standby {
		t.Fatalf("one of two should stand by: %v, %v", a.Standby, b.Standby)
	}
	if step(t, one, false).Standby {
		one, two = two, one
		first = &tick.Table{Conn: h.conn, Holder: "two"}
	}
	h.put(t, calls[450:])
	if result := step(t, two, false); !result.Standby {
		t.Fatal("the second works beside the first")
	}
	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if result := step(t, two, true); result.Standby {
		t.Fatal("the second stands by though the first is gone")
	}
	equal(t, h.standing(t), h.scanned(t))
	h.once(t)
}

// once wants that no finding was written twice in one state.
func (h *house) once(t *testing.T) {
	t.Helper()
	var twice uint64
	if err := h.conn.QueryRow(t.Context(), "SELECT count() FROM (SELECT id, body FROM "+table.Findings+" GROUP BY id, body HAVING count() > 1)").Scan(&twice); err != nil {
		t.Fatal(err)
	}
	if twice > 0 {
		t.Errorf("%d findings were written twice", twice)
	}
}

// TestLife: a finding opens, is suppressed, returns when that ends, is resolved
// when the catalogue allows what it is about, and reopens when it no longer does.
func TestLife(t *testing.T) {
	h := open(t, company(t))
	h.put(t, detectortest.Random(rand.New(rand.NewPCG(1, 1)), 600))
	one, _ := h.ticker("one")
	opened := step(t, one, false).Changes
	if len(opened) == 0 || opened[0].Kind != tick.Opened {
		t.Fatalf("nothing opened: %v", opened)
	}
	id := opened[0].Finding.ID
	only := func(kind tick.Kind, status schema.Status) {
		t.Helper()
		changes := step(t, one, false).Changes
		if len(changes) != 1 || changes[0].Kind != kind || changes[0].Finding.ID != id || changes[0].Finding.Status != status {
			t.Fatalf("want %s to be %s, got %v", id, kind, changes)
		}
	}
	suppress := func(until time.Time) {
		t.Helper()
		if err := tick.Suppress(t.Context(), h.conn, id, tick.Suppression{Reason: "known, ticket 17", Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	suppress(time.Now().Add(time.Hour))
	only(tick.Suppressed, schema.StatusSuppressed)
	if !strings.Contains(strings.Join(h.standing(t), "\n"), "known, ticket 17") {
		t.Error("the finding does not say why it is silent")
	}
	if n := one.Stats().Suppressed; n != 1 {
		t.Errorf("%d are counted as suppressed", n)
	}
	suppress(time.Now().Add(-time.Hour))
	only(tick.Reopened, schema.StatusOpen)
	equal(t, h.standing(t), h.scanned(t))

	known := h.cat
	h.cat = catalog.Empty()
	resolved := 0
	for _, change := range step(t, one, false).Changes {
		if change.Kind == tick.Resolved {
			resolved++
		}
	}
	if resolved == 0 {
		t.Error("without a catalogue nothing was resolved")
	}
	equal(t, h.standing(t), h.scanned(t))
	h.cat = known
	reopened := 0
	for _, change := range step(t, one, false).Changes {
		if change.Kind == tick.Reopened {
			reopened++
		}
	}
	if reopened != resolved {
		t.Errorf("%d were resolved, %d reopened", resolved, reopened)
	}
	equal(t, h.standing(t), h.scanned(t))
}

// TestBroken: a step that cannot write is done again.
func TestBroken(t *testing.T) {
	h := open(t, company(t))
	h.put(t, detectortest.Random(rand.New(rand.NewPCG(5, 1)), 400))
	one, store := h.ticker("one")
	write, failures := store.Write, 2
	store.Write = func(ctx context.Context, findings []schema.Finding, written time.Time) error {
		if failures--; failures >= 0 {
			return fmt.Errorf("the disk is full")
		}
		return write(ctx, findings, written)
	}
	for range 2 {
		if _, err := one.Tick(t.Context(), false); err == nil {
			t.Fatal("nobody says that nothing was written")
		}
	}
	step(t, one, false)
	equal(t, h.standing(t), h.scanned(t))
	if !bytes.Contains([]byte(fmt.Sprint(one.Stats())), []byte("opened")) {
		t.Error("nothing is counted")
	}
}

// TestScoresAreRankedTogether: eight credentials drift on one day, whose budget is
// five. Whichever of them a step judges, in the end those stand within the budget
// that a scan has there.
func TestScoresAreRankedTogether(t *testing.T) {
	cat := catalog.Empty()
	h := open(t, cat)
	one, _ := h.ticker("one")
	start := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	serial := 0
	call := func(who string, at time.Time, operation string) schema.Call {
		serial++
		c := schema.Call{Time: at, Source: schema.Source{Type: "test"}, Decision: schema.DecisionAllowed, Host: "api.test",
			Operation: operation, RouteSource: schema.RouteFromSource, Credential: schema.Credential{Kind: schema.KindAPIKey, ID: who}}
		c.ID = schema.CallID{byte(serial >> 8), byte(serial), 1}
		return c
	}
	var habit []schema.Call
	for n := range 8 {
		for day := range 28 {
			for _, operation := range []string{"api:Read", "api:List", "api:Put"} {
				habit = append(habit, call(fmt.Sprintf("key-%d", n), start.AddDate(0, 0, day).Add(time.Duration(n)*time.Minute), operation))
			}
		}
	}
	h.put(t, habit)
	step(t, one, false)
	day := start.AddDate(0, 0, 27).Add(5 * time.Hour)
	for n := range 8 {
		who := fmt.Sprintf("key-%d", n)
		var news []schema.Call
		for k := range 2 + n%3 {
			news = append(news, call(who, day.Add(time.Duration(k)*time.Minute), fmt.Sprintf("api:Own%d%d", n, k)))
		}
		h.put(t, news)
		if result := step(t, one, false); result.Full {
			t.Fatal("the step judged everything, so nothing had to be ranked together")
		}
	}
	equal(t, scores(h.standing(t)), scores(h.scanned(t)))
	within, over := 0, 0
	for _, line := range scores(h.standing(t)) {
		if strings.Contains(line, `"over_budget":true`) {
			over++
		} else {
			within++
		}
	}
	if within != 5 || over != 3 {
		t.Errorf("%d count and %d are over the budget, want 5 and 3", within, over)
	}
}

// scores are the lines of findings that are ranked.
func scores(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, `"score":{`) })
}
