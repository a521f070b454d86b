package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Report is all that one run says: what was found, what it was found in, and
// what could not be judged. Its JSON form is schema/report.schema.json.
type Report struct {
	// Version is the program's.
	Version   string    `json:"version"`
	Catalogue Catalogue `json:"catalogue"`
	// Window is the span of time judged.
	Window schema.Window `json:"window"`
	// Partial says why the report is not complete, empty when it is.
	Partial  string            `json:"partial,omitempty"`
	Coverage []schema.Coverage `json:"coverage"`
	Summary  Summary           `json:"summary"`
	Findings []schema.Finding  `json:"findings"`
}

// Catalogue says which catalogue the findings were judged by.
type Catalogue struct {
	Path string `json:"path,omitempty"`
	// Digest is the SHA-256 of its files; empty without a catalogue.
	Digest      string   `json:"digest,omitempty"`
	Services    int      `json:"services"`
	Credentials int      `json:"credentials"`
	Notes       []string `json:"notes,omitempty"`
}

// Summary is what the findings stand on.
type Summary struct {
	// Calls are the calls judged, Stored those this run added.
	Calls  uint64 `json:"calls"`
	Stored uint64 `json:"stored,omitempty"`
	// Repeated are calls seen twice and dropped.
	Repeated    uint64           `json:"repeated,omitempty"`
	Credentials CredentialCounts `json:"credentials"`
	Inputs      []Input          `json:"inputs,omitempty"`
	// Uses counts the folded uses by verdict.
	Uses map[string]uint64 `json:"uses,omitempty"`
	// Unmapped explains in words why uses could not be judged, with how many.
	Unmapped map[string]uint64 `json:"unmapped,omitempty"`
	// Findings counts by severity those that are open and within the budget of
	// their day, OverBudget those over it, Suppressed those that are silenced.
	Findings   map[string]int `json:"findings"`
	OverBudget int            `json:"over_budget,omitempty"`
	Suppressed int            `json:"suppressed,omitempty"`
	// Withheld says what detections would not say, and why.
	Withheld []Withheld `json:"withheld,omitempty"`
	Notes    []string   `json:"notes,omitempty"`
}

// CredentialCounts splits the credentials by what is known of them.
type CredentialCounts struct {
	Declared   int `json:"declared"`
	Undeclared int `json:"undeclared"`
	// Silent are declared and made no call.
	Silent int `json:"silent"`
	// Anonymous are callers that proved nothing, or of whom the log tells
	// nothing.
	Anonymous int `json:"anonymous"`
}

// Withheld is what one detection would not say, for one reason.
type Withheld struct {
	Code string `json:"code"`
	// Why is a clause; Count says of how many objects, Examples names some.
	Why      string   `json:"why"`
	Count    int      `json:"count"`
	Examples []string `json:"examples,omitempty"`
}

// String is the sentence for people.
func (w Withheld) String() string {
	text := fmt.Sprintf("%s about %s: %s", w.Code, Count(uint64(w.Count), "object"), w.Why)
	if len(w.Examples) > 0 {
		text += " (such as " + strings.Join(w.Examples, ", ") + ")"
	}
	return text
}

func withheldLines(list []Withheld) []string {
	lines := make([]string, len(list))
	for i := range list {
		lines[i] = list[i].String()
	}
	return lines
}

// Input is one file, stream or capture read.
type Input struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	// Why says how the format was chosen.
	Why   string `json:"why,omitempty"`
	Units uint64 `json:"units"`
	Calls uint64 `json:"calls"`
	// Cut says that reading ended before the input did; Why says why.
	Cut bool `json:"-"`
	// Skipped counts the units that became no call, by reason.
	Skipped map[string]uint64 `json:"skipped,omitempty"`
}

// Detection is what is known about one detection besides its findings; SARIF
// turns it into a rule.
type Detection struct {
	Code, Name string
	// Short is one sentence, Help a paragraph: what fires it, what is benign.
	Short, Help string
	Frameworks  []string
}

// Options are what writers need besides the report.
type Options struct {
	Paint Paint
	// Columns is the terminal's width, 0 for none.
	Columns int
	// Detections are all detections in order of code.
	Detections []Detection
	// Locate finds the file and line where the catalogue declares a
	// credential; nil or an empty file where it does not.
	Locate func(credential string) (file string, line int)
	// Next completes a command that a finding leads on to, for people: with
	// the store and the catalogue it needs. An empty answer leaves it out; nil
	// shows commands as they are.
	Next func(command string) string
}

// next returns the commands to show.
func (o *Options) next(commands []string) []string {
	if o.Next == nil {
		return commands
	}
	var shown []string
	for _, c := range commands {
		if c = o.Next(c); c != "" {
			shown = append(shown, c)
		}
	}
	return shown
}

