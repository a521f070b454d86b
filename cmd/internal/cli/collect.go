package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/schema"
)

const collectLong = `Turns what gateways log, or packets show, into calls, without a secret in them,
and hands them to Kafka, where ingesters read them; without --kafka they go to
standard output, a JSON line each. Collectors need no catalogue and no store.`

func (a *app) collectCommand() *cobra.Command {
	return group("collect", "hand on calls to Kafka, for a cluster", collectLong, a.collectGatewayCommand(), a.collectPcapCommand(), a.collectReceiveCommand())
}

const collectGatewayLong = `Reads gateway logs and hands on their calls. With --follow it goes on as the files
are written, through every kind of rotation: renamed files are read to their end,
truncated ones begin anew, copies and compressed forms of what was read are known
and not read again. PATH is a file, a directory or a pattern; what does not exist
yet is waited for.

--checkpoint FILE remembers how far Kafka has acknowledged: after a crash the
collector goes on there; calls that come twice have the same ids. While the
brokers are away the files wait, or the calls go to --spool. SIGTERM hands on what
was read, within 15 s.`

// collecting is what the flags of one collector say.
type collecting struct {
	follow     bool
	checkpoint string
	linger     time.Duration
	spool      spooling
}

func (a *app) collectGatewayCommand() *cobra.Command {
	o := collecting{linger: time.Minute, spool: newSpooling()}
	c := &cobra.Command{
		Use: "gateway PATH...", Short: "hand on the calls of gateway logs", Long: collectGatewayLong, Args: inputs("collect gateway"),
		Example: "  scopedrift collect gateway --kafka kafka-1:9092 --follow --checkpoint /var/lib/scopedrift/follow.json /var/log/envoy/\n" +
			"  scopedrift collect gateway --format envoy access.log > calls.jsonl",
	}
	flags := c.Flags()
	flags.BoolVar(&o.follow, "follow", false, "go on as the files are written")
	flags.StringVar(&o.checkpoint, "checkpoint", "", "file that remembers how far the files were handed on")
	flags.DurationVar(&o.linger, "linger", o.linger, "how long a file that was rotated away is still read after its last line")
	a.bindOutlet(flags, &o.spool)
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
	if g, err = a.newGateway(ctx, key, nil, a.newCaptures(key, nil), startProgress(nil, false, 0)); err != nil {
		return err
	}
	st, err := a.openStation(ctx, "collect", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	out, err := a.openOutlet(st, o.spool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
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
