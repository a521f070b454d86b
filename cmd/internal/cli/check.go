package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

func (a *app) checkCommand() *cobra.Command {
	cat := &cobra.Command{
		Use: "catalog [PATH]", Short: "read a catalogue and say everything that is wrong with it",
		Long: `Reads a catalogue as scan would, with the OpenAPI documents it names, and says
everything that is wrong at once, each with file and line. What is legal but
likely not meant follows as a note. Exit code 2 if anything is wrong. Without a
path it is the one of the settings.`,
		Example: "  scopedrift check catalog catalogue/\n  scopedrift check catalog catalogue.yaml && git commit",
	}
	a.settings.bind(cat.Flags(), "catalog")
	cat.RunE = a.action(func(_ context.Context, args []string) error {
		if len(args) == 0 && a.settings.catalog != "" {
			args = []string{a.settings.catalog}
		}
		if len(args) != 1 {
			return usage("check catalog takes one path", "scopedrift check catalog catalogue/")
		}
		return a.checkCatalog(args[0])
	})
	conf := &cobra.Command{
		Use: "config", Short: "read the settings files and variables and say what is wrong", Args: cobra.NoArgs,
		Long: `Reads .scopedrift.yaml here, the user's own file and the SCOPEDRIFT_… variables,
and says what is wrong with them: unknown keys, values that do not parse, files
that do not exist, variables that nothing reads. Exit code 2 if anything is.`,
		Example: "  scopedrift check config",
	}
	// It must not fail on loading what it is to judge.
	conf.RunE = func(*cobra.Command, []string) error {
		a.started = true
		return a.checkConfig()
	}
	return group("check", "check a catalogue or the settings before they are used",
		"Checks before anything runs: each line is a tick or a remedy.", cat, conf, a.connectionsCommand(), a.checkBundleCommand())
}

func oneArgument(text string, hints ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(text, hints...)
		}
		return nil
	}
}

// loadCatalog reads the catalogue that --catalog names; without one it knows
// nothing.
func (a *app) loadCatalog() (*catalog.Catalog, error) {
	if a.settings.catalog == "" {
		return catalog.Empty(), nil
	}
	return catalog.Load(a.env.Path(a.settings.catalog))
}

func (a *app) checkCatalog(path string) error {
	c, err := catalog.Load(a.env.Path(path))
	if err != nil {
		return err
	}
	a.tick("%s: %s, %s, %s, %s; digest %s", path,
		output.Count(uint64(len(c.Services)), "service"), output.Count(uint64(operations(c)), "operation"),
		output.Count(uint64(len(c.Credentials)), "credential"), output.Count(uint64(grants(c)), "grant"), c.Digest)
	if len(c.Changes)+len(c.Suppressions) > 0 {
		a.tick("%s: %s, %s", path, output.Count(uint64(len(c.Changes)), "approved change"), output.Count(uint64(len(c.Suppressions)), "suppression"))
	}
	for _, note := range catalogNotes(c) {
		a.say("note  %s", note)
	}
	for _, note := range catalogDoubts(c) {
		a.say("note  %s", note)
	}
	return nil
}

func operations(c *catalog.Catalog) (n int) {
	for _, s := range c.Services {
		n += len(s.Operations)
	}
	return n
}

func grants(c *catalog.Catalog) (n int) {
	for _, credential := range c.Credentials {
		n += len(credential.Grants)
	}
	for i := range c.Groups {
		n += len(c.Groups[i].Grants)
	}
	return n
}

func catalogNotes(c *catalog.Catalog) []string {
	var notes []string
	for _, n := range c.Notes {
		place := n.File
		if n.Line > 0 {
			place = fmt.Sprintf("%s:%d", n.File, n.Line)
		}
		notes = append(notes, place+": "+n.Text)
	}
	return notes
}

// catalogDoubts are statements that are legal and likely not meant.
func catalogDoubts(c *catalog.Catalog) []string {
	var doubts []string
	for _, s := range c.Services {
		unmapped := 0
		for _, o := range s.Operations {
			if o.Demand.State == schema.DemandUnmapped && !s.DemandOperation {
				unmapped++
			}
		}
		switch {
		case len(s.Hosts) == 0 && s.Tenant.Host == "":
			doubts = append(doubts, fmt.Sprintf("%s:%d: service %s has no hosts, so only calls that name it reach it", s.File, s.Line, s.Name))
		case unmapped > 0:
			doubts = append(doubts, fmt.Sprintf("%s:%d: service %s does not say what %d of its %d operations need: they are never judged",
				s.File, s.Line, s.Name, unmapped, len(s.Operations)))
		}
	}
	for _, credential := range c.Credentials {
		if len(credential.Match) == 0 {
			doubts = append(doubts, fmt.Sprintf("%s:%d: credential %s has no match, so no call is ever its", credential.File, credential.Line, credential.ID))
		}
		if credential.Owner == "" && credential.Purpose == "" && credential.Workload == "" {
			doubts = append(doubts, fmt.Sprintf("%s:%d: credential %s has no owner, workload or purpose", credential.File, credential.Line, credential.ID))
		}
	}
	return doubts
}

func (a *app) checkConfig() error {
	levels, err := readLevels(a.env)
	if err != nil {
		return err
	}
	problems := wrongValues(a.env, levels)
	if len(problems) > 0 {
		return usage(strings.Join(problems, "\n"), "scopedrift config show --origin tells where each value comes from")
	}
	shown := newSettings()
	if err := shown.load(a.env, nil); err != nil {
		return err
	}
	for _, name := range []string{"catalog", "format-file"} {
		r := registered(name)
		for _, path := range pathsOf(r.value(shown)) {
			if _, err := a.env.Stat(path); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s %s does not exist", shown.origins[name].Place, name, path))
			}
		}
	}
	if shown.data != "" && shown.clickhouse.value != "" {
		a.say("note  data and clickhouse are both set: the store is on the server, the key and the dead letters in %s", shown.data)
	}
	problems = append(problems, strangers(a.env)...)
	if len(problems) > 0 {
		return usage(strings.Join(problems, "\n"), "scopedrift config show --origin tells where each value comes from")
	}
	read := 0
	for _, path := range a.settingsFiles() {
		if _, err := a.env.ReadFile(path, settingsMost); err == nil {
			a.tick("%s", path)
			read++
		}
	}
	if read == 0 {
		a.tick("no settings file; defaults and the environment hold")
	}
	return nil
}

// wrongValues tries every value of every level, also those that a stronger level
// hides: they would surprise when that one is gone.
func wrongValues(env *Env, levels []map[string]given) []string {
	var problems []string
	for _, level := range levels {
		for i := range register {
			r := &register[i]
			g, ok := level[r.name]
			if !ok {
				continue
			}
			if err := g.apply(env, r, r.value(newSettings())); err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	return problems
}

func (a *app) settingsFiles() []string {
	files := []string{a.env.Path(projectFile)}
	if dir := a.env.UserDir(); dir != "" {
		files = append(files, filepath.Join(dir, userFile))
	}
	return files
}

func pathsOf(value fmt.Stringer) []string {
	if l, ok := value.(*list); ok {
		return l.values
	}
	if s := value.String(); s != "" {
		return []string{s}
	}
	return nil
}

// tick says on standard output that something is right.
func (a *app) tick(format string, args ...any) {
	fmt.Fprintf(a.env.Stdout, "%s    %s\n", a.outPaint().Good("ok"), output.Safe(fmt.Sprintf(format, args...)))
}

// say writes a line to standard output.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.env.Stdout, output.Safe(fmt.Sprintf(format, args...)))
}
