package detector

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Lives answers what the detector asks about how long credentials are known.
type Lives interface {
	// Lives lists on which days before a time, of those that began before it,
	// each principal made calls that were authorised.
	Lives(ctx context.Context, before time.Time, each func(*rule.Life) error) error
}

// Lives reads lifetime use.
func (s *store) Lives(ctx context.Context, before time.Time, each func(*rule.Life) error) error {
	statement := fmt.Sprintf("SELECT credential, arrayFilter(d -> d < %d, groupUniqArrayArray(days)) AS all FROM %s WHERE decision IN (%d, %d) GROUP BY credential HAVING notEmpty(all)",
		schema.DayOf(before.Add(24*time.Hour-time.Microsecond)), table.UseLife, schema.DecisionAllowed, schema.DecisionNoEffect)
	return s.query(ctx, "read on which days credentials called", statement, func(rows driver.Rows) error {
		var l rule.Life
		var hash string
		var days []uint16
		if err := rows.Scan(&hash, &days); err != nil {
			return err
		}
		copy(l.Hash[:], hash)
		l.Days = make([]schema.Day, len(days))
		for i, d := range days {
			l.Days[i] = schema.Day(d)
		}
		return each(&l)
	})
}
