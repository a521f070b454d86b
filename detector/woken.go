package detector

import (
	"context"
	"slices"

	"github.com/scopedrift/scopedrift/detector/rule"
)

// woken shows the rules by itself what credentials did right after a long
// silence. Few have one, so each is asked about alone.
func (r *run) woken(ctx context.Context, c *chunk) error {
	for _, w := range c.work {
		for _, window := range w.set.Woken() {
			q := RowQuery{Window: window}
			for _, cut := range c.cuts {
				if cut.After(window.From) && cut.Before(window.To) {
					q.Cuts = append(q.Cuts, cut)
				}
			}
			for i := range w.subject.Principals {
				q.Hashes = append(q.Hashes, w.subject.Principals[i].Hash)
			}
			for hashes := range slices.Chunk(q.Hashes, maxHashes) {
				part := q
				part.Hashes = hashes
				err := r.facts.Rows(ctx, part, func(row *rule.Row) error {
					request := w.set.Request(row)
					w.set.Waking(window, &rule.Use{Row: *row, Judgement: r.env.Compare.Judge(&request)})
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
