package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/reenrich"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const scanLong = `Reads logs and captures, and reports where credentials do more, or hold more,
than they should. Inputs are files, directories (read whole), or - for standard
input; .gz and .zst are unpacked. Formats are recognised from content; --format
names one for all inputs or, as NAME:path, for one.

Without --catalog it takes stock of credentials and reports what needs no
catalogue. Without --data everything it stores is gone when it ends.

Standard output holds the result and nothing else. Exit codes:
  0    done
  1    it broke, or an input could not be read
  2    wrong use, settings or catalogue
  3    a finding is at least as severe as --fail-on (only with it)
  4    less was seen than --min-coverage, or nobody knows (only with it)
  130  interrupted; what was known is written, and said to be partial`

const scanExamples = `  scopedrift scan access.log
  scopedrift scan api.pcap
  scopedrift scan --catalog catalogue/ logs/ -o json > report.json
  zcat edge-*.gz | scopedrift scan --catalog catalogue/ --format envoy -
  scopedrift scan --catalog catalogue/ --fail-on high --min-coverage 95% logs/
  scopedrift scan --catalog catalogue/ --data store/ logs/ && scopedrift findings --data store/`

func (a *app) scanCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "scan INPUT...", Short: "read logs or captures and report what drifted",
		Long: scanLong, Example: scanExamples, Args: inputs("scan"),
	}
	a.settings.bind(c.Flags(), "catalog", "format", "format-file", "tls-keys", "from", "to", "fail-on", "min-coverage", "data",
		"calls-out", "key", "host", "tenant", "clickhouse", "clickhouse-password-file", "memory")
	bindOutput(c.Flags(), "text", "table", "json", "jsonl", "csv", "sarif", "ocsf")
	c.RunE = a.action(func(ctx context.Context, args []string) error { return a.scan(ctx, args) })
	return c
}

// inputs wants at least one input.
func inputs(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(command+" needs at least one input", "scopedrift "+command+" access.log, or - for standard input")
		}
		return nil
	}
}

// scanRun is one scan under way.
type scanRun struct {
	*app
	cat      *catalog.Catalog
	store    *store
	progress *progress
	tlsKeys  *pcap.TLSKeys
	report   output.Report
	// flaws counts calls whose evidence of identity was no good, by reason.
	flaws map[string]uint64
	// partial is what went wrong with reading: the result is then not whole.
	partial error
}

func (a *app) scan(ctx context.Context, inputs []string) error {
	r, err := a.runScan(ctx, inputs)
	if r == nil || r.report.Findings == nil {
		return err
	}
	r.report.Tidy()
	format := output.Format(a.settings.output)
	if err := output.Write(a.env.Stdout, format, &r.report, a.options(locator(r.cat))); err != nil {
		return broken(fmt.Errorf("write the result: %w", err))
	}
	if !r.store.lasting && format == output.Text && len(r.report.Findings) > 0 {
		a.remark("nothing was kept: scan again with --data DIR, and the commands above work with it")
	}
	return errors.Join(err, a.verdict(&r.report, r.cat))
}

// runScan does everything but show the result. Where it returns a run whose
// report has findings (none is an empty list), that is worth showing, whatever
// the error says.
func (a *app) runScan(ctx context.Context, inputs []string) (r *scanRun, err error) {
	if a.env.Getenv("GOGC") == "" {
		// Blocks and ids stay, and hold no pointers: collecting often is cheap.
		debug.SetGCPercent(50)
	}
	r = &scanRun{app: a, progress: a.startProgress()}
	defer r.progress.stop()
	if inputs, err = a.checkInputs(inputs); err != nil {
		return nil, err
	}
	if r.cat, err = a.loadCatalog(); err != nil {
		return nil, err
	}
	r.progress.enter(fmt.Sprintf("scanning %s", output.Count(uint64(len(inputs)), "input")), 0)
	if r.tlsKeys, err = a.loadTLSKeys(); err != nil {
		return nil, err
	}
	r.progress.enter("starting the engine", 0)
	live, s, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	r.store = s
	defer func() {
		// Whatever was found, an engine that died makes it worthless.
		if closed := s.close(); closed != nil {
			r, err = nil, closed
		}
	}()
	// Reading ends with an interruption and with the engine; what follows it
	// ends with the engine only.
	reading, stop := context.WithCancelCause(live)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	stats, err := r.collect(reading, live, inputs)
	if err != nil {
		return r, err
	}
	if r.partial != nil && !errors.Is(r.partial, errInterrupted) && len(r.report.Summary.Inputs) == 0 {
		// Nothing could be opened: a result would look as if something had been judged.
		return nil, r.partial
	}
	if err := r.detect(live, ctx.Err() != nil); err != nil {
		return r, s.why(live, err)
	}
	r.account(stats)
	return r, r.partial
}

// checkInputs finds out early what is not there, and brings --format NAME:path
// to the input it means.
func (a *app) checkInputs(inputs []string) ([]string, error) {
	var missing []string
	for _, name := range inputs {
		_, path, _ := strings.Cut(name, ":")
		if name != "-" && !a.env.Exists(name) && path != "-" && (path == "" || !a.env.Exists(path)) {
			missing = append(missing, fmt.Sprintf("there is no input %s", name))
		}
	}
	if len(missing) > 0 {
		return nil, usage(strings.Join(missing, "\n"))
	}
	inputs = append([]string(nil), inputs...)
	var general []string
	for _, given := range a.settings.format.values {
		name, path, one := strings.Cut(given, ":")
		if !one {
			general = append(general, name)
			continue
		}
		found := false
		for i := range inputs {
			if inputs[i] == path {
				inputs[i], found = name+":"+path, true
			}
		}
		if !found {
			return nil, usage(fmt.Sprintf("--format %s: %s is not among the inputs", given, path))
		}
	}
	if len(general) > 1 {
		return nil, usage(fmt.Sprintf("--format names %s for all inputs", strings.Join(general, " and ")),
			"name the format of one input with --format NAME:path")
	}
	if len(general) == 1 {
		a.settings.format.values = general
	} else {
		a.settings.format.values = []string{"auto"}
	}
	return inputs, nil
}

// startProgress shows progress unless it was not wanted.
func (a *app) startProgress() *progress {
	if a.settings.quiet {
		return startProgress(nil, false, 0)
	}
	width := 0
	if a.env.ErrTerminal && a.env.Width != nil {
		width = a.env.Width()
	}
	return startProgress(a.env.Stderr, a.env.ErrTerminal, width)
}

// collect reads all inputs into the store. Only what makes going on senseless is
// an error; what went wrong with the inputs stands in r.partial.
func (r *scanRun) collect(reading, live context.Context, inputs []string) (direct.Stats, error) {
	release, err := r.lockWriter()
	if err != nil {
		return direct.Stats{}, err
	}
	defer release()
	key, err := r.installationKey()
	if err != nil {
		return direct.Stats{}, err
	}
	out, err := r.openCallsOut()
	if err != nil {
		return direct.Stats{}, err
	}
	defer out.close()
	dead, err := r.openDeadLetters()
	if err != nil {
		return direct.Stats{}, err
	}
	defer dead.close()
	pipeline := direct.New(direct.Config{
		Conn: r.store.conn, Local: r.store.engine != nil, Catalog: r.cat, Run: newRun(), Known: r.store.lasting, Exclusive: r.settings.data != "", Stored: out.put,
		Window: schema.Window{From: r.settings.from.value, To: r.settings.to.value},
	})
	if err := pipeline.Open(live); err != nil {
		return direct.Stats{}, r.store.why(live, err)
	}
	sink := &guard{to: pipeline, live: live}
	read := r.read(reading, key, dead, inputs, sink)
	flush, cancel := live, context.CancelFunc(func() {})
	if reading.Err() != nil {
		flush, cancel = context.WithTimeout(live, grace)
	}
	defer cancel()
	stats, err := pipeline.Close(flush)
	switch {
	case r.store.dead() != nil:
		return stats, r.store.dead()
	case sink.failed != nil:
		return stats, r.store.why(live, sink.failed)
	case err != nil:
		return stats, r.store.why(live, err)
	}
	if err := errors.Join(out.close(), dead.close()); err != nil {
		return stats, broken(fmt.Errorf("write beside the store: %w", err))
	}
	if read != nil {
		r.partial = interrupted(reading, read)
		r.report.Partial = r.whyPartial()
	}
	return stats, nil
}

// whyPartial says in one sentence why the result is not whole.
func (r *scanRun) whyPartial() string {
	if errors.Is(r.partial, errInterrupted) {
		return fmt.Sprintf("interrupted after %s of input; only what was read until then was judged, and nothing is said to be unused",
			output.Count(uint64(len(r.report.Summary.Inputs)), "file"))
	}
	return strings.ReplaceAll(r.partial.Error(), "\n", "; ")
}

// guard stands before the pipeline and remembers whether it was the store,
// rather than an input, that failed.
type guard struct {
	to interface {
		Put(ctx context.Context, batch *schema.Batch) error
	}
	live   context.Context
	failed error
}

// Put hands on a batch. It goes on with the live context: a batch that was read
// is stored, also when reading is about to end.
func (g *guard) Put(ctx context.Context, batch *schema.Batch) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	err := g.to.Put(g.live, batch)
	if err != nil {
		g.failed = err
	}
	return err
}

// newRun names a run in the ledger.
func newRun() string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // it cannot fail
	return time.Now().UTC().Format("20060102T150405Z-") + hex.EncodeToString(random[:])
}

// findingsOf gathers what the detector says.
type findingsOf struct{ report *output.Report }

// Finding takes one finding.
func (f findingsOf) Finding(one schema.Finding) error {
	f.report.Findings = append(f.report.Findings, one)
	return nil
}

// Note is not needed: the detector's summary has the notes as well.
func (f findingsOf) Note(string) {}

// withholdUnused takes back what a partial result cannot say: who has not read
// everything does not know what was not used.
func (r *scanRun) withholdUnused() {
	if r.partial == nil {
		return
	}
	report := &r.report
	all := len(report.Findings)
	report.Findings = slices.DeleteFunc(report.Findings, func(f schema.Finding) bool { return f.Code == rule.UnusedScope })
	if n := all - len(report.Findings); n > 0 {
		report.Summary.Withheld = append(report.Summary.Withheld, output.Withheld{
			Code: rule.UnusedScope, Count: n, Why: "not everything was read, so nothing can be said to be unused",
		})
	}
	delete(report.Summary.Uses, schema.VerdictDormant.String())
}

// detect judges what is stored. After an interruption it takes no longer than
// the grace, and does not say that anything is unused.
func (r *scanRun) detect(live context.Context, hurry bool) error {
	ctx, cancel := live, context.CancelFunc(func() {})
	if hurry {
		ctx, cancel = context.WithTimeout(live, grace)
	}
	defer cancel()
	r.progress.enter("judging", 0)
	var found output.Report
	d := detector.New(detector.Config{
		Catalog: r.cat, Conn: r.store.conn,
		Window:   schema.Window{From: r.settings.from.value, To: r.settings.to.value},
		Progress: func(done, total int) { r.progress.count(done, total, "credentials") },
	})
	var summary detector.Summary
	err := reenrich.Undisturbed(ctx, r.store.conn, func() (err error) {
		found.Findings = nil
		summary, err = d.Run(ctx, findingsOf{&found})
		return err
	})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		if hurry && r.store.dead() == nil {
			return errors.Join(errInterrupted, &fault{text: "there was no time left to judge what was read", code: codeInterrupted})
		}
		return err
	}
	if dead := r.store.dead(); dead != nil {
		return dead
	}
	r.report.Findings = append([]schema.Finding{}, found.Findings...)
	r.summarise(&summary)
	r.withholdUnused()
	if r.store.lasting && r.partial == nil {
		return clickhouse.SaveFindings(ctx, r.store.conn, r.report.Findings, time.Now())
	}
	return nil
}
