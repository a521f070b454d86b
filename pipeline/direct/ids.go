package direct

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// idMemory remembers call ids. It is exact until limit ids are held; then it
// keeps the latest half-limit or more, and says that it forgot.
type idMemory struct {
	limit     int
	now, past map[schema.CallID]struct{}
	forgot    bool
}

func newIDMemory(limit int) idMemory {
	return idMemory{limit: limit, now: map[schema.CallID]struct{}{}}
}

// add remembers id and reports whether it was new.
func (m *idMemory) add(id schema.CallID) bool {
	if _, ok := m.past[id]; ok {
		return false
	}
	before := len(m.now)
	m.now[id] = struct{}{}
	if len(m.now) == before {
		return false
	}
	if len(m.now)+len(m.past) > m.limit {
		// Two generations: dropping the older one costs nothing a call, and
		// what is dropped is the oldest half.
		m.forgot = m.forgot || len(m.past) > 0
		m.past, m.now = m.now, map[schema.CallID]struct{}{}
	}
	return true
}

// load remembers the ids that the store holds, the latest first in line to
// stay.
func (m *idMemory) load(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, fmt.Sprintf("SELECT id FROM (SELECT id, time FROM %s ORDER BY time DESC LIMIT %d) ORDER BY time", table.Calls, m.limit/2))
	if err != nil {
		return fmt.Errorf("read the ids of stored calls: %w", err)
	}
	defer rows.Close()
	var id string
	for rows.Next() {
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("read the ids of stored calls: %w", err)
		}
		m.add(schema.CallID([]byte(id)))
	}
	return rows.Err()
}
