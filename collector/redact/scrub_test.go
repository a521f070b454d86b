package redact

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

// TestKept holds what looks like a secret and is none.
func TestKept(t *testing.T) {
	s := NewScrubber(nil)
	for _, path := range []string{
		"", "/", "*", "/orders/12345", "/orders/550e8400-e29b-41d4-a716-446655440000/items", "/orders/550E8400-E29B-41D4-A716-446655440000",
		"/users/usr_550e8400-e29b-41d4-a716-446655440000",
		"/api/v1/namespaces/default/pods/payments-api-7d9f8b6c5d-x2x7k/log",
		"/api/v1/namespaces/default/pods/customer-notification-service-worker-7d9f8b6c5d-x2x7k",
		"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/apiserver-7betjpuhyrhvvzl4qhgzfxcxsq",
		"/api/v1/namespaces/kube-system/serviceaccounts/default/token", "/api/v1/namespaces/x/secrets/db-password",
		"/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions/verticalpodautoscalercheckpoints.autoscaling.k8s.io",
		"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/prometheus-kube-prometheus-stack-admission",
		"/v2/app/manifests/sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"/v2/app/manifests/sha256-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.sig",
		"/policies/arn:aws:iam::123456789012:policy%2Fservice-role%2FMyPolicy", "/2015-03-31/functions/my-stack-LambdaFunction-1A2B3C4D5E6F7/invocations",
		"/keys/AKIAIOSFODNN7EXAMPLE", "/token/refresh", "/session/new", "/password/reset", "/v1/secret/data/prod/db1234", "/tokens/550e8400-e29b-41d4-a716-446655440000",
		"/v1/invite/orders2024/verify", "/verify/email", "/confirm/order-12",
		"/getUserDefinedFunctionByNameAndVersionId2/x", "/sk-SK/produkty", "/v1/accounts:lookup", "/a;v=1.2/b", "/a%20b/c%2Fd", "/drive/root:/Documents/Report.docx:/content",
		"/users('ann@example.com')/messages", "/users/ann@example.com", "/@scope%2Fpackage", "/wiki/Heißluftballon", "/0001/00000000000000000000000000000000000001",
		"/communications/calls/getPstnCallsWithFromDateTimeAndToDateTimeFilter",
	} {
		got, query := s.Target([]byte(path))
		if string(got) != path || query != nil {
			t.Errorf("Target(%q) = %q, %q; want it kept", path, got, query)
		}
	}
	for _, text := range []string{
		"", "-", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
		"kubectl/v1.20.1 (linux/amd64) kubernetes/5e53fd6bc17c0dec8434817e69b04a25d8ae0ff0",
		"aws-sdk-go/1.44.0 (go1.17; linux; amd64) exec-env/AWS_Lambda_go1.x", "Boto3/1.20.10 Python/3.9.7 Linux/5.10 Botocore/1.23.10 Resource",
		"system:serviceaccount:kube-system:token-cleaner", "system:node:ip-10-0-1-23.eu-west-1.compute.internal",
		`RBAC: allowed by ClusterRoleBinding "token-reviewers" of ClusterRole "session:write" to ServiceAccount "ci/deployer"`,
		"rbac_access_denied_matched_policy[none]", "Bearer token is invalid", "Basic authentication failed", "token expired", "the session was closed", "status code: 404",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf", "arn:aws:sts::123456789012:assumed-role/ci-deployer/ann@example.com",
		"arn:aws:ecs:us-east-1:123456789012:task/cluster/0123456789abcdef0123456789abcdef",
		"Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request", "accessKeyId=ASIAIOSFODNN7EXAMPLE", "user:ann@example.com",
		"serviceAccount:job-123@project-4.iam.gserviceaccount.com", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"X509SHA256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "JTI=89466cbc-3e17-4ea0-9319-bf8c162d3065",
		"vpc-search-abcdefghijklmnopqrstuvwx1234.us-east-1.es.amazonaws.com", "0123456789ABCDEF0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com",
		"orders.example.com:8443", "[2001:db8::1]:443", "users \"bob\" is forbidden: User \"ann\" cannot get resource \"secrets\" in API group \"\"",
		"https://example.com/a?b=c", "CN=client,OU=payments,O=Example", "spiffe://example.org/ns/shop/sa/orders", "page_tokens: 12", "max_tokens=4096",
	} {
		if got := s.Text([]byte(text)); string(got) != text {
			t.Errorf("Text(%q) = %q, want it kept", text, got)
		}
	}
	for _, name := range []string{
		"AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "auth0|5f7c8ec7c33c6c004bbafe82", "repo:example/app:ref:refs/heads/main",
		"system:serviceaccount:ci:deployer", "oidc:ann2@example.com", "AROAEXAMPLE0000000001:session", "token:introspect", "CN=Bearer of keys",
	} {
		if !s.Clean([]byte(name)) {
			t.Errorf("Clean(%q) is false", name)
		}
	}
	if counts := s.Counts(); len(counts) != 0 {
		t.Errorf("counts %v, want none", counts)
	}
}

