package catalog

import (
	"fmt"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Suppression is the decision not to hear of some findings until a time. They are
// still judged, and counted as suppressed.
type Suppression struct {
	// Finding is the id of the one finding that is meant; or the others are globs,
	// in the sense of [Glob], of the findings that are: all that are given must
	// match. Detection is its name or code, Credential the name of the credential,
	// Object what it is about: service, operation, the two with a blank between,
	// scope, session or tenant.
	Finding                       string
	Detection, Credential, Object string
	// Reason says why; it is shown with the finding.
	Reason string
	// Until is exclusive.
	Until time.Time
	// File and Line say where it is declared.
	File string
	Line int
}

// Place is where it is declared, for people.
func (s *Suppression) Place() string { return fmt.Sprintf("%s:%d", s.File, s.Line) }

// Matches reports whether a finding is meant, whatever the time.
func (s *Suppression) Matches(f *schema.Finding) bool {
	if s.Finding != "" {
		return string(f.ID) == s.Finding
	}
	if s.Detection != "" && !Glob(s.Detection, f.Detection) && !Glob(s.Detection, f.Code) || s.Credential != "" && !Glob(s.Credential, f.Credential.ID) {
		return false
	}
	if s.Object == "" {
		return true
	}
	for _, object := range [...]string{f.Service, f.Operation, strings.TrimSpace(f.Service + " " + f.Operation), f.Scope, f.Session, f.Tenant} {
		if object != "" && Glob(s.Object, object) {
			return true
		}
	}
	return false
}

// Suppression returns the suppression of a finding that lasts longest, nil where
// none is meant for it; it may have ended.
func (c *Catalog) Suppression(f *schema.Finding) *Suppression {
	var found *Suppression
	for i := range c.Suppressions {
		s := &c.Suppressions[i]
		if s.Matches(f) && (found == nil || s.Until.After(found.Until)) {
			found = s
		}
	}
	return found
}

func (l *loader) suppression(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "suppression", "finding", "detection", "credential", "object", "reason", "until")
	if !ok {
		return
	}
	s := Suppression{Finding: f.text("finding"), Detection: f.text("detection"), Credential: f.text("credential"), Object: f.text("object"),
		Reason: strings.TrimSpace(f.required("reason")), Until: f.instant("until", true), File: file.path, Line: n.line}
	if n.get("until") == nil {
		l.problem(file, n, `a suppression needs the key "until"`, "it ends on that day, so that somebody looks again")
	}
	globs := s.Detection + s.Credential + s.Object
	switch {
	case s.Finding != "" && globs != "":
		l.problem(file, n, "a suppression names either a finding or detection, credential and object, not both", "scopedrift findings lists the ids")
	case s.Finding == "" && strings.Trim(globs, "*") == "":
		l.problem(file, n, "a suppression that names nothing would silence everything", "give it a finding, or a detection, credential or object")
	}
	var what []string
	for i, text := range [...]string{s.Finding, s.Detection, s.Credential, s.Object} {
		if text != "" {
			what = append(what, [...]string{"finding", "detection", "credential", "object"}[i]+" "+text)
		}
	}
	if l.once(file, n, "suppression of", strings.Join(what, ", ")) {
		l.catalog.Suppressions = append(l.catalog.Suppressions, s)
	}
}
