package output

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// textWidth is how wide prose runs where the terminal does not say.
const textWidth = 100

// prose writes labelled, wrapped lines.
type prose struct {
	out   *bufio.Writer
	paint Paint
	width int
	next  func([]string) []string
}

func newProse(w io.Writer, o Options) *prose {
	width := textWidth
	if o.Columns >= 40 && o.Columns < width {
		width = o.Columns
	}
	return &prose{bufio.NewWriter(w), o.Paint, width, o.next}
}

// head writes the first lines of something.
func (p *prose) head(text string) {
	for _, line := range wrap(Safe(text), p.width) {
		p.out.WriteString(p.paint.Strong(line) + "\n")
	}
}

// Paragraph makes lines of a text, as long as a terminal of so many columns has
// room for; 0 is none.
func Paragraph(text string, columns int) []string {
	return wrap(Safe(text), newProse(nil, Options{Columns: columns}).width)
}

// labelWidth is the room for the words before the colon-less labels.
const labelWidth = 17

// label writes "    word        text", wrapping text under itself.
func (p *prose) label(word, text string) {
	if text == "" {
		return
	}
	lead := "    " + word + strings.Repeat(" ", max(1, labelWidth-len(word)-4))
	for i, line := range wrap(Safe(text), p.width-labelWidth) {
		if i == 0 {
			p.out.WriteString(p.paint.Quiet(lead))
		} else {
			p.out.WriteString(strings.Repeat(" ", max(labelWidth, len(word)+5)))
		}
		p.out.WriteString(line + "\n")
	}
}

// whole writes a line that must not be wrapped, such as a command to copy.
func (p *prose) whole(word, text string) {
	lead := "    " + word + strings.Repeat(" ", max(1, labelWidth-len(word)-4))
	p.out.WriteString(p.paint.Quiet(lead) + Safe(text) + "\n")
}

// wrap breaks a safe text at spaces. A word longer than the width stays whole:
// what people copy must not be cut.
func wrap(text string, width int) []string {
	var lines []string
	line, n := "", 0
	for _, word := range strings.Split(text, " ") {
		w := Width(word)
		if line != "" && n+1+w > width {
			lines = append(lines, line)
			line, n = "", 0
		}
		if line != "" {
			line += " "
			n++
		}
		line += word
		n += w
	}
	return append(lines, line)
}

func writeText(w io.Writer, r *Report, o Options) error {
	p := newProse(w, o)
	if r.Partial != "" {
		fmt.Fprintf(p.out, "%s %s\n\n", p.paint.Warn("Partial result:"), Safe(r.Partial))
	}
	words := schema.Severities()
	slices.Reverse(words)
	for _, word := range words {
		var these []*schema.Finding
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Severity.String() == word && !f.OverBudget && f.Status != schema.StatusSuppressed {
				these = append(these, f)
			}
		}
		if len(these) == 0 {
			continue
		}
		fmt.Fprintf(p.out, "%s (%d)\n\n", p.paint.Word(word), len(these))
		for _, f := range these {
			p.finding(f)
		}
	}
	p.summary(r)
	return p.out.Flush()
}

// finding writes one finding: a sentence, why, what to do.
func (p *prose) finding(f *schema.Finding) {
	head := Safe(f.Title)
	if f.Status != schema.StatusOpen {
		head += " [" + f.Status.String() + "]"
	}
	for _, line := range wrap(head, p.width-2) {
		fmt.Fprintf(p.out, "  %s\n", p.paint.Strong(line))
	}
	p.whole("finding", string(f.ID)+"  "+f.Detection)
	for i, reason := range f.Reasons {
		if i == 0 {
			p.label("why", reason)
		} else {
			p.label("", reason)
		}
	}
	p.label("needs", Demand(f.Evidence.Demand))
	if f.Evidence.Granted != nil {
		p.label("granted", listOr(f.Evidence.Granted, "nothing"))
	}
	p.label("seen", span(f))
	if c := f.Evidence.Coverage; c != nil {
		p.label("coverage", CoverageText(c))
	}
	p.label("harmless if", trimStop(f.Evidence.BenignIf))
	p.commands(f.Next)
	p.out.WriteByte('\n')
}

