package rule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

var update = flag.Bool("update", false, "write what the rules say into the cases")

// brief is a finding as the cases state it: without its calls, but for the times.
type brief struct {
	Code       string    `json:"code"`
	ID         string    `json:"id"`
	Severity   string    `json:"severity"`
	Confidence float64   `json:"confidence"`
	Verdict    string    `json:"verdict,omitempty"`
	Credential string    `json:"credential"`
	Session    string    `json:"session,omitempty"`
	Object     string    `json:"object,omitempty"`
	Span       [2]string `json:"span"`
	Calls      uint64    `json:"calls"`
	Title      string    `json:"title"`
	Reasons    []string  `json:"reasons"`
	Granted    []string  `json:"granted,omitempty"`
	Demand     []string  `json:"demand,omitempty"`
	Usual      []string  `json:"usual,omitempty"`
	Seen       []string  `json:"seen,omitempty"`
	Path       []string  `json:"path,omitempty"`
	Evidence   []string  `json:"evidence,omitempty"`
	Next       []string  `json:"next"`
}

const short = "2006-01-02 15:04:05"

func briefly(f *schema.Finding) brief {
	b := brief{
		Code: f.Code, ID: string(f.ID), Severity: f.Severity.String(), Confidence: f.Confidence, Credential: f.Credential.ID,
		Session: f.Session, Object: strings.TrimSpace(f.Service + " " + f.Operation + " " + f.Scope + " " + f.Tenant),
		Span: [2]string{f.First.Format(short), f.Last.Format(short)}, Calls: f.Calls, Title: f.Title, Reasons: f.Reasons,
		Granted: f.Evidence.Granted, Usual: f.Evidence.Usual, Seen: f.Evidence.Seen, Path: f.Evidence.Path, Next: f.Next,
	}
	if f.Verdict != nil {
		b.Verdict = f.Verdict.String()
	}
	for _, all := range f.Evidence.Demand {
		b.Demand = append(b.Demand, strings.Join(all, " + "))
	}
	for _, c := range f.Evidence.Calls {
		b.Evidence = append(b.Evidence, c.Time.Format(short)+" "+c.Decision.String()+" "+c.Operation+" "+c.Path)
	}
	return b
}

// said is what a case states under want.json.
type said struct {
	Findings []brief             `json:"findings"`
	Uses     map[string]uint64   `json:"uses"`
	Unmapped map[string]uint64   `json:"unmapped,omitempty"`
	Withheld []detector.Withheld `json:"withheld,omitempty"`
	Notes    []string            `json:"notes,omitempty"`
}

// TestCases runs every case below testdata. The folder d01 holds cases for D01
// and so on; a case states all that is said to it, so that a rule that fires
// where it should not is seen too.
func TestCases(t *testing.T) {
	for _, path := range detectortest.Cases(t, "testdata/*/*.txtar") {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"), ".txtar")
		t.Run(name, func(t *testing.T) {
			c := detectortest.Read(t, path)
			out := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window})
			s := said{Findings: []brief{}, Uses: out.Summary.Uses, Unmapped: out.Summary.Unmapped, Withheld: out.Summary.Withheld, Notes: out.Notes}
			for i := range out.Findings {
				s.Findings = append(s.Findings, briefly(&out.Findings[i]))
			}
			var got bytes.Buffer
			e := json.NewEncoder(&got)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(s); err != nil {
				t.Fatal(err)
			}
			compareOrUpdate(t, path, c.Archive, got.Bytes())
		})
	}
}

func compareOrUpdate(t *testing.T, path string, archive *txtar.Archive, got []byte) {
	t.Helper()
	at := -1
	for i := range archive.Files {
		if archive.Files[i].Name == "want.json" {
			at = i
		}
	}
	if *update {
		if at < 0 {
			archive.Files = append(archive.Files, txtar.File{Name: "want.json"})
			at = len(archive.Files) - 1
		}
		archive.Files[at].Data = got
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if at < 0 {
		t.Fatal("the case states no want.json; run with -update and review it")
	}
	if !bytes.Equal(archive.Files[at].Data, got) {
		t.Errorf("said:\n%s\nwant:\n%s", got, archive.Files[at].Data)
	}
}

// TestFrameworks holds every framework id to the published lists.
func TestFrameworks(t *testing.T) {
	want := map[string]string{
		"D01": "NHI5:2025 API5:2023 PR.AA-05 T1078.004",
		"D02": "NHI5:2025 API5:2023 DE.CM-09 T1526",
		"D03": "NHI5:2025 PR.AA-05 T1098",
		"D04": "NHI5:2025 PR.AA-05",
		"D05": "NHI5:2025 DE.AE-02 T1078.004",
		"D06": "NHI2:2025 NHI9:2025 API2:2023 PR.AA-03 T1550.001",
		"D07": "NHI9:2025 PR.AA-01",
		"D08": "NHI10:2025 DE.CM-03",
		"D09": "NHI8:2025 API1:2023 PR.IR-01",
		"D11": "NHI9:2025 T1550.001 T1021.007",
		"D12": "API5:2023 PR.AA-05 T1199",
		"D13": "NHI4:2025 NHI7:2025 T1528 T1098.001",
		"D14": "NHI1:2025 NHI7:2025 PR.AA-01",
		"D10": "API1:2023 API3:2023 T1530 T1619",
		"D15": "NHI2:2025 API4:2023 T1552 T1119",
		"D16": "NHI2:2025 NHI4:2025 NHI7:2025 API2:2023 API8:2023",
		"D17": "NHI1:2025 ID.AM-08",
		"D18": "NHI5:2025 GV.PO-02 PR.AA-05",
	}
	published := frameworks(t)
	for _, d := range rule.Detections() {
		if got := strings.Join(d.Frameworks, " "); got != want[d.Code] {
			t.Errorf("%s carries %q, want %q", d.Code, got, want[d.Code])
		}
		for _, id := range d.Frameworks {
			if published != nil && !published[id] {
				t.Errorf("%s carries %q, which is in none of the published lists", d.Code, id)
			}
		}
		if d.Short == "" || d.Help == "" || d.BenignIf == "" || d.Name == "" {
			t.Errorf("%s is not described", d.Code)
		}
		delete(want, d.Code)
	}
	if len(want) > 0 {
		t.Errorf("no detection for %v", want)
	}
}

// frameworks reads the ids of attack/frameworks.tsv of the corpus, nil without
// it.
func frameworks(t *testing.T) map[string]bool {
	t.Helper()
	if !corpus.Has(t, "attack", "frameworks.tsv") {
		t.Log("no corpus: the ids are not held to the published lists")
		return nil
	}
	ids := map[string]bool{}
	for _, line := range corpus.Lines(t, corpus.Path(t, "attack", "frameworks.tsv")) {
		if fields := strings.Split(string(line), "\t"); len(fields) > 2 {
			ids[fields[2]] = true
		}
	}
	return ids
}
