package tick

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

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
		if s, ok := silenced[f.ID]; ok && f.Status != schema.StatusSuppressed {
			detector.Suppress(&f, s.Until, s.Reason)
		}
		before, known := t.known[f.ID]
		now, err := t.stored(&f)
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

// seed is that of all sums of findings in this process.
var seed = maphash.MakeSeed()

// madeOf sums up a finding but for its calls and what becomes of it: its place among
// others, and whether it is silenced. Where that is the same the uses behind it are,
// for a use more or another is another number or time.
func madeOf(f *schema.Finding) (uint64, error) {
	bare := *f
	bare.Evidence.Calls, bare.Status, bare.OverBudget = nil, schema.StatusOpen, false
	text, err := json.Marshal(&bare)
	if err != nil {
		return 0, fmt.Errorf("write finding %s: %w", f.ID, err)
	}
	return maphash.Bytes(seed, text), nil
}

// calls returns the calls of a finding that stands as it was: reading them again is
// half of a step's work. A pass over everything does.
func (t *Ticker) calls(f *schema.Finding) ([]schema.Call, bool) {
	one, ok := t.known[f.ID]
	if !ok {
		return nil, false
	}
	if made, err := madeOf(f); err != nil || made != one.made {
		return nil, false
	}
	var before schema.Finding
	if err := json.Unmarshal(one.body, &before); err != nil {
		return nil, false
	}
	return before.Evidence.Calls, len(before.Evidence.Calls) > 0
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

// silence applies suppressions that began or ended since the last step to what is
// known, without judging anything.
func (t *Ticker) silence(ctx context.Context) ([]Change, error) {
	silenced, err := t.cfg.Store.Suppressions(ctx, t.cfg.Now())
	if err != nil {
		return nil, err
	}
	changes, err := t.silences(silenced, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	return changes, t.apply(ctx, changes)
}

// silences are the changes by suppressions of findings of credentials that are not
// being judged. Those of the catalogue only end here: another catalogue has
// everything judged.
func (t *Ticker) silences(silenced map[schema.FindingID]Suppression, judged func(credential string) bool) ([]Change, error) {
	var changes []Change
	for id, one := range t.known {
		s, silent := silenced[id]
		stays := silent || one.until.After(t.now)
		suppressed := one.status == schema.StatusSuppressed
		if one.status == schema.StatusResolved || stays == suppressed || !silent && !suppressed || judged(one.credential) {
			continue
		}
		var f schema.Finding
		if err := json.Unmarshal(one.body, &f); err != nil {
			return nil, fmt.Errorf("read finding %s: %w", id, err)
		}
		if silent {
			detector.Suppress(&f, s.Until, s.Reason)
			changes = append(changes, Change{Suppressed, f})
			continue
		}
		detector.Unsuppress(&f)
		changes = append(changes, Change{Reopened, f})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(string(a.Finding.ID), string(b.Finding.ID)) })
	return changes, nil
}
