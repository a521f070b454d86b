package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// installationKey loads or makes the key. Where no place for one exists a
// temporary store gets a key of its own.
func (a *app) installationKey() (*redact.Key, error) {
	path, err := a.keyPath()
	if err != nil {
		if a.settings.clickhouse.value != "" {
			return nil, err
		}
		a.remark("no place for an installation key (HOME is not set): fingerprints of this run match no other run's")
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // it cannot fail
		return redact.NewKey(raw), nil
	}
	if err := a.env.MkdirAll(filepath.Dir(path)); err != nil {
		return nil, broken(err, "pass --key FILE in a directory that can be written")
	}
	key, err := redact.LoadKey(path)
	if err != nil {
		return nil, broken(err)
	}
	return key, nil
}

// newGateway makes the reader of logs and captures that the settings describe.
func (a *app) newGateway(ctx context.Context, key *redact.Key, dead gateway.DeadLetter, captures *captures, p *progress) (*gateway.Gateway, error) {
	var files []string
	for _, name := range a.settings.formatFile.values {
		files = append(files, a.env.Path(name))
	}
	for _, format := range a.settings.format.values {
		if format == "pcap" || format == "pcapng" {
			return nil, usage("--format "+format+" is not needed: captures are told by their first bytes", "leave it out")
		}
	}
	presets, err := gateway.Presets(files...)
	if err != nil {
		return nil, misused(err)
	}
	g, err := gateway.New(gateway.Config{
		Key: key, Presets: presets, Format: strings.Join(a.settings.format.values, ""),
		Host: a.settings.host, Tenant: a.settings.tenant, DeadLetter: dead, Stdin: a.env.StdinUntil(ctx),
		Captures: captures.read, Progress: p.bytes(),
	})
	if err != nil {
		return nil, misused(err)
	}
	return g, nil
}

// read reads all inputs into the sink and accounts for them in the report.
func (r *scanRun) read(ctx context.Context, key *redact.Key, dead *deadLetters, inputs []string, sink collector.Sink) error {
	c := r.newCaptures(key, r.tlsKeys)
	g, err := r.newGateway(ctx, key, dead.orNil(), c, r.progress)
	if err != nil {
		return err
	}
	r.progress.enter("reading", r.env.TotalSize(inputs))
	report, err := g.Run(ctx, inputs, sink)
	r.flaws = report.Flaws
	for i := range report.Inputs {
		r.report.Summary.Inputs = append(r.report.Summary.Inputs, inputOf(&report.Inputs[i], c))
	}
	return err
}

// inputOf turns the collector's account of an input into the report's.
func inputOf(in *gateway.InputReport, c *captures) output.Input {
	one := output.Input{
		Name: in.Input.Name, Format: strings.Join(slices.Sorted(maps.Keys(in.Formats)), "+"), Why: in.Chosen,
		Units: in.Units, Calls: in.Calls, Skipped: map[string]uint64{},
	}
	for reason, n := range in.NotACall {
		one.Skipped[reason] += n
	}
	for reason, n := range in.Bad {
		one.Skipped[reason] += n
	}
	if in.Cut != "" {
		one.Why, one.Cut = strings.TrimPrefix(one.Why+"; cut short: "+in.Cut, "; "), true
	}
	if s, ok := c.stats[in.Input.Name]; ok && in.Capture {
		one.Format, one.Units, one.Calls = "pcap", s.Packets, 0
		for _, n := range s.Calls {
			one.Calls += n
		}
		for _, counts := range []map[string]uint64{s.Skipped, s.Unread, s.Dropped} {
			for reason, n := range counts {
				one.Skipped[reason] += n
			}
		}
		if s.Cut {
			one.Why, one.Cut = one.Why+"; the file ends inside a packet", true
		}
		if one.Calls == 0 && s.Packets > 0 {
			one.Why += "; why it shows no call says: scopedrift doctor " + in.Input.Name
		}
	}
	return one
}

// captures reads packet captures and keeps their accounts.
type captures struct {
	capture *pcap.Capture
	stats   map[string]pcap.Stats
}

// keyLogMost is the longest key log that is read: half a million connections.
const keyLogMost = 256 << 20

