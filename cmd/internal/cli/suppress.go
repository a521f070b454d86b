package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
)

// longestSilence bounds a suppression: what nobody looks at for longer is forgotten.
const longestSilence = 366 * 24 * time.Hour

func (a *app) suppressCommand() *cobra.Command {
	reason, until, end := "", moment{end: true}, false
	c := &cobra.Command{
		Use: "suppress FINDING", Short: "do not hear of a finding for a while",
		Long: `Suppresses one finding until a day, for a reason that is shown with it. run and
detect keep to it from their next step on: the finding is still judged, and
counted as suppressed, but nobody is told. When the time is over, or with --end,
it is open again if it still holds. FINDING is its id, or the beginning of one
that fits no other.`,
		Example: "  scopedrift findings suppress --data store/ D17-3f2a9c0d11e8b7f4 --until 2026-12-31 --reason 'owner is being found, OPS-1742'\n" +
			"  scopedrift findings suppress --data store/ D17-3f2a9c0d11e8b7f4 --end",
		Args: oneArgument("suppress takes one finding", "scopedrift findings lists them"),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in a few words")
	c.Flags().Var(&until, "until", "until when; a date alone is the whole day, UTC")
	c.Flags().BoolVar(&end, "end", false, "end the suppression")
	a.settings.bind(c.Flags(), storeFlags...)
	c.ValidArgsFunction = a.completeFindings
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		now := time.Now()
		s := tick.Suppression{Reason: strings.TrimSpace(reason), Until: until.value}
		switch {
		case end:
			s = tick.Suppression{Reason: "ended", Until: now}
		case s.Reason == "":
			return usage("a suppression needs a reason", "pass --reason TEXT")
		case s.Until.IsZero():
			return usage("a suppression needs an end", "pass --until DATE")
		case !s.Until.After(now):
			return usage("--until is past", "pass a day to come, or --end to end a suppression")
		case s.Until.Sub(now) > longestSilence:
			return usage("--until is more than a year away", "suppress it again when the year is over")
		}
		return a.suppress(ctx, args[0], s)
	})
	return c
}

// suppress writes the suppression; the next step of a detector applies it.
func (a *app) suppress(parent context.Context, name string, s tick.Suppression) (err error) {
	ctx, st, err := a.openExisting(parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	findings, err := clickhouse.Findings(ctx, st.conn)
	if err != nil {
		return st.why(ctx, err)
	}
	f, err := pick(findings, name)
	if err != nil {
		return err
	}
	if err := tick.Suppress(ctx, st.conn, f.ID, s); err != nil {
		return st.why(ctx, err)
	}
	if s.Until.After(time.Now()) {
		a.remark("%s is suppressed until %s UTC: run and detect keep to it from their next step on", f.ID, s.Until.UTC().Format(time.DateTime))
	} else {
		a.remark("%s is no longer suppressed", f.ID)
	}
	return nil
}
