package tick

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// A step over all that are active may take many seconds, and what is new then
// waits for what only goes on as before. So where crowd times leastTurn wait, a step
// judges those that did something new, and of the others leastTurn in all, or one of
// turnShare if that is more; however many are new a quarter of that is left to the
// others, so that everybody's turn comes.
const (
	leastTurn = 64
	turnShare = 16
	crowd     = 4
)

// turn is in which step a principal was judged last, and what News said of it when
// it was last asked before that; 0 where it never was, so that all is new.
type turn struct{ step, news uint64 }

// next chooses whom of those that wait this step judges, ascending: those that did
// something they were not seen doing when they were judged last, and of the others
// those whose turn is longest ago. What a principal did is read before it is judged,
// so that what comes in meanwhile counts as new again.
//
// What it returns besides is for remember, once they are judged.
func (t *Ticker) next(ctx context.Context, waiting []schema.PrincipalHash) (chosen []schema.PrincipalHash, news map[schema.PrincipalHash]uint64, err error) {
	least := t.cfg.Turn
	if least <= 0 {
		least = leastTurn
	}
	// Which of them are of other shards is not known here.
	least *= max(1, t.cfg.Shard.Count)
	width := max(least, (len(waiting)+turnShare-1)/turnShare)
	if len(waiting) <= crowd*width {
		return waiting, nil, nil
	}
	if news, err = t.cfg.Store.News(ctx, t.since()); err != nil {
		return nil, nil, err
	}
	var others []schema.PrincipalHash
	for _, h := range waiting {
		if last, ok := t.turns[h]; ok && last.news == news[h] {
			others = append(others, h)
		} else {
			chosen = append(chosen, h)
		}
	}
	longest := func(a, b schema.PrincipalHash) int {
		return cmp.Or(cmp.Compare(t.turns[a].step, t.turns[b].step), slices.Compare(a[:], b[:]))
	}
	slices.SortFunc(others, longest)
	chosen = append(chosen, others[:min(len(others), max(width-len(chosen), (width+3)/4))]...)
	slices.SortFunc(chosen, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	return chosen, news, nil
}

// since is from when on touches are read.
func (t *Ticker) since() time.Time {
	if t.upto.IsZero() {
		return t.upto
	}
	return t.upto.Add(-Overlap)
}

// fresh are the principals whose touches were not judged yet, each once.
func (t *Ticker) fresh(touches []Touch) []schema.PrincipalHash {
	var list []schema.PrincipalHash
	for _, one := range touches {
		if t.seen[one.Minute] != one.Times {
			list = append(list, one.Principal)
		}
	}
	slices.SortFunc(list, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(list)
}

// remember takes the touches of principals, all with nil, as judged. Those of
// others stay what they were, and are read again however long they wait.
func (t *Ticker) remember(touches []Touch, judged []schema.PrincipalHash, news map[schema.PrincipalHash]uint64) {
	t.step++
	done := make(map[schema.PrincipalHash]bool, len(judged))
	for _, h := range judged {
		done[h] = true
	}
	seen := make(map[Minute]uint64, len(touches))
	turns := make(map[schema.PrincipalHash]turn, len(t.turns))
	upto := t.upto
	for _, one := range touches {
		if one.Begin.After(upto) {
			upto = one.Begin
		}
	}
	for _, one := range touches {
		times, known := t.seen[one.Minute]
		if judged == nil || done[one.Principal] {
			times, known = one.Times, true
		}
		if times != one.Times && one.Begin.Add(Overlap).Before(upto) {
			upto = one.Begin.Add(Overlap)
		}
		if known {
			seen[one.Minute] = times
		}
		last, ok := t.turns[one.Principal]
		if done[one.Principal] {
			last.step, ok = t.step, true
			if news != nil {
				last.news = news[one.Principal]
			}
		}
		if ok {
			turns[one.Principal] = last
		}
	}
	for one := range seen {
		if one.Begin.Before(upto.Add(-Overlap)) {
			delete(seen, one)
		}
	}
	t.seen, t.turns, t.upto = seen, turns, upto
}