// commands writes commands to copy.
func (p *prose) commands(list []string) {
	word := "next"
	for _, command := range p.next(list) {
		p.whole(word, command)
		word = ""
	}
}

func trimStop(s string) string { return strings.TrimSuffix(s, ".") }

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	const most = 12
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

// span says when, how often, where and how sure.
func span(f *schema.Finding) string {
	var parts []string
	switch {
	case f.First.IsZero():
	case f.First.Equal(f.Last) || f.Last.IsZero():
		parts = append(parts, Minute(f.First)+" UTC")
	default:
		parts = append(parts, Minute(f.First)+" to "+Minute(f.Last)+" UTC")
	}
	if f.Calls > 0 {
		parts = append(parts, Count(f.Calls, "call"))
	}
	if f.Tenant != "" {
		parts = append(parts, "tenant "+f.Tenant)
	}
	if f.Environment != "" {
		parts = append(parts, f.Environment)
	}
	parts = append(parts, fmt.Sprintf("confidence %.2f", f.Confidence))
	return strings.Join(parts, ", ")
}

// summary writes what the findings stand on: the last thing read, so the first
// remembered.
func (p *prose) summary(r *Report) {
	s := &r.Summary
	total := len(r.Findings) - s.OverBudget - s.Suppressed
	var by []string
	words := schema.Severities()
	slices.Reverse(words)
	for _, word := range words {
		if n := s.Findings[word]; n > 0 {
			by = append(by, fmt.Sprintf("%d %s", n, word))
		}
	}
	switch {
	case total == 0 && s.Calls == 0:
		p.out.WriteString(p.paint.Strong("No calls, so nothing was judged.") + "\n")
	case total == 0:
		p.out.WriteString(p.paint.Strong("No findings.") + "\n")
	default:
		fmt.Fprintf(p.out, "%s %s\n", p.paint.Strong(Count(uint64(total), "finding")+":"), strings.Join(by, ", "))
	}
	if s.OverBudget > 0 {
		p.label("over budget", fmt.Sprintf("%s less odd than the day's budget has room for: -o json has them, and so has scopedrift findings --over-budget on a store",
			Count(uint64(s.OverBudget), "finding")))
	}
	if s.Suppressed > 0 {
		p.label("suppressed", fmt.Sprintf("%s that the catalogue silences: -o json has them with the reasons, and so has scopedrift findings --status suppressed on a store",
			Count(uint64(s.Suppressed), "finding")))
	}
	p.label("calls", p.callsLine(r))
	p.list("read", inputLines(s.Inputs))
	c := s.Credentials
	p.label("credentials", credentialsLine(&c))
	p.label("catalogue", catalogueLine(&r.Catalogue))
	p.list("coverage", coverageLines(r.Coverage))
	p.label("verdicts", counts(s.Uses))
	p.list("unmapped", reasonsByCount(s.Unmapped))
	p.list("not judged", withheldLines(s.Withheld))
	p.list("note", append(slices.Clone(r.Catalogue.Notes), s.Notes...))
}

func (p *prose) list(word string, lines []string) {
	const most = 8
	for i, line := range lines {
		if i == most {
			p.label("", fmt.Sprintf("and %d more: -o json has them all", len(lines)-most))
			return
		}
		if i == 0 {
			p.label(word, line)
		} else {
			p.label("", line)
		}
	}
}

func credentialsLine(c *CredentialCounts) string {
	line := fmt.Sprintf("%d seen, of which the catalogue declares %d", c.Declared+c.Undeclared, c.Declared)
	if c.Silent > 0 {
		line += fmt.Sprintf("; %d declared and not seen", c.Silent)
	}
	if c.Anonymous > 0 {
		line += fmt.Sprintf("; %d unknown or anonymous", c.Anonymous)
	}
	return line
}

