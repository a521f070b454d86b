package clickhouse

import (
	"cmp"
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// versionDDL makes the table that records which steps ran. It is no step
// itself, because reading it is how steps are chosen.
const versionDDL = `CREATE TABLE IF NOT EXISTS ` + table.Version + ` (
    step    UInt32,
    name    String,
    applied DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
) ENGINE = ReplacingMergeTree(applied)
ORDER BY step`

// NewerStoreError says that a later release of scopedrift wrote the store.
type NewerStoreError struct {
	// Store is the highest step recorded in the store, Known the highest this
	// program has.
	Store, Known int
}

func (e *NewerStoreError) Error() string {
	return fmt.Sprintf("the store has schema step %d, and this scopedrift knows only %d", e.Store, e.Known)
}

// Hint says what to do about it.
func (e *NewerStoreError) Hint() string {
	return "use the release that wrote the store, or a newer one; schema steps are never taken back"
}

// ExitCode is that of a run that broke.
func (e *NewerStoreError) ExitCode() int { return 1 }

// StoreVersion returns the highest step recorded in the store, 0 for a new one.
func StoreVersion(ctx context.Context, conn driver.Conn) (int, error) {
	if err := conn.Exec(ctx, versionDDL); err != nil {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	var step uint32
	if err := conn.QueryRow(ctx, "SELECT max(step) FROM "+table.Version).Scan(&step); err != nil {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	return int(step), nil
}

// Migrate brings the store forward to the schema of this release, recording
// each step after it ran. A step that stopped half-way is run again: its
// statements are safe to repeat. A newer store is refused with
// *NewerStoreError. It returns the steps it ran.
func Migrate(ctx context.Context, conn driver.Conn) ([]table.Step, error) {
	return migrate(ctx, conn, false)
}

// MigrateTemporary is Migrate for a store that goes away with the command that
// made it; see [table.Step.Temporary].
func MigrateTemporary(ctx context.Context, conn driver.Conn) ([]table.Step, error) {
	return migrate(ctx, conn, true)
}

func migrate(ctx context.Context, conn driver.Conn, temporary bool) ([]table.Step, error) {
	steps, err := table.Steps()
	if err != nil {
		return nil, err
	}
	have, err := StoreVersion(ctx, conn)
	if err != nil {
		return nil, err
	}
	if have > len(steps) {
		return nil, &NewerStoreError{Store: have, Known: len(steps)}
	}
	if have > 0 && have < len(steps) {
		if clustered, err := Clustered(ctx, conn); err != nil || clustered {
			return nil, cmp.Or(err, error(&ClusterStoreError{Store: have, Known: len(steps)}))
		}
	}
	for _, step := range steps[have:] {
		if temporary {
			step = step.Temporary()
		}
		for _, statement := range step.Statements {
			if err := conn.Exec(ctx, statement); err != nil {
				return nil, fmt.Errorf("schema step %s: %w", step.Name, err)
			}
		}
		if have > 0 && !temporary {
			if err := fold(ctx, conn, step); err != nil {
				return nil, err
			}
		}
		if err := recordStep(ctx, conn, step); err != nil {
			return nil, err
		}
	}
	return steps[have:], nil
}

// fold fills the rollups that a step adds to a store that holds calls already.
// Each is emptied before: a step that stopped half-way is run again. What was
// touched is told of calls that come in, and those of old were judged.
func fold(ctx context.Context, conn driver.Conn, step table.Step) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplicate": 0, "max_bytes_before_external_group_by": "268435456", "max_partitions_per_insert_block": 0,
	}))
	for _, f := range step.Feeds() {
		if f.Table == table.Touched {
			continue
		}
		for _, statement := range []string{"TRUNCATE TABLE " + f.Table, "INSERT INTO " + f.Table + " " + f.Query} {
			if err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("schema step %s: fold %s from the stored calls: %w", step.Name, f.Table, err)
			}
		}
	}
	return nil
}
