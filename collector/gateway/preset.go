package gateway

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/scopedrift/scopedrift/schema/spelling"
)

// Preset is how one log format is read: which units are of that format, which
// of their fields say what about a call, and how an operator makes the gateway
// log what is missing. Presets are YAML; docs/presets.md describes the grammar.
type Preset struct {
	// Name is the word after --format and the call's source.type.
	Name string `yaml:"name"`
	// Title says in a line what the format is.
	Title string `yaml:"title"`
	// Kind is json or text.
	Kind string `yaml:"kind"`
	// Style is http, where a call has a method and a target, or api, where the
	// log names the operation.
	Style string `yaml:"style"`
	// Order says when the preset is tried: lower first. Users' own presets are
	// tried before all embedded ones.
	Order int `yaml:"order"`
	// Match are sets of fields: a JSON unit that has all fields of one set is of
	// this format.
	Match [][]string `yaml:"match"`
	// Lines are the forms of a text line.
	Lines []lineSpec `yaml:"lines"`
	// Missing are values that mean "none" beside null, "" and "-".
	Missing []string `yaml:"missing"`
	// Expand are fields that hold an object, sometimes written as text.
	Expand []string `yaml:"expand"`
	// Reporter says who wrote the unit.
	Reporter reporterSpec `yaml:"reporter"`
	// Decision is the table that reads the answer: http, cloudtrail, kubernetes.
	Decision string `yaml:"decision"`
	// Fields and Credential say where the call's parts and the identity's
	// evidence stand.
	Fields     map[string]fieldSpec `yaml:"fields"`
	Credential map[string]fieldSpec `yaml:"credential"`
	// NotACall are units that describe no call.
	NotACall []ruleSpec `yaml:"not_a_call"`
	// UnitID is the id that the log itself gives a unit.
	UnitID *unitIDSpec `yaml:"unit_id"`
	// Stages says how several units of one call follow each other.
	Stages *stageSpec `yaml:"stages"`
	// Recipe is the log format that an operator configures to get all fields.
	Recipe string `yaml:"recipe"`
	// Hints say for a canonical field which log field to add.
	Hints map[string]string `yaml:"hints"`

	file string
}

// lineSpec is one form of a text line.
type lineSpec struct {
	// Line must match; Then may follow and may be cut short.
	Line string `yaml:"line"`
	Then string `yaml:"then"`
	// Rest is "any" where more text may follow.
	Rest string `yaml:"rest"`
	// NotACall says that such a line is no call, and why.
	NotACall string `yaml:"not_a_call"`
	// NeedsTime says that the form counts only behind a prefix that has the time.
	NeedsTime bool `yaml:"needs_prefix_time"`
}

// reporterSpec says who wrote a unit: the first rule that holds, else Default.
type reporterSpec struct {
	Default string         `yaml:"default"`
	Rules   []reporterRule `yaml:"rules"`
}

type reporterRule struct {
	Field  string `yaml:"field"`
	Prefix string `yaml:"prefix"`
	Is     string `yaml:"is"`
}

// ruleSpec says that a unit is no call: all its conditions hold.
type ruleSpec struct {
	Why string `yaml:"why"`
	// Field has one of the values In.
	Field string   `yaml:"field"`
	In    []string `yaml:"in"`
	// Absent are fields that all have no value.
	Absent []string `yaml:"absent"`
}

// unitIDSpec names the unit's own id. Same are facts that two units must share,
// beside the id, to be one: examples, masked and replayed logs repeat ids.
type unitIDSpec struct {
	From string   `yaml:"from"`
	Same []string `yaml:"same"`
}

// stageSpec says which field tells the stage, and which stages are early: a unit
// of an early stage counts only where no later one of the same id is found.
type stageSpec struct {
	Field string   `yaml:"field"`
	Early []string `yaml:"early"`
}

// fieldSpec says where a value stands. In YAML it is a path, a list of paths of
// which the first with a value counts, or a mapping.
type fieldSpec struct {
	// From are paths, or composed values (with braces).
	From []string
	// Value is a constant, used where From gives nothing.
	Value string
	// Unit is the unit of a number: s, ms, us or ns.
	Unit string

	line int
}

