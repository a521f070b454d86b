package investigate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// Config says what an investigator works on.
type Config struct {
	// Detector is the configuration of a detector of the same store; its window
	// is that of the question. Only is set by the investigator.
	Detector detector.Config
	// Findings are the stored ones, of any credential, in any order.
	Findings []schema.Finding
	// AllLinks follows links over the whole window, rather than around what is
	// strange; that looks at all its calls.
	AllLinks bool
}

// Investigator answers questions.
type Investigator struct {
	cfg   Config
	facts detector.Facts
}

// New returns an investigator that has done nothing yet.
func New(cfg Config) *Investigator {
	i := &Investigator{cfg: cfg, facts: cfg.Detector.Facts}
	if i.facts == nil && cfg.Detector.Conn != nil {
		i.facts = detector.Store(cfg.Detector.Conn)
	}
	return i
}

var (
	errNoFacts = errors.New("the investigator has no store to read: set Conn or Facts in its configuration")
	errNothing = errors.New("no calls are stored in the window, so there is nothing to look into")
)

// Investigate answers a question. A name that nobody knows is a
// *[detector.UnknownCredential].
func (i *Investigator) Investigate(ctx context.Context, q Question) (*Investigation, error) {
	if i.facts == nil {
		return nil, errNoFacts
	}
	w := &work{facts: i.facts, findings: i.cfg.Findings, result: &Investigation{Question: q, Stranger: -1}}
	cfg := i.cfg.Detector
	cfg.Facts = i.facts
	var err error
	switch q.Kind {
	case KindWorkload:
		err = w.workload(ctx, cfg, q.Name)
	case KindFinding:
		if q.Finding == nil {
			return nil, fmt.Errorf("finding %q was not handed in", q.Name)
		}
		w.suspect = q.Finding
		err = w.credential(ctx, cfg, q.Finding.Credential.ID)
	case KindCredential:
		err = w.credential(ctx, cfg, q.Name)
	default:
		w.result.Question.Kind = KindCredential
		err = w.credential(ctx, cfg, q.Name)
		var unknown *detector.UnknownCredential
		if errors.As(err, &unknown) {
			w.result.Question.Kind = KindWorkload
			if w.workload(ctx, cfg, q.Name) == nil {
				err = nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if len(w.judged) == 0 {
		return nil, errNothing
	}
	if err := w.finish(ctx); err != nil {
		return nil, err
	}
	if err := w.links(ctx, cfg, i.cfg.AllLinks); err != nil {
		return nil, err
	}
	w.next()
	return w.result, nil
}

// work is one investigation.
type work struct {
	facts    detector.Facts
	findings []schema.Finding
	suspect  *schema.Finding
	result   *Investigation
	judged   []*judged
	steps    []time.Time
	step     time.Duration
	// place narrows everything to the calls from there, if it is set.
	place string
}

// judged is one credential with the uses that count for the question.
type judged struct {
	*detector.Judged
	uses []rule.Use
}

func (w *work) credential(ctx context.Context, cfg detector.Config, name string) error {
	_, err := detector.New(cfg).Each(ctx, name, w.split, func(j *detector.Judged) error {
		w.judged = append(w.judged, &judged{j, j.Uses})
		return nil
	})
	return err
}

// maxOrigins bounds how many different origins one question may name.
const maxOrigins = 10_000

// workload looks into the credentials that were used from a place, and of these
// at the calls from there.
func (w *work) workload(ctx context.Context, cfg detector.Config, name string) error {
	first, last, err := w.facts.Span(ctx)
	if err != nil {
		return err
	}
	window := closed(cfg.Window, first, last)
	found := map[schema.PrincipalHash]bool{}
	if err := w.facts.Spots(ctx, detector.SpotQuery{Window: window, Workload: name}, func(p *rule.Spot) error {
		found[p.Hash] = true
		return nil
	}); err != nil {
		return err
	}
	if len(found) == 0 {
		return &detector.UnknownCredential{Name: name}
	}
	w.place = name
	cfg.Only = make([]schema.PrincipalHash, 0, len(found))
	for h := range found {
		cfg.Only = append(cfg.Only, h)
	}
	slices.SortFunc(cfg.Only, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	_, err = detector.New(cfg).Each(ctx, "", w.split, func(j *detector.Judged) error {
		uses, err := w.from(ctx, j)
		if err != nil {
			return err
		}
		w.judged = append(w.judged, &judged{j, uses})
		return nil
	})
	return err
}

// from returns the uses of a credential that came from the place asked about.
func (w *work) from(ctx context.Context, j *detector.Judged) ([]rule.Use, error) {
	var origins []rule.Origin
	err := w.facts.Origins(ctx, j.Env.Window, hashes(j.Subject), func(o *rule.Origin) error {
		if p := (rule.Spot{Workload: o.Workload, Address: o.Address}); p.In(w.place) {
			origins = append(origins, *o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(origins) > maxOrigins {
		w.note(fmt.Sprintf("%s used %s from %d sessions and addresses: shown is all that the credential did, from anywhere", w.place, j.Subject.Name, len(origins)))
		return j.Uses, nil
	}
	slices.SortFunc(origins, func(a, b rule.Origin) int {
		return cmp.Or(slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Session, b.Session), a.Address.Compare(b.Address), cmp.Compare(a.Workload, b.Workload))
	})
	return j.From(ctx, origins, true)
}

func (w *work) note(text string) { w.result.Notes = append(w.result.Notes, text) }

// closed closes a window as the detector does.
func closed(w schema.Window, first, last time.Time) schema.Window {
	if w.From.IsZero() {
		w.From = first
	}
	if w.To.IsZero() {
		w.To = last.Add(time.Microsecond)
	}
	return w
}

func hashes(s *rule.Subject) []schema.PrincipalHash {
	list := make([]schema.PrincipalHash, len(s.Principals))
	for i := range s.Principals {
		list[i] = s.Principals[i].Hash
	}
	return list
}

// finish puts the answer together.
func (w *work) finish(ctx context.Context) error {
	slices.SortFunc(w.judged, func(a, b *judged) int { return strings.Compare(a.Subject.Name, b.Subject.Name) })
	r := w.result
	env := w.judged[0].Env
	r.Window = env.Window
	r.Credentials, r.Used = []Credential{}, []Used{}
	services := map[string]bool{}
	for _, j := range w.judged {
		detector.SortUses(j.uses)
		one := w.who(j)
		r.Used = append(r.Used, w.used(j)...)
		for i := range j.uses {
			if j.uses[i].Service != "" {
				services[j.uses[i].Service] = true
			}
		}
		r.Credentials = append(r.Credentials, one)
		r.principals = append(r.principals, hashes(j.Subject)...)
	}
	slices.SortFunc(r.principals, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	sortUsed(r.Used)
	r.Coverage = []schema.Coverage{}
	for _, name := range sorted(services) {
		r.Coverage = append(r.Coverage, env.Coverage.Service(name).Coverage)
	}
	w.mentions()
	if err := w.places(ctx); err != nil {
		return err
	}
	w.timeline()
	return nil
}

// mentions lists the stored findings about the credentials.
func (w *work) mentions() {
	r := w.result
	r.Findings = []Mention{}
	names := map[string]bool{}
	for i := range r.Credentials {
		names[r.Credentials[i].ID] = true
	}
	for i := range w.findings {
		f := &w.findings[i]
		if !names[f.Credential.ID] || !f.First.IsZero() && (!f.First.Before(r.Window.To) || f.Last.Before(r.Window.From)) {
			continue
		}
		r.Findings = append(r.Findings, Mention{f.ID, f.Code, f.Detection, f.Severity, f.Status, f.Credential.ID, f.First, f.Last, f.Title})
	}
	slices.SortFunc(r.Findings, func(a, b Mention) int {
		return cmp.Or(a.First.Compare(b.First), -cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.ID, b.ID))
	})
}

// next names commands that lead on.
func (w *work) next() {
	r := w.result
	add := func(format string, args ...any) { r.Next = append(r.Next, "scopedrift "+fmt.Sprintf(format, args...)) }
	grave := -1
	for i := range r.Findings {
		if m := &r.Findings[i]; m.Status == schema.StatusOpen && (grave < 0 || m.Severity > r.Findings[grave].Severity) {
			grave = i
		}
	}
	if grave >= 0 {
		add("explain %s", r.Findings[grave].ID)
	}
	if r.Stranger >= 0 {
		p := &r.Places[r.Stranger]
		switch {
		case p.Workload != "":
			add("investigate workload:%s", rule.Argument(p.Workload))
		case p.Address != "":
			add("investigate workload:%s", p.Address)
		}
		add("calls --credential %s --since %s", rule.Argument(p.Credentials[0]), p.First.Format(time.RFC3339))
	}
	if len(r.Credentials) == 1 {
		name := rule.Argument(r.Credentials[0].ID)
		if r.Stranger < 0 {
			add("calls --credential %s", name)
		}
		if r.Credentials[0].Basis != BasisNone {
			add("recommend %s", name)
		}
		return
	}
	for i := range r.Credentials[:min(len(r.Credentials), 3)] {
		add("investigate credential:%s", rule.Argument(r.Credentials[i].ID))
	}
}

// sorted returns the keys of a set.
func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
