package detector

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// settings let big folds spill to disk rather than fail at the engine's memory
// cap, and long lists of keys pass as text.
var settings = clickhouse.WithSettings(clickhouse.Settings{
	"max_bytes_before_external_group_by": "268435456",
	"max_bytes_before_external_sort":     "268435456",
	"max_query_size":                     "16777216",
	"max_ast_elements":                   "1000000",
	"max_expanded_ast_elements":          "1000000",
})

// query runs a statement and calls scan for each row, and waits for the store without
// holding up others.
func (s *store) query(ctx context.Context, doing, statement string, scan func(driver.Rows) error) error {
	var rows driver.Rows
	var err error
	if s.wait(func() { rows, err = s.conn.Query(clickhouse.Context(ctx, settings), statement) }); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer rows.Close()
	for {
		more := false
		if s.wait(func() { more = rows.Next() }); !more {
			break
		}
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// wait lets others have the rules while it works.
func (s *store) wait(work func()) {
	if s.rules != nil {
		s.rules.Unlock()
		defer s.rules.Lock()
	}
	work()
}
