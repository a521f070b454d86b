package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// product runs the real binary on the corpus.
type product struct {
	t           *testing.T
	corpus      string
	environment []string
}

func onCorpus(t *testing.T) *product {
	t.Helper()
	return &product{t, corpus.Path(t), needEngine(t)}
}

// at returns the path of a file of the corpus.
func (p *product) at(name string) string { return filepath.Join(p.corpus, filepath.FromSlash(name)) }

// run runs a command that may end with 0 or 1; anything else, such as a panic,
// a signal or two minutes without an end, fails the test.
func (p *product) run(args ...string) (out, talk []byte, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = p.environment
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	code = cmd.ProcessState.ExitCode()
	if ctx.Err() != nil || err != nil && code != 1 || bytes.Contains(stderr.Bytes(), []byte("goroutine ")) {
		p.t.Fatalf("scopedrift %.200s: %v\n%.4000s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.Bytes(), stderr.Bytes(), code
}

// good runs a command that must end with 0.
func (p *product) good(args ...string) []byte {
	p.t.Helper()
	out, talk, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("scopedrift %.200s: exit code %d\n%.4000s", strings.Join(args, " "), code, talk)
	}
	return out
}

// scan scans and returns the report and the calls.
func (p *product) scan(args ...string) (report output.Report, calls []schema.Call, code int) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "calls.jsonl")
	out, _, code := p.run(append([]string{"scan", "-q", "-o", "json", "--calls-out", file}, args...)...)
	if err := json.Unmarshal(out, &report); err != nil {
		p.t.Fatalf("the report: %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	return report, callsOf(p.t, text), code
}

func callsOf(t *testing.T, lines []byte) (calls []schema.Call) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var c schema.Call
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("a call: %v\n%.200s", err, line)
		}
		calls = append(calls, c)
	}
	return calls
}

// accounted checks that every unit of an input is a call or has a reason, and
// returns how many have one.
func accounted(t *testing.T, in *output.Input) (skipped uint64) {
	t.Helper()
	for reason, n := range in.Skipped {
		if reason == "" || n == 0 {
			t.Errorf("%s: %d units for the reason %q", in.Name, n, reason)
		}
		skipped += n
	}
	if in.Calls+skipped != in.Units {
		t.Errorf("%s: %d calls and %v are not its %d units", in.Name, in.Calls, in.Skipped, in.Units)
	}
	return skipped
}

// table reads a file of tab separated columns without its header.
func (p *product) table(name string) (rows [][]string) {
	p.t.Helper()
	text, err := os.ReadFile(p.at(name))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Split(strings.TrimRight(line, "\r\n"), "\t"))
	}
	return rows[1:]
}

// tally counts calls by what a function says of them.
func tally(calls []schema.Call, by func(*schema.Call) string) map[string]int {
	n := map[string]int{}
	for i := range calls {
		n[by(&calls[i])]++
	}
	return n
}

func same(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s: %d × %q, want %d", what, got[key], key, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %d × %q is too much", what, got[key], key)
		}
	}
}
