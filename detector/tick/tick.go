// Package tick judges a store again and again while calls come in, and tells what
// became different: findings that open, change, are resolved, and return.
//
// The one function to want is [New]; [Ticker.Tick] is one step. It promises that
// a step judges by the very function that a scan uses, and only the credentials
// of which calls were stored since they were judged, so that it costs what changed;
// that where those are many it judges some, the ones that did something new first,
// and the others within a few steps;
// that after [Config].Posture everything was judged as of one moment; that a
// change is in the store before anybody is told; and that of several tickers on
// one shard one works while the others stand by. It cannot see calls that were
// stored without their row in the table of what was touched.
package tick

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// Touch says how often calls of a principal were stored in a minute of the store's
// clock. The number rises when an insert that came in then is done later.
type Touch struct {
	Minute
	Times uint64
}

// Minute is a minute, by its begin, in which calls of a principal were stored.
type Minute struct {
	Principal schema.PrincipalHash
	Begin     time.Time
}

// Suppression silences a finding until a time.
type Suppression struct {
	Reason string
	Until  time.Time
}

// Store is what a ticker asks of the store. Errors are final for a step, which is
// then done again.
type Store interface {
	// Touched lists of which principals calls were stored at or after a time, which
	// is that of a full minute. The zero time means what may still become visible:
	// the minutes of [Overlap] before the store's own now.
	Touched(ctx context.Context, since time.Time) ([]Touch, error)
	// News says of each of these principals in a number what it was seen doing. Only
	// that it is another one means something: there may be something new.
	News(ctx context.Context, since time.Time) (map[schema.PrincipalHash]uint64, error)
	// Findings lists all findings, the resolved ones too.
	Findings(ctx context.Context) ([]schema.Finding, error)
	// Suppressions lists what is silenced at a time, by finding.
	Suppressions(ctx context.Context, at time.Time) (map[schema.FindingID]Suppression, error)
	// Save writes findings as they are now, over what was known of them. It fails
	// with ErrLost where another has the lead.
	Save(ctx context.Context, findings []schema.Finding) error
	// Scores lists the scores that stand of subjects of other shards; changed says
	// that there may be others than the last time, and the list is of use.
	Scores(ctx context.Context) (list []schema.Finding, changed bool, err error)
	// Lead takes or keeps the lead of the shard, and returns since which term it was
	// not lost; 0 is that another has it.
	Lead(ctx context.Context) (term uint64, err error)
}

// Config says how a ticker works. Store, Catalog and Facts are required.
type Config struct {
	Store Store
	// Facts makes what one pass reads, as [detector.Store] does.
	Facts func() detector.Facts
	// Catalog is asked once a step.
	Catalog func() *catalog.Catalog
	// Shard is the share of the subjects that is judged.
	Shard detector.Shard
	// Steadily does one pass over the store so that nothing is swapped under it; it
	// may do it more than once. Nil is once.
	Steadily func(ctx context.Context, pass func() error) error
	// Posture is how often everything is judged while calls come in; default an
	// hour. It is also judged at the first step, when the catalogue changed, and
	// when the day of the latest call did.
	Posture time.Duration
	// Turn is how many principals that go on as before a step judges at least, where
	// more than four times as many have new calls; default 64.
	Turn int
	// MinDays and Horizon are those of [detector.Config].
	MinDays, Horizon int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Kind is how a finding changed.
type Kind string

// The kinds.
const (
	Opened     Kind = "opened"
	Updated    Kind = "updated"
	Resolved   Kind = "resolved"
	Reopened   Kind = "reopened"
	Suppressed Kind = "suppressed"
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{Opened, Updated, Resolved, Reopened, Suppressed} }

// Change is a finding that became different.
type Change struct {
	Kind    Kind
	Finding schema.Finding
}

// Result is what a step did.
type Result struct {
	// Standby says that another ticker has the lead; nothing was done.
	Standby bool
	// Idle says that there was nothing to judge.
	Idle bool
	// Full says that everything was judged.
	Full bool
	// Credentials were judged.
	Credentials int
	// Notes are sentences about what could not be done.
	Notes   []string
	Changes []Change
}

// Stats counts what a ticker did since it began.
type Stats struct {
	Steps, Full, Idle, Standby, Credentials uint64
	// Changes by kind, and the findings that stand open within their budget, by
	// severity.
	Changes map[Kind]uint64
	Open    map[string]uint64
	// Suppressed are the findings that are silenced.
	Suppressed uint64
}

// ErrLost is a step that lost the lead before it could write: another ticker has
// it, and does what this one would have done.
var ErrLost = errors.New("another detector has taken the lead of this shard")

// Overlap is how far back a step looks for what was touched: an insert is seen
// when it is done, and bears the time at which it came in.
const Overlap = 10 * time.Minute

// Ticker judges continuously. Use it from one goroutine, but for Stats.
type Ticker struct {
	cfg Config
	// known are the findings of this shard as they are in the store; nil before they
	// were read. foreign are the scores of others; term is since when this ticker
	// has the lead, active how many identities the last pass saw.
	known   map[schema.FindingID]known
	foreign []schema.Finding
	term    uint64
	active  int
	// catalog is that of the current step, now the time of the calls that were
	// judged last.
	catalog *catalog.Catalog
	now     time.Time
	// seen are the touches within the Overlap that were judged, upto their latest.
	seen map[Minute]uint64
	upto time.Time
	// turns are when the principals with such touches were judged, in steps.
	turns map[schema.PrincipalHash]turn
	step  uint64
	// full is when everything was judged, with which catalogue, and on which day of
	// the store; moved says that something was judged since.
	full   time.Time
	digest string
	day    schema.Day
	moved  bool

	mu    sync.Mutex
	stats Stats
}

// known is a finding as it is in the store, and made is what it was made of.
type known struct {
	body   []byte
	made   uint64
	status schema.Status
	// credential is the name of the subject.
	credential string
	severity   schema.Severity
	// score says that it is ranked, over that it is over the budget of its day.
	score, over bool
	// until is when the catalogue's suppression of it ends.
	until time.Time
}

// New returns a ticker that has done nothing yet.
func New(cfg Config) *Ticker {
	if cfg.Posture <= 0 {
		cfg.Posture = time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Steadily == nil {
		cfg.Steadily = func(_ context.Context, pass func() error) error { return pass() }
	}
	return &Ticker{cfg: cfg, stats: Stats{Changes: map[Kind]uint64{}, Open: map[string]uint64{}}}
}

// Stats returns the counts; from any goroutine.
func (t *Ticker) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Changes, s.Open = map[Kind]uint64{}, map[string]uint64{}
	for kind, n := range t.stats.Changes {
		s.Changes[kind] = n
	}
	for severity, n := range t.stats.Open {
		s.Open[severity] = n
	}
	return s
}

// Tick judges what changed since the last step, all of it with everything. A step
// that failed leaves nothing behind but what a repeated one writes again.
func (t *Ticker) Tick(ctx context.Context, everything bool) (Result, error) {
	lead, err := t.cfg.Store.Lead(ctx)
	if err != nil {
		return Result{}, err
	}
	if lead == 0 {
		t.count(func(s *Stats) { s.Standby++ })
		return Result{Standby: true}, nil
	}
	if lead != t.term {
		// Whoever had the lead before changed what is known here.
		t.known, t.term = nil, lead
	}
	cat := t.cfg.Catalog()
	t.catalog = cat
	if err := t.load(ctx); err != nil {
		return Result{}, err
	}
	others, moved, err := t.cfg.Store.Scores(ctx)
	if err != nil {
		return Result{}, err
	}
	if moved {
		t.foreign = others
	}
	touches, err := t.cfg.Store.Touched(ctx, t.since())
	if err != nil {
		return Result{}, err
	}
	fresh := t.fresh(touches)
	result := Result{Full: t.due(cat, everything, len(fresh) > 0)}
	if !result.Full && len(fresh) == 0 {
		// A silence may have ended, or begun; another shard may have found something
		// that is odder than what stands here.
		if moved {
			if err := t.rerank(ctx, &result); err != nil {
				return t.standby(err)
			}
		}
		silent, err := t.silence(ctx)
		if err != nil {
			return t.standby(err)
		}
		result.Changes = append(result.Changes, silent...)
		result.Idle = len(result.Changes) == 0
		t.count(func(s *Stats) { s.Idle++ })
		return result, nil
	}
	var news map[schema.PrincipalHash]uint64
	if !result.Full {
		if fresh, news, err = t.next(ctx, fresh); err != nil {
			return Result{}, err
		}
	}
	if err := t.judge(ctx, cat, fresh, &result); err != nil {
		return t.standby(err)
	}
	if result.Full {
		fresh = nil
	}
	t.remember(touches, fresh, news)
	t.count(func(s *Stats) {
		s.Steps++
		s.Credentials += uint64(result.Credentials)
		if result.Full {
			s.Full++
		}
	})
	return result, nil
}

// standby is what a step comes to that could not be done: another has the lead,
// or an error.
func (t *Ticker) standby(err error) (Result, error) {
	if errors.Is(err, ErrLost) {
		t.known = nil
		t.count(func(s *Stats) { s.Standby++ })
		return Result{Standby: true}, nil
	}
	return Result{}, err
}

// load reads the findings that the store holds, and forgets what was judged.
func (t *Ticker) load(ctx context.Context) error {
	if t.known != nil {
		return nil
	}
	list, err := t.cfg.Store.Findings(ctx)
	if err != nil {
		return err
	}
	all := make(map[schema.FindingID]known, len(list))
	for i := range list {
		if !t.cfg.Shard.Owns(list[i].Credential.ID) {
			continue
		}
		one, err := t.stored(&list[i])
		if err != nil {
			return err
		}
		all[list[i].ID] = one
	}
	t.known, t.seen, t.upto, t.full, t.digest = all, nil, time.Time{}, time.Time{}, ""
	t.turns = map[schema.PrincipalHash]turn{}
	return nil
}

func (t *Ticker) stored(f *schema.Finding) (known, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return known{}, fmt.Errorf("write finding %s: %w", f.ID, err)
	}
	made, err := madeOf(f)
	if err != nil {
		return known{}, err
	}
	one := known{body: body, made: made, status: f.Status, credential: f.Credential.ID, severity: f.Severity, score: f.Score != nil, over: f.OverBudget}
	if s := t.catalog.Suppression(f); s != nil {
		one.until = s.Until
	}
	return one, nil
}

