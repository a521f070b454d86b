package gateway

import (
	"bytes"
	"context"

	"github.com/scopedrift/scopedrift/collector"
)

// Pushed reads bodies that somebody pushes, in the format of the gateway's
// configuration. Each body is read as an input of its own: one that is pushed
// again gives the same ids. Use it from one goroutine at a time, and make one for
// each of several.
type Pushed struct {
	g *Gateway
	f *format
	b *builder
}

// Pushed makes a reader of bodies. It must not be called while the gateway is in
// use otherwise.
func (g *Gateway) Pushed() (*Pushed, error) {
	f, err := g.format(g.cfg.Format)
	if err != nil {
		return nil, err
	}
	return &Pushed{g: g, f: f, b: g.builder()}, nil
}

// Read reads one body, which is not compressed, and hands its calls to the sink,
// in batches whose units are counted from 0. It returns what it read also where
// it fails; a body of which more than half cannot be read is an UnreadableError,
// after the rest of it was handed on.
func (p *Pushed) Read(ctx context.Context, name string, body []byte, sink collector.Sink) (*InputReport, error) {
	s := &stream{Reader: bytes.NewReader(body), raw: &countingReader{}, foreign: foreign(body[:min(16, len(body))])}
	in := collector.Input{Name: name, Format: p.g.cfg.Format}
	return newEngine(p.g, p.f, in, p.b, sink).read(ctx, s)
}
