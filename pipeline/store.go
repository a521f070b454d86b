package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

const (
	firstWait = 100 * time.Millisecond
	mostWait  = 10 * time.Second
)

// store inserts the planned batch, however often it takes, and confirms it. What
// is planned is never left out: a lane stands still rather.
func (l *lane) store() error {
	b, in := l.batch, l.in
	began := in.cfg.Now()
	b.planned = began
	err := l.insist("store a batch of "+l.topic, l.attempt)
	if err != nil {
		return err
	}
	if err := l.Commit(l.finish, b.plan.next, ""); err != nil {
		return err
	}
	stored, _ := b.size()
	if in.cfg.Stored != nil {
		in.cfg.Stored(in.cfg.Now().Sub(began), stored)
	}
	if b.lastTime.After(l.latest) {
		l.latest = b.lastTime
	}
	in.count(func(s *Stats) {
		s.Batches++
		s.Calls += uint64(stored)
		s.Accounts += uint64(len(b.accounts))
		s.Unmapped += b.unmapped
		s.Repeated += b.repeated
		s.Copied += b.copied
		s.Missing += b.missing
		s.Lost += b.lost
		for reason, n := range b.dead {
			s.Dead[reason] += n
		}
		if b.replayed {
			s.Replayed++
		}
		s.LastStored = in.cfg.Now()
		if b.lastTime.After(s.LastCall) {
			s.LastCall = b.lastTime
		}
	})
	l.drop()
	return nil
}

// insist does a thing until it succeeds or the lane's time is over.
func (l *lane) insist(what string, do func(context.Context) error) error {
	in := l.in
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		select {
		case in.inserts <- struct{}{}:
		case <-l.finish.Done():
			return l.finish.Err()
		}
		ctx, cancel := context.WithTimeout(l.finish, in.cfg.Attempt)
		err := do(ctx)
		cancel()
		<-in.inserts
		if err == nil {
			in.started(l.partition)
			return nil
		}
		if l.finish.Err() != nil {
			return l.finish.Err()
		}
		in.count(func(s *Stats) { s.Retries++ })
		pause := wait
		if heals(err) {
			in.report(fmt.Errorf("%s, partition %d: it is tried again: %w", what, l.partition, clickhouse.Explain(err)))
		} else {
			err = fmt.Errorf("%s, partition %d stands still until this is put right, and is tried again every %v: %w", what, l.partition, in.cfg.Again, clickhouse.Explain(err))
			in.stopped(l.partition, err)
			in.report(err)
			pause = in.cfg.Again
		}
		select {
		case <-time.After(pause):
		case <-l.finish.Done():
			return l.finish.Err()
		}
	}
}

// attempt stores the batch once. Each step may be repeated: the rows of ranges
// and ledger are the same each time, letters have the key of their message, and
// the insert has its token.
func (l *lane) attempt(ctx context.Context) error {
	b, in := l.batch, l.in
	if err := l.note(ctx, "planned"); err != nil {
		return err
	}
	if len(b.letters) > 0 && in.cfg.DeadLetters != nil {
		if err := in.cfg.DeadLetters.Put(ctx, b.letters...); err != nil {
			return fmt.Errorf("put %d messages aside: %w", len(b.letters), err)
		}
	}
	if err := l.insert(ctx); err != nil {
		return err
	}
	if err := l.ledger(ctx); err != nil {
		return err
	}
	return l.note(ctx, "confirmed")
}

// note writes the range in the given state.
func (l *lane) note(ctx context.Context, state string) error {
	b := l.batch
	rows, err := l.in.cfg.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Ranges+" (topic, partition, first_offset, next_offset, plan,"+
		" calls, accounts, repeated, lost, missing, dead, producers, first_time, last_time, lost_from, lost_to, state, written)")
	if err != nil {
		return fmt.Errorf("write the ranges: %w", err)
	}
	defer rows.Close()
	from, to := l.gone()
	calls, _ := b.size()
	written := b.planned // the same for each attempt: how long it takes is told by it
	if state != "planned" {
		written = l.in.cfg.Now()
	}
	err = rows.Append(l.topic, uint32(l.partition), b.plan.first, b.plan.next, b.plan.nonce,
		uint64(calls), uint64(len(b.accounts)), b.repeated+b.copied, b.lost, b.missing, b.dead, b.producers,
		block.Storable(b.firstTime), block.Storable(b.lastTime), block.Storable(from), block.Storable(to), state, written.UTC())
	if err == nil {
		err = rows.Send()
	}
	if err != nil {
		return fmt.Errorf("write the ranges: %w", err)
	}
	return nil
}