func (p *prose) callsLine(r *Report) string {
	s := &r.Summary
	line := Number(s.Calls)
	if !r.Window.From.IsZero() || !r.Window.To.IsZero() {
		line += ", " + WindowText(r.Window)
	}
	if s.Repeated > 0 {
		line += fmt.Sprintf("; %s seen twice and counted once", Number(s.Repeated))
	}
	return line
}

// inputLines says how each input was read. Why a format was chosen is told
// where there are few inputs, or where something of the input was lost.
func inputLines(list []Input) []string {
	var lines []string
	for i := range list {
		in := &list[i]
		unit := "unit"
		if in.Format == "pcap" {
			unit = "packet"
		}
		line := fmt.Sprintf("%s as %s: %s of %s", in.Name, in.Format, Count(in.Calls, "call"), Count(in.Units, unit))
		switch {
		case in.Units == 0 && in.Calls == 0 && len(in.Skipped) == 0 && !in.Cut:
			lines = append(lines, in.Name+" is empty")
			continue
		case in.Format == "":
			line = fmt.Sprintf("%s fits no known format: 0 calls of %s", in.Name, Count(in.Units, "unit"))
		}
		skipped := counts(in.Skipped)
		if skipped != "" {
			line += "; skipped " + skipped
		}
		if in.Why != "" && (in.Format != "" || in.Cut) && (len(list) <= 3 || skipped != "" || in.Cut) {
			line += " (" + in.Why + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

func catalogueLine(c *Catalogue) string {
	if c.Digest == "" {
		return "none: only what needs no catalogue was judged; --catalog PATH names one"
	}
	short := c.Digest
	if len(short) > 12 {
		short = short[:12]
	}
	return fmt.Sprintf("%s, %s, %s, digest %s", firstOf(c.Path, "given"),
		Count(uint64(c.Services), "service"), Count(uint64(c.Credentials), "credential"), short)
}

func coverageLines(list []schema.Coverage) []string {
	if len(list) == 0 {
		return []string{"unknown: the catalogue declares no sources, so \"unused\" means as far as these logs show"}
	}
	lines := make([]string, 0, len(list))
	for i := range list {
		if list[i].Service == "" && len(list) > 1 {
			continue // calls that name no service: what covers them is nobody's question
		}
		lines = append(lines, firstOf(list[i].Service, "all services")+": "+CoverageText(&list[i]))
	}
	return lines
}

// CoverageText says in words how much was seen.
func CoverageText(c *schema.Coverage) string {
	text := "unknown"
	if c.Known {
		text = fmt.Sprintf("%.1f %% of the traffic", 100*c.Share)
	}
	if c.Days > 0 {
		text += fmt.Sprintf(", %d of %d days", c.DaysSeen, c.Days)
	}
	for _, hole := range c.Holes {
		text += "; " + hole
	}
	return text
}

// WindowText says a span of time in words.
func WindowText(w schema.Window) string {
	switch {
	case w.From.IsZero() && w.To.IsZero():
		return "all time"
	case w.From.IsZero():
		return "until " + Minute(w.To) + " UTC"
	case w.To.IsZero():
		return "from " + Minute(w.From) + " UTC"
	}
	if days := w.To.Sub(w.From).Hours() / 24; days >= 2 {
		return fmt.Sprintf("%s to %s UTC (%.0f days)", w.From.UTC().Format(time.DateOnly), w.To.UTC().Format(time.DateOnly), days)
	}
	return Minute(w.From) + " to " + Minute(w.To) + " UTC"
}

// counts writes "10 not_json, 2 too_long", the most frequent first.
func counts(m map[string]uint64) string { return strings.Join(reasonsByCount(m), ", ") }

func reasonsByCount(m map[string]uint64) []string {
	keys := slices.Collect(maps.Keys(m))
	sort.Slice(keys, func(i, j int) bool {
		if m[keys[i]] != m[keys[j]] {
			return m[keys[i]] > m[keys[j]]
		}
		return keys[i] < keys[j]
	})
	var parts []string
	for _, key := range keys {
		if m[key] > 0 {
			parts = append(parts, Number(m[key])+" "+key)
		}
	}
	return parts
}

// Count writes a number with its noun in the right form.
func Count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Number writes a number with its thousands apart.
func Number(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
