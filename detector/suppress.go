package detector

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// suppressedBecause begins the reason by which a finding says why it is silent.
const suppressedBecause = "suppressed until "

// Suppress silences a finding, which then says until when and why.
func Suppress(f *schema.Finding, until time.Time, reason string) {
	f.Status = schema.StatusSuppressed
	f.Reasons = append(slices.Clone(f.Reasons), suppressedBecause+until.UTC().Format(time.DateTime)+" UTC: "+reason)
}

// Unsuppress undoes Suppress.
func Unsuppress(f *schema.Finding) {
	f.Status = schema.StatusOpen
	f.Reasons = slices.DeleteFunc(slices.Clone(f.Reasons), func(r string) bool { return strings.HasPrefix(r, suppressedBecause) })
}

// suppress applies the suppressions of the catalogue. Whether one has ended is
// asked of the time of the calls, as everything is that a finding says.
func (r *run) suppress(f *schema.Finding) {
	if s := r.env.Catalog.Suppression(f); s != nil && s.Until.After(r.env.Now) {
		Suppress(f, s.Until, s.Reason)
	}
}

// ended says which suppressions of the catalogue have ended.
func ended(cat *catalog.Catalog, now time.Time) (notes []string) {
	for i := range cat.Suppressions {
		if s := &cat.Suppressions[i]; !s.Until.After(now) {
			notes = append(notes, fmt.Sprintf("the suppression at %s (%s) ended at %s UTC and silences nothing: remove it, or give it a later end",
				s.Place(), s.Reason, s.Until.UTC().Format(time.DateTime)))
		}
	}
	return notes
}
