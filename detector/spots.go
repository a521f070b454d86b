package detector

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Spots answers from where credentials were used, and which credentials were
// used from a place.
type Spots interface {
	// Spots folds the accepted calls (allowed, no_effect, denied) of the window
	// by where they came from.
	Spots(ctx context.Context, q SpotQuery, each func(*rule.Spot) error) error
}

// SpotQuery chooses calls by who made them or from where. Without both it
// chooses nothing.
type SpotQuery struct {
	Window schema.Window
	Hashes []schema.PrincipalHash
	// Workload is one workload as the network names it, without what tells
	// replicas apart (see [rule.SeatName]), or an address.
	Workload string
}

// Spots reads places by day: for a workload those of all credentials, since they
// are not sorted by it.
func (s *store) Spots(ctx context.Context, q SpotQuery, each func(*rule.Spot) error) error {
	if len(q.Hashes) == 0 && q.Workload == "" {
		return nil
	}
	where := ""
	if len(q.Hashes) > 0 {
		where += " AND credential IN " + hashList(q.Hashes)
	}
	if q.Workload != "" {
		// What begins with the name may be a copy of it, which Go knows.
		one := "(workload = " + literal(q.Workload) + " OR startsWith(workload, " + literal(q.Workload+"-") + ")"
		if a, ok := rule.SpotAddress(q.Workload); ok {
			one += " OR client_address = " + addressLiteral(a)
		}
		where += " AND " + one + ")"
	}
	places, err := daily(table.Places, q.Window, where)
	if err != nil {
		return err
	}
	const keys = "credential, workload, client_address, user_agent, reporter"
	statement := "SELECT " + keys + ", min(first), max(last), sum(calls), arraySort(groupUniqArray(toUInt16(day))) FROM " + places + " GROUP BY " + keys
	return s.query(ctx, "read from where calls came", statement, func(rows driver.Rows) error {
		var p rule.Spot
		var hash string
		var reporter uint8
		var days []uint16
		if err := rows.Scan(&hash, &p.Workload, &p.Address, &p.Agent, &reporter, &p.First, &p.Last, &p.Calls, &days); err != nil {
			return err
		}
		copy(p.Hash[:], hash)
		p.Address, p.Reporter = address(p.Address), schema.Reporter(reporter)
		p.First, p.Last = p.First.UTC(), p.Last.UTC()
		for _, d := range days {
			p.Days = append(p.Days, schema.Day(d))
		}
		if q.Workload != "" && !p.In(q.Workload) {
			return nil
		}
		return each(&p)
	})
}
