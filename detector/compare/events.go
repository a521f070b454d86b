package compare

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"github.com/scopedrift/scopedrift/schema"
)

//go:embed aws_events.tsv
var eventTable string

//go:embed aws_actions.txt
var actionTable string

// facts are the two tables, read once.
type facts struct {
	events map[string]eventFact
	// prefixes maps an event source to the prefix of its actions, where they
	// differ.
	prefixes map[string]string
	// actions are the known ones, as "prefix:Action".
	actions map[string]struct{}
}

type eventFact struct {
	// actions are all needed. None means that none is needed, unless why says
	// that they cannot be told.
	actions []string
	// or is what the request may have needed instead.
	or  []string
	why string
}

var awsFacts = sync.OnceValue(func() *facts {
	f := &facts{events: map[string]eventFact{}, prefixes: map[string]string{}, actions: map[string]struct{}{}}
	for line := range strings.Lines(eventTable) {
		f.readEvent(strings.TrimRight(line, "\n"))
	}
	prefix := ""
	for line := range strings.Lines(actionTable) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "["); ok {
			prefix = strings.TrimSuffix(name, "]")
			continue
		}
		f.readActions(prefix, line)
	}
	return f
})

func (f *facts) readEvent(line string) {
	if line == "" || line[0] == '#' {
		return
	}
	event, rest, _ := strings.Cut(line, "\t")
	actions, note, _ := strings.Cut(rest, "\t")
	if source, ok := strings.CutSuffix(event, ":*"); ok {
		f.prefixes[source] = strings.TrimSuffix(actions, ":*")
		return
	}
	fact := eventFact{}
	switch actions {
	case "-":
	case "?":
		fact.why = note
	default:
		fact.actions = strings.Fields(actions)
	}
	if or, ok := strings.CutPrefix(note, "or "); ok {
		fact.or = strings.Fields(or)
	}
	f.events[event] = fact
}

func (f *facts) readActions(prefix, line string) {
	if line == "" || line[0] == '#' {
		return
	}
	verbs, nouns, crossed := strings.Cut(line, " : ")
	if !crossed {
		for name := range strings.FieldsSeq(line) {
			f.actions[prefix+":"+name] = struct{}{}
		}
		return
	}
	for verb := range strings.FieldsSeq(verbs) {
		for noun := range strings.FieldsSeq(nouns) {
			f.actions[prefix+":"+verb+noun] = struct{}{}
		}
	}
}

// lookup finds the fact about an event: its row in the table, else the action
// of its own name, if there is one; then the same without a version.
func (f *facts) lookup(event string) (eventFact, bool) {
	source, name, ok := strings.Cut(event, ":")
	if !ok {
		return eventFact{}, false
	}
	prefix := source
	if p, ok := f.prefixes[source]; ok {
		prefix = p
	}
	for {
		for _, s := range [...]string{source, prefix} {
			if fact, ok := f.events[s+":"+name]; ok {
				return fact, true
			}
		}
		action := prefix + ":" + name
		if _, ok := f.actions[action]; ok {
			return eventFact{actions: []string{action}}, true
		}
		short := withoutVersion(name)
		if short == name {
			return eventFact{}, false
		}
		name = short
	}
}

// withoutVersion removes the date of an API's version from the end of an event's
// name: "GetFunction20150331v2", "CreateDistribution2020_05_31".
func withoutVersion(name string) string {
	date := name
	if i := strings.LastIndexByte(name, 'v'); i > 0 && i < len(name)-1 && digits(name[i+1:]) {
		date = name[:i]
	}
	for _, form := range [...]string{"0000_00_00", "00000000"} {
		if at := len(date) - len(form); at > 0 && shaped(date[at:], form) {
			return date[:at]
		}
	}
	return name
}

func shaped(s, form string) bool {
	for i := range len(s) {
		if digit := '0' <= s[i] && s[i] <= '9'; digit != (form[i] == '0') || !digit && s[i] != form[i] {
			return false
		}
	}
	return true
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// EventDemand tells which IAM actions a CloudTrail event needs, by our own
// table of facts. The event is written "service:EventName", service being the
// event source without ".amazonaws.com". What the table does not know is
// unmapped; an event that no policy decides is public.
func EventDemand(event string) schema.Demand {
	const source = "table of CloudTrail events"
	fact, ok := awsFacts().lookup(event)
	switch {
	case !ok:
		return schema.Demand{Why: fmt.Sprintf("%q is neither in the table of CloudTrail events nor a known action of its service", event)}
	case fact.why != "":
		return schema.Demand{Source: source, Why: fmt.Sprintf("which actions %q needs cannot be told from the event: %s", event, fact.why)}
	case len(fact.actions) == 0:
		return schema.Demand{State: schema.DemandPublic, Source: source}
	}
	return schema.Demand{
		State:        schema.DemandKnown,
		Alternatives: []schema.Alternative{{Scopes: fact.actions}},
		Source:       source,
	}
}

// eventInstead returns the actions that the request of an event may have needed
// instead of those that EventDemand tells, nil for none.
func eventInstead(event string) []string {
	fact, _ := awsFacts().lookup(event)
	return fact.or
}
