package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/collector/redact/redacttest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// canary is a secret that must not come out.
type canary redacttest.Canary

func canaries(t *testing.T) (list []canary) {
	t.Helper()
	for _, c := range redacttest.Canaries(t) {
		list = append(list, canary(c))
	}
	return list
}

// targets are request targets with the canary in them.
func (c *canary) targets() []string {
	switch secret := strings.ReplaceAll(c.Secret, "\n", "%0A"); c.Place {
	case "any":
		return []string{"/a/" + secret + "/b", "/a?q=" + secret, "/a/" + secret + "?q=1", "https://h.example/" + secret}
	case "path":
		return []string{"/a/" + secret + "/b"}
	case "named":
		return []string{"/a?password=" + secret, "/a/b?x=1&access_token=" + secret + "&y=2", "/a;jsessionid=" + secret}
	case "userinfo":
		return []string{"https://someone:" + secret + "@h.example/a"}
	}
	return nil
}

// tells reports whether the secret can be known for one wherever it stands. A
// row of random characters cannot: client ids look the same, and must be kept.
func (c *canary) tells() bool {
	return c.Place == "any" && !strings.HasPrefix(c.Name, "random_") && !strings.HasPrefix(c.Name, "aws_secret_key")
}

// texts are free texts with the canary in them.
func (c *canary) texts() []string {
	switch c.Place {
	case "any":
		return []string{c.Secret, "tool/1.0 " + c.Secret + " (x)"}
	case "text":
		return []string{"tool " + c.Secret}
	case "named":
		return []string{"tool password=" + c.Secret, `tool {"client_secret": "` + c.Secret + `"}`}
	case "basic":
		return []string{"Basic " + c.Secret, "Authorization: Basic " + c.Secret}
	case "userinfo":
		return []string{"see https://someone:" + c.Secret + "@h.example/a"}
	}
	return nil
}

// A planted line has %TARGET% and %TEXT%, one of which is the canary, or both
// harmless.
var canaryLines = map[string]string{
	"envoy.log":   `{"start_time":"2026-03-02T04:11:00.5Z","method":"GET","authority":"api.example.com","path":"%TARGET%","protocol":"HTTP/2","response_code":200,"response_flags":"-","bytes_received":1,"bytes_sent":2,"duration":3,"user_agent":"%TEXT%","request_id":"r-1","x_forwarded_for":"203.0.113.7","upstream_cluster":"inbound|80||","downstream_remote_address":"10.0.0.1:4000","jwt":{"iss":"https://idp.example.com","azp":"client","sub":"client","scope":"a b","jti":"j"},"route_name":"%TEXT%","response_code_details":"%TEXT%"}`,
	"text.log":    `[2026-03-02T04:11:00.310Z] "GET %TARGET% HTTP/2" 200 - 154 0 226 100 "10.0.35.28" "%TEXT%" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"`,
	"combined":    `203.0.113.9 - someone [02/Mar/2026:04:11:00 +0000] "GET %TARGET% HTTP/1.1" 200 12 "https://ref.example%TARGET%" "%TEXT%"`,
	"nginx.json":  `{"time_iso8601":"2026-03-02T04:11:00+00:00","remote_addr":"203.0.113.9","request_method":"GET","request_uri":"%TARGET%","host":"api.example.com","status":"200","body_bytes_sent":"12","request_time":"0.01","http_user_agent":"%TEXT%","remote_user":"someone"}`,
	"audit.log":   `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%UNIQUE%","stage":"ResponseComplete","requestURI":"%TARGET%","verb":"get","user":{"username":"system:serviceaccount:a:b","groups":["system:authenticated"]},"sourceIPs":["10.0.0.1"],"userAgent":"%TEXT%","responseStatus":{"code":200,"message":"%TEXT%"},"requestReceivedTimestamp":"2026-03-02T04:11:00.000000Z","stageTimestamp":"2026-03-02T04:11:00.100000Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"%TEXT%"},"requestObject":{"data":"%TEXT%"}}`,
	"trail.json":  `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/u","accountId":"123456789012","accessKeyId":"AKIAEXAMPLE000000001","userName":"u"},"eventTime":"2026-03-02T04:11:00Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-west-1","sourceIPAddress":"203.0.113.7","userAgent":"%TEXT%","errorCode":"NoSuchKey","errorMessage":"%TEXT%","requestParameters":{"bucketName":"b","key":"%TARGET%"},"responseElements":{"credentials":{"accessKeyId":"ASIAEXAMPLE000000001","sessionToken":"%TEXT%","secretAccessKey":"%TEXT%"}},"eventID":"%UNIQUE%","eventType":"AwsApiCall","recipientAccountId":"123456789012"}`,
	"ingress.log": `192.168.64.1 - - [02/Mar/2026:04:11:00 +0000] "POST %TARGET% HTTP/1.1" 200 59 "-" "%TEXT%" 89 0.001 [default-web-8080] [] 172.17.0.5:8080 59 0.000 200 529a007902362a5f51385a5fa7049884`,
}

