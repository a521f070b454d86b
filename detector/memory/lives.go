package memory

import (
	"context"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Lives lists on which days principals made calls that were authorised.
func (f *Facts) Lives(_ context.Context, before time.Time, each func(*rule.Life) error) error {
	end := schema.DayOf(before.Add(24*time.Hour - time.Microsecond))
	days := map[schema.PrincipalHash][]schema.Day{}
	var order []schema.PrincipalHash
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		d := schema.DayOf(c.Time)
		if d >= end || !c.Decision.Authorised() {
			continue
		}
		if days[c.hash] == nil {
			order = append(order, c.hash)
		}
		if !slices.Contains(days[c.hash], d) {
			days[c.hash] = append(days[c.hash], d)
		}
	}
	for _, hash := range order {
		if err := each(&rule.Life{Hash: hash, Days: days[hash]}); err != nil {
			return err
		}
	}
	return nil
}
