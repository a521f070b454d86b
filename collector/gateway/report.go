package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// Report says what a run read, input by input.
type Report struct {
	Inputs []InputReport
	// Redacted counts what was removed from texts, by rule.
	Redacted map[string]uint64
	// Flaws counts the calls whose evidence of identity could not be read, or held
	// a secret in place of a name, as [identify.Identifier.Flaws] tells.
	Flaws map[string]uint64
}

// InputReport accounts for every unit of one input: Units = Calls + the sum of
// NotACall + the sum of Bad.
type InputReport struct {
	Input schema.Input
	// Chosen says in words which formats were found, and by what.
	Chosen string
	Units  uint64
	Calls  uint64
	Bytes  int64 // after decompression
	// NotACall and Bad count units by reason.
	NotACall map[string]uint64
	Bad      map[string]uint64
	// Formats counts recognised units by preset.
	Formats map[string]uint64
	// Cut says why reading ended before the input did, "" if it did not.
	Cut string
	// NotALog says that nothing of any format was found in a file that stood
	// beside others in a directory: it is passed over, and counted.
	NotALog bool
	// Capture says that the input is a packet capture, read elsewhere.
	Capture bool
	// Shows says what the calls show; Fields what their log has of it.
	Shows Shows
	// Fields are the canonical fields that the formats found can carry, with the
	// log fields of each, and whether any unit had one.
	Fields []FieldReport
	// Missing counts, for units that no format fits, the field that the nearest
	// format missed.
	Missing map[string]uint64
}

// Shows counts calls by what they show.
type Shows struct {
	Time, Operation, Scopes, Decision, Tenant, Client, Workload uint64
	// Credential counts by kind; a call of kind unknown shows none.
	Credential map[string]uint64
}

// FieldReport is one canonical field of a format.
type FieldReport struct {
	Format string
	// Field is the canonical name, In the log fields that may hold it.
	Field string
	In    []string
	Seen  bool
	// Hint says what to configure to get it, "" if the preset has no advice.
	Hint string
}

// BadTotal returns how many units could not be read.
func (r *InputReport) BadTotal() uint64 { return total(r.Bad) }

func total(counts map[string]uint64) uint64 {
	var n uint64
	for _, c := range counts {
		n += c
	}
	return n
}

// Calls returns the calls of all inputs.
func (r *Report) Calls() uint64 {
	var n uint64
	for i := range r.Inputs {
		n += r.Inputs[i].Calls
	}
	return n
}

// Recipes returns the log formats to configure, by preset, for the formats that
// were found.
func (g *Gateway) Recipes(r *Report) map[string]string {
	recipes := map[string]string{}
	for i := range r.Inputs {
		for name := range r.Inputs[i].Formats {
			if p := g.cfg.Presets.Find(name); p != nil && p.Recipe != "" {
				recipes[name] = p.Recipe
			}
		}
	}
	return recipes
}

// UnreadableError says that more than half of a log could not be read.
type UnreadableError struct {
	Input  string
	Format string
	// Missing is the field that the nearest format needs and the log lacks, ""
	// if the units are not even of its shape.
	Missing    string
	Bad, Units uint64
	// Reason is the most frequent one.
	Reason string
	// Foreign says what the input is instead of a log (UTF-16 text, an archive),
	// "" if it looks like one.
	Foreign string
	// Known are the names of all formats, for an input that fits none of them.
	Known []string
}

func (e *UnreadableError) Error() string {
	what := fmt.Sprintf("%d of %d units of %s cannot be read", e.Bad, e.Units, e.Input)
	switch {
	case e.Foreign != "":
		return fmt.Sprintf("%s cannot be read: it is %s", e.Input, e.Foreign)
	case e.Missing != "" && e.Format != "":
		return fmt.Sprintf("%s: the field %s of the format %s is missing", what, e.Missing, e.Format)
	case e.Missing != "":
		return fmt.Sprintf("%s: the field %s is missing", what, e.Missing)
	}
	if e.Reason == reasonNoFormat {
		return what + ": no known format fits them"
	}
	return fmt.Sprintf("%s: most of them are %s", what, strings.ReplaceAll(e.Reason, "_", " "))
}

// Hint says what to do about it.
func (e *UnreadableError) Hint() string {
	if e.Foreign != "" {
		return foreignRemedy(e.Foreign)
	}
	if len(e.Known) > 0 {
		return "known formats are " + strings.Join(e.Known, ", ") + ": --format NAME insists on one, --format-file FILE brings one of your own; captures (pcap, pcapng) are told by their first bytes"
	}
	return "name the format with --format NAME or --format-file FILE; scopedrift doctor says what the lines show and lack"
}

// ExitCode is that of a run that broke.
func (e *UnreadableError) ExitCode() int { return 1 }

// unreadable returns the error of an input that is mostly unreadable, else nil.
// Empty lines and headers say nothing either way. Where no format was recognised, lines that
// only look like some program's count as unreadable too: they may be calls in a
// format that nobody knows.
func (r *InputReport) unreadable(forced, foreign string) error {
	bad, units := r.BadTotal(), r.Units-r.NotACall[reasonEmpty]-r.NotACall[reasonHeader]
	if len(r.Formats) == 0 {
		bad += r.NotACall[reasonAppLog] + r.NotACall[reasonProgram]
	}
	if 2*bad <= units {
		return nil
	}
	e := &UnreadableError{Input: r.Input.Name, Bad: bad, Units: units, Reason: most(r.Bad), Foreign: foreign}
	if e.Reason == "" {
		e.Reason = reasonNoFormat
	}
	if 2*total(r.Missing) >= bad {
		e.Format, e.Missing, _ = strings.Cut(most(r.Missing), " ")
	}
	if forced != autoFormat {
		e.Format = forced
	}
	return e
}

// most returns the key with the highest count, the first one of several.
func most(counts map[string]uint64) string {
	best, n := "", uint64(0)
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if counts[key] > n {
			best, n = key, counts[key]
		}
	}
	return best
}

// Inputs that cannot be used at all.
var (
	ErrNoInput = errors.New("no input: name log files or directories, or - for standard input")
	errNoFiles = errors.New("the directory holds no files to read")
)
