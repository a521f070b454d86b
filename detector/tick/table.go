package tick

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Table is the [Store] of a ClickHouse. All of its times are of the server's
// clock, so that those of several detectors need not agree. Lead, Keep and Leads
// may be called from any goroutine.
type Table struct {
	Conn driver.Conn
	// Shard is what the lead is of, Holder this detector, unique among all.
	Shard  detector.Shard
	Holder string
	// Lease is how long the lead is held without being renewed; default LeaseTime.
	Lease time.Duration
	// Load reads all findings, Write writes some over what is known of them as of a
	// time, which rises with each call.
	Load  func(ctx context.Context) ([]schema.Finding, error)
	Write func(ctx context.Context, findings []schema.Finding, written time.Time) error

	mu sync.Mutex
	// begun is the term since which the lead was not lost, 0 without the lead;
	// confirmed is when that was last seen to be so.
	begun     uint64
	confirmed time.Time
	// foreign is the latest writing of a finding of another shard that is known.
	foreign time.Time
}

// LeaseTime is how long the lead is held without being renewed, where nothing else
// is said. What is done under the lead is done within half of the time since it
// was last confirmed.
const LeaseTime = 30 * time.Second

func (t *Table) lease() time.Duration {
	if t.Lease > 0 {
		return t.Lease
	}
	return LeaseTime
}

// Touched lists of which principals calls were stored at or after a time.
func (t *Table) Touched(ctx context.Context, since time.Time) ([]Touch, error) {
	rows, err := t.Conn.Query(ctx, "SELECT credential, toStartOfMinute(stored) AS begin, count() FROM "+touchedSince(since)+" GROUP BY credential, begin")
	if err != nil {
		return nil, fmt.Errorf("read whose calls are new: %w", err)
	}
	defer rows.Close()
	var list []Touch
	for rows.Next() {
		var hash string
		var one Touch
		if err := rows.Scan(&hash, &one.Begin, &one.Times); err != nil {
			return nil, fmt.Errorf("read whose calls are new: %w", err)
		}
		copy(one.Principal[:], hash)
		one.Begin = one.Begin.UTC()
		list = append(list, one)
	}
	return list, rows.Err()
}

// touchedSince is what of the table Touched speaks of.
func touchedSince(since time.Time) string {
	from := "toDateTime64('" + text(since) + "', 6, 'UTC')"
	if since.IsZero() {
		from = fmt.Sprintf("toStartOfMinute(now('UTC')) - toIntervalSecond(%d)", int(Overlap.Seconds()))
	}
	return table.Touched + " WHERE stored >= " + from
}

// News sums up, for each principal that Touched lists, the different uses of its
// life, and the different places of the last days: a leaked credential does what it
// always did, from elsewhere.
func (t *Table) News(ctx context.Context, since time.Time) (map[schema.PrincipalHash]uint64, error) {
	of := " WHERE credential IN (SELECT DISTINCT credential FROM " + touchedSince(since) + ")"
	statement := "SELECT credential, groupBitXor(h) FROM (" +
		"SELECT DISTINCT credential, cityHash64(service, operation, tenant, decision, certain, presented) AS h FROM " + table.UseLife + of +
		" UNION ALL SELECT DISTINCT credential, cityHash64(workload, client_address, user_agent) AS h FROM " + table.Places + of +
		" AND day >= toDate(now('UTC')) - 1) GROUP BY credential"
	rows, err := t.Conn.Query(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("read who did something new: %w", err)
	}
	defer rows.Close()
	list := map[schema.PrincipalHash]uint64{}
	for rows.Next() {
		var hash string
		var news uint64
		if err := rows.Scan(&hash, &news); err != nil {
			return nil, fmt.Errorf("read who did something new: %w", err)
		}
		list[schema.PrincipalHash([]byte(hash))] = news
	}
	return list, rows.Err()
}

