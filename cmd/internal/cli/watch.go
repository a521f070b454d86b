package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/pipeline/ids"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// watchFilter chooses what is shown.
type watchFilter struct {
	calls   callFilter
	verdict list
	every   time.Duration
	late    time.Duration
	last    int
}

const watchLong = `Shows the calls of a store as they come in, each judged against what its
credential holds: exercised (held), beyond (not held, and honoured), denied, or
unmapped (nobody knows). It begins with the latest calls and goes on until it is
interrupted. The filters are those of the calls command; all must hold.

A call is shown if its time is not older than --late before the latest one seen;
what a busy second has more than 1,000 calls of is counted, not shown.`

func (a *app) watchCommand() *cobra.Command {
	f := watchFilter{every: time.Second, late: time.Minute, last: 10}
	for d := schema.DecisionUnknown; d <= schema.DecisionError; d++ {
		f.calls.decision.known = append(f.calls.decision.known, d.String())
	}
	c := &cobra.Command{
		Use: "watch", Short: "show live calls with verdicts", Long: watchLong, Args: cobra.NoArgs,
		Example: "  scopedrift watch --data store/ --catalog catalogue/\n" +
			"  scopedrift watch --data store/ --catalog catalogue/ --verdict beyond --verdict denied\n" +
			"  scopedrift watch --clickhouse clickhouse://db.example.com:9000/scopedrift --credential ci-deployer -o jsonl",
	}
	flags := c.Flags()
	flags.StringVar(&f.calls.credential, "credential", "", "only this credential: its name in the catalogue (with --catalog) or its observed id")
	flags.StringVar(&f.calls.service, "service", "", "only this service")
	flags.StringVar(&f.calls.operation, "operation", "", "only this operation; * stands for any text")
	flags.Var(&f.calls.decision, "decision", "only this decision: "+strings.Join(f.calls.decision.known, ", "))
	flags.StringVar(&f.calls.tenant, "tenant", "", "only this tenant or namespace")
	flags.Var(&f.verdict, "verdict", "only this verdict: "+strings.Join(callVerdicts(), ", ")+" (repeatable)")
	flags.IntVar(&f.last, "last", f.last, "begin with this many of the latest calls")
	flags.DurationVar(&f.every, "every", f.every, "how often the store is asked")
	flags.DurationVar(&f.late, "late", f.late, "how late a call may be stored, by its own time, and still be shown")
	a.settings.bind(flags, append([]string{"catalog", "metrics-listen"}, storeFlags...)...)
	bindOutput(flags, "text", "jsonl")
	_ = c.RegisterFlagCompletionFunc("credential", a.completeCredentials)
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		for _, word := range f.verdict.values {
			if !slices.Contains(callVerdicts(), word) {
				return usage(fmt.Sprintf("%q is no verdict of a call", word), "one of "+strings.Join(callVerdicts(), ", "))
			}
		}
		if f.every < 100*time.Millisecond || f.late < 0 || f.last < 0 {
			return usage("--every has to be at least 100ms, --late and --last not negative")
		}
		return a.watch(ctx, &f)
	})
	return c
}

// callVerdicts are those that a call can have: a dormant scope has none.
func callVerdicts() []string {
	var words []string
	for _, v := range []schema.Verdict{schema.VerdictExercised, schema.VerdictBeyond, schema.VerdictDenied, schema.VerdictUnmapped} {
		words = append(words, v.String())
	}
	return words
}

// watcher shows the calls of a store.
type watcher struct {
	*app
	filter *watchFilter
	conn   driver.Conn
	where  string
	args   []any
	// latest is the time of the latest call seen; seen are the ids of all that
	// are not older than it by more than the filter allows.
	latest time.Time
	seen   *ids.Memory
	judge  callJudge
}

