package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/investigate"
)

// How many lines of each part a first screen shows; JSON has them all.
const (
	mostPeriods = 24
	mostUsed    = 15
	mostPlaces  = 10
	mostMention = 12
)

// WriteInvestigation writes an investigation for people: who it is, what it did
// when, what it could do, from where, what to ask next.
func WriteInvestigation(w io.Writer, r *investigate.Investigation, o Options) error {
	p := newProse(w, o)
	p.head(investigationHead(r))
	for i := range r.Credentials {
		p.out.WriteByte('\n')
		p.identity(&r.Credentials[i])
	}
	p.list("coverage", coverageLines(r.Coverage))
	p.label("", WindowText(r.Window))
	p.section("When", "by the "+r.Timeline.Step+", UTC; alike ones joined")
	p.periods(r)
	if len(r.Findings) > 0 {
		p.section("Found", Count(uint64(len(r.Findings)), "finding")+" about it, by time")
		p.mentions(r)
	}
	p.section("What it did", Count(uint64(len(r.Used)), "operation")+" by service and tenant, the gravest first")
	p.used(r.Used, len(r.Credentials) > 1)
	p.section("What it could do", "at the end of the window")
	for i := range r.Credentials {
		p.possible(&r.Credentials[i], len(r.Credentials) > 1)
	}
	p.section("From where", Count(uint64(len(r.Places)), "place")+", the first seen first; calls that failed are not counted")
	p.places(r)
	p.ways(r)
	for _, note := range append(r.Notes, r.Links.Cut...) {
		p.label("note", note)
	}
	if len(r.Next) > 0 {
		p.section("Next", "")
		for _, command := range p.next(r.Next) {
			p.out.WriteString("  " + Safe(command) + "\n")
		}
	}
	return p.out.Flush()
}

func investigationHead(r *investigate.Investigation) string {
	switch r.Question.Kind {
	case investigate.KindFinding:
		head := "Finding " + r.Question.Name
		if r.Question.Finding != nil {
			head += ": " + r.Question.Finding.Title
		}
		return head
	case investigate.KindWorkload:
		return fmt.Sprintf("Workload %s, which used %s", r.Question.Name, Count(uint64(len(r.Credentials)), "credential"))
	}
	return "Credential " + r.Credentials[0].ID
}

// section writes the heading of a part.
func (p *prose) section(title, about string) {
	p.out.WriteString("\n" + p.paint.Strong(title))
	if about != "" {
		about = "(" + about + ")"
		if Width(title)+1+Width(about) > p.width {
			p.out.WriteByte('\n') // on lines of its own
			for i, line := range wrap(about, p.width) {
				if i > 0 {
					p.out.WriteByte('\n')
				}
				p.out.WriteString(p.paint.Quiet(line))
			}
		} else {
			p.out.WriteString(" " + p.paint.Quiet(about))
		}
	}
	p.out.WriteByte('\n')
}

// identity says who a credential is.
func (p *prose) identity(c *investigate.Credential) {
	p.credential(&c.FindingCredential)
	if !c.Declared {
		p.label("", "the catalogue does not declare it")
	}
	p.label("purpose", c.Purpose)
	p.label("life", life(c.Issued, c.Expires))
	if c.First.IsZero() {
		p.label("seen", "never in this window")
	} else {
		p.label("seen", fmt.Sprintf("%s to %s UTC, %s on %s", Minute(c.First), Minute(c.Last), Count(c.Calls, "call"), Count(uint64(c.Days), "day")))
	}
	var used, idle []string
	for i := range c.Holds {
		if h := &c.Holds[i]; h.Used {
			used = append(used, holdsText(h))
		} else {
			idle = append(idle, holdsText(h))
		}
	}
	switch c.Basis {
	case investigate.BasisNone:
		p.label("holds", "not known: nothing is declared, and no token presents scopes")
	default:
		word := map[string]string{investigate.BasisPresented: " (as its tokens present)"}[c.Basis]
		p.label("holds", "used: "+listOr(used, "nothing")+word)
		p.label("", "not used: "+listOr(idle, "nothing"))
	}
}

func holdsText(h *investigate.Held) string {
	text := h.Scope
	if h.On != "" {
		text += " " + h.On
	}
	if h.Conditional {
		text += " (conditional)"
	}
	return text
}

func life(issued, expires time.Time) string {
	var parts []string
	if !issued.IsZero() {
		parts = append(parts, "issued "+issued.UTC().Format(time.DateOnly))
	}
	if !expires.IsZero() {
		parts = append(parts, "expires "+expires.UTC().Format(time.DateOnly))
	}
	return strings.Join(parts, ", ")
}

