package table

import (
	"slices"
	"strings"
	"testing"
)

// TestTemporary holds a temporary store to the lasting one: but for partitions
// and settings, every statement is the same; but what only spares who comes back is
// no table but a view, nothing tells what is new, and nothing is merged.
func TestTemporary(t *testing.T) {
	steps, err := Steps()
	if err != nil {
		t.Fatal(err)
	}
	changed, views := 0, 0
	for _, step := range steps {
		temporary := step.Temporary()
		step.Statements = slices.DeleteFunc(step.Statements, func(s string) bool {
			return slices.ContainsFunc(asViews, func(name string) bool { return strings.HasPrefix(s, "CREATE TABLE IF NOT EXISTS "+name+" ") }) ||
				strings.HasPrefix(s, "CREATE MATERIALIZED VIEW IF NOT EXISTS touched_feed ") || strings.HasPrefix(s, "ALTER TABLE ") && strings.Contains(s, " MODIFY SETTING merge_")
		})
		if temporary.Number != step.Number || temporary.Name != step.Name || len(temporary.Statements) != len(step.Statements) {
			t.Fatalf("step %s became %+v", step.Name, temporary)
		}
		for i, statement := range step.Statements {
			got := temporary.Statements[i]
			if strings.Contains(got, "PARTITION BY") || strings.Contains(got, "deduplication_window") {
				t.Errorf("still there:\n%s", got)
			}
			if got != statement {
				changed++
			}
			if view := viewOf(statement); view != "" {
				views++
				if got != view {
					t.Errorf("got\n%s\nwant\n%s", got, view)
				}
				continue
			}
			if a, b := core(statement), core(got); a != b {
				t.Errorf("more than partitions and settings changed:\n%s\nbecame\n%s", a, b)
			}
		}
	}
	if changed < 7 || views != len(asViews) {
		t.Errorf("%d statements differ, and there are %d views", changed, views)
	}
}

// asViews are the rollups that a temporary store has as views.
var asViews = []string{"use_hour", "pace", "places", "parameters", "instances", "issues"}

// viewOf is what becomes of the feeds of those.
func viewOf(statement string) string {
	for _, name := range asViews {
		if _, query, ok := strings.Cut(statement, " "+name+"_feed TO "+name+" AS\n"); ok {
			return "CREATE VIEW IF NOT EXISTS " + name + " AS\n" + query
		}
	}
	return ""
}

// core is a statement without its lines of partitions and settings.
func core(statement string) string {
	var kept []string
	for line := range strings.Lines(statement) {
		if !strings.HasPrefix(line, "PARTITION BY") && !strings.HasPrefix(line, "SETTINGS") {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return strings.Join(kept, "\n")
}
