package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// load loads a catalogue of one file.
func load(t testing.TB, text string) *Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.yaml")
	write(t, path, text)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything uses every key there is.
const everything = `
services:
  - name: orders
    environment: production
    hosts: [Orders.example.com., "*.orders.svc"]
    base_path: /v1/
    authority: idp.example.com
    scope_dialect: wildcard
    scope_list: any
    grant: both
    demand: operation
    tenant: {path: "/tenants/{tenant}"}
    internet_facing: true
    operations:
      - operation: POST /orders/{id}/refund
        scopes: [[orders:write], [orders:admin, x]]
        class: mint
        sensitivity: 3
  - {name: plain, hosts: [plain.example.com], scope_list: all, grant: either, demand: declared, tenant: {host: "{tenant}.example.com"}}
scopes:
  - {name: orders:admin, implies: [orders:read, orders:write], sensitivity: 4, rare: "yearly audit"}
  - {name: orders:write, implies: [orders:read]}
credentials:
  - id: ci-deployer
    match:
      - {kind: oauth_client, issuer: "https://idp.example.com", client: ci-deployer}
      - {kind: role_session, id: "arn:aws:iam::123456789012:role/ci-*"}
      - {subject: "sub-?"}
    kind: third_party
    owner: team-payments
    workload: deploy/ci
    purpose: publishes releases
    grants:
      - {scopes: [orders:read, "s3:Get*"], from: 2026-01-01, to: 2026-12-31, source: keycloak export, authority: idp.example.com}
      - {authority: aws/123456789012, dialect: iam, effect: deny, except: ["s3:Get*"], resources: ["arn:aws:s3:::logs/*"], conditional: true}
      - {authority: prod-cluster, dialect: kubernetes, scopes: [get, "list *"], api_groups: [""], resources: [pods], namespaces: [ci], names: [a]}
      - {scopes: [], to: 2026-06-01T12:00:00+02:00}
    approved:
      services: [orders]
      operations: ["GET /orders/*"]
      environments: []
      networks: [10.20.0.0/16, "2001:db8::/32", 192.0.2.1]
    issued: 2025-06-01
    expires: 2026-06-01
    revoked: 2026-05-01T08:30:00Z
    owner_until: 2026-04-30
    max_token_lifetime: 90d
groups:
  - {name: "system:authenticated", grants: [{authority: prod-cluster, dialect: kubernetes, scopes: [get], resources: ["/api", "/api/*"]}]}
sources:
  - {name: edge, services: [orders], complete: true, sample: 0.5, from: 2026-01-01, to: 2026-01-31}
  - {name: edge, from: 2026-02-01}
changes:
  - id: CHG-7
    who: {credentials: ["ci-*"], workloads: ["deploy/*"]}
    what: {services: [orders], operations: ["POST /orders/*/refund"], scopes: ["orders:*"], tenants: [acme], environments: [production], networks: [10.20.0.0/16, 192.0.2.1]}
    from: 2026-03-01T22:00:00Z
    to: 2026-03-02
    reason: refunds of the outage
    by: team-payments
  - {id: window, from: 2026-03-07, to: 2026-03-07, reason: maintenance, by: operations}
`

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestEverything(t *testing.T) {
	c := load(t, everything)
	s := c.ServiceNamed("orders")
	want := &Service{
		Name: "orders", Environment: "production", Hosts: []string{"orders.example.com", "*.orders.svc"}, BasePath: "/v1",
		Authority: "idp.example.com", Dialect: schema.DialectWildcard, ScopeListAny: true, Grant: schema.GrantBoth,
		DemandOperation: true, InternetFacing: true, Tenant: s.Tenant, Operations: s.Operations, File: s.File, Line: 3,
		byName: s.byName, byShape: s.byShape,
	}
	if !reflect.DeepEqual(s, want) || s.Tenant.Path != "/tenants/{tenant}" {
		t.Errorf("service %+v", s)
	}
	o := s.OperationNamed("POST /orders/{order_id}/refund")
	if o == nil || o != s.OperationNamed("POST /orders/{id}/refund/") {
		o = s.OperationNamed("POST /orders/{id}/refund")
	}
	if o == nil || o.Class != schema.ClassMint || o.Sensitivity != 3 || o.RouteSource != schema.RouteRule || !reflect.DeepEqual(o.Demand, schema.Demand{
		State: schema.DemandKnown, Source: "catalog.yaml:15",
		Alternatives: []schema.Alternative{{Scopes: []string{"orders:write"}}, {Scopes: []string{"orders:admin", "x"}}},
	}) {
		t.Errorf("operation %+v", o)
	}
	if p := c.ServiceNamed("plain"); p.Authority != "plain" || p.ScopeListAny || p.Grant != schema.GrantEither || p.Tenant.Host != "{tenant}.example.com" {
		t.Errorf("service %+v", p)
	}
	if got := c.Scopes["orders:admin"]; !reflect.DeepEqual(got, schema.Scope{Name: "orders:admin", Implies: []string{"orders:read", "orders:write"}, Sensitivity: 4, Rare: "yearly audit"}) {
		t.Errorf("scope %+v", got)
	}
	cr := c.Credentials[0]
	if cr.ID != "ci-deployer" || cr.Kind != "third_party" || cr.Owner != "team-payments" || cr.Workload != "deploy/ci" || cr.Purpose != "publishes releases" ||
		!cr.Issued.Equal(day(2025, 6, 1)) || !cr.Expires.Equal(day(2026, 6, 2)) || cr.MaxTokenLifetime != 90*24*time.Hour || cr.Line != 24 || len(cr.Match) != 3 {
		t.Errorf("credential %+v", cr)
	}
	grants := []schema.Grant{
		// The dialect is that of the service whose authority it names.
		{Authority: "idp.example.com", Dialect: schema.DialectWildcard, Scopes: []string{"orders:read", "s3:Get*"}, From: day(2026, 1, 1), To: day(2027, 1, 1), Source: "keycloak export"},
		{Authority: "aws/123456789012", Dialect: schema.DialectIAM, Effect: schema.EffectDeny, Except: []string{"s3:Get*"}, Resources: []string{"arn:aws:s3:::logs/*"}, Conditional: true},
		{Authority: "prod-cluster", Dialect: schema.DialectKubernetes, Scopes: []string{"get", "list *"}, APIGroups: []string{""}, Resources: []string{"pods"}, Namespaces: []string{"ci"}, Names: []string{"a"}},
		{Scopes: []string{}, To: time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)},
	}
	if !reflect.DeepEqual(cr.Grants, grants) {
		t.Errorf("grants\n%+v, want\n%+v", cr.Grants, grants)
	}
	if !reflect.DeepEqual(cr.Approved, &Approved{
		Services: []string{"orders"}, Operations: []string{"GET /orders/*"}, Environments: []string{},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.1/32")},
	}) {
		t.Errorf("approved %+v", cr.Approved)
	}
	if len(c.Groups) != 1 || c.Groups[0].Name != "system:authenticated" || c.Groups[0].Grants[0].Dialect != schema.DialectKubernetes {
		t.Errorf("groups %+v", c.Groups)
	}
	if !reflect.DeepEqual(c.Sources, []SourceCoverage{
		{Name: "edge", Services: []string{"orders"}, Complete: true, Sample: 0.5, From: day(2026, 1, 1), To: day(2026, 2, 1)},
		{Name: "edge", Sample: 1, From: day(2026, 2, 1)},
	}) {
		t.Errorf("sources %+v", c.Sources)
	}
	if !cr.Revoked.Equal(time.Date(2026, 5, 1, 8, 30, 0, 0, time.UTC)) || !cr.OwnerUntil.Equal(day(2026, 5, 1)) {
		t.Errorf("revoked %v, owner until %v", cr.Revoked, cr.OwnerUntil)
	}
	if !reflect.DeepEqual(c.Changes, []Change{
		{ID: "CHG-7", Credentials: []string{"ci-*"}, Workloads: []string{"deploy/*"}, Services: []string{"orders"}, Operations: []string{"POST /orders/*/refund"},
			Scopes: []string{"orders:*"}, Tenants: []string{"acme"}, Environments: []string{"production"},
			Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("192.0.2.1/32")},
			From:     time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC), To: day(2026, 3, 3), Reason: "refunds of the outage", By: "team-payments", File: s.File, Line: 54},
		{ID: "window", From: day(2026, 3, 7), To: day(2026, 3, 8), Reason: "maintenance", By: "operations", File: s.File, Line: 61},
	}) {
		t.Errorf("changes %+v", c.Changes)
	}
	if len(c.Notes) != 0 {
		t.Errorf("notes %+v", c.Notes)
	}
}

