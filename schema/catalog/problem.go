package catalog

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// Problem is one thing that is wrong in a catalogue.
type Problem struct {
	// File is the path as it was opened.
	File string
	// Line and Column count from 1; 0 where they are not known.
	Line, Column int
	// Message says what is wrong: lower case, no full stop.
	Message string
	// Hint says what to do about it; it may be empty.
	Hint string
}

// String returns "file:line:column: message; hint".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
		if p.Column > 0 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(p.Column))
		}
	}
	b.WriteString(": ")
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Problems is the error of [Load]: everything that is wrong, not the first
// thing only, in the order of files and lines.
type Problems struct {
	List []Problem
}

// Error returns one line a problem.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is 2: wrong use or configuration.
func (p *Problems) ExitCode() int { return 2 }

// sorted puts the problems in order and drops repetitions, which one mistake
// that is read twice (an anchor, a shared document) would make.
func (p *Problems) sorted() *Problems {
	sort.SliceStable(p.List, func(i, j int) bool {
		a, b := p.List[i], p.List[j]
		switch {
		case a.File != b.File:
			return a.File < b.File
		case a.Line != b.Line:
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	kept := p.List[:0]
	for i, problem := range p.List {
		if i == 0 || problem != p.List[i-1] {
			kept = append(kept, problem)
		}
	}
	p.List = kept
	return p
}

// Ambiguous is the error of [Catalog.CredentialFor] where two credentials of
// the catalogue match one principal.
type Ambiguous struct {
	Principal     schema.Principal
	First, Second *Credential
}

// Error names both credentials and the places where they are declared.
func (a *Ambiguous) Error() string {
	return fmt.Sprintf("credentials %q (%s:%d) and %q (%s:%d) both match the %s with id %q; make the match of one narrower",
		a.First.ID, a.First.File, a.First.Line, a.Second.ID, a.Second.File, a.Second.Line, a.Principal.Kind, a.Principal.ID)
}

// ExitCode is 2: wrong use or configuration.
func (a *Ambiguous) ExitCode() int { return 2 }
