package output

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/scopedrift/scopedrift/detector/investigate"
)

// WriteInvestigationMarkdown writes an investigation as a document to hand on:
// all of it, unlike the first screen.
func WriteInvestigationMarkdown(w io.Writer, r *investigate.Investigation, o Options) error {
	m := &markdown{bufio.NewWriter(w)}
	m.out.WriteString("# " + m.text(investigationHead(r)) + "\n\n" + m.text(WindowText(r.Window)) + "\n")
	for i := range r.Credentials {
		m.identity(&r.Credentials[i])
	}
	m.heading("When")
	m.table([]string{"from", "to", "verdicts", "services", "new", "found"}, len(r.Timeline.Periods), func(n int) []string {
		p := &r.Timeline.Periods[n]
		var ids []string
		for _, id := range p.Findings {
			ids = append(ids, string(id))
		}
		return []string{Minute(p.From), Minute(p.To), verdictsText(&p.Verdicts), strings.Join(p.Services, ", "), strings.Join(p.New, ", "), strings.Join(ids, ", ")}
	})
	m.heading("Found")
	m.table([]string{"finding", "severity", "status", "first", "title"}, len(r.Findings), func(n int) []string {
		f := &r.Findings[n]
		return []string{string(f.ID), f.Severity.String(), f.Status.String(), Minute(f.First), f.Title}
	})
	m.heading("What it did")
	m.used(r.Used)
	m.heading("From where")
	m.table([]string{"place", "calls", "days", "first", "last", "credentials", "strange"}, len(r.Places), func(n int) []string {
		p := &r.Places[n]
		return []string{p.Name, Number(p.Calls), fmt.Sprint(p.Days), Minute(p.First), Minute(p.Last), strings.Join(p.Credentials, ", "), p.Strange}
	})
	m.heading("The way")
	if len(r.Links.Path) > 0 {
		m.out.WriteString("```text\n")
		drawWay(m.out, r.Links.Path, "")
		m.out.WriteString("```\n")
	} else {
		m.out.WriteString("No way is known.\n")
	}
	if len(r.Links.Touched) > 0 {
		m.heading("Touched from places that do not belong")
		m.used(r.Links.Touched)
	}
	m.heading("Coverage")
	for _, line := range coverageLines(r.Coverage) {
		m.out.WriteString("- " + m.text(line) + "\n")
	}
	for _, note := range append(r.Notes, r.Links.Cut...) {
		m.out.WriteString("- note: " + m.text(note) + "\n")
	}
	if next := o.next(r.Next); len(next) > 0 {
		m.heading("Next")
		for _, command := range next {
			m.out.WriteString("    " + Safe(command) + "\n")
		}
	}
	return m.out.Flush()
}

type markdown struct{ out *bufio.Writer }

// text makes an observed string plain text of Markdown.
func (m *markdown) text(s string) string {
	var b strings.Builder
	for _, r := range Safe(s) {
		if strings.ContainsRune("\\`*_{}[]<>#|!~&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (m *markdown) heading(text string) { m.out.WriteString("\n## " + text + "\n\n") }

func (m *markdown) table(heads []string, rows int, row func(int) []string) {
	if rows == 0 {
		m.out.WriteString("Nothing.\n")
		return
	}
	m.out.WriteString("| " + strings.Join(heads, " | ") + " |\n|" + strings.Repeat("---|", len(heads)) + "\n")
	for n := range rows {
		cells := row(n)
		for i := range cells {
			cells[i] = m.text(cells[i])
		}
		m.out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
}

func (m *markdown) used(list []investigate.Used) {
	m.table([]string{"credential", "service", "operation", "tenant", "class", "verdicts", "first", "last"}, len(list), func(n int) []string {
		u := &list[n]
		return []string{u.Credential, u.Service, u.Operation, u.Tenant, u.Class, verdictsText(&u.Verdicts), Minute(u.First), Minute(u.Last)}
	})
}

func (m *markdown) identity(c *investigate.Credential) {
	m.heading("Credential " + m.text(c.ID))
	line := func(word, text string) {
		if text != "" {
			m.out.WriteString("- " + word + ": " + m.text(text) + "\n")
		}
	}
	line("observed as", strings.Join(c.Observed, ", "))
	line("kind", c.Kind)
	line("owner", firstOf(c.Owner, "not known"))
	line("workload", c.Workload)
	line("purpose", c.Purpose)
	line("life", life(c.Issued, c.Expires))
	for i := range c.Holds {
		h := &c.Holds[i]
		line("holds", holdsText(h)+map[bool]string{true: ", used", false: ", not used"}[h.Used])
	}
	for i := range c.Possible {
		line("could use", possibleText(&c.Possible[i], len(c.Possible[i].Unused)))
	}
}
