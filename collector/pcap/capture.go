package pcap

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Limits bounds what a capture may make the reader hold. A zero field means its
// default.
type Limits struct {
	// Connections is how many TCP connections are followed at a time (32,768);
	// beyond it the one that was quiet longest is given up.
	Connections int
	// HeldPerDirection and HeldTotal are bytes of segments that wait for
	// earlier ones, and of heads that are not complete (1 MiB, 24 MiB).
	HeldPerDirection, HeldTotal int
	// HeadBytes is the longest message head (64 KiB).
	HeadBytes int
	// Pending is how many requests of a connection may wait for answers (256),
	// PendingTotal how many in total before a connection may keep one only
	// (16,384).
	Pending, PendingTotal int
	// Streams is how many streams of an HTTP/2 connection are followed at a time
	// (1,024), TableBytes how much the header tables of all connections together
	// may hold (32 MiB): beyond it, what a table held counts as not seen.
	Streams, TableBytes int
	// BodyBytes is how much of a body is kept, where it tells the operation or its
	// result (64 KiB), BodyTotal how much of all (8 MiB). A longer one tells nothing.
	BodyBytes, BodyTotal int
	// Idle ends a connection that was quiet for so long by the capture's own
	// clock (10 minutes).
	Idle time.Duration
	// ReorderPackets and ReorderTime are how long a hole may still be filled
	// after the peer acknowledged past it: so many packets of the whole capture
	// and so much of its time (256, 10 ms). A hundred times the time, or 64
	// times the packets, suffices alone.
	ReorderPackets int
	ReorderTime    time.Duration
	// Retransmission is how long bytes that were not acknowledged may still be
	// sent again (10 s).
	Retransmission time.Duration
}

func (l Limits) withDefaults() Limits {
	number := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	span := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	number(&l.Connections, 32<<10)
	number(&l.HeldPerDirection, 1<<20)
	number(&l.HeldTotal, 24<<20)
	number(&l.HeadBytes, 64<<10)
	number(&l.Pending, 256)
	number(&l.PendingTotal, 16<<10)
	number(&l.Streams, 1<<10)
	number(&l.BodyBytes, 64<<10)
	number(&l.BodyTotal, 8<<20)
	number(&l.TableBytes, 32<<20)
	number(&l.ReorderPackets, 256)
	span(&l.Idle, 10*time.Minute)
	span(&l.ReorderTime, 10*time.Millisecond)
	span(&l.Retransmission, 10*time.Second)
	return l
}

// Config is what a Capture needs to know.
type Config struct {
	// Key makes the fingerprints of secrets and the ids of calls.
	Key *redact.Key
	// BatchSize is about how many calls a batch holds (1,024).
	BatchSize int
	// TenantHeader is the request header that names the tenant; empty is
	// "x-tenant", "-" is none.
	TenantHeader string
	// TLSKeys open TLS connections, nil none; secrets that stand in a pcapng file
	// are used in any case. It must not change while captures are read.
	TLSKeys *TLSKeys
	Limits  Limits
}

// Capture reads captures. It is safe for use by several goroutines: each Run
// has a state of its own.
type Capture struct {
	cfg Config
}

// New returns a Capture. It does nothing yet.
func New(cfg Config) *Capture {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.BatchSize <= 0 {
		cfg.BatchSize = 1024
	}
	switch cfg.TenantHeader {
	case "":
		cfg.TenantHeader = "x-tenant"
	case "-":
		cfg.TenantHeader = ""
	default:
		cfg.TenantHeader = lowerName(cfg.TenantHeader)
	}
	return &Capture{cfg: cfg}
}

func lowerName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Run reads a capture file from r, unpacked, to its end and puts its calls into
// sink. in says what the calls' source is to be named; its format may be empty.
//
// A file that ends inside a packet is read as far as it goes, and Stats.Cut
// says so. A damaged one gives its calls up to the damage, and an error. When
// ctx ends, what was read so far is put and ctx's error returned. A file of which
// most packets cannot be read at all is an error as well. The last
// batch has Done set where the file was read to its end.
func (c *Capture) Run(ctx context.Context, r io.Reader, in collector.Input, sink collector.Sink) (Stats, error) {
	if c.cfg.Key == nil {
		return Stats{}, errors.New("no installation key was given to the capture reader; load one first")
	}
	if in.Format == "" || in.Format == "auto" {
		in.Format = "pcap"
	}
	reader, err := newRecordReader(r)
	if err != nil {
		return Stats{}, fmt.Errorf("%s: %w", in.Name, err)
	}
	return newRun(&c.cfg, in, sink).run(ctx, reader)
}

