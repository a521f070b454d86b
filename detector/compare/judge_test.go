package compare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

const tableCatalogue = `
services:
  - name: orders
    hosts: [orders.example.com]
    authority: idp
    operations:
      - {operation: "GET /orders", scopes: [["orders:read"]]}
      - {operation: "POST /orders", scopes: [["orders:write", "orders:read"], ["orders:admin"]]}
      - {operation: "DELETE /orders", scopes: [["orders:delete"]]}
      - {operation: "GET /status", scopes: []}
      - {operation: "GET /unsaid"}
  - {name: declared, hosts: [d.example.com], authority: idp, grant: declared, operations: [{operation: "GET /a", scopes: [["orders:read"]]}]}
  - {name: both, hosts: [b.example.com], authority: idp, grant: both, operations: [{operation: "GET /a", scopes: [["orders:read"]]}]}
  - {name: either, hosts: [e.example.com], authority: idp, grant: either, operations: [{operation: "GET /a", scopes: [["orders:read"]]}, {operation: "GET /b", scopes: [["billing:read"]]}]}
  - {name: presented, hosts: [p.example.com], authority: idp, grant: presented, operations: [{operation: "GET /a", scopes: [["orders:read"]]}]}
  - {name: wild, hosts: [w.example.com], scope_dialect: wildcard, operations: [{operation: "GET /a", scopes: [["orders:read:own"]]}]}
  - {name: named, hosts: [n.example.com], demand: operation}
  - {name: cluster, hosts: [kubernetes.default.svc], authority: prod, scope_dialect: kubernetes}
  - {name: cloud, hosts: ["*.amazonaws.com"], authority: aws/1, scope_dialect: iam}
scopes:
  - {name: "orders:admin", implies: ["orders:write", "orders:delete"]}
  - {name: "orders:write", implies: ["orders:read"]}
  - {name: superuser, implies: ["get pods", "list *.apps"]}
credentials:
  - {id: reader, match: [{client: reader}], grants: [{authority: idp, scopes: ["orders:read"], source: export}]}
  - {id: writer, match: [{client: writer}], grants: [{authority: idp, scopes: ["orders:write"]}]}
  - {id: admin, match: [{client: admin}], grants: [{authority: idp, scopes: ["orders:admin"]}]}
  - {id: barred, match: [{client: barred}], grants: [{authority: idp, scopes: ["orders:admin"]}, {authority: idp, effect: deny, scopes: ["orders:write", "orders:delete"]}]}
  - {id: nothing, match: [{client: nothing}], grants: [{authority: idp, scopes: []}]}
  - {id: elsewhere, match: [{client: elsewhere}], grants: [{authority: other, scopes: ["orders:read"]}]}
  - {id: anywhere, match: [{client: anywhere}], grants: [{scopes: ["orders:read", "orders:*", "GET /x"]}]}
  - {id: maybe, match: [{client: maybe}], grants: [{authority: idp, scopes: ["orders:read"], conditional: true}]}
  - {id: maybe-not, match: [{client: maybe-not}], grants: [{authority: idp, scopes: ["orders:read"]}, {authority: idp, effect: deny, scopes: ["orders:read"], conditional: true}]}
  - {id: surely, match: [{client: surely}], grants: [{authority: idp, scopes: ["orders:read"], conditional: true}, {authority: idp, scopes: ["orders:read"]}]}
  - {id: all-but, match: [{client: all-but}], grants: [{authority: idp, except: ["orders:delete"]}]}
  - {id: one-order, match: [{client: one-order}], grants: [{authority: idp, scopes: ["orders:read"], resources: ["order/7"]}]}
  - {id: one-tenant, match: [{client: one-tenant}], grants: [{authority: idp, scopes: ["orders:read"], namespaces: [acme]}]}
  - {id: spring, match: [{client: spring}], grants: [{authority: idp, scopes: ["orders:read"], from: 2026-03-01, to: 2026-05-31}]}
  - {id: iam-only, match: [{client: iam-only}], grants: [{dialect: iam, scopes: ["*"]}]}
  - {id: operator, match: [{id: operator}], grants: [{authority: prod, dialect: kubernetes, scopes: [get, "list *", "update deployments.apps", superuser], resources: [pods], api_groups: [""]}]}
  - {id: named-only, match: [{id: named-only}], grants: [{authority: prod, scopes: [get, list, create], resources: [configmaps], names: [settings], namespaces: [ci]}]}
  - {id: node, match: [{id: "system:node:a"}], grants: [{authority: prod, scopes: []}]}
groups:
  - {name: team, grants: [{authority: idp, scopes: ["orders:delete"]}]}
  - {name: "system:authenticated", grants: [{authority: prod, dialect: kubernetes, scopes: [get], resources: ["/api", "/api/*"]}]}
`

