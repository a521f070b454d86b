package output

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/schema"
)

var update = flag.Bool("update", false, "rewrite the expected files")

// hostile is a string that would clear a terminal, turn its text around, run in
// a spreadsheet and end a line, if anything let it.
const hostile = "=cmd|'/c calc'!A0\x1b[2J\x1b]0;owned\x07\u202egnp.exe\r\n\u200b\xff\u0085\t{0}"

func testOptions() Options {
	return Options{Detections: []Detection{
		{"D01", "out-of-scope-access", "An honoured call needs a scope not held at call time.", "Fires when.", []string{"NHI5:2025", "API5:2023", "PR.AA-05", "T1078.004"}},
		{"D04", "unused-scope", "Held and not used.", "Fires when.", []string{"NHI5:2025", "PR.AA-05"}},
	}}
}

func testFinding() schema.Finding {
	at := time.Date(2026, 3, 2, 4, 11, 0, 0, time.UTC)
	beyond := schema.VerdictBeyond
	call := schema.Call{
		Time: at, Source: schema.Source{Type: "envoy", Name: "edge.log"},
		Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "https://idp.example.com|ci"},
		Scopes:     []string{"orders:read"}, Decision: schema.DecisionAllowed, Service: "orders",
		Operation: "POST /orders/{id}/refund", Method: "POST", Path: "/orders/7/refund", Status: 200,
		ClientAddress: netip.MustParseAddr("203.0.113.7"),
	}
	return schema.Finding{
		ID: schema.NewFindingID("D01", "ci-deployer", "orders", "POST /orders/{id}/refund", ""), Detection: "out-of-scope-access",
		Code: "D01", Severity: schema.SeverityHigh, Confidence: 0.95, Verdict: &beyond,
		Credential: schema.FindingCredential{ID: "ci-deployer", Observed: []string{"https://idp.example.com|ci"}, Kind: "ci", Owner: "team-payments"},
		Service:    "orders", Operation: "POST /orders/{id}/refund", Environment: "production",
		First: at, Last: at.Add(26 * time.Hour), Calls: 1041,
		Title:   "ci-deployer used orders:write, which it was never granted",
		Reasons: []string{"POST /orders/{id}/refund needs orders:write, and the token presented orders:read.", "The service answered 200, so nothing enforced it."},
		Evidence: schema.Evidence{
			Calls: []schema.Call{call}, Granted: []string{"orders:read"}, Demand: [][]string{{"orders:write"}, {"orders:admin", "refunds"}},
			Coverage: &schema.Coverage{Service: "orders", Known: true, Share: 0.982, Days: 31, DaysSeen: 31},
			BenignIf: "The scope was granted by a system that the catalogue does not know.",
		},
		Frameworks: []string{"NHI5:2025", "API5:2023", "PR.AA-05", "T1078.004"},
		Next:       []string{"scopedrift explain D01-0123", "scopedrift recommend ci-deployer"},
	}
}

func reports() map[string]*Report {
	window := schema.Window{From: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)}
	full := &Report{
		Version: "1.2.3", Window: window,
		Catalogue: Catalogue{Path: "catalogue", Digest: strings.Repeat("ab", 32), Services: 3, Credentials: 9, Notes: []string{"orders.yaml: 2 paths passed over"}},
		Coverage:  []schema.Coverage{{Service: "orders", Window: window, Known: true, Share: 0.982, Days: 31, DaysSeen: 31}},
		Summary: Summary{
			Calls: 12041, Repeated: 3, Credentials: CredentialCounts{9, 3, 2, 1},
			Inputs: []Input{{Name: "edge.log", Format: "envoy", Why: "200 of 200 sampled lines have start_time", Units: 12056, Calls: 12044, Skipped: map[string]uint64{"not_json": 10, "too_long": 2}}},
			Uses:   map[string]uint64{"exercised": 40, "beyond": 1}, Unmapped: map[string]uint64{"no route in the catalogue": 4},
			Withheld: []Withheld{{"D04", "only 12 observed days, and 30 are needed", 2, []string{"orders:admin of billing-job"}}},
		},
		Findings: []schema.Finding{testFinding()},
	}
	low := testFinding()
	low.Severity, low.Code, low.Detection, low.Scope, low.Operation, low.Verdict = schema.SeverityLow, "D04", "unused-scope", "orders:admin", "", nil
	low.ID, low.Title, low.Evidence = schema.NewFindingID("D04", "ci-deployer", "orders:admin"), "ci-deployer holds orders:admin and has not used it in 31 days", schema.Evidence{Granted: []string{}}
	full.Findings = append(full.Findings, low)

	evil := testFinding()
	evil.Credential.ID, evil.Title, evil.Operation, evil.Tenant = hostile, hostile+" did it", "GET /"+hostile, hostile
	evil.Reasons, evil.Evidence.Granted, evil.Next, evil.Service = []string{hostile}, []string{hostile}, []string{"scopedrift explain " + hostile}, hostile
	evil.Code, evil.Detection = "D99", "newer-than-us"
	all := map[string]*Report{
		"full":  full,
		"empty": {Version: "1.2.3"},
		"partial": {Version: "1.2.3", Partial: "interrupted after 2 of 3 inputs",
			Catalogue: full.Catalogue, Findings: []schema.Finding{testFinding()}},
		"hostile": {Version: "1.2.3", Findings: []schema.Finding{evil},
			Summary: Summary{Inputs: []Input{{Name: hostile, Format: hostile, Why: hostile, Skipped: map[string]uint64{hostile: 1}}}, Notes: []string{hostile}, Withheld: []Withheld{{hostile, hostile, 1, []string{hostile}}}}},
	}
	for _, r := range all {
		r.Tidy()
	}
	return all
}

