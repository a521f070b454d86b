// Command report reads `go test -json` on standard input and prints what a
// person wants: go test's closing line of every package, the whole output of
// tests that failed, and at the end the skipped tests with their reasons. Its
// exit code is 1 if anything failed, or if the input broke off.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of go test -json, see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	FailedBuild string
}

// report gathers the events of one run.
type report struct {
	out     io.Writer
	output  map[[2]string][]string // by package and test, dropped when it passed
	open    map[string]bool        // packages that began and have not ended
	skipped []string
	failed  []string
	passed  int
}

func main() {
	r := &report{out: os.Stdout, output: map[[2]string][]string{}, open: map[string]bool{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if !r.finish() {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(r.out, line) // not an event: show it
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "start":
		r.open[e.Package] = true
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.failed = append(r.failed, e.ImportPath+" (build)")
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "skip", "fail":
		r.end(e, key)
	}
}

// end handles the last event of a test, or of a package if it names no test.
func (r *report) end(e event, key [2]string) {
	text := strings.Join(r.output[key], "")
	delete(r.output, key)
	name := strings.TrimSpace(e.Package + " " + e.Test)
	switch {
	case e.Test == "":
		delete(r.open, e.Package)
		if e.Action == "fail" {
			r.unfinished(e.Package)
			fmt.Fprint(r.out, text)
			r.failed = append(r.failed, name)
			return
		}
		fmt.Fprint(r.out, closing(text))
	case e.Action == "fail":
		fmt.Fprint(r.out, text)
		r.failed = append(r.failed, name)
	case e.Action == "skip":
		r.skipped = append(r.skipped, name+": "+reason(text))
	default:
		r.passed++
	}
}

// unfinished shows the output of tests that a crash or time-out cut short.
func (r *report) unfinished(pkg string) {
	for key, lines := range r.output {
		if key[0] == pkg {
			fmt.Fprint(r.out, strings.Join(lines, ""))
			delete(r.output, key)
		}
	}
}

// closing is go test's line about a package, "ok …" or "? …".
func closing(text string) string {
	var keep strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "?") || strings.HasPrefix(line, "\t") {
			keep.WriteString(line)
		}
	}
	return keep.String()
}

// reason is what a test said when it was skipped.
func reason(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- SKIP") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// finish prints the sums and reports whether all is well.
func (r *report) finish() bool {
	for pkg := range r.open {
		r.failed = append(r.failed, pkg+" (did not end)")
	}
	fmt.Fprintf(r.out, "\n%d passed, %d skipped, %d failed\n", r.passed, len(r.skipped), len(r.failed))
	for _, s := range r.skipped {
		fmt.Fprintln(r.out, "skipped:", s)
	}
	for _, f := range r.failed {
		fmt.Fprintln(r.out, "failed:", f)
	}
	return len(r.failed) == 0 && r.passed > 0
}
