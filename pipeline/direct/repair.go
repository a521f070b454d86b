package direct

import (
	"context"
	"fmt"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
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
// very view that feeds it. Where calls of old are gone, rollups know more than the
// calls, and nothing is emptied: what the calls say is added, with counts of zero,
// so that first, last and days are true and only the counts of the abandoned ranges
// may be too low. The ranges are then marked as repaired; a crash before that
// repeats the whole. It returns how many ranges there were.
func (p *Pipeline) repair(ctx context.Context) (int, error) {
	before := p.cfg.Now().UTC().Add(-settled)
	if p.cfg.Exclusive {
		before = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	abandoned, err := p.abandoned(ctx, before)
	if err != nil || len(abandoned) == 0 {
		return 0, err
	}
	views, err := clickhouse.Feeds(ctx, p.cfg.Conn)
	if err != nil {
		return 0, err
	}
	ctx = ch.Context(ctx, ch.WithSettings(ch.Settings{
		// A rollup that was emptied may well be filled with blocks equal to
		// earlier ones.
		"insert_deduplicate": 0,
		"deduplicate_blocks_in_dependent_materialized_views": 0,
		"max_bytes_before_external_group_by":                 "268435456",
	}))
	whole, err := p.whole(ctx)
	if err != nil {
		return 0, err
	}
	for _, v := range views {
		statements := []string{"TRUNCATE TABLE " + v.Table, "INSERT INTO " + v.Table + " " + v.Query}
		if !whole {
			statements = []string{"INSERT INTO " + v.Table + " " + addition(v)}
		}
		for _, statement := range statements {
			if err := p.cfg.Conn.Exec(ctx, statement); err != nil {
				return 0, fmt.Errorf("fold %s anew after a run that did not end: %w", v.Table, err)
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

// whole reports whether the calls go back as far as the rollups do: the rollup of
// lifetimes loses nothing with time.
func (p *Pipeline) whole(ctx context.Context) (bool, error) {
	var whole uint8
	err := p.cfg.Conn.QueryRow(ctx, "SELECT (SELECT min(arrayMin(days)) FROM "+table.UseLife+") >= (SELECT toUInt16(toDate(min(time))) FROM "+table.Calls+")"+
		" OR (SELECT count() FROM "+table.UseLife+") = 0").Scan(&whole)
	if err != nil {
		return false, fmt.Errorf("see how far back the calls go: %w", err)
	}
	return whole == 1, nil
}

// addition is what a view's select gives that may be added to a rollup which has a
// part of it already.
func addition(v table.Feed) string {
	switch v.Table {
	case table.UseHour, table.UseDay, table.UseLife, table.SourceDay, table.Places:
		return "SELECT * REPLACE (toUInt64(0) AS calls) FROM (" + v.Query + ")"
	case table.Pace:
		return "SELECT * REPLACE (toUInt64(0) AS calls, toUInt64(0) AS missed) FROM (" + v.Query + ")"
	case table.Issues:
		return "SELECT * FROM (" + v.Query + ") WHERE id NOT IN (SELECT id FROM " + table.Issues + ")"
	}
	return v.Query
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
