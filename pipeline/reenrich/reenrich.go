// Package reenrich brings stored calls to what another catalogue says of them:
// service, operation, tenant and environment, and the rollups that are folded by
// them.
//
// The things to want are [New], and [Undisturbed] for whoever reads calls and
// rollups. It promises that afterwards calls and rollups are what they would be
// had the calls come in under the new catalogue (see [enrich.Enricher.Again] for
// the one exception), that nothing is counted twice, that a run that broke off is
// healed by the next, and that a reader inside Undisturbed never sees half of a
// change. Days whose raw calls are gone keep their old names.
//
// It cannot see calls that are being inserted while it works: nobody may write
// to the store meanwhile. On a shared store it does not begin while somebody does,
// and a write that it notices ends it before anything is swapped; an insert that
// begins in the moment of the swap itself is noticed, and not prevented. It does
// not work on the tables of a cluster.
package reenrich

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/enrich"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Config says what is brought to which catalogue. All but Shared and Progress is
// required.
type Config struct {
	Conn    driver.Conn
	Catalog *catalog.Catalog
	// From and To are the first and last day, UTC.
	From, To time.Time
	// Run names the run in the store; unique there.
	Run string
	// Shared says that others may write to the store, who are then looked for.
	Shared bool
	// Progress is told of each day that was looked at; it may be nil.
	Progress func(day time.Time, changed uint64)
}

// Stats says what was done.
type Stats struct {
	// Days were looked at, Swapped of them had calls that changed.
	Days, Swapped int
	// Calls stood on the swapped days, Changed of them are named otherwise now.
	Calls, Changed uint64
	// Healed are days that an earlier run had left half swapped.
	Healed int
}

// Job is one re-enrichment.
type Job struct {
	cfg    Config
	enrich *enrich.Enricher
	stats  Stats
	feeds  []table.Feed
	// columns are those of the calls, in their order.
	columns []string
	writers writers
}

// New returns a job that has done nothing yet.
func New(cfg Config) *Job { return &Job{cfg: cfg, enrich: enrich.New(cfg.Catalog)} }

var (
	errCluster = errors.New("the store is a cluster's, whose days cannot be swapped: scan or ingest the logs of those days anew into another database")
	errLost    = errors.New("calls were stored in the very moment in which days were swapped, and may be missing on those days: stop what writes to the store, " +
		"run it again, and ingest or scan anew what came in within this minute")
	errDisagree = errors.New("calls were stored while days were swapped, and are missing in rollups: stop what writes to the store, and run it again, which heals them")
	// ErrWritten says that calls were stored meanwhile.
	ErrWritten = errors.New("calls were stored while days were prepared, so nothing was swapped: stop what writes to the store (Kafka keeps what comes meanwhile), and try again")
)

// Run does it, a month at a time.
func (j *Job) Run(ctx context.Context) (Stats, error) {
	ctx = ch.Context(ctx, ch.WithSettings(ch.Settings{
		"insert_deduplicate": 0, "deduplicate_blocks_in_dependent_materialized_views": 0,
		"max_bytes_before_external_group_by": "268435456", "max_partitions_per_insert_block": 0,
		"optimize_on_insert": 0,
	}))
	if err := j.open(ctx); err != nil {
		return j.stats, err
	}
	broken, err := j.unfinished(ctx)
	if err != nil {
		return j.stats, err
	}
	if j.writers, err = j.look(ctx, lull); err != nil {
		return j.stats, err
	}
	j.stats.Healed = len(broken)
	days, err := j.days(ctx, broken)
	if err != nil {
		return j.stats, err
	}
	defer func() { _ = j.drop(context.WithoutCancel(ctx)) }()
	for len(days) > 0 {
		n := 1
		for n < len(days) && days[n].Format("200601") == days[0].Format("200601") {
			n++
		}
		if err := j.month(ctx, days[:n], broken); err != nil {
			return j.stats, err
		}
		days = days[n:]
	}
	// What broke off is healed: all its days have been swapped.
	return j.stats, j.finish(ctx, broken)
}

func (j *Job) open(ctx context.Context) error {
	var n uint64
	err := j.cfg.Conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND engine = 'Distributed'", table.Calls).Scan(&n)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	if n > 0 {
		return errCluster
	}
	if j.feeds, err = clickhouse.Feeds(ctx, j.cfg.Conn); err != nil {
		return err
	}
	err = j.each(ctx, "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '"+table.Calls+"' ORDER BY position", func(rows driver.Rows) error {
		var name string
		err := rows.Scan(&name)
		j.columns = append(j.columns, name)
		return err
	})
	if err != nil {
		return err
	}
	return j.drop(ctx) // what an earlier run left
}

