package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/schema"
)

const collectLong = `Turns what gateways log into calls, without a secret in them, and hands them to
Kafka, where ingesters read them; without --kafka they go to standard output, a
JSON line each. Collectors need no catalogue and no store.`

func (a *app) collectCommand() *cobra.Command {
	return group("collect", "hand on calls to Kafka, for a cluster", collectLong, a.collectGatewayCommand())
}

const collectGatewayLong = `Reads gateway logs and hands on their calls. With --follow it goes on as the files
are written, through every kind of rotation: renamed files are read to their end,
truncated ones begin anew, copies and compressed forms of what was read are known
and not read again. PATH is a file, a directory or a pattern; what does not exist
yet is waited for.

--checkpoint FILE remembers how far Kafka has acknowledged: after a crash the
collector goes on there; calls that come twice have the same ids. While the
brokers are away the files wait. SIGTERM hands on what was read, within 15 s.`

// collecting is what the flags of one collector say.
type collecting struct {
	follow     bool
	checkpoint string
	linger     time.Duration
}

func (a *app) collectGatewayCommand() *cobra.Command {
	o := collecting{linger: time.Minute}
	c := &cobra.Command{
		Use: "gateway PATH...", Short: "hand on the calls of gateway logs", Long: collectGatewayLong, Args: inputs("collect gateway"),
		Example: "  scopedrift collect gateway --kafka kafka-1:9092 --follow --checkpoint /var/lib/scopedrift/follow.json /var/log/envoy/\n" +
			"  scopedrift collect gateway --format envoy access.log > calls.jsonl",
	}
	flags := c.Flags()
	flags.BoolVar(&o.follow, "follow", false, "go on as the files are written")
	flags.StringVar(&o.checkpoint, "checkpoint", "", "file that remembers how far the files were handed on")
	flags.DurationVar(&o.linger, "linger", o.linger, "how long a file that was rotated away is still read after its last line")
	a.bindOutlet(flags)
	a.settings.bind(flags, "format", "format-file", "key", "host", "tenant", "metrics-listen")
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		switch {
		case o.checkpoint != "" && !o.follow:
			return usage("--checkpoint is of use with --follow only", "pass --follow, or leave it out")
		case o.linger < time.Second || o.linger > 24*time.Hour:
			return usage(fmt.Sprintf("--linger %v is not between 1s and 24h", o.linger), "1m is usual")
		}
		return a.collectGateway(ctx, args, o)
	})
	return c
}

