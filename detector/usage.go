package detector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Store returns the facts of a ClickHouse store. The connection is not closed.
// It remembers the sets of presented scopes and groups that it has read, so one
// value serves one pass over the store.
func Store(conn driver.Conn) Facts {
	return &store{conn: conn, presented: map[schema.PresentedHash]*presentedSet{}, passRows: passRows}
}

type store struct {
	conn      driver.Conn
	presented map[schema.PresentedHash]*presentedSet
	loaded    bool
	// rules, where it is not nil, is held by whoever asks, and not while it waits.
	rules *sync.Mutex
	// passRows is the constant of that name, but in tests.
	passRows uint64
}

// presentedSet is what calls presented, sorted; scopes is nil where they
// carried none.
type presentedSet struct{ scopes, groups []string }

func (s *store) Span(ctx context.Context) (first, last time.Time, err error) {
	var n uint64
	err = s.query(ctx, "read the span of the stored calls",
		"SELECT count(), min(first), max(last) FROM "+table.UseLife,
		func(rows driver.Rows) error { return rows.Scan(&n, &first, &last) })
	if n == 0 {
		return time.Time{}, time.Time{}, err
	}
	return first.UTC(), last.UTC(), err
}

func (s *store) Principals(ctx context.Context, w schema.Window, each func(*rule.Principal) error) error {
	statement := "SELECT credential, kind, id, issuer, subject, client, min(first) AS f, max(last) AS l FROM " + table.Principals +
		" GROUP BY credential, kind, id, issuer, subject, client HAVING f < " + instant(w.To) + " AND l >= " + instant(w.From)
	return s.query(ctx, "read the principals", statement, func(rows driver.Rows) error {
		var p rule.Principal
		var hash string
		var kind uint8
		if err := rows.Scan(&hash, &kind, &p.ID, &p.Issuer, &p.Subject, &p.Client, &p.First, &p.Last); err != nil {
			return err
		}
		copy(p.Hash[:], hash)
		p.Kind = schema.CredentialKind(kind)
		p.First, p.Last = p.First.UTC(), p.Last.UTC()
		return each(&p)
	})
}

func (s *store) SourceDays(ctx context.Context) ([]rule.SourceDay, error) {
	var days []rule.SourceDay
	err := s.query(ctx, "read on which days there were logs",
		"SELECT source_type, service, toUInt16(day), sum(calls) FROM "+table.SourceDay+" GROUP BY source_type, service, day",
		func(rows driver.Rows) error {
			var d rule.SourceDay
			var day uint16
			if err := rows.Scan(&d.SourceType, &d.Service, &day, &d.Calls); err != nil {
				return err
			}
			d.Day = schema.Day(day)
			days = append(days, d)
			return nil
		})
	return days, err
}

// Incomplete reads the ledger: an input was read to its end if some run
// confirmed a range that ends it. A planned range that was never confirmed
// belongs to an input that was not. A followed input has no end, and who follows
// it reads again what was not confirmed.
func (s *store) Incomplete(ctx context.Context) ([]string, error) {
	var list []string
	err := s.query(ctx, "read the ledger",
		"SELECT source_name FROM "+table.Ledger+" GROUP BY source_name HAVING countIf(done = 1 AND state = 'confirmed') = 0 AND max(followed) = 0 ORDER BY source_name",
		func(rows driver.Rows) error {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			list = append(list, fmt.Sprintf("input %q was not read to its end", name))
			return nil
		})
	if err != nil {
		return nil, err
	}
	// A batch that is planned and not stored holds back all of its partition, and
	// so some credentials' calls and not others'. It is stored within seconds,
	// unless its lane stands still.
	err = s.query(ctx, "read the ranges",
		"SELECT topic, partition, maxIf(next_offset, state = 'confirmed') AS stored, maxIf(next_offset, state = 'planned') AS planned FROM "+table.Ranges+
			" GROUP BY topic, partition HAVING planned > stored AND maxIf(written, state = 'planned') < now64(6) - toIntervalMinute(1) ORDER BY topic, partition",
		func(rows driver.Rows) error {
			var topic string
			var partition uint32
			var stored, planned int64
			if err := rows.Scan(&topic, &partition, &stored, &planned); err != nil {
				return err
			}
			list = append(list, fmt.Sprintf("partition %d of topic %q is not stored from offset %d on", partition, topic, stored))
			return nil
		})
	return list, err
}

