package detector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestEvidenceOfAnySelectors compares the calls that selectors of every shape
// choose: found together, found apart, and in memory.
func TestEvidenceOfAnySelectors(t *testing.T) {
	s := newStores(t)
	r := rand.New(rand.NewPCG(11, 12))
	raw := detectortest.Random(r, 2000)
	conn, stored := s.fill(t, catalog.Empty(), raw, 100, 700)
	// Another process may have stored calls again.
	for range 3 {
		if err := conn.Exec(context.Background(), "INSERT INTO calls SELECT * FROM calls WHERE id < unhex('40000000000000000000000000000000') LIMIT 300"); err != nil {
			t.Fatal(err)
		}
	}
	wants := make([][]rule.Selector, 300)
	for i := range wants {
		for range r.IntN(4) {
			wants[i] = append(wants[i], selectorOf(r, stored))
		}
	}
	window := schema.Window{From: stored[0].Time.Add(-400 * 24 * time.Hour), To: stored[0].Time.Add(400 * 24 * time.Hour)}
	want := evidence(t, memory.New(stored), window, wants)
	found := 0
	for i := range want {
		found += len(want[i])
	}
	if found < 500 {
		t.Fatalf("only %d calls are chosen, so that this tests little", found)
	}
	for name, facts := range map[string]detector.Facts{"together": detector.Store(conn), "apart": detector.AskedApart(detector.Store(conn))} {
		got := evidence(t, facts, window, wants)
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s: selectors %+v choose\n%v, want\n%v", name, wants[i], got[i], want[i])
			}
		}
	}
}

// selectorOf makes a selector that chooses at least one of the calls, by some of
// its properties.
func selectorOf(r *rand.Rand, calls []schema.Call) rule.Selector {
	c := calls[r.IntN(len(calls))]
	sel := rule.Selector{Hash: c.Credential.Principal().Hash(), From: c.Time.Add(-time.Duration(r.IntN(40*24)) * time.Hour), To: c.Time.Add(time.Duration(r.IntN(40*24)) * time.Hour)}
	some := func() bool { return r.IntN(3) == 0 }
	if !some() {
		sel.Service = c.Service
		if !some() {
			sel.Operation = c.Operation
		}
	}
	if some() {
		sel.Tenant, sel.HasTenant = c.Tenant, true
	}
	if some() {
		sel.Decisions = []schema.Decision{c.Decision, schema.DecisionDenied}
	}
	sel.Certain = some() && c.Quality.Certain()
	if some() {
		sel.Object = c.Resource
		if sel.Object == "" {
			sel.Object = c.Path
		}
	}
	if some() {
		sel.Resource, sel.HasResource = c.Resource, true
	}
	if some() {
		sel.Session, sel.Workload, sel.Address, sel.HasOrigin = c.Credential.Session, c.Workload, c.ClientAddress.Unmap(), true
	}
	return sel
}

// evidence returns the times and ids of the chosen calls.
func evidence(t *testing.T, facts detector.Facts, w schema.Window, wants [][]rule.Selector) [][]string {
	t.Helper()
	chosen, err := facts.Calls(context.Background(), w, wants)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]string, len(wants))
	for i := range chosen {
		for _, c := range chosen[i] {
			out[i] = append(out[i], fmt.Sprint(c.Time.Format(schema.TimeFormat), c.ID, c.Operation, c.Credential.ID))
		}
		out[i] = slices.Clip(out[i])
	}
	return out
}
