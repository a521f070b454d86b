package direct_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestPutStored: what was put so is there and confirmed when it returns, with
// all that was put before it, and the counts can be read meanwhile.
func TestPutStored(t *testing.T) {
	conn := store(t)
	p := direct.New(direct.Config{Conn: conn, Run: "follow"})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	batch := func(from, n int) *schema.Batch {
		return &schema.Batch{Input: schema.Input{Name: "edge.log"}, FirstUnit: uint64(from), NextUnit: uint64(from + n), Calls: callsOf(from, n)}
	}
	if err := p.Put(t.Context(), batch(0, 10)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 4; i++ {
		if err := p.PutStored(t.Context(), batch(i*10, 10)); err != nil {
			t.Fatal(err)
		}
		want := uint64(i+1) * 10
		if n := one(t, conn, "SELECT count() FROM calls"); n != want {
			t.Errorf("%d calls are stored, want %d", n, want)
		}
		if n := one(t, conn, "SELECT sum(calls) FROM ledger WHERE state = 'confirmed'"); n != want {
			t.Errorf("%d calls are confirmed, want %d", n, want)
		}
		if got := p.Stats().Calls; got != want {
			t.Errorf("counted %d calls, want %d", got, want)
		}
	}
	// An empty range is accounted for as well.
	if err := p.PutStored(t.Context(), &schema.Batch{Input: schema.Input{Name: "edge.log"}, FirstUnit: 40, NextUnit: 41, Skipped: map[string]uint64{"bad": 1}}); err != nil {
		t.Fatal(err)
	}
	if n := one(t, conn, "SELECT max(next_unit) FROM ledger WHERE state = 'confirmed'"); n != 41 {
		t.Errorf("confirmed up to unit %d, want 41", n)
	}
	if _, err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.PutStored(t.Context(), batch(50, 1)); err == nil {
		t.Error("a closed pipeline takes calls")
	}
}

// TestCatalogueTakesAnothersPlace: a batch is enriched by the catalogue in force
// when it comes.
func TestCatalogueTakesAnothersPlace(t *testing.T) {
	load := func(text string) *catalog.Catalog {
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
	var current atomic.Pointer[catalog.Catalog]
	conn := store(t)
	p := direct.New(direct.Config{Conn: conn, Run: "swap", Current: current.Load})
	current.Store(load("services: [{name: one, hosts: [api.example.com]}]\n"))
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(id byte) {
		t.Helper()
		call := schema.Call{Time: start.Add(time.Duration(id) * time.Second), ID: schema.CallID{1, id}, Host: "api.example.com", Method: "GET", Path: "/x"}
		if err := p.PutStored(t.Context(), &schema.Batch{Input: schema.Input{Name: "a"}, FirstUnit: uint64(id), NextUnit: uint64(id) + 1, Calls: []schema.Call{call}}); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	current.Store(load("services: [{name: two, hosts: [api.example.com]}]\n"))
	put(1)
	if _, err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"one", "two"} {
		if n := one(t, conn, "SELECT count() FROM calls WHERE service = '"+service+"'"); n != 1 {
			t.Errorf("%d calls of service %s, want 1", n, service)
		}
	}
}
