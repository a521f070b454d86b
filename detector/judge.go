package detector

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Bounds of one question to the store. Subjects are taken together until one of
// them is reached; a subject with more principals than that is asked about in
// several questions.
const (
	maxHashes = 512
	maxCuts   = 64
)

// chunk is subjects that are judged together.
type chunk struct {
	work   []*subjectWork
	byHash map[schema.PrincipalHash]*subjectWork
	hashes []schema.PrincipalHash
	cuts   []time.Time
}

// subjectWork is one subject and the rules at work on it.
type subjectWork struct {
	subject *rule.Subject
	set     *rule.Set
	uses    counter
	open    []rule.Row
	// kept are the judged uses, if they are wanted.
	kept []rule.Use
}

// together is how many chunks are judged at a time: while the store works for one,
// the rules work on another.
const together = 2

// judgeAll runs the rules over all subjects, some at a time. Rules share what they
// know, so only one chunk is at work on them; the store lets go of the lock while it
// is waited for. Which chunk is done first changes no finding.
func (r *run) judgeAll(ctx context.Context, progress func(done, total int)) error {
	var rules sync.Mutex
	if s, ok := r.facts.(*store); ok {
		s.rules = &rules
		defer func() { s.rules = nil }()
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	done := 0
	for _, c := range r.chunks() {
		group.Go(func() error {
			rules.Lock()
			defer rules.Unlock()
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.judge(ctx, c); err != nil {
				return fmt.Errorf("judge the use of credentials: %w", err)
			}
			if done += len(c.work); progress != nil {
				progress(done, len(r.subjects))
			}
			return nil
		})
	}
	return group.Wait()
}

// chunks groups the subjects: those whose grants begin and end at the same
// times together, since each such time splits the folds of its whole chunk, and
// then those whose principals lie together in the store, which is sorted by
// their hash. How they are grouped changes what a question costs, never a
// finding.
func (r *run) chunks() []*chunk {
	type planned struct {
		subject *rule.Subject
		cuts    []time.Time
	}
	plan := make([]planned, len(r.subjects))
	for i, s := range r.subjects {
		plan[i] = planned{s, mergeCuts(cuts(s, r.env.Catalog, r.window), r.cuts)}
	}
	slices.SortStableFunc(plan, func(a, b planned) int {
		if c := slices.CompareFunc(a.cuts, b.cuts, time.Time.Compare); c != 0 {
			return c
		}
		x, y := lowest(a.subject), lowest(b.subject)
		return slices.Compare(x[:], y[:])
	})
	var list []*chunk
	var current *chunk
	for _, p := range plan {
		if current == nil || len(current.hashes)+len(p.subject.Principals) > maxHashes || len(mergeCuts(current.cuts, p.cuts)) > maxCuts {
			current = &chunk{byHash: map[schema.PrincipalHash]*subjectWork{}}
			list = append(list, current)
		}
		w := &subjectWork{subject: p.subject}
		current.work = append(current.work, w)
		current.cuts = mergeCuts(current.cuts, p.cuts)
		for i := range p.subject.Principals {
			hash := p.subject.Principals[i].Hash
			current.byHash[hash] = w
			current.hashes = append(current.hashes, hash)
		}
	}
	return list
}

// lowest returns the first of a subject's hashes; they are sorted.
func lowest(s *rule.Subject) (h schema.PrincipalHash) {
	if len(s.Principals) > 0 {
		h = s.Principals[0].Hash
	}
	return h
}

func mergeCuts(a, b []time.Time) []time.Time {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

// judge runs the rules over one chunk: first the folded use, then the single
// calls that some rules must see.
func (r *run) judge(ctx context.Context, c *chunk) error {
	for _, w := range c.work {
		w.set = rule.New(r.env, w.subject)
	}
	for hashes := range slices.Chunk(c.hashes, maxHashes) {
		q := RowQuery{Window: r.folded, Hashes: hashes, Cuts: c.cuts}
		if err := r.facts.Rows(ctx, q, func(row *rule.Row) error { r.row(c.byHash[row.Hash], row); return nil }); err != nil {
			return err
		}
		if err := r.objects(ctx, c, q); err != nil {
			return err
		}
	}
	if err := r.habits(ctx, c); err != nil {
		return err
	}
	if err := r.woken(ctx, c); err != nil {
		return err
	}
	if err := r.paces(ctx, c); err != nil {
		return err
	}
	if err := r.weak(ctx, c); err != nil {
		return err
	}
	if err := r.history(ctx, c); err != nil {
		return err
	}
	if err := r.reversals(ctx, c); err != nil {
		return err
	}
	if err := r.origins(ctx, c); err != nil {
		return err
	}
	if err := r.where(ctx, c); err != nil {
		return err
	}
	for _, w := range c.work {
		result := w.set.Finish()
		if r.each != nil {
			if err := r.each(r.judged(c, w, result)); err != nil {
				return err
			}
		}
		r.drafts = append(r.drafts, result.Drafts...)
		r.withheld.add(result.Withheld)
		for i := range result.Drafts {
			if result.Drafts[i].Finding.Code == rule.UnusedScope {
				r.summary.Uses[schema.VerdictDormant.String()]++
			}
		}
		*w = subjectWork{} // the chunk is kept by the caller's loop, its memory need not be
	}
	return nil
}

// row judges one row and hands it to the rules, unless it must be split by
// concrete object first.
func (r *run) row(w *subjectWork, row *rule.Row) {
	r.summary.Calls += row.Calls
	w.set.Row(row)
	request := w.set.Request(row)
	j := r.env.Compare.Judge(&request)
	if j.NeedsResource && (row.Decision.Authorised() || row.Decision == schema.DecisionError) {
		kept := *row
		kept.Days = nil
		w.open = append(w.open, kept)
		return
	}
	r.use(w, &rule.Use{Row: *row, Judgement: j})
}

// use completes a judged use and hands it to the rules.
func (r *run) use(w *subjectWork, u *rule.Use) {
	u.Verdict = compare.VerdictOf(u.Decision, u.Certain, u.Judgement.Holding)
	w.uses.add(&r.summary, u, r.env.Catalog.ServiceNamed(u.Service) != nil)
	w.set.Use(u)
	if r.each != nil {
		w.kept = append(w.kept, *u)
	}
}

// objects judges the rows again whose judgement depends on the concrete object.
func (r *run) objects(ctx context.Context, c *chunk, q RowQuery) error {
	var rows []rule.Row
	for _, w := range c.work {
		rows = append(rows, w.open...)
		w.open = nil
	}
	slices.SortFunc(rows, func(a, b rule.Row) int {
		return cmp.Or(slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	for part := range slices.Chunk(rows, maxHashes) {
		err := r.facts.Objects(ctx, ObjectQuery{RowQuery: q, Rows: part}, func(row *rule.Row, resource string) error {
			w := c.byHash[row.Hash]
			request := w.set.Request(row)
			request.Resource, request.ResourceKnown = resource, true
			r.use(w, &rule.Use{Row: *row, Resource: resource, ResourceKnown: true, Judgement: r.env.Compare.Judge(&request)})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hashesOf returns the principals of the subjects chosen.
func (c *chunk) hashesOf(choose func(*rule.Set) bool) []schema.PrincipalHash {
	var hashes []schema.PrincipalHash
	for _, w := range c.work {
		if !choose(w.set) {
			continue
		}
		for i := range w.subject.Principals {
			hashes = append(hashes, w.subject.Principals[i].Hash)
		}
	}
	return hashes
}

func (r *run) history(ctx context.Context, c *chunk) error {
	for part := range slices.Chunk(c.hashesOf((*rule.Set).WantsHistory), maxHashes) {
		err := r.facts.History(ctx, part, r.window.From, func(h *rule.History) error {
			c.byHash[h.Hash].set.History(h)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) reversals(ctx context.Context, c *chunk) error {
	var keys []rule.ReversalKey
	for _, w := range c.work {
		keys = append(keys, w.set.Reversals()...)
	}
	for part := range slices.Chunk(keys, maxHashes) {
		err := r.facts.Reversals(ctx, r.window, part, func(v *rule.Reversal) error {
			c.byHash[v.Hash].set.Reversal(v)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) origins(ctx context.Context, c *chunk) error {
	for part := range slices.Chunk(c.hashesOf((*rule.Set).WantsOrigins), maxHashes) {
		err := r.facts.Origins(ctx, r.folded, part, func(o *rule.Origin) error {
			c.byHash[o.Hash].set.Origin(o)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
