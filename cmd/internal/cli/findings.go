package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
)

// findingFilter chooses among stored findings.
type findingFilter struct {
	severity                            severityWord
	detection, credential, service, tag string
	status                              string
	// over asks for those over the budget of their day instead of the others.
	over bool
}

func (a *app) findingsCommand() *cobra.Command {
	var f findingFilter
	c := &cobra.Command{
		Use: "findings", Short: "list the findings of a store", Args: cobra.NoArgs,
		Long: `Lists the open findings that the last scan with --data or --clickhouse, or run or
detect, left in the store, the most severe first. Filters narrow the list: all
that are given must hold. What is no longer found is resolved and shown with
--status resolved.`,
		Example: "  scopedrift findings --data store/\n" +
			"  scopedrift findings --data store/ --severity high --credential ci-deployer -o json\n" +
			"  scopedrift findings --data store/ --detection unused-scope -o csv > unused.csv",
	}
	c.Flags().Var(&f.severity, "severity", "only this severity and above: "+allSeverities())
	c.Flags().StringVar(&f.detection, "detection", "", "only this detection, by name or code")
	c.Flags().StringVar(&f.credential, "credential", "", "only this credential, by catalogue name or observed id")
	c.Flags().StringVar(&f.service, "service", "", "only this service")
	c.Flags().StringVar(&f.tag, "framework", "", "only this framework id, such as API5:2023 or T1078.004")
	c.Flags().StringVar(&f.status, "status", schema.StatusOpen.String(), "only this status: open, resolved, suppressed, or all")
	c.Flags().BoolVar(&f.over, "over-budget", false, "those that odder ones of the same day left no room for, instead of the others")
	// It can only fail for a flag that does not exist, which a test would see.
	_ = c.RegisterFlagCompletionFunc("detection", completeDetections)
	// Nothing here reads the catalogue; the commands that findings lead on to do.
	a.settings.bind(c.Flags(), append([]string{"catalog"}, storeFlags...)...)
	bindOutput(c.Flags(), "table", "text", "json", "jsonl", "csv", "sarif", "ocsf")
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		var status schema.Status
		if f.status != "all" && status.UnmarshalText([]byte(f.status)) != nil {
			return usage(fmt.Sprintf("--status %q is not a status", f.status), "open, resolved, suppressed and all are")
		}
		if f.detection != "" {
			d, err := detectionNamed(f.detection)
			if err != nil {
				return err
			}
			f.detection = d.Name
		}
		findings, err := a.storedFindings(ctx)
		if err != nil {
			return err
		}
		all := len(findings)
		findings = slices.DeleteFunc(findings, func(x schema.Finding) bool { return !f.keeps(&x) })
		if len(findings) == 0 {
			a.remark("no finding fits, of %d in the store", all)
		}
		return output.WriteFindings(a.env.Stdout, output.Format(a.settings.output), version(), findings, a.options(nil))
	})
	c.AddCommand(a.suppressCommand())
	return c
}

func (f *findingFilter) keeps(x *schema.Finding) bool {
	switch {
	case f.over != x.OverBudget,
		f.status != "all" && x.Status.String() != f.status,
		f.severity.set && x.Severity < f.severity.value,
		f.detection != "" && x.Detection != f.detection,
		f.credential != "" && x.Credential.ID != f.credential && !slices.Contains(x.Credential.Observed, f.credential),
		f.service != "" && x.Service != f.service,
		f.tag != "" && !slices.Contains(x.Frameworks, f.tag):
		return false
	}
	return true
}

// storedFindings opens the store, reads and closes it.
func (a *app) storedFindings(parent context.Context) (findings []schema.Finding, err error) {
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	findings, err = clickhouse.Findings(ctx, s.conn)
	// The store knows only some of what the order looks at.
	slices.SortFunc(findings, func(x, y schema.Finding) int { return detector.Order(&x, &y) })
	return findings, s.why(ctx, err)
}

