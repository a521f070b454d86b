package detector_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestWhereAgrees holds what the store tells about from where and by whom calls
// came to what memory does.
func TestWhereAgrees(t *testing.T) {
	s := newStores(t)
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 6))
		raw := linked(r, 400)
		for i := range raw {
			if r.IntN(3) == 0 {
				raw[i].Credential.Kind = schema.KindRoleSession
			}
		}
		conn, calls := s.fill(t, catalog.Empty(), raw, 37, 100)
		store, held := detector.Store(conn), memory.New(calls)
		w := schema.Window{From: time.Date(2026, 1, 3, 4, 5, 6, 0, time.UTC), To: time.Date(2026, 2, 20, 1, 0, 0, 1000, time.UTC)}
		var hashes []schema.PrincipalHash
		if err := held.Principals(context.Background(), w, func(p *rule.Principal) error { hashes = append(hashes, p.Hash); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(hashes, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
		some := hashes[:2*len(hashes)/3]
		for name, ask := range map[string]func(f detector.Facts) []string{
			"arrivals": func(f detector.Facts) (list []string) {
				groups := map[string]bool{}
				last := ""
				err := f.Arrivals(context.Background(), w, some, func(v *rule.Arrival) error {
					if group := v.Hash.String() + "/" + v.Session; group != last {
						if groups[group] {
							t.Errorf("arrivals of %s do not follow each other", group)
						}
						groups[group], last = true, group
					}
					list = append(list, fmt.Sprintf("%+v", *v))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return list
			},
			"tenancies": func(f detector.Facts) (list []string) {
				err := f.Tenancies(context.Background(), w, []string{"10.0.0.1", "2001:db8::1", "192.0.2.99"}, func(one *rule.Tenancy) error {
					list = append(list, fmt.Sprintf("%+v", *one))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return list
			},
			"occupancies": func(f detector.Facts) (list []string) {
				err := f.Occupancies(context.Background(), w, occupied(raw), func(one *rule.Occupancy) error {
					list = append(list, fmt.Sprintf("%+v", *one))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return list
			},
			"tasks": func(f detector.Facts) (list []string) {
				err := f.Tasks(context.Background(), w, some, func(one *rule.Task) error { list = append(list, fmt.Sprintf("%+v", *one)); return nil })
				if err != nil {
					t.Fatal(err)
				}
				return list
			},
		} {
			got, want := ask(store), ask(held)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("%s of seed %d:\n got %q\nwant %q", name, seed, got, want)
			}
		}
	}
}

// occupied names two of the workloads of calls, without what tells replicas, and
// one that there is not.
func occupied(calls []schema.Call) []string {
	names := []string{"no-such-workload"}
	for i := range calls {
		name := rule.SeatName(calls[i].Workload, netip.Addr{}, "")
		if name != "" && !slices.Contains(names, name) && len(names) < 3 {
			names = append(names, name)
		}
	}
	return names
}
