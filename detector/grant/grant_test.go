package grant_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/grant"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const clusterService = `
services:
  - {name: cluster, hosts: [kubernetes.default.svc], authority: prod, scope_dialect: kubernetes}
`

const cloudService = `
services:
  - {name: cloud, hosts: ["*.amazonaws.com"], authority: aws/123456789012, scope_dialect: iam}
`

// load writes an import beside other catalogue text and reads both back.
func load(t testing.TB, imported *grant.Import, more string) *catalog.Catalog {
	t.Helper()
	var b bytes.Buffer
	if err := imported.YAML(&b); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"import.yaml": b.String(), "services.yaml": more} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cat, err := catalog.Load(dir)
	if err != nil {
		t.Fatalf("the import does not load: %v\n%s", err, b.String())
	}
	return cat
}

// sameAsLoaded checks that the catalogue has just what the import says.
func sameAsLoaded(t testing.TB, imported *grant.Import, cat *catalog.Catalog) {
	t.Helper()
	if len(cat.Groups) != len(imported.Groups) || len(cat.Credentials) != len(imported.Credentials) {
		t.Fatalf("loaded %d groups and %d credentials, imported %d and %d",
			len(cat.Groups), len(cat.Credentials), len(imported.Groups), len(imported.Credentials))
	}
	for i := range cat.Groups {
		if g, want := cat.Groups[i], imported.Groups[i]; g.Name != want.Name || !reflect.DeepEqual(g.Grants, want.Grants) {
			t.Errorf("group %s: loaded %+v, imported %+v", want.Name, g.Grants, want.Grants)
		}
	}
	for i := range cat.Credentials {
		g, want := cat.Credentials[i], imported.Credentials[i]
		if g.ID != want.ID || g.Kind != want.Kind || !reflect.DeepEqual(g.Match, want.Match) || !reflect.DeepEqual(g.Grants, want.Grants) {
			t.Errorf("credential %s: loaded %+v, imported %+v", want.ID, g, want)
		}
	}
}

// at is some time; imports hold at any.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// request makes a request of a Kubernetes user.
func request(t testing.TB, cat *catalog.Catalog, user string, groups []string, operation, namespace, name string) *compare.Request {
	t.Helper()
	declared, err := cat.CredentialFor(schema.Principal{Kind: schema.KindServiceAccount, ID: user})
	if err != nil {
		t.Fatal(err)
	}
	return &compare.Request{
		Declared: declared, Kind: schema.KindServiceAccount, Service: "cluster", Operation: operation,
		Tenant: namespace, Resource: name, ResourceKnown: true, RouteSource: schema.RouteFromSource, Groups: groups, Time: at,
	}
}

const rbacDocument = `
apiVersion: v1
kind: List
items:
- kind: ClusterRole
  metadata: {name: view, labels: {tier: base}}
  aggregationRule:
    clusterRoleSelectors:
    - matchLabels: {to-view: "true"}
    - matchExpressions: [{key: also, operator: In, values: [a, b]}]
- kind: ClusterRole
  metadata: {name: pods-reader, labels: {to-view: "true"}}
  rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list]}
  - {apiGroups: [""], resources: [configmaps], resourceNames: [settings], verbs: [get]}
- kind: ClusterRole
  metadata: {name: scaler, labels: {also: b}}
  rules:
  - {apiGroups: [apps, extensions], resources: ["*/scale"], verbs: [update]}
- kind: ClusterRole
  metadata: {name: not-in, labels: {also: c}}
  rules:
  - {apiGroups: [""], resources: [secrets], verbs: ["*"]}
- kind: ClusterRole
  metadata: {name: probe}
  rules:
  - {nonResourceURLs: [/metrics, "/debug/*"], verbs: [get]}
  - {apiGroups: [""], resources: [nodes], verbs: [get]}
  - {resources: [endpoints], verbs: [get]}
  - {apiGroups: [core], resources: [events], verbs: [get]}
