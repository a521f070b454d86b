package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show [NOUN]", Short: "print the JSON Schema of call, finding or report",
		Long: `Prints the JSON Schema (draft 2020-12) of what scopedrift writes: call (scan
--calls-out, calls -o jsonl), finding (findings -o jsonl, scan -o jsonl) and
report (scan -o json). Without a noun it lists them.`,
		Example:   "  scopedrift schema show\n  scopedrift schema show finding > finding.schema.json",
		ValidArgs: schema.JSONSchemas(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("schema show takes one noun")
			}
			return nil
		},
	}
	show.RunE = a.action(func(_ context.Context, args []string) error {
		if len(args) == 0 {
			_, err := fmt.Fprintln(a.env.Stdout, strings.Join(schema.JSONSchemas(), "\n"))
			return err
		}
		text, err := schema.JSONSchema(args[0])
		if err != nil {
			return misused(err)
		}
		_, err = a.env.Stdout.Write(text)
		return err
	})
	migrate := &cobra.Command{
		Use: "migrate", Short: "bring a store forward to the tables of this release", Args: cobra.NoArgs,
		Long: `Brings the tables of a store forward, step by step, and says which steps ran.
Every command that opens a store does the same; this one is for doing it at a
time of your choice. A store of a newer release is refused.`,
		Example: "  scopedrift schema migrate --data store/\n  scopedrift schema migrate --clickhouse clickhouse://db.example.com:9000/scopedrift",
	}
	a.settings.bind(migrate.Flags(), storeFlags...)
	migrate.RunE = a.action(a.migrate)
	return group("schema", "show the schemas of the output, bring a store forward, make the topics",
		"Schemas: those of what is written, the tables of a store, the topics of Kafka.", show, migrate, a.topicsCommand())
}

func (a *app) migrate(ctx context.Context, _ []string) (err error) {
	ctx, s, err := a.openExisting(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, step := range s.migrated {
		a.say("ran   %s", step.Name)
	}
	version, err := clickhouse.StoreVersion(ctx, s.conn)
	if err != nil {
		return s.why(ctx, err)
	}
	a.tick("the store has schema step %d, which is this release's", version)
	return nil
}
