package detector_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestInvestigationsAgree holds what is found out from the store to what is found
// out from memory, for every credential and some workloads.
func TestInvestigationsAgree(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "catalog.yaml"), detectortest.Company)
	cat, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newStores(t)
	for seed := range uint64(1) {
		r := rand.New(rand.NewPCG(seed, 11))
		conn, calls := s.fill(t, cat, linked(r, 600), 41, 100)
		held := memory.New(calls)
		names := map[string]bool{}
		whole := schema.Window{From: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
		if err := held.Principals(context.Background(), whole, func(p *rule.Principal) error { names[p.ID] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		for i := range calls {
			names["workload:"+calls[i].Workload] = true
			names["workload:"+calls[i].ClientAddress.String()] = i < 20
		}
		answered := 0
		all := sortedNames(names)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, name := range append(all[:min(len(all), 6)], "nobody", "workload:web") {
			for _, w := range []schema.Window{{}, {From: time.Date(2026, 1, 9, 0, 15, 0, 500, time.UTC), To: time.Date(2026, 1, 11, 0, 33, 20, 0, time.UTC)}} {
				want, wantErr := investigated(t, detector.Config{Catalog: cat, Facts: held, Window: w}, name)
				got, gotErr := investigated(t, detector.Config{Catalog: cat, Conn: conn, Window: w}, name)
				if wantErr != gotErr {
					t.Fatalf("%s: store says %q, memory %q", name, gotErr, wantErr)
				}
				same(t, got, want)
				if wantErr == "" {
					answered++
				}
			}
		}
		if answered < 6 {
			t.Errorf("only %d questions had an answer", answered)
		}
	}
}

func sortedNames(set map[string]bool) []string {
	var list []string
	for name, wanted := range set {
		if wanted && !strings.HasSuffix(name, ":") && name != "" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func investigated(t *testing.T, cfg detector.Config, name string) ([]byte, string) {
	t.Helper()
	q := investigate.Question{Name: name}
	if rest, ok := strings.CutPrefix(name, "workload:"); ok {
		q = investigate.Question{Kind: investigate.KindWorkload, Name: rest}
	}
	r, err := investigate.New(investigate.Config{Detector: cfg}).Investigate(context.Background(), q)
	if err != nil {
		return nil, err.Error()
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return text, ""
}