// identityFields are JSON fields in which only secrets that tell themselves can
// be known for one.
var identityFields = map[string][]string{
	"envoy.log":  {"authority", "request_id", "iss", "azp", "sub", "jti", "scope", "route_name", "x_forwarded_for", "upstream_cluster"},
	"nginx.json": {"host", "remote_user"},
	"audit.log":  {"username", "requestURI", "verb", "message"},
	"trail.json": {"userName", "arn", "eventName", "bucketName", "errorCode", "awsRegion", "sourceIPAddress", "recipientAccountId"},
}

// plant writes the logs, and returns how many lines hold a canary.
func plant(t *testing.T, dir string, list []canary) (planted int) {
	t.Helper()
	for name, line := range canaryLines {
		var buf bytes.Buffer
		n := 0
		isJSON := strings.HasPrefix(line, "{")
		put := func(line, target, text string) {
			n++
			if isJSON {
				target, text = inJSON(target), inJSON(text)
			} else {
				text = strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(text)
			}
			buf.WriteString(strings.NewReplacer("%TARGET%", target, "%TEXT%", text, "%UNIQUE%", fmt.Sprintf("u-%s-%d", name, n)).Replace(line) + "\n")
		}
		for i := range list {
			c := &list[i]
			for _, target := range c.targets() {
				put(line, target, "agent/1")
			}
			for _, text := range c.texts() {
				put(line, "/plain", text)
				if isJSON && c.tells() {
					for _, field := range identityFields[name] {
						put(replaceField(line, field, text), "/plain", "agent/1")
					}
				}
			}
			// What cannot be read keeps nothing of its text.
			buf.WriteString("not a line of any log: " + strings.ReplaceAll(c.Secret, "\n", " ") + "\n")
			// Enough good lines that the log as a whole can be read.
			for range 3 {
				put(line, "/plain", "agent/1")
			}
		}
		planted += n
		if err := os.WriteFile(filepath.Join(dir, name), buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return planted
}

func inJSON(s string) string {
	text, _ := json.Marshal(s)
	return string(text[1 : len(text)-1])
}

// replaceField puts a value into the first field of that name.
func replaceField(line, field, value string) string {
	_, rest, found := strings.Cut(line, `"`+field+`":"`)
	if !found {
		return line
	}
	before := line[:len(line)-len(rest)]
	return before + inJSON(value) + rest[strings.IndexByte(rest, '"'):]
}

// TestNoSecretComesOut plants every canary in every position of every format
// and looks for it in everything that the product writes.
func TestNoSecretComesOut(t *testing.T) {
	environment := needEngine(t)
	list := canaries(t)
	dir, out := t.TempDir(), t.TempDir()
	if planted := plant(t, dir, list); planted < 5000 {
		t.Fatalf("only %d lines were planted", planted)
	}
	data := filepath.Join(out, "store")
	written := map[string][]byte{}
	run := func(name string, args ...string) {
		cmd := exec.Command(program, args...)
		cmd.Env = environment
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("%s: %v\n%.2000s", strings.Join(args, " "), err, stderr.String())
		}
		written[name+" standard output"], written[name+" standard error"] = stdout.Bytes(), stderr.Bytes()
	}
	run("scan", "scan", "--data", data, "--calls-out", filepath.Join(out, "calls.jsonl"), "-o", "json", dir)
	if !bytes.Contains(written["scan standard output"], []byte(`"findings"`)) {
		t.Fatalf("the scan gave no report:\n%.2000s", written["scan standard error"])
	}
	for _, format := range []string{"text", "table", "jsonl", "csv", "sarif", "ocsf"} {
		run("findings "+format, "findings", "--data", data, "-o", format)
	}
	run("credentials", "credentials", "--data", data, "-o", "json")
	run("calls", "calls", "--data", data, "--limit", "0", "-o", "csv")
	run("doctor", "doctor", dir)
	bundleOf(t, run, data, filepath.Join(out, "case.tar.zst"), written)
	collectStore(t, data, written)
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		written[strings.TrimPrefix(path, out)] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, text := range written {
		size += len(text)
	}
	if size < 1<<20 {
		t.Fatalf("all that was written is %d bytes, so nothing was tested", size)
	}
	found := 0
	for name, text := range written {
		for _, needle := range needles(list) {
			if at := bytes.Index(text, []byte(needle.text)); at >= 0 {
				if found++; found < 20 {
					t.Errorf("%s survives in %s: …%.160q", needle.name, name, text[max(0, at-80):min(len(text), at+80)])
				}
			}
		}
	}
}

// bundleOf writes the evidence about some credential, and unpacks it.
func bundleOf(t *testing.T, run func(string, ...string), data, name string, written map[string][]byte) {
	t.Helper()
	type row struct {
		ID    string
		Calls uint64
	}
	var rows []row
	if err := json.Unmarshal(written["credentials standard output"], &rows); err != nil || len(rows) == 0 {
		t.Fatalf("no credentials: %v", err)
	}
	busiest := slices.MaxFunc(rows, func(a, b row) int { return cmp.Compare(a.Calls, b.Calls) })
	run("investigate", "investigate", "--data", data, "credential:"+busiest.ID, "--bundle", name)
	run("investigate markdown", "investigate", "--data", data, "credential:"+busiest.ID, "-o", "markdown")
	packed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if written["bundle"], err = z.DecodeAll(packed, nil); err != nil || len(written["bundle"]) < 10_000 {
		t.Fatalf("the bundle holds %d bytes: %v", len(written["bundle"]), err)
	}
}

// collectStore reads every text of every table, since files are compressed.
func collectStore(t *testing.T, dir string, written map[string][]byte) {
	t.Helper()
	e := enginetest.Start(t, engine.Config{Dir: filepath.Join(dir, storeDir)})
	conn, err := clickhouse.Open(t.Context(), clickhouse.Target{Socket: e.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	rows, err := conn.Query(ctx, "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND type LIKE '%String%' AND type NOT LIKE 'FixedString%'")
	if err != nil {
		t.Fatal(err)
	}
	var columns [][2]string
	for rows.Next() {
		var c [2]string
		if err := rows.Scan(&c[0], &c[1]); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, c)
	}
	rows.Close()
	if len(columns) < 30 {
		t.Fatalf("the store has %d text columns: %v", len(columns), columns)
	}
	for _, c := range columns {
		rows, err := conn.Query(ctx, "SELECT DISTINCT toString("+c[1]+") FROM "+c[0])
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		var all bytes.Buffer
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			all.WriteString(text + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		written["column "+c[0]+"."+c[1]] = all.Bytes()
	}
}

// needle is a stretch of a canary that must stand nowhere.
type needle struct{ name, text string }

// needles cuts canaries into stretches of 12 characters that are telling
// enough; one such stretch is already too much.
func needles(list []canary) (out []needle) {
	for _, c := range list {
		for _, line := range strings.Split(c.Secret, "\n") {
			if strings.HasPrefix(line, "-----") {
				continue
			}
			size := min(12, len(line))
			for i := 0; i+size <= len(line); i += size / 2 {
				if part := line[i : i+size]; telling(part) {
					out = append(out, needle{c.Name, part})
				}
			}
		}
	}
	return out
}

// telling leaves out what stands everywhere, such as rows of zeros.
func telling(s string) bool {
	different := map[rune]bool{}
	for _, r := range s {
		different[r] = true
	}
	return len(s) >= 6 && len(different) >= 6
}
