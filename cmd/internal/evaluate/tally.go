package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/deployments/scenario/world"
	"github.com/scopedrift/scopedrift/schema"
)

// chance is one campaign that a detection should see.
type chance struct {
	code, stealth, entry, campaign, world string
	found                                 bool
	// late is how long after the campaign's first call its definition was
	// fulfilled, or the first call that the finding names was made.
	late time.Duration
}

// counts are a detection's true and false findings of medium severity and above,
// and its notes: low ones, of which nobody is called, and the false among them.
type counts struct{ right, wrong, wrongHigh, notes, wrongNotes int }

// failure is something missed or wrong.
type failure struct {
	code, what string
	cfg        world.Config
	text       string
}

// tally gathers what was measured.
type tally struct {
	set     world.Set
	worlds  []world.Config
	chances []chance
	// faults counts by code the faults of companies, and those found.
	faults   map[string]*[2]int
	findings map[string]*counts
	fired    []failure
	missed   []failure
	wrong    []failure
	// alikes counts by code the look-alikes, and those that fired.
	alikes map[string]*[2]int
	// daily are findings of medium or more a day for 1,000 identities, by world.
	daily    []float64
	calls    uint64
	took     time.Duration
	ablation map[string]*loss
	present  map[string]bool
}

// loss is what an ablation costs.
type loss struct {
	recall map[string]*[4]int // found and chances in the whole, then in the part
	// invented is what the full logs contradict, unexplained what they make
	// harmless: it is so, and the reason why it may be is not in these logs.
	invented, unexplained []string
}

func newTally(set world.Set, list []world.Config) *tally {
	return &tally{set: set, worlds: list, faults: map[string]*[2]int{}, findings: map[string]*counts{}, alikes: map[string]*[2]int{},
		ablation: map[string]*loss{}, present: map[string]bool{}}
}

// of reports whether a finding is about one of the named credentials.
func of(f *schema.Finding, names []string) bool {
	if slices.Contains(names, f.Credential.ID) {
		return true
	}
	return slices.ContainsFunc(f.Credential.Observed, func(id string) bool { return slices.Contains(names, id) })
}

// within reports whether a finding's calls touch a span, with a day of grace at
// its end.
func within(f *schema.Finding, from, to time.Time) bool {
	return !f.Last.Before(from) && !f.First.After(to.Add(24*time.Hour))
}

// truly reports whether a finding says something true, and why.
func truly(t *world.Truth, f *schema.Finding) bool {
	for i := range t.Faults {
		if s := &t.Faults[i]; s.Code == f.Code && of(f, []string{s.Credential}) && (s.Scope == "" || s.Scope == f.Scope) {
			return true
		}
	}
	for i := range t.Campaigns {
		if c := &t.Campaigns[i]; (slices.Contains(c.Must, f.Code) || slices.Contains(c.May, f.Code)) && of(f, c.Credentials) && within(f, c.From, c.To) {
			return true
		}
	}
	return false
}

// seen returns the finding that shows a campaign to a detection, nil if none.
func seen(list []schema.Finding, c *world.Campaign, code string) *schema.Finding {
	for i := range list {
		if f := &list[i]; f.Code == code && !f.OverBudget && of(f, c.Credentials) && within(f, c.From, c.To) {
			return f
		}
	}
	return nil
}

// over says that a finding shows a campaign to a detection, and is kept back.
func over(list []schema.Finding, c *world.Campaign, code string) string {
	for i := range list {
		if f := &list[i]; f.Code == code && f.OverBudget && of(f, c.Credentials) && within(f, c.From, c.To) {
			return "; the finding " + string(f.ID) + " is there, and over its day's budget"
		}
	}
	return ""
}

func (t *tally) add(w *trial) {
	t.calls += w.Summary.Calls
	t.took += w.took
	loud := 0
	for i := range w.Findings {
		f := &w.Findings[i]
		t.present[f.Code] = true
		if f.OverBudget || f.Status != schema.StatusOpen {
			continue
		}
		if f.Severity >= schema.SeverityMedium {
			loud++
		}
		n, right := entry(t.findings, f.Code), truly(w.truth, f)
		if f.Severity == schema.SeverityLow {
			if n.notes++; !right {
				n.wrongNotes++
			}
			continue
		}
		if right {
			n.right++
			continue
		}
		n.wrong++
		if f.Severity >= schema.SeverityHigh {
			n.wrongHigh++
		}
		t.wrong = append(t.wrong, failure{f.Code, "wrong", w.cfg, fmt.Sprintf("%s %s: %s", f.Severity, f.ID, f.Title)})
	}
	identities := w.Summary.Credentials.Declared + w.Summary.Credentials.Undeclared
	t.daily = append(t.daily, float64(loud)/float64(w.cfg.Days)/float64(max(identities, 1))*1000)
	t.addCampaigns(w)
	t.addCompany(w)
}

