package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/reenrich"
	"github.com/scopedrift/scopedrift/schema"
)

// judge judges what is stored, again and again, and tells what became different.
type judge struct {
	*app
	station *station
	store   *store
	stats   func() direct.Stats
	took    func(time.Duration)
	// known are the findings of the last pass, by id, as they were written.
	known map[schema.FindingID][]byte
	// seen is what the last pass was about: there is nothing to do until it
	// differs.
	seen ground

	mu             sync.Mutex
	passes, failed uint64
	open           map[string]float64
	changes        map[string]uint64
}

// ground is what findings depend on.
type ground struct {
	calls  uint64
	digest string
}

// newJudge reads the findings that the store holds.
func newJudge(ctx context.Context, a *app, st *station, s *store, pipeline *direct.Pipeline) (*judge, error) {
	j := &judge{app: a, station: st, store: s, stats: pipeline.Stats, known: map[schema.FindingID][]byte{},
		open: map[string]float64{}, changes: map[string]uint64{}}
	stored, err := clickhouse.Findings(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	for i := range stored {
		if j.known[stored[i].ID], err = json.Marshal(&stored[i]); err != nil {
			return nil, err
		}
	}
	j.count(stored)
	return j, nil
}

func (j *judge) observe(s *operate.Server) {
	read := func(n *uint64) func() uint64 {
		return func() uint64 { j.mu.Lock(); defer j.mu.Unlock(); return *n }
	}
	s.Counter("scopedrift_detector_passes_total", "Passes over what is stored.", read(&j.passes))
	s.Counter("scopedrift_detector_failed_total", "Passes that could not be done and are tried again.", read(&j.failed))
	j.took = s.Durations("scopedrift_detector_pass_seconds", "How long a pass took.")
	s.Gauges("scopedrift_findings_open", "Open findings.", "severity", func() map[string]float64 {
		j.mu.Lock()
		defer j.mu.Unlock()
		out := map[string]float64{}
		for _, word := range schema.Severities() {
			out[word] = j.open[word]
		}
		return out
	})
	s.Counters("scopedrift_finding_changes_total", "Findings that were told of.", "change", func() map[string]uint64 {
		j.mu.Lock()
		defer j.mu.Unlock()
		return map[string]uint64{"opened": j.changes["opened"], "updated": j.changes["updated"], "resolved": j.changes["resolved"]}
	})
}

// run judges until ctx ends, as often as every. A pass that fails is tried again.
func (j *judge) run(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := j.pass(ctx); err != nil && ctx.Err() == nil {
			if j.store.dead() != nil {
				return errJudging(err)
			}
			j.mu.Lock()
			j.failed++
			j.mu.Unlock()
			j.station.log.Error().Err(err).Msg("could not judge what is stored: it is tried again")
		}
	}
}

// last is the pass after reading has ended.
func (j *judge) last(ctx context.Context) error {
	err := j.pass(ctx)
	if err != nil && ctx.Err() != nil {
		j.station.log.Warn().Msg("there was no time left to judge what was read last: the next start does")
		return nil
	}
	return err
}

// pass judges everything that is stored, if anything changed since the last one.
func (j *judge) pass(ctx context.Context) error {
	cat := j.station.catalogue.Current()
	now := ground{calls: j.stats().Calls, digest: cat.Digest}
	if now == j.seen {
		return nil
	}
	begun := time.Now()
	var found output.Report
	err := reenrich.Undisturbed(ctx, j.store.conn, func() error {
		found.Findings = nil
		_, err := detector.New(detector.Config{Catalog: cat, Conn: j.store.conn}).Run(ctx, findingsOf{&found})
		return err
	})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if err := clickhouse.SaveFindings(ctx, j.store.conn, found.Findings, begun); err != nil {
		return err
	}
	if err := j.tell(found.Findings); err != nil {
		return err
	}
	j.seen = now
	j.count(found.Findings)
	j.mu.Lock()
	j.passes++
	j.mu.Unlock()
	if j.took != nil {
		j.took(time.Since(begun))
	}
	return nil
}

// tell writes a line for each finding that is new, different or gone.
func (j *judge) tell(findings []schema.Finding) error {
	after := make(map[schema.FindingID][]byte, len(findings))
	changed := func(what string, f *schema.Finding) error {
		j.mu.Lock()
		j.changes[what]++
		j.mu.Unlock()
		if err := output.Line(j.env.Stdout, f); err != nil {
			return broken(err, "the findings are in the store; start again with a standard output that can be written")
		}
		return nil
	}
	for i := range findings {
		f := &findings[i]
		body, err := json.Marshal(f)
		if err != nil {
			return err
		}
		after[f.ID] = body
		before, known := j.known[f.ID]
		switch {
		case !known:
			err = changed("opened", f)
		case !bytes.Equal(before, body):
			err = changed("updated", f)
		}
		if err != nil {
			return err
		}
	}
	for id, body := range j.known {
		if _, still := after[id]; still {
			continue
		}
		var f schema.Finding
		if err := json.Unmarshal(body, &f); err != nil {
			return err
		}
		f.Status = schema.StatusResolved
		if err := changed("resolved", &f); err != nil {
			return err
		}
	}
	j.known = after
	return nil
}

func (j *judge) count(findings []schema.Finding) {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.open)
	for i := range findings {
		j.open[findings[i].Severity.String()]++
	}
}
