package detector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Config says what a detector works on. Conn or Facts is required.
type Config struct {
	// Catalog is what is known about services and credentials; nil is nothing.
	Catalog *catalog.Catalog
	// Conn is the store; it is not closed.
	Conn driver.Conn
	// Facts replaces Conn.
	Facts Facts
	// Window is the span judged. An open start is the earliest call, an open
	// end the latest: "now" is Window.To, else the time of the latest call.
	Window schema.Window
	// MinDays is how many observed days of silence make a scope unused, 30
	// where it is 0; Horizon how many days back that is looked for, 90 where
	// it is 0.
	MinDays, Horizon int
	// Only, if it is not nil, narrows the pass to the subjects behind these
	// principals: what it says of them is what a whole pass says. The inventory
	// of a store without a catalogue is of all credentials, so it is left out;
	// and scores are not ranked: [Rank] does that, together with what stands of
	// other credentials.
	Only []schema.PrincipalHash
	// Known, if it is not nil, returns the calls of a finding that an earlier pass
	// made of the same uses, and false for all others, of which they are read. The
	// finding has neither calls nor a place among others yet.
	Known func(*schema.Finding) ([]schema.Call, bool)
	// Shard narrows the pass to a share of the subjects; scores are then not
	// ranked either.
	Shard Shard
	// Progress is told how many credentials are done, and of how many; it may
	// be nil.
	Progress func(done, total int)
}

// Handler takes what the detector has to say. Both methods are called from the
// goroutine of Run, findings in their stable order and after all of the work; an
// error from Finding ends Run with it.
type Handler interface {
	Finding(schema.Finding) error
	// Note takes a sentence for people about what could not be done.
	Note(string)
}

// Detector finds drift in stored calls.
type Detector struct {
	cfg   Config
	facts Facts
}

// New returns a detector that has done nothing yet.
func New(cfg Config) *Detector {
	if cfg.Catalog == nil {
		cfg.Catalog = catalog.Empty()
	}
	if cfg.MinDays == 0 {
		cfg.MinDays = rule.DefaultMinDays
	}
	if cfg.Horizon == 0 {
		cfg.Horizon = rule.DefaultHorizon
	}
	d := &Detector{cfg: cfg, facts: cfg.Facts}
	if d.facts == nil && cfg.Conn != nil {
		d.facts = Store(cfg.Conn)
	}
	return d
}

var errNoFacts = errors.New("the detector has no store to read: set Conn or Facts in its configuration")

// Run judges all use in the window and hands the findings to h, the gravest
// first, then by code, credential, object and id. What it returns and hands on
// depends on calls and catalogue only.
func (d *Detector) Run(ctx context.Context, h Handler) (Summary, error) {
	if d.facts == nil {
		return Summary{}, errNoFacts
	}
	r, err := d.prepare(ctx)
	if err != nil {
		return Summary{}, err
	}
	for _, note := range r.summary.Notes {
		h.Note(note)
	}
	if r.empty {
		return r.summary, nil
	}
	if err := r.judgeAll(ctx, d.cfg.Progress); err != nil {
		return r.summary, err
	}
	if err := r.movement(ctx); err != nil {
		return r.summary, fmt.Errorf("follow what links credentials: %w", err)
	}
	if err := r.ancestry(ctx); err != nil {
		return r.summary, fmt.Errorf("follow how credentials were issued: %w", err)
	}
	if err := r.deputy(ctx); err != nil {
		return r.summary, fmt.Errorf("follow what services do for others: %w", err)
	}
	r.inventory(d.cfg.Only == nil)
	r.drafts = slices.DeleteFunc(r.drafts, func(one rule.Draft) bool { return !d.cfg.Shard.Owns(one.Finding.Credential.ID) })
	if d.cfg.Only == nil && d.cfg.Shard.Whole() {
		// Which place a score has among others, only all of them tell.
		r.rank()
	}
	r.order()
	if err := r.emit(ctx, h); err != nil {
		return r.summary, err
	}
	return r.summary, nil
}

// run is one pass over the store.
type run struct {
	facts  Facts
	env    *rule.Env
	window schema.Window
	// folded is the window, widened to whole days where a bound is open: there
	// is nothing beyond, and whole days are folded already.
	folded   schema.Window
	subjects []*rule.Subject
	// everyone are all subjects, of which subjects are those judged, and by
	// which principals they are known; from is the earliest call stored.
	everyone []*rule.Subject
	byHash   map[schema.PrincipalHash]*rule.Subject
	from     time.Time
	drafts   []rule.Draft
	summary  Summary
	withheld withheldSet
	empty    bool

	// each is handed every subject after its rules, with its uses; cuts are
	// times at which uses are split besides those of grants.
	each func(*Judged) error
	cuts []time.Time
	// known is that of the configuration.
	known func(*schema.Finding) ([]schema.Call, bool)
}

