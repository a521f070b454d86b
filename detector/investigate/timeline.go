package investigate

import (
	"fmt"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Steps of a timeline. A window is shown by the hour up to hoursUpTo, by the day
// up to daysUpTo, else by the week: a screen holds some dozen lines, and rollups
// tell hours and days without a look at the calls.
const (
	hoursUpTo = 3 * 24 * time.Hour
	daysUpTo  = 200 * 24 * time.Hour
)

// stepOf chooses the step of a window's timeline.
func stepOf(w schema.Window) (step time.Duration, name string) {
	switch length := w.To.Sub(w.From); {
	case length <= hoursUpTo:
		return time.Hour, "hour"
	case length <= daysUpTo:
		return 24 * time.Hour, "day"
	}
	return 7 * 24 * time.Hour, "week"
}

// split names the times at which steps begin, within the window.
func (w *work) split(window schema.Window) []time.Time {
	w.step, w.result.Timeline.Step = stepOf(window)
	w.steps = nil
	for t := window.From.Truncate(w.step).Add(w.step); t.Before(window.To); t = t.Add(w.step) {
		w.steps = append(w.steps, t)
	}
	return w.steps
}

// stepIndex is the number of the step that a time lies in.
func (w *work) stepIndex(t time.Time) int {
	n, exact := slices.BinarySearchFunc(w.steps, t, func(a, b time.Time) int { return a.Compare(b) })
	if exact {
		n++
	}
	return n
}

// timeline folds the uses by step, and joins steps that look alike.
func (w *work) timeline() {
	r := w.result
	steps := make([]stepFold, len(w.steps)+1)
	news := map[string]time.Time{}
	begun := time.Time{}
	see := func(what string, at time.Time) {
		if first, ok := news[what]; !ok || at.Before(first) {
			news[what] = at
		}
	}
	for _, j := range w.judged {
		for i := range j.uses {
			u := &j.uses[i]
			steps[w.stepIndex(u.First)].add(u)
			see(u.Operation+onService(u.Service), u.First)
			if begun.IsZero() || u.First.Before(begun) {
				begun = u.First
			}
		}
	}
	for i := range r.Places {
		if w.place != "" {
			break // the others are for comparison
		}
		if p := &r.Places[i]; p.Workload != "" || len(p.Networks) > 0 {
			see("from "+p.Name, p.First)
		}
	}
	for what, at := range news {
		if n := w.stepIndex(at); n != w.stepIndex(begun) {
			steps[n].news = append(steps[n].news, what)
		}
	}
	for i := range r.Findings {
		m := &r.Findings[i]
		if m.First.IsZero() || m.First.Before(r.Window.From) {
			continue // it is about a state, or older
		}
		n := w.stepIndex(m.First)
		steps[n].findings = append(steps[n].findings, m.ID)
	}
	r.Timeline.Periods = w.join(steps)
}

// stepFold is one step.
type stepFold struct {
	tally    tally
	services map[string]bool
	news     []string
	findings []schema.FindingID
}

func (s *stepFold) add(u *rule.Use) {
	if s.tally == nil {
		s.tally, s.services = tally{}, map[string]bool{}
	}
	s.tally.add(u)
	s.services[u.Service] = true
}

// join makes periods of the steps: those that follow each other, brought nothing
// new, and show the same services with the same verdicts are one.
func (w *work) join(steps []stepFold) []Period {
	list := []Period{}
	look := ""
	for n := range steps {
		s := &steps[n]
		slices.Sort(s.news)
		p := Period{From: w.result.Window.From, To: w.result.Window.To, Steps: 1, Verdicts: s.tally.verdicts(),
			Services: sorted(s.services), New: s.news, Findings: s.findings}
		if n > 0 {
			p.From = w.steps[n-1]
		}
		if n < len(w.steps) {
			p.To = w.steps[n]
		}
		v := &p.Verdicts
		// Some calls of most days fail; that alone is no other look.
		this := fmt.Sprint(v.Exercised+v.Unmapped > 0, v.Beyond > 0, v.Denied > 0, p.Services)
		if len(list) > 0 && this == look && len(p.New) == 0 && len(p.Findings) == 0 {
			last := &list[len(list)-1]
			if len(last.New) == 0 && len(last.Findings) == 0 {
				last.To = p.To
				last.Steps++
				last.Verdicts.Add(p.Verdicts)
				continue
			}
		}
		look = this
		list = append(list, p)
	}
	return list
}

func onService(name string) string {
	if name == "" {
		return ""
	}
	return " on " + name
}
