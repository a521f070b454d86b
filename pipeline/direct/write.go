package direct

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// ledgerRange is what the ledger says of one range of an input.
type ledgerRange struct {
	input               schema.Input
	first, next         uint64
	calls, repeated     uint64
	skipped             map[string]uint64
	firstTime, lastTime time.Time
	done                bool
}

// see widens the range's times.
func (r *ledgerRange) see(t time.Time) {
	if r.firstTime.IsZero() || t.Before(r.firstTime) {
		r.firstTime = t
	}
	if t.After(r.lastTime) {
		r.lastTime = t
	}
}

// pending is calls that are inserted together, and the ranges they account for.
type pending struct {
	token  string
	set    *block.Set
	ranges []ledgerRange
	// calls are kept only for whoever wants them once they are stored.
	calls [][]schema.Call
	// waiting are closed once the block is stored.
	waiting []chan struct{}
}

// account adds the range that follows.
func (b *pending) account(r ledgerRange) {
	// Ranges of one input that follow each other are one range: the ledger
	// then grows with inputs and blocks, not with batches.
	if n := len(b.ranges); n > 0 && b.ranges[n-1].next == r.first && b.ranges[n-1].input.Name == r.input.Name && !b.ranges[n-1].done {
		b.ranges[n-1].extend(r)
		return
	}
	b.ranges = append(b.ranges, r)
}

// extend appends the range that follows.
func (r *ledgerRange) extend(next ledgerRange) {
	r.next, r.done, r.input = next.next, next.done, next.input
	r.calls += next.calls
	r.repeated += next.repeated
	if len(next.skipped) > 0 {
		sum := make(map[string]uint64, len(r.skipped)+len(next.skipped))
		for reason, n := range r.skipped {
			sum[reason] = n
		}
		for reason, n := range next.skipped {
			sum[reason] += n
		}
		r.skipped = sum
	}
	if !next.firstTime.IsZero() {
		r.see(next.firstTime)
		r.see(next.lastTime)
	}
}

// writer inserts blocks: plan, insert, confirm.
type writer struct {
	conn  driver.Conn
	local bool
	// followed stands in the ledger beside each range.
	followed bool
	run      string
	now      func() time.Time
	stored   func([]schema.Call) error
}

// States of a ledger row, as the column's enumeration numbers them.
const (
	statePlanned   = "planned"
	stateConfirmed = "confirmed"
	stateRepaired  = "repaired"
)

func (w *writer) write(ctx context.Context, b *pending) error {
	if err := w.ledger(ctx, b, statePlanned); err != nil {
		return err
	}
	if b.set.Rows > 0 {
		if err := b.set.Insert(ctx, w.conn, w.local, b.token); err != nil {
			return err
		}
	}
	if err := w.ledger(ctx, b, stateConfirmed); err != nil {
		return err
	}
	if w.stored == nil {
		return nil
	}
	for _, calls := range b.calls {
		if err := w.stored(calls); err != nil {
			return err
		}
	}
	return nil
}

// ledgerColumns are told to the driver, which would ask for them each time.
var ledgerColumns = []clickhouse.ColumnNameAndType{
	{Name: "run", Type: "String"},
	{Name: "source_type", Type: "LowCardinality(String)"},
	{Name: "source_name", Type: "String"},
	{Name: "first_unit", Type: "UInt64"},
	{Name: "next_unit", Type: "UInt64"},
	{Name: "calls", Type: "UInt64"},
	{Name: "repeated", Type: "UInt64"},
	{Name: "skipped", Type: "Map(LowCardinality(String), UInt64)"},
	{Name: "first_time", Type: "DateTime64(6, 'UTC')"},
	{Name: "last_time", Type: "DateTime64(6, 'UTC')"},
	{Name: "done", Type: "UInt8"},
	{Name: "followed", Type: "UInt8"},
	{Name: "state", Type: "Enum8('planned' = 1, 'confirmed' = 2, 'repaired' = 3)"},
	{Name: "written", Type: "DateTime64(6, 'UTC')"},
}

var insertLedger = func() string {
	names := make([]string, len(ledgerColumns))
	for i, c := range ledgerColumns {
		names[i] = c.Name
	}
	return "INSERT INTO " + table.Ledger + " (" + strings.Join(names, ", ") + ")"
}()

// ledger writes the block's ranges in the given state.
func (w *writer) ledger(ctx context.Context, b *pending, state string) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithColumnNamesAndTypes(ledgerColumns))
	batch, err := w.conn.PrepareBatch(ctx, insertLedger)
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	defer batch.Close()
	now := w.now().UTC()
	for _, r := range b.ranges {
		skipped := r.skipped
		if skipped == nil {
			skipped = map[string]uint64{}
		}
		err := batch.Append(w.run, r.input.Format, r.input.Name, r.first, r.next, r.calls, r.repeated, skipped,
			block.Storable(r.firstTime), block.Storable(r.lastTime), block.Bit(r.done), block.Bit(w.followed), state, now)
		if err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}
