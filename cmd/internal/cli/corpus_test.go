package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/detector/recommend"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// product runs the real binary on the corpus.
type product struct {
	t           *testing.T
	corpus      string
	environment []string
}

func onCorpus(t *testing.T) *product {
	t.Helper()
	return &product{t, corpus.Path(t), needEngine(t)}
}

// at returns the path of a file of the corpus.
func (p *product) at(name string) string { return filepath.Join(p.corpus, filepath.FromSlash(name)) }

// run runs a command that may end with 0 or 1; anything else, such as a panic,
// a signal or two minutes without an end, fails the test.
func (p *product) run(args ...string) (out, talk []byte, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = p.environment
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	code = cmd.ProcessState.ExitCode()
	if ctx.Err() != nil || err != nil && code != 1 || bytes.Contains(stderr.Bytes(), []byte("goroutine ")) {
		p.t.Fatalf("scopedrift %.200s: %v\n%.4000s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.Bytes(), stderr.Bytes(), code
}

// good runs a command that must end with 0.
func (p *product) good(args ...string) []byte {
	p.t.Helper()
	out, talk, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("scopedrift %.200s: exit code %d\n%.4000s", strings.Join(args, " "), code, talk)
	}
	return out
}

// scan scans and returns the report and the calls.
func (p *product) scan(args ...string) (report output.Report, calls []schema.Call, code int) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "calls.jsonl")
	out, _, code := p.run(append([]string{"scan", "-q", "-o", "json", "--calls-out", file}, args...)...)
	if err := json.Unmarshal(out, &report); err != nil {
		p.t.Fatalf("the report: %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	return report, callsOf(p.t, text), code
}

func callsOf(t *testing.T, lines []byte) (calls []schema.Call) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var c schema.Call
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("a call: %v\n%.200s", err, line)
		}
		calls = append(calls, c)
	}
	return calls
}

// files lists what stands in a directory of the corpus, without its notes.
func (p *product) files(dir string) (list []string) {
	p.t.Helper()
	err := filepath.WalkDir(p.at(dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !slices.Contains([]string{".tsv", ".md", ".yaml"}, filepath.Ext(path)) {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// accounted checks that every unit of an input is a call or has a reason, and
// returns how many have one.
func accounted(t *testing.T, in *output.Input) (skipped uint64) {
	t.Helper()
	for reason, n := range in.Skipped {
		if reason == "" || n == 0 {
			t.Errorf("%s: %d units for the reason %q", in.Name, n, reason)
		}
		skipped += n
	}
	if in.Calls+skipped != in.Units {
		t.Errorf("%s: %d calls and %v are not its %d units", in.Name, in.Calls, in.Skipped, in.Units)
	}
	return skipped
}

// table reads a file of tab separated columns without its header.
func (p *product) table(name string) (rows [][]string) {
	p.t.Helper()
	text, err := os.ReadFile(p.at(name))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Split(strings.TrimRight(line, "\r\n"), "\t"))
	}
	return rows[1:]
}

// tally counts calls by what a function says of them.
func tally(calls []schema.Call, by func(*schema.Call) string) map[string]int {
	n := map[string]int{}
	for i := range calls {
		n[by(&calls[i])]++
	}
	return n
}

func same(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s: %d × %q, want %d", what, got[key], key, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %d × %q is too much", what, got[key], key)
		}
	}
}

// firstClass are the families of access logs that presets know.
var firstClass = []string{"apache", "nginx", "envoy", "ingress-nginx"}

