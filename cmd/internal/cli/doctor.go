package cli

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const doctorLong = `Reads logs as scan would, keeps nothing, and says what they show: what share of
the calls has a time, a credential, scopes, a decision, a tenant; what could not
be read, and why; which field of the log is missing for each gap; and the log
format to configure at that gateway. Of a packet capture it says what share of
the connections was seen both ways, what was lost, what is encrypted, which
operations showed a credential, and what to mirror instead. With --catalog it also
says what share of the calls the catalogue can route, and names those it cannot.`

// diagnosis is what doctor says about one input.
type diagnosis struct {
	Input   string            `json:"input"`
	Formats map[string]uint64 `json:"formats"`
	Why     string            `json:"why,omitempty"`
	Units   uint64            `json:"units"`
	Calls   uint64            `json:"calls"`
	// NotACall and Unreadable count units by reason.
	NotACall   map[string]uint64 `json:"not_a_call,omitempty"`
	Unreadable map[string]uint64 `json:"unreadable,omitempty"`
	// Lacking counts, for unreadable units, the field the nearest format missed.
	Lacking map[string]uint64 `json:"lacking,omitempty"`
	// Shows are shares of the calls, 0..1.
	Shows []shown `json:"shows"`
	// Kinds counts calls by credential kind.
	Kinds map[string]uint64 `json:"kinds,omitempty"`
	// Gaps are the fields that no unit of the log had.
	Gaps []gap `json:"gaps,omitempty"`
	// Unrouted counts calls that the catalogue does not know, by host, method
	// and grouped path; the most frequent ones.
	Unrouted []unrouted `json:"unrouted,omitempty"`
	// Capture is there for packet captures.
	Capture *tapped `json:"capture,omitempty"`
}

// shown is one thing that calls may show.
type shown struct {
	What  string  `json:"what"`
	Calls uint64  `json:"calls"`
	Share float64 `json:"share"`
}

// gap is a field that was never there.
type gap struct {
	Format string `json:"format"`
	Field  string `json:"field"`
	// In are the log fields that could hold it.
	In   []string `json:"in"`
	Hint string   `json:"hint,omitempty"`
}

// unrouted is a way to call that the catalogue does not know.
type unrouted struct {
	Host      string `json:"host"`
	Operation string `json:"operation"`
	Calls     uint64 `json:"calls"`
}

