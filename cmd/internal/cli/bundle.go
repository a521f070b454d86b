package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector/investigate"
	"github.com/scopedrift/scopedrift/detector/rule"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// writeBundle writes the evidence behind an investigation to a file that did not
// exist: evidence is never written over.
func (a *app) writeBundle(ctx context.Context, conn driver.Conn, name string, cat *catalog.Catalog, r *investigate.Investigation, findings []schema.Finding) (err error) {
	file, err := a.env.CreateNew(name)
	if errors.Is(err, fs.ErrExist) {
		return usage(fmt.Sprintf("%s exists", name), "name a new file with --bundle: evidence is not written over")
	}
	if err != nil {
		return broken(fmt.Errorf("write the bundle: %w", err), "name a file that can be written with --bundle")
	}
	done := false
	defer func() {
		err = errors.Join(err, file.Close())
		if !done || err != nil {
			_ = a.env.Remove(name) // half a bundle is none
		}
	}()
	b := investigate.Bundle{
		Version: version(), Investigation: r, Findings: findings,
		Catalogue: investigate.CatalogueVersion{Digest: cat.Digest, Services: len(cat.Services), Credentials: len(cat.Credentials)},
		Calls: func(each func(*schema.Call) error) error {
			return bundleCalls(ctx, conn, r, each)
		},
	}
	m, err := b.Write(file)
	if err != nil {
		return err
	}
	done = true
	a.remark("%s: %s and %s; scopedrift check bundle verifies it", name, output.Count(m.Calls, "call"), output.Count(uint64(m.Findings), "finding"))
	return nil
}

// bundleCalls reads the calls of the credentials asked about, or of these those
// from the place asked about.
func bundleCalls(ctx context.Context, conn driver.Conn, r *investigate.Investigation, each func(*schema.Call) error) error {
	hashes := r.Principals()
	if len(hashes) == 0 {
		return nil
	}
	literals := make([]string, len(hashes))
	for i, h := range hashes {
		literals[i] = fmt.Sprintf("toFixedString(unhex('%s'), 16)", hex.EncodeToString(h[:]))
	}
	where := " WHERE credential IN (" + strings.Join(literals, ", ") + ") AND time >= toDateTime64(?, 6, 'UTC') AND time < toDateTime64(?, 6, 'UTC') ORDER BY time, id, reporter"
	return eachCall(ctx, conn, where, []any{sqlTime(r.Window.From), sqlTime(r.Window.To)}, func(c *schema.Call) error {
		if r.Question.Kind == investigate.KindWorkload {
			if spot := (rule.Spot{Workload: c.Workload, Address: c.ClientAddress}); !spot.In(r.Question.Name) {
				return nil
			}
		}
		return each(c)
	})
}

func (a *app) checkBundleCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bundle FILE", Short: "verify an evidence bundle that investigate wrote",
		Long: `Verifies an evidence bundle without a store: that it is whole and every file has
the hash that its manifest states, that calls and findings are those of the
question, and that the calls which findings show are among the calls. With the
catalogue by which it was judged, findings about single calls are found anew.
Nothing is unpacked to disk. Exit code 1 if anything does not fit.`,
		Example: "  scopedrift check bundle case-17.tar.zst\n  scopedrift check bundle --catalog catalogue/ case-17.tar.zst -o json",
		Args:    oneArgument("check bundle takes one file", "scopedrift investigate --bundle FILE writes one"),
	}
	a.settings.bind(c.Flags(), "catalog")
	bindOutput(c.Flags(), "text", "json")
	c.RunE = a.action(func(ctx context.Context, args []string) error { return a.checkBundle(ctx, args[0]) })
	return c
}

func (a *app) checkBundle(ctx context.Context, name string) error {
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	file, err := a.env.Open(name)
	if err != nil {
		return broken(err, "name the file that scopedrift investigate --bundle wrote")
	}
	defer func() { _ = file.Close() }() // it was only read
	var calls []schema.Call
	check, err := investigate.CheckBundle(file, func(c *schema.Call) error {
		if ctx.Err() == nil && len(calls) <= investigate.MaxJudged && a.settings.catalog != "" {
			calls = append(calls, *c)
		}
		return context.Cause(ctx)
	})
	if err != nil {
		return err
	}
	note := "findings were not found anew: --catalog PATH with the catalogue of the time does that"
	switch {
	case len(calls) > investigate.MaxJudged:
		note = fmt.Sprintf("findings were not found anew: there are more than %d calls", investigate.MaxJudged)
	case a.settings.catalog != "":
		follow, err := check.Judge(ctx, cat, calls)
		if err != nil {
			return err
		}
		note = fmt.Sprintf("%s about single calls found anew by this catalogue", output.Count(uint64(follow), "finding"))
	}
	if output.Format(a.settings.output) == output.JSON {
		err = output.Document(a.env.Stdout, check)
	} else {
		err = output.WriteBundleCheck(a.env.Stdout, check, note, a.options(nil))
	}
	if err == nil && len(check.Problems) > 0 {
		return &fault{text: "the bundle does not fit together", code: codeBroken, silent: true}
	}
	return err
}