// Write writes the report in a format.
func Write(w io.Writer, format Format, r *Report, o Options) error {
	switch format {
	case Text:
		return writeText(w, r, o)
	case Grid:
		counted := slices.DeleteFunc(slices.Clone(r.Findings), func(f schema.Finding) bool { return f.OverBudget || f.Status == schema.StatusSuppressed })
		return findingTable(counted).Print(w, o.Columns, o.Paint)
	case JSON:
		return Document(w, r)
	case JSONL:
		for i := range r.Findings {
			if err := Line(w, &r.Findings[i]); err != nil {
				return err
			}
		}
		return nil
	case CSV:
		return findingCSV(r.Findings).CSV(w)
	case SARIF:
		return writeSARIF(w, r, o)
	case OCSF:
		return writeOCSF(w, r, o)
	}
	return fmt.Errorf("unknown output format %q", string(format))
}

// Tidy fills what must not be null and counts the findings by severity.
func (r *Report) Tidy() {
	if r.Findings == nil {
		r.Findings = []schema.Finding{}
	}
	if r.Coverage == nil {
		r.Coverage = []schema.Coverage{}
	}
	r.Summary.Findings, r.Summary.OverBudget, r.Summary.Suppressed = map[string]int{}, 0, 0
	for _, s := range schema.Severities() {
		r.Summary.Findings[s] = 0
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Status == schema.StatusSuppressed:
			r.Summary.Suppressed++
		case f.Status != schema.StatusOpen:
		case f.OverBudget:
			r.Summary.OverBudget++
		default:
			r.Summary.Findings[f.Severity.String()]++
		}
		if f.Reasons == nil {
			f.Reasons = []string{}
		}
		if f.Frameworks == nil {
			f.Frameworks = []string{}
		}
		if f.Credential.Observed == nil {
			f.Credential.Observed = []string{}
		}
	}
}

// findingTable is the short form for people.
func findingTable(findings []schema.Finding) *Table {
	t := &Table{Columns: []Column{
		{Name: "id"}, {Name: "severity"}, {Name: "detection", Keep: 9, Spare: 1}, {Name: "credential", Keep: 10},
		{Name: "service", Keep: 8, Spare: 4}, {Name: "operation", Keep: 12, Spare: 5}, {Name: "calls", Right: true, Spare: 2},
		{Name: "last", Spare: 3}, {Name: "title", Keep: 20},
	}}
	for i := range findings {
		f := &findings[i]
		t.Add(string(f.ID), f.Severity.String(), f.Detection, f.Credential.ID, f.Service,
			firstOf(f.Operation, f.Scope, f.Session), fmt.Sprint(f.Calls), Minute(f.Last), f.Title)
	}
	return t
}

// findingCSV has every flat field of the finding.
func findingCSV(findings []schema.Finding) *Table {
	t := &Table{}
	for _, name := range []string{
		"id", "detection", "code", "severity", "confidence", "status", "verdict", "credential", "observed",
		"kind", "owner", "workload", "session", "service", "operation", "scope", "tenant", "environment",
		"first", "last", "calls", "title", "reasons", "granted", "demand", "benign_if", "frameworks", "next", "over_budget",
	} {
		t.Columns = append(t.Columns, Column{Name: name})
	}
	for i := range findings {
		f := &findings[i]
		verdict := ""
		if f.Verdict != nil {
			verdict = f.Verdict.String()
		}
		t.Add(string(f.ID), f.Detection, f.Code, f.Severity.String(), fmt.Sprintf("%.2f", f.Confidence),
			f.Status.String(), verdict, f.Credential.ID, join(f.Credential.Observed), f.Credential.Kind,
			f.Credential.Owner, f.Credential.Workload, f.Session, f.Service, f.Operation, f.Scope, f.Tenant,
			f.Environment, Stamp(f.First), Stamp(f.Last), fmt.Sprint(f.Calls), f.Title, join(f.Reasons),
			join(f.Evidence.Granted), Demand(f.Evidence.Demand), f.Evidence.BenignIf, join(f.Frameworks), join(f.Next), fmt.Sprint(f.OverBudget))
	}
	return t
}

func join(list []string) string { return strings.Join(list, "; ") }

// Demand writes alternatives as "a and b, or c".
func Demand(alternatives [][]string) string {
	parts := make([]string, len(alternatives))
	for i, all := range alternatives {
		parts[i] = strings.Join(all, " and ")
		if len(all) == 0 {
			parts[i] = "nothing"
		}
	}
	return strings.Join(parts, ", or ")
}

// Stamp writes a time as the JSON does, empty for the zero time.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(schema.TimeFormat)
}

// Minute writes a time for people: UTC, to the minute.
func Minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