// options are what the writers of findings need besides them.
func (a *app) options(locate func(string) (string, int)) output.Options {
	o := output.Options{Paint: a.outPaint(), Columns: a.columns(), Locate: locate, Next: a.nextCommand}
	for _, d := range rule.Detections() {
		o.Detections = append(o.Detections, output.Detection{
			Code: d.Code, Name: d.Name, Short: d.Short, Help: d.Help, Frameworks: d.Frameworks,
		})
	}
	return o
}

// nextCommand completes a command that a finding leads on to with the store and
// the catalogue in use, so that it works when copied. Commands that this release
// does not have are left out.
func (a *app) nextCommand(command string) string {
	words := strings.SplitN(command, " ", 3)
	if len(words) < 2 || words[0] != "scopedrift" {
		return command
	}
	c, _, err := a.root().Find(words[1:2])
	if err != nil || c.Name() != words[1] {
		return ""
	}
	rest := append([]string{words[0], words[1]}, words[2:]...)
	for _, name := range []string{"data", "clickhouse", "catalog"} {
		flag := c.Flags().Lookup(name)
		value := registered(name).value(a.settings).String()
		// What files and environment say holds for the next command as well.
		if from := a.settings.origins[name].Level; flag == nil || value == "" || from != "flag" && from != "" {
			continue
		}
		rest = append(rest, "--"+name, shellWord(value))
	}
	return strings.Join(rest, " ")
}

// shellWord quotes a word for the shell where it needs that.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (a *app) explainCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "explain FINDING", Short: "say why a finding is one: sentences, then the calls",
		Long: `Explains one finding of the last scan: what the detection means, every reason
it fired, what would make it harmless, and the calls that prove it. FINDING is
its id, or the beginning of one that fits no other. With --detection it shows
the page of a detection instead: what it finds, how, what it cannot see, what to
do. That needs no store.`,
		Example: "  scopedrift explain --data store/ D01-3f2a9c0d11e8b7f4\n  scopedrift explain --data store/ D01-3f -o json\n" +
			"  scopedrift explain --detection lateral-movement",
		Args: explainArgs,
	}
	detection := c.Flags().String("detection", "", "explain this detection, by name or code, instead of a finding")
	// It can only fail for a flag that does not exist, which a test would see.
	_ = c.RegisterFlagCompletionFunc("detection", completeDetections)
	a.settings.bind(c.Flags(), append([]string{"catalog"}, storeFlags...)...)
	bindOutput(c.Flags(), "text", "json")
	c.ValidArgsFunction = a.completeFindings
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		if *detection != "" || len(args) == 0 {
			return a.explainDetection(*detection)
		}
		findings, err := a.storedFindings(ctx)
		if err != nil {
			return err
		}
		f, err := pick(findings, args[0])
		if err != nil {
			return err
		}
		if a.settings.output == "json" {
			return output.Document(a.env.Stdout, f)
		}
		return output.Explain(a.env.Stdout, f, a.options(nil))
	})
	return c
}

// pick finds one finding by the beginning of its id.
func pick(findings []schema.Finding, id string) (*schema.Finding, error) {
	var fit []*schema.Finding
	var ids []string
	for i := range findings {
		name := string(findings[i].ID)
		ids = append(ids, name)
		if name == id {
			return &findings[i], nil
		}
		if len(id) >= 3 && strings.HasPrefix(strings.ToLower(name), strings.ToLower(id)) {
			fit = append(fit, &findings[i])
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return nil, usage(fmt.Sprintf("%q begins %d findings, such as %s and %s", id, len(fit), fit[0].ID, fit[1].ID), "give more of the id")
	case len(findings) == 0:
		return nil, usage(fmt.Sprintf("there is no finding %q: the store holds none", id), "scopedrift scan finds some")
	}
	hint := "scopedrift findings lists them"
	if near := nearest(id, ids); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, usage(fmt.Sprintf("there is no finding %q in the store", id), hint)
}

// completeFindings offers the ids of stored findings to the shell.
func (a *app) completeFindings(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.settings.load(a.env, cmd.Flags()) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	findings, err := a.storedFindings(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for i := range findings {
		words = append(words, string(findings[i].ID)+"\t"+output.Safe(findings[i].Title))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
