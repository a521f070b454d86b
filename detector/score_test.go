package detector_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/schema"
)

// unranked are findings as lines, without what only all of them tell.
func unranked(t *testing.T, list []schema.Finding) []string {
	t.Helper()
	var lines []string
	for _, f := range list {
		f.OverBudget = false
		line, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	slices.Sort(lines)
	return lines
}

// TestScoresNarrowed holds passes over one principal after the other to a pass
// over all, and to one over the same calls in another order: habits and peers are
// of the whole store, whoever is judged.
func TestScoresNarrowed(t *testing.T) {
	for _, folder := range []string{"d05", "d10", "d15"} {
		paths, err := filepath.Glob("rule/testdata/" + folder + "/*.txtar")
		if err != nil || len(paths) == 0 {
			t.Fatalf("no cases: %v", err)
		}
		scores := 0
		for _, path := range paths {
			t.Run(folder+"/"+filepath.Base(path), func(t *testing.T) {
				c := detectortest.Read(t, path)
				want := unranked(t, detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls)}).Findings)
				r := rand.New(rand.NewPCG(1, uint64(len(c.Calls))))
				calls := slices.Clone(c.Calls)
				r.Shuffle(len(calls), func(i, k int) { calls[i], calls[k] = calls[k], calls[i] })
				facts := memory.New(calls)
				seen := map[schema.PrincipalHash]bool{}
				var got []string
				for i := range calls {
					hash := calls[i].Credential.Principal().Hash()
					if seen[hash] {
						continue
					}
					seen[hash] = true
					out := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: facts, Only: []schema.PrincipalHash{hash}})
					got = append(got, unranked(t, out.Findings)...)
					for k := range out.Findings {
						if out.Findings[k].Score != nil {
							scores++
						}
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("one by one:\n%s\nall at once:\n%s", got, want)
				}
			})
		}
		if scores == 0 {
			t.Errorf("no case of %s has a score", folder)
		}
	}
}