// verdictsText writes "12 exercised, 3 beyond".
func verdictsText(v *investigate.Verdicts) string {
	var parts []string
	for _, one := range []struct {
		n    uint64
		word string
	}{{v.Beyond, "beyond"}, {v.Denied, "denied"}, {v.Exercised, "exercised"}, {v.Unmapped, "unmapped"}} {
		if one.n > 0 {
			parts = append(parts, Number(one.n)+" "+one.word)
		}
	}
	if len(parts) == 0 {
		return "silent"
	}
	return strings.Join(parts, ", ")
}

// when writes a period: a day, or the hours or days that it spans.
func when(from, to time.Time, step string, steps int) string {
	if step == "hour" {
		if steps == 1 {
			return from.UTC().Format("2006-01-02 15:04")
		}
		last := to.Add(-time.Nanosecond).UTC()
		if last.YearDay() == from.UTC().YearDay() {
			return from.UTC().Format("2006-01-02 15:04") + " to " + last.Format("15") + ":59"
		}
		return from.UTC().Format("2006-01-02 15:04") + " to " + last.Format("01-02 15") + ":59"
	}
	if steps == 1 && step == "day" {
		return from.UTC().Format(time.DateOnly)
	}
	return from.UTC().Format(time.DateOnly) + " to " + to.Add(-time.Nanosecond).UTC().Format("01-02")
}

// periods writes the timeline; where it is long, the dull middle is left out.
func (p *prose) periods(r *investigate.Investigation) {
	t := &r.Timeline
	shown := make([]bool, len(t.Periods))
	left := mostPeriods
	show := func(n int) {
		if n >= 0 && n < len(shown) && !shown[n] && left > 0 {
			shown[n] = true
			left--
		}
	}
	show(0)
	show(len(t.Periods) - 1)
	for n := range t.Periods { // what something begins in comes before what only passes
		if one := &t.Periods[n]; len(one.Findings) > 0 || one.Verdicts.Beyond > 0 {
			show(n)
		}
	}
	for n := range t.Periods {
		if len(t.Periods[n].New) > 0 {
			show(n)
		}
	}
	for n := range t.Periods {
		show(n)
	}
	hidden := 0
	for n := range t.Periods {
		if !shown[n] {
			hidden++
			continue
		}
		p.gap(hidden)
		hidden = 0
		one := &t.Periods[n]
		text := verdictsText(&one.Verdicts)
		if len(one.Services) > 0 {
			text += "; " + shortList(one.Services, 4)
		}
		p.row(when(one.From, one.To, t.Step, one.Steps), text)
		if len(one.New) > 0 {
			p.row("", "new: "+shortList(one.New, 3))
		}
		if len(one.Findings) > 0 {
			ids := make([]string, len(one.Findings))
			for i, id := range one.Findings {
				ids[i] = string(id)
			}
			p.row("", "found: "+shortList(ids, 3))
		}
	}
	p.gap(hidden)
}

func (p *prose) gap(hidden int) {
	if hidden > 0 {
		p.row("...", fmt.Sprintf("%s more like these", Count(uint64(hidden), "period")))
	}
}

// rowLead is the room for the first column of a row.
const rowLead = 26

// row writes two columns, the second wrapped under itself. A name that is longer
// than its column stands on a line of its own: people copy it.
func (p *prose) row(first, text string) {
	if first = Safe(first); Width(first) > rowLead-3 {
		p.out.WriteString("  " + first + "\n")
		first = ""
	}
	for i, line := range wrap(Safe(text), p.width-rowLead) {
		if i > 0 {
			first = ""
		}
		p.out.WriteString("  " + first + strings.Repeat(" ", max(1, rowLead-2-Width(first))) + line + "\n")
	}
}