// TestDigest: it depends on names and bytes, also of OpenAPI documents, and not
// on where the catalogue lies.
func TestDigest(t *testing.T) {
	files := map[string]string{
		"a.yaml": "services:\n  - {name: a, hosts: [a.example], openapi: ../spec/a.json}\n", "b.yml": "scopes: []\n",
		"../spec/a.json": `{"openapi": "3.0.0", "paths": {"/a": {"get": {}}}}`,
	}
	load := func(change func(map[string]string)) (string, string) {
		dir, copied := filepath.Join(t.TempDir(), "catalog"), map[string]string{}
		for name, text := range files {
			copied[name] = text
		}
		change(copied)
		for name, text := range copied {
			write(t, filepath.Join(dir, name), text)
		}
		c, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest, c.Services[0].Operations[0].Demand.Source
	}
	first, source := load(func(map[string]string) {})
	again, _ := load(func(map[string]string) {})
	if first != again || len(first) != 64 || source != "../spec/a.json:1" {
		t.Errorf("digests %s and %s, source %q", first, again, source)
	}
	for _, name := range []string{"a.yaml", "b.yml", "../spec/a.json"} {
		if other, _ := load(func(f map[string]string) { f[name] += "\n" }); other == first {
			t.Errorf("%s does not change the digest", name)
		}
	}
	if other, _ := load(func(f map[string]string) { f["c.yml"] = f["b.yml"]; delete(f, "b.yml") }); other == first {
		t.Error("a name does not change the digest")
	}
	if Empty().Digest == first || len(Empty().Digest) != 64 {
		t.Error("digest of the empty catalogue")
	}
}

