package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/schema"
)

const recommendLong = `Proposes the smaller grant: what a credential may lose without losing anything it
was seen to need. For one credential it says what to keep and which calls need
it, what can go and how sure that is, what nobody knows; it replays the observed
calls against the proposal, and hands out the proposal and its undo as catalogue
YAML. Without a credential it lists all, those with the most to remove first.

A proposal is never wider than the grant, and suspicious calls are no need.`

func (a *app) recommendCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "recommend [CREDENTIAL]", Short: "propose the smaller grant, with proof and undo", Long: recommendLong,
		Example: "  scopedrift recommend --data store/ --catalog catalogue/\n" +
			"  scopedrift recommend --data store/ --catalog catalogue/ ci-deployer\n" +
			"  scopedrift recommend --data store/ --catalog catalogue/ ci-deployer -o json | jq -r .proposal",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("recommend takes one credential, or none for all")
			}
			return nil
		},
	}
	a.settings.bind(c.Flags(), append([]string{"catalog", "from", "to"}, storeFlags...)...)
	bindOutput(c.Flags(), "text", "table", "json", "jsonl", "csv")
	c.ValidArgsFunction = a.completeCredentials
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return a.recommendAll(ctx)
		}
		return a.recommend(ctx, args[0])
	})
	return c
}

// recommender opens the store for a recommender and runs it.
func (a *app) recommender(parent context.Context, run func(context.Context, *recommend.Recommender) error) (err error) {
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	err = run(ctx, recommend.New(detector.Config{
		Catalog: cat, Conn: s.conn,
		Window: schema.Window{From: a.settings.from.value, To: a.settings.to.value},
	}))
	if err == nil {
		err = s.dead()
	}
	return s.why(ctx, err)
}

func (a *app) recommend(ctx context.Context, name string) error {
	var r recommend.Recommendation
	err := a.recommender(ctx, func(ctx context.Context, from *recommend.Recommender) (err error) {
		r, err = from.Recommend(ctx, name)
		return err
	})
	var unknown *detector.UnknownCredential
	if errors.As(err, &unknown) {
		return misused(err, "scopedrift credentials lists those that were seen; a name of the catalogue needs --catalog")
	}
	if err != nil {
		return err
	}
	switch output.Format(a.settings.output) {
	case output.JSON:
		return output.Document(a.env.Stdout, &r)
	case output.JSONL:
		return output.Line(a.env.Stdout, &r)
	case output.Grid:
		return output.RecommendationTable([]recommend.Recommendation{r}).Print(a.env.Stdout, a.columns(), a.outPaint())
	case output.CSV:
		return output.RecommendationTable([]recommend.Recommendation{r}).CSV(a.env.Stdout)
	}
	return output.WriteRecommendation(a.env.Stdout, &r, a.options(nil))
}

func (a *app) recommendAll(ctx context.Context) error {
	var list []recommend.Recommendation
	err := a.recommender(ctx, func(ctx context.Context, from *recommend.Recommender) (err error) {
		list, err = from.All(ctx)
		return err
	})
	if err != nil {
		return err
	}
	l := &listing{table: *output.RecommendationTable(list)}
	for i := range list {
		l.values = append(l.values, &list[i])
	}
	return a.writeList(l)
}
