package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/deployments/scenario"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
)

const demoLong = `Tells a month of a small company that does not exist: writes its log files and
catalogue to a temporary directory, reads them the way scan reads yours, shows a
finding of each detection, explains one, and hands back a smaller grant. It needs
no network and no files, and leaves nothing behind unless --keep says so.`

func (a *app) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "demo", Short: "see what it does, on made-up logs; nothing is left behind", Args: cobra.NoArgs,
		Long: demoLong, Example: "  scopedrift demo\n  scopedrift demo --keep story/ && scopedrift findings --data story/store",
	}
	keep := c.Flags().String("keep", "", "leave logs, catalogue and store in this directory, to play with")
	a.settings.bind(c.Flags(), "memory")
	c.RunE = a.action(func(ctx context.Context, _ []string) error { return a.demo(ctx, *keep) })
	return c
}

func (a *app) demo(ctx context.Context, keep string) error {
	dir, shown, err := a.demoDirectory(keep)
	if err != nil {
		return err
	}
	if keep == "" {
		defer dir.remove()
	}
	story, err := scenario.Write(dir.path)
	if err != nil {
		return broken(err, "pass --keep DIR with a directory that can be written, or set TMPDIR")
	}
	keyPath := filepath.Join(dir.path, "installation.key")
	if err := a.writeFile(keyPath, scenario.KeyHex+"\n"); err != nil {
		return broken(err)
	}
	// Nothing of the user's own settings takes part in the story.
	memory, quiet, color := a.settings.memory, a.settings.quiet, a.settings.color
	*a.settings = *newSettings()
	s := a.settings
	s.memory, s.quiet, s.color = memory, quiet, color
	s.catalog, s.data, s.key = story.Catalogue, filepath.Join(dir.path, "store"), keyPath
	t := &teller{app: a, story: story, dir: shown}
	t.opening()
	r, err := a.runScan(ctx, []string{story.Logs})
	if r == nil || r.report.Findings == nil || err != nil {
		return errors.Join(err, interruptedWith(ctx))
	}
	r.report.Tidy()
	t.findings(&r.report)
	if err := t.explain(&r.report); err != nil {
		return err
	}
	if err := t.movement(&r.report); err != nil {
		return err
	}
	if err := t.recommend(ctx); err != nil {
		return err
	}
	t.closing(keep)
	return nil
}

func interruptedWith(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return nil
}

// demoPlace is where the demo works.
type demoPlace struct {
	path   string
	remove func()
}

// demoDirectory makes the directory of the demo; shown is how commands name it.
func (a *app) demoDirectory(keep string) (demoPlace, string, error) {
	if keep == "" {
		path, remove, err := a.env.TempDir()
		return demoPlace{path, remove}, "", err
	}
	if a.env.Exists(keep) && !a.env.Empty(keep) {
		return demoPlace{}, "", usage(fmt.Sprintf("%s is not empty", keep), "name a new directory with --keep, or remove that one")
	}
	if err := a.env.MkdirAll(keep); err != nil {
		return demoPlace{}, "", broken(err, "name a directory that can be written with --keep")
	}
	return demoPlace{path: a.env.Path(keep)}, strings.TrimSuffix(keep, "/") + "/", nil
}

func (a *app) writeFile(name, text string) error {
	file, err := a.env.Create(name)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(text))
	return errors.Join(err, file.Close())
}

// teller tells the story on standard output. What it says is the same at every
// run: no paths, no times of its own.
type teller struct {
	*app
	story *scenario.Story
	dir   string
}

func (t *teller) print(format string, args ...any) {
	for _, line := range output.Paragraph(fmt.Sprintf(format, args...), t.columns()) {
		fmt.Fprintln(t.env.Stdout, line)
	}
}

func (t *teller) heading(text string) {
	fmt.Fprintf(t.env.Stdout, "\n%s\n\n", t.outPaint().Strong(text))
}

// command shows the command line that does what comes next.
func (t *teller) command(format string, args ...any) {
	fmt.Fprintf(t.env.Stdout, "  %s %s\n\n", t.outPaint().Quiet("$"), output.Safe(fmt.Sprintf(format, args...)))
}

