package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// callFilter chooses among stored calls.
type callFilter struct {
	credential, service, operation, tenant, host, session string
	decision                                              word
	since                                                 since
	to                                                    moment
	limit                                                 int
}

func (a *app) callsCommand() *cobra.Command {
	f := callFilter{to: moment{end: true}}
	for d := schema.DecisionUnknown; d <= schema.DecisionError; d++ {
		f.decision.known = append(f.decision.known, d.String())
	}
	c := &cobra.Command{
		Use: "calls", Short: "list the calls of a store, filtered", Args: cobra.NoArgs,
		Long: `Lists the calls that scan --data or --clickhouse stored, in the order of time.
All filters that are given must hold. --operation takes * for any text. --since
takes a date, a time, or a span back from the latest call in the store.

Without --limit 0 only the latest calls that fit are listed; what was left out is
said on standard error.`,
		Example: "  scopedrift calls --data store/ --credential ci-deployer --since 7d\n" +
			"  scopedrift calls --data store/ --decision denied --service orders --operation 'POST *'\n" +
			"  scopedrift calls --data store/ --limit 0 -o jsonl | jq .operation",
	}
	flags := c.Flags()
	flags.StringVar(&f.credential, "credential", "", "only this credential: its name in the catalogue (with --catalog) or its observed id")
	flags.StringVar(&f.service, "service", "", "only this service")
	flags.StringVar(&f.operation, "operation", "", "only this operation; * stands for any text")
	flags.Var(&f.decision, "decision", "only this decision: "+strings.Join(f.decision.known, ", "))
	flags.StringVar(&f.tenant, "tenant", "", "only this tenant or namespace")
	flags.StringVar(&f.host, "host", "", "only this host")
	flags.StringVar(&f.session, "session", "", "only this session")
	flags.Var(&f.since, "since", "only calls from then on")
	flags.Var(&f.to, "to", "only calls until then (a date is its whole day, UTC)")
	flags.IntVar(&f.limit, "limit", 100, "how many calls at most, 0 for all")
	a.settings.bind(flags, append([]string{"catalog"}, storeFlags...)...)
	bindOutput(flags, "table", "json", "jsonl", "csv")
	// It can only fail for a flag that does not exist, which a test would see.
	_ = c.RegisterFlagCompletionFunc("credential", a.completeCredentials)
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		if f.limit < 0 {
			return usage("--limit must not be negative", "0 lists all")
		}
		return a.listCalls(ctx, &f)
	})
	return c
}

func (a *app) listCalls(parent context.Context, f *callFilter) (err error) {
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	where, args, err := f.where(ctx, s.conn, cat)
	if err != nil {
		return s.why(ctx, err)
	}
	if f.limit == 0 && a.settings.output == "jsonl" {
		// All calls may be many: they stream, and never stand in memory.
		err := eachCall(ctx, s.conn, where+" ORDER BY time, id", args, a.writeLine)
		return s.why(ctx, err)
	}
	order := " ORDER BY time DESC, id DESC"
	if f.limit > 0 {
		order += fmt.Sprintf(" LIMIT %d", f.limit+1)
	}
	var calls []schema.Call
	if err := eachCall(ctx, s.conn, where+order, args, func(c *schema.Call) error { calls = append(calls, *c); return nil }); err != nil {
		return s.why(ctx, err)
	}
	if f.limit > 0 && len(calls) > f.limit {
		calls = calls[:f.limit]
		a.remark("only the latest %d calls are listed; --limit 0 lists all", f.limit)
	}
	if len(calls) == 0 {
		a.remark("no call in the store is like that")
	}
	slices.Reverse(calls)
	return a.writeCalls(calls)
}

// writeLine writes one call as it comes from the store.
func (a *app) writeLine(c *schema.Call) error {
	if err := output.Line(a.env.Stdout, c); err != nil {
		return broken(fmt.Errorf("write the result: %w", err))
	}
	return nil
}

func (a *app) writeCalls(calls []schema.Call) error {
	w := a.env.Stdout
	switch output.Format(a.settings.output) {
	case output.JSON:
		if calls == nil {
			calls = []schema.Call{}
		}
		return output.Document(w, calls)
	case output.JSONL:
		for i := range calls {
			if err := output.Line(w, &calls[i]); err != nil {
				return err
			}
		}
		return nil
	case output.CSV:
		return output.CallCSV(calls).CSV(w)
	}
	return output.CallTable(calls).Print(w, a.columns(), a.outPaint())
}

// where makes the condition of a statement; values are bound, never written in.
func (f *callFilter) where(ctx context.Context, conn driver.Conn, cat *catalog.Catalog) (string, []any, error) {
	conditions, args := []string{"1"}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	for column, value := range map[string]string{"service": f.service, "tenant": f.tenant, "host": f.host, "session": f.session} {
		if value != "" {
			add(column+" = ?", value)
		}
	}
	if f.operation != "" {
		// LIKE's own signs in the operation are made ordinary first.
		pattern := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.operation)
		add("operation LIKE ?", strings.ReplaceAll(pattern, "*", "%"))
	}
	if f.decision.value != "" {
		var d schema.Decision
		if err := d.UnmarshalText([]byte(f.decision.value)); err != nil {
			return "", nil, misused(err)
		}
		add("decision = ?", uint8(d))
	}
	from := f.since.moment.value
	if f.since.back > 0 {
		var last time.Time
		if err := conn.QueryRow(ctx, "SELECT max(time) FROM "+table.Calls).Scan(&last); err != nil {
			return "", nil, explained(err)
		}
		from = last.Add(-f.since.back)
	}
	if !from.IsZero() {
		add("time >= toDateTime64(?, 6, 'UTC')", sqlTime(from))
	}
	if !f.to.value.IsZero() {
		add("time < toDateTime64(?, 6, 'UTC')", sqlTime(f.to.value))
	}
	if f.credential != "" {
		hashes, err := principalsOf(ctx, conn, cat, f.credential)
		if err != nil {
			return "", nil, err
		}
		if len(hashes) == 0 {
			return "", nil, usage(fmt.Sprintf("no call of credential %q is in the store", f.credential),
				"scopedrift credentials lists those that are; a name of the catalogue needs --catalog")
		}
		add("credential IN (" + strings.Join(hashes, ", ") + ")")
	}
	return " WHERE " + strings.Join(conditions, " AND "), args, nil
}

// sqlTime writes a time as ClickHouse reads it.
func sqlTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }
