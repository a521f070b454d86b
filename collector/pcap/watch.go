package pcap

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync/atomic"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// Packet is one packet as a Source saw it.
type Packet struct {
	// Data is what was captured of it, valid until the next packet is asked for.
	Data []byte
	// Link is the link type of its interface, a LINKTYPE_ number.
	Link uint32
	// Length is how long the packet was before it was cut; 0 says that it was not.
	Length int
	// VLAN is one that it was in, where its tag was taken out of Data; 0 is none.
	VLAN uint16
	// Nanos is when it was seen, in nanoseconds of Unix time.
	Nanos int64
}

// Source gives packets as they come: an interface, or a directory that captures
// are written to. It is used by one goroutine.
type Source interface {
	// Next waits for a packet and fills p. While none comes it calls idle every
	// now and then, at least once in two seconds, and returns its error. io.EOF
	// means that no packet will ever come.
	Next(ctx context.Context, p *Packet, idle func() error) error
	// Lost returns how many packets or files were lost before they could be read
	// since it was asked last, by reason.
	Lost() map[string]uint64
}

// Watch reads a Source without end. It is made by [Capture.Watch].
type Watch struct {
	capture *Capture
	source  Source
	in      collector.Input
	sink    collector.Sink
	stats   atomic.Pointer[Stats]
}

// flushEvery is how long a finished call may wait for its batch to fill.
const flushEvery = time.Second

// Watch returns what reads source into sink, under the name in.Name. It does
// nothing yet.
func (c *Capture) Watch(source Source, in collector.Input, sink collector.Sink) *Watch {
	w := &Watch{capture: c, source: source, in: in, sink: sink}
	w.stats.Store(newStats())
	return w
}

// Stats returns what was read so far. It is safe for use from other goroutines
// and never more than some seconds old.
func (w *Watch) Stats() Stats { return *w.stats.Load() }

// Run reads until ctx ends, the source has no more, or the sink fails. Calls go
// out once they fill a batch, and a second after they were finished at the
// latest. When ctx ends, what is pending goes out and ctx's error is returned.
//
// Packets that the source lost stand in Skipped of the batch of that time, under
// reasons that begin with [schema.Lost].
func (w *Watch) Run(ctx context.Context) error {
	if w.capture.cfg.Key == nil {
		return errors.New("no installation key was given to the capture reader; load one first")
	}
	in := w.in
	if in.Format == "" || in.Format == "auto" {
		in.Format = "pcap"
	}
	r := newRun(&w.capture.cfg, in, w.sink)
	r.builder.inTime = true
	flow := &flowing{watch: w, run: r, ctx: ctx, last: time.Now()}
	stats, err := r.run(ctx, flow)
	w.stats.Store(&stats)
	return err
}

// flowing makes a Source a recordReader that hands calls on in time.
type flowing struct {
	watch *Watch
	run   *run
	ctx   context.Context
	last  time.Time
	count int
	// quiet is since when the source has had no more than count packets.
	quiet      time.Time
	quietCount int
}

func (f *flowing) next(rec *record) error {
	// Asking for the time on every packet would cost as much as decoding it.
	if f.count++; f.count&255 == 0 {
		if err := f.flush(); err != nil {
			return err
		}
	}
	var p Packet
	err := f.watch.source.Next(f.ctx, &p, f.idle)
	rec.data, rec.nanos, rec.link, rec.wire = p.Data, p.Nanos, linkType(p.Link), max(p.Length, len(p.Data))
	rec.vlan = p.VLAN
	switch {
	case err == nil, f.run.flowing(err):
		return err
	case errors.Is(err, io.EOF):
		f.lost()
		return io.EOF
	}
	return &sourceError{err}
}

// idle is called while all packets that there are have been read.
func (f *flowing) idle() error {
	now := time.Now()
	if f.count != f.quietCount {
		f.quiet, f.quietCount = now, f.count
	}
	// The capture's clock goes on while nothing comes.
	f.run.table.overdue(int64(now.Sub(f.quiet)))
	return f.flush()
}

// flush puts the calls that are finished, once they have waited.
func (f *flowing) flush() error {
	if err := f.ctx.Err(); err != nil {
		f.lost()
		return err
	}
	now := time.Now()
	if now.Sub(f.last) < flushEvery {
		return nil
	}
	f.last = now
	f.lost()
	f.run.table.overdue(0)
	f.run.builder.settle()
	stats := f.run.snapshot()
	f.watch.stats.Store(&stats)
	return f.run.put(f.ctx, false)
}

func (f *flowing) lost() {
	for reason, n := range f.watch.source.Lost() {
		f.run.stats.Dropped[reason] += n
		f.run.skipped[schema.Lost+reason] += n
	}
}

// snapshot returns a copy of the books as they stand.
func (r *run) snapshot() Stats {
	r.countLink()
	r.sum()
	s := *r.stats
	for _, m := range []*map[string]uint64{&s.Links, &s.Skipped, &s.Unread, &s.Protocols, &s.TLSServers, &s.Calls, &s.Dropped, &s.Redacted} {
		*m = maps.Clone(*m)
	}
	return s
}
