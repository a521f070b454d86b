package cli

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/notify"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/reenrich"
	"github.com/scopedrift/scopedrift/schema"
)

// judge judges what is stored, again and again, and tells what became different.
type judge struct {
	*app
	station *station
	store   *store
	ticker  *tick.Ticker
	table   *tick.Table
	outbox  []*notify.Outbox
	took    func(time.Duration)
	failed  atomic.Uint64
	// notes are what the last pass over everything could not do.
	notes []string
}

// division is how a judge divides the work with others.
type division struct {
	shard detector.Shard
	// lease is how long the lead of the shard is held by one that died.
	lease time.Duration
}

func newJudge(a *app, st *station, s *store, posture time.Duration, of division) *judge {
	j := &judge{app: a, station: st, store: s}
	j.table = &tick.Table{Conn: s.conn, Shard: of.shard, Lease: of.lease, Holder: newRun(),
		Load: func(ctx context.Context) ([]schema.Finding, error) { return clickhouse.Findings(ctx, s.conn) },
		Write: func(ctx context.Context, findings []schema.Finding, written time.Time) error {
			return clickhouse.InsertFindings(ctx, s.conn, findings, written)
		},
	}
	j.ticker = tick.New(tick.Config{
		Store: j.table, Facts: func() detector.Facts { return detector.Store(s.conn) }, Catalog: st.catalogue.Current, Posture: posture, Shard: of.shard,
		Steadily: func(ctx context.Context, pass func() error) error { return reenrich.Undisturbed(ctx, s.conn, pass) },
	})
	return j
}

// tellTo adds a receiver of what changes.
func (j *judge) tellTo(r notify.Receiver, refresh time.Duration) {
	j.outbox = append(j.outbox, notify.New(notify.Config{Conn: j.store.conn, Receiver: r, Refresh: refresh, Shard: j.table.Shard, Lead: j.table.Leads,
		Report: func(err error) { j.station.log.Warn().Err(err).Msg("this is tried again") }}))
}

func (j *judge) observe(s *operate.Server) {
	stats := func() tick.Stats {
		if j.ticker == nil {
			return tick.Stats{}
		}
		return j.ticker.Stats()
	}
	s.Counter("scopedrift_detector_passes_total", "Passes over what is stored.", func() uint64 { return stats().Steps })
	s.Counter("scopedrift_detector_full_total", "Passes over everything.", func() uint64 { return stats().Full })
	s.Counter("scopedrift_detector_idle_total", "Steps that found nothing new.", func() uint64 { return stats().Idle })
	s.Counter("scopedrift_detector_standby_total", "Steps in which another detector had the lead.", func() uint64 { return stats().Standby })
	s.Counter("scopedrift_detector_credentials_total", "Credentials judged.", func() uint64 { return stats().Credentials })
	s.Counter("scopedrift_detector_failed_total", "Passes that could not be done and are tried again.", j.failed.Load)
	j.took = s.Durations("scopedrift_detector_pass_seconds", "How long a pass took.")
	s.Gauges("scopedrift_findings_open", "Open findings.", "severity", func() map[string]float64 {
		out, open := map[string]float64{}, stats().Open
		for _, word := range schema.Severities() {
			out[word] = float64(open[word])
		}
		return out
	})
	s.Gauge("scopedrift_findings_suppressed", "Suppressed findings.", func() float64 { return float64(stats().Suppressed) })
	s.Counters("scopedrift_finding_changes_total", "Findings that were told of.", "change", func() map[string]uint64 {
		out, changes := map[string]uint64{}, stats().Changes
		for _, kind := range tick.Kinds() {
			out[string(kind)] = changes[kind]
		}
		return out
	})
	sum := func(of func(notify.Stats) uint64) func() uint64 {
		return func() (n uint64) {
			for _, o := range j.outbox {
				n += of(o.Stats())
			}
			return n
		}
	}
	s.Counter("scopedrift_notify_sent_total", "Findings that receivers acknowledged.", sum(func(n notify.Stats) uint64 { return n.Sent }))
	s.Counter("scopedrift_notify_failed_total", "Attempts to tell a receiver that failed.", sum(func(n notify.Stats) uint64 { return n.Failed }))
}

// run judges until ctx ends, as often as every. A pass that fails is tried again.
func (j *judge) run(ctx context.Context, every time.Duration) error {
	var busy sync.WaitGroup
	defer busy.Wait()
	for _, o := range j.outbox {
		busy.Go(func() { o.Run(ctx) })
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := j.pass(ctx, false); err != nil && ctx.Err() == nil {
			var said *fault
			if j.store.dead() != nil || errors.As(err, &said) {
				return errJudging(err)
			}
			j.failed.Add(1)
			j.station.log.Error().Err(err).Msg("could not judge what is stored: it is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// await waits for the lead: a detector that died has it for a while.
func (j *judge) await(ctx context.Context) error {
	for end := time.Now().Add(2 * tick.LeaseTime); ; {
		lead, err := j.table.Lead(ctx)
		late := time.Now().After(end)
		var divided *tick.Divided
		if lead > 0 || err != nil && (late || !errors.As(err, &divided)) {
			return err
		}
		if late {
			return &fault{text: "another detector works on this store", code: codeBroken, hints: []string{"its findings are in the store: scopedrift findings lists them"}}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// last is the pass after reading has ended: everything is judged as of one moment.
// Receivers are told of what is left once, and otherwise by the next start.
func (j *judge) last(ctx context.Context) error {
	err := j.pass(ctx, true)
	if err != nil && ctx.Err() != nil {
		j.station.log.Warn().Msg("there was no time left to judge what was read last: the next start does")
		return nil
	}
	if !j.table.Leads() {
		return err // whoever has the lead tells
	}
	for _, o := range j.outbox {
		if failed := o.Flush(ctx); err == nil && failed != nil {
			j.station.log.Warn().Err(failed).Msg("findings wait in the store for the next start")
		}
	}
	return errors.Join(err, j.table.Resign(ctx))
}

// pass judges what changed, or everything, and writes a line for each change.
func (j *judge) pass(ctx context.Context, everything bool) error {
	begun := time.Now()
	result, err := j.ticker.Tick(ctx, everything)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if result.Full && !slices.Equal(result.Notes, j.notes) {
		j.notes = result.Notes
		for _, note := range result.Notes {
			j.station.log.Warn().Msg(note)
		}
	}
	for i := range result.Changes {
		if err := output.Line(j.env.Stdout, &result.Changes[i].Finding); err != nil {
			return broken(err, "the findings are in the store; start again with a standard output that can be written")
		}
	}
	if j.took != nil && !result.Standby && !result.Idle {
		j.took(time.Since(begun))
	}
	return nil
}

// findingsTopic is the Kafka topic of findings as a receiver.
type findingsTopic struct {
	to   *kafka.Findings
	name string
}

// Name names the receiver.
func (f findingsTopic) Name() string { return "kafka " + f.name }

// Receive writes findings as CloudEvents. The id is of a finding in a state, so
// that one that comes twice is known.
func (f findingsTopic) Receive(ctx context.Context, findings []schema.Finding) error {
	notices := make([]kafka.Notice, len(findings))
	for i := range findings {
		one := &findings[i]
		body, err := json.Marshal(one)
		if err != nil {
			return err
		}
		notices[i] = kafka.Notice{ID: notify.StateID(one.ID, body), Type: "scopedrift.finding." + one.Status.String(), Source: "/scopedrift/detector",
			Subject: string(one.ID), Time: one.Last, Data: body}
	}
	return f.to.Put(ctx, notices...)
}
