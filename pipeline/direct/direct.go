// Package direct stores calls without a broker in between: the collector's
// batches go through the catalogue into ClickHouse, in one process.
//
// The one function to want is [New]; the pipeline it returns is the sink of the
// collectors. It promises that a call is stored before its range is confirmed
// in the ledger, that a repeated call id is stored once, and that what it does
// not store it counts. It cannot see repeats beyond [Config].RememberIDs.
//
// Each block goes plan, insert, confirm: the ranges it accounts for are written
// to the ledger as planned, the calls are inserted as one block with one
// deduplication token, the ranges are written as confirmed. A crash therefore
// leaves a planned range without its confirmation, or an input that was never
// done: both are visible to whoever computes coverage.
package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline/block"
	"github.com/scopedrift/scopedrift/pipeline/enrich"
	"github.com/scopedrift/scopedrift/pipeline/ids"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Config says how a pipeline works. Conn and Run are required.
type Config struct {
	Conn driver.Conn
	// Local says that Conn is of HTTP, to a server on this machine: blocks are
	// then sent as they stand, without a copy and uncompressed.
	Local   bool
	Catalog *catalog.Catalog
	// Current, if it is set, is asked for the catalogue before each batch, so
	// that one can take another's place. Catalog is then not used. The question
	// comes from a goroutine of the pipeline's own.
	Current func() *catalog.Catalog
	// Run names this run in the ledger; unique in a store.
	Run string
	// Window drops and counts calls outside it.
	Window schema.Window
	// BlockRows is the number of calls of one insert; default 65,536.
	BlockRows int
	// RememberIDs bounds the memory of call ids; default 16 million.
	RememberIDs int
	// Known says that the store may hold calls already, whose ids are then
	// remembered first, and that an earlier run may have broken off, which is
	// then repaired.
	Known bool
	// Exclusive says that no other run writes to the store at the same time, so
	// that every range without a confirmation was abandoned.
	Exclusive bool
	// Followed says that the inputs have no end: they are followed.
	Followed bool
	// Stored is handed every block of calls after it was stored, in order; it
	// may be nil. An error ends the run.
	Stored func([]schema.Call) error
	// Now is the clock of the ledger; default time.Now.
	Now func() time.Time
}

// Stats counts what became of the calls.
type Stats struct {
	// Calls were stored.
	Calls uint64
	// Repeated had an id that was stored already.
	Repeated uint64
	// OutsideWindow lay outside Config.Window.
	OutsideWindow uint64
	// Skipped are units that became no call, by the collector's reasons.
	Skipped map[string]uint64
	// First and Last are the times of the earliest and latest stored call.
	First, Last time.Time
	// Unmapped are calls whose operation neither the log nor the catalogue
	// names.
	Unmapped uint64
	// Repaired counts the abandoned ranges of earlier runs after which the
	// rollups were folded anew.
	Repaired int
	// ForgotIDs says that the memory of ids overflowed, so that repeats may
	// have been stored.
	ForgotIDs bool
}

// Pipeline is a sink for the collectors. Use it from one goroutine; only Stats
// may be called from others.
//
// Two goroutines do the work, so that it overlaps with the caller's reading:
// build drops repeats, enriches and makes columns; drain inserts them. What lies
// between them is bounded.
type Pipeline struct {
	cfg     Config
	catalog *catalog.Catalog
	enrich  *enrich.Enricher
	ids     *ids.Memory
	// counting guards stats.
	counting sync.Mutex
	stats    Stats
	batches  chan waiting
	// broken is closed when a block could not be written; failed then says
	// why, and what still comes is dropped. ended is closed when everything
	// has been written or dropped.
	broken, ended chan struct{}
	failing       sync.Once
	failed        error
}

// waiting is a batch that waits to become columns.
type waiting struct {
	schema.Batch
	// stored, if somebody waits, is closed once the batch is stored.
	stored chan struct{}
}

