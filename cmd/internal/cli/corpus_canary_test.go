package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCorpusCanaries looks for the secrets that stand in real logs, captures and
// exports in everything that the product writes after having read them.
func TestCorpusCanaries(t *testing.T) {
	p := onCorpus(t)
	rows := p.table("CANARIES.tsv")
	var inputs []string
	for _, row := range rows {
		if file := p.at(row[0]); !slices.Contains(inputs, file) {
			inputs = append(inputs, file)
		}
	}
	if len(rows) < 25 || len(inputs) < 19 {
		t.Fatalf("CANARIES.tsv names %d needles in %d files, want 25 in 19", len(rows), len(inputs))
	}
	dir := t.TempDir()
	data, file := filepath.Join(dir, "store"), filepath.Join(dir, "calls.jsonl")
	written := map[string][]byte{}
	run := func(args ...string) {
		out, talk, _ := p.run(args...)
		name := strings.Join(args[:min(len(args), 3)], " ")
		written[name+": standard output"], written[name+": standard error"] = out, talk
	}
	run(append([]string{"scan", "-o", "json", "--data", data, "--calls-out", file}, inputs...)...)
	run(append([]string{"scan", "-o", "text", "--data", data}, inputs...)...)
	run(append([]string{"doctor", "-o", "json"}, inputs...)...)
	for _, format := range []string{"jsonl", "csv", "sarif", "ocsf"} {
		run("findings", "-o", format, "--data", data)
	}
	run("calls", "-o", "csv", "--limit", "0", "--data", data)
	run("credentials", "-o", "json", "--data", data)
	for _, name := range []string{file, filepath.Join(data, deadLetterFile)} {
		text, err := os.ReadFile(name)
		if err != nil || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		written[filepath.Base(name)] = text
	}
	if n := len(callsOf(t, written["calls.jsonl"])); n < 1000 {
		t.Errorf("only %d calls were read of the files that hold secrets", n)
	}
	collectStore(t, data, written)
	for _, row := range rows {
		for name, text := range written {
			if at := bytes.Index(text, []byte(row[2])); at >= 0 {
				t.Errorf("%s of %s stands in %s: …%.120q", row[1], row[0], name, text[max(0, at-60):min(len(text), at+60)])
			}
		}
	}
}