func shortList(list []string, most int) string {
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

func (p *prose) mentions(r *investigate.Investigation) {
	for i := range r.Findings {
		if i == mostMention {
			p.row("...", fmt.Sprintf("%d more: -o json has them all", len(r.Findings)-i))
			return
		}
		m := &r.Findings[i]
		text := m.Severity.String() + ": " + m.Title
		if m.Status.String() != "open" {
			text += " [" + m.Status.String() + "]"
		}
		p.row(string(m.ID), text)
		if !m.First.IsZero() {
			p.row("", "from "+Minute(m.First)+" UTC on")
		}
	}
}

func (p *prose) used(list []investigate.Used, named bool) {
	for i := range list {
		if i == mostUsed {
			p.row("...", fmt.Sprintf("%d more: -o json has them all", len(list)-i))
			return
		}
		u := &list[i]
		text := u.Operation
		if u.Tenant != "" {
			text += " in " + u.Tenant
		}
		if u.Class != "" {
			text += " [" + u.Class + "]"
		}
		if named {
			text += " as " + u.Credential
		}
		p.row(u.Service, text)
		p.row("", fmt.Sprintf("%s, %s to %s", verdictsText(&u.Verdicts), Minute(u.First), Minute(u.Last)))
	}
}

// ways writes the way to the credential and on, and what was touched.
func (p *prose) ways(r *investigate.Investigation) {
	l := &r.Links
	p.section("The way", "links of "+Minute(l.Window.From)+" to "+Minute(l.Window.To)+"; --all-links follows them over the whole window")
	switch {
	case len(l.Path) == 0:
		p.row("", "no call is known that led to it or that it led to another credential")
	default:
		if l.From != "" {
			p.row("", "as "+string(l.From)+" tells it")
		}
		if l.Entry != "" {
			p.row("likely entry", l.Entry)
		} else {
			p.row("", "nothing strange: these are the links of every day")
		}
		drawWay(p.out, l.Path, "  ")
	}
	p.edges(r)
	if len(l.Touched) > 0 {
		p.section("Touched from places that do not belong", Count(uint64(len(l.Touched)), "operation"))
		p.used(l.Touched, len(r.Credentials) > 1)
	}
}

// edges writes which credentials links lead to, besides those asked about.
func (p *prose) edges(r *investigate.Investigation) {
	asked := map[string]bool{}
	for i := range r.Credentials {
		asked[r.Credentials[i].ID] = true
	}
	shown := map[string]bool{}
	for i := range r.Links.Edges {
		e := &r.Links.Edges[i]
		other, word := e.To.Name, "leads on to"
		if e.Backward {
			other, word = e.From.Name, "comes from"
		}
		if e.Kind != "mint" && e.Kind != "cause" || asked[other] || shown[word+other] {
			continue
		}
		shown[word+other] = true
		what := map[string]string{"mint": "issued by", "cause": "called on after"}[string(e.Kind)]
		p.row(word, fmt.Sprintf("%s (%s %s, %s, %s)", other, what, shortList(e.Operations, 2), Count(e.Calls, "call"), tierWord(int(e.Tier))))
	}
}

func (p *prose) possible(c *investigate.Credential, named bool) {
	if named {
		p.row(c.ID, "")
	}
	if len(c.Possible) == 0 {
		p.row("", possibleUnlisted(c))
	}
	for i := range c.Possible {
		text := possibleText(&c.Possible[i], 5)
		p.row(c.Possible[i].Service, strings.TrimPrefix(text, c.Possible[i].Service+": "))
	}
}

// possibleText says what a credential may do at a service, naming some of what
// it did not.
func possibleText(one *investigate.Possible, most int) string {
	text := fmt.Sprintf("%s: %d of %s used", one.Service, one.Used, Count(uint64(one.Operations), "operation"))
	if one.Unknown > 0 {
		text += fmt.Sprintf(", %d more unknown", one.Unknown)
	}
	if len(one.Unused) > 0 {
		var names []string
		for _, op := range one.Unused {
			name := op.Operation
			if op.Class != "" {
				name += " [" + op.Class + "]"
			}
			names = append(names, name)
		}
		text += "; not used: " + shortList(names, most)
	}
	return text
}

// possibleUnlisted says what is known where the catalogue lists no operation.
func possibleUnlisted(c *investigate.Credential) string {
	if len(c.Holds) == 0 {
		return "nothing is known of what it may do"
	}
	return "whatever its scopes open: the catalogue lists no operation that they do"
}

func (p *prose) places(r *investigate.Investigation) {
	for i := range r.Places {
		if i == mostPlaces && i > r.Stranger {
			p.row("...", fmt.Sprintf("%d more: -o json has them all", len(r.Places)-i))
			return
		}
		one := &r.Places[i]
		p.row(one.Name, fmt.Sprintf("%s (%.1f %%) on %s, %s to %s", Count(one.Calls, "call"), 100*one.Share,
			Count(uint64(one.Days), "day"), Minute(one.First), Minute(one.Last)))
		var about []string
		if one.Addresses > 0 {
			about = append(about, strings.ReplaceAll(Count(uint64(one.Addresses), "address"), "addresss", "addresses")+" of "+shortList(one.Networks, 3))
		}
		if len(one.Clients) > 0 {
			about = append(about, "with "+shortList(one.Clients, 4))
		}
		if len(r.Credentials) > 1 {
			about = append(about, "as "+shortList(one.Credentials, 3))
		}
		if len(about) > 0 {
			p.row("", strings.Join(about, ", "))
		}
		if one.Strange != "" {
			word := "stranger"
			if i == r.Stranger {
				word = "first stranger"
			}
			p.row("", word+": "+one.Strange)
		}
	}
	if len(r.Places) == 0 {
		p.row("", "no accepted call shows where it came from")
	}
}
