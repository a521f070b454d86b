package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/pflag"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/spelling"
)

// projectFile is read from the working directory only: a file further up could
// belong to somebody else and name a server to send calls to.
const (
	projectFile  = ".scopedrift.yaml"
	userFile     = "config.yaml"
	settingsMost = 1 << 20
)

// settings are the values that flags, environment and files can give. Each
// command binds those it reads; [settings.load] fills them in.
type settings struct {
	catalog    string
	format     list
	formatFile list
	tlsKeys    list
	output     string
	from       moment
	to         moment
	failOn     severityWord
	minCover   share
	data       string
	callsOut   string
	key        string
	host       string
	tenant     string
	clickhouse address
	password   string
	memory     size
	metrics    string
	color      word
	quiet      bool
	kafka      kafkaSettings

	origins map[string]origin
}

// origin says where a setting's value comes from.
type origin struct {
	// Level is default, user file, project file, environment or flag.
	Level string
	// Place is the file and line, or the variable's name.
	Place string
}

func newSettings() *settings {
	return &settings{
		format: list{values: []string{"auto"}},
		to:     moment{end: true},
		memory: size{3 << 29},
		color:  word{"auto", []string{"auto", "always", "never"}},
		kafka:  newKafkaSettings(),
	}
}

// setting is one row of the register below.
type setting struct {
	name, usage string
	value       func(*settings) pflag.Value
	// path says that a relative value in a file is relative to that file.
	path bool
	// short is the one-letter form.
	short string
}

// key is the setting's name in a file.
func (r *setting) key() string { return strings.ReplaceAll(r.name, "-", "_") }

// text adapts a plain string.
type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) Type() string       { return "string" }

// pathText is a string that help calls a path.
type pathText struct{ *text }

func (pathText) Type() string { return "path" }

// truth adapts a bool.
type truth bool

func (t *truth) String() string { return fmt.Sprint(bool(*t)) }
func (t *truth) Type() string   { return "bool" }
func (t *truth) Set(s string) error {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		*t = true
	case "false", "no", "off", "0", "":
		*t = false
	default:
		return fmt.Errorf("%q is neither true nor false", s)
	}
	return nil
}
func (t *truth) IsBoolFlag() bool { return true }

// register lists every setting once: its name is the flag, with underscores the
// key in a file, and in capitals after SCOPEDRIFT_ the variable.
var register = append([]setting{
	{name: "catalog", path: true, usage: "catalogue of services, scopes and credentials: a directory or file",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.catalog)} }},
	{name: "format", usage: "how to read the inputs: auto, a format's NAME, or NAME:path for one input (repeatable)",
		value: func(s *settings) pflag.Value { return &s.format }},
	{name: "format-file", path: true, usage: "file with a format of your own (repeatable)",
		value: func(s *settings) pflag.Value { return &s.formatFile }},
	{name: "tls-keys", path: true, usage: "key log (SSLKEYLOGFILE) that opens TLS in captures (repeatable)",
		value: func(s *settings) pflag.Value { return &s.tlsKeys }},
	{name: "output", short: "o", usage: "how to write the result",
		value: func(s *settings) pflag.Value { return (*text)(&s.output) }},
	{name: "from", usage: "leave out calls before this time (a date is its whole day, UTC)",
		value: func(s *settings) pflag.Value { return &s.from }},
	{name: "to", usage: "leave out calls after this time; it is also what counts as now",
		value: func(s *settings) pflag.Value { return &s.to }},
	{name: "fail-on", usage: "exit with 3 if a finding is at least this severe: " + allSeverities(),
		value: func(s *settings) pflag.Value { return &s.failOn }},
	{name: "min-coverage", usage: "exit with 4 if less than this share of the traffic was seen, or nobody knows",
		value: func(s *settings) pflag.Value { return &s.minCover }},
	{name: "data", path: true, usage: "keep the store, the key and what could not be read in this directory",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.data)} }},
	{name: "calls-out", path: true, usage: "also write every redacted call as a JSON line to this file",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.callsOut)} }},
	{name: "key", path: true, usage: "installation key for fingerprints; made once if absent",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.key)} }},
	{name: "host", usage: "host of the API, for logs that name none or the wrong one",
		value: func(s *settings) pflag.Value { return (*text)(&s.host) }},
	{name: "tenant", usage: "where the tenant stands: header:NAME, query:NAME or field:NAME",
		value: func(s *settings) pflag.Value { return (*text)(&s.tenant) }},
	{name: "clickhouse", usage: "use this ClickHouse server instead of the embedded engine",
		value: func(s *settings) pflag.Value { return &s.clickhouse }},
	{name: "clickhouse-password-file", path: true, usage: "file with that server's password, if its address has none",
		value: func(s *settings) pflag.Value { return pathText{(*text)(&s.password)} }},
	{name: "memory", usage: "memory of the embedded engine",
		value: func(s *settings) pflag.Value { return &s.memory }},
	{name: "metrics-listen", usage: "serve /metrics, /healthz and /readyz on this host:port, or off (default " + operate.DefaultListen + ", a free port where that is taken)",
		value: func(s *settings) pflag.Value { return (*text)(&s.metrics) }},
	{name: "color", usage: "colour: auto (only on a terminal), always or never",
		value: func(s *settings) pflag.Value { return &s.color }},
	{name: "quiet", short: "q", usage: "no progress and no remarks on standard error, only errors",
		value: func(s *settings) pflag.Value { return (*truth)(&s.quiet) }},
}, kafkaRegister...)