// Losses sums what the ledger says was skipped. Reasons that begin with
// "not_a_call:" are no loss, nor are packets of other protocols, nor parts of packets
// (those that never became whole are told apart). What a collector
// had to drop, and what Kafka deleted before it was read, falls into known days.
func (s *store) Losses(ctx context.Context) ([]rule.Loss, error) {
	var list []rule.Loss
	read := func(rows driver.Rows) error {
		var l rule.Loss
		var from, to uint16
		if err := rows.Scan(&l.SourceType, &l.Reason, &l.Units, &l.Calls, &from, &to); err != nil {
			return err
		}
		l.From, l.To = schema.Day(from), schema.Day(to)
		list = append(list, l)
		return nil
	}
	days := func(from, to string) string {
		timed := "startsWith(reason, '" + schema.Lost + "') AND toUnixTimestamp64Micro(" + to + ") > 0"
		return "if(" + timed + ", toUInt16(toDate(" + from + ")), 0) AS d1, if(" + timed + ", toUInt16(toDate(" + to + ")), 0) AS d2"
	}
	statement := "SELECT source_type, reason, sum(units), any(total), d1, d2 FROM (SELECT source_type, arrayJoin(skipped) AS pair, pair.1 AS reason, pair.2 AS units, " +
		days("first_time", "last_time") + " FROM (SELECT DISTINCT source_type, source_name, first_unit, next_unit, first_time, last_time, CAST(skipped, 'Array(Tuple(String, UInt64))') AS skipped FROM " +
		table.Ledger + " WHERE state = 'confirmed')) AS lost INNER JOIN (SELECT source_type, sum(calls) AS total FROM " +
		"(SELECT DISTINCT source_type, source_name, first_unit, next_unit, calls FROM " + table.Ledger + " WHERE state = 'confirmed') GROUP BY source_type) AS all USING source_type" +
		" WHERE NOT startsWith(reason, 'not_a_call:') AND reason NOT IN ('not_ip', 'not_tcp', 'ip_fragment', 'ipv6_fragment') GROUP BY source_type, reason, d1, d2 ORDER BY source_type, reason, d1, d2"
	if err := s.query(ctx, "read what could not be read", statement, read); err != nil {
		return nil, err
	}
	const ranges = table.Ranges + " FINAL WHERE state = 'confirmed'"
	statement = "SELECT 'kafka', reason, sum(units), any(total), d1, d2 FROM (SELECT arrayJoin(arrayConcat([('" + schema.Lost + "retention', lost), ('" + schema.Lost +
		"missing', missing)], CAST(dead, 'Array(Tuple(String, UInt64))'))) AS pair, pair.1 AS reason, pair.2 AS units, " + days("lost_from", "lost_to") +
		", (SELECT sum(calls) FROM " + ranges + ") AS total FROM " + ranges + ") WHERE units > 0 GROUP BY reason, d1, d2 ORDER BY reason, d1, d2"
	return list, s.query(ctx, "read what was lost in Kafka", statement, read)
}

// loadPresented reads all sets of presented scopes and groups, once. There are
// as many as there are different tokens' scopes, which are few.
func (s *store) loadPresented(ctx context.Context) error {
	if s.loaded {
		return nil
	}
	err := s.query(ctx, "read the presented scopes",
		"SELECT presented, any(scopes_known), any(scopes), any(groups) FROM "+table.Presented+" GROUP BY presented",
		func(rows driver.Rows) error {
			var hash string
			var known uint8
			var set presentedSet
			if err := rows.Scan(&hash, &known, &set.scopes, &set.groups); err != nil {
				return err
			}
			set.scopes, set.groups = tidy(set.scopes), tidy(set.groups)
			if known == 0 {
				set.scopes = nil
			} else if set.scopes == nil {
				set.scopes = []string{}
			}
			s.presented[schema.PresentedHash([]byte(hash))] = &set
			return nil
		})
	s.loaded = err == nil
	return err
}

