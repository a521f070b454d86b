package detector_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// about keeps the findings of some codes about one credential, as text. Which
// place a score has among others, only a whole pass says.
func about(t *testing.T, out *detectortest.Output, credential string, codes ...string) string {
	t.Helper()
	var list []schema.Finding
	for _, f := range out.Findings {
		if f.Credential.ID == credential && slices.Contains(codes, f.Code) {
			f.OverBudget = false
			list = append(list, f)
		}
	}
	text, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNarrowedPassSaysTheSame holds rules that look at many credentials to what
// a whole pass says, when only one credential is judged.
func TestNarrowedPassSaysTheSame(t *testing.T) {
	paths, err := filepath.Glob("rule/testdata/d1[123]/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	codes := []string{"D11", "D12", "D13"}
	said := 0
	for _, path := range paths {
		c := detectortest.Read(t, path)
		facts := memory.New(c.Calls)
		whole := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: facts, Window: c.Window})
		all := schema.Window{To: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
		err := facts.Principals(context.Background(), all, func(p *rule.Principal) error {
			narrow := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: facts, Window: c.Window, Only: []schema.PrincipalHash{p.Hash}})
			for _, name := range narrow.Summary.Judged {
				got, want := about(t, narrow, name, codes...), about(t, whole, name, codes...)
				if got != want {
					t.Errorf("%s: of %s a narrowed pass says\n%s\nand a whole one\n%s", c.Name, name, got, want)
				}
				if want != "null" {
					said++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if said == 0 {
		t.Error("the cases say nothing that a narrowed pass could miss")
	}
}