func registered(name string) *setting {
	for i := range register {
		if register[i].name == name {
			return &register[i]
		}
	}
	panic("cli: setting " + name + " is not in the register")
}

// bind makes flags of the named settings.
func (s *settings) bind(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		r := registered(name)
		flag := flags.VarPF(r.value(s), r.name, r.short, r.usage)
		if _, ok := flag.Value.(*truth); ok {
			flag.NoOptDefVal = "true"
		}
	}
}

// bindOutput makes the -o flag with the formats that a command can write.
func bindOutput(flags *pflag.FlagSet, formats ...string) {
	flags.VarP(&outputWord{formats[0], formats}, "output", "o", registered("output").usage+": "+strings.Join(formats, ", "))
}

// outputWord checks -o against what the command can write; the first format is
// the default.
type outputWord struct {
	value string
	known []string
}

func (o *outputWord) String() string { return o.value }
func (o *outputWord) Type() string   { return "format" }
func (o *outputWord) Set(value string) error {
	w := word{known: o.known}
	if err := w.Set(value); err != nil {
		return err
	}
	o.value = value
	return nil
}

// load fills in, by precedence, what the flags did not say: environment, project
// file, user file. flags is nil for "config show", which has none of its own.
func (s *settings) load(env *Env, flags *pflag.FlagSet) error {
	s.origins = map[string]origin{}
	levels, err := readLevels(env)
	if err != nil {
		return err
	}
	for i := range register {
		r := &register[i]
		s.origins[r.name] = origin{Level: "default"}
		target := r.value(s)
		if flags != nil {
			flag := flags.Lookup(r.name)
			if flag == nil {
				continue // not a flag of this command
			}
			if flag.Changed {
				s.origins[r.name] = origin{"flag", "--" + r.name}
				continue
			}
			target = flag.Value
		}
		for _, level := range levels {
			given, ok := level[r.name]
			if !ok {
				continue
			}
			if err := given.apply(env, r, target); err != nil {
				return err
			}
			s.origins[r.name] = given.origin
			break
		}
	}
	if flags != nil {
		if flag := flags.Lookup("output"); flag != nil {
			s.output = flag.Value.String()
		}
	}
	if from, to := s.from.value, s.to.value; !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return usage(fmt.Sprintf("nothing lies between --from %s and --to %s", s.from.String(), s.to.String()), "give an end that is later than the start")
	}
	return nil
}

// given is a value as a level states it.
type given struct {
	values []string
	origin origin
	// dir is what relative paths are relative to.
	dir string
}

func (g *given) apply(env *Env, r *setting, target pflag.Value) error {
	if l, ok := target.(*list); ok {
		l.changed = false
	} else if len(g.values) > 1 {
		return usage(fmt.Sprintf("%s: %s takes one value, not a list", g.origin.Place, r.key()))
	}
	for _, value := range g.values {
		if r.path && g.dir != "" && value != "" && value != "-" && !filepath.IsAbs(value) {
			value = filepath.Join(g.dir, value)
		}
		if err := target.Set(value); err != nil {
			// A stored "-o sarif" is no error for a command that has no sarif.
			if _, ok := target.(*outputWord); ok && isOutput(value) {
				return nil
			}
			return misused(fmt.Errorf("%s: %s: %w", g.origin.Place, r.key(), err))
		}
	}
	return nil
}

func isOutput(value string) bool {
	return slices.Contains([]string{"text", "table", "json", "jsonl", "csv", "sarif", "ocsf", "dot", "markdown"}, value)
}

