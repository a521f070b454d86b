package gateway

import (
	"context"

	"github.com/scopedrift/scopedrift/collector"
)

// capture hands an input on to who reads captures, and tells how far that has come.
func (g *Gateway) capture(ctx context.Context, s *stream, report *InputReport, sink collector.Sink) error {
	in, calls := report.Input, &countingSink{Sink: sink}
	tell := func() {
		if report.Calls = calls.n; g.cfg.Progress != nil {
			g.cfg.Progress(in.Name, s.raw.n, in.Size, calls.n)
		}
	}
	defer tell()
	return g.cfg.Captures(ctx, &tellingReader{s: s, tell: tell}, in, calls)
}

// tellEvery is after how many bytes progress is told again.
const tellEvery = 1 << 20

// tellingReader tells now and then that it was read.
type tellingReader struct {
	s     *stream
	tell  func()
	since int
}

func (r *tellingReader) Read(p []byte) (int, error) {
	n, err := r.s.Read(p)
	if r.since += n; r.since >= tellEvery {
		r.since = 0
		r.tell()
	}
	return n, err
}

// countingSink counts the calls that pass.
type countingSink struct {
	collector.Sink
	n uint64
}

// Put hands a batch on.
func (c *countingSink) Put(ctx context.Context, b *collector.Batch) error {
	c.n += uint64(len(b.Calls))
	return c.Sink.Put(ctx, b)
}
