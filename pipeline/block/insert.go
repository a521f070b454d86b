package block

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// Insert sends the set as one insert with a deduplication token: the same set may
// be sent again with it, and is then stored once, in the calls and in whatever
// the views make of them. With local the set goes as it stands to a server on
// this machine, whose connection is of HTTP.
//
// The views fold a block to one row a key themselves, so optimize_on_insert
// would look for equal keys among different ones, at the price of all the rest.
func (s *Set) Insert(ctx context.Context, conn driver.Conn, local bool, token string) error {
	return s.InsertInto(ctx, conn, table.Calls, local, token)
}

// InsertInto is Insert into a table with the columns of calls: the part of them
// that a shard of a cluster holds.
func (s *Set) InsertInto(ctx context.Context, conn driver.Conn, name string, local bool, token string) error {
	ctx = clickhouse.Context(ctx,
		clickhouse.WithColumnNamesAndTypes(callColumnTypes),
		clickhouse.WithSettings(clickhouse.Settings{
			"insert_deduplication_token":                         token,
			"deduplicate_blocks_in_dependent_materialized_views": 1,
			"async_insert":                                       0,
			"max_partitions_per_insert_block":                    0,
			"max_insert_block_size":                              1 << 20,
			"low_cardinality_allow_in_native_format":             1,
			"optimize_on_insert":                                 0,
			"materialized_views_ignore_errors":                   0,
			"min_insert_block_size_rows":                         1 << 20,
			"min_insert_block_size_bytes":                        "268435456",
			"min_insert_block_size_rows_for_materialized_views":  0,
			"min_insert_block_size_bytes_for_materialized_views": 0,
			"parallel_view_processing":                           0,
		}))
	if err := s.send(ctx, conn, "INSERT INTO "+name+insertColumns, local); err != nil {
		return fmt.Errorf("insert %d calls: %w", s.Rows, err)
	}
	return nil
}

// send hands the columns to a local server as they stand, and to another through
// the driver, which compresses them and knows the server's protocol.
func (s *Set) send(ctx context.Context, conn driver.Conn, insert string, local bool) error {
	if local {
		return conn.InsertFormat(ctx, "Native", insert, s.native())
	}
	batch, err := conn.PrepareBatch(ctx, insert)
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := s.fill(batch); err != nil {
		return err
	}
	return batch.Send()
}

// Storable turns the zero time, which the column's range does not hold, into
// the epoch.
func Storable(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return t.UTC()
}

// Bit is a truth as a column has it.
func Bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
