package detector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// wholeHours writes that an hour lies in the window with all of its minutes: the
// rollup does not tell a part of one.
func wholeHours(w schema.Window) string {
	from := w.From.UTC().Truncate(time.Hour)
	if from.Before(w.From) {
		from = from.Add(time.Hour)
	}
	return " AND hour >= " + moment(from) + " AND hour < " + moment(w.To.UTC().Truncate(time.Hour))
}

// objectsOf merges the sketches of distinct objects.
const objectsOf = "uniqCombinedMerge(12)(objects)"

// Paces reads the rollup of that name. Its sketches are what costs, so it is found
// out first which operations have so many calls on a day, and of those in an hour:
// few. Where two reporters saw one call, the higher-ranking one counts.
func (s *store) Paces(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, least uint64, each func(*rule.Pace) error) error {
	busy := "SELECT credential, service, operation FROM " + table.UseDay + " WHERE credential IN " + hashList(hashes) +
		fmt.Sprintf(" AND decision IN (%d, %d, %d)", schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied) +
		" GROUP BY credential, service, operation, reporter, day HAVING sum(calls) >= " + fmt.Sprint(least)
	busy = "SELECT credential, service, operation FROM " + table.Pace + " WHERE credential IN " + hashList(hashes) + wholeHours(w) +
		" AND (credential, service, operation) IN (" + busy + ") GROUP BY credential, service, operation, reporter, hour HAVING sum(calls) >= " + fmt.Sprint(least)
	hours := "SELECT credential, service, operation, reporter, hour, sum(calls) AS c, sum(missed) AS m, " + objectsOf + " AS o FROM " + table.Pace +
		" WHERE credential IN " + hashList(hashes) + wholeHours(w) + " AND (credential, service, operation) IN (" + busy + ")" +
		" GROUP BY credential, service, operation, reporter, hour"
	ranked := "SELECT credential, service, operation, toUnixTimestamp(hour) AS h, argMin((c, m, o), reporter) AS r FROM (" + hours +
		") GROUP BY credential, service, operation, h"
	statement := "SELECT credential, service, operation, groupArray(h), groupArray(r.1), groupArray(r.2), groupArray(r.3) FROM (" + ranked +
		") GROUP BY credential, service, operation HAVING max(r.1) >= " + fmt.Sprint(least) + " ORDER BY credential, service, operation"
	return s.query(ctx, "read how fast credentials work", statement, func(rows driver.Rows) error {
		var p rule.Pace
		var hash string
		var hours []uint32
		var calls, missed, objects []uint64
		if err := rows.Scan(&hash, &p.Service, &p.Operation, &hours, &calls, &missed, &objects); err != nil {
			return err
		}
		copy(p.Hash[:], hash)
		p.Hours = make([]rule.PaceHour, len(hours))
		for i, h := range hours {
			p.Hours[i] = rule.PaceHour{Start: time.Unix(int64(h), 0).UTC(), Calls: calls[i], Missed: missed[i], Objects: objects[i]}
		}
		slices.SortFunc(p.Hours, func(a, b rule.PaceHour) int { return a.Start.Compare(b.Start) })
		return each(&p)
	})
}

// Visits reads the calls of some hours, each stored call once.
func (s *store) Visits(ctx context.Context, keys []rule.VisitKey, each func(*rule.Visit) error) error {
	if len(keys) == 0 {
		return nil
	}
	hashes := map[schema.PrincipalHash]bool{}
	tuples := make([]string, len(keys))
	from, to := keys[0].Hour, keys[0].Hour
	for i, k := range keys {
		hashes[k.Hash] = true
		tuples[i] = "(" + bytesLiteral(k.Hash[:]) + ", " + literal(k.Service) + ", " + literal(k.Operation) + ", " + moment(k.Hour) + ")"
		if k.Hour.Before(from) {
			from = k.Hour
		}
		if k.Hour.After(to) {
			to = k.Hour
		}
	}
	statement := "SELECT DISTINCT credential, service, operation, time, if(resource != '', resource, path) AS object, toUInt8(decision != " + fmt.Sprint(uint8(schema.DecisionAllowed)) +
		") AS missed, id FROM " + table.Calls + " WHERE credential IN " + hashList(sortedHashes(hashes)) + within(schema.Window{From: from, To: to.Add(time.Hour)}) +
		fmt.Sprintf(" AND decision IN (%d, %d, %d)", schema.DecisionAllowed, schema.DecisionNoEffect, schema.DecisionDenied) +
		" AND (credential, service, operation, toStartOfHour(time)) IN (" + strings.Join(tuples, ", ") + ") ORDER BY credential, service, operation, time, object, missed"
	return s.query(ctx, "read the calls of busy hours", statement, func(rows driver.Rows) error {
		var v rule.Visit
		var hash, id string
		var missed uint8
		if err := rows.Scan(&hash, &v.Service, &v.Operation, &v.Time, &v.Object, &missed, &id); err != nil {
			return err
		}
		copy(v.Hash[:], hash)
		v.Time, v.Missed = v.Time.UTC(), missed == 1
		v.Hour = v.Time.Truncate(time.Hour)
		return each(&v)
	})
}

