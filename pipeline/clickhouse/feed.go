package clickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema/table"
)

// Feeds returns the views of a store that feed a rollup from the calls, by name. A
// store may have others than this release makes.
func Feeds(ctx context.Context, conn driver.Conn) ([]table.Feed, error) {
	rows, err := conn.Query(ctx, "SELECT replaceRegexpOne(name, '"+table.FeedSuffix+"$', ''), as_select FROM system.tables"+
		" WHERE database = currentDatabase() AND engine = 'MaterializedView' ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("read the views: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var list []table.Feed
	for rows.Next() {
		var f table.Feed
		if err := rows.Scan(&f.Table, &f.Query); err != nil {
			return nil, fmt.Errorf("read the views: %w", err)
		}
		list = append(list, f)
	}
	return list, rows.Err()
}
