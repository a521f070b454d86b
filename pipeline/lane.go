package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/pipeline/ids"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

const (
	// addRows is how many calls become columns at a time.
	addRows = 128
	// rowBytes is about what a call takes in a set beside its texts.
	rowBytes = 400
	// maxAccounts bounds the ledger rows of a batch.
	maxAccounts = 8192
)

// lane is a partition while it is read.
type lane struct {
	Lane
	in        *Ingester
	topic     string
	partition int
	// finish lives a little longer than the lane.
	finish context.Context
	bench  *bench
	// holds says that the lane has the bench for itself.
	holds bool
	ids   *ids.Memory
	// fresh says that ids are not those of the partition's last owner.
	fresh bool
	seen  sequence
	// latest is the time of the latest call that was stored.
	latest time.Time
	// short is since when the partition ends before what was read of it.
	short time.Time
	// batch is what is not confirmed; nil in between. What ids and seen know of
	// it is true only once it is stored.
	batch *batch
	calls []schema.Call
	// places and moved are the shards of calls, and calls of one shard together.
	places []int
	moved  []schema.Call
}

// batch is a range of the partition in the making.
type batch struct {
	// plan is known from the beginning where it is replayed.
	plan     plan
	replayed bool
	left     leftOut
	// sets are the rows, by shard; nil where a shard has none yet. Without shards
	// there is one.
	sets     []*block.Set
	accounts []account
	letters  []kafka.DeadLetter
	dead     map[string]uint64
	// producers is the last number of each producer's life in the batch.
	producers                                 map[uint64]uint64
	unmapped, repeated, copied, missing, lost uint64
	firstTime, lastTime                       time.Time
	// gap says that messages are gone behind the last call that was read;
	// goneFrom and goneTo are the calls around all of those.
	gap              bool
	goneFrom, goneTo time.Time
	// born is when its first message came, planned when it was planned.
	born, planned time.Time
}

// account is an account and who gave it.
type account struct {
	epoch uint64
	*schema.Account
}

// run goes on where the group's last owner of the partition ended.
func (l *lane) run(ctx context.Context) error {
	offset, metadata := l.Committed()
	if offset < 0 {
		first, _, err := l.Bounds(ctx)
		if err != nil {
			return err
		}
		offset, metadata = first, ""
	}
	if err := l.recall(offset); err != nil {
		return err
	}
	planned, ok, err := parsePlan(metadata, offset)
	if err != nil {
		l.in.count(func(s *Stats) { s.Ignored++ })
		l.in.report(fmt.Errorf("partition %d of %s begins anew at offset %d, and calls may be stored twice: %w", l.partition, l.topic, offset, err))
	}
	if ok {
		if err := l.fill(ctx, offset, &planned); err != nil {
			return err
		}
		if err := l.store(); err != nil {
			return err
		}
		offset = planned.next
	}
	if l.fresh {
		// Not before the replay: of a batch that is stored by half each row has
		// to come again, for the rollups' sake.
		if err := l.recent(); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if err := l.fill(ctx, offset, nil); err != nil {
			return err
		}
		// From here on whoever owns the partition stores exactly this range.
		if err := l.Commit(l.finish, l.batch.plan.first, l.batch.plan.String()); err != nil {
			return err
		}
		offset = l.batch.plan.next
		if err := l.store(); err != nil {
			return err
		}
	}
	return nil
}

// fill reads the next batch, or the planned one, which is not bounded again.
func (l *lane) fill(ctx context.Context, from int64, planned *plan) error {
	l.batch = &batch{sets: l.sets(planned), dead: map[string]uint64{}, producers: map[uint64]uint64{}}
	limit := int64(math.MaxInt64)
	if planned != nil {
		limit, l.batch.replayed, l.batch.plan = planned.next, true, *planned
	}
	next := from
	for next < limit && (planned != nil || next == from || !l.full(false)) {
		l.bench.use(l.in.cfg.Current())
		last := next
		var err error
		next, err = l.Fetch(ctx, next, limit, func(offset int64, value []byte) error {
			l.take(offset, value)
			if planned == nil && l.full(true) {
				return kafka.ErrStop
			}
			return nil
		})
		l.leave()
		if errors.Is(err, kafka.ErrOutOfRange) || err == nil && next == last && planned != nil {
			next, err = l.hole(ctx, next, limit)
		}
		if err != nil {
			return err
		}
		if next > from && l.batch.born.IsZero() {
			l.batch.born = l.in.cfg.Now()
		}
	}
	if err := ctx.Err(); err != nil && planned == nil {
		return err
	}
	l.flush()
	if planned == nil {
		l.batch.plan = newPlan(from, next, len(l.in.cfg.Shards), l.batch.left)
	}
	return nil
}

// full says whether the batch has to be stored now. Its age is looked at between
// fetches only: there are enough of them.
func (l *lane) full(filling bool) bool {
	b := l.batch
	share := l.in.cfg.Memory / max(int(l.in.lanes.Load()), 1)
	rows, bytes := b.size()
	rows += len(l.calls)
	if rows >= l.in.cfg.BlockRows || rows*rowBytes+bytes >= share || len(b.letters) >= mostLetters || len(b.accounts) >= maxAccounts {
		return true
	}
	return !filling && l.in.cfg.Now().Sub(b.born) >= l.in.cfg.MaxAge
}