func TestTarget(t *testing.T) {
	s := NewScrubber(nil)
	many, manyNames := "/a?", []string{}
	for i := range 200 {
		name := "k" + strings.Repeat("x", i%90) + string(rune('a'+i%26))
		many += name + "=1&"
		if len(manyNames) < maxQueryNames {
			manyNames = append(manyNames, name[:min(len(name), maxQueryName)])
		}
	}
	for _, tt := range []struct {
		target, path string
		query        []string
	}{
		{"/a/b?x=1&y=2&x=3", "/a/b", []string{"x", "y"}},
		{"/a?", "/a", nil},
		{"/a?=1&&=", "/a", nil},
		{"/a?x", "/a", []string{"x"}},
		{"/a?filter%5Bname%5D=1&a+b=2", "/a", []string{"filter[name]", "a+b"}},
		{"/a#access_token=FAKE", "/a", nil},
		{"/a?x=1#y=2", "/a", []string{"x"}},
		{"http://h.example", "/", nil},
		{"http://h.example?x=1", "/", []string{"x"}},
		{"https://u:p@h.example:8443/a/b?x=1", "/a/b", []string{"x"}},
		{"h.example:443", "h.example:443", nil},
		{"u:p@h.example:443", "h.example:443", nil},
		{"*", "*", nil},
		{"//u:FAKEpass@h.example/x", "//{redacted}@h.example/x", nil},
		{"/x/redirect/https://u:FAKEpass@h.example/y", "/x/redirect/https://{redacted}@h.example/y", nil},
		{"/a/sid/0000fx7/b", "/a/sid/{redacted}/b", nil},
		{"/MuseSessionID=0000fx7/MuseHost=h", "/MuseSessionID={redacted}/MuseHost=h", nil},
		{"/a;jsessionid=ABC.node1;v=2", "/a;jsessionid={redacted};v=2", nil},
		{"/services/T0000FAKE0/B0000FAKE0/XXXXXXXXXXXX", "/services/T0000FAKE0/B0000FAKE0/{redacted}", nil},
		{"/bot1234567:AAFAKEfakeFAKE/send", "/bot{redacted}/send", nil},
		{"/a/%2525252525252541", "{redacted}", nil},
		{"/a?" + strings.Repeat("k", 4000) + "=1", "/a", []string{"{redacted}"}},
		{"/a?x%0d%0ay=1", "/a", []string{"x..y"}},
		{"/a?Kq7045Zr9Lm2Xv045Wp4Tn8&utm_source=1&X-Amz-Algorithm=a&1699999999999", "/a", []string{"{redacted}", "utm_source", "X-Amz-Algorithm", "1699999999999"}},
		{"/password/reset/Kq7045Zr9Lm2Xv045Wp4Tn8/edit", "/password/reset/{redacted}/edit", nil},
		{"/v1/invite/x8Jd4kLmQ7Rs", "/v1/invite/{redacted}", nil},
		{"/password/reset/confirm", "/password/reset/confirm", nil},
		{many, "/a", manyNames},
	} {
		path, query := s.Target([]byte(tt.target))
		var names []string
		for _, q := range query {
			names = append(names, string(q))
		}
		if tt.target == many {
			if len(names) > maxQueryNames {
				t.Errorf("%d query names, want at most %d", len(names), maxQueryNames)
			}
			names, tt.query = nil, nil
		}
		if string(path) != tt.path || !reflect.DeepEqual(names, tt.query) {
			t.Errorf("Target(%q) = %q, %q; want %q, %q", tt.target, path, names, tt.path, tt.query)
		}
	}
}

