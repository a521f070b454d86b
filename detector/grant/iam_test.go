package grant_test

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/grant"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const role = "arn:aws:iam::123456789012:role/worker"

func ask(t testing.TB, cat *catalog.Catalog, id, operation, resource string, known bool) compare.Judgement {
	t.Helper()
	declared, err := cat.CredentialFor(schema.Principal{Kind: schema.KindRoleSession, ID: id})
	if err != nil || declared == nil {
		t.Fatalf("%s is not declared: %v", id, err)
	}
	return compare.New(cat).Judge(&compare.Request{
		Declared: declared, Kind: schema.KindRoleSession, Service: "cloud", Operation: operation,
		Resource: resource, ResourceKnown: known, RouteSource: schema.RouteFromSource, Time: at,
	})
}

const policy = `{"Version": "2012-10-17", "Statement": [
	{"Sid": "read", "Effect": "Allow", "Action": ["s3:Get*", "S3:listbucket"], "Resource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"]},
	{"Effect": "Allow", "Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:jobs"},
	{"Effect": "Allow", "NotAction": ["iam:*", "s3:*", "sqs:*", "organizations:*"], "Resource": "*"},
	{"Effect": "Allow", "Action": "iam:GetUser", "Resource": "arn:aws:iam::123456789012:user/${aws:username}"},
	{"Effect": "Deny", "Action": "ec2:Terminate*", "Resource": "*"},
	{"Effect": "Deny", "Action": "dynamodb:DeleteTable", "Resource": "*", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}},
	{"Effect": "Deny", "Action": "kms:Decrypt", "NotResource": "arn:aws:kms:eu-west-1:123456789012:key/mine"},
	{"Effect": "Allow", "Action": "organizations:ListAccounts", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/x": "y"}}}
]}`

