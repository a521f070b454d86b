// Package memory holds calls in memory and answers the detector's questions
// about them.
//
// What you want: [New] with calls, and the result as detector.Config.Facts. It
// promises the same answers as the store, written as plainly as possible: each
// question looks at every call. That is what makes it the reference in tests,
// and useless for more than some ten thousand calls.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Facts is calls in memory.
type Facts struct {
	calls []call
	// Unread are the sentences that Incomplete returns, Lost is what Losses
	// does.
	Unread []string
	Lost   []rule.Loss
}

// call is a call with the keys it is folded by.
type call struct {
	schema.Call
	hash      schema.PrincipalHash
	presented schema.PresentedHash
}

var _ detector.Facts = (*Facts)(nil)

// New takes enriched calls, in any order; of those with equal ids the first
// counts. Times are cut to microseconds, as the store does.
func New(calls []schema.Call) *Facts {
	f := &Facts{}
	seen := map[schema.CallID]bool{}
	names := map[string]schema.PresentedHash{}
	for _, c := range calls {
		if seen[c.ID] {
			continue
		}
		seen[c.ID] = true
		c.Time = c.Time.UTC().Truncate(time.Microsecond)
		one := call{Call: c, hash: c.Credential.Principal().Hash()}
		key := presentedKey(&c)
		if _, ok := names[key]; !ok {
			n := len(names) + 1
			names[key] = schema.PresentedHash{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		}
		one.presented = names[key]
		f.calls = append(f.calls, one)
	}
	slices.SortFunc(f.calls, func(a, b call) int { return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:])) })
	return f
}

func presentedKey(c *schema.Call) string {
	scopes, groups := slices.Clone(c.Scopes), slices.Clone(c.Credential.Groups)
	slices.Sort(scopes)
	slices.Sort(groups)
	known := "-"
	if c.Scopes != nil {
		known = "+"
	}
	return known + strings.Join(slices.Compact(scopes), "\x00") + "\x01" + strings.Join(slices.Compact(groups), "\x00")
}

// Span returns the times of the first and last call.
func (f *Facts) Span(context.Context) (first, last time.Time, err error) {
	if len(f.calls) == 0 {
		return first, last, nil
	}
	return f.calls[0].Time, f.calls[len(f.calls)-1].Time, nil
}