// addCampaigns counts what was seen of the attackers.
func (t *tally) addCampaigns(w *trial) {
	for i := range w.truth.Campaigns {
		c := &w.truth.Campaigns[i]
		if len(c.Must) > 0 {
			t.chances = append(t.chances, anySeen(w, c))
		}
		for _, code := range c.Must {
			o := chance{code: code, stealth: c.Stealth, entry: c.Entry, campaign: c.ID, world: w.cfg.Name()}
			if f := seen(w.Findings, c, code); f != nil {
				o.found = true
				o.late = max(f.First.Sub(c.From), c.Seen[code].Sub(c.From))
			} else {
				t.missed = append(t.missed, failure{code, "missed", w.cfg, fmt.Sprintf("%s: %s, %d calls by %v, %s to %s%s", c.ID, code, c.Calls, c.Credentials,
					c.From.Format("2006-01-02 15:04"), c.To.Format("2006-01-02 15:04"), over(w.Findings, c, code))})
			}
			t.chances = append(t.chances, o)
		}
	}
}

// anySeen says whether any detection that may speak of a campaign did.
func anySeen(w *trial, c *world.Campaign) chance {
	o := chance{code: whatever, stealth: c.Stealth, entry: c.Entry, campaign: c.ID, world: w.cfg.Name()}
	for _, code := range slices.Concat(c.Must, c.May) {
		if f := seen(w.Findings, c, code); f != nil {
			late := max(f.First.Sub(c.From), 0)
			if at, ok := c.Seen[code]; ok {
				late = max(late, at.Sub(c.From))
			}
			if !o.found || late < o.late {
				o.found, o.late = true, late
			}
		}
	}
	return o
}

// addCompany counts faults of the company and look-alikes.
func (t *tally) addCompany(w *trial) {
	for i := range w.truth.Faults {
		s := &w.truth.Faults[i]
		if s.May {
			continue
		}
		n := entry(t.faults, s.Code)
		n[1]++
		if slices.ContainsFunc(w.Findings, func(f schema.Finding) bool {
			return f.Code == s.Code && of(&f, []string{s.Credential}) && (s.Scope == "" || s.Scope == f.Scope)
		}) {
			n[0]++
		} else {
			t.missed = append(t.missed, failure{s.Code, "missed", w.cfg, fmt.Sprintf("%s %s: %s", s.Credential, s.Scope, s.Why)})
		}
	}
	for i := range w.truth.LookAlikes {
		l := &w.truth.LookAlikes[i]
		if l.Change && !w.cfg.Changes {
			continue
		}
		n := entry(t.alikes, l.Code)
		n[1]++
		for j := range w.Findings {
			f := &w.Findings[j]
			if f.Code == l.Code && !f.OverBudget && f.Status == schema.StatusOpen && f.Severity > schema.SeverityLow && of(f, l.Credentials) && within(f, l.From, l.To) && !truly(w.truth, f) {
				n[0]++
				t.fired = append(t.fired, failure{l.Code, "look-alike fired", w.cfg, fmt.Sprintf("%s: %s %s: %s", l.What, f.Severity, f.ID, f.Title)})
				break
			}
		}
	}
}

// ablated compares a world with the same world of which less is logged.
func (t *tally) ablated(name string, whole, part *trial) {
	l := t.ablation[name]
	if l == nil {
		l = &loss{recall: map[string]*[4]int{}}
		t.ablation[name] = l
	}
	for i := range whole.truth.Campaigns {
		c := &whole.truth.Campaigns[i]
		for _, code := range c.Must {
			n := entry(l.recall, code)
			n[1]++
			n[3]++
			if seen(whole.Findings, c, code) != nil {
				n[0]++
			}
			if seen(part.Findings, c, code) != nil {
				n[2]++
			}
		}
	}
	known := map[schema.FindingID]bool{}
	for i := range whole.Findings {
		known[whole.Findings[i].ID] = true
	}
	for i := range part.Findings {
		f := &part.Findings[i]
		if f.Score == nil && f.Severity > schema.SeverityLow && !known[f.ID] && !truly(whole.truth, f) {
			text := fmt.Sprintf("%s %s %s: %s", whole.cfg.Name(), f.Severity, f.ID, f.Title)
			if name == "no-grants" && f.Code == "D03" {
				l.unexplained = append(l.unexplained, text) // refused, then allowed: that was so, and granted in between
			} else {
				l.invented = append(l.invented, text)
			}
		}
	}
}

// invented counts what rules said of less than all logs, and falsely.
func (t *tally) invented() int {
	n := 0
	for _, l := range t.ablation {
		n += len(l.invented)
	}
	return n
}

// entry returns a map's value, made if it is not there.
func entry[V any](m map[string]*V, key string) *V {
	if m[key] == nil {
		m[key] = new(V)
	}
	return m[key]
}
