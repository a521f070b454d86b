package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

// credentialRow is one credential as the list shows it: those the catalogue
// declares under their name, with all that was observed of them.
type credentialRow struct {
	ID         string                  `json:"id"`
	Declared   bool                    `json:"declared"`
	Kinds      []schema.CredentialKind `json:"kinds"`
	Kind       string                  `json:"kind,omitempty"`
	Owner      string                  `json:"owner,omitempty"`
	Workload   string                  `json:"workload,omitempty"`
	Purpose    string                  `json:"purpose,omitempty"`
	Observed   []string                `json:"observed"`
	Services   []string                `json:"services"`
	Operations int                     `json:"operations"`
	Calls      uint64                  `json:"calls"`
	Denied     uint64                  `json:"denied"`
	Days       int                     `json:"days"`
	First      time.Time               `json:"first,omitzero"`
	Last       time.Time               `json:"last,omitzero"`

	days       map[uint16]bool
	operations map[string]bool
}

func (a *app) credentialsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "credentials", Short: "list the credentials of a store and what they do",
		Long: `Lists every credential that was seen, and with --catalog those that are declared
and were not: who it is, what it calls, how often, on how many days. One that the
catalogue declares goes by its name there; another by its observed id.`,
		Example: "  scopedrift credentials --data store/ --catalog catalogue/\n" +
			"  scopedrift credentials --data store/ -o json | jq '.[] | select(.declared | not)'\n" +
			"  pass show api-key | scopedrift credentials fingerprint --data store/",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath()), "scopedrift credentials fingerprint is the only one")
			}
			return nil
		},
	}
	undeclared := c.Flags().Bool("undeclared", false, "only those that the catalogue does not declare")
	a.settings.bind(c.Flags(), append([]string{"catalog"}, storeFlags...)...)
	bindOutput(c.Flags(), "table", "json", "jsonl", "csv")
	c.RunE = a.action(func(ctx context.Context, _ []string) error { return a.listCredentials(ctx, *undeclared) })
	c.AddCommand(a.fingerprintCommand())
	return c
}

