package cli

import (
	"fmt"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// summarise puts what the detector says about its ground into the report.
func (r *scanRun) summarise(s *detector.Summary) {
	report := &r.report
	report.Version, report.Window, report.Coverage = version(), s.Window, s.Coverage
	report.Catalogue = catalogueOf(r.settings.catalog, r.cat)
	sum := &report.Summary
	sum.Calls, sum.Uses, sum.Unmapped, sum.Notes = s.Calls, s.Uses, s.Unmapped, s.Notes
	sum.Credentials = output.CredentialCounts{
		Declared: s.Credentials.Declared, Undeclared: s.Credentials.Undeclared,
		Silent: s.Credentials.Silent, Anonymous: s.Credentials.Anonymous,
	}
	for _, w := range s.Withheld {
		sum.Withheld = append(sum.Withheld, output.Withheld{Code: w.Code, Why: w.Why, Count: w.Count, Examples: w.Examples})
	}
}

func catalogueOf(path string, c *catalog.Catalog) output.Catalogue {
	if path == "" {
		return output.Catalogue{}
	}
	return output.Catalogue{
		Path: path, Digest: c.Digest, Services: len(c.Services), Credentials: len(c.Credentials), Notes: catalogNotes(c),
	}
}

// account adds what the pipeline counted.
func (r *scanRun) account(s direct.Stats) {
	sum := &r.report.Summary
	sum.Stored, sum.Repeated = s.Calls, s.Repeated
	if s.OutsideWindow > 0 {
		sum.Notes = append(sum.Notes, fmt.Sprintf("%s outside --from and --to left out", output.Count(s.OutsideWindow, "call")))
	}
	if s.ForgotIDs {
		sum.Notes = append(sum.Notes, "more calls than can be remembered: calls given twice may have been counted twice, which changes no finding")
	}
	for _, flaw := range []struct{ reason, what string }{
		{"malformed_xfcc", "a forwarded client certificate that cannot be read: it names nobody"},
		{"malformed_authorization", "an Authorization header that cannot be read: its fingerprint stands for a name"},
		{"secret_in_name", "a secret, or a text without end, where a name belongs: its fingerprint stands for it"},
	} {
		if n := r.flaws[flaw.reason]; n > 0 {
			sum.Notes = append(sum.Notes, output.Count(n, "call")+" had "+flaw.what)
		}
	}
}

// locator finds where the catalogue declares a credential.
func locator(c *catalog.Catalog) func(string) (string, int) {
	return func(name string) (string, int) {
		for _, one := range c.Credentials {
			if one.ID == name {
				return one.File, one.Line
			}
		}
		return "", 0
	}
}

// verdict turns --fail-on and --min-coverage into exit codes. The result is on
// standard output already; here is only what it means.
func (a *app) verdict(r *output.Report, cat *catalog.Catalog) error {
	s := a.settings
	if s.failOn.set {
		n := 0
		for i := range r.Findings {
			if r.Findings[i].Status == schema.StatusOpen && !r.Findings[i].OverBudget && r.Findings[i].Severity >= s.failOn.value {
				n++
			}
		}
		if n > 0 {
			a.remark("%s at or above %s", output.Count(uint64(n), "finding"), s.failOn.value)
			// Findings come before coverage, so that is not asked any more.
			return &fault{text: "findings at or above --fail-on", code: codeFindings, silent: true}
		}
	}
	if !s.minCover.set {
		return nil
	}
	if short := shortOf(r.Coverage, cat, s.minCover.value); short != "" {
		a.remark("%s: too little was seen to judge (--min-coverage %s)", short, &s.minCover)
		return &fault{text: "coverage below --min-coverage", code: codeCoverage, silent: true}
	}
	return nil
}

// shortOf names the service of the catalogue of which least was seen, if that is
// below the least share; nothing known of a service is below everything. Of
// services that the catalogue does not have nothing was judged.
func shortOf(list []schema.Coverage, cat *catalog.Catalog, least float64) string {
	if len(cat.Services) == 0 {
		return "nobody knows what the logs cover"
	}
	short, share := "", least
	for i := range list {
		c := &list[i]
		if cat.ServiceNamed(c.Service) == nil {
			continue
		}
		if !c.Known {
			return fmt.Sprintf("nobody knows what the logs cover of %s", c.Service)
		}
		if c.Share < share {
			short, share = fmt.Sprintf("%.1f %% of %s was seen", 100*c.Share, c.Service), c.Share
		}
	}
	return short
}
