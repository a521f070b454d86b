package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/pipeline/reenrich"
)

func (a *app) reenrichCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "reenrich", Short: "apply changed routes and tenants to stored calls", Args: cobra.NoArgs,
		Long: `Names the stored calls of whole days anew, as the catalogue now says: service,
operation, tenant and environment. A change of grants, owners or demands needs
none of this, since they are joined when calls are judged.

Raw calls and rollups are prepared beside the tables and swapped together, a
month at a time; nothing is counted twice, and detection waits meanwhile. Days
whose raw calls are gone keep their names. What broke off is healed by the next
run.

Nothing else may store calls meanwhile: with --data DIR that is seen to; with
--clickhouse stop the ingesters first (Kafka keeps what comes). It does not begin
where something was stored in the last minute, and swaps nothing where something
was stored since it began.`,
		Example: "  scopedrift reenrich --data store/ --catalog catalogue/ --from 2026-03-01 --to 2026-03-31\n" +
			"  scopedrift reenrich --clickhouse clickhouse://db.example.com:9000/scopedrift --catalog catalogue/ --from 2026-03-01",
	}
	a.settings.bind(c.Flags(), append([]string{"catalog", "from", "to"}, storeFlags...)...)
	c.RunE = a.action(func(ctx context.Context, _ []string) error { return a.reenrich(ctx) })
	return c
}

func (a *app) reenrich(ctx context.Context) (err error) {
	from, to := a.settings.from.value, a.settings.to.value
	if from.IsZero() {
		return usage("reenrich needs the first day", "pass --from DAY, and --to DAY for the last one")
	}
	if a.settings.catalog == "" {
		return usage("reenrich needs the catalogue that calls are named by", "pass --catalog PATH")
	}
	last := to
	if last.IsZero() {
		last = time.Now().UTC().AddDate(0, 0, 1)
	} else {
		last = last.Add(-time.Nanosecond) // --to is the end of its day
	}
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	ctx, s, err := a.openExisting(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	release, err := a.lockWriter()
	if err != nil {
		return err
	}
	defer release()
	p := a.startProgress()
	defer p.stop()
	p.enter("naming calls anew", 0)
	stats, err := reenrich.New(reenrich.Config{Conn: s.conn, Catalog: cat, From: from, To: last, Run: newRun(), Shared: a.settings.data == ""}).Run(ctx)
	if err != nil {
		return s.why(ctx, err)
	}
	p.stop()
	if stats.Healed > 0 {
		a.say("healed what %s had left half swapped", output.Count(uint64(stats.Healed), "run"))
	}
	a.tick("%s looked at, %s swapped; %s of %s are named otherwise now", output.Count(uint64(stats.Days), "day"),
		output.Count(uint64(stats.Swapped), "day"), output.Count(stats.Changed, "call"), output.Count(stats.Calls, "call"))
	return nil
}