// collectGateway reads files and hands on their calls.
func (a *app) collectGateway(ctx context.Context, args []string, o collecting) (err error) {
	var g *gateway.Gateway
	if o.follow {
		err = a.oneFormat()
	} else {
		args, err = a.checkInputs(args)
	}
	if err != nil {
		return err
	}
	key, err := a.installationKey()
	if err != nil {
		return err
	}
	if g, err = a.newGateway(ctx, key, nil, a.newCaptures(key), startProgress(nil, false, 0)); err != nil {
		return err
	}
	st, err := a.openStation(ctx, "collect", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	out, err := a.openOutlet(st)
	if err != nil {
		return err
	}
	if !o.follow {
		return out.deliver(ctx, func(ctx context.Context, sink collector.Sink) error {
			report, err := g.Run(ctx, args, sink)
			st.log.Info().Uint64("calls", report.Calls()).Int("inputs", len(report.Inputs)).Msg("read to the end")
			return err
		})
	}
	cfg := gateway.Follow{Linger: o.linger, Drain: collectDrain, Report: healing(st.log)}
	if o.checkpoint != "" {
		cfg.Checkpoint = a.env.Path(o.checkpoint)
		unlock, err := lockBeside(cfg.Checkpoint)
		if err != nil {
			return err
		}
		defer unlock()
	} else {
		st.log.Warn().Msg("without --checkpoint a new start reads all files from their beginning")
	}
	for _, path := range args {
		cfg.Paths = append(cfg.Paths, a.followed(path))
	}
	follower, err := g.Follow(cfg)
	if err != nil {
		return misused(err)
	}
	observeFollower(st.server, follower.Stats)
	s := st.server
	s.Counters("scopedrift_follow_skipped_total", "Lines and other units that became no call.", "reason", func() map[string]uint64 { return follower.Stats().Skipped })
	s.Counter("scopedrift_follow_resumed_total", "Files taken up again where they were left.", func() uint64 { return follower.Stats().Resumed })
	s.Counter("scopedrift_follow_copies_total", "Files that hold nothing but what was read elsewhere.", func() uint64 { return follower.Stats().Copies })
	st.log.Info().Int("paths", len(args)).Str("to", out.name).Msg("following")
	return out.deliver(ctx, follower.Run)
}

// The bounds of the end: the source hands on what it has, and what takes it then
// finishes. Together they fit into [operate.DrainTime].
const (
	collectDrain = operate.DrainTime - 6*time.Second
	outletDrain  = operate.DrainTime - time.Second
)

// lockBeside makes this process the only one that works with a file.
func lockBeside(path string) (unlock func(), err error) {
	fd, err := unix.Open(path+".lock", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, broken(fmt.Errorf("lock %s: %w", path, err), "name a file in a directory that exists and can be written")
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return nil, broken(fmt.Errorf("another collector works with %s", path), "end it, or give this one a file of its own")
	}
	return func() { _ = unix.Close(fd) }, nil
}

// bindOutlet makes the flags that say where calls go.
func (a *app) bindOutlet(flags *pflag.FlagSet) {
	a.settings.bind(flags, kafkaFlags...)
}

// outlet is where a collector's calls go.
type outlet struct {
	name string
	sink collector.Sink
	// parts run as long as the source, and end in their order.
	parts []func(ctx context.Context) error
	// empty, if set, waits until what was put is handed on, for a source that
	// ends by itself.
	empty func(ctx context.Context) error
}

// openOutlet makes the outlet that the settings describe.
func (a *app) openOutlet(st *station) (*outlet, error) {
	if !a.settings.kafka.given() {
		return &outlet{name: "standard output", sink: &lines{buf: bufio.NewWriterSize(a.env.Stdout, 1<<16)}}, nil
	}
	cfg, err := a.kafkaConfig()
	if err != nil {
		return nil, err
	}
	topic := a.kafkaNames().Calls
	producer, err := kafka.NewProducer(kafka.ProducerConfig{Config: cfg, Topic: topic, Report: healing(st.log)})
	if err != nil {
		return nil, misused(err)
	}
	observeProducer(st.server, producer.Stats)
	return &outlet{name: topic, sink: producer, parts: []func(context.Context) error{producer.Run}}, nil
}

// deliver runs the source and what takes its calls, until the source ends.
func (o *outlet) deliver(ctx context.Context, source func(context.Context, collector.Sink) error) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	type part struct {
		end  context.CancelFunc
		done chan error
	}
	parts := make([]part, len(o.parts))
	for i, run := range o.parts {
		live, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		parts[i] = part{end, make(chan error, 1)}
		go func() {
			err := run(live)
			if err != nil {
				stop(err)
			}
			parts[i].done <- err
		}()
	}
	err := source(reading, o.sink)
	if err == nil && o.empty != nil && reading.Err() == nil {
		err = o.empty(reading)
	}
	told := ctx.Err() != nil
	if told && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		err = nil // it was told to end, and what was not acknowledged is not forgotten
	}
	patience := make(<-chan time.Time)
	if told {
		patience = time.After(outletDrain - collectDrain)
	}
	for _, p := range parts {
		p.end()
		select {
		case failed := <-p.done:
			err = errors.Join(err, failed)
		case <-patience:
			// What it still holds was not acknowledged to the source either.
			return err
		}
	}
	return err
}

// observeProducer adds the counters of what is handed to Kafka.
func observeProducer(s *operate.Server, stats func() kafka.SendStats) {
	s.Counter("scopedrift_produced_messages_total", "Messages that Kafka acknowledged.", func() uint64 { return stats().Messages })
	s.Counter("scopedrift_produced_bytes_total", "Bytes of these messages, before compression.", func() uint64 { return stats().Bytes })
	s.Counter("scopedrift_produced_sent_bytes_total", "Bytes of the requests that Kafka acknowledged.", func() uint64 { return stats().Sent })
	s.Counter("scopedrift_produce_retries_total", "Requests to Kafka that were tried again.", func() uint64 { return stats().Retries })
	s.Counter("scopedrift_produce_too_large_total", "Calls lost because no broker takes a message of their size.", func() uint64 { return stats().TooLarge })
	s.Gauge("scopedrift_produce_buffered_bytes", "Bytes that wait for Kafka.", func() float64 { return float64(stats().Buffered) })
	s.Ready("kafka", func() error {
		if failing := stats().Failing; !failing.IsZero() {
			return fmt.Errorf("nothing was taken by Kafka since %s", failing.UTC().Format(time.RFC3339))
		}
		return nil
	})
}

// lines writes calls as JSON lines. It is a sink.
type lines struct {
	mu  sync.Mutex
	buf *bufio.Writer
}

// Put writes a batch, and returns when it is written.
func (l *lines) Put(_ context.Context, batch *schema.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch.Calls {
		if err := output.Line(l.buf, &batch.Calls[i]); err != nil {
			return broken(err)
		}
	}
	if batch.Free != nil {
		batch.Free()
	}
	if err := l.buf.Flush(); err != nil {
		return broken(err)
	}
	return nil
}