// tidy sorts and compacts; which order a set was stored in is chance.
func tidy(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var noPresented presentedSet

func (s *store) set(hash schema.PresentedHash) *presentedSet {
	if set := s.presented[hash]; set != nil {
		return set
	}
	return &noPresented
}

func (s *store) Rows(ctx context.Context, q RowQuery, each func(*rule.Row) error) error {
	if err := s.loadPresented(ctx); err != nil {
		return err
	}
	principals, err := s.named(ctx, q.Hashes)
	if err != nil {
		return err
	}
	statement := "SELECT " + foldColumns + ", segment, min(f), max(l), sum(n), " + packedSet("d") + " FROM (" +
		strings.Join(tiers(&q), " UNION ALL ") + ") GROUP BY " + foldColumns + ", segment ORDER BY " + foldColumns + ", segment"
	return s.query(ctx, "fold the use", statement, func(rows driver.Rows) error {
		row, _, err := s.scanRow(rows, principals, false)
		if err != nil {
			return err
		}
		return each(row)
	})
}

// foldColumns are the keys of the rollups, in their order.
const foldColumns = "credential, service, operation, tenant, decision, reporter, certain, route_source, presented"

// scanRow reads the columns of a folded row, and the resource if there is one.
func (s *store) scanRow(rows driver.Rows, principals map[schema.PrincipalHash]schema.Principal, withResource bool) (*rule.Row, string, error) {
	var row rule.Row
	var hash, presented, resource, days string
	var decision, reporter, certain, route uint8
	var segment uint16
	into := []any{&hash, &row.Service, &row.Operation, &row.Tenant, &decision, &reporter, &certain, &route, &presented, &segment,
		&row.First, &row.Last, &row.Calls, &days}
	if withResource {
		into = append(into, &resource)
	}
	if err := rows.Scan(into...); err != nil {
		return nil, "", err
	}
	copy(row.Hash[:], hash)
	copy(row.Presented[:], presented)
	row.Principal = principals[row.Hash]
	row.Decision, row.Reporter, row.RouteSource = schema.Decision(decision), schema.Reporter(reporter), schema.RouteSource(route)
	row.Certain, row.Segment = certain == 1, int(segment)
	row.First, row.Last = row.First.UTC(), row.Last.UTC()
	set := s.set(row.Presented)
	row.Scopes, row.Groups = set.scopes, set.groups
	row.Days = make([]schema.Day, len(days)/2)
	for i := range row.Days {
		row.Days[i] = schema.Day(days[2*i]) | schema.Day(days[2*i+1])<<8
	}
	slices.Sort(row.Days)
	return &row, resource, nil
}

// named reads who is behind hashes.
func (s *store) named(ctx context.Context, hashes []schema.PrincipalHash) (map[schema.PrincipalHash]schema.Principal, error) {
	found := make(map[schema.PrincipalHash]schema.Principal, len(hashes))
	err := s.query(ctx, "read the principals",
		"SELECT DISTINCT credential, kind, id, issuer, subject, client FROM "+table.Principals+" WHERE credential IN "+hashList(hashes),
		func(rows driver.Rows) error {
			var hash string
			var kind uint8
			var p schema.Principal
			if err := rows.Scan(&hash, &kind, &p.ID, &p.Issuer, &p.Subject, &p.Client); err != nil {
				return err
			}
			p.Kind = schema.CredentialKind(kind)
			found[schema.PrincipalHash([]byte(hash))] = p
			return nil
		})
	return found, err
}

// tiers writes the statements whose union is the calls of the window, folded as
// coarsely as can be: whole days from the daily rollup, the whole hours of days
// that a bound or cut divides from the hourly one, and only the hours that one
// divides from the calls.
func tiers(q *RowQuery) []string {
	if len(q.Origins) > 0 {
		// The rollups do not know where calls came from.
		return []string{fromCalls(q, from(q))}
	}
	days, hours := divided(q)
	where := " WHERE credential IN " + hashList(q.Hashes)
	whole := func(expression string) string {
		return fmt.Sprintf("SELECT %s, %s AS segment, first AS f, last AS l, calls AS n, toUInt16(%s) AS d", foldColumns, segment(q.Cuts, expression+" * 1000000"), "%s")
	}
	list := []string{
		fmt.Sprintf(whole("toInt64(toUnixTimestamp(toDateTime(day, 'UTC')))"), "day") + " FROM " + table.UseDay + where +
			" AND day >= " + date(q.Window.From) + " AND day <= " + date(q.Window.To.Add(-time.Microsecond)) + not("day", dateList(days)),
	}
	if len(days) == 0 {
		return list
	}
	list = append(list, fmt.Sprintf(whole("toInt64(toUnixTimestamp(hour))"), "toDate(hour)")+" FROM "+table.UseHour+where+
		" AND toDate(hour) IN ("+dateList(days)+") AND hour >= "+moment(days[0])+" AND hour < "+moment(days[len(days)-1].AddDate(0, 0, 1))+
		" AND hour >= "+moment(q.Window.From)+" AND hour < "+moment(q.Window.To.Add(time.Second-time.Nanosecond))+not("hour", momentList(hours)))
	if len(hours) == 0 {
		return list
	}
	return append(list, fromCalls(q, within(schema.Window{From: hours[0], To: hours[len(hours)-1].Add(time.Hour)})+
		" AND toStartOfHour(time) IN ("+momentList(hours)+")"))
}

// fromCalls folds calls themselves, for what the rollups cannot tell.
func fromCalls(q *RowQuery, condition string) string {
	return fmt.Sprintf("SELECT credential, service, operation, tenant, decision, reporter, toUInt8(quality = 0) AS certain, route_source, presented,"+
		" %s AS segment, min(time) AS f, max(time) AS l, count() AS n, toUInt16(toDate(time)) AS d FROM %s WHERE credential IN %s%s%s GROUP BY %s, segment, d",
		segment(q.Cuts, "toUnixTimestamp64Micro(time)"), table.Calls, hashList(q.Hashes), within(q.Window), condition, foldColumns)
}

// from writes that calls came from none of the origins, or only from those.
func from(q *RowQuery) string {
	if len(q.Origins) == 0 {
		return ""
	}
	parts := make([]string, len(q.Origins))
	for i := range q.Origins {
		o := &q.Origins[i]
		parts[i] = "(" + bytesLiteral(o.Hash[:]) + ", " + literal(o.Session) + ", " + addressLiteral(o.Address) + ", " + literal(o.Workload) + ")"
	}
	in := "NOT IN"
	if q.Only {
		in = "IN"
	}
	return " AND (credential, session, client_address, workload) " + in + " (" + strings.Join(parts, ", ") + ")"
}

// divided returns the days and, of those, the hours that a bound of the window
// or a cut divides, ascending.
func divided(q *RowQuery) (days, hours []time.Time) {
	for _, t := range slices.Concat([]time.Time{q.Window.From, q.Window.To}, q.Cuts) {
		t = t.UTC()
		if day := t.Truncate(24 * time.Hour); !day.Equal(t) {
			days = append(days, day)
		}
		if hour := t.Truncate(time.Hour); !hour.Equal(t) {
			hours = append(hours, hour)
		}
	}
	for _, list := range []*[]time.Time{&days, &hours} {
		slices.SortFunc(*list, time.Time.Compare)
		*list = slices.CompactFunc(*list, time.Time.Equal)
	}
	return days, hours
}

// segment writes how many cuts lie at or before a moment given in microseconds.
func segment(cuts []time.Time, moment string) string {
	if len(cuts) == 0 {
		return "toUInt16(0)"
	}
	list := make([]string, len(cuts))
	for i, t := range cuts {
		list[i] = fmt.Sprint(t.UnixMicro())
	}
	return "toUInt16(arrayCount(b -> b <= " + moment + ", [" + strings.Join(list, ", ") + "]))"
}

func (s *store) Objects(ctx context.Context, q ObjectQuery, each func(*rule.Row, string) error) error {
	if len(q.Rows) == 0 {
		return nil
	}
	wanted := make(map[rule.RowKey]bool, len(q.Rows))
	principals := map[schema.PrincipalHash]schema.Principal{}
	var keys []string
	for i := range q.Rows {
		row := &q.Rows[i]
		wanted[row.Key()] = true
		principals[row.Hash] = row.Principal
		keys = append(keys, "("+bytesLiteral(row.Hash[:])+", "+literal(row.Service)+", "+literal(row.Operation)+")")
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	statement := "SELECT credential, service, operation, tenant, decision, reporter, toUInt8(quality = 0) AS certain, route_source, presented, " +
		segment(q.Cuts, "toUnixTimestamp64Micro(time)") + " AS segment, min(time), max(time), count(), " + packedSet("toUInt16(toDate(time))") + ", resource FROM " +
		table.Calls + " WHERE credential IN " + hashList(sortedHashes(principals)) + within(q.Window) + from(&q.RowQuery) +
		" AND (credential, service, operation) IN (" + strings.Join(keys, ", ") + ") GROUP BY " + foldColumns + ", segment, resource"
	return s.query(ctx, "fold the use by object", statement, func(rows driver.Rows) error {
		row, resource, err := s.scanRow(rows, principals, true)
		if err != nil || !wanted[row.Key()] {
			return err
		}
		return each(row, resource)
	})
}

func sortedHashes[V any](set map[schema.PrincipalHash]V) []schema.PrincipalHash {
	list := make([]schema.PrincipalHash, 0, len(set))
	for h := range set {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b schema.PrincipalHash) int { return slices.Compare(a[:], b[:]) })
	return list
}

func (s *store) History(ctx context.Context, hashes []schema.PrincipalHash, before time.Time, each func(*rule.History) error) error {
	statement := "SELECT credential, service, operation, route_source, min(first) AS f FROM " + table.UseLife + " WHERE credential IN " + hashList(hashes) +
		" AND decision != " + fmt.Sprint(uint8(schema.DecisionUnauthenticated)) + " GROUP BY credential, service, operation, route_source HAVING f < " + instant(before)
	return s.query(ctx, "read what was called before the window", statement, func(rows driver.Rows) error {
		var h rule.History
		var hash string
		var route uint8
		if err := rows.Scan(&hash, &h.Service, &h.Operation, &route, &h.First); err != nil {
			return err
		}
		copy(h.Hash[:], hash)
		h.RouteSource, h.First = schema.RouteSource(route), h.First.UTC()
		return each(&h)
	})
}

// Reversals streams the allowed and denied calls of the objects that were
// denied at least once. Objects are chosen by hash: one too many costs a little
// and changes nothing.
func (s *store) Reversals(ctx context.Context, w schema.Window, keys []rule.ReversalKey, each func(*rule.Reversal) error) error {
	if len(keys) == 0 {
		return nil
	}
	if err := s.loadPresented(ctx); err != nil {
		return err
	}
	hashes := map[schema.PrincipalHash]bool{}
	tuples := make([]string, len(keys))
	for i, k := range keys {
		hashes[k.Hash] = true
		tuples[i] = "(" + bytesLiteral(k.Hash[:]) + ", " + literal(k.Service) + ", " + literal(k.Operation) + ", " + literal(k.Tenant) + ")"
	}
	const object = "if(resource != '', resource, path)"
	where := " FROM " + table.Calls + " WHERE credential IN " + hashList(sortedHashes(hashes)) + within(w) + " AND quality = 0" +
		" AND (credential, service, operation, tenant) IN (" + strings.Join(tuples, ", ") + ")"
	const key = "cityHash64(credential, service, operation, tenant, " + object + ")"
	statement := "SELECT credential, service, operation, tenant, " + object + " AS object, resource, route_source, time, decision, presented" + where +
		fmt.Sprintf(" AND decision IN (%d, %d) AND %s IN (SELECT DISTINCT %s%s AND decision = %d)", schema.DecisionAllowed, schema.DecisionDenied, key, key, where, schema.DecisionDenied) +
		" ORDER BY credential, time, decision, presented"
	var runs rule.Runs
	return s.query(ctx, "read what was denied and then allowed", statement, func(rows driver.Rows) error {
		var a rule.Answer
		var hash, presented string
		var route, decision uint8
		if err := rows.Scan(&hash, &a.Service, &a.Operation, &a.Tenant, &a.Object, &a.Resource, &route, &a.Time, &decision, &presented); err != nil {
			return err
		}
		copy(a.Hash[:], hash)
		set := s.set(schema.PresentedHash([]byte(presented)))
		a.Scopes, a.Groups = set.scopes, set.groups
		a.RouteSource, a.Time, a.Denied = schema.RouteSource(route), a.Time.UTC(), schema.Decision(decision) == schema.DecisionDenied
		if v, ended := runs.Add(&a); ended {
			return each(&v)
		}
		return nil
	})
}

// Origins reads places by day.
func (s *store) Origins(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, each func(*rule.Origin) error) error {
	places, err := daily(table.Places, w, " AND credential IN "+hashList(hashes))
	if err != nil {
		return err
	}
	statement := "SELECT credential, session, client_address, workload, reporter, min(first), max(last), sum(calls) FROM " + places +
		" GROUP BY credential, session, client_address, workload, reporter"
	return s.query(ctx, "read where calls came from", statement, func(rows driver.Rows) error {
		var o rule.Origin
		var hash string
		var reporter uint8
		if err := rows.Scan(&hash, &o.Session, &o.Address, &o.Workload, &reporter, &o.First, &o.Last, &o.Calls); err != nil {
			return err
		}
		copy(o.Hash[:], hash)
		o.Address, o.Reporter = address(o.Address), schema.Reporter(reporter)
		o.First, o.Last = o.First.UTC(), o.Last.UTC()
		return each(&o)
	})
}
