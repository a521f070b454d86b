package detector

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/spelling"
)

// Judged is one credential with all its judged use and what the rules say.
type Judged struct {
	Env     *rule.Env
	Subject *rule.Subject
	// Set are the rules, finished.
	Set *rule.Set
	// Uses are all judged uses, in no particular order.
	Uses []rule.Use
	// Drafts are the findings, without their calls.
	Drafts []rule.Draft
	// Away are the origins of calls that D06 speaks about.
	Away []rule.Origin

	run    *run
	hashes []schema.PrincipalHash
	cuts   []time.Time
}

// UnknownCredential is the error for a name under which nothing was seen or
// declared.
type UnknownCredential struct {
	Name string
	// Near are the names that resemble it.
	Near []string
}

// Error names the name.
func (e *UnknownCredential) Error() string {
	return fmt.Sprintf("no credential %q was seen in the window or is declared in the catalogue", e.Name)
}

// Hint names those that resemble it, if any.
func (e *UnknownCredential) Hint() string {
	if len(e.Near) > 0 {
		return "did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return ""
}

// ExitCode is that of wrong use.
func (e *UnknownCredential) ExitCode() int { return 2 }

// Each judges the credential of that name, or all where it is empty, and hands
// over each with its uses, one at a time and in the order of no promise. split names times, within
// the window it is given, across which no use reaches; it may be nil.
func (d *Detector) Each(ctx context.Context, name string, split func(schema.Window) []time.Time, each func(*Judged) error) (Summary, error) {
	if d.facts == nil {
		return Summary{}, errNoFacts
	}
	r, err := d.prepare(ctx)
	if err != nil {
		return Summary{}, err
	}
	if r.empty {
		return r.summary, nil
	}
	if name != "" {
		if err := r.only(name); err != nil {
			return r.summary, err
		}
	}
	if split != nil {
		r.cuts = split(r.window)
	}
	r.each = each
	err = r.judgeAll(ctx, d.cfg.Progress)
	r.summary.Withheld = r.withheld.list()
	return r.summary, err
}

// only keeps the subject of that name; an observed id of a declared credential
// names it, too.
func (r *run) only(name string) error {
	var byObserved []*rule.Subject
	for _, s := range r.subjects {
		if s.Name == name {
			r.subjects = []*rule.Subject{s}
			return nil
		}
		if slices.ContainsFunc(s.Principals, func(p rule.Principal) bool { return p.ID == name }) {
			byObserved = append(byObserved, s)
		}
	}
	if len(byObserved) == 1 {
		r.subjects = byObserved
		return nil
	}
	e := &UnknownCredential{Name: name}
	for _, s := range r.subjects {
		if strings.Contains(s.Name, name) || len(s.Name) > 3 && strings.Contains(name, s.Name) {
			e.Near = append(e.Near, s.Name)
		}
	}
	if e.Near = e.Near[:min(len(e.Near), 3)]; len(e.Near) == 0 {
		var names []string
		for _, s := range r.subjects {
			names = append(names, s.Name)
		}
		if near := spelling.Nearest(name, names, max(1, len(name)/3)); near != "" {
			e.Near = []string{near}
		}
	}
	return e
}

// judged hands a subject out.
func (r *run) judged(c *chunk, w *subjectWork, result rule.Result) *Judged {
	j := &Judged{Env: r.env, Subject: w.subject, Set: w.set, Uses: w.kept, Drafts: result.Drafts, Away: w.set.Away(), run: r, cuts: c.cuts}
	for i := range w.subject.Principals {
		j.hashes = append(j.hashes, w.subject.Principals[i].Hash)
	}
	return j
}

// From returns the judged uses of the calls that did not come from the origins,
// or, with only, of those that did.
func (j *Judged) From(ctx context.Context, origins []rule.Origin, only bool) ([]rule.Use, error) {
	r := &run{facts: j.run.facts, env: j.Env, window: j.run.window, folded: j.run.folded, summary: newSummary(), each: func(*Judged) error { return nil }}
	w := &subjectWork{subject: j.Subject, set: rule.New(j.Env, j.Subject)}
	c := &chunk{work: []*subjectWork{w}, byHash: map[schema.PrincipalHash]*subjectWork{}}
	for _, h := range j.hashes {
		c.byHash[h] = w
	}
	for hashes := range slices.Chunk(j.hashes, maxHashes) {
		q := RowQuery{Window: r.folded, Hashes: hashes, Cuts: j.cuts, Origins: origins, Only: only}
		if err := r.facts.Rows(ctx, q, func(row *rule.Row) error { r.row(w, row); return nil }); err != nil {
			return nil, err
		}
		if err := r.objects(ctx, c, q); err != nil {
			return nil, err
		}
	}
	return w.kept, nil
}

// Calls returns the earliest calls that each list of selectors chooses.
func (j *Judged) Calls(ctx context.Context, wants [][]rule.Selector) ([][]schema.Call, error) {
	var out [][]schema.Call
	for batch := range slices.Chunk(wants, evidenceBatch) {
		calls, err := j.run.facts.Calls(ctx, j.run.window, batch)
		if err != nil {
			return nil, err
		}
		out = append(out, calls...)
	}
	return out, nil
}

// SortUses puts uses into one order, whatever order the facts came in.
func SortUses(uses []rule.Use) {
	slices.SortFunc(uses, func(a, b rule.Use) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Tenant, b.Tenant),
			cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Decision, b.Decision), a.First.Compare(b.First), a.Last.Compare(b.Last),
			slices.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Reporter, b.Reporter), slices.Compare(a.Scopes, b.Scopes),
			slices.Compare(a.Groups, b.Groups), cmp.Compare(a.RouteSource, b.RouteSource), cmp.Compare(a.Segment, b.Segment))
	})
}