// TestCorpusCallCounts reads every file of the formats that the product claims,
// and wants the calls that the corpus states and a reason for every other unit.
func TestCorpusCallCounts(t *testing.T) {
	p := onCorpus(t)
	want := map[string]uint64{}
	for _, row := range p.table("access-logs/INDEX.tsv") {
		if slices.Contains(firstClass, row[1]) || strings.Contains(row[0], "traefik_clf") {
			n, err := strconv.ParseUint(row[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			want[p.at("access-logs/"+row[0])] = n
		}
	}
	if len(want) != 26 {
		t.Errorf("INDEX.tsv names %d files of these families, want 26", len(want))
	}
	// The corpus states events here; acts of the cloud itself, which have no
	// caller, are no calls.
	for name, n := range map[string]uint64{
		"awsdocs-examples.ndjson": 30 - 2, "crowdsec-aws-bf.ndjson": 6, "crowdsec-aws-cloudtrail-postexploit.ndjson": 4,
		"crowdsec-aws-cloudtrail.ndjson": 2, "crowdsec-aws-nwo-login.ndjson": 1, "opensearch-catalog-cloudtrail.ndjson.gz": 840,
		"otel-envelope.json": 7 - 2, "otrf-ec2-proxy-s3-exfiltration.ndjson": 103, "plaso-lookup-events.jsonl": 6 - 1,
	} {
		want[p.at("cloudtrail/"+name)] = n
	}
	for name, n := range map[string]uint64{
		"audit2rbac/demo.log": 37, "crowdsec/k8s-audit-pod-exec-file.ndjson": 1, "crowdsec/k8s-audit-priv-pod-file.ndjson": 1,
		"khi/v1.32-lease-update.ndjson": 1,
	} {
		want[p.at("k8s-audit/"+name)] = n
	}
	report, _, code := p.scan(slices.Sorted(maps.Keys(want))...)
	if code != 0 || report.Partial != "" {
		t.Errorf("exit code %d: %s", code, report.Partial)
	}
	total := uint64(0)
	for i := range report.Summary.Inputs {
		in := &report.Summary.Inputs[i]
		accounted(t, in)
		if n, ok := want[in.Name]; !ok || n != in.Calls {
			t.Errorf("%s: %d calls, want %d; skipped %v", in.Name, in.Calls, n, in.Skipped)
		}
		for reason := range in.Skipped {
			if !strings.HasPrefix(reason, "not_a_call:") {
				t.Errorf("%s: %s", in.Name, reason)
			}
		}
		total += in.Calls
		delete(want, in.Name)
	}
	if len(want) > 0 {
		t.Errorf("not read: %v", slices.Sorted(maps.Keys(want)))
	}
	// Four lines and one published example stand in two of the files.
	if s := report.Summary; s.Stored+s.Repeated != total || s.Repeated != 5 {
		t.Errorf("%d calls are stored and %d repeat others, want %d together and 5 repeated", s.Stored, s.Repeated, total)
	}
}

// TestCorpusOtherFamilies reads logs in formats that no preset knows. None may
// be misread for calls, and every one must be said to be unreadable.
func TestCorpusOtherFamilies(t *testing.T) {
	p := onCorpus(t)
	lines := map[string]uint64{}
	for _, row := range p.table("access-logs/INDEX.tsv") {
		if !slices.Contains(firstClass, row[1]) && !strings.Contains(row[0], "traefik_clf") {
			n, err := strconv.ParseUint(row[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			lines[p.at("access-logs/"+row[0])] = n
		}
	}
	inputs := slices.Sorted(maps.Keys(lines))
	report, calls, code := p.scan(inputs...)
	if code != 1 || len(calls) > 0 {
		t.Errorf("exit code %d, want 1; calls are invented: %v", code, calls)
	}
	for i := range report.Summary.Inputs {
		in := &report.Summary.Inputs[i]
		if accounted(t, in) != lines[in.Name] {
			t.Errorf("%s: %v, want %d units", in.Name, in.Skipped, lines[in.Name])
		}
		if !strings.Contains(report.Partial, in.Name+" cannot be read: ") {
			t.Errorf("%s: the report does not say that it could not be read", in.Name)
		}
		delete(lines, in.Name)
	}
	if len(lines) > 0 {
		t.Errorf("not read: %v", slices.Sorted(maps.Keys(lines)))
	}
	out, talk, code := p.run(append([]string{"doctor", "-o", "json"}, inputs...)...)
	var seen struct{ Inputs []diagnosis }
	if err := json.Unmarshal(out, &seen); err != nil || code != 1 || len(seen.Inputs) != len(inputs) {
		t.Fatalf("doctor: exit code %d, %d inputs, %v", code, len(seen.Inputs), err)
	}
	for _, in := range seen.Inputs {
		if in.Calls != 0 || !bytes.Contains(talk, []byte(in.Input+" cannot be read: ")) {
			t.Errorf("doctor on %s: %d calls, or no word about it", in.Input, in.Calls)
		}
	}
}

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
	report, calls, code := p.scan("--catalog", catalogue("v1.23.4"), p.at("k8s-audit/falco"), p.at("k8s-audit/khi"))
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
	folded := tally(calls, func(c *schema.Call) string {
		return fmt.Sprint(c.Credential.Kind, c.Credential.ID, c.Credential.Groups, c.Operation, c.Tenant)
	})
	if got := int(uses["unmapped"] + uses["exercised"]); got > len(folded) || len(folded) > 52 {
		t.Errorf("%d uses of %d different things done", got, len(folded))
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

// TestCorpusCloudTrail checks what is known about three real trails.
func TestCorpusCloudTrail(t *testing.T) {
	p := onCorpus(t)
	report, calls, code := p.scan(p.at("cloudtrail/opensearch-catalog-cloudtrail.ndjson.gz"), p.at("cloudtrail/otrf-ec2-proxy-s3-exfiltration.ndjson"),
		p.at("cloudtrail/crowdsec-aws-cloudtrail-postexploit.ndjson"))
	if code != 0 || len(calls) != 947 {
		t.Fatalf("exit code %d, %d calls, want 840 + 103 + 4: %s", code, len(calls), report.Partial)
	}
	from := map[string][]schema.Call{}
	for _, c := range calls {
		name, _, _ := strings.Cut(filepath.Base(c.Source.Name), "-")
		from[name] = append(from[name], c)
	}
	decision := func(c *schema.Call) string { return c.Decision.String() }

	account := from["opensearch"]
	same(t, "opensearch", tally(account, decision), map[string]int{"allowed": 533, "no_effect": 307})
	same(t, "kinds", tally(account, func(c *schema.Call) string { return c.Credential.Kind.String() }), map[string]int{"role_session": 768, "service_account": 72})
	minted, roles, operations := map[string]bool{}, map[string]bool{}, map[string]bool{}
	mints, later := 0, 0
	for i := range account {
		c := &account[i]
		operations[c.Operation] = true
		if c.Mints != "" {
			minted[c.Mints] = true
			mints++
		}
		if c.Credential.Kind == schema.KindRoleSession {
			roles[c.Credential.ID] = true
		}
	}
	for i := range account {
		if minted[account[i].Credential.Instance] {
			later++
		}
	}
	if mints != 65 || len(minted) != 65 || later != 7 || len(roles) != 9 || len(operations) != 30 {
		t.Errorf("%d mints of %d keys, used by %d calls; %d roles, %d operations; want 65, 65, 7, 9, 30",
			mints, len(minted), later, len(roles), len(operations))
	}

	theft := from["otrf"]
	slices.SortFunc(theft, func(a, b schema.Call) int { return a.Time.Compare(b.Time) })
	same(t, "otrf", tally(theft, func(c *schema.Call) string { return c.Credential.Kind.String() + " " + c.Decision.String() }),
		map[string]int{"user_token allowed": 87, "service_account allowed": 5, "role_session allowed": 11})
	keys := map[string]bool{}
	var stolen []schema.Call
	for _, c := range theft {
		if c.Mints != "" {
			keys[c.Mints] = true
		}
		if c.Credential.Kind == schema.KindRoleSession {
			stolen = append(stolen, c)
		}
	}
	same(t, "theft", tally(stolen, func(c *schema.Call) string { return c.Operation }), map[string]int{"s3:ListBuckets": 2, "s3:ListObjects": 7, "s3:GetObject": 2})
	first, last := stolen[0].Time.Format(time.TimeOnly), stolen[len(stolen)-1].Time.Format(time.TimeOnly)
	if first != "01:00:04" || last != "01:13:20" || len(keys) != 5 || !keys[stolen[0].Credential.Instance] || !strings.Contains(stolen[0].UserAgent, "aws-cli") {
		t.Errorf("the theft lasts from %s to %s with %s, %d keys minted", first, last, stolen[0].UserAgent, len(keys))
	}

	denied := map[string]bool{}
	for _, c := range from["crowdsec"] {
		if c.Decision == schema.DecisionDenied {
			denied[c.Operation] = true
		}
	}
	if len(denied) != 3 {
		t.Errorf("%d different operations were denied, want 3: %v", len(denied), denied)
	}
}

// TestCorpusPolicies gives a role of a real trail published policies, and checks
// the verdicts on what it did.
func TestCorpusPolicies(t *testing.T) {
	p := onCorpus(t)
	const (
		authority = "aws/347283850106"
		role      = "arn:aws:iam::347283850106:role/aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig"
		services  = "services: [{name: aws, hosts: ['*.amazonaws.com'], authority: " + authority + ", scope_dialect: iam}]\n"
	)
	// The role did 28 different things: 22 with buckets, 3 with topics, 2 with
	// instances and 1 with load balancers. In 9 kinds of them, only once with an
	// answer, the thing asked for was not there.
	for policy, want := range map[string]map[string]uint64{
		"PowerUserAccess": {"exercised": 28},
		"ReadOnlyAccess":  {"exercised": 28},
		// All of S3's, nothing else.
		"AmazonS3ReadOnlyAccess": {"exercised": 22, "beyond": 6},
		// Its conditional statements can decide nothing; sns:ListTopics is in
		// an unconditional one.
		"AmazonDynamoDBFullAccess": {"exercised": 1, "beyond": 18},
	} {
		t.Run(policy, func(t *testing.T) {
			p := &product{t, p.corpus, p.environment}
			dir := t.TempDir()
			grants := p.good("grants", "import", "iam", "--authority", authority, "--name", role, p.at("iam/aws/"+policy+".json"))
			for name, text := range map[string][]byte{"services.yaml": []byte(services), "iam.grants.yaml": grants} {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			report, _, code := p.scan("--catalog", dir, p.at("cloudtrail/opensearch-catalog-cloudtrail.ndjson.gz"))
			uses := report.Summary.Uses
			// What the eight other roles hold is not known, so 16 uses are unmapped.
			if code != 0 || uses["exercised"] != want["exercised"] || uses["beyond"] != want["beyond"] || uses["denied"] != 0 ||
				uses["unmapped"] != 16+28-want["exercised"]-want["beyond"] {
				t.Errorf("exit code %d, uses %v, want %v", code, uses, want)
			}
			found := uint64(0)
			for _, f := range report.Findings {
				if f.Code == "D01" {
					found++
					if f.Credential.ID != role {
						t.Errorf("beyond the grant of %s, which nobody knows", f.Credential.ID)
					}
				}
			}
			if found != want["beyond"] {
				t.Errorf("%d findings of D01, want %d", found, want["beyond"])
			}
		})
	}
}

// TestCorpusCaptures counts the requests of every HTTP/1 capture, and wants the
// others read without a call being invented.
func TestCorpusCaptures(t *testing.T) {
	p := onCorpus(t)
	rows := p.table("pcap/EXPECTED.tsv")
	var inputs []string
	for _, row := range rows {
		inputs = append(inputs, p.at("pcap/"+row[0]))
	}
	// One capture holds packets of another, whose calls would be stored once.
	var calls []schema.Call
	read := map[string]*output.Input{}
	apart := slices.IndexFunc(inputs, func(name string) bool { return strings.HasSuffix(name, "http_starting_with_reply.pcapng") })
	for _, part := range [][]string{append(slices.Clone(inputs[:apart]), inputs[apart+1:]...), inputs[apart : apart+1]} {
		report, some, code := p.scan(part...)
		if code != 0 {
			t.Errorf("exit code %d: %s", code, report.Partial)
		}
		for i := range report.Summary.Inputs {
			read[report.Summary.Inputs[i].Name] = &report.Summary.Inputs[i]
		}
		calls = append(calls, some...)
	}
	orphans := tally(calls, func(c *schema.Call) string {
		if c.Method == "" {
			return c.Source.Name
		}
		return ""
	})
	for i, row := range rows {
		in := read[inputs[i]]
		if in == nil {
			t.Errorf("%s was not read", row[0])
			continue
		}
		want, err := strconv.Atoi(row[4])
		if err != nil {
			t.Fatal(err)
		}
		got := int(in.Calls) - orphans[in.Name]
		switch {
		case in.Format != "pcap":
			t.Errorf("%s was taken for %q", row[0], in.Format)
		case row[1] == "http1" && got != want:
			t.Errorf("%s: %d requests and %d lone answers, want %d (%s)", row[0], got, orphans[in.Name], want, row[12])
		case row[1] != "http1" && got > want:
			t.Errorf("%s: %d requests of %s, want at most %d", row[0], got, row[1], want)
		}
	}
	// No answer may stand beside a request that it does not belong to.
	for i := range calls {
		c := &calls[i]
		name := strings.TrimPrefix(c.Source.Name, p.at("pcap")+"/")
		if strings.HasPrefix(name, "ndpi/http_asymmetric") && c.Quality.Certain() || name == "suricata-verify/http-gap-beyond-body.pcap" && c.Path == "/2" && c.Status != 0 {
			t.Errorf("%s: %s %s was paired with %d", name, c.Method, c.Path, c.Status)
		}
	}
}
