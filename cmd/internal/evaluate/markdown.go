package main

import (
	"fmt"
	"strings"

	"github.com/scopedrift/scopedrift/deployments/scenario/world"
)

const preface = `# How well the detections do

Written by ` + "`make eval`" + ` on %s with %s; do not edit. It simulates %d companies (seeds %d to %d, %d calls), scans
their logs with the real program, and compares the findings with what is known about each company. No threshold
was tuned on these worlds: work on detections uses others (` + "`make eval SET=dev`" + `), with other seeds, names, sizes and
lengths. What a campaign should make fire is worked out from the definitions of the detections and the attacker's
calls (` + "`deployments/scenario/world`" + `), not from what detections said. These are figures about simulated traffic.

To look at one world: ` + "`go run ./cmd/internal/evaluate -set held -seeds 103 -ablate 0 -keep DIR`" + ` leaves its logs,
catalogue, ` + "`truth.jsonl`" + ` and ` + "`report.json`" + ` in DIR.

## What is found

A campaign counts as seen by a detection if a finding of it, within the day's budget, falls on one of the misused
credentials while they were misused. Stealth: *loud*; *pairs*, only services that the credential called before;
*active*, only while the credential is in use; *both*; *slow*, hours between calls. The interval is a bootstrap over
campaigns. The delay is from the campaign's first call until the detection's definition was fulfilled, or the first
call that the finding names if that is later.

`

// table writes rows as Markdown.
func table(b *strings.Builder, rows []row) {
	for i, r := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(r)))
		}
	}
	b.WriteString("\n")
}

// sample lists the first few failures of each detection.
func sample(b *strings.Builder, list []failure) {
	for _, code := range codes {
		n := 0
		for i := range list {
			if list[i].code != code {
				continue
			}
			if n++; n <= 4 {
				fmt.Fprintf(b, "- %s, seed %d: %s\n", code, list[i].cfg.Seed, list[i].text)
			}
		}
		if n > 4 {
			fmt.Fprintf(b, "- %s: %d more\n", code, n-4)
		}
	}
	b.WriteString("\n")
}

// markdown writes the whole report.
func (t *tally) markdown(day, program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, preface, day, program, len(t.worlds), t.worlds[0].Seed, t.worlds[len(t.worlds)-1].Seed, t.calls)
	table(&b, t.recall())
	b.WriteString("## What is true\n\nA finding is true if its credential lies in a campaign for which the detection may speak, or has that fault by design " +
		"of the company. Counted are findings of medium severity and above; low ones are notes, of which nobody is called. Every world holds look-alikes of every detection: what is harmless and looks otherwise.\n\n")
	table(&b, t.precision())
	average, worst := t.mean()
	fmt.Fprintf(&b, "Findings of medium severity and above, within the budget, a day for 1,000 identities: %.1f on average, %.1f in the worst world. "+
		"These worlds hold %d campaigns and faults by design in each, far more than a real company of their size.\n\n", average, worst, len(t.campaignNames())/max(len(t.worlds), 1))
	if rows := t.losses(); len(rows) > 1 {
		b.WriteString("## What is lost when logs lack something\n\nThe same happens in the same worlds, and less of it is logged. *Invented* counts findings of rules, " +
			"of medium severity and above, that the full data contradicts; *unexplained* those whose excuse is in what is left out, as an access request is in grants.\n\n")
		table(&b, rows)
	}
	b.WriteString("## Look-alikes that fired\n\n")
	sample(&b, t.fired)
	b.WriteString("## False findings\n\n")
	sample(&b, t.wrong)
	b.WriteString("## Missed\n\n")
	sample(&b, t.missed)
	b.WriteString("## The worlds\n\n")
	table(&b, worldRows(t.worlds))
	return b.String()
}

// campaignNames are those that some detection should see.
func (t *tally) campaignNames() map[string]bool {
	names := map[string]bool{}
	for _, c := range t.chances {
		names[c.campaign] = true
	}
	return names
}

func worldRows(list []world.Config) []row {
	rows := []row{{"seed", "services", "credentials", "days", "calls", "topology", "rhythm", "traced", "tenants", "staging", "NAT"}}
	for _, c := range list {
		rows = append(rows, row{fmt.Sprint(c.Seed), fmt.Sprint(c.Services), fmt.Sprint(c.Credentials), fmt.Sprint(c.Days), fmt.Sprint(c.Calls),
			string(c.Topology), string(c.Rhythm), fmt.Sprintf("%.0f %%", 100*c.Traced), fmt.Sprint(c.Tenants), fmt.Sprint(c.Staging), fmt.Sprint(c.NAT)})
	}
	return rows
}