---
kind: ClusterRoleBinding
metadata: {name: viewers}
roleRef: {kind: ClusterRole, name: view}
subjects:
- {kind: Group, name: dev}
- {kind: ServiceAccount, name: robot, namespace: ci}
---
kind: RoleBinding
metadata: {name: probers, namespace: web}
roleRef: {kind: ClusterRole, name: probe}
subjects:
- {kind: ServiceAccount, name: prober}
---
kind: ClusterRoleBinding
metadata: {name: probers}
roleRef: {kind: ClusterRole, name: probe}
subjects:
- {kind: User, name: "dora@example.com"}
---
kind: RoleBinding
metadata: {name: lost, namespace: web}
roleRef: {kind: Role, name: elsewhere}
subjects:
- {kind: User, name: lost}
---
kind: ConfigMap
metadata: {name: unrelated}
`

func TestRBAC(t *testing.T) {
	imported, err := grant.RBAC("prod", []byte(rbacDocument))
	if err != nil {
		t.Fatal(err)
	}
	cat := load(t, imported, clusterService)
	sameAsLoaded(t, imported, cat)
	c := compare.New(cat)
	const robot, prober = "system:serviceaccount:ci:robot", "system:serviceaccount:web:prober"
	tests := []struct {
		user, group, operation, namespace, name string
		want                                    compare.Holding
	}{
		{robot, "", "get pods", "any", "p", compare.Holds},
		{robot, "", "list pods", "", "", compare.Holds},
		{robot, "", "get pods/log", "any", "p", compare.Holds},
		{robot, "", "get pods/exec", "any", "p", compare.Lacks},
		{robot, "", "get pods.metrics.k8s.io", "any", "p", compare.Lacks},
		{robot, "", "get configmaps", "any", "settings", compare.Holds},
		{robot, "", "get configmaps", "any", "other", compare.Lacks},
		{robot, "", "update deployments.apps/scale", "any", "d", compare.Holds},
		{robot, "", "update deployments.extensions/scale", "any", "d", compare.Holds},
		{robot, "", "update deployments.apps", "any", "d", compare.Lacks},
		{robot, "", "get secrets", "any", "s", compare.Lacks},
		{"someone", "dev", "list pods", "any", "", compare.Holds},
		{"someone", "dev", "delete pods", "any", "p", compare.Unknown}, // whom only groups are known of may hold more
		{"someone", "ops", "list pods", "any", "", compare.Unknown},
		{prober, "", "get nodes", "", "n", compare.Lacks}, // a RoleBinding gives nothing outside its namespace,
		{prober, "", "get /metrics", "", "", compare.Lacks},
		{"dora@example.com", "", "get /metrics", "", "", compare.Holds},
		{"dora@example.com", "", "get /debug/pprof/heap", "", "", compare.Holds},
		{"dora@example.com", "", "get /metrics/cadvisor", "", "", compare.Lacks},
		{"dora@example.com", "", "get nodes", "", "n", compare.Holds},
		{"dora@example.com", "", "get endpoints", "a", "e", compare.Lacks}, // a rule without groups matches nothing
		{"dora@example.com", "", "get events", "a", "e", compare.Lacks},
		{"lost", "", "get pods", "web", "p", compare.Unknown}, // the role was not given,
		{"lost", "", "get pods", "other", "p", compare.Lacks}, // but its binding is for one namespace
	}
	for _, tt := range tests {
		var groups []string
		if tt.group != "" {
			groups = []string{tt.group}
		}
		j := c.Judge(request(t, cat, tt.user, groups, tt.operation, tt.namespace, tt.name))
		if j.Holding != tt.want {
			t.Errorf("%s %s in %q named %q: %v, want %v; %q", tt.user, tt.operation, tt.namespace, tt.name, j.Holding, tt.want, j.Reasons)
		}
	}
	for _, want := range []string{"role is not among the documents", `"ConfigMap"`, `apiGroup "core" matches no request`} {
		if !slices.ContainsFunc(imported.Notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("no note says %q: %q", want, imported.Notes)
		}
	}
	for _, credential := range imported.Credentials {
		for _, g := range credential.Grants {
			if !g.From.IsZero() || !g.To.IsZero() {
				t.Errorf("the import invents a time: %+v", g)
			}
		}
	}
}

func TestRBACErrors(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"no binding", "kind: Role\nmetadata: {name: a}\n", "no RoleBinding or ClusterRoleBinding"},
		{"alias", "a: &x [1]\nkind: *x\n", "YAML aliases"},
		{"text", "\xff\xfe", "no UTF-8"},
		{"type", "kind: Role\nrules: 5\n", "read YAML"},
		{"json", `{"kind": 5}`, "read JSON"},
		{"depth", strings.Repeat("[", 5000), "nested too deep"},
	}
	for _, tt := range tests {
		_, err := grant.RBAC("", []byte(tt.document))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// hostile names must come out of the file as they went in.
func TestYAMLQuotes(t *testing.T) {
	names := []string{`a"b`, "a: b", "- a", "#a", "a\tb\\", "ü€😀", "a\u2028b", "x\u0085y", "{a}", "null", "*", "\ufeffa", "a\nb"}
	imported := &grant.Import{Notes: []string{"a\nb: c\u0085d"}}
	for _, n := range names {
		imported.Groups = append(imported.Groups, catalog.Group{Name: n, Grants: []schema.Grant{
			{Dialect: schema.DialectIAM, Scopes: []string{n, "s3:Get*"}, Resources: []string{n}, Source: n},
		}})
	}
	sameAsLoaded(t, imported, load(t, imported, clusterService))
}
