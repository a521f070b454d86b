package detectortest

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Company is a catalogue with every kind of grant, so that random calls reach
// all rules.
const Company = `
services:
  - name: orders
    environment: production
    hosts: [orders.test]
    authority: idp
    operations: &ops
      - {operation: "GET /items", scopes: [[read]], class: read}
      - {operation: "POST /items", scopes: [[write], [admin]], class: write}
      - {operation: "GET /items/{id}", scopes: [[read]], class: read}
      - {operation: "DELETE /items/{id}", scopes: [[admin]], class: delete}
      - {operation: "GET /reports", scopes: [[read, reports]], class: read}
      - {operation: "PUT /users/{id}", scopes: [[users]], class: admin, sensitivity: 4}
      - {operation: "GET /users/{id}", scopes: [[users], [read]], class: read}
      - {operation: "GET /open"}
    tenant: {path: "/t/{tenant}"}
  - {name: billing, environment: staging, hosts: [billing.test], authority: idp, grant: declared, operations: *ops}
  - {name: cloud, hosts: [cloud.test], authority: aws, scope_dialect: iam}
  - {name: cluster, hosts: [cluster.test], authority: k8s, scope_dialect: kubernetes}
scopes:
  - {name: admin, implies: [read, write], sensitivity: 4}
  - {name: reports, rare: "monthly"}
credentials:
  - id: alpha
    match: [{kind: oauth_client, id: alpha}, {kind: api_key, id: alpha-key}]
    owner: team-a
    grants: [{authority: idp, scopes: [read, write, users]}, {authority: idp, scopes: [admin], from: 2026-01-10T07:30:00Z, to: 2026-01-20}]
    approved: {services: [orders], tenants: [t1], networks: [10.0.0.0/8]}
    expires: 2026-02-10
    issued: 2025-06-01
  - id: beta
    match: [{kind: cloud_key, id: "beta*"}]
    kind: agent
    workload: spiffe://x/beta
    grants:
      - {authority: aws, dialect: iam, scopes: ["s3:*"], resources: ["arn:aws:s3:::logs/*", "arn:aws:s3:::logs"]}
      - {authority: aws, dialect: iam, scopes: ["iam:ListUsers", "ec2:Describe*"], from: 2026-01-05}
      - {authority: aws, dialect: iam, effect: deny, scopes: ["s3:Delete*"]}
    approved: {operations: ["s3:*"], networks: []}
  - id: gamma
    match: [{kind: service_account, id: gamma}]
    owner: jane
    owner_until: 2026-02-01T00:10:00Z
    max_token_lifetime: 1h
    grants: [{authority: k8s, dialect: kubernetes, scopes: [get, list], resources: [pods, secrets], namespaces: [t1]}]
  - {id: silent, match: [{id: silent}], grants: [{authority: idp, scopes: [read]}]}
groups:
  - {name: members, grants: [{authority: k8s, dialect: kubernetes, scopes: [list], resources: [nodes], from: 2026-01-08}]}
sources:
  - {name: edge, services: [orders, billing], complete: true, sample: 1.0}
changes:
  - {id: CHG-1, who: {credentials: [alpha]}, what: {services: [orders]}, from: 2026-02-12T00:20:00Z, to: 2026-02-20, reason: more time, by: team-a}
  - {id: CHG-2, from: 2026-01-15T01:00:00Z, to: 2026-01-18, reason: maintenance, by: operations}
`