func TestQueryCredential(t *testing.T) {
	if credentialNames[weakNames] != "key" {
		t.Fatalf("the weak names begin with %q, want key", credentialNames[weakNames])
	}
	s := NewScrubber(nil)
	for _, tt := range []struct{ target, name, value string }{
		{"/a", "", ""}, {"/a?x=1", "", ""}, {"/a?key=", "", ""}, {"/a?key=FAKE1x2y3z", "key", "FAKE1x2y3z"}, {"/a?key=title", "", ""}, {"/a?code=404&sid=12", "", ""}, {"/a?API_KEY=FAKE#x", "api_key", "FAKE"},
		{"/a?sig=FAKE1a2b&access_token=FAKE2&key=FAKE3a4b", "access_token", "FAKE2"}, {"/a?x=1#key=FAKE1x2y3z", "", ""},
		{"/a?acc%65ss_token=FAKE1&x=y", "access_token", "FAKE1"}, {"/a?access_token=FAKE1&access_token=FAKE1", "access_token", "FAKE1"},
		{"/a?key=FAKE1x2y3z&key=FAKE2x2y3z&api_key=FAKE3", "api_key", "FAKE3"},
		{"/a?token=89b198b8844824ca15b8b379c26fc1b7dfcba368", "token", "89b198b8844824ca15b8b379c26fc1b7dfcba368"},
		{"/a?X-Amz-Signature=FAKE&X-Amz-Credential=AKIAFAKE0000FAKE0000%2F2026", "x-amz-credential", "AKIAFAKE0000FAKE0000%2F2026"},
	} {
		name, value, differ := s.QueryCredential([]byte(tt.target))
		if differ {
			t.Errorf("QueryCredential(%q) says that values differ", tt.target)
		}
		if string(name) != tt.name || string(value.Reveal()) != tt.value {
			t.Errorf("QueryCredential(%q) = %q, %q; want %q, %q", tt.target, name, value.Reveal(), tt.name, tt.value)
		}
	}
}

// TestQueryCredentialTwice states when two readers find two.
func TestQueryCredentialTwice(t *testing.T) {
	s := NewScrubber(nil)
	for target, want := range map[string]bool{
		"/a?access_token=FAKE1&access_token=FAKE2": true, "/a?access_token=FAKE1&acc%65ss_token=FAKE2": true, "/a?access_token=FAKE1&Access_Token=FAKE1": false,
		"/a?access_token=FAKE1&api_key=FAKE2": false, "/a?api_key=FAKE1&api_key=FAKE2&access_token=FAKE3": false,
	} {
		if _, _, got := s.QueryCredential([]byte(target)); got != want {
			t.Errorf("QueryCredential(%q) says %v, want %v", target, got, want)
		}
	}
}