func TestIAM(t *testing.T) {
	imported, err := grant.IAM(role, "aws/123456789012", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	cat := load(t, imported, cloudService)
	sameAsLoaded(t, imported, cat)
	tests := []struct {
		operation, resource string
		want                compare.Holding
	}{
		{"s3:GetObject", "arn:aws:s3:::logs/2026/a", compare.Holds},
		{"s3:HeadObject", "arn:aws:s3:::logs/2026/a", compare.Holds},
		{"s3:GetObject", "arn:aws:s3:::other/a", compare.Lacks},
		{"s3:GetObject", "arn:aws:s3:::logs", compare.Unknown}, // the object is not shown
		{"s3:GetObject", "", compare.Unknown},
		{"s3:ListObjects", "arn:aws:s3:::logs", compare.Holds},
		{"s3:ListObjects", "arn:aws:s3:::other", compare.Lacks},
		{"s3:PutObject", "arn:aws:s3:::logs/a", compare.Lacks},
		{"s3:ListBuckets", "", compare.Lacks},
		{"sqs:SendMessage", "arn:aws:sqs:eu-west-1:123456789012:jobs", compare.Holds},
		{"sqs:SendMessage", "arn:aws:sqs:eu-west-1:123456789012:other", compare.Lacks},
		{"sqs:ListQueues", "", compare.Unknown},
		{"ec2:DescribeInstances", "", compare.Holds},
		{"ec2:TerminateInstances", "", compare.Lacks},
		{"monitoring:PutMetricData", "", compare.Holds},
		{"iam:CreateUser", "", compare.Lacks},
		{"iam:GetUser", "arn:aws:iam::123456789012:user/x", compare.Unknown},
		{"iam:GetUser", "arn:aws:iam::123456789012:role/x", compare.Unknown},
		{"dynamodb:DeleteTable", "", compare.Unknown},
		{"kms:Decrypt", "", compare.Unknown},
		{"organizations:ListAccounts", "", compare.Unknown},
		{"organizations:DeleteOrganization", "", compare.Lacks},
		{"sts:GetCallerIdentity", "", compare.Holds},
		{"made:Up", "", compare.Unknown},
	}
	for _, tt := range tests {
		if j := ask(t, cat, role, tt.operation, tt.resource, true); j.Holding != tt.want {
			t.Errorf("%s on %q: %v, want %v; %q", tt.operation, tt.resource, j.Holding, tt.want, j.Reasons)
		}
	}
	if j := ask(t, cat, role, "s3:GetObject", "", false); j.Holding != compare.Unknown || !j.NeedsResource {
		t.Errorf("a fold over objects: %v, needs the resource %v", j.Holding, j.NeedsResource)
	}
	if j := ask(t, cat, role, "s3:PutObject", "", false); j.Holding != compare.Lacks || j.NeedsResource {
		t.Errorf("a fold that lacks on any object: %v, needs the resource %v", j.Holding, j.NeedsResource)
	}
}

// The same policy in every wrapping that AWS and archives write.
func TestIAMWrappings(t *testing.T) {
	plain, err := grant.IAM(role, "", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"archive": `{"PolicyName": "p", "Document": ` + policy + `}`,
		"version": `{"PolicyVersion": {"VersionId": "v1", "Document": ` + policy + `}}`,
		"encoded": `{"PolicyVersion": {"Document": "` + url.QueryEscape(policy) + `"}}`,
	} {
		got, err := grant.IAM(role, "", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.Credentials[0].Grants) != len(plain.Credentials[0].Grants) {
			t.Errorf("%s: %d grants, want %d", name, len(got.Credentials[0].Grants), len(plain.Credentials[0].Grants))
		}
	}
}

func TestIAMErrors(t *testing.T) {
	statement := func(s string) string { return `{"Statement": [` + s + `]}` }
	tests := []struct{ name, holder, document, want string }{
		{"nothing", role, `{}`, `no "Statement"`},
		{"nothing, of nobody", "", `{}`, `no "Statement"`},
		{"list", role, `[]`, `no "Statement"`},
		{"no name", "", policy, "does not say who has it"},
		{"json", role, `{`, "read JSON"},
		{"effect", role, statement(`{"Effect": "allow", "Action": "*"}`), "neither Allow nor Deny"},
		{"principal", role, statement(`{"Effect": "Allow", "Action": "*", "Principal": "*"}`), "policy of a resource"},
		{"both", role, statement(`{"Effect": "Allow", "Action": "*", "NotAction": "*"}`), "either Action or NotAction"},
		{"neither", role, statement(`{"Effect": "Allow"}`), "either Action or NotAction"},
		{"empty", role, statement(`{"Effect": "Allow", "NotAction": []}`), "NotAction is empty"},
	}
	for _, tt := range tests {
		_, err := grant.IAM(tt.holder, "", []byte(tt.document))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestIAMAccount(t *testing.T) {
	details := `{
	"UserDetailList": [{"UserName": "ann", "Arn": "arn:aws:iam::123456789012:user/ann", "GroupList": ["dev", "gone"],
		"UserPolicyList": [{"PolicyName": "own", "PolicyDocument": {"Statement": {"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}}}]}],
	"GroupDetailList": [{"GroupName": "dev", "AttachedManagedPolicies": [{"PolicyName": "ro", "PolicyArn": "arn:aws:iam::aws:policy/ro"}]}],
	"RoleDetailList": [
		{"RoleName": "worker", "Arn": "` + role + `", "AttachedManagedPolicies": [{"PolicyName": "ro", "PolicyArn": "arn:aws:iam::aws:policy/ro"}],
			"PermissionsBoundary": {"PermissionsBoundaryArn": "arn:aws:iam::aws:policy/b"}},
		{"RoleName": "idle", "Arn": "arn:aws:iam::123456789012:role/idle"},
		{"RoleName": "ro", "Arn": "arn:aws:iam::123456789012:role/ro", "AttachedManagedPolicies": [{"PolicyName": "ro", "PolicyArn": "arn:aws:iam::aws:policy/ro"}]}
	],
	"Policies": [{"PolicyName": "ro", "Arn": "arn:aws:iam::aws:policy/ro", "PolicyVersionList": [
		{"IsDefaultVersion": false, "Document": {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}},
		{"IsDefaultVersion": true, "Document": {"Statement": {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}}]}]}`
	imported, err := grant.IAM("", "aws/123456789012", []byte(details))
	if err != nil {
		t.Fatal(err)
	}
	cat := load(t, imported, cloudService)
	sameAsLoaded(t, imported, cat)
	const ann, idle, ro = "arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:role/idle", "arn:aws:iam::123456789012:role/ro"
	for _, tt := range []struct {
		who, operation string
		want           compare.Holding
	}{
		{ann, "sns:Publish", compare.Holds},
		{ann, "ec2:DescribeInstances", compare.Holds},
		{ann, "iam:CreateUser", compare.Unknown}, // one of her groups is not known
		{role, "ec2:DescribeInstances", compare.Unknown},
		{role, "iam:CreateUser", compare.Lacks},
		{idle, "ec2:DescribeInstances", compare.Lacks},
		{ro, "ec2:DescribeInstances", compare.Holds},
		{ro, "ec2:RunInstances", compare.Lacks},
	} {
		if j := ask(t, cat, tt.who, tt.operation, "", true); j.Holding != tt.want {
			t.Errorf("%s %s: %v, want %v; %q", tt.who, tt.operation, j.Holding, tt.want, j.Reasons)
		}
	}
}

// TestIAMPolicyCorpus imports every managed policy of the corpus.
func TestIAMPolicyCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus.Path(t, "iam/aws"), "*.json"))
	if err != nil || len(files) != 25 {
		t.Fatalf("%d policies, want 25 (%v)", len(files), err)
	}
	held := map[string][]string{} // by operation, the policies that hold it
	operations := []string{"iam:CreateUser", "iam:ListRoles", "s3:GetObject", "ec2:RunInstances", "sts:AssumeRole", "kms:ScheduleKeyDeletion"}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		imported, err := grant.IAM(role, "aws/123456789012", corpus.Read(t, path))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cat := load(t, imported, cloudService)
		sameAsLoaded(t, imported, cat)
		for _, o := range operations {
			if ask(t, cat, role, o, "", true).Holding == compare.Holds {
				held[o] = append(held[o], name)
			}
		}
	}
	for operation, want := range map[string][]string{
		"iam:CreateUser":          {"AdministratorAccess", "IAMFullAccess"},
		"ec2:RunInstances":        {"AdministratorAccess", "AmazonEC2FullAccess", "AmazonECS_FullAccess", "PowerUserAccess"},
		"kms:ScheduleKeyDeletion": {"AdministratorAccess", "PowerUserAccess"},
	} {
		if got := held[operation]; !slices.Equal(got, want) {
			t.Errorf("%s is held by %q, want %q", operation, got, want)
		}
	}
	if slices.Contains(held["iam:CreateUser"], "PowerUserAccess") || !slices.Contains(held["iam:ListRoles"], "PowerUserAccess") {
		t.Error("PowerUserAccess: NotAction is read wrong")
	}
}
