package investigate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/schema"
)

var update = flag.Bool("update", false, "rewrite what the cases want")

// TestCases asks the question of each case and compares what matters of the
// answer with what the case wants.
func TestCases(t *testing.T) {
	for _, path := range detectortest.Cases(t, "testdata/*.txtar") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c := read(t, path)
			got := brief(c.ask(t, memory.New(c.Calls)))
			slices.Reverse(c.Calls)
			slices.Reverse(c.findings)
			if again := brief(c.ask(t, memory.New(c.Calls))); again != got {
				t.Errorf("in another order the answer is another:\n%s", again)
			}
			for i := range c.Archive.Files {
				if f := &c.Archive.Files[i]; f.Name == "want" {
					if *update {
						f.Data = []byte(got)
						if err := os.WriteFile(path, txtar.Format(c.Archive), 0o600); err != nil {
							t.Fatal(err)
						}
					} else if string(f.Data) != got {
						t.Errorf("got\n%s\nwant\n%s", got, f.Data)
					}
				}
			}
		})
	}
}

// investigated is a case with its question and stored findings.
type investigated struct {
	*detectortest.Case
	question investigate.Question
	findings []schema.Finding
}

func read(t testing.TB, path string) *investigated {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// What is not the catalogue's is kept from its loader.
	var rest txtar.Archive
	c := &investigated{}
	rest.Comment = archive.Comment
	for _, f := range archive.Files {
		switch f.Name {
		case "findings.jsonl":
			for d := json.NewDecoder(bytes.NewReader(f.Data)); d.More(); {
				var one schema.Finding
				if err := d.Decode(&one); err != nil {
					t.Fatal(err)
				}
				c.findings = append(c.findings, one)
			}
		case "want":
		default:
			rest.Files = append(rest.Files, f)
		}
	}
	name := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(name, txtar.Format(&rest), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Case = detectortest.Read(t, name)
	c.Archive = archive
	if c.findings == nil {
		c.findings = detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}).Findings
	}
	for line := range strings.Lines(string(archive.Comment)) {
		if q, ok := strings.CutPrefix(strings.TrimSpace(line), "question: "); ok {
			c.question.Name = q
			if kind, rest, ok := strings.Cut(q, ":"); ok {
				c.question.Kind, c.question.Name = kind, rest
			}
		}
	}
	return c
}

func (c *investigated) ask(t *testing.T, facts detector.Facts) *investigate.Investigation {
	t.Helper()
	r, err := investigate.New(investigate.Config{
		Detector: detector.Config{Catalog: c.Catalog, Facts: facts, Window: c.Window}, Findings: c.findings,
	}).Investigate(context.Background(), c.question)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brief writes what a case looks at.
func brief(r *investigate.Investigation) string {
	var b strings.Builder
	for i := range r.Credentials {
		c := &r.Credentials[i]
		fmt.Fprintf(&b, "credential %s declared=%t basis=%s days=%d calls=%d\n", c.ID, c.Declared, c.Basis, c.Days, c.Calls)
		for _, h := range c.Holds {
			fmt.Fprintf(&b, "holds %s used=%t\n", h.Scope, h.Used)
		}
		for _, p := range c.Possible {
			fmt.Fprintf(&b, "possible %s %d of %d\n", p.Service, p.Used, p.Operations)
			for _, o := range p.Unused {
				fmt.Fprintf(&b, "  unused %s %s\n", o.Operation, o.Class)
			}
		}
	}
	for _, p := range r.Timeline.Periods {
		fmt.Fprintf(&b, "%s..%s %d x %+v %v new=%v found=%v\n", p.From.Format(time.DateOnly), p.To.Format(time.DateOnly), p.Steps, p.Verdicts, p.Services, p.New, p.Findings)
	}
	for _, u := range r.Used {
		fmt.Fprintf(&b, "used %s %s %q %s %+v days=%d\n", u.Service, u.Operation, u.Tenant, u.Class, u.Verdicts, u.Days)
	}
	for _, p := range r.Places {
		fmt.Fprintf(&b, "place %s calls=%d days=%d addresses=%d share=%.4f strange=%q\n", p.Name, p.Calls, p.Days, p.Addresses, p.Share, p.Strange)
	}
	for _, h := range r.Links.Path {
		fmt.Fprintf(&b, "hop %s %s %s -> %s %s with %s tier=%d\n", h.Time.Format(time.DateTime), h.Kind, h.From, h.To, h.Operation, h.Credential, h.Tier)
	}
	if r.Links.Entry != "" {
		fmt.Fprintf(&b, "entry %s\n", r.Links.Entry)
	}
	for _, e := range r.Links.Edges {
		if e.Kind == detector.EdgeMint || e.Kind == detector.EdgeCause {
			fmt.Fprintf(&b, "edge %s %s -> %s tier=%d hop=%d backward=%t\n", e.Kind, e.From.Name, e.To.Name, e.Tier, e.Hop, e.Backward)
		}
	}
	for _, u := range r.Links.Touched {
		fmt.Fprintf(&b, "touched %s %s\n", u.Service, u.Operation)
	}
	if r.Stranger >= 0 {
		fmt.Fprintf(&b, "stranger %s\n", r.Places[r.Stranger].Name)
	}
	return b.String()
}

// TestUnknown wants a name that nobody knows to be said to be one.
func TestUnknown(t *testing.T) {
	c := read(t, "testdata/undeclared.txtar")
	for _, kind := range []string{"", investigate.KindCredential, investigate.KindWorkload} {
		_, err := investigate.New(investigate.Config{Detector: detector.Config{Facts: memory.New(c.Calls)}}).
			Investigate(context.Background(), investigate.Question{Kind: kind, Name: "nobody"})
		var unknown *detector.UnknownCredential
		if !errors.As(err, &unknown) || unknown.Name != "nobody" {
			t.Errorf("%q: %v", kind, err)
		}
	}
	if _, err := investigate.New(investigate.Config{}).Investigate(context.Background(), investigate.Question{Name: "x"}); err == nil {
		t.Error("without a store it answers")
	}
}