func loadText(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalogue.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

func declaredAs(t testing.TB, cat *catalog.Catalog, id string) *catalog.Credential {
	t.Helper()
	for _, c := range cat.Credentials {
		if c.ID == id {
			return c
		}
	}
	if id != "" {
		t.Fatalf("no credential %q", id)
	}
	return nil
}

func TestJudge(t *testing.T) {
	cat := loadText(t, tableCatalogue)
	c := New(cat)
	const read, write, del = "GET /orders", "POST /orders", "DELETE /orders"
	none := []string{}
	tests := []struct {
		who, service, operation string
		change                  func(*Request)
		want                    Holding
		reason                  string
	}{
		{"reader", "orders", read, nil, Holds, `"orders:read" is held through "orders:read" (export)`},
		{"reader", "orders", write, nil, Lacks, `"orders:write" is not among the scopes held at idp`},
		{"writer", "orders", read, nil, Holds, `through "orders:write"`},
		{"writer", "orders", write, nil, Holds, ""},
		{"writer", "orders", del, nil, Lacks, ""},
		{"admin", "orders", read, nil, Holds, ""},
		{"admin", "orders", write, nil, Holds, ""},
		{"admin", "orders", del, nil, Holds, ""},
		{"barred", "orders", del, nil, Lacks, `"orders:delete" is denied`},
		{"barred", "orders", read, nil, Holds, ""}, // by implication of write? no: admin implies it over a denied one, but holds itself
		{"nothing", "orders", read, nil, Lacks, ""},
		{"elsewhere", "orders", read, nil, Unknown, "no grant entry of elsewhere for idp"},
		{"anywhere", "orders", read, nil, Holds, ""},
		{"anywhere", "wild", "GET /a", nil, Holds, ""},
		{"anywhere", "named", "GET /x", nil, Holds, ""},
		{"anywhere", "named", "GET /y", nil, Lacks, ""},
		{"maybe", "orders", read, nil, Unknown, "the entry is conditional"},
		{"maybe", "orders", del, nil, Lacks, ""},
		{"maybe-not", "orders", read, nil, Unknown, "may deny"},
		{"maybe-not", "orders", del, nil, Lacks, ""},
		{"surely", "orders", read, nil, Holds, ""},
		{"all-but", "orders", read, nil, Holds, ""},
		{"all-but", "orders", del, nil, Holds, ""}, // orders:admin, which it has, implies it
		{"one-order", "orders", read, nil, Unknown, "which the call does not show"},
		{"one-order", "orders", read, func(r *Request) { r.Resource = "order/7" }, Holds, ""},
		{"one-order", "orders", read, func(r *Request) { r.Resource = "order/8" }, Lacks, ""},
		{"one-tenant", "orders", read, nil, Unknown, ""},
		{"one-tenant", "orders", read, func(r *Request) { r.Tenant = "acme" }, Holds, ""},
		{"one-tenant", "orders", read, func(r *Request) { r.Tenant = "umbrella" }, Lacks, ""},
		{"spring", "orders", read, nil, Holds, ""},
		{"spring", "orders", read, func(r *Request) { r.Time = day("2026-02-28") }, Unknown, "known only from 2026-03-01T00:00:00Z"},
		{"spring", "orders", read, func(r *Request) { r.Time = day("2026-05-31") }, Holds, ""},
		{"spring", "orders", read, func(r *Request) { r.Time = day("2026-06-01") }, Lacks, ""},
		{"iam-only", "orders", read, nil, Unknown, ""},
		{"iam-only", "cloud", "s3:GetObject", nil, Holds, ""},
		{"", "orders", read, nil, Unknown, "not in the catalogue"},
		{"", "orders", del, func(r *Request) { r.Groups = []string{"team"} }, Holds, "group team"},
		{"", "orders", read, func(r *Request) { r.Groups = []string{"team"} }, Unknown, "besides what its groups give"},
		{"", "orders", read, func(r *Request) { r.Groups = []string{"strangers"} }, Unknown, ""},
		{"reader", "orders", del, func(r *Request) { r.Groups = []string{"team"} }, Holds, ""},
		{"reader", "orders", "GET /status", nil, Holds, "needs no scope"},
		{"reader", "orders", "GET /unsaid", nil, Unknown, ""},
		{"reader", "orders", "GET /missing", nil, Unknown, `lists no operation "GET /missing"`},
		{"reader", "missing", read, nil, Unknown, `no service "missing"`},
		{"reader", "orders", read, func(r *Request) { r.RouteSource = schema.RouteLearned }, Unknown, "learned"},
		{"reader", "orders", read, func(r *Request) { r.RouteSource = schema.RouteNone }, Unknown, "no route"},
		// grant modes
		{"", "orders", read, func(r *Request) { r.Scopes = []string{"orders:read"} }, Holds, "presented"},
		{"reader", "orders", read, func(r *Request) { r.Scopes = none }, Lacks, "not among the scopes presented"},
		{"nothing", "orders", del, func(r *Request) { r.Scopes = []string{"orders:admin"} }, Holds, ""},
		{"nothing", "declared", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Lacks, ""},
		{"reader", "declared", "GET /a", func(r *Request) { r.Scopes = none }, Holds, ""},
		{"reader", "presented", "GET /a", nil, Unknown, "carries no scopes"},
		{"nothing", "presented", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Holds, ""},
		{"reader", "both", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Holds, ""},
		{"reader", "both", "GET /a", func(r *Request) { r.Scopes = none }, Lacks, ""},
		{"nothing", "both", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Lacks, ""},
		{"reader", "both", "GET /a", nil, Unknown, ""},
		{"nothing", "both", "GET /a", nil, Lacks, ""},
		{"", "both", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Unknown, ""},
		{"", "both", "GET /a", func(r *Request) { r.Scopes = none }, Lacks, ""},
		{"reader", "either", "GET /a", func(r *Request) { r.Scopes = none }, Holds, ""},
		{"nothing", "either", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Holds, ""},
		{"nothing", "either", "GET /a", func(r *Request) { r.Scopes = none }, Lacks, ""},
		{"nothing", "either", "GET /a", nil, Unknown, ""},
		{"", "either", "GET /a", func(r *Request) { r.Scopes = none }, Unknown, ""},
		{"maybe-not", "either", "GET /a", func(r *Request) { r.Scopes = []string{"orders:read"} }, Unknown, "may deny"},
		// Kubernetes
		{"operator", "cluster", "get pods", nil, Holds, ""},
		{"operator", "cluster", "get secrets", nil, Lacks, ""},
		{"operator", "cluster", "list secrets", nil, Holds, ""},
		{"operator", "cluster", "list secrets.example.com", nil, Lacks, ""}, // the api_groups beside count for "list *", too
		{"operator", "cluster", "list widgets.apps", nil, Lacks, ""},        // superuser is narrowed to its resources here
		{"operator", "cluster", "update deployments.apps", nil, Holds, ""},
		{"operator", "cluster", "update deployments.apps/scale", nil, Lacks, ""},
		{"operator", "cluster", "get /healthz", nil, Unknown, "/healthz"},
		{"operator", "cluster", "get /metrics", nil, Lacks, ""},
		{"operator", "cluster", "nonsense", nil, Unknown, "no Kubernetes operation"},
		{"named-only", "cluster", "get configmaps", inNamespace("ci", "settings"), Holds, ""},
		{"named-only", "cluster", "get configmaps", inNamespace("ci", "other"), Lacks, ""},
		{"named-only", "cluster", "get configmaps", inNamespace("web", "settings"), Lacks, ""},
		{"named-only", "cluster", "get configmaps", inNamespace("", "settings"), Lacks, ""},
		{"named-only", "cluster", "list configmaps", inNamespace("ci", ""), Lacks, ""},
		{"named-only", "cluster", "list configmaps", inNamespace("ci", "settings"), Holds, ""}, // by field selector
		{"named-only", "cluster", "create configmaps", inNamespace("ci", "settings"), Lacks, ""},
		{"node", "cluster", "get pods", func(r *Request) { r.Groups = []string{"system:nodes"} }, Unknown, "Node authoriser"},
		{"node", "cluster", "get pods", nil, Lacks, ""},
		{"", "cluster", "get /api/v1", func(r *Request) { r.Groups = []string{"system:authenticated"} }, Holds, ""},
		{"", "cluster", "get pods", func(r *Request) { r.Groups = []string{"system:authenticated"} }, Unknown, "besides what its groups give"},
		{"", "cluster", "get pods", func(r *Request) { r.Groups = []string{"system:authenticated", "system:masters"} }, Unknown, ""},
	}
	for _, tt := range tests {
		r := &Request{
			Declared: declaredAs(t, cat, tt.who), Kind: schema.KindOAuthClient, Service: tt.service, Operation: tt.operation,
			RouteSource: schema.RouteRule, ResourceKnown: true, Time: day("2026-04-01"),
		}
		if tt.change != nil {
			tt.change(r)
		}
		j := c.Judge(r)
		all := strings.Join(j.Reasons, "\n")
		if j.Holding != tt.want || !strings.Contains(all, tt.reason) {
			t.Errorf("%s on %s %q: %v, want %v with reason %q; reasons %q", tt.who, tt.service, tt.operation, j.Holding, tt.want, tt.reason, j.Reasons)
		}
		if len(j.Reasons) == 0 {
			t.Errorf("%s on %s %q: %v without a reason", tt.who, tt.service, tt.operation, j.Holding)
		}
		if (j.Holding == Lacks) != (len(j.Missing) > 0) {
			t.Errorf("%s on %s %q: %v, missing %q", tt.who, tt.service, tt.operation, j.Holding, j.Missing)
		}
	}
}

func inNamespace(namespace, name string) func(*Request) {
	return func(r *Request) { r.Tenant, r.Resource = namespace, name }
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// Alternatives keep their kinds: what an API key may do says nothing about an
// OAuth client.
func TestAlternatives(t *testing.T) {
	oauth := []schema.CredentialKind{schema.KindOAuthClient, schema.KindUserToken}
	key := []schema.CredentialKind{schema.KindAPIKey}
	s := &catalog.Service{Name: "s", Authority: "s", DemandOperation: false}
	known := func(a ...schema.Alternative) schema.Demand {
		return schema.Demand{State: schema.DemandKnown, Alternatives: a}
	}
	scoped := schema.Alternative{Scopes: []string{"read"}, Scheme: "oauth", Kinds: oauth}
	unscoped := schema.Alternative{Scheme: "apiKey", Kinds: key, Unscoped: true}
	free := schema.Alternative{Scheme: "oauth", Kinds: oauth}
	anyone := schema.Alternative{Scopes: []string{"read"}}
	tests := []struct {
		name   string
		demand schema.Demand
		kind   schema.CredentialKind
		scopes []string
		want   Holding
	}{
		{"oauth holds", known(scoped, unscoped), schema.KindOAuthClient, []string{"read"}, Holds},
		{"oauth lacks, the key does not help", known(scoped, unscoped), schema.KindOAuthClient, []string{"write"}, Lacks},
		{"a key needs nothing stated", known(scoped, unscoped), schema.KindAPIKey, []string{"read"}, Unknown},
		{"a key on an OAuth operation", known(scoped), schema.KindAPIKey, []string{"read"}, Unknown},
		{"an unknown kind", known(scoped), schema.KindUnknown, []string{"read"}, Unknown},
		{"any kind", known(anyone), schema.KindBasic, []string{"write"}, Lacks},
		{"no scopes needed", known(free), schema.KindOAuthClient, []string{}, Holds},
		{"one of two kinds' alternatives", known(scoped, anyone), schema.KindMTLS, []string{"read"}, Holds},
		{"unscoped beside one that fails", known(scoped, schema.Alternative{Kinds: oauth, Unscoped: true}), schema.KindOAuthClient, []string{}, Unknown},
		{"unscoped beside one that holds", known(schema.Alternative{Kinds: oauth, Unscoped: true}, scoped), schema.KindOAuthClient, []string{"read"}, Holds},
		{"public", schema.Demand{State: schema.DemandPublic}, schema.KindAnonymous, nil, Holds},
		{"unmapped", schema.Demand{Why: "no security section"}, schema.KindOAuthClient, []string{"read"}, Unknown},
		{"known without alternatives", known(), schema.KindOAuthClient, []string{"read"}, Unknown},
	}
	for _, tt := range tests {
		c := New(&catalog.Catalog{Services: []*catalog.Service{s}})
		d := &demand{Demand: forKind(tt.demand, "op", tt.kind)}
		for i := range d.Alternatives {
			d.needs = append(d.needs, c.allNeeds(s.Dialect, d.Alternatives[i].Scopes))
		}
		c.demands[demandKey{s, "op", tt.kind}] = d
		j := c.Judge(&Request{Kind: tt.kind, Service: "s", Operation: "op", RouteSource: schema.RouteSpec, Scopes: tt.scopes})
		if j.Holding != tt.want {
			t.Errorf("%s: %v, want %v; %q", tt.name, j.Holding, tt.want, j.Reasons)
		}
	}
}

func TestNeedsResource(t *testing.T) {
	cat := loadText(t, tableCatalogue)
	c := New(cat)
	for _, tt := range []struct {
		who, service, operation string
		want                    bool
	}{
		{"one-order", "orders", "GET /orders", true},
		{"one-order", "orders", "DELETE /orders", false},
		{"maybe", "orders", "GET /orders", false},
		{"named-only", "cluster", "get configmaps", true},
		{"named-only", "cluster", "create configmaps", false},
		{"named-only", "cluster", "get secrets", false},
		{"", "orders", "GET /orders", false},
	} {
		j := c.Judge(&Request{
			Declared: declaredAs(t, cat, tt.who), Service: tt.service, Operation: tt.operation, Tenant: "ci",
			RouteSource: schema.RouteRule, Time: day("2026-04-01"),
		})
		if j.NeedsResource != tt.want {
			t.Errorf("%s %q: needs the resource %v, want %v; %v %q", tt.who, tt.operation, j.NeedsResource, tt.want, j.Holding, j.Reasons)
		}
	}
}

func TestEvidence(t *testing.T) {
	cat := loadText(t, tableCatalogue)
	c := New(cat)
	ask := func(who, operation string) Judgement {
		return c.Judge(&Request{
			Declared: declaredAs(t, cat, who), Service: "orders", Operation: operation,
			RouteSource: schema.RouteRule, ResourceKnown: true, Time: day("2026-04-01"),
		})
	}
	j := ask("writer", "POST /orders")
	if j.Satisfied == nil || !slices.Equal(j.Satisfied.Scopes, []string{"orders:write", "orders:read"}) || len(j.By) != 2 ||
		j.By[1].Need != "orders:read" || j.By[1].Scope != "orders:write" || j.By[1].Grant == nil || j.By[1].Source != "catalogue" {
		t.Errorf("satisfied %+v by %+v", j.Satisfied, j.By)
	}
	j = ask("reader", "POST /orders")
	if len(j.Missing) != 2 || !slices.Equal(j.Missing[0], []string{"orders:write"}) || !slices.Equal(j.Missing[1], []string{"orders:admin"}) {
		t.Errorf("missing %q", j.Missing)
	}
	for who, want := range map[string][]string{
		"reader":    {"orders:read"},
		"nothing":   {},
		"elsewhere": nil,
		"barred":    {"not orders:delete", "not orders:write", "orders:admin"},
		"maybe":     {"orders:read (conditional)"},
		"all-but":   {"* except orders:delete"},
		"one-order": {"orders:read (on order/7)"},
	} {
		if got := ask(who, "GET /orders").Granted; !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: granted %q, want %q", who, got, want)
		}
	}
}

func TestHeldAndUses(t *testing.T) {
	cat := loadText(t, tableCatalogue)
	c := New(cat)
	names := func(held []HeldScope) (out []string) {
		for _, h := range held {
			out = append(out, h.Authority+" "+h.Scope)
		}
		return out
	}
	april := schema.Window{From: day("2026-04-01"), To: day("2026-05-01")}
	for who, want := range map[string][]string{
		"reader":     {"idp orders:read"},
		"barred":     {"idp orders:admin"},
		"nothing":    nil,
		"all-but":    {"idp * except orders:delete"},
		"operator":   {"prod get pods", "prod list *.core", "prod update deployments.apps", "prod superuser pods"},
		"named-only": {"prod get configmaps.*", "prod list configmaps.*", "prod create configmaps.*"},
		"spring":     {"idp orders:read"},
	} {
		if got := names(c.Held(declaredAs(t, cat, who), nil, april)); !slices.Equal(got, want) {
			t.Errorf("%s holds %q, want %q", who, got, want)
		}
	}
	if got := c.Held(declaredAs(t, cat, "spring"), nil, schema.Window{From: day("2026-06-01")}); got != nil {
		t.Errorf("held after its end: %+v", got)
	}
	spring := c.Held(declaredAs(t, cat, "spring"), []string{"team", "team"}, schema.Window{To: day("2026-04-01")})
	if len(spring) != 2 || !spring[0].From.Equal(day("2026-03-01")) || !spring[0].To.Equal(day("2026-04-01")) || spring[1].Group != "team" {
		t.Errorf("%+v", spring)
	}
	uses := func(who string, scope int, operation string) bool {
		d := declaredAs(t, cat, who)
		return c.Uses(c.Held(d, nil, april)[scope], &Request{
			Declared: d, Service: "orders", Operation: operation, RouteSource: schema.RouteRule, ResourceKnown: true, Time: day("2026-04-02"),
		})
	}
	for _, tt := range []struct {
		who, operation string
		want           bool
	}{
		{"reader", "GET /orders", true},
		{"reader", "DELETE /orders", false},
		{"reader", "POST /orders", true}, // beyond its grant, but what it holds was part of it
		{"admin", "GET /orders", true},
		{"reader", "GET /status", false},
		{"reader", "GET /unsaid", false},
		{"all-but", "GET /orders", true},
	} {
		if got := uses(tt.who, 0, tt.operation); got != tt.want {
			t.Errorf("%s uses its scope for %q: %v", tt.who, tt.operation, got)
		}
	}
	byHand := HeldScope{Authority: "idp", Scope: "orders:write"}
	r := &Request{Service: "orders", Operation: "GET /orders", RouteSource: schema.RouteRule, Scopes: []string{"orders:write"}}
	if !c.Uses(byHand, r) {
		t.Error("a presented scope that implies the need is not used")
	}
	byHand.Authority = "other"
	if c.Uses(byHand, r) {
		t.Error("a scope of another authority is used")
	}
}

func TestVerdictOf(t *testing.T) {
	for _, d := range []schema.Decision{schema.DecisionUnknown, schema.DecisionAllowed, schema.DecisionNoEffect,
		schema.DecisionDenied, schema.DecisionUnauthenticated, schema.DecisionError} {
		for _, certain := range []bool{false, true} {
			for _, h := range []Holding{Unknown, Holds, Lacks} {
				want := schema.VerdictUnmapped
				switch {
				case d == schema.DecisionDenied:
					want = schema.VerdictDenied
				case h == Holds && (d == schema.DecisionAllowed || d == schema.DecisionNoEffect):
					want = schema.VerdictExercised
				case h == Lacks && d == schema.DecisionAllowed && certain:
					want = schema.VerdictBeyond
				}
				if got := VerdictOf(d, certain, h); got != want {
					t.Errorf("%v, certain %v, %v: %v, want %v", d, certain, h, got, want)
				}
			}
		}
	}
}

// TestHiddenResource wants a name that lost a secret to decide only what it
// still shows.
func TestHiddenResource(t *testing.T) {
	request := &Request{ResourceKnown: true, Resource: "files/{redacted}#0123456789abcdef"}
	for pattern, want := range map[string]truth{"files/*": yes, "*": yes, "files/secret": maybe, "files/??????????": maybe, "other/*": maybe} {
		e := newEntry(&schema.Grant{Resources: []string{pattern}}, "", schema.DialectFlat)
		if got, _ := e.applies(&need{text: "x"}, request, true); got != want {
			t.Errorf("pattern %q: %v, want %v", pattern, got, want)
		}
	}
}
