package detector

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Firsts reads lifetime use, once by operation and once by tenant: together they
// are far fewer than their combinations.
func (s *store) Firsts(ctx context.Context, before time.Time, each func(*rule.First) error) error {
	where := fmt.Sprintf(" FROM %s WHERE decision IN (%d, %d)", table.UseLife, schema.DecisionAllowed, schema.DecisionNoEffect)
	operation := fmt.Sprintf("if(route_source = %d, '', operation)", schema.RouteNone)
	for _, statement := range []string{
		"SELECT credential, service, " + operation + " AS o, '' AS t, min(first) AS f" + where + " GROUP BY credential, service, o HAVING f < " + instant(before),
		"SELECT credential, '' AS s, '' AS o, tenant, min(first) AS f" + where + " AND tenant != '' GROUP BY credential, tenant HAVING f < " + instant(before),
	} {
		err := s.query(ctx, "read what credentials did first", statement, func(rows driver.Rows) error {
			var f rule.First
			var hash string
			if err := rows.Scan(&hash, &f.Service, &f.Operation, &f.Tenant, &f.Time); err != nil {
				return err
			}
			copy(f.Hash[:], hash)
			f.Time = f.Time.UTC()
			return each(&f)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// habits reads what habits are older than the window, and, where a rule wants it,
// what everybody does.
func (r *run) habits(ctx context.Context, c *chunk) error {
	if r.env.Since.Before(r.folded.From) {
		for hashes := range slices.Chunk(c.hashes, maxHashes) {
			q := RowQuery{Window: schema.Window{From: r.env.Since.Truncate(24 * time.Hour), To: r.folded.From}, Hashes: hashes}
			if err := r.facts.Rows(ctx, q, func(row *rule.Row) error { c.byHash[row.Hash].set.Earlier(row); return nil }); err != nil {
				return err
			}
		}
	}
	if r.env.Population != nil || !slices.ContainsFunc(c.work, func(w *subjectWork) bool { return w.set.WantsPopulation() }) {
		return nil
	}
	people := rule.NewPopulation(r.env, r.everyone)
	if err := r.facts.Firsts(ctx, r.window.To, func(f *rule.First) error { people.First(f); return nil }); err != nil {
		return err
	}
	if err := r.facts.Lives(ctx, r.window.To, func(l *rule.Life) error { people.Life(l); return nil }); err != nil {
		return err
	}
	people.Close()
	r.env.Population = people
	return nil
}
