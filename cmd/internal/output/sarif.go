package output

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// The parts of SARIF 2.1.0 that we write. Names are the standard's.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string         `json:"id"`
		Name             string         `json:"name"`
		ShortDescription sarifMessage   `json:"shortDescription"`
		FullDescription  sarifMessage   `json:"fullDescription"`
		Help             sarifMessage   `json:"help"`
		Properties       map[string]any `json:"properties"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Kind         string             `json:"kind"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Count        uint64             `json:"occurrenceCount,omitempty"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]any     `json:"properties"`
	}
	sarifSuppression struct {
		Kind   string `json:"kind"`
		Status string `json:"status"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// informationURI is where the program is described.
const informationURI = "https://github.com/scopedrift/scopedrift"

func writeSARIF(w io.Writer, r *Report, o Options) error {
	rules, index := sarifRules(r, o.Detections)
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{"scopedrift", firstOf(r.Version, "unknown"), informationURI, rules}},
		ColumnKind: "unicodeCodePoints",
		Invocations: []sarifInvocation{{
			Successful:    r.Partial == "",
			Notifications: sarifNotes(r),
		}},
		Results: make([]sarifResult, 0, len(r.Findings)),
		Properties: map[string]any{
			"catalogue": r.Catalogue, "window": r.Window, "coverage": r.Coverage, "summary": r.Summary,
		},
	}
	for i := range r.Findings {
		run.Results = append(run.Results, sarifFinding(&r.Findings[i], index, o))
	}
	return Document(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}

// sarifRules makes a rule of every known detection, and of one that only a
// finding knows (a stored finding of a newer release).
func sarifRules(r *Report, detections []Detection) ([]sarifRule, map[string]int) {
	rules := []sarifRule{}
	index := map[string]int{}
	add := func(d Detection) {
		index[d.Code] = len(rules)
		short := firstOf(d.Short, d.Name, d.Code)
		tags := []string{"security", "identity"}
		for _, id := range d.Frameworks {
			tags = append(tags, frameworkTag(id))
		}
		rules = append(rules, sarifRule{
			ID: d.Code, Name: ruleName(firstOf(d.Name, d.Code)),
			ShortDescription: sarifMessage{short},
			FullDescription:  sarifMessage{firstOf(d.Help, short)},
			Help:             sarifMessage{firstOf(d.Help, short)},
			Properties:       map[string]any{"tags": tags, "precision": "high"},
		})
	}
	for _, d := range detections {
		add(d)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if _, known := index[f.Code]; !known {
			add(Detection{Code: f.Code, Name: f.Detection, Frameworks: f.Frameworks})
		}
	}
	return rules, index
}

// ruleName turns unused-scope into UnusedScope, as SARIF wants names.
func ruleName(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' || r == ' ' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// frameworkTag names the framework beside the id, since tags have no columns.
func frameworkTag(id string) string {
	switch {
	case strings.HasPrefix(id, "NHI"):
		return "owasp-nhi/" + id
	case strings.HasPrefix(id, "API"):
		return "owasp-api/" + id
	case len(id) > 1 && id[0] == 'T' && id[1] >= '0' && id[1] <= '9':
		return "mitre-attack/" + id
	case strings.Contains(id, ".") && strings.Contains(id, "-"):
		return "nist-csf/" + id
	}
	return id
}

func sarifNotes(r *Report) []sarifNotification {
	var notes []sarifNotification
	add := func(level string, lines ...string) {
		for _, line := range lines {
			notes = append(notes, sarifNotification{level, sarifMessage{line}})
		}
	}
	if r.Partial != "" {
		add("error", "partial result: "+r.Partial)
	}
	add("warning", withheldLines(r.Summary.Withheld)...)
	add("note", r.Catalogue.Notes...)
	add("note", r.Summary.Notes...)
	return notes
}

func sarifFinding(f *schema.Finding, index map[string]int, o Options) sarifResult {
	result := sarifResult{
		RuleID: f.Code, RuleIndex: index[f.Code], Level: sarifLevel(f.Severity), Kind: "fail",
		Message:      sarifMessage{sarifText(f)},
		Locations:    []sarifLocation{{Logical: sarifLogicals(f)}},
		Fingerprints: map[string]string{"findingId/v1": string(f.ID)},
		Count:        f.Calls,
		Properties: map[string]any{
			"tags": append([]string{f.Detection}, f.Frameworks...), "finding": f,
			"security-severity": map[schema.Severity]string{
				schema.SeverityLow: "3.0", schema.SeverityMedium: "5.5",
				schema.SeverityHigh: "8.0", schema.SeverityCritical: "9.5",
			}[f.Severity],
		},
	}
	if f.Status == schema.StatusSuppressed {
		result.Suppressions = []sarifSuppression{{"external", "accepted"}}
	} else if f.OverBudget {
		// A viewer then keeps it out of what is to be looked at.
		result.Suppressions = []sarifSuppression{{"external", "underReview"}}
	}
	if o.Locate != nil {
		if file, line := o.Locate(f.Credential.ID); file != "" {
			result.Locations[0].Physical = &sarifPhysical{sarifArtifact{fileURI(file)}, sarifRegion{max(1, line)}}
		}
	}
	return result
}

// sarifText is title and reasons as plain text. Braces begin placeholders in
// SARIF messages, so they are doubled.
func sarifText(f *schema.Finding) string {
	text := f.Title
	for _, reason := range f.Reasons {
		text += "\n" + reason
	}
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(text)
}

func sarifLevel(s schema.Severity) string {
	switch s {
	case schema.SeverityLow:
		return "note"
	case schema.SeverityMedium:
		return "warning"
	}
	return "error"
}

// sarifLogicals places a finding where identities live: credential, service,
// operation or scope.
func sarifLogicals(f *schema.Finding) []sarifLogical {
	list := []sarifLogical{{f.Credential.ID, f.Credential.ID, "credential"}}
	if f.Service != "" {
		list = append(list, sarifLogical{f.Service, f.Credential.ID + "/" + f.Service, "service"})
	}
	if f.Operation != "" {
		list = append(list, sarifLogical{f.Operation, fmt.Sprintf("%s/%s/%s", f.Credential.ID, f.Service, f.Operation), "operation"})
	}
	if f.Scope != "" {
		list = append(list, sarifLogical{f.Scope, f.Credential.ID + "/" + f.Scope, "scope"})
	}
	return list
}

// fileURI writes a path as a URI reference; relative ones stay relative, so
// that viewers find them in the checkout.
func fileURI(path string) string {
	escaped := strings.NewReplacer("%", "%25", " ", "%20", "#", "%23", "?", "%3F").Replace(filepath.ToSlash(path))
	if strings.HasPrefix(escaped, "/") {
		return "file://" + escaped
	}
	return escaped
}
