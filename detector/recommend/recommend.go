package recommend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
)

// Recommender makes recommendations.
type Recommender struct{ detector *detector.Detector }

// New returns a recommender that has done nothing yet. It reads what a detector
// of the same configuration reads.
func New(cfg detector.Config) *Recommender { return &Recommender{detector.New(cfg)} }

var (
	errWider   = errors.New("the proposal would be wider than the grant: this is a mistake in scopedrift, and nothing is recommended")
	errNothing = errors.New("no calls are stored in the window, so there is nothing to recommend")
)

// Recommend returns the smaller grant of one credential, by its catalogue id or
// an observed id. An unknown name is a *[detector.UnknownCredential].
func (r *Recommender) Recommend(ctx context.Context, credential string) (Recommendation, error) {
	var out []Recommendation
	err := r.run(ctx, credential, func(one Recommendation) error {
		out = append(out, one)
		return nil
	})
	if err != nil {
		return Recommendation{}, err
	}
	if len(out) == 0 {
		return Recommendation{}, errNothing
	}
	return out[0], nil
}

// All returns the recommendations of all credentials of which a grant is known,
// those with the most to remove first.
func (r *Recommender) All(ctx context.Context) ([]Recommendation, error) {
	var out []Recommendation
	err := r.run(ctx, "", func(one Recommendation) error {
		if one.Basis != basisNone {
			out = append(out, one)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Recommendation) int {
		return cmp.Or(cmp.Compare(b.saved(), a.saved()), cmp.Compare(len(b.Remove), len(a.Remove)), cmp.Compare(a.Credential.ID, b.Credential.ID))
	})
	return out, err
}

func (r *Recommendation) saved() int { return r.Solver.ExcessBefore - r.Solver.ExcessAfter }

func (r *Recommender) run(ctx context.Context, name string, each func(Recommendation) error) error {
	var split time.Time
	_, err := r.detector.Each(ctx, name, func(w schema.Window) []time.Time {
		split = holdOut(w)
		if split.IsZero() {
			return nil
		}
		return []time.Time{split}
	}, func(j *detector.Judged) error {
		one, err := recommend(ctx, j, split)
		if err != nil {
			return fmt.Errorf("recommend a grant for %s: %w", j.Subject.Name, err)
		}
		return each(one)
	})
	return err
}

// Tunables of the back test: the last part of the window that is held out.
const (
	holdOutDays  = 30
	holdOutShare = 3 // one third of a short window
)

// holdOut returns where the held-out part begins: a day's start, zero for a
// window too short to be divided.
func holdOut(w schema.Window) time.Time {
	length := w.To.Sub(w.From)
	tail := min(holdOutDays*24*time.Hour, length/holdOutShare)
	split := w.To.Add(-tail).Truncate(24 * time.Hour)
	if !split.After(w.From) {
		return time.Time{}
	}
	return split
}

// Bases of a recommendation.
const (
	basisDeclared  = "declared"
	basisPresented = "presented"
	basisNone      = "none"
)

// recommend makes the recommendation for one judged credential.
func recommend(ctx context.Context, j *detector.Judged, split time.Time) (Recommendation, error) {
	w, err := newWork(ctx, j)
	if err != nil {
		return Recommendation{}, err
	}
	r := Recommendation{Credential: j.Subject.Credential(), Window: j.Env.Window, Basis: w.basis(), Keep: []Keep{}, Remove: []Remove{}, Unknown: []Unknown{}}
	if r.Basis == basisNone {
		r.Notes = append(r.Notes, "what it holds is not known: neither does the catalogue declare it nor does a token present it to a service that the catalogue knows")
		r.Grants, r.Before = []schema.Grant{}, []schema.Grant{}
		r.Replay.Refused = []Operation{}
		return r, nil
	}
	needs := w.needs(w.legitimate)
	p := w.problem(needs)
	s := solve(p, nodeLimit)
	silent := w.silences()
	kept := w.kept(s.keep, silent)

	r.Solver = Solver{Optimal: s.optimal && !w.tooMany, Nodes: s.nodes, ExcessBefore: p.excess(w.all()), ExcessAfter: p.excess(kept)}
	w.sort(&r, needs, s.keep, kept, silent)
	r.Smaller = len(r.Remove) > 0
	if err := w.samples(ctx, &r); err != nil {
		return r, err
	}
	r.Before = w.before()
	r.Grants = w.grants(kept)
	if err := w.check(r.Grants); err != nil {
		return r, err
	}
	r.Replay = w.replay(w.legitimate, r.Grants, kept, j.Env.Window)
	r.Quarantined = w.quarantine(r.Grants, kept)
	r.Outside = w.outside()
	if !split.IsZero() {
		r.HoldOut = w.holdOut(split, silent)
	}
	r.Proposal, r.Inverse = w.yaml(r.Grants), w.yaml(r.Before)
	w.notes(&r)
	return r, nil
}
