package tick_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestCatalogueSuppresses: what the catalogue silences is silent in a scan and in
// steps alike, ends with the time of the calls whoever makes them, is said when it
// has ended, and does not stand in the way of what the store silences.
func TestCatalogueSuppresses(t *testing.T) {
	plain := company(t)
	h := open(t, plain)
	calls := detectortest.Random(rand.New(rand.NewPCG(2, 6)), 500)
	slices.SortFunc(calls, func(a, b schema.Call) int { return a.Time.Compare(b.Time) })
	last := calls[len(calls)-1].Time
	h.put(t, calls)
	open := detectortest.Run(t, detector.Config{Catalog: plain, Conn: h.conn}).Findings
	var of string
	for _, f := range open {
		if f.Code == "D01" {
			of = f.Credential.ID
		}
	}
	if of == "" {
		t.Fatal("no D01: the test says nothing")
	}
	h.cat = silencing(t, of, last.Add(2*time.Second))
	ran := detectortest.Run(t, detector.Config{Catalog: h.cat, Conn: h.conn})
	silent := 0
	for i, f := range ran.Findings {
		if f.Code == "D01" && f.Credential.ID == of {
			silent++
			if f.Status != schema.StatusSuppressed || !strings.HasSuffix(f.Reasons[len(f.Reasons)-1], "UTC: the partner is asked") {
				t.Errorf("%s is %s: %q", f.ID, f.Status, f.Reasons)
			}
			detector.Unsuppress(&ran.Findings[i])
		}
	}
	if want := lines(t, open); !slices.Equal(lines(t, ran.Findings), want) {
		t.Error("but for that findings differ")
	}
	if ran.Summary.Suppressed != silent {
		t.Errorf("%d are suppressed, counted %d", silent, ran.Summary.Suppressed)
	}
	if notes := strings.Join(ran.Notes, "\n"); !strings.Contains(notes, "(over) ended at 2025-02-01 00:00:00 UTC and silences nothing") || strings.Contains(notes, "the partner") {
		t.Errorf("notes: %s", notes)
	}

	one, _ := h.ticker("one")
	step(t, one, false)
	equal(t, h.standing(t), h.scanned(t))
	if n := one.Stats().Suppressed; n != uint64(silent) {
		t.Errorf("%d are counted as suppressed, want %d", n, silent)
	}
	if result := step(t, one, false); len(result.Changes) > 0 {
		t.Errorf("nothing came in, and a step had changes: %v", result.Changes)
	}
	// Somebody else's call a moment later: the time is over.
	later := calls[slices.IndexFunc(calls, func(c schema.Call) bool { return c.Credential.ID != of && c.Credential.ID != "" })]
	later.ID[3]++
	later.Time = last.Add(3 * time.Second)
	h.put(t, []schema.Call{later})
	reopened := 0
	for _, change := range step(t, one, false).Changes {
		if change.Kind == tick.Reopened && change.Finding.Code == "D01" {
			reopened++
		}
	}
	if reopened != silent {
		t.Errorf("%d reopened, want %d", reopened, silent)
	}
	step(t, one, true)
	equal(t, h.standing(t), h.scanned(t))
}

// silencing is the company that does not want to hear of D01 of a credential.
func silencing(t *testing.T, credential string, until time.Time) *catalog.Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	text := detectortest.Company + fmt.Sprintf("suppressions:\n  - {detection: out-of-scope-access, credential: %q, reason: the partner is asked, until: %s}\n"+
		"  - {detection: D02, reason: over, until: 2025-01-31}\n", credential, until.UTC().Format(time.RFC3339Nano))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}
