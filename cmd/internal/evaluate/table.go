package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

var (
	codes    = []string{"D01", "D02", "D03", "D04", "D05", "D06", "D07", "D08", "D09", "D10", "D11", "D12", "D13", "D14", "D15", "D16", "D17", "D18"}
	stealths = []string{"loud", "pairs", "active", "both", "slow"}
)

// whatever stands for any detection.
const whatever = "any"

// row is one line of a table.
type row []string

// share writes a share and what it is of.
func share(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %% (%d/%d)", 100*float64(part)/float64(whole), part, whole)
}

// interval is the 90 % bootstrap interval of the share of chances taken, over
// campaigns.
func interval(list []chance) string {
	if len(list) < 2 {
		return "-"
	}
	r := rand.New(rand.NewPCG(8, uint64(len(list))))
	shares := make([]float64, 1000)
	for i := range shares {
		n := 0
		for range list {
			if list[r.IntN(len(list))].found {
				n++
			}
		}
		shares[i] = 100 * float64(n) / float64(len(list))
	}
	slices.Sort(shares)
	return fmt.Sprintf("%.0f–%.0f %%", shares[50], shares[949])
}

// recall is the table of what was found, by detection and stealth.
func (t *tally) recall() []row {
	rows := []row{append(append(row{"detection"}, stealths...), "all", "90 % interval", "median delay")}
	for _, code := range append(slices.Clone(codes), whatever) {
		var all []chance
		line := row{code}
		for _, stealth := range stealths {
			found, whole := 0, 0
			for _, c := range t.chances {
				if c.code == code && c.stealth == stealth {
					whole++
					if c.found {
						found++
					}
					all = append(all, c)
				}
			}
			line = append(line, share(found, whole))
		}
		if len(all) == 0 {
			continue
		}
		found := 0
		var late []time.Duration
		for _, c := range all {
			if c.found {
				found++
				late = append(late, c.late)
			}
		}
		delay := "-"
		if len(late) > 0 {
			slices.Sort(late)
			delay = late[len(late)/2].Round(time.Second).String()
		}
		rows = append(rows, append(line, share(found, len(all)), interval(all), delay))
	}
	return rows
}

// precision is the table of what was true.
func (t *tally) precision() []row {
	rows := []row{{"detection", "findings", "true", "false", "of them high", "precision", "low notes (false)", "company faults found", "look-alikes fired"}}
	for _, code := range codes {
		n, faults, alikes := entry(t.findings, code), entry(t.faults, code), entry(t.alikes, code)
		if !t.present[code] {
			rows = append(rows, row{code, "not there", "-", "-", "-", "-", "-", share(faults[0], faults[1]), share(alikes[0], alikes[1])})
			continue
		}
		rows = append(rows, row{code, fmt.Sprint(n.right + n.wrong), fmt.Sprint(n.right), fmt.Sprint(n.wrong), fmt.Sprint(n.wrongHigh),
			share(n.right, n.right+n.wrong), fmt.Sprintf("%d (%d)", n.notes, n.wrongNotes), share(faults[0], faults[1]), share(alikes[0], alikes[1])})
	}
	return rows
}

// losses is the table of what is lost where logs lack something.
func (t *tally) losses() []row {
	rows := []row{{"logs", "campaigns seen in full", "campaigns seen", "detections that lost most", "invented", "unexplained"}}
	for _, a := range ablations {
		l := t.ablation[a.name]
		if l == nil {
			continue
		}
		var sum [4]int
		type drop struct {
			code string
			n    int
		}
		var drops []drop
		for _, code := range codes {
			n := entry(l.recall, code)
			for i := range sum {
				sum[i] += n[i]
			}
			if n[0] > n[2] {
				drops = append(drops, drop{fmt.Sprintf("%s %d to %d of %d", code, n[0], n[2], n[1]), n[0] - n[2]})
			}
		}
		slices.SortStableFunc(drops, func(a, b drop) int { return b.n - a.n })
		var lost []string
		for _, d := range drops[:min(4, len(drops))] {
			lost = append(lost, d.code)
		}
		rows = append(rows, row{a.title, share(sum[0], sum[1]), share(sum[2], sum[3]), strings.Join(lost, "; "), fmt.Sprint(len(l.invented)), fmt.Sprint(len(l.unexplained))})
	}
	return rows
}

// mean is the average of the worlds' daily findings.
func (t *tally) mean() (average, worst float64) {
	for _, n := range t.daily {
		average += n / float64(len(t.daily))
		worst = max(worst, n)
	}
	return average, worst
}

func (t *tally) print(out io.Writer) {
	for _, table := range [][]row{t.recall(), t.precision(), t.losses()} {
		if len(table) > 1 {
			align(out, table)
			fmt.Fprintln(out)
		}
	}
	average, worst := t.mean()
	fmt.Fprintf(out, "findings of medium and above a day for 1,000 identities: %.1f on average, %.1f in the worst world\n", average, worst)
	fmt.Fprintf(out, "%d worlds, %d calls, %s of scanning\n", len(t.worlds), t.calls, t.took.Round(time.Second))
	for _, f := range t.fired {
		fmt.Fprintf(out, "look-alike %s in %s: %s\n", f.code, f.cfg.Name(), f.text)
	}
	for _, a := range ablations {
		if l := t.ablation[a.name]; l != nil {
			for _, text := range l.invented {
				fmt.Fprintf(out, "invented %s: %s\n", a.title, text)
			}
		}
	}
}

// align writes a table in columns.
func align(out io.Writer, table []row) {
	width := make([]int, len(table[0]))
	for _, r := range table {
		for i, cell := range r {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, r := range table {
		for i, cell := range r {
			fmt.Fprint(out, cell, strings.Repeat(" ", width[i]-len([]rune(cell))+2))
		}
		fmt.Fprintln(out)
	}
}

// failureList writes what was missed and what was wrong, by detection.
func (t *tally) failureList() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the evaluation found wrong with detections\n\nReproduce one world: make build && go run ./cmd/internal/evaluate -set %s -seeds SEED -ablate 0 -keep DIR\n(DIR/WORLD has logs, catalogue, truth.jsonl and report.json).\n", t.set)
	all := slices.Concat(t.wrong, t.fired, t.missed)
	for _, code := range codes {
		for _, what := range []string{"look-alike fired", "wrong", "missed"} {
			var list []failure
			for _, f := range all {
				if f.code == code && f.what == what {
					list = append(list, f)
				}
			}
			if len(list) == 0 {
				continue
			}
			note := ""
			if !t.present[code] {
				note = " (the detection is not there, or never fired)"
			}
			fmt.Fprintf(&b, "\n## %s %s: %d%s\n", code, what, len(list), note)
			for _, f := range list[:min(len(list), 12)] {
				fmt.Fprintf(&b, "- seed %d: %s\n", f.cfg.Seed, f.text)
			}
		}
	}
	return b.String()
}
