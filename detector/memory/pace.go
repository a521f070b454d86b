package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// paced reports whether a call counts for paces.
func (c *call) paced() bool {
	return c.Decision == schema.DecisionAllowed || c.Decision == schema.DecisionNoEffect || c.Decision == schema.DecisionDenied
}

// cell is an hour of a pace.
type cell struct {
	key      rule.VisitKey
	reporter schema.Reporter
}

type filled struct {
	calls, missed uint64
	objects       map[string]bool
}

// cells folds the calls of whole hours of a window.
func (f *Facts) cells(w schema.Window, byReporter bool, keep func(*call) bool) map[cell]*filled {
	from, to := w.From.UTC().Truncate(time.Hour), w.To.UTC().Truncate(time.Hour)
	if from.Before(w.From) {
		from = from.Add(time.Hour)
	}
	out := map[cell]*filled{}
	for i := range f.calls {
		c := &f.calls[i]
		if c.Time.Before(from) || !c.Time.Before(to) || !c.paced() || !keep(c) {
			continue
		}
		k := cell{key: rule.VisitKey{Hash: c.hash, Service: c.Service, Operation: c.Operation, Hour: c.Time.Truncate(time.Hour)}}
		if byReporter {
			k.reporter = c.Reporter
		}
		one := out[k]
		if one == nil {
			one = &filled{objects: map[string]bool{}}
			out[k] = one
		}
		one.calls++
		if c.Decision != schema.DecisionAllowed {
			one.missed++
		}
		one.objects[cmp.Or(c.Resource, c.Path)] = true
	}
	return out
}

// Paces folds calls by hour.
func (f *Facts) Paces(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, least uint64, each func(*rule.Pace) error) error {
	cells := f.cells(w, true, func(c *call) bool { return slices.Contains(hashes, c.hash) })
	best := map[rule.VisitKey]schema.Reporter{}
	for k := range cells {
		if r, ok := best[k.key]; !ok || k.reporter < r {
			best[k.key] = k.reporter
		}
	}
	type pair struct {
		hash schema.PrincipalHash
		op   rule.Op
	}
	paces := map[pair]*rule.Pace{}
	for key, reporter := range best {
		one := cells[cell{key, reporter}]
		at := pair{key.Hash, rule.Op{Service: key.Service, Operation: key.Operation}}
		if paces[at] == nil {
			paces[at] = &rule.Pace{Hash: key.Hash, Service: key.Service, Operation: key.Operation}
		}
		paces[at].Hours = append(paces[at].Hours, rule.PaceHour{Start: key.Hour, Calls: one.calls, Missed: one.missed, Objects: uint64(len(one.objects))})
	}
	for _, p := range paces {
		if !slices.ContainsFunc(p.Hours, func(h rule.PaceHour) bool { return h.Calls >= least }) {
			continue
		}
		slices.SortFunc(p.Hours, func(a, b rule.PaceHour) int { return a.Start.Compare(b.Start) })
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// Visits lists the calls of some hours.
func (f *Facts) Visits(_ context.Context, keys []rule.VisitKey, each func(*rule.Visit) error) error {
	var list []rule.Visit
	for i := range f.calls {
		c := &f.calls[i]
		key := rule.VisitKey{Hash: c.hash, Service: c.Service, Operation: c.Operation, Hour: c.Time.Truncate(time.Hour)}
		if c.paced() && slices.Contains(keys, key) {
			list = append(list, rule.Visit{VisitKey: key, Time: c.Time, Object: cmp.Or(c.Resource, c.Path), Missed: c.Decision != schema.DecisionAllowed})
		}
	}
	missed := map[bool]int{true: 1}
	slices.SortStableFunc(list, func(a, b rule.Visit) int {
		return cmp.Or(bytes.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation),
			a.Time.Compare(b.Time), cmp.Compare(a.Object, b.Object), cmp.Compare(missed[a.Missed], missed[b.Missed]))
	})
	for i := range list {
		if err := each(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// RouteNorms says what operations are used for.
func (f *Facts) RouteNorms(_ context.Context, w schema.Window, keys []rule.NormKey, each func(*rule.RouteNorm) error) error {
	for _, key := range keys {
		cells := f.cells(w, false, func(c *call) bool {
			return c.Service == key.Service && c.Operation == key.Operation && c.hash != key.Hash
		})
		if len(cells) == 0 {
			continue
		}
		var objects []uint64
		who := map[schema.PrincipalHash]bool{}
		for k, one := range cells {
			objects = append(objects, uint64(len(one.objects)))
			who[k.key.Hash] = true
		}
		slices.Sort(objects)
		at := min(len(objects)-1, int(0.995*float64(len(objects))))
		if err := each(&rule.RouteNorm{NormKey: key, Most: objects[at], Principals: uint64(len(who)), Hours: uint64(len(objects))}); err != nil {
			return err
		}
	}
	return nil
}

// Surges says who else was busy.
func (f *Facts) Surges(_ context.Context, w schema.Window, keys []rule.SurgeKey, each func(*rule.Surge) error) error {
	for _, key := range keys {
		type hourOf struct {
			hash schema.PrincipalHash
			hour time.Time
		}
		byReporter := map[hourOf]map[schema.Reporter]uint64{}
		for k, one := range f.cells(w, true, func(c *call) bool { return c.Service == key.Service }) {
			at := hourOf{k.key.Hash, k.key.Hour}
			if byReporter[at] == nil {
				byReporter[at] = map[schema.Reporter]uint64{}
			}
			byReporter[at][k.reporter] += one.calls
		}
		type sums struct{ a, rest, others uint64 }
		all := map[schema.PrincipalHash]*sums{}
		for at, list := range byReporter {
			var n uint64
			for _, one := range list {
				n = max(n, one)
			}
			if all[at.hash] == nil {
				all[at.hash] = &sums{}
			}
			if at.hour.Equal(key.Hour) {
				all[at.hash].a = n
			} else {
				all[at.hash].rest += n
				all[at.hash].others++
			}
		}
		surge := rule.Surge{SurgeKey: key}
		for _, one := range all {
			if one.a == 0 {
				continue
			}
			surge.Active++
			if one.others == 0 || one.a*one.others >= 3*one.rest {
				surge.Raised++
			}
		}
		if err := each(&surge); err != nil {
			return err
		}
	}
	return nil
}
