// Package table holds the tables of the store: their DDL as numbered steps, and
// the names that Go code uses for them. Every table and column is named here
// and nowhere else.
//
// Most callers want [Steps], which the migrator runs in order, and the name
// constants. The package promises that a step, once released, never changes.
package table

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// Names of the tables.
const (
	Calls      = "calls"
	UseHour    = "use_hour"
	UseDay     = "use_day"
	UseLife    = "use_life"
	Pace       = "pace"
	Places     = "places"
	Parameters = "parameters"
	Instances  = "instances"
	Issues     = "issues"
	Principals = "principals"
	Presented  = "presented"
	SourceDay  = "source_day"
	Findings   = "findings"
	Grants     = "grants"
	Ledger     = "ledger"
	Ranges     = "ranges"
	Swaps      = "swaps"
	// Touched tells of which credentials calls were stored, and when.
	Touched      = "touched"
	Leases       = "leases"
	Suppressions = "suppressions"
	Deliveries   = "deliveries"
	Version      = "schema_version"
)

// FeedSuffix ends the name of a view that feeds a table from the calls; the
// table's name stands before it.
const FeedSuffix = "_feed"

// CallColumns are the columns of the calls table in the order in which blocks
// are built.
var CallColumns = []string{
	"time", "id", "source_type", "source_name", "reporter",
	"credential", "credential_kind", "credential_id", "credential_issuer", "credential_subject",
	"credential_client", "credential_instance", "session", "groups", "verified",
	"presented", "scopes", "scopes_known", "permissions_used", "decision", "policy",
	"service", "operation", "route_source", "method", "host", "path", "query_keys", "resource",
	"status", "request_bytes", "response_bytes", "duration_us",
	"client_address", "peer_address", "workload", "user_agent", "tenant", "environment",
	"request_id", "trace_id", "actor_chain", "mints", "quality",
}

//go:embed *.sql
var files embed.FS

// Step is one forward change of the schema: a file of statements.
type Step struct {
	// Number counts from 1 without holes.
	Number int
	// Name is the file's name, such as 0001_first.
	Name string
	// Statements are run one by one; each is safe to run again.
	Statements []string
}

// Steps returns all steps in order.
func Steps() ([]Step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var steps []Step
	for _, name := range names { // Glob sorts
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		step := Step{Number: len(steps) + 1, Name: strings.TrimSuffix(name, ".sql")}
		if want := fmt.Sprintf("%04d_", step.Number); !strings.HasPrefix(name, want) {
			return nil, fmt.Errorf("schema step %s should begin with %s", name, want)
		}
		for _, statement := range strings.Split(string(text), ";\n") {
			if statement = strings.TrimSpace(stripComments(statement)); statement != "" {
				step.Statements = append(step.Statements, statement)
			}
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// temporary are the settings of tables that go away with the command that made
// them. Merges would only cost: rollups are folded when they are read, and the
// parts are few. Without merges there is no bound on parts to keep. A part is one
// file, however large: a file for each column takes longer to make than to fill.
const temporary = "SETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1," +
	" parts_to_delay_insert = 1000000, parts_to_throw_insert = 1000000, min_bytes_for_wide_part = 1000000000000"

// Temporary returns the step for a store that goes away with the command that
// made it: the same tables, columns, orders and views, laid out for being
// written once. Nothing of it is ever dropped by day, so it has no partitions,
// each of which would cut a block into parts of its own. Rollups that are almost as
// large as the calls, or that only spare who comes back, are no tables but what the
// calls give when they are asked for. Nothing is merged.
func (s Step) Temporary() Step {
	const (
		// Nobody comes back to a temporary store to see what is new.
		touchedFeed = "CREATE MATERIALIZED VIEW IF NOT EXISTS " + Touched + FeedSuffix + " "
	)
	out := Step{Number: s.Number, Name: s.Name}
	for _, statement := range s.Statements {
		if strings.HasPrefix(statement, touchedFeed) || strings.Contains(statement, " MODIFY SETTING ") {
			continue
		}
		if view, gone := asView(statement); gone {
			if view != "" {
				out.Statements = append(out.Statements, view)
			}
			continue
		}
		var kept []string
		for line := range strings.Lines(statement) {
			switch {
			case strings.HasPrefix(line, "PARTITION BY "):
				continue
			case strings.HasPrefix(line, "SETTINGS "):
				line = temporary
			}
			kept = append(kept, line)
		}
		out.Statements = append(out.Statements, strings.Join(kept, ""))
	}
	return out
}

// asView turns the statements of a rollup that a temporary store does without: the
// table is gone (an empty view), and its feed is a view of that name.
func asView(statement string) (view string, gone bool) {
	for _, name := range []string{UseHour, Pace, Places, Parameters, Instances, Issues} {
		if strings.HasPrefix(statement, "CREATE TABLE IF NOT EXISTS "+name+" (") {
			return "", true
		}
		if rest, ok := strings.CutPrefix(statement, "CREATE MATERIALIZED VIEW IF NOT EXISTS "+name+FeedSuffix+" TO "+name+" AS"); ok {
			return "CREATE VIEW IF NOT EXISTS " + name + " AS" + rest, true
		}
	}
	return "", false
}

// Feed is a rollup and the select of the view that feeds it from the calls.
type Feed struct{ Table, Query string }

// Feeds returns the rollups that the step adds.
func (s Step) Feeds() []Feed {
	var list []Feed
	for _, statement := range s.Statements {
		if m := createView.FindStringSubmatch(statement); m != nil {
			list = append(list, Feed{Table: m[2], Query: m[3]})
		}
	}
	return list
}

// FeedOf returns the feed of a rollup; its query is what folds calls as the rollup
// does. The line that groups, if there is one, is a line of its own.
func FeedOf(name string) (Feed, error) {
	steps, err := Steps()
	if err != nil {
		return Feed{}, err
	}
	for _, step := range steps {
		for _, f := range step.Feeds() {
			if f.Table == name {
				return f, nil
			}
		}
	}
	return Feed{}, fmt.Errorf("no view feeds a table %q: this is a fault of the program", name)
}

func stripComments(statement string) string {
	var kept []string
	for _, line := range strings.Split(statement, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// Text writes steps for people, and for clients that run files.
func Text(steps []Step) string {
	var b strings.Builder
	for _, step := range steps {
		fmt.Fprintf(&b, "-- step %s\n\n", step.Name)
		for _, statement := range step.Statements {
			fmt.Fprintf(&b, "%s;\n\n", statement)
		}
	}
	return b.String()
}
