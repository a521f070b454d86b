package detector

import (
	"context"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// ancestry runs the rules about how credentials were issued. What they say of
// one depends on the issues that it took part in, so a narrowed pass asks for
// those only; chains are few and are all looked at.
func (r *run) ancestry(ctx context.Context) error {
	var lineages []rule.Lineage
	take := func(l *rule.Lineage) error { lineages = append(lineages, *l); return nil }
	if len(r.subjects) == len(r.everyone) {
		if err := r.facts.Lineages(ctx, r.folded.To, nil, take); err != nil {
			return err
		}
	} else {
		// Whoever issued to one of these is asked about as well: whether issuing
		// lasting keys is its work shows in all that it issued.
		mine, err := r.issuers(ctx)
		if err != nil || len(mine) == 0 {
			return err
		}
		for part := range slices.Chunk(mine, maxHashes) {
			if err := r.facts.Lineages(ctx, r.folded.To, part, take); err != nil {
				return err
			}
		}
	}
	lineages = distinct(lineages)
	a := rule.NewAncestry(r.env, lineages, r.subject)
	for _, issue := range a.Lasting() {
		if err := r.firstUse(ctx, issue); err != nil {
			return err
		}
	}
	var chains []rule.ChainLink
	if err := r.facts.Chains(ctx, r.window.To, func(c *rule.ChainLink) error { chains = append(chains, *c); return nil }); err != nil {
		return err
	}
	r.keep(a.Finish(chains, r.subject))
	return nil
}

func (r *run) subject(h schema.PrincipalHash) *rule.Subject { return r.byHash[h] }

// distinct leaves out what two questions answered alike.
func distinct(lineages []rule.Lineage) []rule.Lineage {
	type key struct {
		minter, minted     schema.PrincipalHash
		service, operation string
		lasting            bool
		input, output      string
	}
	text := func(list []string) string {
		if list == nil {
			return "-"
		}
		out := "+"
		for _, s := range list {
			out += s + "\x00"
		}
		return out
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(lineages, func(l rule.Lineage) bool {
		k := key{l.Minter, l.Minted, l.Service, l.Operation, l.LongLived, text(l.Input), text(l.Output)}
		was := seen[k]
		seen[k] = true
		return was
	})
}

// issuers returns the principals judged and those that issued to them.
func (r *run) issuers(ctx context.Context) ([]schema.PrincipalHash, error) {
	var mine []schema.PrincipalHash
	for _, s := range r.subjects {
		mine = append(mine, hashesOf(s)...)
	}
	all := slices.Clone(mine)
	for part := range slices.Chunk(mine, maxHashes) {
		err := r.facts.Lineages(ctx, r.folded.To, part, func(l *rule.Lineage) error {
			if s := r.byHash[l.Minter]; s != nil {
				all = append(all, hashesOf(s)...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(all), nil
}

// firstUse looks up the call that issued a lasting credential and the first that
// used it.
func (r *run) firstUse(ctx context.Context, issue *rule.Issue) error {
	for i := range issue.Lineages {
		l := &issue.Lineages[i]
		if !l.LongLived {
			continue
		}
		at := func(t time.Time) schema.Window { return schema.Window{From: t, To: t.Add(time.Microsecond)} }
		err := r.facts.Steps(ctx, StepQuery{Window: at(l.First), Hashes: []schema.PrincipalHash{l.Minter}, Minted: []string{l.Example}}, func(s *rule.Step) error {
			one := *s
			issue.Mint = &one
			return nil
		})
		if err != nil {
			return err
		}
		return r.facts.Steps(ctx, StepQuery{Window: at(l.Used), Hashes: []schema.PrincipalHash{l.Minted}}, func(s *rule.Step) error {
			if issue.Use == nil {
				one := *s
				issue.Use = &one
			}
			return nil
		})
	}
	return nil
}