// loadTLSKeys reads the key logs that the settings name, nil where none is.
func (a *app) loadTLSKeys() (*pcap.TLSKeys, error) {
	if len(a.settings.tlsKeys.values) == 0 {
		return nil, nil
	}
	keys := pcap.NewTLSKeys()
	for _, name := range a.settings.tlsKeys.values {
		log, err := a.env.ReadFile(name, keyLogMost)
		if err != nil {
			return nil, usage(fmt.Sprintf("--tls-keys: %v", err), "name the file that SSLKEYLOGFILE named when the connections were made")
		}
		if err := keys.Read(bytes.NewReader(log)); err != nil {
			return nil, misused(fmt.Errorf("--tls-keys %s: %w", name, err))
		}
	}
	return keys, nil
}

// newCaptures makes the reader of captures that the settings describe. keys may
// be nil.
func (a *app) newCaptures(key *redact.Key, keys *pcap.TLSKeys) *captures {
	cfg := pcap.Config{Key: key, TLSKeys: keys}
	if header, ok := strings.CutPrefix(a.settings.tenant, "header:"); ok {
		cfg.TenantHeader = header
	}
	return &captures{pcap.New(cfg), map[string]pcap.Stats{}}
}

func (c *captures) read(ctx context.Context, from io.Reader, in collector.Input, sink collector.Sink) error {
	stats, err := c.capture.Run(ctx, from, in, sink)
	c.stats[in.Name] = stats
	return err
}

// callsOut writes the redacted calls as JSON lines. Without a file it is inert.
type callsOut struct {
	file io.WriteCloser
	buf  *bufio.Writer
}

func (a *app) openCallsOut() (*callsOut, error) {
	name := a.settings.callsOut
	switch name {
	case "":
		return &callsOut{}, nil
	case "-":
		return nil, usage("--calls-out cannot be standard output, which has the result", "name a file")
	}
	file, err := a.env.Create(name)
	if err != nil {
		return nil, broken(err, "pass --calls-out FILE with a place that can be written")
	}
	return &callsOut{file, bufio.NewWriterSize(file, 1<<20)}, nil
}

// put is handed every block of calls after it was stored.
func (o *callsOut) put(calls []schema.Call) error {
	if o.buf == nil {
		return nil
	}
	for i := range calls {
		if err := output.Line(o.buf, &calls[i]); err != nil {
			return broken(err, "the file of --calls-out cannot be written")
		}
	}
	return nil
}

// close flushes the file; a second time it does nothing.
func (o *callsOut) close() error {
	if o.file == nil {
		return nil
	}
	err := errors.Join(o.buf.Flush(), o.file.Close())
	o.file = nil
	return err
}

// deadLetters keeps what is left of units that could not be read: where they
// stood, why, a keyed digest and their shape, never their text.
type deadLetters struct {
	file   io.WriteCloser
	buf    *bufio.Writer
	failed error
}

// deadLetter is one line of the file.
type deadLetter struct {
	Input  string `json:"input"`
	Unit   uint64 `json:"unit"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Reason string `json:"reason"`
	Digest string `json:"digest"`
	Shape  string `json:"shape"`
}

func (a *app) openDeadLetters() (*deadLetters, error) {
	if a.settings.data == "" {
		return &deadLetters{}, nil
	}
	file, err := a.env.Append(filepath.Join(a.settings.data, deadLetterFile))
	if err != nil {
		return nil, broken(err)
	}
	return &deadLetters{file: file, buf: bufio.NewWriter(file)}, nil
}

// orNil is nil where nothing is kept, so that nothing is computed for it.
func (d *deadLetters) orNil() gateway.DeadLetter {
	if d.buf == nil {
		return nil
	}
	return d
}

// Bad takes one unit that could not be read.
func (d *deadLetters) Bad(input string, unit uint64, offset, length int64, reason string, digest [16]byte, shape string) {
	line, err := json.Marshal(deadLetter{input, unit, offset, length, reason, hex.EncodeToString(digest[:]), shape})
	if err == nil {
		_, err = d.buf.Write(append(line, '\n'))
	}
	if err != nil && d.failed == nil {
		d.failed = err
	}
}

// close flushes the file and reports what failed; a second time it does nothing.
func (d *deadLetters) close() error {
	if d.file == nil {
		return nil
	}
	err := errors.Join(d.failed, d.buf.Flush(), d.file.Close())
	d.file = nil
	return err
}