// due reports whether everything is to be judged. Where nothing came in since,
// neither the latest call, which is what "now" means, nor anything else moved.
func (t *Ticker) due(cat *catalog.Catalog, everything, fresh bool) bool {
	if t.full.IsZero() || cat.Digest != t.digest {
		return true
	}
	return (everything || t.cfg.Now().Sub(t.full) >= t.cfg.Posture) && (fresh || t.moved)
}

// handler gathers what a pass says.
type handler struct {
	findings []schema.Finding
	notes    []string
}

func (h *handler) Finding(f schema.Finding) error { h.findings = append(h.findings, f); return nil }
func (h *handler) Note(note string)               { h.notes = append(h.notes, note) }

// judge does a pass over everything or over the fresh principals, and saves what
// changed.
func (t *Ticker) judge(ctx context.Context, cat *catalog.Catalog, fresh []schema.PrincipalHash, result *Result) error {
	only, calls := fresh, t.calls
	if result.Full {
		only, calls = nil, nil
	}
	var h handler
	var summary detector.Summary
	pass := func() (err error) {
		h = handler{}
		summary, err = detector.New(detector.Config{
			Catalog: cat, Facts: t.cfg.Facts(), Only: only, Known: calls, Shard: t.cfg.Shard, MinDays: t.cfg.MinDays, Horizon: t.cfg.Horizon,
		}).Run(ctx, &h)
		return err
	}
	day := t.day
	if err := t.cfg.Steadily(ctx, pass); err != nil {
		return err
	}
	if !summary.Window.To.IsZero() {
		day = schema.DayOf(summary.Window.To)
	}
	if !result.Full && day != t.day {
		// What is unused is counted in days: all of them are due.
		result.Full, only, calls = true, nil, nil
		if err := t.cfg.Steadily(ctx, pass); err != nil {
			return err
		}
	}
	silenced, err := t.cfg.Store.Suppressions(ctx, t.cfg.Now())
	if err != nil {
		return err
	}
	judged := make(map[string]bool, len(summary.Judged))
	for _, name := range summary.Judged {
		judged[name] = true
	}
	concerned := func(name string) bool { return result.Full || judged[name] }
	t.active, t.now = summary.Active, summary.Now
	moved, err := t.rank(h.findings, concerned)
	if err != nil {
		return err
	}
	changes, err := t.compare(h.findings, silenced, concerned)
	if err != nil {
		return err
	}
	silent, err := t.silences(silenced, concerned)
	if err != nil {
		return err
	}
	changes = append(changes, merged(moved, silent)...)
	if err := t.apply(ctx, changes); err != nil {
		return err
	}
	result.Changes, result.Credentials, result.Notes = changes, len(summary.Judged), h.notes
	t.day, t.moved = day, !result.Full
	if result.Full {
		t.full, t.digest = t.cfg.Now(), cat.Digest
	}
	return nil
}

// merged is a change of its side of the budget, unless another change of the same
// finding takes its place: the next step says the first of what that then is.
func merged(moved, silent []Change) []Change {
	ids := map[schema.FindingID]bool{}
	for i := range silent {
		ids[silent[i].Finding.ID] = true
	}
	return append(slices.DeleteFunc(moved, func(c Change) bool { return ids[c.Finding.ID] }), silent...)
}

// apply saves changes and takes them as known.
func (t *Ticker) apply(ctx context.Context, changes []Change) error {
	findings := make([]schema.Finding, len(changes))
	for i := range changes {
		findings[i] = changes[i].Finding
	}
	if len(findings) > 0 {
		if err := t.cfg.Store.Save(ctx, findings); err != nil {
			return err
		}
	}
	for i := range findings {
		one, err := t.stored(&findings[i])
		if err != nil {
			return err
		}
		t.known[findings[i].ID] = one
	}
	t.count(func(s *Stats) {
		clear(s.Open)
		s.Suppressed = 0
		for _, one := range t.known {
			switch one.status {
			case schema.StatusOpen:
				if !one.over {
					s.Open[one.severity.String()]++
				}
			case schema.StatusSuppressed:
				s.Suppressed++
			}
		}
		for i := range changes {
			s.Changes[changes[i].Kind]++
		}
	})
	return nil
}

func (t *Ticker) count(change func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
}