// prepare finds out what there is to judge.
func (d *Detector) prepare(ctx context.Context) (*run, error) {
	r := &run{facts: d.facts, summary: newSummary(), known: d.cfg.Known}
	cat := d.cfg.Catalog
	if len(cat.Credentials) == 0 && len(cat.Services) == 0 {
		r.summary.Notes = append(r.summary.Notes, "no catalogue: nothing is known of grants, demands and owners, so only what needs none of them is reported")
	}
	first, last, err := r.facts.Span(ctx)
	if err != nil {
		return nil, err
	}
	window, now, ok := span(d.cfg.Window, first, last)
	r.summary.Window = window
	if !ok {
		r.empty = true
		r.summary.Notes = append(r.summary.Notes, "no calls are stored in the window, so there is nothing to judge")
		return r, nil
	}
	r.window, r.folded = window, window
	if d.cfg.Window.From.IsZero() {
		r.folded.From = window.From.Truncate(24 * time.Hour)
	}
	if d.cfg.Window.To.IsZero() {
		r.folded.To = window.To.Add(24*time.Hour - 1).Truncate(24 * time.Hour)
	}
	var days []rule.SourceDay
	var incomplete []string
	var losses []rule.Loss
	// None of these needs another, and each takes the store longer to begin than to answer.
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) { days, err = r.facts.SourceDays(asking); return err })
	group.Go(func() (err error) { incomplete, err = r.facts.Incomplete(asking); return err })
	group.Go(func() (err error) { losses, err = r.facts.Losses(asking); return err })
	group.Go(func() (err error) { r.subjects, err = subjects(asking, r.facts, cat, window); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	r.env = &rule.Env{
		Catalog: cat, Compare: compare.New(cat), Window: window, Now: now,
		Coverage: rule.NewCoverage(cat, window, days, incomplete, losses),
		MinDays:  d.cfg.MinDays, Horizon: d.cfg.Horizon, Since: first.UTC(),
	}
	r.summary.Now = now
	r.summary.Notes = append(r.summary.Notes, ended(cat, now)...)
	r.summary.Active = active(r.subjects)
	r.know(first)
	r.env.Active = r.summary.Active
	if d.cfg.Only != nil {
		r.subjects = narrowed(r.subjects, d.cfg.Only)
	}
	if !d.everyones() {
		r.subjects = slices.DeleteFunc(r.subjects, func(s *rule.Subject) bool { return !d.cfg.Shard.Owns(s.Name) })
	}
	r.summary.seeSubjects(r.subjects)
	r.summary.seeCoverage(r.env.Coverage, cat, days)
	return r, nil
}

// everyones reports whether the pass is over subjects of all shards: where there
// is no catalogue of credentials, one shard sums up all of them.
func (d *Detector) everyones() bool {
	return d.cfg.Only == nil && len(d.cfg.Catalog.Credentials) == 0 && d.cfg.Shard.Owns(rule.AllCredentials)
}

// span closes the window: an open start is the earliest call, an open end just
// after the latest. now is what the end means to people.
func span(w schema.Window, first, last time.Time) (closed schema.Window, now time.Time, ok bool) {
	closed, now = w, w.To
	if closed.From.IsZero() {
		closed.From = first
	}
	if closed.To.IsZero() && !last.IsZero() {
		now = last
		closed.To = last.Add(time.Microsecond)
	}
	closed.From, closed.To, now = closed.From.UTC(), closed.To.UTC(), now.UTC()
	ok = !first.IsZero() && closed.From.Before(closed.To) && first.Before(closed.To) && !last.Before(closed.From)
	return closed, now, ok
}

// inventory sums up the unowned and the weak credentials where there is no
// catalogue that could own any. Without all of them there is nothing to sum up.
func (r *run) inventory(all bool) {
	if len(r.env.Catalog.Credentials) > 0 {
		return
	}
	var unowned, weak, rest []rule.Draft
	for _, d := range r.drafts {
		switch d.Finding.Code {
		case rule.UnownedCredential:
			unowned = append(unowned, d)
		case rule.WeakCredential:
			weak = append(weak, d)
		default:
			rest = append(rest, d)
		}
	}
	r.drafts = rest
	if one, ok := rule.Inventory(unowned); ok && all {
		r.drafts = append(r.drafts, one)
	}
	if one, ok := rule.Weaknesses(weak); ok && all {
		r.drafts = append(r.drafts, one)
	}
}

// order sorts the findings.
func (r *run) order() {
	slices.SortFunc(r.drafts, func(a, b rule.Draft) int { return Order(&a.Finding, &b.Finding) })
}

// evidenceBatch is how many findings share the questions for their calls. It
// bounds the calls that are held at a time: at most twenty for each.
const evidenceBatch = 1024

// emit gives each finding its calls and hands it on.
func (r *run) emit(ctx context.Context, h Handler) error {
	for batch := range slices.Chunk(r.drafts, evidenceBatch) {
		wants := make([][]rule.Selector, len(batch))
		known := map[int][]schema.Call{}
		for i := range batch {
			if r.known != nil {
				if calls, ok := r.known(&batch[i].Finding); ok {
					known[i] = calls
					continue
				}
			}
			wants[i] = batch[i].Want
		}
		calls, err := r.facts.Calls(ctx, r.window, wants)
		if err != nil {
			return fmt.Errorf("read the calls behind %d findings: %w", len(batch), err)
		}
		for i := range batch {
			f := batch[i].Finding
			if f.Evidence.Calls = calls[i]; known[i] != nil {
				f.Evidence.Calls = known[i]
			}
			for k := range f.Evidence.Calls {
				// Which file a call was read from is no fact about the call: a
				// log that is renamed or split must not change a finding. The
				// call's id finds it again.
				f.Evidence.Calls[k].Source.Name = ""
			}
			r.suppress(&f)
			switch {
			case f.Status == schema.StatusSuppressed:
				r.summary.Suppressed++
			case f.OverBudget:
				r.summary.OverBudget++
			default:
				r.summary.Findings[f.Severity.String()]++
			}
			if err := h.Finding(f); err != nil {
				return err
			}
		}
	}
	r.summary.Withheld = r.withheld.list()
	return nil
}
