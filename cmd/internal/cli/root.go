package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
)

// app is one run of the program.
type app struct {
	env      *Env
	settings *settings
	// started says that the arguments were understood: what fails before is
	// wrong use.
	started bool
}

// Main runs the command that env.Args name and returns the exit code:
//
//	0    done
//	1    it broke
//	2    wrong use or wrong configuration
//	3    findings at or above --fail-on
//	4    coverage below --min-coverage
//	130  interrupted; what was known until then was written and said to be partial
//
// Where several hold it is the first of 2, 1, 130, 3, 4.
func Main(env *Env) int {
	ctx, stop := env.Signals(context.Background())
	defer stop()
	defer env.runCleanups()
	a := &app{env: env, settings: newSettings()}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return codeDone
	}
	var coded interface{ ExitCode() int }
	if !a.started && !errors.As(err, &coded) {
		err = misused(err, "scopedrift --help shows the commands")
	}
	if errors.Is(context.Cause(ctx), errInterrupted) && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	printError(env.Stderr, err, a.errPaint())
	return exitCode(err)
}

const rootLong = `scopedrift watches API traffic and gateway logs, learns what every machine
credential really does, and compares that with what it was granted.

Start with
  scopedrift demo                    a story on made-up logs; nothing is left behind
  scopedrift doctor access.log       what your own logs show, and what they lack
  scopedrift scan --catalog FILE access.log

Results go to standard output, everything else to standard error. Settings come
from flags, then SCOPEDRIFT_… variables, then .scopedrift.yaml here, then the
user's own file, then defaults: scopedrift config show --origin tells which.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "scopedrift",
		Short:             "what machine credentials do, against what they were granted",
		Long:              rootLong,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noStray,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(a.flagError)
	root.SetVersionTemplate("scopedrift {{.Version}}\n")
	a.settings.bind(root.PersistentFlags(), "color", "quiet")
	root.AddGroup(
		&cobra.Group{ID: "find", Title: "Find:"},
		&cobra.Group{ID: "ask", Title: "Ask what was found:"},
		&cobra.Group{ID: "prepare", Title: "Prepare and check:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("find", a.scanCommand(), a.runCommand(), a.collectCommand(), a.ingestCommand(), a.detectCommand(), a.demoCommand(), a.doctorCommand())
	add("ask", a.watchCommand(), a.findingsCommand(), a.explainCommand(), a.investigateCommand(), a.credentialsCommand(), a.callsCommand(), a.recommendCommand())
	add("prepare", a.checkCommand(), a.configCommand(), a.grantsCommand(), a.schemaCommand(), a.reenrichCommand())
	root.AddCommand(a.versionCommand(), a.completionCommand(root))
	return root
}

// action makes the RunE of a command: settings first, then the work.
func (a *app) action(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := a.settings.load(a.env, cmd.Flags()); err != nil {
			return err
		}
		a.started = true
		return run(cmd.Context(), args)
	}
}

// group makes a command that only holds others: alone it shows its help, and an
// unknown word after it is wrong use.
func group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: noStray,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(children...)
	return c
}

// noStray refuses a word that names no command, and says which was likely meant.
func noStray(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, child := range cmd.Commands() {
		known = append(known, child.Name())
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := nearest(args[0], known); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return usage(text, cmd.CommandPath()+" knows "+strings.Join(known, ", "))
}

// flagError says which flag was likely meant. Of a command that there is not it
// speaks first: the flags are then not the mistake.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	depth := strings.Count(cmd.CommandPath(), " ")
	if cmd.HasSubCommands() && depth < len(a.env.Args) && !strings.HasPrefix(a.env.Args[depth], "-") {
		return noStray(cmd, a.env.Args[depth:])
	}
	hint := cmd.CommandPath() + " --help shows its flags"
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if near := nearest(unknown.GetSpecifiedName(), known); near != "" {
			return misused(fmt.Errorf("%w; did you mean --%s?", err, near), hint)
		}
	}
	return misused(err, hint)
}

// outPaint and errPaint colour the two streams.
func (a *app) outPaint() output.Paint { return a.paint(a.env.OutTerminal) }
func (a *app) errPaint() output.Paint { return a.paint(a.env.ErrTerminal) }

func (a *app) paint(terminal bool) output.Paint {
	switch a.settings.color.value {
	case "always":
		return output.Paint{On: true}
	case "never":
		return output.Paint{}
	}
	// FORCE_COLOR is weaker than the flag and stronger than the terminal.
	if a.env.Getenv("NO_COLOR") != "" {
		return output.Paint{}
	}
	if force := a.env.Getenv("FORCE_COLOR"); force != "" && force != "0" {
		return output.Paint{On: true}
	}
	return output.Paint{On: terminal && a.env.Getenv("TERM") != "dumb"}
}

// columns is the width to fit tables into, 0 when nobody looks.
func (a *app) columns() int {
	if !a.env.OutTerminal || a.env.Width == nil {
		return 0
	}
	return a.env.Width()
}

// remark says something on standard error that is no error. Arguments may be
// observed strings.
func (a *app) remark(format string, args ...any) {
	if !a.settings.quiet {
		fmt.Fprintln(a.env.Stderr, output.Safe(fmt.Sprintf(format, args...)))
	}
}
