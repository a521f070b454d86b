package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// count writes "1 call" or "3 calls".
func count[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// some lists at most limit names and says how many more there are.
func some(names []string, limit int) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) <= limit {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:limit], ", "), len(names)-limit)
}

// stamp writes a time for a sentence, to the second.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// span writes a duration to the unit that a reader cares about.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return count(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return count(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour")
	}
	return count(int(d/(24*time.Hour)), "day")
}

// onService writes " on NAME", or nothing without a name.
func onService(name string) string {
	if name == "" {
		return ""
	}
	return " on " + name
}

// inTenant writes " in tenant NAME", or nothing without one.
func inTenant(name string) string {
	if name == "" {
		return ""
	}
	return " in tenant " + name
}

// demands writes what an operation needs: "a, or b with c".
func demands(alternatives [][]string) string {
	parts := make([]string, 0, len(alternatives))
	for _, all := range alternatives {
		parts = append(parts, strings.Join(all, " with "))
	}
	return strings.Join(parts, ", or ")
}

// alternatives returns the scopes of a demand's alternatives for a kind.
func alternatives(d *schema.Demand, kind schema.CredentialKind) [][]string {
	var out [][]string
	for i := range d.Alternatives {
		a := &d.Alternatives[i]
		if a.Applies(kind) && !a.Unscoped {
			out = append(out, slices.Clone(a.Scopes))
		}
	}
	return out
}

// argument quotes an observed string so that a POSIX shell takes it as one
// word, whatever it holds.
func argument(s string) string {
	plain := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%_+:,./-", r))
	}
	if s != "" && strings.IndexFunc(s, plain) < 0 && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// commands are the next steps from a finding.
func commands(f *schema.Finding, more ...string) []string {
	return append([]string{"scopedrift explain " + string(f.ID)}, more...)
}

// callsOf is the command that lists the calls behind a finding.
func callsOf(f *schema.Finding) string {
	command := "scopedrift calls --credential " + argument(f.Credential.ID)
	if f.Service != "" {
		command += " --service " + argument(f.Service)
	}
	if f.Operation != "" {
		command += " --operation " + argument(f.Operation)
	}
	if f.Tenant != "" {
		command += " --tenant " + argument(f.Tenant)
	}
	return command
}

// open begins a finding of the subject.
func (b *base) open(code string, object ...string) schema.Finding {
	d := detection(code)
	f := schema.Finding{
		ID: schema.NewFindingID(code, b.subject.Name, object...), Detection: d.Name, Code: d.Code,
		Status: schema.StatusOpen, Credential: b.subject.Credential(),
		Evidence: schema.Evidence{BenignIf: d.BenignIf}, Frameworks: slices.Clone(d.Frameworks),
	}
	if c := b.subject.Declared; c != nil && c.Kind == "agent" {
		f.Frameworks = append(f.Frameworks, frameworkAgentWatch, frameworkAgentAct)
	}
	return f
}

// environment returns the catalogue's word for where a service runs.
func (b *base) environment(service string) string {
	if s := b.env.Catalog.ServiceNamed(service); s != nil {
		return s.Environment
	}
	return ""
}

func verdict(v schema.Verdict) *schema.Verdict { return &v }

// unique sorts and compacts a list in place.
func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// sortedKeys returns the keys of a set of strings, sorted.
func sortedKeys[V any](set map[string]V) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
