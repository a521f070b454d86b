package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
)

const investigateLong = `Follows one credential: who it is, what it did and when, with verdicts and what
was found in between; what it could have done; from where it was used, and which
place was the first that does not belong; and what to ask next.

The name is a credential (its name in the catalogue, or an observed id), a
workload or address as the network names it, or the id of a finding, whose
credential is followed. Where a name could be several, credential:NAME,
workload:NAME or finding:ID say which is meant.

With --bundle the evidence is written to a file that scopedrift check bundle
verifies, so that somebody else can follow without the store.`

func (a *app) investigateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "investigate CREDENTIAL|WORKLOAD|FINDING", Short: "follow a credential: timeline, reach, who else used it", Long: investigateLong,
		Example: "  scopedrift investigate --data store/ --catalog catalogue/ ci-deployer\n" +
			"  scopedrift investigate --data store/ --catalog catalogue/ D06-3f2a9c0d11e8b7f4 --from 2026-03-01\n" +
			"  scopedrift investigate --data store/ workload:10.20.4.7 -o json | jq .credentials\n" +
			"  scopedrift investigate --data store/ --catalog catalogue/ ci-deployer --bundle case-17.tar.zst",
		Args: oneArgument("investigate takes one credential, workload or finding", "scopedrift credentials and scopedrift findings list them"),
	}
	a.settings.bind(c.Flags(), append([]string{"catalog", "from", "to"}, storeFlags...)...)
	allLinks := c.Flags().Bool("all-links", false, "follow links over the whole window, rather than around what is strange: slow on a large store")
	bundle := c.Flags().String("bundle", "", "write the evidence to this new file, too: calls, findings, coverage, with hashes (FILE.tar.zst)")
	bindOutput(c.Flags(), "text", "json", "dot", "markdown")
	c.ValidArgsFunction = a.completeCredentials
	c.RunE = a.action(func(ctx context.Context, args []string) error {
		r, err := a.investigation(ctx, args[0], *allLinks, *bundle)
		if err != nil {
			return err
		}
		switch output.Format(a.settings.output) {
		case output.JSON:
			return output.Document(a.env.Stdout, r)
		case output.DOT:
			return output.WriteInvestigationDOT(a.env.Stdout, r)
		case output.Markdown:
			return output.WriteInvestigationMarkdown(a.env.Stdout, r, a.options(nil))
		}
		return output.WriteInvestigation(a.env.Stdout, r, a.options(nil))
	})
	return c
}

// findingID is what the id of a finding, or the beginning of one, looks like.
var findingID = regexp.MustCompile(`^(?i)D\d\d(-[0-9a-f]*)?$`)

// question reads what is asked about.
func question(name string, findings []schema.Finding) (investigate.Question, error) {
	q := investigate.Question{Name: name}
	for _, kind := range []string{investigate.KindCredential, investigate.KindWorkload, investigate.KindFinding} {
		if rest, ok := strings.CutPrefix(name, kind+":"); ok && rest != "" {
			q.Kind, q.Name = kind, rest
		}
	}
	if q.Kind == "" && findingID.MatchString(name) {
		q.Kind = investigate.KindFinding
	}
	if q.Kind != investigate.KindFinding {
		return q, nil
	}
	f, err := pick(findings, q.Name)
	if err != nil {
		return q, err
	}
	q.Name, q.Finding = string(f.ID), f
	return q, nil
}

// investigation opens the store, asks and closes it.
func (a *app) investigation(parent context.Context, name string, allLinks bool, bundle string) (r *investigate.Investigation, err error) {
	cat, err := a.loadCatalog()
	if err != nil {
		return nil, err
	}
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	findings, err := clickhouse.Findings(ctx, s.conn)
	if err != nil {
		return nil, s.why(ctx, err)
	}
	q, err := question(name, findings)
	if err != nil {
		return nil, err
	}
	r, err = investigate.New(investigate.Config{
		Detector: detector.Config{Catalog: cat, Conn: s.conn, Window: schema.Window{From: a.settings.from.value, To: a.settings.to.value}},
		Findings: findings, AllLinks: allLinks,
	}).Investigate(ctx, q)
	var unknown *detector.UnknownCredential
	if errors.As(err, &unknown) {
		return nil, misused(fmt.Errorf("no credential, workload or finding %q is known in the window", q.Name),
			unknown.Hint(), "scopedrift credentials and scopedrift findings list them; a name of the catalogue needs --catalog")
	}
	if err == nil && bundle != "" {
		err = a.writeBundle(ctx, s.conn, bundle, cat, r, findings)
	}
	if err == nil {
		err = s.dead()
	}
	return r, s.why(ctx, err)
}
