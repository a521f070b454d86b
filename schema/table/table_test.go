package table

import (
	"strings"
	"testing"
)

// TestTemporary holds a temporary store to the lasting one: but for partitions
// and settings, every statement is the same.
func TestTemporary(t *testing.T) {
	steps, err := Steps()
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, step := range steps {
		temporary := step.Temporary()
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
			if a, b := core(statement), core(got); a != b {
				t.Errorf("more than partitions and settings changed:\n%s\nbecame\n%s", a, b)
			}
		}
	}
	if changed < 7 {
		t.Errorf("only %d statements differ", changed)
	}
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
