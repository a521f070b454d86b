package direct

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// settled is how old a planned range must be before it counts as abandoned
// where other writers may be at work: far longer than an insert takes.
const settled = 10 * time.Minute

// repair makes the rollups true again after a run that ended between planning
// and confirming a block. An insert is atomic for the calls of one day, not for
// the calls and their rollups together: calls may be stored that no rollup
// knows, and their ids would keep a new run from storing them again.
//
// Every rollup is emptied and folded anew from the calls, by the select of the
// very view that feeds it. The abandoned ranges are then marked as repaired; a
// crash before that repeats the whole. It returns how many ranges there were.
func (p *Pipeline) repair(ctx context.Context) (int, error) {
	before := p.cfg.Now().UTC().Add(-settled)
	if p.cfg.Exclusive {
		before = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	abandoned, err := p.abandoned(ctx, before)
	if err != nil || len(abandoned) == 0 {
		return 0, err
	}
	views, err := feeds(ctx, p.cfg.Conn)
	if err != nil {
		return 0, err
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		// A rollup that was emptied may well be filled with blocks equal to
		// earlier ones.
		"insert_deduplicate": 0,
		"deduplicate_blocks_in_dependent_materialized_views": 0,
		"max_bytes_before_external_group_by":                 "268435456",
	}))
	for _, v := range views {
		for _, statement := range []string{"TRUNCATE TABLE " + v.target, "INSERT INTO " + v.target + " " + v.query} {
			if err := p.cfg.Conn.Exec(ctx, statement); err != nil {
				return 0, fmt.Errorf("fold %s anew after a run that did not end: %w", v.target, err)
			}
		}
	}
	batch, err := p.cfg.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Ledger+" (run, source_type, source_name, first_unit, next_unit, state, written)")
	if err != nil {
		return 0, fmt.Errorf("write the ledger: %w", err)
	}
	defer batch.Close()
	for _, r := range abandoned {
		if err := batch.Append(r.run, r.format, r.name, r.first, r.next, stateRepaired, p.cfg.Now().UTC()); err != nil {
			return 0, fmt.Errorf("write the ledger: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return 0, fmt.Errorf("write the ledger: %w", err)
	}
	return len(abandoned), nil
}

// abandonedRange is a range that was planned and never confirmed.
type abandonedRange struct {
	run, format, name string
	first, next       uint64
}

func (p *Pipeline) abandoned(ctx context.Context, before time.Time) ([]abandonedRange, error) {
	rows, err := p.cfg.Conn.Query(ctx, "SELECT run, source_type, source_name, first_unit, next_unit FROM "+table.Ledger+
		" WHERE run != ? GROUP BY run, source_type, source_name, first_unit, next_unit"+
		" HAVING countIf(state != '"+statePlanned+"') = 0 AND max(written) <= ?", p.cfg.Run, before)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	var list []abandonedRange
	for rows.Next() {
		var r abandonedRange
		if err := rows.Scan(&r.run, &r.format, &r.name, &r.first, &r.next); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// feed is a view that feeds a rollup from the calls.
type feed struct{ target, query string }

func feeds(ctx context.Context, conn driver.Conn) ([]feed, error) {
	rows, err := conn.Query(ctx, "SELECT replaceRegexpOne(name, '"+table.FeedSuffix+"$', ''), as_select FROM system.tables"+
		" WHERE database = currentDatabase() AND engine = 'MaterializedView' ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read the views: %w", err)
	}
	defer rows.Close()
	var list []feed
	for rows.Next() {
		var f feed
		if err := rows.Scan(&f.target, &f.query); err != nil {
			return nil, fmt.Errorf("read the views: %w", err)
		}
		list = append(list, f)
	}
	return list, rows.Err()
}