func TestRoute(t *testing.T) {
	c := load(t, `
services:
  - {name: exact, hosts: [api.example.com], operations: [{operation: "GET /a"}, {operation: "GET /v1/own"}]}
  - {name: v1, hosts: [api.example.com, "[2001:db8::1]"], base_path: /v1, operations: [{operation: "GET /a"}, {operation: GET /}]}
  - {name: v1-beta, hosts: [api.example.com], base_path: /v1/beta, operations: [{operation: "GET /a"}]}
  - {name: only-v9, hosts: [nine.example.com], base_path: /v9, operations: [{operation: "GET /a"}]}
  - {name: wild, hosts: ["*.example.com"], operations: [{operation: "GET /a"}]}
  - {name: deep, hosts: ["*.deep.example.com"]}
  - {name: port, hosts: ["localhost:8001"], operations: [{operation: "GET /a"}]}
  - {name: other-port, hosts: ["localhost:8002"]}
  - {name: tenants, hosts: [t.example.com], base_path: /api, tenant: {path: "/tenants/{tenant}"},
     operations: [{operation: "GET /orders/{id}"}, {operation: "GET /tenants/{t}/full"}, {operation: "GET /tenants"}]}
  - {name: mixed-tenants, hosts: [m.example.com], tenant: {path: "/org/{any}/t-{tenant}"}, operations: [{operation: "GET /x"}]}
  - {name: host-tenants, tenant: {host: "{tenant}.shop.example"}, operations: [{operation: "GET /a"}]}
  - {name: twin-a, hosts: [twin.example.com], operations: [{operation: "GET /orders/{id}"}, {operation: "GET /orders/all"}]}
  - {name: twin-b, hosts: [twin.example.com], tenant: {path: "/t/{tenant}"}, operations: [{operation: "GET /orders/mine"}, {operation: "PUT /orders/{id}"}]}
  - {name: any, hosts: ["*"], base_path: /any}
`)
	tests := []struct{ host, method, path, service, operation, tenant string }{
		{"api.example.com", "GET", "/a", "exact", "GET /a", ""},
		{"API.Example.COM:443", "get", "/a", "exact", "GET /a", ""},
		{"api.example.com.", "GET", "/a", "exact", "GET /a", ""},
		{"api.example.com", "GET", "/a?x=/v1/a", "exact", "GET /a", ""},
		{"api.example.com", "GET", "/v1/a", "v1", "GET /a", ""},
		{"api.example.com", "GET", "/v1", "v1", "GET /", ""},
		{"api.example.com", "GET", "/v1/", "v1", "GET /", ""},
		{"api.example.com", "GET", "/v1/own", "v1", "", ""},
		{"api.example.com", "GET", "/v1users/a", "exact", "", ""},
		{"api.example.com", "GET", "/v1/beta/a", "v1-beta", "GET /a", ""},
		{"api.example.com", "GET", "/v1/beta2", "v1", "", ""},
		{"[2001:db8::1]:8080", "GET", "/v1/a", "v1", "GET /a", ""},
		{"[2001:DB8::1]", "GET", "/v1/a", "v1", "GET /a", ""},
		{"nine.example.com", "GET", "/v9/a", "only-v9", "GET /a", ""},
		{"nine.example.com", "GET", "/a", "wild", "GET /a", ""},
		{"x.example.com", "GET", "/a", "wild", "GET /a", ""},
		{"x.y.example.com", "GET", "/a", "wild", "GET /a", ""},
		{"x.deep.example.com", "GET", "/a", "deep", "", ""},
		{"deep.example.com", "GET", "/a", "wild", "GET /a", ""},
		{"example.com", "GET", "/a", "", "", ""},
		{"notexample.com", "GET", "/a", "", "", ""},
		{"", "GET", "/a", "", "", ""},
		{"elsewhere", "GET", "/any/a", "any", "", ""},
		{"localhost:8001", "GET", "/a", "port", "GET /a", ""},
		{"localhost:8002", "GET", "/a", "other-port", "", ""},
		{"localhost:8003", "GET", "/a", "", "", ""},
		{"t.example.com", "GET", "/api/tenants/acme/orders/7", "tenants", "GET /orders/{id}", "acme"},
		{"t.example.com", "GET", "/api/tenants/acme/full", "tenants", "GET /tenants/{t}/full", "acme"},
		{"t.example.com", "GET", "/api/tenants/acme%20inc/nothing", "tenants", "", "acme%20inc"},
		{"t.example.com", "GET", "/api/tenants", "tenants", "GET /tenants", ""},
		{"t.example.com", "GET", "/api/tenants/../orders/7", "tenants", "", ""},
		{"t.example.com", "GET", "/api/orders/7", "tenants", "GET /orders/{id}", ""},
		{"m.example.com", "GET", "/org/1/t-acme/x", "mixed-tenants", "GET /x", "acme"},
		{"m.example.com", "GET", "/org/1/t-/x", "mixed-tenants", "", ""},
		{"Acme.Shop.example:80", "GET", "/a", "host-tenants", "GET /a", "Acme"},
		{"a.b.shop.example", "GET", "/a", "host-tenants", "GET /a", ""},
		{"twin.example.com", "GET", "/orders/mine", "twin-b", "GET /orders/mine", ""},
		{"twin.example.com", "GET", "/orders/7", "twin-a", "GET /orders/{id}", ""},
		{"twin.example.com", "PUT", "/orders/all", "twin-b", "PUT /orders/{id}", ""},
		{"twin.example.com", "GET", "/t/acme/orders/mine", "twin-b", "GET /orders/mine", "acme"},
		{"twin.example.com", "GET", "/t/acme/orders/all", "twin-b", "", "acme"},
		{"twin.example.com", "GET", "/nothing", "twin-a", "", ""},
		{strings.Repeat("a.", 200) + "example.com", "GET", "/a", "", "", ""},
	}
	for _, tt := range tests {
		r, ok := c.Route(tt.host, tt.method, tt.path)
		var service, operation string
		if r.Service != nil {
			service = r.Service.Name
		}
		if r.Operation != nil {
			operation = r.Operation.Name
		}
		if ok != (tt.service != "") || service != tt.service || operation != tt.operation || r.Tenant != tt.tenant {
			t.Errorf("%s %s %s: got %q %q %q, want %q %q %q", tt.host, tt.method, tt.path, service, operation, r.Tenant, tt.service, tt.operation, tt.tenant)
		}
	}
	for _, tt := range []struct{ host, path, service string }{
		{"api.example.com", "/v1/x", "v1"}, {"api.example.com", "/x", "exact"}, {"api.example.com", "", ""},
		{"nine.example.com", "", "only-v9"}, {"twin.example.com", "/x", "twin-a"}, {"nobody", "/x", ""}, {"nobody", "", "any"},
	} {
		s := c.ServiceForHost(tt.host, tt.path)
		if name := fmt.Sprint(s != nil && s.Name == tt.service, s == nil && tt.service == ""); name == "false false" {
			t.Errorf("service of %s %q: %+v, want %q", tt.host, tt.path, s, tt.service)
		}
	}
	for _, tt := range []struct {
		service, host string
		want          bool
	}{
		{"v1", "api.example.com", true}, {"exact", "API.example.com:443", true}, {"v1", "nine.example.com", false}, {"v1", "", false},
		{"any", "nobody", true}, {"any", "api.example.com", true},
	} {
		if got := c.ServesHost(c.ServiceNamed(tt.service), tt.host); got != tt.want {
			t.Errorf("%s serves %q: %v", tt.service, tt.host, got)
		}
	}
	if _, ok := Empty().Route("a", "GET", "/"); ok {
		t.Error("the empty catalogue knows a service")
	}
}

