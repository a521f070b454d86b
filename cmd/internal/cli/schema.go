package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

func (a *app) schemaCommand() *cobra.Command {
	cluster, database := "", ""
	show := &cobra.Command{
		Use: "show [NOUN]", Short: "print the JSON Schema of call, finding or report, or the tables of a store",
		Long: `Prints the JSON Schema (draft 2020-12) of what scopedrift writes: call (scan
--calls-out, calls -o jsonl), finding (findings -o jsonl, scan -o jsonl) and
report (scan -o json); or, as SQL, the tables of a store: those of one server, or
with --cluster those of a cluster. Without a noun it lists them.`,
		Example: "  scopedrift schema show\n  scopedrift schema show finding > finding.schema.json\n" +
			"  scopedrift schema show tables --cluster main --database scopedrift",
		ValidArgs: append(schema.JSONSchemas(), tablesNoun),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("schema show takes one noun")
			}
			return nil
		},
	}
	show.RunE = a.action(func(_ context.Context, args []string) error {
		if len(args) == 0 {
			_, err := fmt.Fprintln(a.env.Stdout, strings.Join(append(schema.JSONSchemas(), tablesNoun), "\n"))
			return err
		}
		if args[0] == tablesNoun {
			return a.showTables(table.Cluster{Name: cluster, Database: database})
		}
		text, err := schema.JSONSchema(args[0])
		if err != nil {
			return misused(err)
		}
		_, err = a.env.Stdout.Write(text)
		return err
	})
	show.Flags().StringVar(&cluster, "cluster", "", "show the tables of this cluster of servers")
	show.Flags().StringVar(&database, "database", "scopedrift", "name of the cluster's database")
	return group("schema", "show the schemas of the output, bring a store forward, make the topics",
		"Schemas: those of what is written, the tables of a store, the topics of Kafka.", show, a.migrateCommand(), a.topicsCommand())
}

// tablesNoun is what schema show calls the tables of a store.
const tablesNoun = "tables"

// showTables prints the tables as SQL, of one server where no cluster is named.
func (a *app) showTables(cluster table.Cluster) error {
	steps, err := table.Steps()
	if err == nil && cluster.Name != "" {
		steps, err = cluster.Render(steps)
	}
	if err != nil {
		return misused(err)
	}
	_, err = fmt.Fprint(a.env.Stdout, table.Text(steps))
	return err
}

// migration is what schema migrate is asked for.
type migration struct {
	cluster             string
	calls, hours, daily keepFor
}

func (a *app) migrateCommand() *cobra.Command {
	var m migration
	migrate := &cobra.Command{
		Use: "migrate", Short: "bring a store forward to the tables of this release", Args: cobra.NoArgs,
		Long: `Brings the tables of a store forward, step by step, and says which steps ran.
Every command that opens a store does the same; this one is for doing it at a
time of your choice. A store of a newer release is refused.

With --cluster it does so for all servers of a cluster, through any one of them:
replicated tables, spread by credential over the shards, and the same names for
reading. Run it again when a server joins. The servers need a keeper, the macros
shard and replica, and a database of the same name.

--retain-… say how long what is kept, in days (30d) or for ever (all); without
them that stays as it is. Findings and lifetime use are kept for ever.`,
		Example: "  scopedrift schema migrate --data store/ --retain-calls 30d\n" +
			"  scopedrift schema migrate --clickhouse clickhouse://db.example.com:9000/scopedrift --cluster main",
	}
	flags := migrate.Flags()
	flags.StringVar(&m.cluster, "cluster", "", "bring forward this cluster of servers, as remote_servers names it")
	flags.Var(&m.calls, "retain-calls", "keep raw calls this long")
	flags.Var(&m.hours, "retain-hours", "keep use by hour this long")
	flags.Var(&m.daily, "retain-days", "keep use by day, and from where, this long")
	a.settings.bind(flags, storeFlags...)
	migrate.RunE = a.action(func(ctx context.Context, _ []string) error { return a.migrate(ctx, m) })
	return migrate
}

func (a *app) migrate(ctx context.Context, m migration) (err error) {
	retention := table.Retention{Calls: m.calls.days, Hours: m.hours.days, Days: m.daily.days}
	if _, err := retention.Limits(); err != nil {
		return misused(err)
	}
	var s *store
	if m.cluster != "" {
		s, err = a.openCluster(ctx, m.cluster)
	} else {
		ctx, s, err = a.openExisting(ctx)
	}
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
	limited, err := clickhouse.Retain(ctx, s.conn, retention, m.cluster)
	if err != nil {
		return s.why(ctx, err)
	}
	for _, name := range limited {
		a.say("set   how long %s is kept", name)
	}
	a.tick("the store has schema step %d, which is this release's", version)
	return nil
}

// openCluster opens a server of a cluster and brings all of them forward.
func (a *app) openCluster(ctx context.Context, name string) (*store, error) {
	if a.settings.clickhouse.value == "" {
		return nil, usage("--cluster needs a server of the cluster", "pass --clickhouse clickhouse://HOST:9000/DATABASE")
	}
	_, cancel := context.WithCancelCause(ctx)
	s := &store{lasting: true, quit: make(chan struct{}), cancel: cancel}
	conn, err := clickhouse.Open(ctx, a.target())
	if err != nil {
		return nil, errors.Join(s.why(ctx, err), s.close())
	}
	s.conn = conn
	if s.migrated, err = clickhouse.MigrateCluster(ctx, conn, name); err != nil {
		return nil, errors.Join(s.why(ctx, err), s.close())
	}
	return s, nil
}

// keepFor is a number of days that something is kept, or for ever.
type keepFor struct{ days int }

func (k *keepFor) String() string {
	switch k.days {
	case 0:
		return ""
	case table.Forever:
		return "all"
	}
	return fmt.Sprintf("%dd", k.days)
}

func (k *keepFor) Type() string { return "days" }

func (k *keepFor) Set(value string) error {
	if value == "all" {
		k.days = table.Forever
		return nil
	}
	digits, ok := strings.CutSuffix(value, "d")
	days, err := strconv.Atoi(digits)
	if !ok || err != nil || days < 1 || days > 36500 {
		return fmt.Errorf("%q is no number of days: write it as 30d, or all", value)
	}
	k.days = days
	return nil
}
