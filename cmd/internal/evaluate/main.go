// Command evaluate measures the detections on simulated companies whose truth is
// known: how much of what attackers did is found, how much of what is found is
// true, how soon, how many findings a day, and which look-alikes were taken for
// attacks. make eval runs it.
//
// It makes each world with deployments/scenario/world, lets the real program
// scan the logs, and compares the findings with the truth. The set held is what
// docs/detection-quality.md is written from; the set dev is for work on
// detections and is never written there. It promises the same table for the
// same program and worlds, and cannot show how a real company would fare.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/deployments/scenario/world"
)

// options are what the command line says.
type options struct {
	set      world.Set
	seeds    []uint64
	program  string
	out      string
	keep     string
	failures string
	ablate   int
	jobs     int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

func parse(args []string, talk io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("evaluate", flag.ContinueOnError)
	flags.SetOutput(talk)
	set := flags.String("set", "held", "which worlds: held (to measure) or dev (to work with)")
	seeds := flags.String("seeds", "", "only the worlds with these seeds, separated by commas")
	flags.StringVar(&o.program, "program", "bin/scopedrift", "the program that is measured")
	flags.StringVar(&o.out, "out", "", "write the report as Markdown to this file; only with all worlds of the set held")
	flags.StringVar(&o.keep, "keep", "", "keep logs, catalogues, truth and findings of the worlds in this directory")
	flags.StringVar(&o.failures, "failures", "", "write what was missed and what was wrong, finding by finding, to this file")
	flags.IntVar(&o.ablate, "ablate", 4, "repeat this many worlds with parts of the logs left out")
	flags.IntVar(&o.jobs, "jobs", 1, "try this many worlds side by side; each takes up to 2 GiB")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is not expected here: worlds are chosen with -set and -seeds", flags.Arg(0))
	}
	o.set = world.Set(*set)
	if o.set != world.Held && o.set != world.Dev {
		return nil, fmt.Errorf("no set of worlds is called %q: use held or dev", *set)
	}
	for _, s := range strings.FieldsFunc(*seeds, func(r rune) bool { return r == ',' }) {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no seed: seeds are numbers", s)
		}
		o.seeds = append(o.seeds, n)
	}
	if o.out != "" && (o.set != world.Held || o.seeds != nil) {
		return nil, errors.New("only all worlds of the set held make a report: leave out -set and -seeds, or -out")
	}
	return o, nil
}

// version is the first line that the program says of itself.
func version(ctx context.Context, program string) string {
	text, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return "an unknown version"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func run(ctx context.Context, args []string, out, talk io.Writer) error {
	o, err := parse(args, talk)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	var list []world.Config
	for _, cfg := range world.Worlds(o.set) {
		if o.seeds == nil || slices.Contains(o.seeds, cfg.Seed) {
			list = append(list, cfg)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("the set %s has none of the seeds %v: see world.Worlds", o.set, o.seeds)
	}
	t, err := measure(ctx, o, list, talk)
	if err != nil {
		return err
	}
	t.print(out)
	if o.failures != "" {
		if err := os.WriteFile(o.failures, []byte(t.failureList()), 0o644); err != nil {
			return fmt.Errorf("write the failures: %w", err)
		}
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(t.markdown(time.Now().UTC().Format(time.DateOnly), version(ctx, o.program))), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if n := t.invented(); n > 0 {
		return fmt.Errorf("%d findings of rules say what the full logs contradict: see \"invented\" above", n)
	}
	return nil
}