// fieldMapping is the mapping form of a fieldSpec.
type fieldMapping struct {
	From  pathList `yaml:"from"`
	Value string   `yaml:"value"`
	Unit  string   `yaml:"unit"`
}

// pathList is a path or a list of paths.
type pathList []string

// UnmarshalYAML reads one path or several.
func (p *pathList) UnmarshalYAML(n ast.Node) error {
	if n.Type() == ast.SequenceType {
		return yaml.NodeToValue(n, (*[]string)(p))
	}
	var one string
	err := yaml.NodeToValue(n, &one)
	*p = pathList{one}
	return err
}

// UnmarshalYAML reads the three forms of a field.
func (f *fieldSpec) UnmarshalYAML(n ast.Node) error {
	f.line = n.GetToken().Position.Line
	if n.Type() == ast.MappingType || n.Type() == ast.MappingValueType {
		var m fieldMapping
		if err := yaml.NodeToValue(n, &m, yaml.Strict()); err != nil {
			return err
		}
		f.From, f.Value, f.Unit = m.From, m.Value, m.Unit
		return nil
	}
	var paths pathList
	err := paths.UnmarshalYAML(n)
	f.From = paths
	return err
}

//go:embed presets/*.yaml
var embedded embed.FS

// PresetSet is the presets that one run knows, in the order in which they are
// tried.
type PresetSet struct{ presets []*Preset }

// Presets returns the embedded presets, with the user's own before them. An
// error names file and line.
func Presets(files ...string) (*PresetSet, error) {
	set := &PresetSet{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read format file: %w; name a file that can be read with --format-file", err)
		}
		p, err := ParsePreset(file, data)
		if err != nil {
			return nil, err
		}
		if set.Find(p.Name) != nil {
			return nil, fmt.Errorf("%s: two format files define %q: give one of them another name", file, p.Name)
		}
		set.presets = append(set.presets, p)
	}
	own := len(set.presets)
	names, err := fs.Glob(embedded, "presets/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list embedded presets: %w", err)
	}
	for _, name := range names {
		data, err := embedded.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read embedded preset: %w", err)
		}
		p, err := readPreset(name, data) // New compiles it, and a test
		if err != nil {
			return nil, err
		}
		if set.Find(p.Name) == nil { // the user's own replaces it
			set.presets = append(set.presets, p)
		}
	}
	slices.SortStableFunc(set.presets[own:], func(a, b *Preset) int { return a.Order - b.Order })
	return set, nil
}

