package detector

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
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

// Paces reads the rollup of that name. Its parts are merged as they are read, which
// needs no room for the sketches of a question's hours, and half of the time that
// grouping takes. A month's parts hold all of an hour.
func (s *store) Paces(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, least uint64, each func(*rule.Pace) error) error {
	statement := "SELECT credential, service, operation, " + packed("toUnixTimestamp(hour)", "reporter", "calls", "missed", "finalizeAggregation(objects)") +
		" FROM " + table.Pace + " FINAL WHERE credential IN " + hashList(hashes) + wholeHours(w) +
		" GROUP BY credential, service, operation HAVING max(calls) >= " + fmt.Sprint(least) +
		" ORDER BY credential, service, operation SETTINGS do_not_merge_across_partitions_select_final = 1"
	return s.query(ctx, "read how fast credentials work", statement, func(rows driver.Rows) error {
		var p rule.Pace
		var hash, hours string
		if err := rows.Scan(&hash, &p.Service, &p.Operation, &hours); err != nil {
			return err
		}
		copy(p.Hash[:], hash)
		if p.Hours = ranked([]byte(hours)); !slices.ContainsFunc(p.Hours, func(h rule.PaceHour) bool { return h.Calls >= least }) {
			return nil
		}
		return each(&p)
	})
}

// ranked unpacks the hours of a pace, in their order. Where two reporters saw the
// calls of an hour, the higher-ranking one counts.
func ranked(text []byte) []rule.PaceHour {
	const size = 4 + 1 + 8 + 8 + 8
	type reported struct {
		rule.PaceHour
		reporter byte
	}
	all := make([]reported, 0, len(text)/size)
	for ; len(text) >= size; text = text[size:] {
		number := func(at int) uint64 { return binary.LittleEndian.Uint64(text[at:]) }
		start := time.Unix(int64(binary.LittleEndian.Uint32(text)), 0).UTC()
		all = append(all, reported{rule.PaceHour{Start: start, Calls: number(5), Missed: number(13), Objects: number(21)}, text[4]})
	}
	slices.SortFunc(all, func(a, b reported) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.reporter, b.reporter)) })
	hours := make([]rule.PaceHour, 0, len(all))
	for i := range all {
		if i == 0 || !all[i].Start.Equal(all[i-1].Start) {
			hours = append(hours, all[i].PaceHour)
		}
	}
	return hours
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

// normOps bounds the operations of one question for norms, since everybody's hours
// of them are folded.
const normOps = 64

// RouteNorms reads how often an hour of each operation touched how many objects, of
// everybody and of those that ask, and takes the one from the other: so operations
// are asked about once, however many ask.
func (s *store) RouteNorms(ctx context.Context, w schema.Window, keys []rule.NormKey, each func(*rule.RouteNorm) error) error {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b rule.NormKey) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), slices.Compare(a.Hash[:], b.Hash[:]))
	})
	for len(keys) > 0 {
		n, ops := 0, map[rule.Op]bool{}
		for ; n < len(keys) && n < maxHashes; n++ {
			if ops[keys[n].Op] = true; len(ops) > normOps {
				break
			}
		}
		if err := s.routeNorms(ctx, w, keys[:n], each); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// objectHours counts the hours of an operation by how many objects they touched.
type objectHours struct {
	principals uint64
	hours      map[uint64]uint64
}

func (s *store) routeNorms(ctx context.Context, w schema.Window, keys []rule.NormKey, each func(*rule.RouteNorm) error) error {
	hashes := map[schema.PrincipalHash]bool{}
	var ops, askers []string
	for _, k := range keys {
		hashes[k.Hash] = true
		ops = append(ops, "("+literal(k.Service)+", "+literal(k.Operation)+")")
		askers = append(askers, "("+bytesLiteral(k.Hash[:])+", "+literal(k.Service)+", "+literal(k.Operation)+")")
	}
	read := func(by, where string) (map[rule.NormKey]objectHours, error) {
		found := map[rule.NormKey]objectHours{}
		statement := "SELECT " + by + ", service, operation, toUInt64(uniqExact(credential)), sumMap(map(o, toUInt64(1))) FROM (SELECT credential, service, operation, hour, " + objectsOf +
			" AS o FROM " + table.Pace + " WHERE " + where + wholeHours(w) + " GROUP BY credential, service, operation, hour) GROUP BY 1, service, operation"
		return found, s.query(ctx, "read what operations are used for", statement, func(rows driver.Rows) error {
			var k rule.NormKey
			var hash string
			var one objectHours
			if err := rows.Scan(&hash, &k.Service, &k.Operation, &one.principals, &one.hours); err != nil {
				return err
			}
			copy(k.Hash[:], hash)
			found[k] = one
			return nil
		})
	}
	all, err := read("''", "(service, operation) IN ("+strings.Join(slices.Compact(ops), ", ")+")")
	if err != nil {
		return err
	}
	own, err := read("credential", "credential IN "+hashList(sortedHashes(hashes))+" AND (credential, service, operation) IN ("+strings.Join(askers, ", ")+")")
	if err != nil {
		return err
	}
	for _, k := range keys {
		if n, ok := all[rule.NormKey{Op: k.Op}].without(own[k]); ok {
			n.NormKey = k
			if err := each(&n); err != nil {
				return err
			}
		}
	}
	return nil
}

// without is the norm of all hours but one principal's own; false where there are
// no others. Calls that came in between the two questions may be among its own only.
func (h objectHours) without(own objectHours) (n rule.RouteNorm, ok bool) {
	rest := map[uint64]uint64{}
	for objects, hours := range h.hours {
		if own := own.hours[objects]; hours > own {
			rest[objects] = hours - own
			n.Hours += hours - own
		}
	}
	left := uint64(0.995 * float64(n.Hours))
	for _, objects := range slices.Sorted(maps.Keys(rest)) {
		if n.Most = objects; left < rest[objects] {
			break
		}
		left -= rest[objects]
	}
	n.Principals = h.principals - min(h.principals, own.principals)
	return n, n.Hours > 0
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

// paces asks how fast the subjects of a chunk work, and then, of ever less, what
// else tells whether that is unusual.
func (r *run) paces(ctx context.Context, c *chunk) error {
	w := schema.Window{From: r.env.Since.Truncate(time.Hour), To: r.folded.To}
	for hashes := range slices.Chunk(c.hashesOf((*rule.Set).WantsPaces), maxHashes) {
		if err := r.facts.Paces(ctx, w, hashes, rule.LeastPace, func(p *rule.Pace) error { c.byHash[p.Hash].set.Pace(p); return nil }); err != nil {
			return err
		}
	}
	var norms []rule.NormKey
	for _, one := range c.work {
		norms = append(norms, one.set.Norms()...)
	}
	if len(norms) > 0 {
		if err := r.facts.RouteNorms(ctx, w, norms, func(n *rule.RouteNorm) error { c.byHash[n.Hash].set.Norm(n); return nil }); err != nil {
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