func (a *app) listCredentials(parent context.Context, undeclared bool) (err error) {
	cat, err := a.loadCatalog()
	if err != nil {
		return err
	}
	ctx, s, err := a.openExisting(parent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	list, err := credentialRows(ctx, s.conn, cat)
	if err != nil {
		return s.why(ctx, err)
	}
	l := &listing{table: output.Table{Columns: []output.Column{
		{Name: "id", Keep: 16}, {Name: "kind", Keep: 8}, {Name: "owner", Keep: 8}, {Name: "services", Keep: 8},
		{Name: "operations", Right: true, Spare: 2}, {Name: "calls", Right: true}, {Name: "denied", Right: true},
		{Name: "days", Right: true, Spare: 3}, {Name: "first", Spare: 1}, {Name: "last", Spare: 4},
	}}}
	for _, r := range list {
		if undeclared && r.Declared {
			continue
		}
		kind := r.Kind
		if kind == "" {
			kind = kindWords(r.Kinds)
		}
		owner := r.Owner
		if !r.Declared {
			owner = "(not declared)"
		}
		l.add(r, r.ID, kind, owner, strings.Join(r.Services, ", "), fmt.Sprint(r.Operations), fmt.Sprint(r.Calls),
			fmt.Sprint(r.Denied), fmt.Sprint(r.Days), output.Minute(r.First), output.Minute(r.Last))
	}
	return a.writeList(l)
}

// completeCredentials offers the names of credentials to the shell.
func (a *app) completeCredentials(cmd *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 || a.settings.load(a.env, cmd.Flags()) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cat, err := a.loadCatalog()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, s, err := a.openExisting(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = s.close() }() // completion has nobody to tell
	list, err := credentialRows(ctx, s.conn, cat)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, r := range list {
		words = append(words, output.Safe(r.ID)+"\t"+output.Safe(kindWords(r.Kinds)+" "+r.Owner))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func kindWords(kinds []schema.CredentialKind) string {
	var words []string
	for _, k := range kinds {
		words = append(words, k.String())
	}
	return strings.Join(words, "+")
}

// useByCredential folds the lifetime rollup. Rows of an aggregating table may be
// unmerged, so everything is aggregated again. Of one call that several
// reporters saw, the highest-ranking one's count is shown; its number is the
// lowest.
const useByCredential = `SELECT credential, service, operation, decision, min(f), max(l), groupUniqArrayArray(d), argMin(n, reporter)
FROM (
    SELECT credential, service, operation, tenant, decision, reporter,
           min(first) AS f, max(last) AS l, groupUniqArrayArray(days) AS d, sum(calls) AS n
    FROM ` + table.UseLife + `
    GROUP BY credential, service, operation, tenant, decision, reporter
)
GROUP BY credential, service, operation, tenant, decision`

func credentialRows(ctx context.Context, conn driver.Conn, cat *catalog.Catalog) ([]*credentialRow, error) {
	seen, err := principals(ctx, conn, cat)
	if err != nil {
		return nil, err
	}
	byName, byHash := map[string]*credentialRow{}, map[string]*credentialRow{}
	row := func(name string, declared *catalog.Credential) *credentialRow {
		r := byName[name]
		if r == nil {
			r = &credentialRow{ID: name, Observed: []string{}, Services: []string{}, Kinds: []schema.CredentialKind{},
				days: map[uint16]bool{}, operations: map[string]bool{}}
			byName[name] = r
		}
		if declared != nil {
			r.Declared, r.Kind, r.Owner, r.Workload, r.Purpose = true, declared.Kind, declared.Owner, declared.Workload, declared.Purpose
		}
		return r
	}
	for _, c := range cat.Credentials {
		row(c.ID, c)
	}
	for i := range seen {
		p := &seen[i]
		r := row(p.name(), p.declared)
		byHash[p.hash] = r
		if p.ID != "" && !slices.Contains(r.Observed, p.ID) {
			r.Observed = append(r.Observed, p.ID)
		}
		if !slices.Contains(r.Kinds, p.Kind) {
			r.Kinds = append(r.Kinds, p.Kind)
		}
	}
	if err := addUse(ctx, conn, byHash); err != nil {
		return nil, err
	}
	list := make([]*credentialRow, 0, len(byName))
	for _, r := range byName {
		r.Days, r.Operations = len(r.days), len(r.operations)
		slices.Sort(r.Services)
		slices.Sort(r.Observed)
		slices.Sort(r.Kinds)
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *credentialRow) int { return strings.Compare(x.ID, y.ID) })
	return list, nil
}

// addUse adds what each credential did.
func addUse(ctx context.Context, conn driver.Conn, byHash map[string]*credentialRow) error {
	rows, err := conn.Query(ctx, useByCredential)
	if err != nil {
		return explained(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			hash, service, operation string
			decision                 uint8
			first, last              time.Time
			days                     []uint16
			calls                    uint64
		)
		if err := rows.Scan(&hash, &service, &operation, &decision, &first, &last, &days, &calls); err != nil {
			return explained(err)
		}
		r := byHash[hash]
		if r == nil {
			continue // a principal's row always comes with its use, in one block
		}
		r.Calls += calls
		if schema.Decision(decision) == schema.DecisionDenied {
			r.Denied += calls
		}
		if service != "" && !slices.Contains(r.Services, service) {
			r.Services = append(r.Services, service)
		}
		r.operations[service+"\x00"+operation] = true
		for _, d := range days {
			r.days[d] = true
		}
		if r.First.IsZero() || first.Before(r.First) {
			r.First = first.UTC()
		}
		if last.After(r.Last) {
			r.Last = last.UTC()
		}
	}
	return explained(rows.Err())
}