// TestRandomTokens plants random secrets of the usual alphabets: noise has no
// name and no prefix, so what finds it is statistics, and a few of very many
// may pass.
func TestRandomTokens(t *testing.T) {
	const (
		digits = "0123456789"
		small  = "abcdefghijklmnopqrstuvwxyz"
		all    = small + digits + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	)
	random := rand.New(rand.NewPCG(1, 2))
	s := NewScrubber(nil)
	for _, tt := range []struct {
		name, alphabet string
		size           int
		text           bool
		misses         int // of 10,000
	}{
		{"hex 32", digits + "abcdef", 32, false, 0},
		{"hex 40", digits + "abcdef", 40, false, 0},
		{"hex 64", digits + "ABCDEF", 64, false, 0},
		{"base36 40", small + digits, 40, false, 20},
		{"base62 32", all, 32, true, 100},
		{"base62 40", all, 40, true, 30},
		{"base62 64", all, 64, true, 5},
		{"base64url 43", all + "-_", 43, true, 40},
		{"base64url 86", all + "-_", 86, true, 5},
		{"base64 40", all + "+/", 40, true, 60},
		{"base64 88", all + "+/", 88, true, 10},
	} {
		missed, text := 0, 0
		for range 10_000 {
			b := make([]byte, tt.size)
			for i := range b {
				b[i] = tt.alphabet[random.IntN(len(tt.alphabet))]
			}
			if !strings.Contains(tt.alphabet, "/") {
				got, _ := s.Target([]byte("/v1/things/" + string(b) + "/parts"))
				if survivor(string(b), got) != "" {
					missed++
				}
			}
			if tt.text && survivor(string(b), s.Text([]byte("head "+string(b)+" tail"))) != "" {
				text++
			}
		}
		t.Logf("%s: missed %d in paths, %d in text, of 10,000", tt.name, missed, text)
		if missed > tt.misses || text > tt.misses {
			t.Errorf("%s: missed %d in paths, %d in text, want at most %d", tt.name, missed, text, tt.misses)
		}
	}
}

// TestCorpusCanaries reads every line of the corpus that holds a canary, and
// looks for it after scrubbing, where the secret stands behind a telling name
// or looks like one. Bodies and binary captures are read by other packages.
func TestCorpusCanaries(t *testing.T) {
	list := corpus.Lines(t, corpus.Path(t, "CANARIES.tsv"))
	s := NewScrubber(nil)
	found := 0
	for _, line := range list {
		field := strings.Split(string(line), "\t")
		if len(field) < 4 || field[0] == "file" || strings.HasPrefix(field[0], "pcap/") || strings.HasPrefix(field[0], "identity/") {
			continue
		}
		if strings.Contains(field[1], "request body") {
			continue
		}
		for _, l := range corpus.Lines(t, corpus.Path(t, field[0])) {
			if !bytes.Contains(l, []byte(field[2])) {
				continue
			}
			found++
			if got := s.Text(l); bytes.Contains(got, []byte(field[2])) {
				t.Errorf("%s: the %s is left", field[0], field[1])
			}
		}
	}
	if found == 0 {
		t.Error("no canary found in the corpus: the test proves nothing")
	}
	t.Logf("%d lines with canaries", found)
}

// TestCorpusKept holds the scrubber to leaving real paths alone: those of a
// published API with more than 7,000 templates, and of real audit logs.
func TestCorpusKept(t *testing.T) {
	s := NewScrubber(nil)
	paths, changed := 0, 0
	for _, name := range []string{
		"openapi/microsoft-graph/permissions.json.gz", "openapi/okta/management-minimal.yaml.gz", "k8s-audit/audit2rbac/demo.log",
	} {
		for _, l := range corpus.Lines(t, corpus.Path(t, name)) {
			for _, part := range bytes.FieldsFunc(l, func(r rune) bool { return r == '"' || r == ' ' || r == '\'' || r == ',' }) {
				if len(part) < 2 || part[0] != '/' || bytes.IndexByte(part, '?') >= 0 {
					continue
				}
				paths++
				if got, _ := s.Target(bytes.TrimSuffix(part, []byte(":"))); bytes.Contains(got, pathMark) {
					changed++
				}
			}
		}
	}
	t.Logf("%d paths, %d changed", paths, changed)
	if changed > paths/1000 || paths < 1000 {
		t.Errorf("%d of %d real paths were changed", changed, paths)
	}
}
