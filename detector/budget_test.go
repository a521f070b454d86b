package detector_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

// scored makes a score of a day.
func scored(code, id, day string, surprise, breadth float64, reach int) *schema.Finding {
	return &schema.Finding{ID: schema.FindingID(id), Code: code, Score: &schema.Score{Day: day, Surprise: surprise, Breadth: breadth, Reach: reach}}
}

func within(list []*schema.Finding) (ids []string) {
	for _, f := range list {
		if !f.OverBudget {
			ids = append(ids, string(f.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// TestRankKeepsTheOddest: of more scores than the budget has room for, those
// stay that are odder than others on every axis; rules are never touched.
func TestRankKeepsTheOddest(t *testing.T) {
	var list []*schema.Finding
	for i := range 12 {
		list = append(list, scored(rule.Burst, fmt.Sprintf("b%02d", i), "2026-03-01", float64(i), float64(i), i/4))
	}
	list = append(list, &schema.Finding{ID: "rule"}, scored(rule.Burst, "other-day", "2026-03-02", 0, 0, 0))
	detector.Rank(list, 10)
	want := []string{"b07", "b08", "b09", "b10", "b11", "other-day", "rule"}
	if got := within(list); !slices.Equal(got, want) {
		t.Errorf("within the budget are %v, want %v", got, want)
	}
	if changed := detector.Rank(list, 10); len(changed) != 0 {
		t.Errorf("ranking again changed %d", len(changed))
	}
	detector.Rank(list, 1200)
	if got := within(list); len(got) != len(list) {
		t.Errorf("a budget of 12 has room for %d of %d", len(got), len(list))
	}
}

// TestRankTakesTurns: an event that shows at many credentials as one detection
// does not keep the only score of another out, and fills what room is left.
func TestRankTakesTurns(t *testing.T) {
	var list []*schema.Finding
	for i := range 7 {
		list = append(list, scored(rule.Burst, fmt.Sprintf("b%d", i), "2026-03-01", 9, float64(9+i), 3))
	}
	list = append(list, scored(rule.BehaviourDrift, "drift", "2026-03-01", 8, 1, 1))
	detector.Rank(list, 10)
	if got, want := within(list), []string{"b3", "b4", "b5", "b6", "drift"}; !slices.Equal(got, want) {
		t.Errorf("within the budget are %v, want %v", got, want)
	}
}

// TestRankIsStable attacks the promises: no order of the findings and no later
// day changes what a day says.
func TestRankIsStable(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		var list []*schema.Finding
		codes := []string{rule.Burst, rule.BehaviourDrift, rule.ObjectEnumeration}
		for i := range 200 {
			day := fmt.Sprintf("2026-%02d-%02d", 1+r.IntN(3), 1+r.IntN(28))
			list = append(list, scored(codes[r.IntN(3)], fmt.Sprint(i), day, float64(r.IntN(60))/10, float64(r.IntN(4)), r.IntN(5)))
		}
		detector.Rank(list, 300)
		want := within(list)
		r.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
		for _, f := range list {
			f.OverBudget = r.IntN(2) == 0
		}
		detector.Rank(list, 300)
		if got := within(list); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the order of findings changed the ranking", seed)
		}
		var early []*schema.Finding
		for _, f := range list {
			if f.Score.Day < "2026-02-10" {
				early = append(early, f)
			}
		}
		want = within(early)
		detector.Rank(early, 300)
		if got := within(early); !slices.Equal(got, want) {
			t.Fatalf("seed %d: later days changed what earlier ones said", seed)
		}
		perDay := map[string]int{}
		for _, f := range list {
			if !f.OverBudget {
				perDay[f.Score.Day]++
			}
		}
		for day, n := range perDay {
			if n > rule.Budget(300) {
				t.Errorf("seed %d: %d count on %s, the budget is %d", seed, n, day, rule.Budget(300))
			}
		}
	}
}

// TestRankDoubtsChance: a first use that chance explains among so many
// identities is over the budget even where there is room.
func TestRankDoubtsChance(t *testing.T) {
	list := []*schema.Finding{
		scored(rule.BehaviourDrift, "sure", "2026-03-01", 6, 1, 0),
		scored(rule.BehaviourDrift, "chance", "2026-03-01", 3, 1, 0),
	}
	detector.Rank(list, 1000)
	if got := within(list); !slices.Equal(got, []string{"sure"}) {
		t.Errorf("among 1,000 identities counted %v", got)
	}
	detector.Rank(list, 10)
	if got := within(list); len(got) != 2 {
		t.Errorf("among 10 identities counted %v", got)
	}
}

// TestRankNotesComeLast: what nobody is called for takes no place from what
// somebody is, however odd it is.
func TestRankNotesComeLast(t *testing.T) {
	var list []*schema.Finding
	for i := range 8 {
		list = append(list, scored(rule.Burst, fmt.Sprintf("note%d", i), "2026-03-01", 9, 9, 4))
	}
	for i := range 3 {
		f := scored(rule.AwayFromHome, fmt.Sprintf("call%d", i), "2026-03-01", 1, 1, 0)
		f.Severity = schema.SeverityMedium
		list = append(list, f)
	}
	detector.Rank(list, 10)
	if got, want := within(list), []string{"call0", "call1", "call2", "note0", "note1"}; !slices.Equal(got, want) {
		t.Errorf("within the budget are %v, want %v", got, want)
	}
}

// TestRankCountsCredentials: what is said of one credential takes one place, and
// what may be chance none and gets none.
func TestRankCountsCredentials(t *testing.T) {
	var list []*schema.Finding
	for i := range 8 {
		for _, code := range []string{rule.Burst, rule.BoundaryCrossing, rule.BehaviourDrift} {
			f := scored(code, fmt.Sprintf("%s-%d", code, i), "2026-03-01", 9-float64(i), 1, 1)
			f.Credential.ID = fmt.Sprint("c", i)
			list = append(list, f)
		}
	}
	list[2].Score.Surprise = 0.5 // the drift of c0
	detector.Rank(list, 10)      // which is a budget of five
	said, places := map[string]int{}, 0
	for _, f := range list {
		if f.OverBudget {
			continue
		}
		if said[f.Credential.ID]++; said[f.Credential.ID] == 1 {
			places++
		}
	}
	if places != 5 {
		t.Errorf("%d credentials are within a budget of five: %v", places, said)
	}
	for id, n := range said {
		if want := 3; n != want && id != "c0" {
			t.Errorf("of %s %d are within the budget, want all three", id, n)
		}
	}
	if !list[2].OverBudget || said["c0"] != 2 {
		t.Errorf("the drift of c0 may be chance, and came with the others: %v", said)
	}
}