// Random makes calls that mean something to the company's catalogue.
func Random(r *rand.Rand, n int) []schema.Call {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	decisions := []schema.Decision{schema.DecisionAllowed, schema.DecisionAllowed, schema.DecisionAllowed, schema.DecisionDenied,
		schema.DecisionDenied, schema.DecisionNoEffect, schema.DecisionError, schema.DecisionUnknown, schema.DecisionUnauthenticated}
	calls := make([]schema.Call, n)
	for i := range calls {
		c := &calls[i]
		c.Source = schema.Source{Type: pick("envoy", "audit"), Name: "x"}
		id := sha256.Sum256(fmt.Appendf(nil, "%d %d", r.Uint64(), i))
		copy(c.ID[:], id[:])
		// Most calls lie in few bursts, so that sliding hours and short gaps
		// happen.
		c.Time = start.Add(time.Duration(r.IntN(60)) * 24 * time.Hour)
		c.Time = c.Time.Add(time.Duration(r.IntN(3)) * 30 * time.Minute).Add(time.Duration(r.IntN(40)) * 10 * time.Second)
		c.Decision = decisions[r.IntN(len(decisions))]
		c.Reporter = schema.Reporter(r.IntN(4))
		if r.IntN(8) == 0 {
			c.Quality = schema.QualityGap
		}
		if r.IntN(4) > 0 {
			c.ClientAddress = netip.MustParseAddr(pick("10.0.0.1", "10.1.0.1", "192.0.2.7", "2001:db8::1"))
		}
		c.Tenant = pick("", "t1", "t2", "t'3\\\n\x00é\u202e")
		c.Credential.Session = pick("", "s1", "s2")
		switch r.IntN(6) {
		case 0, 1:
			c.Credential.Kind, c.Credential.ID = schema.KindOAuthClient, pick("alpha", "stranger")
		case 2:
			c.Credential.Kind, c.Credential.ID = schema.KindCloudKey, pick("beta1", "beta2")
			c.Workload = pick("", "spiffe://x/beta", "spiffe://x/other", "vm-1")
		case 3:
			c.Credential.Kind, c.Credential.ID = schema.KindServiceAccount, pick("gamma", "delta")
			c.Credential.Groups = [][]string{nil, {"members"}, {"members", "others"}}[r.IntN(3)]
		case 4:
			c.Credential.Kind, c.Credential.ID = schema.KindUserToken, "app"
			c.Credential.Subject = pick("ann", "bob")
		case 5:
			c.Credential.Kind = []schema.CredentialKind{schema.KindAnonymous, schema.KindUnknown, schema.KindAPIKey}[r.IntN(3)]
			if c.Credential.Kind == schema.KindAPIKey {
				c.Credential.ID = "alpha-key"
			}
		}
		if r.IntN(12) == 0 {
			c.Credential = schema.Credential{Kind: schema.KindOAuthClient, ID: pick("prober", "prober2")}
			c.Time, c.Decision = start.Add(time.Duration(r.IntN(90))*time.Minute), schema.DecisionDenied
		}
		if r.IntN(12) == 0 {
			c.Credential = schema.Credential{Kind: schema.KindOAuthClient, ID: "climber"}
			c.Time, c.Quality = start.Add(time.Duration(r.IntN(600))*time.Minute), schema.QualityComplete
			c.Decision = []schema.Decision{schema.DecisionAllowed, schema.DecisionDenied}[r.IntN(2)]
		}
		switch c.Credential.Kind {
		case schema.KindCloudKey:
			c.Host, c.RouteSource = "cloud.test", schema.RouteFromSource
			c.Operation = pick("s3:ListBuckets", "s3:GetObject", "s3:DeleteObject", "iam:ListUsers", "iam:CreateUser", "ec2:DescribeInstances", "odd:Thing")
			c.Resource = pick("", "arn:aws:s3:::logs/a", "arn:aws:s3:::secret/b")
		case schema.KindServiceAccount:
			c.Host, c.RouteSource = "cluster.test", schema.RouteFromSource
			c.Operation = pick("get pods", "list pods", "get secrets", "list nodes", "delete pods", "create roles.rbac.authorization.k8s.io")
			c.Resource = pick("", "a", "b")
		default:
			c.Host, c.Method = pick("orders.test", "billing.test", "else.test"), pick("GET", "POST", "DELETE", "PUT")
			c.Path = pick("/items", "/items/1", "/items/2", "/reports", "/users/1", "/open", "/odd/it's", "/t/t9/items/3")
			c.Scopes = [][]string{nil, {}, {"read"}, {"write", "read"}, {"admin"}}[r.IntN(5)]
			if i%5 == 0 {
				c.QueryKeys = []string{"page", "API_Key"}
			}
		}
		c.Credential.Instance = []string{"", "one", "two"}[i%3]
	}
	return calls
}
