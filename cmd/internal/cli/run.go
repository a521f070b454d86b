package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/pipeline/direct"
)

// checkpointFile remembers, in the data directory, how far followed files were
// stored.
const checkpointFile = "follow.json"

const runLong = `Watches one machine's logs without end: follows the files as they are written,
through every kind of rotation, stores their calls in --data DIR (or a ClickHouse
server), judges what changed, and writes a JSON line for each finding that
appears, changes or is resolved. Inputs are files, directories and patterns;
what does not exist yet is waited for.

A line is remembered as read only once its calls are stored, so that after a
crash nothing is missing; what comes twice is dropped by its id. The catalogue is
read again when its files change, and with SIGHUP; a broken one is refused and
the old one stays. SIGTERM stores what was read, judges it, and ends with 0.

Standard output has the findings, standard error log lines in JSON. Counters are
served for Prometheus: see --metrics-listen.`

func (a *app) runCommand() *cobra.Command {
	every := time.Second
	c := &cobra.Command{
		Use: "run PATH...", Short: "watch one machine's logs continuously", Long: runLong, Args: inputs("run"),
		Example: "  scopedrift run --data store/ --catalog catalogue/ /var/log/envoy/\n" +
			"  scopedrift run --data store/ --catalog catalogue/ --format envoy '/var/log/envoy/*.log' >> findings.jsonl",
	}
	flags := c.Flags()
	flags.DurationVar(&every, "every", every, "how often what changed is judged")
	a.settings.bind(flags, append([]string{"catalog", "format", "format-file", "key", "host", "tenant", "metrics-listen"}, storeFlags...)...)
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		if every < 100*time.Millisecond {
			return usage("--every is shorter than 100ms", "1s is usual")
		}
		return a.run(ctx, args, every)
	})
	return c
}

// run follows, stores and judges until ctx ends.
func (a *app) run(ctx context.Context, paths []string, every time.Duration) (err error) {
	if a.settings.data == "" && a.settings.clickhouse.value == "" {
		return usage("run needs a place for what it learns", "pass --data DIR with a new directory, or --clickhouse URL")
	}
	if a.env.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	st, err := a.openStation(ctx, "run", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	live, s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	st.server.Alive("engine", s.dead)
	release, err := a.lockWriter()
	if err != nil {
		return err
	}
	defer release()
	follower, dead, err := a.newFollower(ctx, st.log, paths)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dead.close()) }()
	pipeline := direct.New(direct.Config{
		Conn: s.conn, Local: s.engine != nil, Current: st.catalogue.Current, Run: newRun(), Known: true, Exclusive: a.settings.data != "", Followed: true,
	})
	// What was read may be stored and judged for a while after the end.
	late, cancel := operate.Drain(ctx)
	defer cancel()
	defer context.AfterFunc(live, func() { cancel() })()
	if err := pipeline.Open(late); err != nil {
		return s.why(live, err)
	}
	j := newJudge(a, st, s, time.Hour, division{})
	if a.settings.data != "" {
		// The lock of the directory is ours: a run that had the lead is dead.
		if err := j.table.Take(late); err != nil {
			_, closed := pipeline.Close(late)
			return errors.Join(s.why(live, err), closed)
		}
	}
	observePipeline(st.server, pipeline.Stats)
	observeFollower(st.server, follower.Stats)
	j.observe(st.server)
	st.log.Info().Strs("paths", paths).Msg("following")
	reading, stop := context.WithCancelCause(late)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	go j.table.Keep(late)
	judged := make(chan error, 1)
	go func() { judged <- j.run(reading, every) }()
	err = follower.Run(reading, storing{pipeline})
	stop(errInterrupted)
	failed := <-judged
	_, closed := pipeline.Close(late)
	if err = errors.Join(err, failed, closed); err == nil && s.dead() == nil {
		err = j.last(late)
	}
	if died := s.dead(); died != nil {
		return died
	}
	return s.why(live, err)
}

// storing is the pipeline as a sink that answers once a batch is stored.
type storing struct{ to *direct.Pipeline }

// Put stores a batch.
func (s storing) Put(ctx context.Context, batch *collector.Batch) error {
	return s.to.PutStored(ctx, batch)
}

