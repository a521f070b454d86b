package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
)

const configLong = `Shows the settings that a command would run with, and with --origin where each
comes from. The order, strongest first:

  flags                     --fail-on high
  environment               SCOPEDRIFT_FAIL_ON=high
  project file              .scopedrift.yaml in the working directory
  user file                 $XDG_CONFIG_HOME/scopedrift/config.yaml, else ~/.config/…
  defaults

A file holds the flags' names with underscores, and paths relative to itself:

  catalog: catalogue/
  fail_on: high
  format: ["envoy:edge.log"]

A file is one place for a server's address, never for its password.`

func (a *app) configCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "show every setting, with --origin where it comes from", Long: configLong, Args: cobra.NoArgs,
		Example: "  scopedrift config show --origin\n  SCOPEDRIFT_DATA=/var/lib/scopedrift scopedrift config show --origin",
	}
	withOrigin := show.Flags().Bool("origin", false, "also show where each value comes from")
	bindOutput(show.Flags(), "table", "json", "jsonl", "csv")
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		// The command's own -o and the global flags are read as always; all
		// other settings as if a command were to come.
		if err := a.settings.load(a.env, cmd.Flags()); err != nil {
			return err
		}
		a.started = true
		return a.showConfig(cmd.Flags(), *withOrigin)
	}
	return group("config", "show the settings and where they come from", configLong, show)
}

func (a *app) showConfig(flags *pflag.FlagSet, withOrigin bool) error {
	shown := newSettings()
	if err := shown.load(a.env, nil); err != nil {
		return err
	}
	l := &listing{table: output.Table{Columns: []output.Column{{Name: "setting"}, {Name: "value", Keep: 16}}}}
	if withOrigin {
		l.table.Columns = append(l.table.Columns, output.Column{Name: "origin"}, output.Column{Name: "place", Keep: 16})
	}
	for i := range register {
		r := &register[i]
		value, from := r.value(shown).String(), shown.origins[r.name]
		if r.name == "color" || r.name == "quiet" {
			if flag := flags.Lookup(r.name); flag != nil && flag.Changed {
				value, from = flag.Value.String(), origin{"flag", "--" + r.name}
			}
		}
		row := map[string]string{"setting": r.key(), "value": value}
		cells := []string{row["setting"], value}
		if withOrigin {
			row["origin"], row["place"] = from.Level, from.Place
			cells = append(cells, from.Level, from.Place)
		}
		l.add(row, cells...)
	}
	return a.writeList(l)
}

// listing is a list in both its forms: cells for people, values for programs.
type listing struct {
	table  output.Table
	values []any
}

func (l *listing) add(value any, cells ...string) {
	l.values = append(l.values, value)
	l.table.Add(cells...)
}

// writeList writes a listing in the format that -o names.
func (a *app) writeList(l *listing) error {
	w := a.env.Stdout
	switch output.Format(a.settings.output) {
	case output.JSON:
		if l.values == nil {
			l.values = []any{}
		}
		return output.Document(w, l.values)
	case output.JSONL:
		for _, v := range l.values {
			if err := output.Line(w, v); err != nil {
				return err
			}
		}
		return nil
	case output.CSV:
		return l.table.CSV(w)
	}
	return l.table.Print(w, a.columns(), a.outPaint())
}
