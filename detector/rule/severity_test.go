package rule

import (
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

func TestClassByName(t *testing.T) {
	for operation, want := range map[string]schema.Class{
		"GET /orders":                   schema.ClassRead,
		"POST /orders":                  schema.ClassWrite,
		"DELETE /orders/{id}":           schema.ClassDelete,
		"iam:CreateUser":                schema.ClassAdmin,
		"iam:PassRole":                  schema.ClassAdmin,
		"iam:ListUsers":                 schema.ClassRead,
		"iam:*":                         schema.ClassAdmin,
		"sts:AssumeRole":                schema.ClassMint,
		"sts:GetCallerIdentity":         schema.ClassRead,
		"secretsmanager:GetSecretValue": schema.ClassSecret,
		"secretsmanager:ListSecrets":    schema.ClassRead,
		"s3:PutObject":                  schema.ClassWrite,
		"get secrets":                   schema.ClassSecret,
		"delete secrets":                schema.ClassDelete,
		"get pods":                      schema.ClassRead,
		"create pods":                   schema.ClassWrite,
		"create serviceaccounts/token":  schema.ClassMint,
		"create clusterrolebindings.rbac.authorization.k8s.io": schema.ClassAdmin,
		"get clusterroles.rbac.authorization.k8s.io":           schema.ClassRead,
		"odd": schema.ClassUnstated,
		"":    schema.ClassUnstated,
	} {
		if got := ClassByName(operation); got != want {
			t.Errorf("%q is %v, want %v", operation, got, want)
		}
	}
}