// Find returns the preset of that name, or nil.
func (s *PresetSet) Find(name string) *Preset {
	for _, p := range s.presets {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Names lists the presets in the order in which they are tried.
func (s *PresetSet) Names() []string {
	names := make([]string, len(s.presets))
	for i, p := range s.presets {
		names[i] = p.Name
	}
	return names
}

// ParsePreset reads and checks one preset; file is for the error's text.
func ParsePreset(file string, data []byte) (*Preset, error) {
	p, err := readPreset(file, data)
	if err != nil {
		return nil, err
	}
	// Compiled once here for the errors that only that finds.
	if _, err := compile([]*Preset{p}, ""); err != nil {
		return nil, err
	}
	return p, nil
}

func readPreset(file string, data []byte) (*Preset, error) {
	p := &Preset{file: file}
	if err := p.decode(data); err != nil {
		return nil, presetError(file, err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

// maxPreset bounds a format file; the largest embedded one has 8 KiB.
const maxPreset = 1 << 20

var (
	errPresetLong = errors.New("the file is longer than 1 MiB: a format file is a page of YAML")
	errPresetYAML = errors.New("the YAML cannot be read: write plain mappings and lists, without tags")
)

// decode reads the YAML. The reader panics on some tagged values; a file that a
// user wrote must not end the program.
func (p *Preset) decode(data []byte) (err error) {
	if len(data) > maxPreset {
		return errPresetLong
	}
	defer func() {
		if recover() != nil {
			err = errPresetYAML
		}
	}()
	return yaml.UnmarshalWithOptions(data, p, yaml.Strict())
}

// presetError puts file and line before what the YAML reader found.
func presetError(file string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", file, at.GetToken().Position.Line, at.GetMessage())
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%s: %s", file, text)
}

// check finds what is wrong with a preset beside its grammar.
func (p *Preset) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{p.file}, args...)...)
	}
	if !validName(p.Name) {
		return bad("name %q: write lower-case letters, digits and dashes", p.Name)
	}
	if p.Name == autoFormat {
		return bad("name %q means something else: choose another", p.Name)
	}
	switch {
	case p.Kind == "json" && len(p.Match) == 0:
		return bad("match is missing: list the fields by which a unit is known to be of this format")
	case p.Kind == "text" && len(p.Lines) == 0:
		return bad("lines is missing: give at least one form of a line")
	case p.Kind != "json" && p.Kind != "text":
		return bad("kind %q: write json or text", p.Kind)
	case p.Style != "http" && p.Style != "api":
		return bad("style %q: write http (a method and a target) or api (the log names the operation)", p.Style)
	}
	for i, set := range p.Match {
		if len(set) == 0 {
			return bad("match: set %d is empty and would match every unit", i+1)
		}
	}
	if !slices.Contains([]string{"", "http", "cloudtrail", "kubernetes"}, p.Decision) {
		return bad("decision %q: write http, cloudtrail or kubernetes", p.Decision)
	}
	if err := p.checkFields("fields", p.Fields, callFields); err != nil {
		return err
	}
	if err := p.checkFields("credential", p.Credential, credentialFields); err != nil {
		return err
	}
	return p.checkNeeds(bad)
}

// didYouMean names the valid word that name most likely stands for, or all of
// them where none is near.
func didYouMean(name string, words []string) string {
	if near := spelling.Nearest(name, words, len(name)/3+1); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; valid are " + strings.Join(words, ", ")
}

// checkFields checks one list of fields, in the order of its lines.
func (p *Preset) checkFields(list string, fields map[string]fieldSpec, words []string) error {
	names := slices.SortedFunc(maps.Keys(fields), func(a, b string) int { return fields[a].line - fields[b].line })
	for _, name := range names {
		f := fields[name]
		if name == "" || !slices.Contains(words, name) {
			return fmt.Errorf("%s:%d: %s: %q is not known%s", p.file, f.line, list, name, didYouMean(name, words))
		}
		if err := f.check(name); err != nil {
			return fmt.Errorf("%s:%d: %w", p.file, f.line, err)
		}
	}
	return nil
}

// checkNeeds finds fields without which no call can be made.
func (p *Preset) checkNeeds(bad func(string, ...any) error) error {
	need := func(names ...string) error {
		for _, name := range names {
			if _, ok := p.Fields[name]; ok {
				return nil
			}
		}
		return bad("fields: %s is missing; a %s call cannot be made without it", strings.Join(names, " or "), p.Style)
	}
	if p.Style == "api" {
		return errors.Join(need("time"), need("operation"))
	}
	return errors.Join(need("time"), need("method", "request"), need("target", "request"))
}

func (f *fieldSpec) check(name string) error {
	if len(f.From) == 0 && f.Value == "" {
		return fmt.Errorf("%s: say from where with a path, a list of paths, or value", name)
	}
	for _, path := range f.From {
		if path == "" {
			return fmt.Errorf("%s: %w", name, errPathEmpty)
		}
	}
	if f.Unit != "" && unitOf(f.Unit) == 0 {
		return fmt.Errorf("%s: unit %q is not known; write s, ms, us or ns", name, f.Unit)
	}
	return nil
}

// unitOf returns the nanoseconds of a unit, 0 for an unknown one.
func unitOf(unit string) int64 {
	switch unit {
	case "s":
		return 1e9
	case "ms":
		return 1e6
	case "us":
		return 1e3
	case "ns":
		return 1
	}
	return 0
}

func validName(name string) bool {
	return name != "" && len(name) <= 40 && !bytes.ContainsFunc([]byte(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}