// RouteNorms reads how many objects the hours of operations touch.
func (s *store) RouteNorms(ctx context.Context, w schema.Window, keys []rule.NormKey, each func(*rule.RouteNorm) error) error {
	for _, k := range keys {
		statement := "SELECT toUInt64(arraySort(groupArray(o))[least(count(), 1 + toUInt64(floor(0.995 * count())))]), toUInt64(uniqExact(credential)), toUInt64(count()) FROM (" +
			"SELECT credential, hour, " + objectsOf + " AS o FROM " + table.Pace + " WHERE service = " + literal(k.Service) + " AND operation = " + literal(k.Operation) +
			" AND credential != " + bytesLiteral(k.Hash[:]) + wholeHours(w) + " GROUP BY credential, hour) HAVING count() > 0"
		err := s.query(ctx, "read what operations are used for", statement, func(rows driver.Rows) error {
			n := rule.RouteNorm{NormKey: k}
			if err := rows.Scan(&n.Most, &n.Principals, &n.Hours); err != nil {
				return err
			}
			return each(&n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Surges reads who else was busy at a service in an hour.
func (s *store) Surges(ctx context.Context, w schema.Window, keys []rule.SurgeKey, each func(*rule.Surge) error) error {
	for _, k := range keys {
		hours := "SELECT credential, hour, max(c) AS n FROM (SELECT credential, reporter, hour, sum(calls) AS c FROM " + table.Pace + " WHERE service = " + literal(k.Service) +
			wholeHours(w) + " GROUP BY credential, reporter, hour) GROUP BY credential, hour"
		statement := "SELECT toUInt64(countIf(a > 0)), toUInt64(countIf(a > 0 AND (others = 0 OR a * others >= 3 * rest))) FROM (SELECT credential, sumIf(n, hour = " + moment(k.Hour) +
			") AS a, sumIf(n, hour != " + moment(k.Hour) + ") AS rest, countIf(hour != " + moment(k.Hour) + ") AS others FROM (" + hours + ") GROUP BY credential)"
		err := s.query(ctx, "read who else was busy", statement, func(rows driver.Rows) error {
			one := rule.Surge{SurgeKey: k}
			if err := rows.Scan(&one.Active, &one.Raised); err != nil {
				return err
			}
			return each(&one)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pacedHashes bounds the principals of one question for paces: a sketch for every
// hour of every operation must fit the engine's memory, a month of sixty of them
// does in some hundred megabytes.
const pacedHashes = 64

// paces asks how fast the subjects of a chunk work, and then, of ever less, what
// else tells whether that is unusual.
func (r *run) paces(ctx context.Context, c *chunk) error {
	w := schema.Window{From: r.env.Since.Truncate(time.Hour), To: r.folded.To}
	for hashes := range slices.Chunk(c.hashesOf((*rule.Set).WantsPaces), pacedHashes) {
		if err := r.facts.Paces(ctx, w, hashes, rule.LeastPace, func(p *rule.Pace) error { c.byHash[p.Hash].set.Pace(p); return nil }); err != nil {
			return err
		}
	}
	for _, one := range c.work {
		if err := r.facts.RouteNorms(ctx, w, one.set.Norms(), func(n *rule.RouteNorm) error { one.set.Norm(n); return nil }); err != nil {
			return err
		}
	}
	var keys []rule.VisitKey
	for _, one := range c.work {
		keys = append(keys, one.set.Visits()...)
	}
	for part := range slices.Chunk(keys, maxHashes) {
		if err := r.facts.Visits(ctx, part, func(v *rule.Visit) error { c.byHash[v.Hash].set.Visit(v); return nil }); err != nil {
			return err
		}
	}
	for _, one := range c.work {
		if err := r.facts.Surges(ctx, w, one.set.Surges(), func(s *rule.Surge) error { one.set.Surge(s); return nil }); err != nil {
			return err
		}
	}
	return nil
}