func (a *app) watch(parent context.Context, f *watchFilter) (err error) {
	if a.settings.metrics == "" {
		a.settings.metrics = "off" // somebody looks on; what is scraped is rather run
	}
	st, err := a.openStation(parent, "watch", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	w := &watcher{app: a, filter: f, conn: s.conn, seen: ids.New(1 << 22)}
	if w.where, w.args, err = f.calls.where(ctx, s.conn, st.catalogue.Current()); err != nil {
		return s.why(ctx, err)
	}
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for first := true; ; first = false {
		w.judge.use(st.catalogue.Current())
		if err := w.look(ctx, first); err != nil {
			if parent.Err() != nil && s.dead() == nil {
				return nil // to be interrupted is how watching ends
			}
			return s.why(ctx, err)
		}
		select {
		case <-ctx.Done():
			if s.dead() != nil {
				return s.dead()
			}
			return nil
		case <-ticker.C:
		}
	}
}

// mostShown bounds what one look shows.
const mostShown = 1000

// look shows what is new. The first look shows the latest calls only.
func (w *watcher) look(ctx context.Context, first bool) error {
	var newest time.Time
	if err := w.conn.QueryRow(ctx, "SELECT max(time) FROM "+table.Calls+w.where, w.args...).Scan(&newest); err != nil {
		return explained(err)
	}
	if newest.After(w.latest) {
		w.latest = newest
	}
	recent := " AND time >= toDateTime64('" + sqlTime(w.latest.Add(-w.filter.late)) + "', 6, 'UTC')"
	fresh, total, err := w.fresh(ctx, recent+" ORDER BY time, id")
	if err != nil {
		return err
	}
	if first {
		// What is there already is shown by its number, however old it is.
		if fresh, err = w.newest(ctx); err != nil {
			return err
		}
		return w.show(ctx, "", fresh)
	}
	if more := total - len(fresh); more > 0 {
		w.remark("%s more in this look", output.Count(uint64(more), "call"))
	}
	return w.show(ctx, recent, fresh)
}

// newest returns the ids of the latest calls, as many as the filter says.
func (w *watcher) newest(ctx context.Context) ([]string, error) {
	rows, err := w.conn.Query(ctx, fmt.Sprintf("SELECT id FROM "+table.Calls+w.where+" ORDER BY time DESC, id DESC LIMIT %d", w.filter.last), w.args...)
	if err != nil {
		return nil, explained(err)
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, explained(err)
		}
		list = append(list, id)
	}
	return list, explained(rows.Err())
}

// fresh returns the ids of the calls that were not seen yet, the latest of them
// where there are many, and how many there are.
func (w *watcher) fresh(ctx context.Context, recent string) ([]string, int, error) {
	rows, err := w.conn.Query(ctx, "SELECT id FROM "+table.Calls+w.where+recent, w.args...)
	if err != nil {
		return nil, 0, explained(err)
	}
	defer func() { _ = rows.Close() }()
	var fresh []string
	total := 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, 0, explained(err)
		}
		if w.seen.Add(schema.CallID([]byte(id))) {
			total++
			if fresh = append(fresh, id); len(fresh) > 2*mostShown {
				fresh = append(fresh[:0], fresh[len(fresh)-mostShown:]...)
			}
		}
	}
	return fresh[max(0, len(fresh)-mostShown):], total, explained(rows.Err())
}

// show judges and writes the calls with the given ids.
func (w *watcher) show(ctx context.Context, recent string, fresh []string) error {
	if len(fresh) == 0 {
		return nil
	}
	literals := make([]string, len(fresh))
	for i, id := range fresh {
		literals[i] = fmt.Sprintf("toFixedString(unhex('%x'), 16)", id)
	}
	rest := w.where + recent + " AND id IN (" + strings.Join(literals, ", ") + ") ORDER BY time, id"
	return eachCall(ctx, w.conn, rest, w.args, func(c *schema.Call) error {
		seen, err := w.judge.call(c)
		if err != nil {
			return err
		}
		if len(w.filter.verdict.values) > 0 && !slices.Contains(w.filter.verdict.values, seen.Verdict.String()) {
			return nil
		}
		return w.write(seen)
	})
}

