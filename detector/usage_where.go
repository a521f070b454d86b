package detector

import (
	"context"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// acceptedOnly writes that the credential of a call was accepted.
var acceptedOnly = fmt.Sprintf(" AND decision IN (%d, %d, %d)", schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied)

// Arrivals reads places by day.
func (s *store) Arrivals(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Arrival) error) error {
	places, err := daily(table.Places, w, " AND credential IN "+hashList(hashes))
	if err != nil {
		return err
	}
	const keys = "credential, session, key, workload, client_address, user_agent, source_type, reporter, toUInt16(day) AS d"
	statement := "SELECT " + keys + ", min(first), max(last), sum(calls), groupBitOr(slots0), groupBitOr(slots1), groupBitOr(slots2), groupBitOr(slots3), groupBitOr(slots4) FROM " +
		places + " GROUP BY credential, session, key, workload, client_address, user_agent, source_type, reporter, d ORDER BY credential, session, d"
	return s.query(ctx, "read where calls came from", statement, func(rows driver.Rows) error {
		var v rule.Arrival
		var hash string
		var reporter uint8
		var day uint16
		var slots [5]uint64
		if err := rows.Scan(&hash, &v.Session, &v.Key, &v.Workload, &v.Address, &v.Agent, &v.SourceType, &reporter, &day, &v.First, &v.Last, &v.Calls,
			&slots[0], &slots[1], &slots[2], &slots[3], &slots[4]); err != nil {
			return err
		}
		copy(v.Hash[:], hash)
		v.Address, v.Reporter, v.Day = address(v.Address), schema.Reporter(reporter), schema.Day(day)
		v.First, v.Last = v.First.UTC(), v.Last.UTC()
		for i, word := range slots {
			for ; word != 0; word &= word - 1 {
				v.Slots = append(v.Slots, uint16(64*i+bits.TrailingZeros64(word)))
			}
		}
		return each(&v)
	})
}

// Tenancies looks through the places of all credentials, since they are not sorted
// by address; it is asked about few addresses, and seldom.
func (s *store) Tenancies(ctx context.Context, w schema.Window, addresses []string, each func(*rule.Tenancy) error) error {
	if len(addresses) == 0 {
		return nil
	}
	list := make([]string, 0, len(addresses))
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("read who called from an address: %w", err)
		}
		list = append(list, addressLiteral(a))
	}
	places, err := daily(table.Places, w, " AND client_address IN ("+strings.Join(list, ", ")+")")
	if err != nil {
		return err
	}
	statement := "SELECT credential, client_address, min(first) FROM " + places + " GROUP BY credential, client_address ORDER BY credential, client_address"
	return s.query(ctx, "read who called from an address", statement, func(rows driver.Rows) error {
		var t rule.Tenancy
		var hash string
		if err := rows.Scan(&hash, &t.Address, &t.First); err != nil {
			return err
		}
		copy(t.Hash[:], hash)
		t.Address, t.First = address(t.Address), t.First.UTC()
		return each(&t)
	})
}

// Tasks folds the calls of the few principals that several places use.
func (s *store) Tasks(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Task) error) error {
	statement := "SELECT credential, workload, client_address, user_agent, service, operation, min(time), max(time), arraySort(groupUniqArray(toUInt16(toDate(time)))), count() FROM " + table.Calls +
		" WHERE credential IN " + hashList(hashes) + within(w) + acceptedOnly + " GROUP BY credential, workload, client_address, user_agent, service, operation"
	return s.query(ctx, "read what is called from where", statement, func(rows driver.Rows) error {
		var t rule.Task
		var hash string
		var days []uint16
		if err := rows.Scan(&hash, &t.Workload, &t.Address, &t.Agent, &t.Service, &t.Operation, &t.First, &t.Last, &days, &t.Calls); err != nil {
			return err
		}
		copy(t.Hash[:], hash)
		t.Address, t.First, t.Last = address(t.Address), t.First.UTC(), t.Last.UTC()
		for _, d := range days {
			t.Days = append(t.Days, schema.Day(d))
		}
		return each(&t)
	})
}