// run is the state of one Run.
type run struct {
	cfg     *Config
	in      collector.Input
	sink    collector.Sink
	stats   *Stats
	builder *builder
	table   *table
	decoder *decoder

	// firstUnit is the first packet that no batch accounts for; skipped are the
	// packets since then that carry no segment.
	firstUnit uint64
	skipped   map[string]uint64
	// told is what earlier batches said of calls that were not seen.
	told unseen
	// link and linkCount count packets by link type without a look-up for each.
	link      linkType
	linkCount uint64
	// failed is the sink's error where calls were handed on inside of a packet.
	failed error
	spare  collector.Spare
	quic   quicReader
}

func newRun(cfg *Config, in collector.Input, sink collector.Sink) *run {
	r := &run{cfg: cfg, in: in, sink: sink, stats: newStats(), decoder: newDecoder(), skipped: map[string]uint64{}, spare: make(collector.Spare, maxSpare)}
	r.builder = &builder{
		key: cfg.Key, scrub: redact.NewScrubber(cfg.Key), identifier: identify.New(cfg.Key),
		limits: cfg.Limits, stats: r.stats, tenantHeader: cfg.TenantHeader,
		source:  schema.Source{Type: "pcap", Name: in.Name},
		strings: interner{seed: maphash.MakeSeed()}, texts: interner{seed: maphash.MakeSeed()},
		tables: cfg.Limits.TableBytes,
		keys:   [2]*TLSKeys{NewTLSKeys(), cfg.TLSKeys},
	}
	r.builder.blocks = blockReader{head: &r.builder.head, tenant: cfg.TenantHeader, budget: &r.builder.tables}
	r.quic.stats = r.stats
	r.table = newTable(cfg.Limits, r.stats, func(c *connection) protocol { return newSniffer(c, r.builder) })
	return r
}

func (r *run) run(ctx context.Context, reader recordReader) (Stats, error) {
	if ng, ok := reader.(*ngReader); ok {
		ng.secrets = r.builder.keys[0]
	}
	r.builder.overflow = r.handOver(ctx)
	readErr := r.packets(ctx, reader)
	var sinkErr *sinkError
	if errors.As(readErr, &sinkErr) {
		return r.finish(), readErr
	}
	// What was read goes out even if the caller has had enough.
	ctx = context.WithoutCancel(ctx)
	r.builder.overflow = r.handOver(ctx)
	r.quic.flush()
	for c := r.table.any(); c != nil; c = r.table.any() {
		r.table.remove(c)
		if err := r.putFull(ctx); err != nil {
			return r.finish(), err
		}
	}
	r.decoder.parts.close()
	if err := r.put(ctx, readErr == nil); err != nil {
		return r.finish(), err
	}
	return r.finish(), readErr
}

// sinkError is an error of the sink: final, and nothing more is put.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// packets reads all packets. A nil error means the end of the file.
func (r *run) packets(ctx context.Context, reader recordReader) error {
	var (
		rec record
		p   packet
	)
	defer r.lostInFile(reader)
	for {
		if r.stats.Packets&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		switch err := reader.next(&rec); {
		case err == nil:
		case err == io.EOF:
			return r.readable()
		case errors.Is(err, errCut):
			r.stats.Cut = true
			return r.readable()
		case errors.Is(err, errTooLong):
			r.stats.Packets++
			r.skip(reasonTooLong)
			continue
		case r.flowing(err):
			return err
		default:
			return fmt.Errorf("%s: the capture is damaged behind packet %d: %w; "+
				"the calls before it are kept, repair or cut the file to read the rest", r.in.Name, r.stats.Packets, err)
		}
		r.stats.Packets++
		r.stats.Bytes += uint64(len(rec.data))
		if rec.link != r.link {
			r.countLink()
			r.link = rec.link
		}
		r.linkCount++
		p.number = r.stats.Packets
		if reason := r.decoder.decode(&rec, &p); reason != "" {
			r.skip(reason)
			if reason == reasonQUIC {
				flow, payload := r.decoder.datagram()
				r.quic.datagram(flow, payload, rec.nanos)
			}
			continue
		}
		r.table.packet(&p)
		if err := r.putFull(ctx); err != nil {
			return err
		}
	}
}