// gone is the time that the lost and missing messages are of: between the calls
// before and those behind them. Where nothing came behind them it is until now.
func (l *lane) gone() (from, to time.Time) {
	b := l.batch
	if b.lost == 0 && b.missing == 0 {
		return from, to
	}
	if from, to = b.goneFrom, b.goneTo; b.gap || to.IsZero() {
		to = l.in.cfg.Now()
	}
	if from.IsZero() || from.After(to) {
		from = to
	}
	return from, to
}

// ledger writes what collectors said of their inputs.
func (l *lane) ledger(ctx context.Context) error {
	if len(l.batch.accounts) == 0 {
		return nil
	}
	rows, err := l.in.cfg.Conn.PrepareBatch(ctx, "INSERT INTO "+table.Ledger+
		" (run, source_type, source_name, first_unit, next_unit, calls, skipped, first_time, last_time, done, followed, state, written)")
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	defer rows.Close()
	now := l.in.cfg.Now().UTC()
	for _, a := range l.batch.accounts {
		skipped := a.Skipped
		if skipped == nil {
			skipped = map[string]uint64{}
		}
		// The run is the producer's life: ranges of two collectors that read
		// inputs of one name stay apart.
		err := rows.Append("kafka-"+strconv.FormatUint(a.epoch, 16), a.Input.Format, a.Input.Name, a.FirstUnit, a.NextUnit, a.Calls, skipped,
			block.Storable(clamp(a.FirstTime)), block.Storable(clamp(a.LastTime)), block.Bit(a.Done), uint8(1), "confirmed", now)
		if err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
	}
	if err := rows.Send(); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// clamp brings a time into the years that the store holds.
func clamp(t time.Time) time.Time {
	switch {
	case t.Before(firstStorable):
		return time.Time{}
	case !t.Before(endStorable):
		return endStorable.Add(-time.Microsecond)
	}
	return t
}

// recall reads the last numbers of producers before an offset, and until when
// there are calls.
func (l *lane) recall(offset int64) error {
	return l.insist("read the ranges of "+l.topic, func(ctx context.Context) error {
		l.seen = sequence{}
		where := " FROM (SELECT * FROM " + table.Ranges + " WHERE topic = ? AND partition = ? AND state = 'confirmed' AND next_offset <= ?" +
			" ORDER BY next_offset DESC LIMIT 20000)"
		rows, err := l.in.cfg.Conn.Query(ctx, "SELECT epoch, max(number)"+where+" ARRAY JOIN mapKeys(producers) AS epoch, mapValues(producers) AS number"+
			" GROUP BY epoch ORDER BY max(next_offset) DESC LIMIT "+strconv.Itoa(mostProducers/2), l.topic, uint32(l.partition), offset)
		if err != nil {
			return fmt.Errorf("read the ranges: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var epoch, number uint64
			if err := rows.Scan(&epoch, &number); err != nil {
				return fmt.Errorf("read the ranges: %w", err)
			}
			l.seen[epoch] = number
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read the ranges: %w", err)
		}
		var latest time.Time
		if err := l.in.cfg.Conn.QueryRow(ctx, "SELECT max(last_time)"+where, l.topic, uint32(l.partition), offset).Scan(&latest); err != nil {
			return fmt.Errorf("read the ranges: %w", err)
		}
		if latest.Unix() > 0 {
			l.latest = latest.UTC()
		}
		return nil
	})
}

// window is how far back from the latest call ids are read that a producer may
// send again after a crash.
const window = time.Hour

// recent remembers the ids of the latest stored calls. Those of other partitions
// are among them: nothing in the store tells which those are.
func (l *lane) recent() error {
	if l.latest.IsZero() {
		return nil
	}
	return l.insist("read the ids of "+l.topic, func(ctx context.Context) error {
		rows, err := l.in.cfg.Conn.Query(ctx, fmt.Sprintf("SELECT id FROM (SELECT id, time FROM %s WHERE time >= ? ORDER BY time DESC LIMIT %d) ORDER BY time",
			table.Calls, l.in.share()/2), l.latest.Add(-window))
		if err != nil {
			return fmt.Errorf("read the ids of stored calls: %w", err)
		}
		defer rows.Close()
		var id string
		for rows.Next() {
			if err := rows.Scan(&id); err != nil {
				return fmt.Errorf("read the ids of stored calls: %w", err)
			}
			l.ids.Add(schema.CallID([]byte(id)))
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read the ids of stored calls: %w", err)
		}
		return nil
	})
}
