package pipeline

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/pipeline/enrich"
	"github.com/scopedrift/scopedrift/pipeline/ids"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// Lane is one partition in one generation of a group, as [kafka.Lane] is. The
// errors are those of package kafka: [kafka.ErrStop] ends a fetch after the
// message it is returned for, [kafka.ErrOutOfRange] says that the partition does
// not hold the offset, [kafka.ErrFenced] that it is somebody else's now. What
// heals is tried again until ctx ends. Commits work for [kafka.DrainTime] after
// the context of the lane ended.
type Lane interface {
	Committed() (offset int64, metadata string)
	Bounds(ctx context.Context) (first, next int64, err error)
	Fetch(ctx context.Context, from, limit int64, each func(offset int64, value []byte) error) (next int64, err error)
	Commit(ctx context.Context, offset int64, metadata string) error
}

// Config says how an ingester works. Conn is required.
type Config struct {
	Conn driver.Conn
	// Local says that Conn is of HTTP, to a server on this machine.
	Local bool
	// Shards are servers of a cluster's shards, in the order of the cluster: calls
	// go to the local table of the shard that their credential belongs to, and all
	// else to Conn, which may be any of the cluster's servers. Without them calls
	// go to Conn as well.
	Shards []driver.Conn
	// Current is asked for the catalogue before each batch; nil is none.
	Current func() *catalog.Catalog
	// DeadLetters takes what cannot be read; nil only counts it.
	DeadLetters DeadLetters
	// Digest is a hash with the installation's key, for dead letters; without it
	// they have none.
	Digest func([]byte) [16]byte
	// BlockRows is the most calls of one insert, 65,536 if it is 0.
	BlockRows int
	// MaxAge is how long the first message of a batch waits for others, 2 s if
	// it is 0.
	MaxAge time.Duration
	// Memory bounds, in bytes, the batches of all lanes together, about: 64 MiB
	// if it is 0. Each lane has an equal share.
	Memory int
	// RememberIDs bounds the memory of call ids, all lanes together; one million
	// if it is 0.
	RememberIDs int
	// Inserts is how many blocks are inserted at a time, 2 if it is 0.
	Inserts int
	// Attempt bounds one attempt to store a batch, 2 min if it is 0.
	Attempt time.Duration
	// Again is how long a lane waits after an error that does not heal by
	// itself, before it tries the same batch again, and how long messages that
	// were there before have to be gone to be given up; 1 min if it is 0.
	Again time.Duration
	// Report, if set, is told of what went wrong and is tried again, from several
	// goroutines.
	Report func(error)
	// Stored, if set, is told how long each batch took to store and how many
	// calls it had, from several goroutines.
	Stored func(took time.Duration, calls int)
	// Abort, if set, is closed when nothing can be stored any more, since the
	// engine died: lanes then end at once.
	Abort <-chan struct{}
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Ingester stores what partitions hold. Its methods may be called from any
// goroutine.
type Ingester struct {
	cfg     Config
	benches []*bench
	inserts chan struct{}
	lanes   atomic.Int64

	mu sync.Mutex
	// memories are the ids of partitions that no lane reads at the moment.
	memories map[partitionName]*ids.Memory
	stats    Stats
}

type partitionName struct {
	topic     string
	partition int
}

// Stats counts what became of the messages, in batches that were confirmed.
type Stats struct {
	// Lanes is how many partitions are read.
	Lanes int
	// Calls were stored, Accounts written to the ledger, Batches confirmed.
	Calls, Accounts, Batches uint64
	// Unmapped are calls whose operation neither the log nor the catalogue names.
	Unmapped uint64
	// Repeated are calls whose id was stored before, Copied messages that a
	// producer's number shows to be copies.
	Repeated, Copied uint64
	// Missing is how many numbers producers left out.
	Missing uint64
	// Lost are messages that Kafka had deleted before they were read.
	Lost uint64
	// Dead are messages that could not be read, by reason.
	Dead map[string]uint64
	// Replayed are batches that were planned by an earlier owner.
	Replayed uint64
	// Ignored are plans that did not fit the committed offset.
	Ignored uint64
	// Fenced are batches that were dropped before they were inserted, since the
	// partition had another owner.
	Fenced uint64
	// Retries are attempts to store a batch after its first.
	Retries uint64
	// Stopped says, by partition, what a lane stands still for: it is no error
	// that heals by itself.
	Stopped map[int]string
	// LastStored is when the last batch was confirmed; LastCall is the latest
	// time of a stored call.
	LastStored, LastCall time.Time
}

// New makes an ingester that has done nothing yet.
func New(cfg Config) *Ingester {
	if cfg.BlockRows <= 0 {
		cfg.BlockRows = 1 << 16
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = 2 * time.Second
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 64 << 20
	}
	if cfg.RememberIDs <= 0 {
		cfg.RememberIDs = 1 << 20
	}
	if cfg.Inserts <= 0 {
		cfg.Inserts = 2
	}
	if cfg.Attempt <= 0 {
		cfg.Attempt = 2 * time.Minute
	}
	if cfg.Again <= 0 {
		cfg.Again = time.Minute
	}
	if cfg.Current == nil {
		empty := catalog.Empty()
		cfg.Current = func() *catalog.Catalog { return empty }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	in := &Ingester{
		cfg: cfg, inserts: make(chan struct{}, cfg.Inserts), memories: map[partitionName]*ids.Memory{},
		stats: Stats{Dead: map[string]uint64{}, Stopped: map[int]string{}},
	}
	for range min(runtime.GOMAXPROCS(0), mostBenches) {
		in.benches = append(in.benches, &bench{decoder: wire.NewDecoder(), keys: new(block.Keys)})
	}
	return in
}

// mostBenches bounds the benches, each of which remembers much.
const mostBenches = 4

// bench is what turns a message into a row, with the memory that makes it fast:
// too much of it for each lane to have its own.
type bench struct {
	mu      sync.Mutex
	decoder *wire.Decoder
	keys    *block.Keys
	catalog *catalog.Catalog
	enrich  *enrich.Enricher
	idle    []*block.Set
}

// use makes the catalogue the one that calls are named by from now on.
func (b *bench) use(c *catalog.Catalog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.catalog != c {
		b.catalog, b.enrich = c, enrich.New(c)
	}
}

// take returns an empty set. The caller has the bench.
func (b *bench) take() *block.Set {
	if n := len(b.idle); n > 0 {
		set := b.idle[n-1]
		b.idle = b.idle[:n-1]
		return set
	}
	return block.NewSet(b.keys)
}

// free takes a set back. Some stay for whoever comes next.
func (b *bench) free(set *block.Set) {
	set.Reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decoder.Reset()
	if len(b.idle) < idleSets {
		b.idle = append(b.idle, set)
	}
}

// idleSets is how many sets a bench keeps.
const idleSets = 2

// Stats returns the counts until now.
func (in *Ingester) Stats() Stats {
	in.mu.Lock()
	defer in.mu.Unlock()
	out := in.stats
	out.Lanes = int(in.lanes.Load())
	out.Dead, out.Stopped = maps.Clone(in.stats.Dead), maps.Clone(in.stats.Stopped)
	return out
}

// Handle reads a partition and stores what it holds until ctx ends; then it
// confirms what is planned, within [kafka.DrainTime], and drops what is not. It
// returns nil or [kafka.ErrFenced] where the next owner goes on, and another
// error where none can.
func (in *Ingester) Handle(ctx context.Context, topic string, partition int, from Lane) error {
	in.lanes.Add(1)
	defer in.lanes.Add(-1)
	finish, cancel := in.draining(ctx)
	defer cancel()
	memory, fresh := in.remembered(topic, partition)
	l := &lane{
		Lane: from, fresh: fresh, in: in, topic: topic, partition: partition, finish: finish,
		bench: in.benches[partition%len(in.benches)], ids: memory,
		calls: make([]schema.Call, 0, addRows),
	}
	defer in.started(partition)
	err := l.run(ctx)
	if l.batch == nil {
		// Only ids of what is stored are worth remembering.
		in.mu.Lock()
		in.memories[partitionName{topic, partition}] = l.ids
		in.mu.Unlock()
	} else {
		l.drop()
	}
	switch {
	case errors.Is(err, kafka.ErrFenced):
		in.count(func(s *Stats) { s.Fenced++ })
		return err
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || finish.Err() != nil):
		return nil
	}
	return err
}

// draining is ctx, but for the time in which a lane may finish what it began.
func (in *Ingester) draining(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-ctx.Done():
		case <-in.cfg.Abort:
			cancel()
			return
		case <-out.Done():
			return
		}
		select {
		case <-time.After(kafka.DrainTime - 2*time.Second):
		case <-in.cfg.Abort:
		case <-out.Done():
		}
		cancel()
	}()
	return out, cancel
}

// remembered returns the ids of a partition that this process read before, or an
// empty memory.
func (in *Ingester) remembered(topic string, partition int) (memory *ids.Memory, fresh bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	name := partitionName{topic, partition}
	memory = in.memories[name]
	delete(in.memories, name)
	if len(in.memories) > int(in.lanes.Load()) {
		clear(in.memories) // partitions that were given away, for good as it seems
	}
	if memory != nil {
		return memory, false
	}
	return ids.New(in.share()), true
}

// share is how many ids a lane remembers.
func (in *Ingester) share() int { return max(in.cfg.RememberIDs/max(int(in.lanes.Load()), 8), 1024) }

func (in *Ingester) report(err error) {
	if in.cfg.Report != nil {
		in.cfg.Report(err)
	}
}

func (in *Ingester) count(change func(*Stats)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(&in.stats)
}

func (in *Ingester) stopped(partition int, err error) {
	in.count(func(s *Stats) { s.Stopped[partition] = err.Error() })
}

func (in *Ingester) started(partition int) {
	in.count(func(s *Stats) { delete(s.Stopped, partition) })
}
