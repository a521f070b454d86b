package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
	"github.com/scopedrift/scopedrift/schema"
)

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
