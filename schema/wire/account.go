package wire

import (
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// accountOf makes our account of the generated type: accounts are few, so that
// they need no fast way.
func accountOf(a *callpb.Account) (*schema.Account, string) {
	if len(a.Skipped) > maxReasons {
		return nil, ReasonOversized
	}
	out := &schema.Account{
		Input:     schema.Input{Name: a.GetInput().GetName(), Format: a.GetInput().GetFormat(), Size: a.GetInput().GetSize()},
		FirstUnit: a.FirstUnit, NextUnit: a.NextUnit, Calls: a.Calls, Skipped: a.Skipped, Done: a.Done,
	}
	if out.FirstUnit > out.NextUnit || out.Input.Size < 0 {
		return nil, ReasonOutOfRange
	}
	var modified *int64
	if a.Input != nil {
		modified = a.Input.ModifiedUs
	}
	for _, t := range []struct {
		from *int64
		to   *time.Time
	}{{modified, &out.Input.Modified}, {a.FirstTimeUs, &out.FirstTime}, {a.LastTimeUs, &out.LastTime}} {
		if t.from == nil {
			continue
		}
		if *t.from < minTime || *t.from > maxTime {
			return nil, ReasonOutOfRange
		}
		*t.to = time.UnixMicro(*t.from).UTC()
	}
	return out, ""
}
