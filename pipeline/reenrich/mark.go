package reenrich

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// swap is one row of the table of swaps.
type swap struct {
	run            string
	first, last    time.Time
	calls, changed uint64
}

// States of a swap, as the column's enumeration names them.
const (
	begun = "begun"
	done  = "done"
)

func (j *Job) mark(ctx context.Context, s swap, state string) error {
	err := j.cfg.Conn.Exec(ctx, "INSERT INTO "+table.Swaps+" (run, first_day, last_day, calls, changed, state, written) VALUES (?, ?, ?, ?, ?, ?, now64(6))",
		s.run, date(s.first), date(s.last), s.calls, s.changed, state)
	if err != nil {
		return fmt.Errorf("mark the swap: %w", err)
	}
	return nil
}

// unfinished are the swaps that broke off.
func (j *Job) unfinished(ctx context.Context) ([]swap, error) {
	var list []swap
	err := j.each(ctx, "SELECT run, first_day, last_day, max(calls), max(changed) FROM "+table.Swaps+
		" GROUP BY run, first_day, last_day HAVING countIf(state = '"+done+"') = 0 ORDER BY first_day, run", func(rows driver.Rows) error {
		var s swap
		err := rows.Scan(&s.run, &s.first, &s.last, &s.calls, &s.changed)
		list = append(list, s)
		return err
	})
	return list, err
}

func (j *Job) finish(ctx context.Context, broken []swap) error {
	for _, s := range broken {
		if err := j.mark(ctx, s, done); err != nil {
			return err
		}
	}
	return nil
}

var (
	// ErrHalf says that a swap broke off.
	ErrHalf = errors.New("re-enrichment of the store was begun and is not done: wait for scopedrift reenrich, or if it broke off, run it again")
	// ErrBusy says that swaps followed each other without end.
	ErrBusy = errors.New("the store was re-enriched again and again while it was read: wait until that is done")
)

// patience is how long Undisturbed waits for a swap to be done, and retries how
// often it begins again.
const (
	patience = time.Minute
	retries  = 5
)

// Undisturbed does what reads calls and rollups, so that it sees no swap: it
// waits for one that is under way, and does it again where one came between. Do
// keeps what it has found until it returned.
func Undisturbed(ctx context.Context, conn driver.Conn, do func() error) error {
	return undisturbed(ctx, conn, patience, do)
}

func undisturbed(ctx context.Context, conn driver.Conn, patience time.Duration, do func() error) error {
	for range retries {
		before, err := quiet(ctx, conn, patience)
		if err != nil {
			return err
		}
		failed := do()
		if ctx.Err() != nil {
			return failed
		}
		after, half, err := state(ctx, conn)
		if err != nil {
			return errors.Join(failed, err)
		}
		if !half && after == before {
			return failed
		}
	}
	return ErrBusy
}

// quiet waits until no swap is under way, and returns how many there were.
func quiet(ctx context.Context, conn driver.Conn, patience time.Duration) (uint64, error) {
	for end := time.Now().Add(patience); ; {
		n, half, err := state(ctx, conn)
		if err != nil || !half {
			return n, err
		}
		if time.Now().After(end) {
			return n, ErrHalf
		}
		select {
		case <-ctx.Done():
			return n, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// state counts the swaps that were marked, and says whether one is under way.
func state(ctx context.Context, conn driver.Conn) (n uint64, half bool, err error) {
	var open uint64
	err = conn.QueryRow(ctx, "SELECT count(), countIf(finished = 0) FROM (SELECT countIf(state = '"+done+"') AS finished FROM "+table.Swaps+
		" GROUP BY run, first_day, last_day)").Scan(&n, &open)
	if err != nil {
		return 0, false, fmt.Errorf("look for swaps: %w", err)
	}
	return n, open > 0, nil
}