// newFollower makes the follower of the paths that the settings describe, and
// where it writes what is left of lines that cannot be read.
func (a *app) newFollower(ctx context.Context, log operate.Log, paths []string) (*gateway.Follower, *deadLetters, error) {
	key, err := a.installationKey()
	if err != nil {
		return nil, nil, err
	}
	dead, err := a.openDeadLetters()
	if err != nil {
		return nil, nil, err
	}
	if err := a.oneFormat(); err != nil {
		return nil, nil, errors.Join(err, dead.close())
	}
	g, err := a.newGateway(ctx, key, dead.orNil(), a.newCaptures(key, nil), startProgress(nil, false, 0))
	if err != nil {
		return nil, nil, errors.Join(err, dead.close())
	}
	cfg := gateway.Follow{Drain: operate.DrainTime - 3*time.Second, Report: func(err error) {
		log.Warn().Err(err).Msg("following goes on, and this is tried again")
	}}
	for _, path := range paths {
		cfg.Paths = append(cfg.Paths, a.followed(path))
	}
	if a.settings.data != "" {
		cfg.Checkpoint = a.env.Path(filepath.Join(a.settings.data, checkpointFile))
	}
	follower, err := g.Follow(cfg)
	if err != nil {
		return nil, nil, errors.Join(misused(err), dead.close())
	}
	return follower, dead, nil
}

// oneFormat wants --format to be the name of one format; one input's stands
// before its path.
func (a *app) oneFormat() error {
	values := a.settings.format.values
	if len(values) > 1 || strings.Contains(strings.Join(values, ""), ":") {
		return usage("--format names one format for all that is followed", "write NAME:PATH instead of a path for a format of its own")
	}
	return nil
}

// followed makes the path of a followed input absolute, and leaves the format
// before it.
func (a *app) followed(path string) string {
	if name, rest, ok := strings.Cut(path, ":"); ok && !strings.ContainsAny(name, "/*?[") && !a.env.Exists(path) {
		return name + ":" + a.env.Path(rest)
	}
	return a.env.Path(path)
}

// observePipeline adds the counters of a direct pipeline.
func observePipeline(s *operate.Server, stats func() direct.Stats) {
	s.Counter("scopedrift_calls_stored_total", "Calls stored.", func() uint64 { return stats().Calls })
	s.Counter("scopedrift_calls_repeated_total", "Calls dropped because their id was stored already.", func() uint64 { return stats().Repeated })
	s.Counter("scopedrift_calls_unmapped_total", "Stored calls whose operation neither the log nor the catalogue names.", func() uint64 { return stats().Unmapped })
	s.Counters("scopedrift_units_skipped_total", "Lines and other units that became no call.", "reason", func() map[string]uint64 { return stats().Skipped })
	s.Gauge("scopedrift_ranges_repaired", "Ranges that an earlier run left half stored, after which the rollups were folded anew.",
		func() float64 { return float64(stats().Repaired) })
	s.Gauge("scopedrift_latest_call_timestamp_seconds", "Time of the latest stored call, 0 before the first.", func() float64 {
		if last := stats().Last; !last.IsZero() {
			return float64(last.UnixMilli()) / 1000
		}
		return 0
	})
}

// observeFollower adds the counters of a follower of files.
func observeFollower(s *operate.Server, stats func() gateway.FollowStats) {
	s.Gauge("scopedrift_follow_files", "Files that are being read.", func() float64 { return float64(stats().Open) })
	s.Gauge("scopedrift_follow_behind_bytes", "Bytes of the files being read that are not stored yet.", func() float64 { return float64(stats().Behind) })
	s.Counter("scopedrift_follow_units_total", "Lines and other units that were read and stored, or skipped.", func() uint64 { return stats().Units })
	s.Counter("scopedrift_follow_calls_total", "Calls that were read and stored.", func() uint64 { return stats().Calls })
	s.Counter("scopedrift_follow_bytes_total", "Bytes that were read and stored.", func() uint64 { return stats().Bytes })
	s.Counter("scopedrift_follow_ended_total", "Files read to their end: rotated, truncated, or whole from the start.", func() uint64 { return stats().Ended })
	s.Counter("scopedrift_follow_truncated_total", "Files that lost their content in place.", func() uint64 { return stats().Truncated })
	s.Counter("scopedrift_follow_errors_total", "What went wrong with following and is tried again.", func() uint64 { return stats().Errors })
	s.Gauge("scopedrift_follow_last_stored_timestamp_seconds", "When something that was read was last stored, 0 for never.", func() float64 {
		if last := stats().LastPut; !last.IsZero() {
			return float64(last.UnixMilli()) / 1000
		}
		return 0
	})
}

// errJudging explains a pass that could not be done.
func errJudging(err error) error { return fmt.Errorf("judge what is stored: %w", err) }
