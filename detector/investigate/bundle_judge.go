package investigate

import (
	"context"
	"fmt"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// MaxJudged is how many calls of a bundle can be judged anew: they are held in
// memory and looked at many times.
const MaxJudged = 20_000

// collector hears a detector.
type collector struct{ ids map[schema.FindingID]bool }

func (c *collector) Finding(f schema.Finding) error { c.ids[f.ID] = true; return nil }
func (c *collector) Note(string)                    {}

// Judge finds anew, by the catalogue, what the findings of a bundle say of single
// calls (out-of-scope-access and off-purpose-use), and makes what does not follow
// a problem. Findings of other detections stand on more than the calls of one
// credential and are left alone. It returns how many follow.
func (c *Check) Judge(ctx context.Context, cat *catalog.Catalog, calls []schema.Call) (follow int, err error) {
	if cat.Digest != c.Manifest.Catalogue.Digest {
		c.problem("the bundle was judged by another catalogue than this one: its digest is %s", orNone(c.Manifest.Catalogue.Digest))
		return 0, nil
	}
	heard := &collector{ids: map[schema.FindingID]bool{}}
	if _, err := detector.New(detector.Config{Catalog: cat, Facts: memory.New(calls), Window: c.Manifest.Window}).Run(ctx, heard); err != nil {
		return 0, fmt.Errorf("judge the calls of the bundle: %w", err)
	}
	for i := range c.findings {
		f := &c.findings[i]
		switch {
		case f.Code != "D01" && f.Code != "D18", f.Status != schema.StatusOpen,
			f.First.Before(c.Manifest.Window.From), !f.Last.Before(c.Manifest.Window.To), c.Manifest.Question.Kind == KindWorkload:
			// It may stand on calls that the bundle does not hold.
		case heard.ids[f.ID]:
			follow++
		default:
			c.problem("finding %s does not follow from the calls by this catalogue", f.ID)
		}
	}
	return follow, nil
}

func orNone(digest string) string {
	if digest == "" {
		return "none"
	}
	return digest
}