// Principals lists the principals whose calls overlap the window.
func (f *Facts) Principals(_ context.Context, w schema.Window, each func(*rule.Principal) error) error {
	found := map[schema.PrincipalHash]*rule.Principal{}
	for i := range f.calls {
		c := &f.calls[i]
		p := found[c.hash]
		if p == nil {
			p = &rule.Principal{Principal: c.Credential.Principal(), Hash: c.hash, First: c.Time}
			found[c.hash] = p
		}
		p.Last = c.Time
	}
	for _, p := range found {
		if p.First.Before(w.To) && !p.Last.Before(w.From) {
			if err := each(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// SourceDays lists which logs held which services on which days.
func (f *Facts) SourceDays(context.Context) ([]rule.SourceDay, error) {
	seen := map[rule.SourceDay]int{}
	var days []rule.SourceDay
	for i := range f.calls {
		c := &f.calls[i]
		d := rule.SourceDay{SourceType: c.Source.Type, Service: c.Service, Day: schema.DayOf(c.Time)}
		at, ok := seen[d]
		if !ok {
			at = len(days)
			seen[d] = at
			days = append(days, d)
		}
		days[at].Calls++
	}
	return days, nil
}

// Incomplete returns Unread.
func (f *Facts) Incomplete(context.Context) ([]string, error) { return f.Unread, nil }

// Losses returns Lost.
func (f *Facts) Losses(context.Context) ([]rule.Loss, error) { return f.Lost, nil }

// folded is a row in the making, with the object it is split by.
type folded struct {
	key      rule.RowKey
	resource string
}

// fold folds the calls that keep chooses.
func (f *Facts) fold(q detector.RowQuery, byResource bool, keep func(rule.RowKey) bool) (order []folded, rows map[folded]*rule.Row) {
	rows = map[folded]*rule.Row{}
	for i := range f.calls {
		c := &f.calls[i]
		if !q.Window.Contains(c.Time) || !slices.Contains(q.Hashes, c.hash) ||
			len(q.Origins) > 0 && slices.ContainsFunc(q.Origins, c.from) != q.Only {
			continue
		}
		key := folded{key: rule.RowKey{
			Hash: c.hash, Service: c.Service, Operation: c.Operation, Tenant: c.Tenant, Decision: c.Decision, Reporter: c.Reporter,
			RouteSource: c.RouteSource, Certain: c.Quality.Certain(), Presented: c.presented,
		}}
		for _, cut := range q.Cuts {
			if !c.Time.Before(cut) {
				key.key.Segment++
			}
		}
		if !keep(key.key) {
			continue
		}
		if byResource {
			key.resource = c.Resource
		}
		row := rows[key]
		if row == nil {
			row = newRow(c, key.key.Segment)
			rows[key] = row
			order = append(order, key)
		}
		row.Last = c.Time
		row.Calls++
		if d := schema.DayOf(c.Time); len(row.Days) == 0 || row.Days[len(row.Days)-1] != d {
			row.Days = append(row.Days, d)
		}
	}
	slices.SortStableFunc(order, func(a, b folded) int {
		return cmp.Or(bytes.Compare(a.key.Hash[:], b.key.Hash[:]), cmp.Compare(a.key.Service, b.key.Service),
			cmp.Compare(a.key.Operation, b.key.Operation), cmp.Compare(a.key.Tenant, b.key.Tenant))
	})
	return order, rows
}

// from reports whether the call came from an origin.
func (c *call) from(o rule.Origin) bool {
	return o.Hash == c.hash && o.Session == c.Credential.Session && o.Workload == c.Workload && o.Address == c.address()
}

func newRow(c *call, segment int) *rule.Row {
	return &rule.Row{Hash: c.hash, Presented: c.presented, Segment: segment, Use: schema.Use{
		Principal: c.Credential.Principal(), Service: c.Service, Operation: c.Operation, Tenant: c.Tenant, Decision: c.Decision,
		Reporter: c.Reporter, RouteSource: c.RouteSource, Certain: c.Quality.Certain(), Scopes: sorted(c.Scopes),
		Groups: sorted(c.Credential.Groups), First: c.Time,
	}}
}

// sorted keeps nil apart from empty.
func sorted(names []string) []string {
	if names == nil {
		return nil
	}
	names = append([]string{}, names...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Rows folds calls.
func (f *Facts) Rows(_ context.Context, q detector.RowQuery, each func(*rule.Row) error) error {
	order, rows := f.fold(q, false, func(rule.RowKey) bool { return true })
	for _, key := range order {
		if err := each(rows[key]); err != nil {
			return err
		}
	}
	return nil
}

// Objects splits rows by concrete object.
func (f *Facts) Objects(_ context.Context, q detector.ObjectQuery, each func(*rule.Row, string) error) error {
	wanted := map[rule.RowKey]bool{}
	for i := range q.Rows {
		wanted[q.Rows[i].Key()] = true
	}
	order, rows := f.fold(q.RowQuery, true, func(k rule.RowKey) bool { return wanted[k] })
	for _, key := range order {
		if err := each(rows[key], key.resource); err != nil {
			return err
		}
	}
	return nil
}

// History lists what was called before a time.
func (f *Facts) History(_ context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.History) error) error {
	seen := map[rule.History]bool{}
	for i := range f.calls {
		c := &f.calls[i]
		if !c.Time.Before(before) || c.Decision == schema.DecisionUnauthenticated || !slices.Contains(hashes, c.hash) {
			continue
		}
		h := rule.History{Hash: c.hash, Service: c.Service, Operation: c.Operation, RouteSource: c.RouteSource}
		if seen[h] {
			continue
		}
		seen[h] = true
		h.First = c.Time
		if err := each(&h); err != nil {
			return err
		}
	}
	return nil
}

// Reversals lists runs of denials that ended in success.
func (f *Facts) Reversals(_ context.Context, w schema.Window, keys []rule.ReversalKey, each func(*rule.Reversal) error) error {
	var calls []*call
	for i := range f.calls {
		c := &f.calls[i]
		decided := c.Decision == schema.DecisionAllowed || c.Decision == schema.DecisionDenied
		if decided && c.Quality.Certain() && w.Contains(c.Time) && slices.Contains(keys, reversalKey(c)) {
			calls = append(calls, c)
		}
	}
	slices.SortStableFunc(calls, func(a, b *call) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), a.Time.Compare(b.Time), cmp.Compare(a.Decision, b.Decision),
			slices.Compare(sorted(a.Scopes), sorted(b.Scopes)))
	})
	var runs rule.Runs
	for _, c := range calls {
		v, ended := runs.Add(&rule.Answer{
			ReversalKey: reversalKey(c), Object: cmp.Or(c.Resource, c.Path), Resource: c.Resource, RouteSource: c.RouteSource,
			Time: c.Time, Denied: c.Decision == schema.DecisionDenied, Scopes: sorted(c.Scopes), Groups: sorted(c.Credential.Groups),
		})
		if ended {
			if err := each(&v); err != nil {
				return err
			}
		}
	}
	return nil
}

func reversalKey(c *call) rule.ReversalKey {
	return rule.ReversalKey{Hash: c.hash, Service: c.Service, Operation: c.Operation, Tenant: c.Tenant}
}

// Origins lists where accepted calls came from.
func (f *Facts) Origins(_ context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Origin) error) error {
	type key struct {
		hash              schema.PrincipalHash
		session, workload string
		address           netip.Addr
		reporter          schema.Reporter
	}
	found := map[key]*rule.Origin{}
	for i := range f.calls {
		c := &f.calls[i]
		if !c.Decision.Accepted() {
			continue
		}
		if !w.Contains(c.Time) || !slices.Contains(hashes, c.hash) {
			continue
		}
		k := key{c.hash, c.Credential.Session, c.Workload, c.address(), c.Reporter}
		o := found[k]
		if o == nil {
			o = &rule.Origin{Hash: k.hash, Session: k.session, Address: k.address, Workload: k.workload, Reporter: k.reporter, First: c.Time}
			found[k] = o
		}
		o.Last = c.Time
		o.Calls++
	}
	for _, o := range found {
		if err := each(o); err != nil {
			return err
		}
	}
	return nil
}

// Calls chooses evidence.
func (f *Facts) Calls(_ context.Context, w schema.Window, wants [][]rule.Selector) ([][]schema.Call, error) {
	out := make([][]schema.Call, len(wants))
	for i, selectors := range wants {
		for k := range f.calls { // in order of time and id
			c := &f.calls[k]
			if len(out[i]) == rule.MaxEvidence {
				break
			}
			if w.Contains(c.Time) && slices.ContainsFunc(selectors, func(s rule.Selector) bool { return chooses(&s, c) }) {
				out[i] = append(out[i], c.Call)
			}
		}
	}
	return out, nil
}

func chooses(s *rule.Selector, c *call) bool {
	return s.Hash == c.hash &&
		(s.Service == "" || s.Service == c.Service) &&
		(s.Operation == "" || s.Operation == c.Operation) &&
		(!s.HasTenant || s.Tenant == c.Tenant) &&
		(len(s.Decisions) == 0 || slices.Contains(s.Decisions, c.Decision)) &&
		(!s.Certain || c.Quality.Certain()) &&
		(!s.HasPresented || s.Presented == c.presented) &&
		(s.Object == "" || s.Object == cmp.Or(c.Resource, c.Path)) &&
		(!s.HasResource || s.Resource == c.Resource) &&
		(!s.HasOrigin || s.Session == c.Credential.Session && s.Workload == c.Workload && s.Address == c.address()) &&
		!c.Time.Before(s.From) && !c.Time.After(s.To)
}
