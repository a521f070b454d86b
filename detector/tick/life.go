package tick

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
)

// compare finds what became different: of the judged credentials, what was found
// is all that stands.
func (t *Ticker) compare(found []schema.Finding, silenced map[schema.FindingID]Suppression, judged func(credential string) bool) ([]Change, error) {
	var changes []Change
	stand := make(map[schema.FindingID]bool, len(found))
	for _, f := range found {
		stand[f.ID] = true
		if s, ok := silenced[f.ID]; ok {
			silence(&f, s)
		}
		before, known := t.known[f.ID]
		now, err := stored(&f)
		if err != nil {
			return nil, err
		}
		switch {
		case !known && f.Status == schema.StatusSuppressed, known && f.Status == schema.StatusSuppressed && before.status != schema.StatusSuppressed:
			changes = append(changes, Change{Suppressed, f})
		case !known:
			changes = append(changes, Change{Opened, f})
		case before.status != schema.StatusOpen && f.Status == schema.StatusOpen:
			changes = append(changes, Change{Reopened, f})
		case !bytes.Equal(before.body, now.body):
			changes = append(changes, Change{Updated, f})
		}
	}
	var gone []schema.FindingID
	for id, one := range t.known {
		if !stand[id] && one.status != schema.StatusResolved && judged(one.credential) {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		var f schema.Finding
		if err := json.Unmarshal(t.known[id].body, &f); err != nil {
			return nil, fmt.Errorf("read finding %s: %w", id, err)
		}
		f.Status = schema.StatusResolved
		changes = append(changes, Change{Resolved, f})
	}
	return changes, nil
}

// rank ranks what was found together with the scores that stand of credentials
// that were not judged, and of other shards, and returns those of the former that
// changed their side of the budget.
func (t *Ticker) rank(found []schema.Finding, judged func(credential string) bool) ([]Change, error) {
	var all []*schema.Finding
	for i := range found {
		all = append(all, &found[i])
	}
	standing := map[schema.FindingID]bool{}
	for id, one := range t.known {
		if !one.score || one.status == schema.StatusResolved || judged(one.credential) {
			continue
		}
		f := new(schema.Finding)
		if err := json.Unmarshal(one.body, f); err != nil {
			return nil, fmt.Errorf("read finding %s: %w", id, err)
		}
		standing[id] = true
		all = append(all, f)
	}
	for i := range t.foreign {
		// Which side of the budget it is on, its own shard says.
		f := t.foreign[i]
		all = append(all, &f)
	}
	var changes []Change
	for _, f := range detector.Rank(all, t.active) {
		if standing[f.ID] {
			changes = append(changes, Change{Updated, *f})
		}
	}
	return changes, nil
}

// rerank ranks what stands, without judging anything.
func (t *Ticker) rerank(ctx context.Context, result *Result) error {
	changes, err := t.rank(nil, func(string) bool { return false })
	if err != nil {
		return err
	}
	result.Changes = changes
	return t.apply(ctx, changes)
}

// suppressedBecause begins the reason by which a finding says why it is silent.
const suppressedBecause = "suppressed until "

func silence(f *schema.Finding, s Suppression) {
	f.Status = schema.StatusSuppressed
	f.Reasons = append(slices.Clone(f.Reasons), suppressedBecause+s.Until.UTC().Format(time.DateTime)+" UTC: "+s.Reason)
}

// silence applies suppressions that began or ended since the last step to what is
// known, without judging anything.
func (t *Ticker) silence(ctx context.Context) ([]Change, error) {
	silenced, err := t.cfg.Store.Suppressions(ctx, t.cfg.Now())
	if err != nil {
		return nil, err
	}
	var changes []Change
	for id, one := range t.known {
		s, silent := silenced[id]
		if one.status == schema.StatusResolved || silent == (one.status == schema.StatusSuppressed) {
			continue
		}
		var f schema.Finding
		if err := json.Unmarshal(one.body, &f); err != nil {
			return nil, fmt.Errorf("read finding %s: %w", id, err)
		}
		if silent {
			silence(&f, s)
			changes = append(changes, Change{Suppressed, f})
			continue
		}
		f.Status = schema.StatusOpen
		f.Reasons = slices.DeleteFunc(f.Reasons, func(r string) bool { return strings.HasPrefix(r, suppressedBecause) })
		changes = append(changes, Change{Reopened, f})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(string(a.Finding.ID), string(b.Finding.ID)) })
	return changes, t.apply(ctx, changes)
}
