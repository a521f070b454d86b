package memory

import (
	"context"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Firsts lists what principals did first.
func (f *Facts) Firsts(_ context.Context, before time.Time, each func(*rule.First) error) error {
	seen := map[rule.First]bool{}
	for i := range f.calls { // in order of time
		c := &f.calls[i]
		if !c.Time.Before(before) || !c.Decision.Authorised() {
			continue
		}
		one := rule.First{Hash: c.hash, Service: c.Service, Operation: c.Operation}
		if c.RouteSource == schema.RouteNone {
			one.Operation = ""
		}
		list := []rule.First{one}
		if c.Tenant != "" {
			list = append(list, rule.First{Hash: c.hash, Tenant: c.Tenant})
		}
		for _, one := range list {
			if seen[one] {
				continue
			}
			seen[one] = true
			one.Time = c.Time
			if err := each(&one); err != nil {
				return err
			}
		}
	}
	return nil
}