// readLevels reads environment, project file and user file, strongest first.
func readLevels(env *Env) ([]map[string]given, error) {
	levels := []map[string]given{environLevel(env)}
	files := []struct{ level, path string }{{"project file", env.Path(projectFile)}}
	if dir := env.UserDir(); dir != "" {
		files = append(files, struct{ level, path string }{"user file", filepath.Join(dir, userFile)})
	}
	for _, file := range files {
		level, err := readSettingsFile(env, file.level, file.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		levels = append(levels, level)
	}
	return levels, nil
}

func variableOf(name string) string {
	return "SCOPEDRIFT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func environLevel(env *Env) map[string]given {
	level := map[string]given{}
	for i := range register {
		variable := variableOf(register[i].name)
		if value, ok := env.lookup(variable); ok && value != "" {
			level[register[i].name] = given{values: []string{value}, origin: origin{"environment", variable}}
		}
	}
	return level
}

// readSettingsFile reads one file: a mapping of known keys to scalars or lists
// of them. All its problems are reported at once.
func readSettingsFile(env *Env, levelName, path string) (map[string]given, error) {
	data, err := env.ReadFile(path, settingsMost)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, misused(fmt.Errorf("read settings: %w", err))
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, misused(fmt.Errorf("%s: not YAML: %s", path, firstLine(err.Error())))
	}
	level := map[string]given{}
	var problems []string
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		mapping, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: should be keys and values, such as \"catalog: catalogue/\"", path))
			continue
		}
		for _, pair := range mapping.Values {
			problems = append(problems, readSetting(level, levelName, path, pair)...)
		}
	}
	if len(problems) > 0 {
		return nil, usage(strings.Join(problems, "\n"), "scopedrift config show lists every setting")
	}
	return level, nil
}

func readSetting(level map[string]given, levelName, path string, pair *ast.MappingValueNode) []string {
	key := pair.Key.GetToken().Value
	place := fmt.Sprintf("%s:%d", path, pair.Key.GetToken().Position.Line)
	var known []string
	for i := range register {
		known = append(known, register[i].key())
	}
	at := slices.Index(known, key)
	if at < 0 {
		if near := nearest(key, known); near != "" {
			return []string{fmt.Sprintf("%s: unknown key %q; did you mean %q?", place, key, near)}
		}
		return []string{fmt.Sprintf("%s: unknown key %q", place, key)}
	}
	name := register[at].name
	if _, twice := level[name]; twice {
		return []string{fmt.Sprintf("%s: key %q is given twice", place, key)}
	}
	values, ok := scalars(pair.Value)
	if !ok {
		return []string{fmt.Sprintf("%s: %s should be a value or a list of values", place, key)}
	}
	level[name] = given{values: values, origin: origin{levelName, place}, dir: filepath.Dir(path)}
	return nil
}

func scalars(node ast.Node) ([]string, bool) {
	switch n := node.(type) {
	case *ast.SequenceNode:
		var values []string
		for _, element := range n.Values {
			one, ok := scalars(element)
			if !ok || len(one) != 1 {
				return nil, false
			}
			values = append(values, one[0])
		}
		return values, true
	case *ast.LiteralNode:
		return []string{n.Value.Value}, true
	case ast.ScalarNode:
		return []string{n.GetToken().Value}, true
	}
	return nil, false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// strangers lists the SCOPEDRIFT_ variables that no setting reads, with what
// was likely meant.
func strangers(env *Env) []string {
	known := []string{"SCOPEDRIFT_ENGINE", "SCOPEDRIFT_LIBCHDB", passwordVariable, kafkaPasswordVariable, receiveTokenVariable}
	for i := range register {
		known = append(known, variableOf(register[i].name))
	}
	var found []string
	for _, pair := range env.Environ {
		name, value, _ := strings.Cut(pair, "=")
		// What tests and the build read is none of a user's business.
		if !strings.HasPrefix(name, "SCOPEDRIFT_") || slices.Contains(known, name) || value == "" ||
			name == "SCOPEDRIFT_CORPUS" || strings.HasPrefix(name, "SCOPEDRIFT_TEST_") {
			continue
		}
		line := fmt.Sprintf("environment variable %s is read by nothing", name)
		if near := spelling.Nearest(name, known, 3); near != "" {
			line += fmt.Sprintf("; did you mean %s?", near)
		}
		found = append(found, line)
	}
	slices.Sort(found)
	return found
}

// allSeverities is for help texts.
func allSeverities() string { return strings.Join(schema.Severities(), ", ") }