func TestGolden(t *testing.T) {
	for name, r := range reports() {
		for _, format := range []Format{Text, Grid, CSV, SARIF, JSONL} {
			t.Run(name+"."+string(format), func(t *testing.T) {
				var out bytes.Buffer
				o := testOptions()
				o.Columns = 100
				if err := Write(&out, format, r, o); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+string(format), out.Bytes())
			})
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; -update rewrites it\n%s", path, got)
	}
}

// TestNothingHostileGetsOut is the promise of the package: in no format, with
// colours or without, does a raw control character of an observed string reach
// the reader.
func TestNothingHostileGetsOut(t *testing.T) {
	r := reports()["hostile"]
	for _, format := range []Format{Text, Grid, JSON, JSONL, CSV, SARIF} {
		var out bytes.Buffer
		if err := Write(&out, format, r, testOptions()); err != nil {
			t.Fatal(err)
		}
		assertVisible(t, string(format), out.String())
	}
	var out bytes.Buffer
	o := testOptions()
	o.Paint.On = true
	if err := Write(&out, Text, r, o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b[2J") || strings.Contains(out.String(), "\x1b]") {
		t.Error("a hostile sequence hides among our colours")
	}
}

func assertVisible(t *testing.T, name, text string) {
	t.Helper()
	for i, c := range text {
		if c != '\n' && !visible(c) || c == utf8.RuneError && isInvalid(text[i:]) {
			t.Fatalf("%s: %U at %d", name, c, i)
		}
	}
}

func TestCSVCells(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "orders": "orders", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@sum": "'@sum",
		"\t=1": `'\t=1`, "\r=1": `'\r=1`, " =1": "' =1", "\ttab": `'\ttab`, "＝1": "'＝1", "a=b": "a=b",
	} {
		if got := Cell(in); got != want {
			t.Errorf("Cell(%q) = %q, want %q", in, got, want)
		}
	}
	var out bytes.Buffer
	if err := Write(&out, CSV, reports()["hostile"], testOptions()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, cell := range rows[1] {
		if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
			t.Errorf("column %s begins a formula: %q", rows[0][i], cell)
		}
	}
}