// lostInFile takes over what a file says that it lost.
func (r *run) lostInFile(reader recordReader) {
	if ng, ok := reader.(*ngReader); ok {
		if n := ng.lost(); n > 0 {
			r.stats.Dropped[lostInKernel] += n
			r.skipped[schema.Lost+lostInKernel] += n
		}
	}
}

// flowing reports whether an error is one of a source, a sink or a context, which
// say themselves what they are.
func (r *run) flowing(err error) bool {
	var sink *sinkError
	var source *sourceError
	return errors.As(err, &sink) || errors.As(err, &source) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// sourceError is an error of a source.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// readable returns an error if most packets could not be read at all: silence
// would look as if there had been no calls.
func (r *run) readable() error {
	s := r.stats.Skipped
	bad := s[reasonLink] + s[reasonMalformed] + s[reasonPanic] + s[reasonTooLong] + s[reasonLength]
	switch {
	case 2*bad <= r.stats.Packets:
		return nil
	case 2*s[reasonLink] > r.stats.Packets:
		return fmt.Errorf("%s: %d of %d packets are of link type %s, which is not read; capture on an Ethernet or loopback interface",
			r.in.Name, s[reasonLink], r.stats.Packets, r.link)
	}
	return fmt.Errorf("%s: %d of %d packets are malformed; check that the file was copied whole and states its true link type",
		r.in.Name, bad, r.stats.Packets)
}

func (r *run) skip(reason string) {
	r.stats.Skipped[reason]++
	r.skipped[reason]++
}

func (r *run) countLink() {
	if r.linkCount > 0 {
		r.stats.Links[r.link.String()] += r.linkCount
	}
	r.linkCount = 0
}

// putFull hands the calls on once they fill a batch.
func (r *run) putFull(ctx context.Context) error {
	if r.failed != nil {
		return r.failed
	}
	if len(r.builder.calls) < r.cfg.BatchSize {
		return nil
	}
	return r.put(ctx, false)
}

// handOver returns what hands on calls that a single packet made too many: behind a
// hole, a megabyte of tiny answers may wait for it.
func (r *run) handOver(ctx context.Context) func() {
	return func() {
		if len(r.builder.calls) >= 2*r.cfg.BatchSize && r.failed == nil {
			r.failed = r.put(ctx, false)
		}
	}
}

// put hands the calls so far to the sink.
func (r *run) put(ctx context.Context, done bool) error {
	if len(r.builder.calls) == 0 && !done && r.firstUnit == r.stats.Packets {
		return nil
	}
	r.tell()
	calls := r.builder.calls
	batch := &collector.Batch{
		Input: r.in, FirstUnit: r.firstUnit, NextUnit: r.stats.Packets,
		Calls: calls, Skipped: r.skipped, Done: done, Free: func() { r.spare.Give(calls) },
	}
	r.builder.calls = nil
	r.skipped, r.firstUnit = map[string]uint64{}, r.stats.Packets
	if err := r.sink.Put(ctx, batch); err != nil {
		return &sinkError{fmt.Errorf("%s: hand on calls: %w", r.in.Name, err)}
	}
	r.builder.calls = r.spare.Take(min(len(calls)+len(calls)/8, 2*r.cfg.BatchSize))
	return nil
}

// maxSpare bounds the batches that wait to be used again.
const maxSpare = 2

// finish closes the books.
func (r *run) finish() Stats {
	r.countLink()
	if r.decoder.parts.close(); r.decoder.parts.incomplete > 0 {
		r.stats.Dropped[dropFragments] = r.decoder.parts.incomplete
	}
	r.sum()
	return *r.stats
}

// sum brings the books up to date.
func (r *run) sum() {
	for q, n := range r.builder.qualities {
		if n > 0 {
			r.stats.Calls[schema.Quality(q).String()] = n
		}
	}
	r.stats.Redacted = maps.Clone(r.builder.scrub.Counts())
	r.stats.TLSSecrets = uint64(r.builder.keys[0].Connections())
}
