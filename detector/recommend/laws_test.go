package recommend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

func load(t *testing.T, text string) *catalog.Catalog {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "catalog.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func all(t *testing.T, cat *catalog.Catalog, calls []schema.Call) []recommend.Recommendation {
	t.Helper()
	out, err := recommend.New(detector.Config{Catalog: cat, Facts: memory.New(calls), MinDays: 5}).All(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLaws attacks what the package promises, on random calls: nothing that was
// authorised is refused, nothing is wider, the order of calls does not matter,
// and the way back gives the grant again.
func TestLaws(t *testing.T) {
	cat := load(t, detectortest.Company)
	removed, kept := 0, 0
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 3))
		calls := detectortest.Random(r, []int{30, 300, 1200}[seed%3])
		for i := range calls {
			detectortest.Enrich(cat, &calls[i])
		}
		got := all(t, cat, calls)
		want, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
		again, err := json.Marshal(all(t, cat, calls))
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(want) {
			t.Fatalf("seed %d: another order gives another recommendation:\n%s\n%s", seed, want, again)
		}
		for i := range got {
			one := &got[i]
			removed += len(one.Remove)
			kept += len(one.Keep)
			name := fmt.Sprintf("seed %d, %s", seed, one.Credential.ID)
			if len(one.Replay.Refused) > 0 {
				t.Errorf("%s: would refuse %+v", name, one.Replay.Refused)
			}
			narrower(t, name, cat, one)
			thereAndBack(t, name, one)
			legitimate(t, name, cat, one, calls)
		}
	}
	t.Logf("%d scopes removed, %d kept", removed, kept)
	if removed == 0 || kept == 0 {
		t.Error("nothing was removed or nothing kept, so nothing was tested")
	}
}

// narrower asks the comparer about everything that the catalogue lists and a
// good deal that it does not: what the proposal gives, the grant must give.
func narrower(t *testing.T, name string, cat *catalog.Catalog, r *recommend.Recommendation) {
	t.Helper()
	c := compare.New(cat)
	before, after := &catalog.Credential{ID: "x", Grants: r.Before}, &catalog.Credential{ID: "x", Grants: r.Grants}
	ask := func(q compare.Request) {
		q.Declared, q.Scopes = after, nil
		if len(c.Covers(&q, schema.GrantDeclared)) == 0 {
			return
		}
		q.Declared = before
		if len(c.Covers(&q, schema.GrantDeclared)) == 0 {
			t.Errorf("%s: the proposal is wider: it gives %+v", name, q)
		}
	}
	at := r.Window.To.Add(-time.Microsecond)
	for _, s := range cat.Services {
		var operations []string
		for _, o := range s.Operations {
			operations = append(operations, o.Name)
		}
		switch s.Dialect {
		case schema.DialectIAM:
			operations = []string{"s3:ListBuckets", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "iam:ListUsers", "iam:CreateUser", "ec2:DescribeInstances", "ec2:DescribeVolumes", "kms:Decrypt"}
		case schema.DialectKubernetes:
			for _, verb := range []string{"get", "list", "create", "delete"} {
				for _, what := range []string{"pods", "secrets", "nodes", "jobs.batch", "pods/log"} {
					operations = append(operations, verb+" "+what)
				}
			}
		}
		for _, o := range operations {
			for _, tenant := range []string{"", "t1", "t2"} {
				for _, resource := range []string{"", "arn:aws:s3:::logs/a", "arn:aws:s3:::secret/b", "a"} {
					ask(compare.Request{Kind: schema.KindOAuthClient, Service: s.Name, Operation: o, Tenant: tenant, Resource: resource,
						ResourceKnown: true, RouteSource: schema.RouteRule, Time: at})
				}
			}
		}
	}
}

// thereAndBack reads the two pieces of YAML as a catalogue would.
func thereAndBack(t *testing.T, name string, r *recommend.Recommendation) {
	t.Helper()
	for _, piece := range []struct {
		text string
		want []schema.Grant
	}{{r.Proposal, r.Grants}, {r.Inverse, r.Before}} {
		text := piece.text
		if !strings.Contains(text, "match:") {
			text = strings.Replace(text, "    grants:", "    match: [{id: x}]\n    grants:", 1)
		}
		cat := load(t, text)
		got := cat.Credentials[0].Grants
		if !slices.EqualFunc(got, piece.want, func(a, b schema.Grant) bool {
			x, errX := json.Marshal(a)
			y, errY := json.Marshal(b)
			return errX == nil && errY == nil && string(x) == string(y)
		}) {
			t.Errorf("%s: reading back\n%s gives\n%+v, want\n%+v", name, text, got, piece.want)
		}
	}
}

// legitimate judges single calls, not folds: every call that the grant covers
// and no finding puts in question must pass the proposal.
func legitimate(t *testing.T, name string, cat *catalog.Catalog, r *recommend.Recommendation, calls []schema.Call) {
	t.Helper()
	if r.Basis != "declared" {
		return
	}
	suspect := map[string]bool{}
	for _, q := range r.Quarantined {
		suspect[q.Service+" "+q.Operation.Operation+" "+q.Tenant] = true
	}
	declared := slices.IndexFunc(cat.Credentials, func(c *catalog.Credential) bool { return c.ID == r.Credential.ID })
	original := cat.Credentials[declared]
	trial := *original
	trial.Grants = r.Grants[:len(original.Grants)]
	c := compare.New(cat)
	for i := range calls {
		call := &calls[i]
		d, err := cat.CredentialFor(call.Credential.Principal())
		if err != nil || d != original || suspect[call.Service+" "+call.Operation+" "+call.Tenant] || !call.Decision.Authorised() {
			continue
		}
		q := compare.Request{Declared: original, Kind: call.Credential.Kind, Service: call.Service, Operation: call.Operation, Tenant: call.Tenant,
			Resource: call.Resource, ResourceKnown: true, RouteSource: call.RouteSource, Groups: call.Credential.Groups, Time: r.Window.To.Add(-time.Microsecond)}
		if c.Judge(&q).Holding != compare.Holds {
			continue
		}
		q.Declared = &trial
		if j := c.Judge(&q); j.Holding != compare.Holds {
			t.Errorf("%s: %s on %s in %q would be %s: %v", name, call.Operation, call.Service, call.Tenant, j.Holding, j.Reasons)
		}
	}
}
