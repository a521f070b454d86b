package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/schema"
)

// demoPairs is what the log of audit2rbac shows, as its expected.md states it:
// per user and outcome, each verb and resource in its namespace with its calls.
func demoPairs() map[string]int {
	return map[string]int{
		"bob allowed list pods in default": 2, "bob denied list pods in default": 2, "bob denied list pods in ns1": 1, "bob denied list nodes in ": 1,
		"sa1 allowed list pods in ": 1, "sa1 denied list pods in default": 2, "sa1 denied list pods in ": 1, "sa1 denied list nodes in ": 1,
		"alice denied list pods in ns1": 1, "alice denied list configmaps in ns1": 1, "alice denied list secrets in ns1": 1,
	}
}

// demoDays writes an own log of one call a day, so that silence means something.
func demoDays(t *testing.T, first, last time.Time) string {
	t.Helper()
	var b strings.Builder
	for day := first; !day.After(last); day = day.AddDate(0, 0, 1) {
		at := day.Format(time.RFC3339)
		fmt.Fprintf(&b, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"heartbeat-%s","stage":"ResponseComplete",`+
			`"requestURI":"/version","verb":"get","user":{"username":"system:serviceaccount:ops:heartbeat","groups":["system:authenticated"]},`+
			`"responseStatus":{"code":200},"requestReceivedTimestamp":%q,"stageTimestamp":%q,"annotations":{"authorization.k8s.io/decision":"allow"}}`+"\n",
			day.Format(time.DateOnly), at, at)
	}
	path := filepath.Join(t.TempDir(), "heartbeat.log")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCorpusDemoLog holds scan, calls and recommend to the facts that another
// project states about its own log.
func TestCorpusDemoLog(t *testing.T) {
	p := onCorpus(t)
	text, err := os.ReadFile(filepath.Join("testdata", "corpus", "demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	log, dir := p.at("k8s-audit/audit2rbac/demo.log"), t.TempDir()
	data, cat := filepath.Join(dir, "store"), filepath.Join(dir, "catalogue.yaml")
	write := func(text string) {
		if err := os.WriteFile(cat, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(string(text))
	report, scanned, code := p.scan("--catalog", cat, "--data", data, log)
	if code != 0 || report.Summary.Calls != 37 || report.Summary.Credentials.Undeclared != 0 {
		t.Fatalf("exit code %d, %d calls, want 37; %d unknown credentials", code, report.Summary.Calls, report.Summary.Credentials.Undeclared)
	}

	subjects := map[string]string{"bob": "bob", "alice": "alice", "sa1": "system:serviceaccount:ns1:sa1"}
	var listed []schema.Call
	for name, id := range subjects {
		calls := callsOf(t, p.good("calls", "--data", data, "--catalog", cat, "--credential", name, "--limit", "0", "-o", "jsonl"))
		for i := range calls {
			if c := &calls[i]; c.Credential.ID != id || !slices.Equal(c.ActorChain, []string{"system:admin"}) {
				t.Errorf("%s: a call of %s through %v", name, c.Credential.ID, c.ActorChain)
			}
		}
		if want := map[string]int{"bob": 29, "sa1": 5, "alice": 3}[name]; len(calls) != want {
			t.Errorf("%s: %d calls, want %d", name, len(calls), want)
		}
		listed = append(listed, calls...)
	}
	discovery := 0
	pairs := func(calls []schema.Call) map[string]int {
		discovery = 0
		n := tally(calls, func(c *schema.Call) string {
			if strings.HasPrefix(c.Operation, "get /api") && c.Decision == schema.DecisionAllowed && c.Credential.ID == "bob" {
				discovery++
				return ""
			}
			user := c.Credential.ID[strings.LastIndexByte(c.Credential.ID, ':')+1:]
			return fmt.Sprintf("%s %s %s in %s", user, c.Decision, c.Operation, c.Tenant)
		})
		delete(n, "")
		return n
	}
	for what, calls := range map[string][]schema.Call{"calls": listed, "scan": scanned} {
		same(t, what, pairs(calls), demoPairs())
		if discovery != 23 {
			t.Errorf("%s: bob asked for %d documents of discovery, want 23", what, discovery)
		}
	}
	same(t, "decisions", tally(listed, func(c *schema.Call) string { return c.Decision.String() }), map[string]int{"allowed": 26, "denied": 11})

	// Two operations were denied and then allowed. One of them only 13 seconds
	// later, which is somebody trying again while a change spreads.
	var codes []string
	for _, f := range report.Findings {
		codes = append(codes, f.Code+" "+f.Credential.ID+" "+f.Operation+" "+f.Tenant)
	}
	if want := []string{"D03 bob list pods default"}; !slices.Equal(codes, want) {
		t.Errorf("findings %q, want %q", codes, want)
	}
	if n := report.Summary.Uses; n["beyond"] != 0 || n["unmapped"] != 0 || n["denied"] != 9 || n["exercised"] != 25 {
		t.Errorf("uses %v, want 25 exercised and 9 denied", n)
	}

	// The grant from honoured use alone, where bob's was written down.
	write(strings.Replace(string(text), "namespaces: [default]}", "namespaces: [default], from: 2017-09-11T19:57:00Z}", 1))
	end := time.Date(2017, 11, 1, 9, 0, 0, 0, time.UTC)
	days := demoDays(t, time.Date(2017, 8, 1, 9, 0, 0, 0, time.UTC), end)
	report, _, _ = p.scan("--catalog", cat, "--data", data, days)
	for _, f := range report.Findings {
		if f.Code == "D03" {
			t.Errorf("a change that was written down is a finding: %s", f.Title)
		}
	}
	for name, want := range map[string]struct{ keep, remove []string }{
		"bob":   {[]string{"list pods in default"}, []string{"get pods in default", "watch pods in default"}},
		"sa1":   {[]string{"list pods"}, []string{"get nodes", "get pods", "list nodes", "watch nodes", "watch pods"}},
		"alice": {nil, []string{"list configmaps in ns1", "list pods in ns1", "list secrets in ns1"}},
	} {
		var r recommend.Recommendation
		if err := json.Unmarshal(p.good("recommend", "--data", data, "--catalog", cat, "-o", "json", name), &r); err != nil {
			t.Fatal(err)
		}
		var keep, remove []string
		for _, k := range r.Keep {
			keep = append(keep, strings.TrimSpace(k.Scope+" "+k.On))
		}
		for _, k := range r.Remove {
			remove = append(remove, strings.TrimSpace(k.Scope+" "+k.On))
		}
		slices.Sort(remove)
		if !slices.Equal(keep, want.keep) || !slices.Equal(remove, want.remove) || len(r.Unknown)+len(r.Replay.Refused) > 0 {
			t.Errorf("%s: keep %q, remove %q, unknown %v, refused %v; want to keep %q and remove %q",
				name, keep, remove, r.Unknown, r.Replay.Refused, want.keep, want.remove)
		}
	}
}

// TestCorpusBootstrapRBAC judges real audit events by the roles that every
// cluster starts with.
func TestCorpusBootstrapRBAC(t *testing.T) {
	p := onCorpus(t)
	const service = "services: [{name: cluster, hosts: [kubernetes.default.svc], authority: cluster, scope_dialect: kubernetes}]\n"
	catalogue := func(version string) string {
		files, err := filepath.Glob(p.at("k8s-audit/bootstrap-rbac/" + version + "/*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no roles of %s: %v", version, err)
		}
		dir := t.TempDir()
		grants := p.good(append([]string{"grants", "import", "rbac", "--authority", "cluster"}, files...)...)
		for name, text := range map[string][]byte{"service.yaml": []byte(service), "rbac.grants.yaml": grants} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	bootstrap := catalogue("v1.23.4")
	report, calls, code := p.scan("--catalog", bootstrap, p.at("k8s-audit/falco"), p.at("k8s-audit/khi"))
	if code != 0 || len(calls) != 52 {
		t.Fatalf("exit code %d, %d calls, want 52", code, len(calls))
	}
	same(t, "decisions", tally(calls, func(c *schema.Call) string { return c.Decision.String() }), map[string]int{"allowed": 52})
	same(t, "of nodes", tally(calls, func(c *schema.Call) string {
		return strconv.FormatBool(strings.HasPrefix(c.Credential.ID, "system:node:"))
	}), map[string]int{"true": 1, "false": 51})
	// Uses are calls folded. What is not exercised is one use, and it is the
	// node's, about which another authoriser decides: so 51 calls are exercised.
	uses := report.Summary.Uses
	if uses["unmapped"] != 1 || uses["exercised"] == 0 || uses["beyond"]+uses["denied"] != 0 {
		t.Errorf("uses %v, want 1 unmapped and none beyond", uses)
	}
	node := calls[slices.IndexFunc(calls, func(c schema.Call) bool { return strings.HasPrefix(c.Credential.ID, "system:node:") })]
	alone, _, _ := p.scan("--catalog", bootstrap, node.Source.Name)
	if got := alone.Summary; got.Calls != 1 || !maps.Equal(got.Uses, map[string]uint64{"unmapped": 1}) {
		t.Errorf("the node alone: %d calls, uses %v", got.Calls, got.Uses)
	}
	for i := range calls {
		if c := &calls[i]; c.Credential.ID == "" || c.Operation == "" || c.Time.IsZero() || c.Service != "cluster" {
			t.Errorf("half a call: %+v", c)
		}
	}
	for _, f := range report.Findings {
		if f.Code != "D17" {
			t.Errorf("%s %s", f.Code, f.Title)
		}
	}
	// The lease of v1.32 was not granted in v1.15.
	old, _, _ := p.scan("--catalog", catalogue("v1.15"), p.at("k8s-audit/falco"), p.at("k8s-audit/khi"))
	if old.Summary.Uses["beyond"] != 1 || !slices.ContainsFunc(old.Findings, func(f schema.Finding) bool {
		return f.Code == "D01" && f.Credential.ID == "system:kube-scheduler" && f.Operation == "update leases.coordination.k8s.io"
	}) {
		t.Errorf("by the roles of v1.15: %v", old.Summary.Uses)
	}
	// One file is no event. Beside others it is counted, alone it is an error.
	bad := p.at("k8s-audit/falco/fal_01_003.json")
	at := slices.IndexFunc(report.Summary.Inputs, func(in output.Input) bool { return in.Name == bad })
	if at < 0 || report.Summary.Inputs[at].Calls != 0 || accounted(t, &report.Summary.Inputs[at]) != 1 {
		t.Errorf("%s is not accounted for", bad)
	}
	_, talk, code := p.run("scan", "-q", bad)
	if code != 1 || !bytes.Contains(talk, []byte("no known format")) || !bytes.Contains(talk, []byte("hint:")) {
		t.Errorf("%s: exit code %d\n%s", bad, code, talk)
	}
}