// New returns a pipeline that has done nothing yet.
func New(cfg Config) *Pipeline {
	if cfg.BlockRows <= 0 {
		cfg.BlockRows = 1 << 16
	}
	if cfg.RememberIDs <= 0 {
		cfg.RememberIDs = 16 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Catalog == nil {
		cfg.Catalog = catalog.Empty()
	}
	return &Pipeline{
		cfg:     cfg,
		catalog: cfg.Catalog,
		enrich:  enrich.New(cfg.Catalog),
		ids:     ids.New(cfg.RememberIDs),
		stats:   Stats{Skipped: map[string]uint64{}},
	}
}

// Open repairs and reads the ids of a store that may hold calls already, and
// starts the writer. It must be called before Put, and Close after it in any case.
func (p *Pipeline) Open(ctx context.Context) error {
	if p.cfg.Known {
		repaired, err := p.repair(ctx)
		if err != nil {
			return err
		}
		p.counting.Lock()
		p.stats.Repaired = repaired
		p.counting.Unlock()
		if err := p.ids.Load(ctx, p.cfg.Conn); err != nil {
			return err
		}
	}
	blocks, free := make(chan *pending), make(chan *block.Set, blockSets)
	for keys := new(block.Keys); len(free) < blockSets; {
		free <- block.NewSet(keys)
	}
	p.batches = make(chan waiting, maxWaiting)
	p.broken, p.ended = make(chan struct{}), make(chan struct{})
	w := &writer{conn: p.cfg.Conn, local: p.cfg.Local, followed: p.cfg.Followed, run: p.cfg.Run, now: p.cfg.Now, stored: p.cfg.Stored}
	go p.build(p.batches, blocks, free)
	go p.drain(ctx, w, blocks, free)
	return nil
}

// Bounds on what is under way: the batches that wait to become columns, and the
// blocks, of which one is being built while the other is inserted.
const (
	maxWaiting = 4
	blockSets  = 2
)

// build makes blocks of batches until there are no more. Only it uses the memory
// of ids, the enricher and the cache of keys that the sets share.
func (p *Pipeline) build(batches <-chan waiting, blocks chan<- *pending, free <-chan *block.Set) {
	defer close(blocks)
	var b *pending
	seq := 0
	flush := func() {
		if b != nil {
			blocks <- b
			b = nil
		}
	}
	for one := range batches {
		calls, account := p.take(&one.Batch)
		if b == nil {
			seq++
			b = &pending{token: fmt.Sprintf("%s-%d", p.cfg.Run, seq), set: <-free}
		}
		b.account(account)
		b.set.Add(calls)
		switch {
		case p.cfg.Stored != nil:
			b.calls = append(b.calls, calls)
		case one.Free != nil:
			one.Free()
		}
		if one.stored != nil {
			b.waiting = append(b.waiting, one.stored)
		}
		if one.stored != nil || b.set.Rows >= p.cfg.BlockRows || b.set.Bytes >= maxBlockBytes || len(b.ranges) >= maxRanges {
			flush()
		}
	}
	flush()
}

// drain writes blocks until there are no more. After one that could not be
// written it drops them.
func (p *Pipeline) drain(ctx context.Context, w *writer, blocks <-chan *pending, free chan<- *block.Set) {
	defer close(p.ended)
	for b := range blocks {
		select {
		case <-p.broken:
		default:
			if err := w.write(ctx, b); err != nil {
				p.fail(err)
				break
			}
			for _, waiting := range b.waiting {
				close(waiting)
			}
		}
		b.set.Reset()
		free <- b.set
	}
}

// fail makes the pipeline drop whatever is not written yet. The first reason
// counts.
func (p *Pipeline) fail(err error) {
	p.failing.Do(func() {
		p.failed = err
		close(p.broken)
	})
}

// errNotOpen is a programming error.
var errNotOpen = errors.New("the pipeline is not open: call Open before Put")

// Put takes a batch; see the contract of collector.Sink. An earlier block that
// could not be written is reported by the next Put, or by Close.
func (p *Pipeline) Put(ctx context.Context, batch *schema.Batch) error {
	return p.put(ctx, batch, nil)
}

// PutStored is Put that returns once the batch is stored and confirmed, for
// sources that must not forget a batch before that. What else is pending is
// stored with it. Where ctx ends first the batch may still be stored: who then
// puts it again has its calls dropped as repeated.
func (p *Pipeline) PutStored(ctx context.Context, batch *schema.Batch) error {
	stored := make(chan struct{})
	if err := p.put(ctx, batch, stored); err != nil {
		return err
	}
	select {
	case <-stored:
		return nil
	case <-p.broken:
		return p.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pipeline) put(ctx context.Context, batch *schema.Batch, stored chan struct{}) error {
	if p.batches == nil {
		return errNotOpen
	}
	select {
	case <-p.broken:
		return p.failed
	default:
	}
	select {
	case p.batches <- waiting{*batch, stored}:
		return nil
	case <-p.broken:
		return p.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats returns the counts until now, without batches that still wait; it may be
// called from any goroutine.
func (p *Pipeline) Stats() Stats {
	p.counting.Lock()
	defer p.counting.Unlock()
	out := p.stats
	out.Skipped = maps.Clone(p.stats.Skipped)
	return out
}

// Bounds on a block beside its rows.
const (
	// maxRanges bounds its ledger rows, for inputs of many tiny files.
	maxRanges = 4096
	// maxBlockBytes bounds its texts, for logs of long lines.
	maxBlockBytes = 32 << 20
)

// take drops what is repeated or outside the window, and enriches the rest.
func (p *Pipeline) take(batch *schema.Batch) ([]schema.Call, ledgerRange) {
	if p.cfg.Current != nil {
		if now := p.cfg.Current(); now != p.catalog {
			p.catalog, p.enrich = now, enrich.New(now)
		}
	}
	p.counting.Lock()
	defer p.counting.Unlock()
	r := ledgerRange{input: batch.Input, first: batch.FirstUnit, next: batch.NextUnit, skipped: batch.Skipped, done: batch.Done}
	for reason, n := range batch.Skipped {
		p.stats.Skipped[reason] += n
	}
	kept := batch.Calls[:0]
	for i := range batch.Calls {
		call := &batch.Calls[i]
		if !p.cfg.Window.Contains(call.Time) {
			p.stats.OutsideWindow++
			continue
		}
		if !p.ids.Add(call.ID) {
			p.stats.Repeated++
			r.repeated++
			continue
		}
		p.enrich.Call(call)
		if call.RouteSource == schema.RouteNone || call.RouteSource == schema.RouteLearned {
			p.stats.Unmapped++
		}
		r.see(call.Time)
		if len(kept) == i {
			kept = kept[:i+1] // it stands in its place already
		} else {
			kept = append(kept, *call)
		}
	}
	r.calls = uint64(len(kept))
	p.stats.Calls += r.calls
	p.stats.ForgotIDs = p.ids.Forgot()
	if !r.firstTime.IsZero() {
		if p.stats.First.IsZero() || r.firstTime.Before(p.stats.First) {
			p.stats.First = r.firstTime
		}
		if r.lastTime.After(p.stats.Last) {
			p.stats.Last = r.lastTime
		}
	}
	return kept, r
}

// Close writes what is pending, as long as ctx lives, and returns the counts.
// The counts are true even if it fails, except that the calls of blocks that
// were not written are in them.
func (p *Pipeline) Close(ctx context.Context) (Stats, error) {
	if p.batches == nil {
		return p.Stats(), nil
	}
	close(p.batches)
	p.batches = nil
	select {
	case <-p.ended:
	case <-ctx.Done():
		// What is being inserted still is; the rest is not.
		p.fail(ctx.Err())
		<-p.ended
	}
	return p.Stats(), p.failed
}
