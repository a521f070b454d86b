package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
)

// Config is what a Gateway needs to know.
type Config struct {
	// Key is the installation key. Required.
	Key *redact.Key
	// Presets are the formats that are known; nil means the embedded ones.
	Presets *PresetSet
	// Format is the preset that reads inputs which name none; "" means auto.
	Format string
	// Host is given to calls whose log names no host, and replaces the one that
	// stands for a whole API (a cluster, a cloud service).
	Host string
	// Tenant says where the tenant stands if the preset's own places are not it:
	// header:NAME, query:NAME or field:NAME.
	Tenant string
	// TrustedProxies is how many proxies before the one that logs are trusted to
	// write x-forwarded-for truthfully. 0 takes the address that the log names.
	TrustedProxies int
	// DeadLetter is told of units that cannot be read; nil for nobody.
	DeadLetter DeadLetter
	// BatchSize is the number of calls of a full batch; 0 means 2048.
	BatchSize int
	// Stdin is what "-" reads.
	Stdin io.Reader
	// Captures reads an input that is a packet capture. Where it is nil, such an
	// input is an error.
	Captures func(ctx context.Context, r io.Reader, in collector.Input, sink collector.Sink) error
	// Progress is told, now and then, how far reading has come; nil for nobody.
	// Done and total are bytes on disk, total 0 where it is not known.
	Progress func(input string, done, total int64, calls uint64)
}

// Gateway reads logs. It may be used for several runs, one at a time.
type Gateway struct {
	cfg Config
	// formats are compiled sets of presets, by name: all for auto, else one.
	formats map[string]*format
}

const defaultBatch = 2048

var errHost = errors.New("write a host name alone after --host, as in api.example.com or api.example.com:8443")

var errNoKey = errors.New("the gateway has no installation key: load or make one first")

// New checks the configuration and compiles the presets. It opens nothing.
func New(cfg Config) (*Gateway, error) {
	if cfg.Key == nil {
		return nil, errNoKey
	}
	if cfg.Presets == nil {
		set, err := Presets()
		if err != nil {
			return nil, err
		}
		cfg.Presets = set
	}
	if cfg.Format == "" {
		cfg.Format = autoFormat
	}
	if cfg.BatchSize <= 0 {
		cfg.BatchSize = defaultBatch
	}
	if strings.ContainsAny(cfg.Host, "/@?# \t") {
		return nil, fmt.Errorf("host %q: %w", cfg.Host, errHost)
	}
	g := &Gateway{cfg: cfg, formats: map[string]*format{}}
	if _, err := g.format(cfg.Format); err != nil {
		return nil, err
	}
	return g, nil
}

// format returns the compiled presets for a format's name.
func (g *Gateway) format(name string) (*format, error) {
	if f := g.formats[name]; f != nil {
		return f, nil
	}
	presets := g.cfg.Presets.presets
	if name != autoFormat {
		p := g.cfg.Presets.Find(name)
		if p == nil {
			return nil, fmt.Errorf("format %q is not known%s", name, didYouMean(name, g.cfg.Presets.Names()))
		}
		presets = []*Preset{p}
	}
	f, err := compile(presets, g.cfg.Tenant)
	if err != nil {
		return nil, err
	}
	g.formats[name] = f
	return f, nil
}

// Run reads the inputs in their order and hands their calls to sink. It returns
// what it read even where it fails. An input of which more than half cannot be
// read is an error (UnreadableError), after everything has been read.
func (g *Gateway) Run(ctx context.Context, inputs []string, sink collector.Sink) (Report, error) {
	var report Report
	expanded, err := g.expandInputs(inputs)
	if err != nil {
		return report, err
	}
	b := g.builder()
	found := map[string]bool{} // directories in which some log was found
	strays := map[string][]error{}
	var unreadable []error
	for _, in := range expanded {
		one, err := g.readInput(ctx, in.Input, b, sink)
		var mostly *UnreadableError
		known := one != nil && (len(one.Formats) > 0 || one.Capture)
		found[in.dir] = found[in.dir] || known
		if errors.As(err, &mostly) && !known {
			mostly.Known = g.cfg.Presets.Names()
		}
		switch {
		case errors.As(err, &mostly) && in.dir != "" && !known:
			one.NotALog = true
			strays[in.dir] = append(strays[in.dir], err)
		case errors.As(err, &mostly):
			unreadable = append(unreadable, err)
		}
		if one != nil {
			report.Inputs = append(report.Inputs, *one)
		}
		report.Redacted, report.Flaws = b.scrub.Counts(), b.identify.Flaws()
		if err != nil && mostly == nil {
			return report, err
		}
	}
	// A file without any call beside logs is no log; a directory without any is
	// a log that cannot be read.
	for _, dir := range slices.Sorted(maps.Keys(strays)) {
		if !found[dir] {
			unreadable = append(unreadable, strays[dir]...)
		}
	}
	return report, errors.Join(unreadable...)
}

// builder makes what turns units into calls, for one goroutine at a time.
func (g *Gateway) builder() *builder {
	scrub := redact.NewScrubber(g.cfg.Key)
	return &builder{
		texts: newTexts(scrub), scrub: scrub, identify: identify.New(g.cfg.Key),
		host: g.cfg.Host, trusted: g.cfg.TrustedProxies, ids: newIDs(g.cfg.Key),
		calls: make(collector.Spare, maxSpare),
	}
}

// readInput reads one input from its first byte to its last.
func (g *Gateway) readInput(ctx context.Context, in collector.Input, b *builder, sink collector.Sink) (*InputReport, error) {
	f, err := g.format(in.Format)
	if err != nil {
		return nil, err
	}
	s, err := g.open(in)
	if err != nil {
		return nil, err
	}
	defer s.close()
	// From here on the name goes into calls, the ledger and dead letters.
	in.Name = string(b.scrub.Resource([]byte(in.Name)))
	if head := peek(s); IsCapture(head) {
		report := &InputReport{Input: in, Chosen: "a packet capture, by its first bytes", Capture: true}
		if g.cfg.Captures == nil {
			return report, fmt.Errorf("%s is a packet capture: read it with scopedrift collect pcap", in.Name)
		}
		return report, g.capture(ctx, s, report, sink)
	}
	e := newEngine(g, f, in, b, sink)
	return e.read(ctx, s)
}

// peek looks at the first bytes of a stream.
func peek(s *stream) []byte {
	if r, ok := s.Reader.(*bufio.Reader); ok {
		head, _ := r.Peek(4)
		return head
	}
	return nil
}
