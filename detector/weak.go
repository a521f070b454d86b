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

// Weaknesses answers what calls show of how credentials are made and carried. All
// answers are of accepted calls (allowed, no_effect, denied).
type Weaknesses interface {
	// Exposures lists which of the parameters, given in lower case, stood in the
	// addresses that principals called.
	Exposures(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, parameters []string, each func(*rule.Exposure) error) error
	// Lasting lists the instances of principals' credentials between whose first
	// and last call lies more than a time.
	Lasting(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, over time.Duration, each func(*rule.Lasting) error) error
}

// Exposures reads the names of parameters by day.
func (s *store) Exposures(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, parameters []string, each func(*rule.Exposure) error) error {
	names, err := daily(table.Parameters, w, " AND credential IN "+hashList(hashes))
	if err != nil {
		return err
	}
	statement := "SELECT credential, service, parameter, min(first), max(last) FROM " + names + " WHERE parameter IN (" + literals(parameters) + ")" +
		" GROUP BY credential, service, parameter ORDER BY credential, service, parameter"
	return s.query(ctx, "read which secrets stand in addresses", statement, func(rows driver.Rows) error {
		var e rule.Exposure
		var hash string
		if err := rows.Scan(&hash, &e.Service, &e.Parameter, &e.First, &e.Last); err != nil {
			return err
		}
		copy(e.Hash[:], hash)
		e.First, e.Last = e.First.UTC(), e.Last.UTC()
		return each(&e)
	})
}

// Lasting reads keys and tokens by day.
func (s *store) Lasting(ctx context.Context, w schema.Window, hashes []schema.PrincipalHash, over time.Duration, each func(*rule.Lasting) error) error {
	instances, err := daily(table.Instances, w, " AND credential IN "+hashList(hashes))
	if err != nil {
		return err
	}
	statement := "SELECT credential, credential_instance, min(first) AS f, max(last) AS l FROM " + instances + " WHERE certain = 1" +
		" GROUP BY credential, credential_instance HAVING toUnixTimestamp64Micro(l) - toUnixTimestamp64Micro(f) > " + fmt.Sprint(over.Microseconds()) +
		" ORDER BY credential, credential_instance"
	return s.query(ctx, "read how long single keys and tokens were used", statement, func(rows driver.Rows) error {
		var l rule.Lasting
		var hash string
		if err := rows.Scan(&hash, &l.Instance, &l.First, &l.Last); err != nil {
			return err
		}
		copy(l.Hash[:], hash)
		l.First, l.Last = l.First.UTC(), l.Last.UTC()
		return each(&l)
	})
}

// weak shows the rules what calls show of how credentials are made and carried.
func (r *run) weak(ctx context.Context, c *chunk) error {
	var exposed []schema.PrincipalHash
	lasting := map[time.Duration][]schema.PrincipalHash{}
	var times []time.Duration
	for _, w := range c.work {
		exposed = append(exposed, w.set.WantsExposures()...)
		hashes, over := w.set.WantsLasting()
		if len(hashes) > 0 && lasting[over] == nil {
			times = append(times, over)
		}
		lasting[over] = append(lasting[over], hashes...)
	}
	for part := range slices.Chunk(exposed, maxHashes) {
		err := r.facts.Exposures(ctx, r.folded, part, rule.SecretParameters, func(e *rule.Exposure) error {
			c.byHash[e.Hash].set.Exposure(e)
			return nil
		})
		if err != nil {
			return err
		}
	}
	// A key is as old as its first use, which may be before the window.
	long := schema.Window{From: r.env.Since.Truncate(24 * time.Hour), To: r.folded.To}
	if r.folded.From.Before(long.From) {
		long.From = r.folded.From
	}
	for _, over := range times {
		for part := range slices.Chunk(lasting[over], maxHashes) {
			err := r.facts.Lasting(ctx, long, part, over, func(l *rule.Lasting) error {
				c.byHash[l.Hash].set.Lasting(l)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
