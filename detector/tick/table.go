package tick

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// Table is the [Store] of a ClickHouse. All of its times are of the server's
// clock, so that those of several detectors need not agree.
type Table struct {
	Conn driver.Conn
	// Shard is what the lead is of, Holder this detector; both unique for their kind.
	Shard, Holder string
	// Load reads all findings, Write writes some over what is known of them as of a
	// time, which rises with each call.
	Load  func(ctx context.Context) ([]schema.Finding, error)
	Write func(ctx context.Context, findings []schema.Finding, written time.Time) error
}

// LeaseTime is how long the lead is held without being renewed: a step has to end
// within half of it, or the lead is asked for again before it is written.
const LeaseTime = 30 * time.Second

// Touched lists of which principals calls were stored at or after a time.
func (t *Table) Touched(ctx context.Context, since time.Time) ([]Touch, error) {
	from := "toDateTime64('" + text(since) + "', 6, 'UTC')"
	if since.IsZero() {
		from = fmt.Sprintf("toStartOfMinute(now('UTC')) - toIntervalSecond(%d)", int(Overlap.Seconds()))
	}
	rows, err := t.Conn.Query(ctx, "SELECT credential, toStartOfMinute(stored) AS begin, count() FROM "+table.Touched+
		" WHERE stored >= "+from+" GROUP BY credential, begin")
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

// Findings lists all findings.
func (t *Table) Findings(ctx context.Context) ([]schema.Finding, error) { return t.Load(ctx) }

// Save writes findings over what is known of them.
func (t *Table) Save(ctx context.Context, findings []schema.Finding) error {
	lead, err := t.Lead(ctx)
	if err != nil {
		return err
	}
	if !lead {
		return ErrLost
	}
	var at time.Time
	err = t.Conn.QueryRow(ctx, "SELECT greatest(now64(6, 'UTC'), max(written) + toIntervalMicrosecond(1)) FROM "+table.Findings).Scan(&at)
	if err != nil {
		return fmt.Errorf("read the time of the last finding: %w", err)
	}
	return t.Write(ctx, findings, at.UTC())
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

// Lead takes or keeps the lead.
//
// A term is taken by inserting its row under a token that names nothing but the
// shard and the term. The store drops all but the first insert of a token, so
// that of several that try one has the row; who that is, is read.
func (t *Table) Lead(ctx context.Context) (bool, error) {
	term, holder, until, now, err := t.term(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case holder == t.Holder && until.Sub(now) > LeaseTime/2:
		return true, nil
	case holder != t.Holder && until.After(now):
		return false, nil
	}
	if err := t.claim(ctx, term+1, now); err != nil {
		return false, err
	}
	got, holder, _, _, err := t.term(ctx)
	return err == nil && got == term+1 && holder == t.Holder, err
}

// Take takes the lead from whoever has it: for who knows that the holder is gone.
func (t *Table) Take(ctx context.Context) error {
	term, holder, _, now, err := t.term(ctx)
	if err != nil || holder == t.Holder {
		return err
	}
	return t.claim(ctx, term+1, now)
}

// term reads the highest term, and the server's time.
func (t *Table) term(ctx context.Context) (term uint64, holder string, until, now time.Time, err error) {
	err = t.Conn.QueryRow(ctx, "SELECT max(term), argMax(holder, term), argMax(until, term), now64(6, 'UTC') FROM "+table.Leases+" WHERE shard = ?", t.Shard).
		Scan(&term, &holder, &until, &now)
	if err != nil {
		err = fmt.Errorf("read who detects on shard %q: %w", t.Shard, err)
	}
	return term, holder, until, now, err
}

func (t *Table) claim(ctx context.Context, term uint64, now time.Time) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": fmt.Sprintf("lease/%d/%s/%d", len(t.Shard), t.Shard, term), "async_insert": 0, "insert_deduplicate": 1,
	}))
	batch, err := t.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Leases+" (shard, term, holder, until, written)")
	if err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", t.Shard, err)
	}
	defer batch.Close()
	if err := batch.Append(t.Shard, term, t.Holder, now.Add(LeaseTime), now); err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", t.Shard, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", t.Shard, err)
	}
	return nil
}

// Resign gives the lead up, so that another need not wait for its end.
func (t *Table) Resign(ctx context.Context) error {
	term, holder, _, now, err := t.term(ctx)
	if err != nil || holder != t.Holder {
		return err
	}
	return t.claim(ctx, term+1, now.Add(-LeaseTime))
}

// text is a time as a statement has it; a parameter would be of seconds.
func text(at time.Time) string {
	if at.Unix() < 0 {
		at = time.Unix(0, 0)
	}
	return at.UTC().Format("2006-01-02 15:04:05.000000")
}
