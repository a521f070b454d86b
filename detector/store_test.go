package detector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// stores hands out empty databases of one engine.
type stores struct {
	engine *engine.Engine
	admin  driver.Conn
	n      int
}

func newStores(t *testing.T) *stores {
	t.Helper()
	e := enginetest.Start(t, engine.Config{})
	return &stores{engine: e, admin: enginetest.Connect(t, e)}
}

// fill makes a store of calls, in batches of the given size, and returns them
// as they were stored, too.
func (s *stores) fill(t *testing.T, cat *catalog.Catalog, calls []schema.Call, batch, block int) (driver.Conn, []schema.Call) {
	t.Helper()
	ctx := context.Background()
	s.n++
	name := fmt.Sprintf("case%d", s.n)
	if err := s.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(ctx, clickhouse.Target{Socket: s.engine.Socket(), Database: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		// An engine with the tables of all cases takes long to end.
		if err := s.admin.Exec(ctx, "DROP DATABASE "+name+" SYNC"); err != nil {
			t.Error(err)
		}
	})
	migrate := clickhouse.Migrate
	if s.n%2 == 0 {
		migrate = clickhouse.MigrateTemporary // which must say the same
	}
	if _, err := migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	var stored []schema.Call
	p := direct.New(direct.Config{Conn: conn, Catalog: cat, Run: "test", BlockRows: block, Stored: func(calls []schema.Call) error {
		stored = append(stored, calls...)
		return nil
	}})
	if err := p.Open(ctx); err != nil {
		t.Fatal(err)
	}
	unit := uint64(0)
	for part := range slices.Chunk(calls, batch) {
		part = slices.Clone(part)
		next := unit + uint64(len(part))
		err := p.Put(ctx, &schema.Batch{Input: schema.Input{Name: "calls.jsonl", Format: "test"}, FirstUnit: unit, NextUnit: next,
			Calls: part, Done: next == uint64(len(calls))})
		if err != nil {
			t.Fatal(err)
		}
		unit = next
	}
	if _, err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return conn, stored
}

// TestStoreAgreesWithMemory runs every case of the rules over the real store: it
// must say the same, byte for byte, as the calls held in memory.
func TestStoreAgreesWithMemory(t *testing.T) {
	s := newStores(t)
	paths, err := filepath.Glob("rule/testdata/*/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c := detectortest.Read(t, path)
			want := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}).JSON(t)
			// Several batches and blocks, but not hundreds: habits take many calls.
			conn, _ := s.fill(t, c.Catalog, c.Calls, max(7, len(c.Calls)/8), max(13, len(c.Calls)/5))
			got := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Conn: conn, Window: c.Window}).JSON(t)
			same(t, got, want)
		})
	}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			t.Fatalf("line %d differs:\n got %s\nwant %s\ncontext:\n%s", i+1, g[i], w[i], bytes.Join(w[max(0, i-12):i], []byte("\n")))
		}
	}
	t.Fatalf("one has %d lines, the other %d", len(g), len(w))
}

// TestLaws attacks the promise that findings are a pure function of calls and
// catalogue: the same calls in other orders and batches, partly twice, in
// memory and in the store, must give the same bytes.
func TestLaws(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "catalog.yaml"), detectortest.Company)
	cat, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newStores(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			raw := detectortest.Random(r, []int{40, 300, 1200}[seed%3])
			windows := []schema.Window{{}, {From: time.Date(2026, 1, 9, 0, 15, 0, 500, time.UTC), To: time.Date(2026, 2, 20, 0, 33, 20, 0, time.UTC)}}
			conn, stored := s.fill(t, cat, raw, 100, 1000)
			for _, w := range windows {
				want := detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(stored), Window: w, MinDays: 10})
				text := want.JSON(t)
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Conn: conn, Window: w, MinDays: 10}).JSON(t), text)
				r.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(stored), Window: w, MinDays: 10}).JSON(t), text)
				codes := map[string]int{}
				for i := range want.Findings {
					codes[want.Findings[i].Code]++
				}
				t.Log(codes)
			}
			again := slices.Concat(raw, raw[:len(raw)/3])
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			other, _ := s.fill(t, cat, again, 1+r.IntN(50), len(raw)/8+r.IntN(200))
			for _, w := range windows {
				want := detectortest.Run(t, detector.Config{Catalog: cat, Conn: conn, Window: w, MinDays: 10}).JSON(t)
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Conn: other, Window: w, MinDays: 10}).JSON(t), want)
			}
		})
	}
}

// TestRecommendationsAgree holds the recommendations from the store to those
// from memory.
func TestRecommendationsAgree(t *testing.T) {
	s := newStores(t)
	text := func(cat *catalog.Catalog, cfg detector.Config) []byte {
		cfg.Catalog, cfg.MinDays = cat, 10
		all, err := recommend.New(cfg).All(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	paths, err := filepath.Glob("recommend/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		c := detectortest.Read(t, path)
		conn, _ := s.fill(t, c.Catalog, c.Calls, 50, 500)
		same(t, text(c.Catalog, detector.Config{Conn: conn}), text(c.Catalog, detector.Config{Facts: memory.New(c.Calls)}))
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "catalog.yaml"), detectortest.Company)
	cat, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn, stored := s.fill(t, cat, detectortest.Random(rand.New(rand.NewPCG(5, 5)), 1500), 100, 1000)
	same(t, text(cat, detector.Config{Conn: conn}), text(cat, detector.Config{Facts: memory.New(stored)}))
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