func (t *teller) opening() {
	t.heading("A month at Harbourline, a small freight company")
	var kinds []string
	total := 0
	for kind, n := range t.story.Lines {
		kinds = append(kinds, kind)
		total += n
	}
	slices.Sort(kinds)
	var parts []string
	for _, kind := range kinds {
		parts = append(parts, output.Number(uint64(t.story.Lines[kind]))+" "+kind)
	}
	t.print("Its services, cluster, cloud account and old portal have written %s lines and packets (%s), and it keeps "+
		"a catalogue of what its credentials were granted.", output.Number(uint64(total)), strings.Join(parts, ", "))
	t.print("Nothing in the logs is an error: every call was made with a valid credential.")
	fmt.Fprintln(t.env.Stdout)
	t.command("scopedrift scan --catalog %scatalogue --data %sstore %slogs", t.dir, t.dir, t.dir)
}

// findings shows, for each detection that fired, the gravest finding.
func (t *teller) findings(r *output.Report) {
	s := &r.Summary
	t.print("%s by %s were judged in the store; %s came out:", output.Count(s.Calls, "call"),
		output.Count(uint64(s.Credentials.Declared+s.Credentials.Undeclared), "credential"), output.Count(uint64(len(r.Findings)), "finding"))
	table := &output.Table{Columns: []output.Column{{Name: "severity"}, {Name: "code"}, {Name: "findings", Right: true}, {Name: "the gravest", Keep: 40}}}
	for _, d := range rule.Detections() {
		var first *schema.Finding
		n := 0
		for i := range r.Findings {
			if r.Findings[i].Code == d.Code {
				if first == nil {
					first = &r.Findings[i]
				}
				n++
			}
		}
		if first != nil {
			table.Add(first.Severity.String(), d.Code, fmt.Sprint(n), first.Title)
		}
	}
	fmt.Fprintln(t.env.Stdout)
	_ = table.Print(t.env.Stdout, t.columns(), t.outPaint())
}

// explain shows one finding whole.
func (t *teller) explain(r *output.Report) error {
	var chosen *schema.Finding
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code == rule.OutOfScopeAccess && (chosen == nil || f.Credential.ID == t.story.Beyond && chosen.Credential.ID != t.story.Beyond) {
			chosen = f
		}
	}
	if chosen == nil {
		return nil
	}
	t.heading("Why is that one?")
	t.command("scopedrift explain --data %sstore %s", t.dir, chosen.ID)
	// Commands name the directory as the reader sees it, not the temporary one.
	seen, settings := *t.app, *t.settings
	settings.data, settings.catalog = t.dir+"store", t.dir+"catalogue"
	seen.settings = &settings
	o := t.options(nil)
	o.Next = seen.nextCommand
	return output.Explain(t.env.Stdout, chosen, o)
}

// movement draws the way of a lateral movement, from its entry to its target.
func (t *teller) movement(r *output.Report) error {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != rule.LateralMovement || len(f.Evidence.Hops) == 0 {
			continue
		}
		t.heading("Who went where?")
		t.command("scopedrift investigate --catalog %scatalogue --data %sstore %s", t.dir, t.dir, f.ID)
		t.print("%s.", f.Title)
		fmt.Fprintln(t.env.Stdout)
		return output.WriteWay(t.env.Stdout, f.Evidence.Hops)
	}
	return nil
}

// recommend shows the smaller grant of the credential that holds too much.
func (t *teller) recommend(ctx context.Context) error {
	t.heading("What would be enough?")
	t.command("scopedrift recommend --catalog %scatalogue --data %sstore %s", t.dir, t.dir, t.story.Excess)
	return t.app.recommend(ctx, t.story.Excess)
}

func (t *teller) closing(keep string) {
	t.heading("Your turn")
	if keep == "" {
		t.print("Nothing was left behind. scopedrift demo --keep DIR leaves logs, catalogue and store to play with.")
	} else {
		t.print("Everything is in %s:", t.dir)
		for _, command := range []string{
			"scopedrift findings --data %[1]sstore --severity high",
			"scopedrift credentials --data %[1]sstore --catalog %[1]scatalogue",
			"scopedrift calls --data %[1]sstore --catalog %[1]scatalogue --credential " + t.story.Beyond + " --operation 'POST *'",
			"scopedrift recommend --data %[1]sstore --catalog %[1]scatalogue",
		} {
			fmt.Fprintf(t.env.Stdout, "  "+command+"\n", t.dir)
		}
	}
	t.print("For your own logs: scopedrift doctor access.log, then scopedrift scan access.log.")
}
