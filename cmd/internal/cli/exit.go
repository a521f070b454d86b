package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
)

// The exit codes. Where several hold, [Main] returns the first of 2, 1, 130, 3, 4.
const (
	codeDone        = 0
	codeBroken      = 1
	codeUsage       = 2
	codeFindings    = 3
	codeCoverage    = 4
	codeInterrupted = 130
)

// Errors that carry no more than their text.
var (
	errInterrupted = errors.New("interrupted")
	errReaderGone  = errors.New("the reader of standard output went away")
)

// fault is an error with its remedy and exit code.
type fault struct {
	cause error
	text  string
	hints []string
	code  int
	// silent says that the result already told it, or that nobody is left to
	// tell it to.
	silent bool
}

func (f *fault) Error() string {
	if f.text == "" {
		return f.cause.Error()
	}
	return f.text
}

func (f *fault) Unwrap() error { return f.cause }
func (f *fault) Hint() string  { return strings.Join(f.hints, "\n") }
func (f *fault) ExitCode() int { return f.code }

// usage is wrong use or wrong configuration.
func usage(text string, hints ...string) error {
	return &fault{text: text, hints: hints, code: codeUsage}
}

// faultf is an error with a code and a text made from parts.
func faultf(code int, format string, args ...any) error {
	return &fault{cause: fmt.Errorf(format, args...), code: code}
}

// broken wraps an error of the world outside with what to do about it.
func broken(err error, hints ...string) error {
	return &fault{cause: err, hints: hints, code: codeBroken}
}

// misused wraps an error that the user's input or configuration caused.
func misused(err error, hints ...string) error {
	return &fault{cause: err, hints: hints, code: codeUsage}
}

// exitCode finds the code of an error, by the order of precedence where it
// joins several.
func exitCode(err error) int {
	if err == nil {
		return codeDone
	}
	found := map[int]bool{}
	collectCodes(err, found)
	for _, code := range []int{codeUsage, codeBroken, codeInterrupted, codeFindings, codeCoverage} {
		if found[code] {
			return code
		}
	}
	return codeBroken
}

func collectCodes(err error, found map[int]bool) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			collectCodes(e, found)
		}
		return
	}
	// A code nearest to the surface decides: whoever wrapped knew more.
	for e := err; e != nil; {
		if coded, ok := e.(interface{ ExitCode() int }); ok {
			found[coded.ExitCode()] = true
			return
		}
		if e == errInterrupted || e == context.Canceled {
			found[codeInterrupted] = true
			return
		}
		switch wrapped := e.(type) {
		case interface{ Unwrap() error }:
			e = wrapped.Unwrap()
		case interface{ Unwrap() []error }:
			collectCodes(e, found)
			return
		default:
			e = nil
		}
	}
	found[codeBroken] = true
}

// printError writes an error as a sentence and its hints, one block for each of
// several joined errors. Hints that hold for several in a row follow the last.
func printError(w io.Writer, err error, paint output.Paint) {
	all := told(nil, err)
	for i, err := range all {
		lines := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
		fmt.Fprintf(w, "%s %s\n", paint.Bad("error:"), output.Safe(lines[0]))
		for _, line := range lines[1:] {
			fmt.Fprintf(w, "       %s\n", output.Safe(line))
		}
		hints := hintsOf(err)
		if i+1 < len(all) && slices.Equal(hints, hintsOf(all[i+1])) {
			continue
		}
		for _, hint := range hints {
			fmt.Fprintf(w, "%s  %s\n", paint.Strong("hint:"), output.Safe(hint))
		}
	}
}

// told appends the errors that err joins, but for those that need not be told.
func told(list []error, err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = told(list, e)
		}
		return list
	}
	var f *fault
	if errors.As(err, &f) && f.silent || errors.Is(err, errReaderGone) {
		return list
	}
	return append(list, err)
}

// hintsOf gathers the remedies along the chain of wrapped errors, and of what they
// join, each once.
func hintsOf(err error) []string {
	var hints []string
	seen := map[string]bool{}
	var gather func(error)
	gather = func(err error) {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if joined, ok := e.(interface{ Unwrap() []error }); ok {
				for _, one := range joined.Unwrap() {
					gather(one)
				}
			}
			hinted, ok := e.(interface{ Hint() string })
			if !ok {
				continue
			}
			for _, line := range strings.Split(hinted.Hint(), "\n") {
				if line = strings.TrimSpace(line); line != "" && !seen[line] {
					seen[line] = true
					hints = append(hints, line)
				}
			}
		}
	}
	gather(err)
	return hints
}