// checkup is the whole of what doctor says.
type checkup struct {
	Inputs []*diagnosis `json:"inputs"`
	// Recipes are log formats to configure, by format found.
	Recipes map[string]string `json:"recipes,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor INPUT...", Short: "say what logs show, what they lack, and how to get it",
		Long: doctorLong, Args: inputs("doctor"),
		Example: "  scopedrift doctor access.log\n  scopedrift doctor api.pcap\n  scopedrift doctor --catalog catalogue/ logs/\n  kubectl logs gateway | scopedrift doctor -",
	}
	a.settings.bind(c.Flags(), "catalog", "format", "format-file", "tls-keys", "host", "tenant")
	bindOutput(c.Flags(), "text", "json")
	c.RunE = a.action(a.doctor)
	return c
}

func (a *app) doctor(ctx context.Context, args []string) error {
	if a.env.Getenv("GOGC") == "" {
		// Readers make little garbage: collecting often is cheap.
		debug.SetGCPercent(50)
	}
	inputs, err := a.checkInputs(args)
	if err != nil {
		return err
	}
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	p := a.startProgress()
	defer p.stop()
	p.enter("examining", a.env.TotalSize(inputs))
	// Nothing is kept, so no fingerprint need match another run's.
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it cannot fail
	key := redact.NewKey(raw)
	keys, err := a.loadTLSKeys()
	if err != nil {
		return err
	}
	captured := a.newCaptures(key, keys)
	g, err := a.newGateway(ctx, key, nil, captured, p)
	if err != nil {
		return err
	}
	sink := &examiner{cat: cat, inputs: map[string]*examined{}}
	report, err := g.Run(ctx, inputs, sink)
	if err = interrupted(ctx, err); errors.Is(err, errInterrupted) {
		return err
	}
	p.stop()
	result := checkup{Inputs: []*diagnosis{}, Recipes: g.Recipes(&report)}
	for i := range report.Inputs {
		in := &report.Inputs[i]
		x := sink.inputs[in.Input.Name]
		d := diagnose(in, inputOf(in, captured), x, len(cat.Services) > 0)
		if s, ok := captured.stats[in.Input.Name]; ok && in.Capture {
			d.Capture = tap(&s, cmp.Or(x, &examined{}))
		}
		result.Inputs = append(result.Inputs, d)
	}
	if a.settings.output == "json" {
		return errors.Join(output.Document(a.env.Stdout, result), err)
	}
	return errors.Join(a.printCheckup(&result), err)
}

// examined counts what the calls of one input show.
type examined struct {
	calls, time, credential, scopes, decision, tenant, client, workload, operation, routed uint64
	kinds                                                                                  map[string]uint64
	unrouted                                                                               map[unrouted]uint64
	// operations counts calls with and without credential.
	operations map[unrouted][2]uint64
}

// examiner is a sink that looks at calls and keeps none.
type examiner struct {
	cat    *catalog.Catalog
	inputs map[string]*examined
}

// maxUnrouted bounds how many ways to call are told apart for one input.
const maxUnrouted = 10_000

// Put looks at a batch.
func (e *examiner) Put(_ context.Context, batch *schema.Batch) error {
	x := e.inputs[batch.Input.Name]
	if x == nil {
		x = &examined{kinds: map[string]uint64{}, unrouted: map[unrouted]uint64{}}
		e.inputs[batch.Input.Name] = x
	}
	for i := range batch.Calls {
		c := &batch.Calls[i]
		x.calls++
		x.kinds[c.Credential.Kind.String()]++
		for _, is := range []struct {
			so bool
			n  *uint64
		}{
			{!c.Time.IsZero(), &x.time}, {c.Credential.Kind != schema.KindUnknown, &x.credential}, {c.Scopes != nil, &x.scopes},
			{c.Decision != schema.DecisionUnknown, &x.decision}, {c.Tenant != "", &x.tenant},
			{c.ClientAddress.IsValid(), &x.client}, {c.Workload != "", &x.workload}, {c.Operation != "", &x.operation},
		} {
			if is.so {
				*is.n++
			}
		}
		e.route(x, c)
		x.seen(c.Host, cmp.Or(c.Operation, strings.TrimSpace(c.Method+" "+grouped(c.Path)), "(request not seen)"),
			c.Credential.Kind != schema.KindUnknown && c.Credential.Kind != schema.KindAnonymous)
	}
	if batch.Free != nil {
		batch.Free()
	}
	return nil
}

// route asks the catalogue for the operation of a call.
func (e *examiner) route(x *examined, c *schema.Call) {
	if len(e.cat.Services) == 0 {
		return
	}
	operation := c.Operation
	if operation != "" {
		if s := e.cat.ServiceForHost(c.Host, c.Path); s != nil && (s.DemandOperation || s.Dialect == schema.DialectKubernetes ||
			s.Dialect == schema.DialectIAM || s.OperationNamed(operation) != nil) {
			x.routed++
			return
		}
	} else {
		if r, ok := e.cat.Route(c.Host, c.Method, c.Path); ok && r.Operation != nil {
			x.routed++
			return
		}
		operation = strings.TrimSpace(c.Method + " " + grouped(c.Path))
	}
	key := unrouted{Host: c.Host, Operation: operation}
	if _, known := x.unrouted[key]; known || len(x.unrouted) < maxUnrouted {
		x.unrouted[key]++
	}
}

// grouped replaces the parts of a path that look like names of objects, so that
// calls of one kind are shown as one line.
func grouped(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		digits := strings.ContainsFunc(part, func(r rune) bool { return r >= '0' && r <= '9' })
		if digits && !(len(part) == 2 && part[0] == 'v') || len(part) > 32 {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}

// diagnose brings the collector's account and the examiner's together.
func diagnose(in *gateway.InputReport, account output.Input, x *examined, routes bool) *diagnosis {
	if x == nil {
		x = &examined{}
	}
	d := &diagnosis{
		Input: in.Input.Name, Formats: in.Formats, Why: account.Why, Units: account.Units, Calls: x.calls,
		NotACall: in.NotACall, Unreadable: in.Bad, Lacking: in.Missing, Kinds: x.kinds,
	}
	if in.Capture {
		d.Formats, d.NotACall = map[string]uint64{"pcap": account.Units}, account.Skipped
	}
	share := func(what string, n uint64) {
		one := shown{What: what, Calls: n}
		if x.calls > 0 {
			one.Share = float64(n) / float64(x.calls)
		}
		d.Shows = append(d.Shows, one)
	}
	share("time", x.time)
	share("credential", x.credential)
	share("scopes", x.scopes)
	share("decision", x.decision)
	share("tenant", x.tenant)
	share("client", x.client)
	share("workload", x.workload)
	share("operation named by the log", x.operation)
	if routes {
		share("operation known to the catalogue", x.routed)
	}
	for i := range in.Fields {
		f := &in.Fields[i]
		if !f.Seen {
			d.Gaps = append(d.Gaps, gap{Format: f.Format, Field: f.Field, In: f.In, Hint: f.Hint})
		}
	}
	d.Unrouted = most(x.unrouted)
	return d
}

// most returns the most frequent unrouted ways to call.
func most(counts map[unrouted]uint64) []unrouted {
	const shownMost = 10
	var list []unrouted
	for key, n := range counts {
		key.Calls = n
		list = append(list, key)
	}
	slices.SortFunc(list, func(x, y unrouted) int {
		return cmp.Or(cmp.Compare(y.Calls, x.Calls), cmp.Compare(x.Host, y.Host), cmp.Compare(x.Operation, y.Operation))
	})
	return list[:min(len(list), shownMost)]
}

func (a *app) printCheckup(c *checkup) error {
	out, paint := bufio.NewWriter(a.env.Stdout), a.outPaint()
	line := func(format string, args ...any) { fmt.Fprintln(out, output.Safe(fmt.Sprintf(format, args...))) }
	for _, d := range c.Inputs {
		fmt.Fprintln(out, paint.Strong(output.Safe(d.Input)))
		switch {
		case d.Units == 0 && d.Calls == 0:
			line("  empty")
		default:
			unit := "unit"
			if d.Capture != nil {
				unit = "packet"
			}
			line("  %s of %s; %s", output.Count(d.Calls, "call"), output.Count(d.Units, unit), d.Why)
		}
		for _, s := range d.Shows {
			if d.Calls == 0 {
				break // without calls there is nothing that they could show
			}
			mark := paint.Good("full ")
			switch {
			case s.Share == 0:
				mark = paint.Bad("none ")
			case s.Share < 1:
				mark = paint.Warn("part ")
			}
			extra := ""
			if s.What == "credential" && len(d.Kinds) > 0 {
				extra = "  " + counted(d.Kinds)
			}
			fmt.Fprintf(out, "  %s %6.1f %%  %s%s\n", mark, 100*s.Share, s.What, output.Safe(extra))
		}
		for _, part := range []struct {
			word   string
			counts map[string]uint64
		}{{"no call", d.NotACall}, {"unreadable", d.Unreadable}, {"lacking", d.Lacking}} {
			if text := counted(part.counts); text != "" {
				line("  %-14s %s", part.word, text)
			}
		}
		d.printGaps(line)
		if d.Capture != nil {
			d.Capture.print(line)
		}
		for i, u := range d.Unrouted {
			if i == 0 {
				line("  not in the catalogue:")
			}
			line("    %10s  %s  %s", output.Number(u.Calls), u.Host, u.Operation)
		}
		fmt.Fprintln(out)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Recipes)) {
		if !slices.ContainsFunc(c.Inputs, func(d *diagnosis) bool { return d.wants(name) }) {
			continue
		}
		fmt.Fprintln(out, paint.Strong("Log format to configure for "+output.Safe(name)))
		for _, text := range strings.Split(strings.TrimRight(c.Recipes[name], "\n"), "\n") {
			line("  %s", text)
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

// printGaps shows the gaps for which there is advice; the others are other ways
// to say the same.
func (d *diagnosis) printGaps(line func(string, ...any)) {
	rest := 0
	for _, g := range d.Gaps {
		if g.Hint == "" {
			rest++
			continue
		}
		in := g.In
		if len(in) > 4 {
			in = append(slices.Clone(in[:3]), fmt.Sprintf("%d others", len(g.In)-3))
		}
		line("  missing        %s: the log never has %s", g.Field, strings.Join(in, " or "))
		line("                 %s", g.Hint)
	}
	if rest > 0 {
		line("  missing        %d other fields that could say more; -o json names them", rest)
	}
}

// wants reports whether the log would be worth more with the format's recipe:
// it does not always tell who called, with which scopes, and what came of it.
func (d *diagnosis) wants(format string) bool {
	if _, has := d.Formats[format]; !has {
		return false
	}
	return slices.ContainsFunc(d.Shows, func(s shown) bool {
		return s.Share < 1 && (s.What == "credential" || s.What == "scopes" || s.What == "decision")
	})
}

// counted writes "80 oauth_client, 2 unknown", the most frequent first.
func counted(counts map[string]uint64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), cmp.Compare(x, y))
	})
	var parts []string
	for _, key := range keys {
		parts = append(parts, output.Number(counts[key])+" "+key)
	}
	return strings.Join(parts, ", ")
}
