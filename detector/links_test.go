package detector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// linked gives random calls what links them.
func linked(r *rand.Rand, n int) []schema.Call {
	calls := detectortest.Random(r, n)
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for i := range calls {
		c := &calls[i]
		c.TraceID, c.RequestID = pick("", "a", "b'\x00", fmt.Sprint("t", r.IntN(n/4))), pick("", "a", "r\\2")
		c.Workload = pick("", c.Workload, "web", "web-6d4cf56db6-x2x9z")
		c.UserAgent = pick("", "curl/8", "[aws-cli/1.18 Python/3]")
		c.Credential.Instance = pick("", "k1", "k2")
		c.Mints = pick("", "", "k1", "k'2", "beta2", "gamma")
		c.DurationUS = r.Uint64N(90_000)
		c.ActorChain = [][]string{nil, {"x", "y"}}[r.IntN(2)]
	}
	return calls
}

// TestLinksAgree holds what the store tells about links to what memory does.
func TestLinksAgree(t *testing.T) {
	s := newStores(t)
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 8))
		conn, calls := s.fill(t, catalog.Empty(), linked(r, 400), 37, 100)
		store, held := detector.Store(conn), memory.New(calls)
		whole := schema.Window{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)}
		var hashes []schema.PrincipalHash
		if err := held.Principals(context.Background(), whole, func(p *rule.Principal) error { hashes = append(hashes, p.Hash); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(hashes, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
		some := hashes[:len(hashes)/2]
		ops := []rule.Op{{Service: "nobody's", Operation: "GET /"}}
		for i := range calls {
			if op := (rule.Op{Service: calls[i].Service, Operation: calls[i].Operation}); len(ops) < 6 && !slices.Contains(ops, op) {
				ops = append(ops, op)
			}
		}
		for _, before := range []time.Time{whole.To, whole.From.AddDate(0, 0, 20), whole.From.AddDate(0, 0, 25).Add(17*time.Hour + 13*time.Second)} {
			got, want := seats(t, store, some, before), seats(t, held, some, before)
			if !slices.Equal(got, want) || len(want) == 0 {
				t.Fatalf("seats before %s:\n got %q\nwant %q", before, got, want)
			}
		}
		for _, hashes := range [][]schema.PrincipalHash{nil, hashes[:2]} {
			if got, want := crossings(t, store, hashes, whole), crossings(t, held, hashes, whole); !slices.Equal(got, want) || hashes == nil && len(want) == 0 {
				t.Fatalf("crossings:\n got %q\nwant %q", got, want)
			}
			for _, before := range []time.Time{whole.To, whole.From.AddDate(0, 0, 40).Add(5*time.Hour + time.Microsecond)} {
				got, want := lineages(t, store, hashes, before), lineages(t, held, hashes, before)
				if !slices.Equal(got, want) || len(want) == 0 {
					t.Fatalf("lineages before %v:\n got %q\nwant %q", before, got, want)
				}
			}
		}
		if got, want := chains(t, store, whole.To), chains(t, held, whole.To); !slices.Equal(got, want) || len(want) == 0 {
			t.Fatalf("chains:\n got %q\nwant %q", got, want)
		}
		part := schema.Window{From: whole.From.AddDate(0, 0, 3), To: whole.From.AddDate(0, 0, 40)}
		for i, q := range []detector.StepQuery{
			{Hashes: some}, {Workloads: []string{"", "web"}}, {Services: []string{"orders.test"}, Limit: 7},
			{Traces: []rule.TraceKey{{Trace: true, ID: "b'\x00"}, {ID: "a"}}}, {Traces: []rule.TraceKey{{ID: "r\\2"}}, Hashes: some},
			{Traces: []rule.TraceKey{{Trace: true, ID: "a"}}}, {Instances: []string{"k1"}}, {Minting: true}, {Minted: []string{"k'2"}}, {Limit: 3}, {Traced: true, Ops: ops},
			{Ops: ops, Limit: 3}, {Ops: ops[:2], Limit: 1},
		} {
			q.Window = part
			got, want := steps(t, store, q), steps(t, held, q)
			if !slices.Equal(got, want) {
				t.Fatalf("query %d:\n got %q\nwant %q", i, got, want)
			}
			if len(want) == 0 != q.Empty() {
				t.Errorf("query %d chose %d calls", i, len(want))
			}
		}
	}
}

func seats(t *testing.T, facts detector.Facts, hashes []schema.PrincipalHash, before time.Time) (list []string) {
	t.Helper()
	err := facts.Seats(context.Background(), hashes, before, func(s *rule.Seat) error { list = append(list, fmt.Sprintf("%+v", *s)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func steps(t *testing.T, facts detector.Facts, q detector.StepQuery) (list []string) {
	t.Helper()
	err := facts.Steps(context.Background(), q, func(s *rule.Step) error { list = append(list, fmt.Sprintf("%#v %v", *s, s.Time)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func lineages(t *testing.T, facts detector.Facts, hashes []schema.PrincipalHash, before time.Time) (list []string) {
	t.Helper()
	err := facts.Lineages(context.Background(), before, hashes, func(l *rule.Lineage) error { list = append(list, fmt.Sprintf("%#v", *l)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func chains(t *testing.T, facts detector.Facts, before time.Time) (list []string) {
	t.Helper()
	err := facts.Chains(context.Background(), before, func(c *rule.ChainLink) error { list = append(list, fmt.Sprintf("%#v", *c)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func crossings(t *testing.T, facts detector.Facts, hashes []schema.PrincipalHash, w schema.Window) (list []string) {
	t.Helper()
	err := facts.Crossings(context.Background(), w, hashes, func(c *rule.Crossing) error {
		list = append(list, fmt.Sprintf("%#v", *c))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}
