package notify

import (
	"context"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema/table"
)

// shardMark stands between the name of a receiver and the shard whose findings it
// is told.
const shardMark = ", shard "

// account is under which name the store knows up to which change the receiver was
// told of a shard.
func (o *Outbox) account(shard detector.Shard) string {
	if shard.Whole() {
		return o.cfg.Receiver.Name()
	}
	return o.cfg.Receiver.Name() + shardMark + shard.String()
}

// told is up to which change a receiver was told by one shard, and when that was.
type told struct{ upto, at time.Time }

// layout are the accounts of all shards that divide the work in one way, by their
// index.
type layout map[int]told

// last is when the receiver was told something.
func (l layout) last() (last time.Time) {
	for _, one := range l {
		if one.at.After(last) {
			last = one.at
		}
	}
	return last
}

// least is up to which change it was told by all.
func (l layout) least() (least time.Time) {
	for _, one := range l {
		if least.IsZero() || one.upto.Before(least) {
			least = one.upto
		}
	}
	return least
}

// knows reports whether the receiver was told of a change of a subject's finding.
func (l layout) knows(name string, written time.Time) bool {
	for index, one := range l {
		if (detector.Shard{Index: index, Count: len(l)}).Owns(name) {
			return !written.After(one.upto)
		}
	}
	return false
}

// load reads up to which change the receiver was told. Where the work was divided
// in another way until now, the receiver knows what it was told by that.
func (o *Outbox) load(ctx context.Context) error {
	name := o.cfg.Receiver.Name()
	rows, err := o.cfg.Conn.Query(ctx, "SELECT receiver, max(upto), max(written) FROM "+table.Deliveries+
		" WHERE receiver = ? OR startsWith(receiver, ?) GROUP BY receiver", name, name+shardMark)
	if err != nil {
		return err
	}
	defer rows.Close()
	layouts := map[int]layout{}
	for rows.Next() {
		var account string
		var one told
		if err := rows.Scan(&account, &one.upto, &one.at); err != nil {
			return err
		}
		one.upto = one.upto.UTC()
		shard := detector.Shard{Index: 1, Count: 1}
		if rest, ok := strings.CutPrefix(account, name+shardMark); ok {
			if shard, err = detector.ParseShard(rest); err != nil {
				continue // of a receiver whose name goes on like this
			}
		}
		if layouts[shard.Count] == nil {
			layouts[shard.Count] = layout{}
		}
		layouts[shard.Count][shard.Index] = one
	}
	if err := rows.Err(); err != nil {
		return err
	}
	count := max(o.cfg.Shard.Count, 1)
	own, known := layouts[count][max(o.cfg.Shard.Index, 1)]
	o.upto, o.before = own.upto, nil
	latest := own.at
	for n, other := range layouts {
		// Of one that is not whole, some shard may have told nothing.
		if n != count && len(other) == n && other.last().After(latest) {
			latest, o.before = other.last(), other
		}
	}
	if o.before != nil && o.before.least().After(o.upto) {
		o.upto = o.before.least()
	}
	if o.upto.IsZero() {
		o.upto = time.Unix(0, 0).UTC()
	}
	if !known && !o.cfg.Shard.Whole() || o.before != nil {
		// A shard that has nothing to tell has an account, too: with one missing it
		// would not be known what all of them told.
		if err := o.mark(ctx, o.upto); err != nil {
			return err
		}
	}
	o.loaded = true
	return nil
}
