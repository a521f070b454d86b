package detector

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Occupancies looks through the places of all credentials, as Tenancies does.
func (s *store) Occupancies(ctx context.Context, w schema.Window, workloads []string, each func(*rule.Occupancy) error) error {
	if len(workloads) == 0 {
		return nil
	}
	var names []string
	for _, name := range workloads {
		// What begins with the name may be a copy of it, which Go knows.
		names = append(names, "workload = "+literal(name)+" OR startsWith(workload, "+literal(name+"-")+")")
	}
	places, err := daily(table.Places, w, " AND ("+strings.Join(names, " OR ")+")")
	if err != nil {
		return err
	}
	statement := "SELECT credential, workload, min(first) FROM " + places + " GROUP BY credential, workload ORDER BY credential, workload"
	return s.query(ctx, "read which credentials a workload uses", statement, func(rows driver.Rows) error {
		var o rule.Occupancy
		var hash string
		if err := rows.Scan(&hash, &o.Workload, &o.First); err != nil {
			return err
		}
		if !slices.Contains(workloads, rule.SeatName(o.Workload, netip.Addr{}, "")) {
			return nil
		}
		copy(o.Hash[:], hash)
		o.First = o.First.UTC()
		return each(&o)
	})
}