// Findings lists all findings.
func (t *Table) Findings(ctx context.Context) ([]schema.Finding, error) { return t.Load(ctx) }

// Save writes findings over what is known of them.
func (t *Table) Save(ctx context.Context, findings []schema.Finding) error {
	lead, err := t.Lead(ctx)
	if err != nil {
		return err
	}
	if lead == 0 {
		return ErrLost
	}
	var at time.Time
	err = t.Conn.QueryRow(ctx, "SELECT greatest(now64(6, 'UTC'), max(written) + toIntervalMicrosecond(1)) FROM "+table.Findings).Scan(&at)
	if err != nil {
		return fmt.Errorf("read the time of the last finding: %w", err)
	}
	return t.Write(ctx, findings, at.UTC())
}

// Scores lists the scores of other shards that stand, unless nothing was written
// by those since it last did.
func (t *Table) Scores(ctx context.Context) (list []schema.Finding, changed bool, err error) {
	if t.Shard.Whole() {
		return nil, false, nil
	}
	// Two shards may write at one time, so what is as late as the latest is read.
	var n uint64
	var latest time.Time
	others := " WHERE NOT (" + t.Shard.Where("credential") + ")"
	err = t.Conn.QueryRow(ctx, "SELECT count(), max(written) FROM "+table.Findings+others).Scan(&n, &latest)
	if err != nil {
		return nil, false, fmt.Errorf("look for scores of other shards: %w", err)
	}
	if n == 0 || latest.Equal(t.foreign) {
		return nil, false, nil
	}
	rows, err := t.Conn.Query(ctx, "SELECT body FROM "+table.Findings+" FINAL"+others+" AND status != ? AND position(body, '\"score\":{') > 0", uint8(schema.StatusResolved))
	if err != nil {
		return nil, false, fmt.Errorf("read the scores of other shards: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return nil, false, fmt.Errorf("read the scores of other shards: %w", err)
		}
		var f schema.Finding
		if err := json.Unmarshal([]byte(body), &f); err != nil {
			return nil, false, fmt.Errorf("read a stored finding: %w", err)
		}
		if f.Score != nil {
			list = append(list, f)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read the scores of other shards: %w", err)
	}
	t.foreign = latest
	return list, true, nil
}

// Suppressions lists what is silenced at a time.
func (t *Table) Suppressions(ctx context.Context, at time.Time) (map[schema.FindingID]Suppression, error) {
	rows, err := t.Conn.Query(ctx, "SELECT id, reason, until FROM "+table.Suppressions+" FINAL WHERE until > toDateTime64(?, 6, 'UTC')", text(at))
	if err != nil {
		return nil, fmt.Errorf("read which findings are suppressed: %w", err)
	}
	defer rows.Close()
	list := map[schema.FindingID]Suppression{}
	for rows.Next() {
		var id string
		var s Suppression
		if err := rows.Scan(&id, &s.Reason, &s.Until); err != nil {
			return nil, fmt.Errorf("read which findings are suppressed: %w", err)
		}
		list[schema.FindingID(id)] = s
	}
	return list, rows.Err()
}

// Suppress silences a finding until a time; a time that is past ends that.
func Suppress(ctx context.Context, conn driver.Conn, id schema.FindingID, s Suppression) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+table.Suppressions+" (id, reason, until, written)")
	if err != nil {
		return fmt.Errorf("suppress %s: %w", id, err)
	}
	defer batch.Close()
	if err := batch.Append(string(id), s.Reason, s.Until.UTC(), time.Now().UTC()); err != nil {
		return fmt.Errorf("suppress %s: %w", id, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("suppress %s: %w", id, err)
	}
	return nil
}

// text is a time as a statement has it; a parameter would be of seconds.
func text(at time.Time) string {
	if at.Unix() < 0 {
		at = time.Unix(0, 0)
	}
	return at.UTC().Format("2006-01-02 15:04:05.000000")
}