// each reads rows.
func (j *Job) each(ctx context.Context, query string, do func(driver.Rows) error, args ...any) error {
	rows, err := j.cfg.Conn.Query(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := do(rows); err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	return nil
}

// days returns the days that have raw calls, in order: those asked for, and those
// that an earlier run left half swapped.
func (j *Job) days(ctx context.Context, broken []swap) ([]time.Time, error) {
	spans := []string{between(j.cfg.From, j.cfg.To)}
	for _, s := range broken {
		spans = append(spans, between(s.first, s.last))
	}
	var days []time.Time
	err := j.each(ctx, "SELECT DISTINCT toDate(time) AS day FROM "+table.Calls+" WHERE "+strings.Join(spans, " OR ")+" ORDER BY day", func(rows driver.Rows) error {
		var day time.Time
		err := rows.Scan(&day)
		days = append(days, day.UTC())
		return err
	})
	return days, err
}

func between(first, last time.Time) string {
	return "(toDate(time) >= '" + date(first) + "' AND toDate(time) <= '" + date(last) + "')"
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// month prepares the days of one month beside the tables, and swaps them.
func (j *Job) month(ctx context.Context, days []time.Time, broken []swap) error {
	if err := j.prepare(ctx); err != nil {
		return err
	}
	var swapped []time.Time
	var calls, changed uint64
	for _, day := range days {
		forced := slices.ContainsFunc(broken, func(s swap) bool { return !day.Before(s.first) && !day.After(s.last) })
		n, err := j.names(ctx, day)
		if err != nil {
			return err
		}
		j.stats.Days++
		if j.cfg.Progress != nil {
			j.cfg.Progress(day, n)
		}
		if n == 0 && !forced {
			continue
		}
		all, other, err := j.stage(ctx, day)
		if err != nil {
			return err
		}
		swapped, calls, changed = append(swapped, day), calls+all, changed+other
	}
	if len(swapped) == 0 {
		return nil
	}
	if err := j.fold(ctx, swapped); err != nil {
		return err
	}
	one := swap{run: j.cfg.Run, first: swapped[0], last: swapped[len(swapped)-1], calls: calls, changed: changed}
	if err := j.unwritten(ctx, swapped, calls); err != nil {
		return err
	}
	if err := j.mark(ctx, one, begun); err != nil {
		return err
	}
	if err := j.still(ctx, j.writers); err != nil {
		// Nothing is swapped yet, so the mark may go.
		return errors.Join(err, j.mark(ctx, one, done))
	}
	if err := j.swap(ctx, swapped); err != nil {
		return err
	}
	if err := j.still(ctx, j.writers); err != nil {
		return errors.Join(errLost, err)
	}
	if err := j.verify(ctx, swapped); err != nil {
		return err
	}
	if err := j.tell(ctx); err != nil {
		return err
	}
	j.stats.Swapped += len(swapped)
	j.stats.Calls += calls
	j.stats.Changed += changed
	return j.mark(ctx, one, done)
}

// unwritten makes sure that nothing was added to the days.
func (j *Job) unwritten(ctx context.Context, days []time.Time, staged uint64) error {
	var n uint64
	if err := j.cfg.Conn.QueryRow(ctx, "SELECT count() FROM "+table.Calls+" WHERE toDate(time) IN ("+dates(days)+")").Scan(&n); err != nil {
		return fmt.Errorf("count the calls: %w", err)
	}
	if n != staged {
		return ErrWritten
	}
	return nil
}

// verify makes sure that calls and rollups agree. Where they do not the swap is
// not marked as done, so that readers stay out until the next run has healed it.
func (j *Job) verify(ctx context.Context, days []time.Time) error {
	var raw, folded uint64
	err := j.cfg.Conn.QueryRow(ctx, "SELECT (SELECT count() FROM "+table.Calls+" WHERE toDate(time) IN ("+dates(days)+")), (SELECT sum(calls) FROM "+
		table.UseDay+" WHERE day IN ("+dates(days)+"))").Scan(&raw, &folded)
	if err != nil {
		return fmt.Errorf("compare calls and rollups: %w", err)
	}
	if raw != folded {
		return errDisagree
	}
	return nil
}

func dates(days []time.Time) string {
	list := make([]string, len(days))
	for i, day := range days {
		list[i] = "'" + date(day) + "'"
	}
	return strings.Join(list, ", ")
}