func (w *watcher) write(seen *judgedCall) error {
	var err error
	if output.Format(w.settings.output) == output.JSONL {
		err = output.Line(w.env.Stdout, seen)
	} else {
		err = seen.line(w.env.Stdout, w.outPaint())
	}
	if err != nil {
		return broken(fmt.Errorf("write the result: %w", err))
	}
	return nil
}

// judgedCall is a call with its verdict.
type judgedCall struct {
	// Credential is the catalogue's name, else the observed id.
	Credential string         `json:"credential"`
	Verdict    schema.Verdict `json:"verdict"`
	Reasons    []string       `json:"reasons,omitempty"`
	Missing    [][]string     `json:"missing,omitempty"`
	Call       *schema.Call   `json:"call"`
}

// line writes a call for people: what is beyond says what it would have needed.
func (j *judgedCall) line(w io.Writer, paint output.Paint) error {
	c := j.Call
	parts := []string{c.Time.UTC().Format("15:04:05"), fmt.Sprintf("%-9s", j.Verdict), j.Credential,
		cmp.Or(c.Service, c.Host), cmp.Or(c.Operation, c.Method+" "+c.Path)}
	if c.Tenant != "" {
		parts = append(parts, "tenant "+c.Tenant)
	}
	if c.Status != 0 {
		parts = append(parts, fmt.Sprintf("%s (%d)", c.Decision, c.Status))
	} else {
		parts = append(parts, c.Decision.String())
	}
	if j.Verdict == schema.VerdictBeyond && len(j.Missing) > 0 {
		parts = append(parts, "needs "+strings.Join(j.Missing[0], " and "))
	}
	for i := range parts {
		parts[i] = output.Safe(parts[i])
	}
	parts[1] = verdictPaint(paint, j.Verdict)(parts[1])
	_, err := io.WriteString(w, strings.Join(parts, "  ")+"\n")
	return err
}

func verdictPaint(p output.Paint, v schema.Verdict) func(string) string {
	switch v {
	case schema.VerdictBeyond:
		return p.Bad
	case schema.VerdictDenied:
		return p.Strong
	}
	return func(s string) string { return s }
}

// callJudge judges single calls as the detector judges their folds.
type callJudge struct {
	catalog *catalog.Catalog
	compare *compare.Comparer
}

// use takes the catalogue that is in force.
func (j *callJudge) use(c *catalog.Catalog) {
	if j.catalog != c {
		j.catalog, j.compare = c, compare.New(c)
	}
}

func (j *callJudge) call(c *schema.Call) (*judgedCall, error) {
	declared, err := j.catalog.CredentialFor(c.Credential.Principal())
	if err != nil {
		return nil, misused(err)
	}
	request := compare.Request{
		Declared: declared, Kind: c.Credential.Kind, Service: c.Service, Operation: c.Operation, Tenant: c.Tenant,
		RouteSource: c.RouteSource, Scopes: c.Scopes, Groups: c.Credential.Groups, Time: c.Time,
	}
	answer := j.compare.Judge(&request)
	if answer.NeedsResource && (c.Decision.Authorised() || c.Decision == schema.DecisionError) {
		request.Resource, request.ResourceKnown = c.Resource, true
		answer = j.compare.Judge(&request)
	}
	name := output.CredentialName(&c.Credential)
	if declared != nil {
		name = declared.ID
	}
	out := &judgedCall{Credential: name, Verdict: compare.VerdictOf(c.Decision, c.Quality == schema.QualityComplete, answer.Holding), Call: c}
	if out.Verdict == schema.VerdictBeyond || out.Verdict == schema.VerdictUnmapped {
		out.Reasons, out.Missing = answer.Reasons, answer.Missing
	}
	return out, nil
}
