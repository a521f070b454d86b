package output

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/recommend"
)

// WriteRecommendation writes one recommendation for people: what to keep and
// why, what can go and how sure that is, what nobody knows, the proof, and the
// proposal with its undo as catalogue YAML.
func WriteRecommendation(w io.Writer, r *recommend.Recommendation, o Options) error {
	p := newProse(w, o)
	p.head(headline(r))
	p.out.WriteByte('\n')
	p.credential(&r.Credential)
	p.label("stands on", WindowText(r.Window)+", "+basisText(r.Basis))
	for i := range r.Keep {
		k := &r.Keep[i]
		p.label(first("keep", i), fmt.Sprintf("%s: %s on %s, the last on %s", heldText(&k.Held),
			Count(k.Calls, "call"), Count(uint64(k.Days), "day"), k.LastUse.UTC().Format(time.DateOnly)))
		p.label("", "for "+operationList(k.Operations))
	}
	for i := range r.Remove {
		p.removal(&r.Remove[i], i)
	}
	for i := range r.Unknown {
		p.label(first("not known", i), heldText(&r.Unknown[i].Held)+": kept, since "+r.Unknown[i].Why)
	}
	for i := range r.Quarantined {
		q := &r.Quarantined[i]
		line := fmt.Sprintf("%s on %s, %s, is under suspicion and no need", q.Operation.Operation, q.Service, Count(q.Calls, "call"))
		if q.Refused {
			line += "; the proposal refuses it"
		}
		for _, id := range q.Findings {
			line += " (" + string(id) + ")"
		}
		p.label(first("suspicious", i), line)
	}
	for i := range r.Outside {
		p.label(first("outside", i), fmt.Sprintf("%s on %s, %s, was authorised then and lies outside what is held now",
			r.Outside[i].Operation, r.Outside[i].Service, Count(r.Outside[i].Calls, "call")))
	}
	p.proof(r)
	p.list("note", r.Notes)
	if r.Smaller {
		p.block("The smaller grant, for the catalogue:", r.Proposal)
		p.block("The way back:", r.Inverse)
	}
	return p.out.Flush()
}

// first is the label of the first of several lines.
func first(word string, i int) string {
	if i == 0 {
		return word
	}
	return ""
}

func headline(r *recommend.Recommendation) string {
	held := len(r.Keep) + len(r.Remove) + len(r.Unknown)
	switch {
	case r.Basis == "none":
		return fmt.Sprintf("What %s holds is not known, so nothing can be recommended", r.Credential.ID)
	case !r.Smaller:
		return fmt.Sprintf("%s: nothing of its %s can be removed", r.Credential.ID, Count(uint64(held), "scope"))
	}
	return fmt.Sprintf("%s needs %d of its %s; %d can be removed", r.Credential.ID,
		held-len(r.Remove), Count(uint64(held), "scope"), len(r.Remove))
}

func basisText(basis string) string {
	switch basis {
	case "declared":
		return "the grants that the catalogue declares"
	case "presented":
		return "what its tokens presented, since the catalogue declares nothing"
	}
	return "nothing that says what it holds"
}

func heldText(h *recommend.Held) string {
	text := h.Scope
	if h.Authority != "" {
		text += " at " + h.Authority
	}
	if h.On != "" {
		text += ", on " + h.On
	}
	return text
}

// operationList names operations, the first few of them.
func operationList(list []recommend.Operation) string {
	const most = 6
	var parts []string
	for i := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		name := list[i].Operation + " on " + list[i].Service
		if list[i].Tenant != "" {
			name += " (" + list[i].Tenant + ")"
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

func (p *prose) removal(r *recommend.Remove, i int) {
	line := heldText(&r.Held) + ": " + r.Class
	if len(r.CoveredBy) > 0 {
		line += ", its calls are covered by " + strings.Join(r.CoveredBy, " and ")
	}
	line += fmt.Sprintf(", %s observed", Count(uint64(r.DaysObserved), "day"))
	if r.LastUse.IsZero() {
		line += ", never used"
	} else {
		line += ", last used " + r.LastUse.UTC().Format(time.DateOnly)
	}
	line += fmt.Sprintf("; confidence %.2f (%s)", r.Confidence, r.Label)
	p.label(first("remove", i), line)
	if r.Opens != "" {
		p.label("", r.Opens)
	}
	if r.Why != "" {
		p.label("", r.Why)
	}
	if len(r.Caveats) > 0 {
		p.label("", "but "+strings.Join(r.Caveats, ", "))
	}
}

// proof says what replaying the calls showed.
func (p *prose) proof(r *recommend.Recommendation) {
	if r.Basis == "none" {
		return
	}
	p.label("replayed", replayText(&r.Replay))
	if h := r.HoldOut; h != nil {
		p.label("back test", fmt.Sprintf("a proposal made from the calls before %s would have removed %s; after that day it would have met %s",
			h.Split.UTC().Format(time.DateOnly), Count(uint64(h.Removed), "scope"), replayText(&h.Replay)))
	}
	proved := "nothing that opens less is possible"
	if !r.Solver.Optimal {
		proved = "something that opens still less may be possible"
	}
	p.label("excess", fmt.Sprintf("what is open beyond need weighs %d before and %d after; %s", r.Solver.ExcessBefore, r.Solver.ExcessAfter, proved))
}

func replayText(r *recommend.Replay) string {
	text := fmt.Sprintf("%s of %s on %s, ", Count(r.Calls, "call"), Count(uint64(r.Operations), "operation"), Count(uint64(r.Days), "day"))
	if len(r.Refused) == 0 {
		return text + "0 refused"
	}
	return text + fmt.Sprintf("%d operations refused: %s", len(r.Refused), operationList(r.Refused))
}

// block writes text to copy, under a heading. Its lines stay lines; what is in
// them is made safe.
func (p *prose) block(heading, text string) {
	fmt.Fprintf(p.out, "\n%s\n\n", p.paint.Strong(heading))
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		p.out.WriteString("  " + Safe(line) + "\n")
	}
}

// RecommendationTable is the short form of several recommendations.
func RecommendationTable(list []recommend.Recommendation) *Table {
	t := &Table{Columns: []Column{
		{Name: "credential", Keep: 16}, {Name: "held", Right: true}, {Name: "keep", Right: true}, {Name: "remove", Right: true},
		{Name: "unknown", Right: true, Spare: 2}, {Name: "excess_before", Right: true, Spare: 1}, {Name: "excess_after", Right: true, Spare: 3},
		{Name: "refused", Right: true}, {Name: "to_remove", Keep: 16},
	}}
	for i := range list {
		r := &list[i]
		var names []string
		for j := range r.Remove {
			names = append(names, r.Remove[j].Scope)
		}
		t.Add(r.Credential.ID, fmt.Sprint(len(r.Keep)+len(r.Remove)+len(r.Unknown)), fmt.Sprint(len(r.Keep)), fmt.Sprint(len(r.Remove)),
			fmt.Sprint(len(r.Unknown)), fmt.Sprint(r.Solver.ExcessBefore), fmt.Sprint(r.Solver.ExcessAfter),
			fmt.Sprint(len(r.Replay.Refused)), strings.Join(names, ", "))
	}
	return t
}
