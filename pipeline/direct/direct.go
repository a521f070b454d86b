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
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Config says how a pipeline works. Conn and Run are required.
type Config struct {
	Conn    driver.Conn
	Catalog *catalog.Catalog
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

// Pipeline is a sink for the collectors. Use it from one goroutine.
type Pipeline struct {
	cfg     Config
	enrich  *enricher
	ids     idMemory
	stats   Stats
	pending block
	seq     int
	work    chan block
	// broken is closed when a block could not be written; failed then says
	// why, and the writer drops what still comes. ended is closed when the
	// writer has returned.
	broken, ended chan struct{}
	failed        error
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
		cfg:    cfg,
		enrich: newEnricher(cfg.Catalog),
		ids:    newIDMemory(cfg.RememberIDs),
		stats:  Stats{Skipped: map[string]uint64{}},
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
		p.stats.Repaired = repaired
		if err := p.ids.load(ctx, p.cfg.Conn); err != nil {
			return err
		}
	}
	// One block waits while one is written: enough to overlap reading with
	// writing, and a bound on memory.
	p.work = make(chan block, 1)
	p.broken, p.ended = make(chan struct{}), make(chan struct{})
	w := &writer{conn: p.cfg.Conn, run: p.cfg.Run, now: p.cfg.Now, stored: p.cfg.Stored}
	go p.drain(ctx, w, p.work)
	return nil
}

// drain writes blocks until there are no more, or one could not be written.
func (p *Pipeline) drain(ctx context.Context, w *writer, work <-chan block) {
	defer close(p.ended)
	for b := range work {
		if p.failed != nil {
			continue
		}
		if err := w.write(ctx, &b); err != nil {
			p.failed = err
			close(p.broken)
		}
	}
}

// errNotOpen is a programming error.
var errNotOpen = errors.New("the pipeline is not open: call Open before Put")

// Put takes a batch; see the contract of collector.Sink. An earlier block that
// could not be written is reported by the next Put, or by Close.
func (p *Pipeline) Put(ctx context.Context, batch *schema.Batch) error {
	if p.work == nil {
		return errNotOpen
	}
	select {
	case <-p.broken:
		return p.failed
	default:
	}
	kept, r := p.take(batch)
	p.pending.add(kept, r)
	if p.pending.rows < p.cfg.BlockRows && len(p.pending.ranges) < maxRanges {
		return nil
	}
	return p.flush(ctx)
}

// maxRanges bounds the ledger rows of one block, for inputs of many tiny files.
const maxRanges = 4096

// take drops what is repeated or outside the window, and enriches the rest.
func (p *Pipeline) take(batch *schema.Batch) ([]schema.Call, ledgerRange) {
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
		if !p.ids.add(call.ID) {
			p.stats.Repeated++
			r.repeated++
			continue
		}
		p.enrich.call(call)
		if call.RouteSource == schema.RouteNone || call.RouteSource == schema.RouteLearned {
			p.stats.Unmapped++
		}
		r.see(call.Time)
		kept = append(kept, *call)
	}
	r.calls = uint64(len(kept))
	p.stats.Calls += r.calls
	p.stats.ForgotIDs = p.ids.forgot
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

// flush hands the pending block to the writer.
func (p *Pipeline) flush(ctx context.Context) error {
	if len(p.pending.ranges) == 0 {
		return nil
	}
	b := p.pending
	p.pending = block{}
	p.seq++
	b.token = fmt.Sprintf("%s-%d", p.cfg.Run, p.seq)
	select {
	case p.work <- b:
		return nil
	case <-p.broken:
		return p.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what is pending, waits for the writer and returns the counts.
// The counts are true even if it fails, except that the calls of blocks that
// were not written are in them.
func (p *Pipeline) Close(ctx context.Context) (Stats, error) {
	if p.work == nil {
		return p.stats, nil
	}
	err := p.flush(ctx)
	close(p.work)
	p.work = nil
	<-p.ended
	if p.failed != nil {
		err = p.failed
	}
	return p.stats, err
}
