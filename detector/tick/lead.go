package tick

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/scopedrift/scopedrift/schema/table"
)

// Lead takes or keeps the lead, and returns the term since which it was not lost,
// 0 where another has it. It fails where detectors work that divide the store in
// another way: some subject would be judged by two.
//
// A term is taken by inserting its row under a token that names nothing but the
// shard and the term. The store drops all but the first insert of a token, so
// that of several that try one has the row; who that is, is read.
func (t *Table) Lead(ctx context.Context) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := time.Now()
	term, holder, until, now, err := t.term(ctx)
	if err != nil {
		return 0, err
	}
	if holder != t.Holder {
		t.begun = 0
	}
	switch {
	case t.begun > 0 && until.Sub(now) > t.lease()/2:
		t.confirmed = asked
		return t.begun, nil
	case holder != t.Holder && until.After(now):
		return 0, nil
	}
	if err := t.alone(ctx); err != nil {
		t.begun = 0
		return 0, err
	}
	// A lead that Take took, or one that another layout disputed, goes on as it is.
	if holder != t.Holder || until.Sub(now) <= t.lease()/2 {
		asked = time.Now()
		if err := t.claim(ctx, term+1, now, t.lease()); err != nil {
			return 0, err
		}
		var got uint64
		if got, holder, _, _, err = t.term(ctx); err != nil {
			return 0, err
		}
		if holder != t.Holder || got != term+1 {
			t.begun = 0
			return 0, nil
		}
		term = got
		if term%oldTerms == 0 {
			// What cannot be deleted costs some room, and is tried again with later terms.
			_ = t.forget(ctx, term)
		}
		// Another layout may have been begun at this very time.
		if err := t.alone(ctx); err != nil {
			t.begun = 0
			return 0, err
		}
	}
	if t.begun == 0 {
		t.begun = term
	}
	t.confirmed = asked
	return t.begun, nil
}

// oldTerms is how many terms are kept, and after how many the older ones are
// deleted: a lead that is kept makes a term every quarter of a minute, for ever.
// The last one must stay, so that no term comes again.
const oldTerms = 100

// forget deletes terms that are long over.
func (t *Table) forget(ctx context.Context, term uint64) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"lightweight_deletes_sync": 0}))
	return t.Conn.Exec(ctx, "DELETE FROM "+table.Leases+" WHERE shard = ? AND term + ? <= ?", t.Shard.String(), uint64(oldTerms), term)
}

// Leads reports whether this detector surely has the lead: it was confirmed less
// than half of the lease ago.
func (t *Table) Leads() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begun > 0 && time.Since(t.confirmed) < t.lease()/2
}

// Keep renews the lead, whenever this detector has it, until ctx ends: steps may
// be longer than the lease, and further apart.
func (t *Table) Keep(ctx context.Context) {
	ticker := time.NewTicker(t.lease() / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t.mu.Lock()
		has := t.begun > 0
		t.mu.Unlock()
		if has {
			// What fails here the next step meets, too, and tells.
			_, _ = t.Lead(ctx)
		}
	}
}

// Take takes the lead from whoever has it: for who knows that the holder is gone.
func (t *Table) Take(ctx context.Context) error {
	term, holder, _, now, err := t.term(ctx)
	if err != nil || holder == t.Holder {
		return err
	}
	return t.claim(ctx, term+1, now, t.lease())
}

// Resign gives the lead up, so that another need not wait for its end.
func (t *Table) Resign(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = 0
	term, holder, _, now, err := t.term(ctx)
	if err != nil || holder != t.Holder {
		return err
	}
	return t.claim(ctx, term+1, now, -t.lease())
}

// term reads the highest term, and the server's time.
func (t *Table) term(ctx context.Context) (term uint64, holder string, until, now time.Time, err error) {
	err = t.Conn.QueryRow(ctx, "SELECT max(term), argMax(holder, term), argMax(until, term), now64(6, 'UTC') FROM "+table.Leases+" WHERE shard = ?", t.Shard.String()).
		Scan(&term, &holder, &until, &now)
	if err != nil {
		err = fmt.Errorf("read who detects on shard %q: %w", t.Shard, err)
	}
	return term, holder, until, now, err
}

// alone fails where the lead of a shard of another layout is held.
func (t *Table) alone(ctx context.Context) error {
	layout := "shard = '" + t.Shard.String() + "'"
	if !t.Shard.Whole() {
		layout = fmt.Sprintf("endsWith(shard, '/%d')", t.Shard.Count)
	}
	var other string
	err := t.Conn.QueryRow(ctx, "SELECT min(shard) FROM (SELECT shard, argMax(until, term) AS upto FROM "+table.Leases+
		" WHERE NOT "+layout+" GROUP BY shard) WHERE upto > now64(6, 'UTC')").Scan(&other)
	if err != nil {
		return fmt.Errorf("look for detectors of other shards: %w", err)
	}
	if other != "" {
		return &Divided{t.Shard.String(), other}
	}
	return nil
}

// Divided is the error of a detector while others work that divide the store in
// another way.
type Divided struct{ Shard, Other string }

// Error says what to do.
func (d *Divided) Error() string {
	return fmt.Sprintf("this detector is of shard %s, and one of shard %s works on the same store: give all of them the same N in --shard I/N "+
		"(one that died is forgotten when its lease has ended)", d.Shard, d.Other)
}

func (t *Table) claim(ctx context.Context, term uint64, now time.Time, lease time.Duration) error {
	shard := t.Shard.String()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": fmt.Sprintf("lease/%d/%s/%d", len(shard), shard, term), "async_insert": 0, "insert_deduplicate": 1,
	}))
	batch, err := t.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Leases+" (shard, term, holder, until, written)")
	if err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", shard, err)
	}
	defer batch.Close()
	if err := batch.Append(shard, term, t.Holder, now.Add(lease), now); err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", shard, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("take the lead of shard %q: %w", shard, err)
	}
	return nil
}
