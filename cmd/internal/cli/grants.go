package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/detector/grant"
)

// grantFileMost bounds what is read of one file of grants.
const grantFileMost = 256 << 20

const grantsLong = `Turns what another system says about rights into a file of the catalogue, on
standard output. KIND is

  rbac   Kubernetes roles and bindings (YAML or JSON, objects or lists):
         kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o yaml
  iam    an AWS policy document, held by the role or user that --name names; or
         aws iam get-account-authorization-details

What the catalogue cannot express becomes a conditional entry, so that nothing is
judged lacking because of it, and is said in a comment and on standard error. No
import says since when a grant holds.`

func (a *app) grantsCommand() *cobra.Command {
	kind := word{known: []string{"rbac", "iam"}}
	imports := &cobra.Command{
		Use: "import KIND FILE...", Short: "turn RBAC or IAM into a file of the catalogue", Long: grantsLong,
		Example: "  kubectl get clusterroles,clusterrolebindings,roles,rolebindings -A -o yaml |\n" +
			"    scopedrift grants import rbac --authority prod-cluster - > catalogue/cluster.grants.yaml\n" +
			"  scopedrift grants import iam --authority aws/123456789012 --name arn:aws:iam::123456789012:role/ci policy.json",
		ValidArgs: kind.known,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("grants import takes a kind and one or more files", "scopedrift grants import rbac roles.yaml")
			}
			if err := kind.Set(args[0]); err != nil {
				return misused(fmt.Errorf("kind %w", err))
			}
			if kind.value == "iam" && len(args) > 2 {
				return usage("grants import iam takes one file", "import each policy with its own --name")
			}
			return nil
		},
	}
	authority := imports.Flags().String("authority", "", "who decides about these scopes, as the catalogue's services name it; empty is any")
	name := imports.Flags().String("name", "", "who holds an IAM policy document: the ARN or name of a role or user")
	imports.RunE = a.action(func(_ context.Context, args []string) error {
		return a.importGrants(kind.value, *authority, *name, args[1:])
	})
	return group("grants", "bring in grants from other systems", grantsLong, imports)
}

func (a *app) importGrants(kind, authority, name string, files []string) error {
	var documents [][]byte
	for _, file := range files {
		document, err := a.env.ReadFile(file, grantFileMost)
		if err != nil {
			return misused(fmt.Errorf("read grants: %w", err), "name the files themselves, or - for standard input")
		}
		documents = append(documents, document)
	}
	var imported *grant.Import
	var err error
	if kind == "rbac" {
		imported, err = grant.RBAC(authority, documents...)
	} else {
		imported, err = grant.IAM(name, authority, documents[0])
	}
	if err != nil {
		if kind == "iam" && name == "" {
			return misused(fmt.Errorf("import iam from %s: %w", files[0], err), "a policy document wants --name ARN; account authorization details do not")
		}
		return misused(fmt.Errorf("import %s from %s: %w", kind, strings.Join(files, ", "), err))
	}
	for _, note := range imported.Notes {
		a.remark("note: %s", note)
	}
	return imported.YAML(a.env.Stdout)
}