// take makes a row of a message, or what else it is.
func (l *lane) take(offset int64, value []byte) {
	b := l.batch
	if b.born.IsZero() {
		b.born = l.in.cfg.Now()
	}
	if !l.holds {
		l.bench.mu.Lock()
		l.holds = true
	}
	if len(l.calls) == cap(l.calls) {
		l.add()
	}
	l.calls = l.calls[:len(l.calls)+1]
	call := &l.calls[len(l.calls)-1]
	kept := false
	defer func() {
		if !kept {
			l.calls = l.calls[:len(l.calls)-1]
		}
	}()
	envelope, kind, err := l.bench.decoder.Call(value, call)
	copied, missing := l.seen.see(envelope)
	if copied {
		b.copied++
		return
	}
	if missing > 0 {
		b.missing += missing
		l.miss()
	}
	if envelope.Sequence > 0 {
		b.producers[envelope.Epoch] = envelope.Sequence
	}
	if err == nil && kind == wire.KindAccount {
		var a *schema.Account
		if _, a, err = l.bench.decoder.Account(value); err == nil {
			b.accounts = append(b.accounts, account{envelope.Epoch, a})
			return
		}
	}
	if err != nil {
		reason := "unknown"
		if e := (*wire.Error)(nil); errors.As(err, &e) {
			reason = e.Reason
		}
		l.bury(offset, value, reason, l.in.cfg.Now())
		return
	}
	if !storable(call.Time) {
		l.bury(offset, value, ReasonTime, l.in.cfg.Now())
		return
	}
	if l.leaves(offset, call.ID) {
		b.repeated++
		return
	}
	l.bench.enrich.Call(call)
	if call.RouteSource == schema.RouteNone || call.RouteSource == schema.RouteLearned {
		b.unmapped++
	}
	if b.gap {
		b.gap = false
		if call.Time.After(b.goneTo) {
			b.goneTo = call.Time
		}
	}
	if b.firstTime.IsZero() || call.Time.Before(b.firstTime) {
		b.firstTime = call.Time
	}
	if call.Time.After(b.lastTime) {
		b.lastTime = call.Time
	}
	kept = true
}

// leaves reports whether a call is left out, since it is stored already. A replay
// leaves out what its plan says, whatever it knows.
func (l *lane) leaves(offset int64, id schema.CallID) bool {
	known := !l.ids.Add(id)
	if l.batch.replayed {
		return l.batch.plan.left.has(offset)
	}
	return known && l.batch.left.add(offset)
}

// The years that every column of the store holds: hours are counted in 32 bits.
var firstStorable, endStorable = time.Unix(0, 0), time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC)

func storable(t time.Time) bool { return !t.Before(firstStorable) && t.Before(endStorable) }

// add makes columns of the calls; the bench is the lane's at that time.
func (l *lane) add() {
	l.spread(l.calls)
	l.calls = l.calls[:0]
}

// leave gives the bench back that take took: once for the messages of a fetch,
// which wait for nothing in between.
func (l *lane) leave() {
	if l.holds {
		l.holds = false
		l.bench.mu.Unlock()
	}
}

func (l *lane) flush() {
	l.bench.mu.Lock()
	defer l.bench.mu.Unlock()
	l.add()
}

// hole finds out what of a range is gone, counts it and returns where to go on.
func (l *lane) hole(ctx context.Context, from, limit int64) (next int64, err error) {
	first, end, err := l.Bounds(ctx)
	if err != nil {
		return from, err
	}
	short := from > end || limit != math.MaxInt64 && end < limit && from >= end
	switch {
	case from < first:
		next = min(first, limit)
	case !short:
		l.short = time.Time{}
		return from, nil // it came meanwhile
	case l.short.IsZero():
		l.short = l.in.cfg.Now()
		fallthrough
	case l.in.cfg.Now().Sub(l.short) < l.in.cfg.Again:
		// A broker that has just become the leader may not know yet how far all
		// replicas are.
		select {
		case <-time.After(firstWait):
		case <-ctx.Done():
		}
		return from, ctx.Err()
	case from > end:
		return from, &goneError{l.topic, l.partition, from, end}
	default:
		// The end of a planned range is gone: the cluster lost what it had
		// acknowledged, or the topic was made anew.
		next = limit
	}
	l.short = time.Time{}
	l.batch.lost += uint64(next - from)
	l.miss()
	l.in.report(fmt.Errorf("%d messages of partition %d of %s, from offset %d on, were gone before they were read: coverage is lower for it; let ingesters run, or keep messages longer",
		next-from, l.partition, l.topic, from))
	return next, nil
}

// miss notes that messages are gone here.
func (l *lane) miss() {
	b := l.batch
	b.gap = true
	before := b.lastTime
	if before.IsZero() {
		before = l.latest
	}
	if !before.IsZero() && (b.goneFrom.IsZero() || before.Before(b.goneFrom)) {
		b.goneFrom = before
	}
}

// goneError says that a partition ends before what was read of it.
type goneError struct {
	topic     string
	partition int
	offset    int64
	end       int64
}

func (e *goneError) Error() string {
	return fmt.Sprintf("partition %d of topic %s was read to offset %d and ends at %d now: the topic was made anew", e.partition, e.topic, e.offset, e.end)
}

// Hint is what to do about it.
func (e *goneError) Hint() string {
	return "read it as another group, with --group NAME, or delete the group's offsets"
}

// drop forgets the batch, and what was remembered of it.
func (l *lane) drop() {
	if l.batch != nil {
		for _, set := range l.batch.sets {
			if set != nil {
				l.bench.free(set)
			}
		}
		l.batch = nil
	}
}
