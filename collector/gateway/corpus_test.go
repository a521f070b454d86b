package gateway

import (
	"bufio"
	"compress/gzip"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// TestCorpusCounts reads every file of the families that the presets know and
// compares the number of calls with what the corpus states.
func TestCorpusCounts(t *testing.T) {
	dir := corpus.Path(t, "access-logs")
	index, err := os.ReadFile(filepath.Join(dir, "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"apache": true, "nginx": true, "envoy": true, "ingress-nginx": true}
	for line := range strings.Lines(string(index)) {
		column := strings.Split(line, "\t")
		if len(column) < 4 {
			continue
		}
		want, err := strconv.ParseUint(column[3], 10, 64)
		if err != nil {
			continue
		}
		_, r, err := readFiles(t, Config{}, filepath.Join(dir, column[0]))
		in := r.Inputs[0]
		if !known[column[1]] {
			t.Logf("%s: %d calls of %d, %v %v", column[0], in.Calls, want, in.NotACall, in.Bad)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", column[0], err)
		}
		if in.Calls != want || in.BadTotal() > 0 {
			t.Errorf("%s: %d calls, want %d; no calls %v, unreadable %v", column[0], in.Calls, want, in.NotACall, in.Bad)
		}
	}
}

var parsedValue = regexp.MustCompile(`^results\["s01-parse"\]\["[^"]+"\]\[(\d+)\]\.Evt\.Parsed\["(\w+)"\] == (".*")$`)

// assertions reads what another project's parsers found, one map a line of the
// log, in order; lines without a method are left out.
func assertions(t *testing.T, file string) []map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[int]map[string]string{}
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		m := parsedValue.FindStringSubmatch(scan.Text())
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		text, err := strconv.Unquote(m[3])
		if err != nil {
			t.Fatal(err)
		}
		if lines[n] == nil {
			lines[n] = map[string]string{}
		}
		lines[n][m[2]] = text
	}
	var all []map[string]string
	for _, n := range slices.Sorted(maps.Keys(lines)) {
		// Lines of error logs name a method too, but no answer.
		if lines[n]["verb"] != "" && lines[n]["status"]+lines[n]["response"] != "" {
			all = append(all, lines[n])
		}
	}
	return all
}

// TestCorpusAssertions compares method, path, status, client and host with what
// another project's parsers give for the same lines.
func TestCorpusAssertions(t *testing.T) {
	dir := corpus.Path(t, "access-logs")
	// Where they take the first address of x-forwarded-for, which the caller
	// writes itself, this takes the last, which the proxy wrote.
	differs := map[string]string{
		"envoy/crowdsec-envoy-logs.log 8 client": "10.42.0.1",
		"envoy/crowdsec-envoy-logs.log 9 client": "fd00:1234:5678::1",
	}
	for _, name := range []string{
		"envoy/crowdsec-envoy-logs", "nginx/crowdsec-nginx_http-logs", "nginx/crowdsec-nginx_http-catch-npm",
		"nginx/crowdsec-nginx-proxy-manager-logs", "nginx/crowdsec-nginx-http-malformed", "apache/crowdsec-apache2-logs",
		"apache/crowdsec-apache2-malformed", "traefik/crowdsec-traefik_clf",
	} {
		want := assertions(t, filepath.Join(dir, name+".parser.assert.gz"))
		m, _, err := readFiles(t, Config{}, filepath.Join(dir, name+".log"))
		if err != nil {
			t.Error(err)
		}
		if len(m.calls) != len(want) {
			t.Errorf("%s: %d calls, want %d", name, len(m.calls), len(want))
			continue
		}
		for i, w := range want {
			c := &m.calls[i]
			path, _, _ := strings.Cut(w["request"], "?")
			host := strings.TrimSuffix(c.Host, ":"+w["port"])
			status := strconv.Itoa(int(c.Status))
			client := w["remote_addr"] + w["clientip"]
			if other, ok := differs[name+".log "+strconv.Itoa(i)+" client"]; ok {
				client = other
			}
			if c.Method != w["verb"] || c.Path != path || w["status"]+w["response"] != "-" && status != w["status"]+w["response"] ||
				client != "" && c.ClientAddress.String() != client || w["target_fqdn"] != "" && host != w["target_fqdn"] {
				t.Errorf("%s: call %d: got %s, want %v", name, i, jsonOf(t, c), w)
			}
		}
	}
}

// TestCorpusDatadog compares each column of a table made by hand.
func TestCorpusDatadog(t *testing.T) {
	dir := corpus.Path(t, "access-logs", "envoy")
	table, err := os.ReadFile(filepath.Join(dir, "datadog-envoy.expected.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := readFiles(t, Config{}, filepath.Join(dir, "datadog-envoy.log"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(table)) {
		w := strings.Split(line, "\t")
		if w[0] == "line" || w[2] == "-" {
			continue
		}
		c := &m.calls[n]
		n++
		keys := strings.Join(c.QueryKeys, ",")
		if keys == "" {
			keys = "-"
		}
		got := []string{
			strconv.FormatInt(c.Time.UnixMilli(), 10), c.Method, c.Host, c.Path, keys, strconv.Itoa(int(c.Status)),
			strconv.FormatUint(c.DurationUS/1000, 10), strconv.FormatUint(c.RequestBytes, 10),
			strconv.FormatUint(c.ResponseBytes, 10), c.RequestID,
		}
		if !slices.Equal(got, w[1:11]) {
			t.Errorf("line %s: got %q, want %q", w[0], got, w[1:11])
		}
	}
	if reporters := []schema.Reporter{m.calls[0].Reporter, m.calls[1].Reporter}; reporters[0] != schema.ReporterClient || reporters[1] != schema.ReporterServer {
		t.Errorf("the two sides of one request are reported by %v", reporters)
	}
	if m.skipped["not_a_call:application_log"] != 1 {
		t.Errorf("skipped %v", m.skipped)
	}
}

// TestCorpusSite holds one real site's log to its sums.
func TestCorpusSite(t *testing.T) {
	m, r, err := readFiles(t, Config{}, corpus.Path(t, "access-logs", "apache", "elastic-apache_logs.log.gz"))
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]int{}
	clients := map[string]bool{}
	for i := range m.calls {
		sums[m.calls[i].Method]++
		sums[strconv.Itoa(int(m.calls[i].Status))]++
		clients[m.calls[i].ClientAddress.String()] = true
	}
	want := map[string]int{
		"GET": 9952, "HEAD": 42, "POST": 5, "OPTIONS": 1,
		"200": 9126, "304": 445, "404": 213, "301": 164, "206": 45, "500": 3, "403": 2, "416": 2,
	}
	if !maps.Equal(sums, want) || len(clients) != 1753 {
		t.Errorf("got %v and %d clients, want %v and 1753", sums, len(clients), want)
	}
	if r.Inputs[0].Chosen != "combined: 200 of 200 sampled units have the form of the common or combined log format" {
		t.Errorf("chosen: %s", r.Inputs[0].Chosen)
	}
}

// TestCorpusAudit counts the calls of every CloudTrail and Kubernetes file.
func TestCorpusAudit(t *testing.T) {
	dir := corpus.Path(t)
	for _, want := range []struct {
		file  string
		calls uint64
		no    map[string]uint64
	}{
		// RotateKey and CreateServiceLinkedChannel are acts of AWS itself.
		{"cloudtrail/awsdocs-examples.ndjson", 28, map[string]uint64{"not_a_call:service_event": 2}},
		{"cloudtrail/crowdsec-aws-bf.ndjson", 6, nil},
		{"cloudtrail/crowdsec-aws-cloudtrail-postexploit.ndjson", 4, nil},
		{"cloudtrail/crowdsec-aws-cloudtrail.ndjson", 2, nil},
		{"cloudtrail/crowdsec-aws-nwo-login.ndjson", 1, nil},
		{"cloudtrail/opensearch-catalog-cloudtrail.ndjson.gz", 840, nil},
		{"cloudtrail/otel-envelope.json", 5, map[string]uint64{"not_a_call:insight": 1, "not_a_call:service_event": 1}},
		{"cloudtrail/otrf-ec2-proxy-s3-exfiltration.ndjson", 103, nil},
		{"cloudtrail/plaso-lookup-events.jsonl", 5, map[string]uint64{"not_a_call:service_event": 1}},
		{"k8s-audit/audit2rbac/demo.log", 37, nil},
		{"k8s-audit/crowdsec/k8s-audit-pod-exec-file.ndjson", 1, nil},
		{"k8s-audit/crowdsec/k8s-audit-priv-pod-file.ndjson", 1, nil},
		{"k8s-audit/khi/v1.32-lease-update.ndjson", 1, nil},
	} {
		_, r, err := readFiles(t, Config{}, filepath.Join(dir, want.file))
		if err != nil {
			t.Errorf("%s: %v", want.file, err)
		}
		if in := r.Inputs[0]; in.Calls != want.calls || !maps.Equal(in.NotACall, want.no) || in.BadTotal() != 0 {
			t.Errorf("%s: %d calls, %v, %v; want %d and %v", want.file, in.Calls, in.NotACall, in.Bad, want.calls, want.no)
		}
	}
	// Ids that the corpus repeats over different calls stay apart.
	m, _, err := readFiles(t, Config{}, filepath.Join(dir, "k8s-audit", "falco"))
	if err != nil {
		t.Error(err)
	}
	ids := map[schema.CallID]bool{}
	for i := range m.calls {
		ids[m.calls[i].ID] = true
	}
	if len(m.calls) != 51 || len(ids) != 51 {
		t.Errorf("falco: %d calls with %d ids, want 51", len(m.calls), len(ids))
	}
	_, _, err = readFiles(t, Config{}, filepath.Join(dir, "k8s-audit", "falco", "fal_01_003.json"))
	var unreadable *UnreadableError
	if !errors.As(err, &unreadable) {
		t.Errorf("a file that is no event gives %v", err)
	}
}
