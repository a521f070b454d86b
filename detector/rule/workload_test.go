package rule

import "testing"

func TestSameWorkload(t *testing.T) {
	for _, c := range []struct {
		declared, observed string
		want               likeness
	}{
		{"spiffe://a/ns/pay/sa/x", "spiffe://a/ns/pay/sa/x", same},
		{"spiffe://a/ns/pay/sa/*", "spiffe://a/ns/pay/sa/x", same},
		{"spiffe://a/**", "spiffe://a/ns/pay/sa/x", same},
		{"spiffe://a/ns/pay/sa/x", "spiffe://a/ns/pay/sa/y", other},
		{"spiffe://a/ns/pay/sa/x", "spiffe://b/ns/pay/sa/x", other},
		{"spiffe://a/ns/pay/sa/x", "spiffe://a/ns/pay/sa/x-2", other},
		{"ns/pay/sa/x", "spiffe://a/ns/pay/sa/x", same},
		{"pay/x", "spiffe://a/ns/pay/sa/x", same},
		{"pay/y", "spiffe://a/ns/pay/sa/x", incomparable},
		{"deploy/ci", "ci-6d4cf56db6-x2x9z", same},
		{"deploy/ci", "deploy/ci-6d4cf56db6-x2x9z", same},
		{"deploy/ci", "deploy/web", other},
		{"deploy/ci", "pod/web", incomparable},
		{"deploy/ci", "i-0123456789", incomparable},
		{"billing", "billing", same},
		{"billing", "billing-7f9c", same},
		{"billing", "reports", other},
		{"billing", "billings", other},
		{"arn:aws:iam::1:role/a", "arn:aws:iam::1:role/b", other},
		{"arn:aws:iam::1:role/a", "i-1", incomparable},
		{"back office", "web", incomparable},
		{"billing", "i-0abc12", incomparable},
		{"ci", "ci-admin", other},
		{"deploy/ci", "deploy/ci-admin", other},
		{"ci", "ci-2", same},
		{"ci", "ci-29541236-x2x9z", same},
		{"ci", "ci-x2x9z-6d4cf56db6-x2x9z", other},
		{"ns/a/sa/b", "spiffe://td/ns/a/sa/b", same},
		{"ns/a/sa/*", "spiffe://td/ns/a/sa/b", same},
		{"ns/a/sa/b", "spiffe://td/ns/a/sa/evil", other},
		{"ns/a/sa/b", "spiffe://td/ns/other/sa/b", other},
		{"ns/a/sa/b", "spiffe://td/workload/b", incomparable},
	} {
		if got := sameWorkload(c.declared, c.observed); got != c.want {
			t.Errorf("%q against %q: %d, want %d", c.declared, c.observed, got, c.want)
		}
	}
}

func TestResourceKind(t *testing.T) {
	for _, c := range []struct {
		operation string
		learned   bool
		want      string
	}{
		{"GET /orders/{id}", false, "/orders"},
		{"GET /orders", false, "/orders"},
		{"GET /", false, "/"},
		{"DELETE /orders/{id}/lines/{line}", false, "/orders"},
		{"GET /api/v1/users/alice", true, "/api/v1/users"},
		{"GET /users/alice", true, "/users"},
		{"get pods", false, "pods"},
		{"get pods/log", false, "pods"},
		{"create deployments.apps", false, "deployments.apps"},
		{"get /healthz", false, "/healthz"},
		{"s3:ListBuckets", false, "s3:Buckets"},
		{"s3:GetObjectAcl", false, "s3:ObjectAcl"},
		{"kms:decrypt", false, "kms:decrypt"},
		{"/pkg.Service/Method", false, "/pkg.Service"},
		{"tools/call search", false, "tools/call search"},
		{"query Me", false, "query Me"},
		{"odd", false, "odd"},
		{"", false, ""},
	} {
		if got := resourceKind(c.operation, c.learned); got != c.want {
			t.Errorf("%q: %q, want %q", c.operation, got, c.want)
		}
	}
}

func TestArgument(t *testing.T) {
	for in, want := range map[string]string{
		"ci-deployer":   "ci-deployer",
		"idp|x":         "'idp|x'",
		"it's; rm -rf":  `'it'\''s; rm -rf'`,
		"":              "''",
		"-rf":           "'-rf'",
		"a\nb":          "'a\nb'",
		"GET /o/{id}":   "'GET /o/{id}'",
		"arn:aws:x/y@z": "arn:aws:x/y@z",
	} {
		if got := argument(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzRules feeds names of any bytes through all that reads names.
func FuzzNames(f *testing.F) {
	f.Add("deploy/ci", "spiffe://a/ns/pay/sa/x")
	f.Add("GET /orders/{id}", "s3:GetObject")
	f.Add("* *", "")
	f.Fuzz(func(_ *testing.T, a, b string) {
		sameWorkload(a, b)
		for _, s := range []string{a, b} {
			resourceKind(s, false)
			resourceKind(s, true)
			ClassByName(s)
			classOfScope(s)
			dataPlane(s)
			unlogged(s)
			argument(s)
		}
	})
}
