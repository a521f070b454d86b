package detector_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// stores hands out empty databases of one engine.
type stores struct {
	engine *engine.Engine
	admin  driver.Conn
	n      int
}

func newStores(t *testing.T) *stores {
	t.Helper()
	e := enginetest.Start(t, engine.Config{})
	return &stores{engine: e, admin: enginetest.Connect(t, e)}
}

// fill makes a store of calls, in batches of the given size, and returns them
// as they were stored, too.
func (s *stores) fill(t *testing.T, cat *catalog.Catalog, calls []schema.Call, batch, block int) (driver.Conn, []schema.Call) {
	t.Helper()
	ctx := context.Background()
	s.n++
	name := fmt.Sprintf("case%d", s.n)
	if err := s.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(ctx, clickhouse.Target{Socket: s.engine.Socket(), Database: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := clickhouse.Migrate(ctx, conn); err != nil {
		t.Fatal(err)
	}
	var stored []schema.Call
	p := direct.New(direct.Config{Conn: conn, Catalog: cat, Run: "test", BlockRows: block, Stored: func(calls []schema.Call) error {
		stored = append(stored, calls...)
		return nil
	}})
	if err := p.Open(ctx); err != nil {
		t.Fatal(err)
	}
	unit := uint64(0)
	for part := range slices.Chunk(calls, batch) {
		part = slices.Clone(part)
		next := unit + uint64(len(part))
		err := p.Put(ctx, &schema.Batch{Input: schema.Input{Name: "calls.jsonl", Format: "test"}, FirstUnit: unit, NextUnit: next,
			Calls: part, Done: next == uint64(len(calls))})
		if err != nil {
			t.Fatal(err)
		}
		unit = next
	}
	if _, err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return conn, stored
}

// TestStoreAgreesWithMemory runs every case of the rules over the real store: it
// must say the same, byte for byte, as the calls held in memory.
func TestStoreAgreesWithMemory(t *testing.T) {
	s := newStores(t)
	paths, err := filepath.Glob("rule/testdata/*/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c := detectortest.Read(t, path)
			want := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}).JSON(t)
			conn, _ := s.fill(t, c.Catalog, c.Calls, 7, 13)
			got := detectortest.Run(t, detector.Config{Catalog: c.Catalog, Conn: conn, Window: c.Window}).JSON(t)
			same(t, got, want)
		})
	}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			t.Fatalf("line %d differs:\n got %s\nwant %s\ncontext:\n%s", i+1, g[i], w[i], bytes.Join(w[max(0, i-12):i], []byte("\n")))
		}
	}
	t.Fatalf("one has %d lines, the other %d", len(g), len(w))
}

// company is a catalogue with every kind of grant, so that random calls reach
// all rules.
const company = `
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
  - {name: billing, hosts: [billing.test], authority: idp, grant: declared, operations: *ops}
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
    grants: [{authority: k8s, dialect: kubernetes, scopes: [get, list], resources: [pods, secrets], namespaces: [t1]}]
  - {id: silent, match: [{id: silent}], grants: [{authority: idp, scopes: [read]}]}
groups:
  - {name: members, grants: [{authority: k8s, dialect: kubernetes, scopes: [list], resources: [nodes], from: 2026-01-08}]}
sources:
  - {name: edge, services: [orders, billing], complete: true, sample: 1.0}
`

// random makes calls that mean something to the company's catalogue.
func random(r *rand.Rand, n int) []schema.Call {
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
		c.Tenant = pick("", "t1", "t2")
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
		}
	}
	return calls
}

// TestLaws attacks the promise that findings are a pure function of calls and
// catalogue: the same calls in other orders and batches, partly twice, in
// memory and in the store, must give the same bytes.
func TestLaws(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "catalog.yaml"), company)
	cat, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newStores(t)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			raw := random(r, []int{40, 400, 1500, 3000}[seed%4])
			windows := []schema.Window{{}, {From: time.Date(2026, 1, 9, 0, 15, 0, 500, time.UTC), To: time.Date(2026, 2, 20, 0, 33, 20, 0, time.UTC)}}
			conn, stored := s.fill(t, cat, raw, 100, 1000)
			for _, w := range windows {
				want := detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(stored), Window: w, MinDays: 10})
				text := want.JSON(t)
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Conn: conn, Window: w, MinDays: 10}).JSON(t), text)
				r.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Facts: memory.New(stored), Window: w, MinDays: 10}).JSON(t), text)
				codes := map[string]int{}
				for i := range want.Findings {
					codes[want.Findings[i].Code]++
				}
				t.Log(codes)
			}
			again := slices.Concat(raw, raw[:len(raw)/3])
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			other, _ := s.fill(t, cat, again, 1+r.IntN(50), len(raw)/8+r.IntN(200))
			for _, w := range windows {
				want := detectortest.Run(t, detector.Config{Catalog: cat, Conn: conn, Window: w, MinDays: 10}).JSON(t)
				same(t, detectortest.Run(t, detector.Config{Catalog: cat, Conn: other, Window: w, MinDays: 10}).JSON(t), want)
			}
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
