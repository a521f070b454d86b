package detector

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Seats folds the calls themselves: the rollups do not know where calls came
// from. Few columns of the principals asked for are read, in the order in which
// they are stored.
func (s *store) Seats(ctx context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.Seat) error) error {
	none := addressLiteral(schema.Call{}.ClientAddress)
	statement := "SELECT credential, workload, if(workload != '', " + none + ", client_address) AS address, if(workload != '', '', user_agent) AS agent," +
		" min(time), max(time), arraySort(groupUniqArray(toUInt16(toDate(time)))) FROM " + table.Calls +
		" WHERE credential IN " + hashList(hashes) + " AND time < " + instant(before) +
		fmt.Sprintf(" AND decision IN (%d, %d, %d)", schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied) +
		" GROUP BY credential, workload, address, agent"
	return s.query(ctx, "read where credentials are used", statement, func(rows driver.Rows) error {
		var seat rule.Seat
		var hash string
		var days []uint16
		if err := rows.Scan(&hash, &seat.Workload, &seat.Address, &seat.Agent, &seat.First, &seat.Last, &days); err != nil {
			return err
		}
		copy(seat.Hash[:], hash)
		seat.Address = address(seat.Address)
		seat.First, seat.Last = seat.First.UTC(), seat.Last.UTC()
		for _, d := range days {
			seat.Days = append(seat.Days, schema.Day(d))
		}
		return each(&seat)
	})
}

// stepColumns are what a step is read from.
const stepColumns = "time, id, credential, credential_id, credential_instance, session, service, operation, tenant, resource, decision, route_source, reporter, " +
	"toUInt8(quality = 0) AS certain, scopes, scopes_known, groups, workload, client_address, user_agent, trace_id, request_id, actor_chain, mints, duration_us"

// Steps reads single calls, each id once.
func (s *store) Steps(ctx context.Context, q StepQuery, each func(*rule.Step) error) error {
	if q.Empty() {
		return nil
	}
	limit := ""
	if q.Limit > 0 {
		limit = fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	statement := "SELECT * FROM (SELECT " + stepColumns + " FROM " + table.Calls + " WHERE 1" + within(q.Window) + stepConditions(&q) +
		" ORDER BY time, id, reporter LIMIT 1 BY id) ORDER BY time, id" + limit
	return s.query(ctx, "read linked calls", statement, func(rows driver.Rows) error {
		step, err := scanStep(rows)
		if err != nil {
			return err
		}
		return each(step)
	})
}

// stepConditions writes the lists of a query.
func stepConditions(q *StepQuery) string {
	var b strings.Builder
	in := func(column string, values []string) {
		if len(values) == 0 {
			return
		}
		b.WriteString(" AND " + column + " IN (" + literals(values) + ")")
	}
	if len(q.Hashes) > 0 {
		b.WriteString(" AND credential IN " + hashList(q.Hashes))
	}
	in("workload", q.Workloads)
	in("service", q.Services)
	in("credential_instance", q.Instances)
	in("mints", q.Minted)
	if q.Minting {
		b.WriteString(" AND mints != ''")
	}
	if len(q.Traces) > 0 {
		var traces, requests []string
		for _, key := range q.Traces {
			if key.Trace {
				traces = append(traces, key.ID)
			} else {
				requests = append(requests, key.ID)
			}
		}
		var parts []string
		if len(traces) > 0 {
			parts = append(parts, "trace_id IN ("+literals(traces)+")")
		}
		if len(requests) > 0 {
			parts = append(parts, "trace_id = '' AND request_id IN ("+literals(requests)+")")
		}
		b.WriteString(" AND (" + strings.Join(parts, " OR ") + ")")
	}
	return b.String()
}

func literals(values []string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = literal(v)
	}
	return strings.Join(parts, ", ")
}

func scanStep(rows driver.Rows) (*rule.Step, error) {
	var s rule.Step
	var id, hash string
	var decision, route, reporter, certain, known uint8
	var micros uint64
	err := rows.Scan(&s.Time, &id, &hash, &s.CredentialID, &s.Instance, &s.Session, &s.Service, &s.Operation, &s.Tenant, &s.Resource, &decision, &route,
		&reporter, &certain, &s.Scopes, &known, &s.Groups, &s.Workload, &s.Address, &s.Agent, &s.TraceID, &s.RequestID, &s.Actors, &s.Mints, &micros)
	if err != nil {
		return nil, err
	}
	copy(s.ID[:], id)
	copy(s.Hash[:], hash)
	s.Time, s.Duration, s.Address = s.Time.UTC(), time.Duration(micros)*time.Microsecond, address(s.Address)
	s.Decision, s.RouteSource, s.Reporter, s.Certain = schema.Decision(decision), schema.RouteSource(route), schema.Reporter(reporter), certain == 1
	s.Scopes, s.Groups = tidy(s.Scopes), tidy(s.Groups)
	if known == 0 {
		s.Scopes = nil
	} else if s.Scopes == nil {
		s.Scopes = []string{}
	}
	if len(s.Actors) == 0 {
		s.Actors = nil
	}
	return &s, nil
}
