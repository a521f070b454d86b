package recommend_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// TestOutage: while a collector is out for 30 of 90 days, another one still
// delivers calls of the service. The observed days are 60, and both the finding
// and the recommendation say so, whether the logs are declared complete or not.
func TestOutage(t *testing.T) {
	const services = `
services:
  - name: orders
    hosts: [orders.test]
    operations:
      - {operation: "GET /orders", scopes: [[read]]}
      - {operation: "POST /orders", scopes: [[write]]}
credentials:
  - {id: shop, match: [{id: shop}], owner: x, grants: [{scopes: [read, write]}]}
`
	const daily = `{"at":"2026-01-01T10:00:00Z","every":"24h","times":90,"as":"oauth_client/shop","do":"GET orders.test/orders"}`
	first := schema.DayOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, test := range []struct {
		name, catalogue, kind, hole string
		from                        schema.Day
	}{
		{"nothing declared, in the midst", services, "test", "1000 units of test logs were lost between 2026-01-31 and 2026-03-01: spool_full", first + 30},
		{"declared complete, at the beginning", services + "sources: [{name: edge, complete: true, sample: 1.0}]\n", "kafka",
			"1000 units of kafka logs were lost between 2026-01-01 and 2026-01-30: spool_full", first},
	} {
		t.Run(test.name, func(t *testing.T) {
			cat := load(t, test.catalogue)
			facts := memory.New(detectortest.Calls(t, cat, []byte(daily)))
			facts.Lost = []rule.Loss{{SourceType: test.kind, Reason: schema.Lost + "spool_full", Units: 1000, Calls: 90, From: test.from, To: test.from + 29}}
			cfg := detector.Config{Catalog: cat, Facts: facts, Window: schema.Window{From: first.Start(), To: (first + 90).Start()}}
			found := false
			for _, f := range detectortest.Run(t, cfg).Findings {
				if f.Code != rule.UnusedScope || f.Scope != "write" {
					continue
				}
				found = true
				if c := f.Evidence.Coverage; c.Days != 90 || c.DaysSeen != 60 || !strings.Contains(strings.Join(c.Holes, "\n"), test.hole) {
					t.Errorf("coverage %+v", c)
				}
				if !strings.Contains(f.Title, "60 observed days") {
					t.Errorf("the finding says %q", f.Title)
				}
			}
			if !found {
				t.Error("no finding")
			}
			all, err := recommend.New(cfg).All(context.Background())
			if err != nil || len(all) != 1 || len(all[0].Remove) != 1 {
				t.Fatalf("%+v: %v", all, err)
			}
			if r := all[0].Remove[0]; r.DaysObserved != 60 || !strings.Contains(r.Why, "60 observed days") {
				t.Errorf("the recommendation says %+v", r)
			}
		})
	}
}
