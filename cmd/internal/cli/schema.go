package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
	return group("schema", "show the schemas of the output, bring a store forward", "", show)
}