func TestCredentialFor(t *testing.T) {
	c := load(t, `
credentials:
  - {id: client, match: [{kind: oauth_client, issuer: "https://idp.example.com", client: ci}]}
  - {id: role, match: [{kind: role_session, id: "arn:aws:iam::1:role/ci-*"}, {kind: cloud_key, id: AKIAFAKE}]}
  - {id: subject, match: [{subject: "system:serviceaccount:ci:*"}]}
  - {id: issuer, match: [{issuer: "https://other.example.com", kind: user_token}]}
  - {id: keys, match: [{kind: api_key}]}
  - {id: one-key, match: [{id: "hmac:1234"}]}
  - {id: third, match: [{id: "hmac:*"}]}
`)
	tests := []struct {
		p    schema.Principal
		want string
	}{
		{schema.Principal{Kind: schema.KindOAuthClient, ID: "x", Issuer: "https://idp.example.com", Client: "ci"}, "client"},
		{schema.Principal{Kind: schema.KindOAuthClient, ID: "x", Issuer: "https://evil.example.com", Client: "ci"}, ""},
		{schema.Principal{Kind: schema.KindUserToken, ID: "x", Issuer: "https://idp.example.com", Client: "ci"}, ""},
		{schema.Principal{Kind: schema.KindRoleSession, ID: "arn:aws:iam::1:role/ci-deploy/x"}, "role"},
		{schema.Principal{Kind: schema.KindCloudKey, ID: "AKIAFAKE"}, "role"},
		{schema.Principal{Kind: schema.KindCloudKey, ID: "arn:aws:iam::1:role/ci-deploy"}, ""},
		{schema.Principal{Kind: schema.KindServiceAccount, ID: "x", Subject: "system:serviceaccount:ci:bot"}, "subject"},
		{schema.Principal{Kind: schema.KindUserToken, ID: "x", Issuer: "https://other.example.com"}, "issuer"},
		{schema.Principal{Kind: schema.KindAPIKey, ID: "k"}, "keys"},
		{schema.Principal{}, ""},
		{schema.Principal{Kind: schema.KindAPIKey, ID: "hmac:1"}, "ambiguous keys third"},
		{schema.Principal{Kind: schema.KindAPIKey, ID: "hmac:1234"}, "ambiguous keys one-key"},
		{schema.Principal{Kind: schema.KindBasic, ID: "hmac:1234"}, "ambiguous one-key third"},
	}
	for _, tt := range tests {
		credential, err := c.CredentialFor(tt.p)
		got := ""
		var ambiguous *Ambiguous
		switch {
		case errors.As(err, &ambiguous):
			got = "ambiguous " + ambiguous.First.ID + " " + ambiguous.Second.ID
			if ambiguous.ExitCode() != 2 || !strings.Contains(err.Error(), ambiguous.Second.ID+`" (`) || !strings.Contains(err.Error(), "catalog.yaml:") {
				t.Errorf("error %v", err)
			}
		case credential != nil:
			got = credential.ID
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.p, got, tt.want)
		}
	}
}

