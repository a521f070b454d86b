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

// Seats reads places by day.
func (s *store) Seats(ctx context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.Seat) error) error {
	places, err := daily(table.Places, schema.Window{From: time.Unix(0, 0), To: before}, " AND credential IN "+hashList(hashes))
	if err != nil {
		return err
	}
	none := addressLiteral(schema.Call{}.ClientAddress)
	statement := "SELECT credential, workload, if(workload != '', " + none + ", client_address) AS address, if(workload != '', '', user_agent) AS agent," +
		" min(first), max(last), arraySort(groupUniqArray(toUInt16(day))) FROM " + places + " GROUP BY credential, workload, address, agent"
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
		if len(q.Ops) > 0 {
			limit += " BY service, operation"
		}
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
	in("user_agent", q.Agents)
	if len(q.Ops) > 0 {
		// The calls are not sorted by what was called. Who did is known, and when.
		ops := opList(q.Ops)
		did := " FROM " + table.UseLife + " WHERE (service, operation) IN (" + ops + ")"
		b.WriteString(" AND (service, operation) IN (" + ops + ") AND credential IN (SELECT credential" + did + ")" +
			" AND time >= (SELECT min(first)" + did + ") AND time <= (SELECT max(last)" + did + ")")
	}
	if q.Traced {
		b.WriteString(" AND trace_id != ''")
	}
	in("credential_instance", q.Instances)
	in("mints", q.Minted)
	if q.Minting {
		b.WriteString(" AND mints != ''")
	}
	if q.Minting || len(q.Minted) > 0 {
		// The calls are not sorted by what they issued; those that did are few.
		b.WriteString(" AND (credential, time) IN (SELECT credential, time FROM " + table.Issues + " WHERE mints != ''" + within(q.Window))
		in("mints", q.Minted)
		b.WriteString(")")
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

func opList(ops []rule.Op) string {
	parts := make([]string, len(ops))
	for i, o := range ops {
		parts[i] = "(" + literal(o.Service) + ", " + literal(o.Operation) + ")"
	}
	return strings.Join(parts, ", ")
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

// Lineages joins the calls that issued a credential with the use of it: as one of
// its keys or tokens, or as the credential itself. Issues are few, and where some
// principals are asked about only those are looked at that may concern one.
func (s *store) Lineages(ctx context.Context, before time.Time, hashes []schema.PrincipalHash, each func(*rule.Lineage) error) error {
	minted := mintedWhere(" AND time < " + instant(before))
	concerns := ""
	if len(hashes) > 0 {
		list := hashList(hashes)
		minted += " AND (credential IN " + list + " OR mints IN (SELECT credential_instance FROM " + table.Instances + " WHERE credential IN " + list + ")" +
			" OR mints IN (SELECT id FROM " + table.Principals + " WHERE credential IN " + list + "))"
		concerns = " WHERE minter IN " + list + " OR user IN " + list
	}
	ids := "(SELECT mints FROM " + table.Issues + minted + ")"
	products, any, err := s.products(ctx, minted, ids)
	if err != nil || !any {
		return err
	}
	if err := s.loadPresented(ctx); err != nil {
		return err
	}
	use := RowQuery{Window: schema.Window{From: time.Unix(0, 0), To: before}, Hashes: products}
	instances, err := daily(table.Instances, use.Window, "")
	if err != nil {
		return err
	}
	const columns = "credential AS user, presented AS user_presented"
	statement := "SELECT minter, user, service, operation, lasting, minter_presented, user_presented, min(t), max(t)," +
		" arraySort(groupUniqArray(toUInt16(toDate(t)))), argMin(key, (t, key)), min(greatest(used, t)) FROM" +
		" (SELECT mints AS key, credential AS minter, presented AS minter_presented, service, operation, time AS t FROM " + table.Issues + minted + ") AS m INNER JOIN" +
		" (SELECT credential_instance AS key, toUInt8(0) AS lasting, " + columns + ", min(first) AS used, max(last) AS last_used FROM " + instances +
		" WHERE credential_instance IN " + ids + " GROUP BY key, user, user_presented"
	if len(products) > 0 {
		statement += fmt.Sprintf(" UNION ALL SELECT id AS key, toUInt8(1) AS lasting, %s, min(f) AS used, max(l) AS last_used FROM (%s) AS c INNER JOIN"+
			" (SELECT DISTINCT credential, id FROM %s WHERE credential IN %s) AS p USING credential WHERE decision IN (%d, %d, %d) GROUP BY key, user, user_presented",
			columns, strings.Join(tiers(&use), " UNION ALL "), table.Principals, hashList(products), schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied)
	}
	statement += ") AS u ON m.key = u.key AND u.last_used >= m.t" + concerns +
		" GROUP BY minter, user, service, operation, lasting, minter_presented, user_presented"
	return s.query(ctx, "read which credentials were issued by which", statement, func(rows driver.Rows) error {
		var l rule.Lineage
		var minter, user, input, output string
		var lasting uint8
		var days []uint16
		if err := rows.Scan(&minter, &user, &l.Service, &l.Operation, &lasting, &input, &output, &l.First, &l.Last, &days, &l.Example, &l.Used); err != nil {
			return err
		}
		copy(l.Minter[:], minter)
		copy(l.Minted[:], user)
		l.LongLived = lasting == 1
		l.Input, l.Output = s.set(schema.PresentedHash([]byte(input))).scopes, s.set(schema.PresentedHash([]byte(output))).scopes
		l.First, l.Last, l.Used = l.First.UTC(), l.Last.UTC(), l.Used.UTC()
		for _, d := range days {
			l.Days = append(l.Days, schema.Day(d))
		}
		return each(&l)
	})
}

// products returns the principals that themselves were issued by calls, and whether
// anything was.
func (s *store) products(ctx context.Context, minted, ids string) (hashes []schema.PrincipalHash, any bool, err error) {
	err = s.query(ctx, "read whether credentials were issued", "SELECT 1 FROM "+table.Issues+minted+" LIMIT 1", func(driver.Rows) error { any = true; return nil })
	if err != nil || !any {
		return nil, any, err
	}
	err = s.query(ctx, "read which credentials were issued", "SELECT DISTINCT credential FROM "+table.Principals+" WHERE id IN "+ids+" ORDER BY credential", func(rows driver.Rows) error {
		var hash string
		err := rows.Scan(&hash)
		hashes = append(hashes, schema.PrincipalHash([]byte(hash)))
		return err
	})
	return hashes, any, err
}

// mintedWhere chooses calls that surely issued a credential.
func mintedWhere(upto string) string {
	return fmt.Sprintf(" WHERE mints != '' AND decision = %d%s", schema.DecisionAllowed, upto)
}

// Chains reads the issues whose caller used a key that had been issued, or whose
// product issued in turn.
func (s *store) Chains(ctx context.Context, before time.Time, each func(*rule.ChainLink) error) error {
	minted := mintedWhere(" AND time < " + instant(before))
	statement := "SELECT time, credential, credential_instance, mints, service, operation FROM (SELECT time, id, credential, credential_instance, mints, service, operation FROM " +
		table.Issues + minted + " AND (credential_instance != '' AND credential_instance IN (SELECT mints FROM " + table.Issues + minted + ")" +
		" OR mints IN (SELECT credential_instance FROM " + table.Issues + minted + " AND credential_instance != '')) ORDER BY time, id LIMIT 1 BY id) ORDER BY time, id"
	return s.query(ctx, "read chains of issued credentials", statement, func(rows driver.Rows) error {
		var c rule.ChainLink
		var hash string
		if err := rows.Scan(&c.Time, &hash, &c.Instance, &c.Minted, &c.Service, &c.Operation); err != nil {
			return err
		}
		copy(c.Minter[:], hash)
		c.Time = c.Time.UTC()
		return each(&c)
	})
}

// tenants reports whether several tenants were seen.
func (s *store) tenants(ctx context.Context) (several bool, err error) {
	n := 0
	err = s.query(ctx, "read whether there are tenants", fmt.Sprintf("SELECT DISTINCT tenant FROM %s WHERE tenant != '' AND decision = %d LIMIT 2", table.UseLife, schema.DecisionAllowed),
		func(driver.Rows) error { n++; return nil })
	return n > 1, err
}

// Crossings joins the traces that touched several tenants with their calls
// outside the first one. Where some principals are asked about, only traces are
// looked at that one of them took part in.
func (s *store) Crossings(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Crossing) error) error {
	if several, err := s.tenants(ctx); err != nil || !several {
		return err
	}
	honoured := fmt.Sprintf(" WHERE trace_id != '' AND tenant != '' AND decision = %d%s", schema.DecisionAllowed, within(w))
	concerns := ""
	if len(hashes) > 0 {
		concerns = " AND (entry IN " + hashList(hashes) + " OR credential IN " + hashList(hashes) + ")"
		honoured += " AND trace_id IN (SELECT trace_id FROM " + table.Calls + honoured + " AND credential IN " + hashList(hashes) + ")"
	}
	// Of each trace the earliest such call counts, so that one with many calls
	// does not crowd out others.
	statement := fmt.Sprintf("SELECT entry, credential, min(f), max(l), arraySort(arrayDistinct(arrayFlatten(groupArray(ds)))),"+
		" arrayMap(p -> p.2, groupArraySorted(%d)((f, trace_id))) FROM (SELECT entry, credential, trace_id, min(time) AS f, max(time) AS l,"+
		" groupUniqArray(toUInt16(toDate(time))) AS ds FROM (SELECT trace_id, argMin(tenant, (time, id)) AS home, argMin(credential, (time, id)) AS entry FROM %s%s"+
		" GROUP BY trace_id HAVING min(tenant) != max(tenant)) AS t INNER JOIN (SELECT trace_id, credential, tenant, time FROM %s%s) AS c USING trace_id"+
		" WHERE tenant != home AND credential != entry%s GROUP BY entry, credential, trace_id) GROUP BY entry, credential",
		rule.MaxCrossings, table.Calls, honoured, table.Calls, honoured, concerns)
	return s.query(ctx, "read which requests crossed tenants", statement, func(rows driver.Rows) error {
		var c rule.Crossing
		var entry, deputy string
		var days []uint16
		if err := rows.Scan(&entry, &deputy, &c.First, &c.Last, &days, &c.Traces); err != nil {
			return err
		}
		copy(c.Entry[:], entry)
		copy(c.Deputy[:], deputy)
		c.First, c.Last = c.First.UTC(), c.Last.UTC()
		for _, d := range days {
			c.Days = append(c.Days, schema.Day(d))
		}
		return each(&c)
	})
}