// compile returns the shipped JSON Schema of a noun.
func compile(t *testing.T, noun string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range schema.JSONSchemas() {
		text, err := schema.JSONSchema(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(name+".schema.json", doc); err != nil {
			t.Fatal(err)
		}
	}
	compiled, err := c.Compile(noun + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestJSONValidates(t *testing.T) {
	report, finding := compile(t, "report"), compile(t, "finding")
	for name, r := range reports() {
		if name == "hostile" {
			r.Findings[0].Detection, r.Findings[0].ID = "newer-than-us", schema.NewFindingID("D99", hostile)
		}
		var out bytes.Buffer
		if err := Write(&out, JSON, r, testOptions()); err != nil {
			t.Fatal(err)
		}
		validate(t, name, report, out.Bytes())
		out.Reset()
		if err := Write(&out, JSONL, r, testOptions()); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
		for _, line := range lines {
			if len(r.Findings) > 0 {
				validate(t, name, finding, line)
			}
		}
		if len(r.Findings) > 0 && len(lines) != len(r.Findings) {
			t.Errorf("%s: %d lines for %d findings", name, len(lines), len(r.Findings))
		}
	}
	for _, bad := range []string{`{}`, `{"id":"x"}`} {
		var doc any
		if err := json.Unmarshal([]byte(bad), &doc); err != nil {
			t.Fatal(err)
		}
		if finding.Validate(doc) == nil {
			t.Errorf("%s passed for a finding", bad)
		}
	}
}

func validate(t *testing.T, name string, s *jsonschema.Schema, text []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%s: %v\n%s", name, err, text)
	}
}

func TestTableFits(t *testing.T) {
	table := &Table{Columns: []Column{{Name: "name", Keep: 4}, {Name: "calls", Right: true, Spare: 1}, {Name: "title", Keep: 8}}}
	table.Add("日本語のとても長い名前です", "12,345", "a sentence that is rather long for a narrow terminal")
	table.Add("e\u0301clair", "1", "short")
	for _, width := range []int{14, 24, 40, 80} {
		var out bytes.Buffer
		if err := table.Print(&out, width, Paint{}); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			if Width(line) > width {
				t.Errorf("%d columns for a terminal of %d: %q", Width(line), width, line)
			}
		}
		// What is left out is said, and nothing is that has room.
		if spared := strings.Contains(out.String(), "calls"); spared != (width == 14) || spared == strings.Contains(out.String(), "12,345") {
			t.Errorf("a terminal of %d shows\n%s", width, out.String())
		}
	}
	if len(table.Columns) != 3 || len(table.Rows[0]) != 3 {
		t.Error("Print changed the table")
	}
}

// TestTablesFit: what is listed fits the usual terminal.
func TestTablesFit(t *testing.T) {
	long := strings.Repeat("long-", 12)
	call := schema.Call{Credential: schema.Credential{ID: long}, Service: long, Operation: "GET /" + long, Path: "/" + long, Tenant: long,
		Decision: schema.DecisionUnauthenticated, Status: 401, ClientAddress: netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678")}
	finding := schema.Finding{ID: "D04-432fdb74ac0deb4e", Severity: schema.SeverityCritical, Detection: "object-enumeration",
		Credential: schema.FindingCredential{ID: long}, Service: long, Operation: long, Title: strings.Repeat("words ", 30), Calls: 1e9}
	advice := recommend.Recommendation{Credential: finding.Credential, Remove: []recommend.Remove{{Held: recommend.Held{Scope: long}}}, Solver: recommend.Solver{ExcessBefore: 4e6, ExcessAfter: 4e6}}
	for name, table := range map[string]*Table{
		"calls": CallTable([]schema.Call{call}), "findings": findingTable([]schema.Finding{finding}),
		"recommendations": RecommendationTable([]recommend.Recommendation{advice}),
	} {
		var out bytes.Buffer
		if err := table.Print(&out, 80, Paint{}); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if Width(line) > 80 {
				t.Errorf("%s: %d columns: %q", name, Width(line), line)
			}
		}
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range []string{"", "orders", hostile, "日本語", "\xf0\x9f", "\U000e0041", "a\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		safe := Safe(s)
		for i, r := range safe {
			if r == utf8.RuneError && isInvalid(safe[i:]) || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("Safe(%q) lets %U out", s, r)
			}
		}
		if Safe(safe) != safe {
			t.Fatalf("Safe is not stable for %q", s)
		}
		if cell := Cell(s); cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
			t.Fatalf("Cell(%q) begins a formula", s)
		}
		if clipped := Clip(safe, 10); Width(clipped) > 10 {
			t.Fatalf("Clip(%q) is %d wide", safe, Width(clipped))
		}
		// A call is written as Marshal writes it.
		call := schema.Call{Path: s, UserAgent: s, Tenant: s, QueryKeys: []string{s}, Credential: schema.Credential{ID: s, Groups: []string{s}}}
		var one, other bytes.Buffer
		if err := errors.Join(Line(&one, &call), Line(&other, call)); err != nil || !bytes.Equal(one.Bytes(), other.Bytes()) {
			t.Fatalf("%q is written as %q and as %q, error %v", s, &one, &other, err)
		}
		// What JSON carries is what was given, escaped.
		var out bytes.Buffer
		if err := Line(&out, s); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
	})
}
