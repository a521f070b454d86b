package catalog

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// TestSuppressions: what a suppression is meant for, which of several counts, and
// that a date is the whole day.
func TestSuppressions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	write(t, path, `suppressions:
  - {finding: D04-00ff, reason: one, until: 2026-03-01}
  - {detection: "unused-*", credential: "batch-*", object: "orders:*", reason: unused, until: 2026-04-01T12:00:00Z}
  - {detection: D01, object: "orders GET /*", reason: seldom, until: 2026-05-01}
  - {detection: D01, credential: ci, reason: longer, until: 2026-06-01}
`)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	finding := func(id, code, detection, credential string) schema.Finding {
		return schema.Finding{ID: schema.FindingID(id), Code: code, Detection: detection, Credential: schema.FindingCredential{ID: credential}}
	}
	scoped := finding("x", "D04", "unused-scope", "batch-7")
	scoped.Scope = "orders:write"
	other := scoped
	other.Scope = "refunds:write"
	call := finding("y", "D01", "out-of-scope-access", "web")
	call.Service, call.Operation = "orders", "GET /items"
	both := call
	both.Credential.ID = "ci"
	elsewhere := call
	elsewhere.Service = "billing"
	for name, one := range map[string]struct {
		f      schema.Finding
		reason string
	}{
		"by id":              {finding("D04-00ff", "D04", "unused-scope", "any"), "one"},
		"of another id":      {finding("D04-00fe", "D04", "unused-scope", "any"), ""},
		"by globs":           {scoped, "unused"},
		"another object":     {other, ""},
		"by code and object": {call, "seldom"},
		"the longer one":     {both, "longer"},
		"another service":    {elsewhere, ""},
	} {
		s := c.Suppression(&one.f)
		if got := reason(s); got != one.reason {
			t.Errorf("%s: %q, want %q", name, got, one.reason)
		}
	}
	if until := c.Suppressions[0].Until; !until.Equal(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("until the end of the day is %v", until)
	}
}

func reason(s *Suppression) string {
	if s == nil {
		return ""
	}
	return s.Reason
}