func TestDialectDefault(t *testing.T) {
	c := load(t, `
services:
  - {name: a, hosts: [a.example], authority: idp, scope_dialect: url}
  - {name: b, hosts: [b.example], authority: idp, scope_dialect: url}
  - {name: c, hosts: [c.example], authority: both, scope_dialect: url}
  - {name: d, hosts: [d.example], authority: both, scope_dialect: iam}
groups:
  - {name: g, grants: [{scopes: [x], authority: idp}, {scopes: [x], authority: both}, {scopes: [x]}, {scopes: [x], authority: idp, dialect: flat}]}
`)
	var got []string
	for _, g := range c.Groups[0].Grants {
		got = append(got, g.Dialect.String())
	}
	if want := []string{"url", "flat", "flat", "flat"}; !reflect.DeepEqual(got, want) {
		t.Errorf("dialects %v, want %v", got, want)
	}
}

// TestUnquoted: what plain YAML allows without quotes is read as it is meant,
// inside braces and brackets too.
func TestUnquoted(t *testing.T) {
	c := load(t, `
services: [{name: a, hosts: [localhost:8001, 10.0.0.1:80], operations: [{operation: GET /a, scopes: [[orders:read, s3:*], ["q:r", https://x.example:80/y, a:b:c # why
  ]]}]}]
credentials:
- {id: arn:aws:x, match: [{id: arn:aws:iam::1:role/x}], grants: [{scopes: [orders:read,orders:write], resources: [arn:aws:s3:::logs/*], from: 2026-01-01T10:00:00Z}]}
`)
	a := c.Services[0].Operations[0].Demand.Alternatives
	if want := []schema.Alternative{{Scopes: []string{"orders:read", "s3:*"}}, {Scopes: []string{"q:r", "https://x.example:80/y", "a:b:c"}}}; !reflect.DeepEqual(a, want) {
		t.Errorf("alternatives %v, want %v", a, want)
	}
	cr := c.Credentials[0]
	if cr.ID != "arn:aws:x" || cr.Match[0].ID != "arn:aws:iam::1:role/x" || !reflect.DeepEqual(cr.Grants[0].Scopes, []string{"orders:read", "orders:write"}) ||
		cr.Grants[0].Resources[0] != "arn:aws:s3:::logs/*" || !cr.Grants[0].From.Equal(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("credential %+v", cr)
	}
}

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, s string
		glob, path bool
	}{
		{"", "", true, true}, {"", "a", false, false}, {"*", "", true, true}, {"*", "a/b:c", true, false}, {"**", "a/b", true, true},
		{"a*", "a", true, true}, {"a*c", "abbc", true, true}, {"a*c", "abcb", false, false}, {"*a*b*", "xaxbx", true, true},
		{"a?c", "abc", true, false}, {"a?c", "ac", false, false}, {"a?c", "a?c", true, true},
		{"GET /orders/*", "GET /orders/{id}", true, true}, {"GET /orders/*", "GET /orders/{id}/lines", true, false},
		{"GET /orders/**", "GET /orders/{id}/lines", true, true}, {"GET /orders/**", "GET /orders", false, false},
		{"GET /**/lines", "GET /a/b/lines", true, true}, {"GET /**/*", "GET /a/b/c", true, true}, {"* /orders", "GET /orders", true, true},
		{"**/x*/y", "a/xb/c/xd/y", true, true}, {"**/x*/y", "a/xb/c/y", true, false}, {"/*/**/z", "/a/b/c/z", true, true},
		{"arn:aws:iam::*:role/ci-*", "arn:aws:iam::1:role/ci-a", true, true}, {"*.example.com", "a.b.example.com", true, true},
		{"get pods", "get pods", true, true}, {"a**b", "a/x/b", true, true}, {"a***b", "a/x/b", true, true},
	}
	for _, tt := range tests {
		if got := Glob(tt.pattern, tt.s); got != tt.glob {
			t.Errorf("Glob(%q, %q) = %v", tt.pattern, tt.s, got)
		}
		if got := PathGlob(tt.pattern, tt.s); got != tt.path {
			t.Errorf("PathGlob(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func TestGRPCName(t *testing.T) {
	for name, want := range map[string]bool{
		"/pkg.v1.Service/Method": true, "/Greeter/SayHello": true, "/orders/list": false, "/orders/{id}": false, "/pkg.service/Method": false,
		"/Orders": false, "/Orders/": false, "Orders/List": false, "/Orders/List/x": false, "": false, "/": false,
	} {
		if got := grpcName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestUnreadable(t *testing.T) {
	var l loader
	l.unreadable("c.yaml", &fs.PathError{Op: "open", Path: "c.yaml", Err: fs.ErrPermission})
	l.unreadable("c.yaml", &fs.PathError{Op: "open", Path: "c.yaml", Err: errors.New("input/output error")})
	want := "c.yaml: cannot be read: permission denied; give read permission to the user that runs scopedrift\n" +
		"c.yaml: cannot be read: input/output error"
	if got := l.problems.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
