package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

// mostShards bounds the shards of a plan, which is read from outside.
const mostShards = 4096

// sets makes room for a batch: a set a shard, of as many shards as are planned.
func (l *lane) sets(planned *plan) []*block.Set {
	shards := len(l.in.cfg.Shards)
	if planned != nil && planned.shards != shards {
		if planned.shards <= shards {
			// The servers that were added come behind those that were there.
			shards = planned.shards
		} else {
			l.in.report(fmt.Errorf("the calls from offset %d on of partition %d of %s were planned for %d shards, and there are %d now: those that were stored already are stored twice",
				planned.first, l.partition, l.topic, planned.shards, shards))
		}
	}
	return make([]*block.Set, max(shards, 1))
}

// size is how many rows a batch has, and about how many bytes their texts take.
func (b *batch) size() (rows, bytes int) {
	for _, set := range b.sets {
		if set != nil {
			rows, bytes = rows+set.Rows, bytes+set.Bytes
		}
	}
	return rows, bytes
}

// shard is the set of a shard; the bench is the lane's at that time.
func (l *lane) shard(i int) *block.Set {
	if l.batch.sets[i] == nil {
		l.batch.sets[i] = l.bench.take()
	}
	return l.batch.sets[i]
}

// spread makes rows of calls, each in the set of its credential's shard. What
// stays in its order is the calls of one credential.
func (l *lane) spread(calls []schema.Call) {
	shards := len(l.batch.sets)
	if shards == 1 || len(calls) == 0 {
		if len(calls) > 0 {
			l.shard(0).Add(calls)
		}
		return
	}
	l.places = l.places[:0]
	same := true
	for i := range calls {
		hash := l.bench.keys.Principal(&calls[i].Credential)
		l.places = append(l.places, kafka.PartitionOf(hash[:], shards))
		same = same && l.places[i] == l.places[0]
	}
	if same {
		// As it always is where the shards divide the partitions.
		l.shard(l.places[0]).Add(calls)
		return
	}
	for shard := range shards {
		l.moved = l.moved[:0]
		for i := range calls {
			if l.places[i] == shard {
				l.moved = append(l.moved, calls[i])
			}
		}
		if len(l.moved) > 0 {
			l.shard(shard).Add(l.moved)
		}
	}
}

// insert stores the rows of the planned batch: one block a shard, each with a
// token of its own, so that what of them is stored already stays as it is. All
// shards are tried, whatever one of them says.
func (l *lane) insert(ctx context.Context) error {
	cfg, b := &l.in.cfg, l.batch
	token := b.plan.token(l.topic, l.partition)
	if len(b.sets) == 1 && (len(cfg.Shards) == 0 || b.plan.shards == 0) {
		if b.sets[0] == nil {
			return nil
		}
		return b.sets[0].Insert(ctx, cfg.Conn, cfg.Local, token)
	}
	failed := make([]error, len(b.sets))
	var all sync.WaitGroup
	for i, set := range b.sets {
		if set == nil {
			continue
		}
		all.Go(func() {
			err := set.InsertInto(ctx, cfg.Shards[i], table.Calls+table.LocalSuffix, cfg.Local, fmt.Sprintf("%s/%d-%d", token, i, len(b.sets)))
			if err != nil {
				failed[i] = fmt.Errorf("shard %d: %w", i+1, err)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}
