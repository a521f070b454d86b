package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/collector/redact/redacttest"
	"github.com/scopedrift/scopedrift/internal/corpus"
)

// survivor returns a stretch of the secret that is still in text, or "".
func survivor(secret, text string) string {
	for _, form := range []string{secret, strings.Trim(jsonText(secret), `"`)} {
		size := min(10, len(form))
		for i := 0; i+size <= len(form); i++ {
			if few(form[i : i+size]) {
				continue // zeros stand everywhere
			}
			if strings.Contains(text, form[i:i+size]) {
				return form[i : i+size]
			}
		}
	}
	return ""
}

func few(s string) bool {
	different := map[rune]bool{}
	for _, r := range s {
		different[r] = true
	}
	return len(different) < 4
}

func jsonText(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// forms are how a log writes text into a line.
var forms = map[string]func(string) string{
	"json":  func(s string) string { return strings.Trim(jsonText(s), `"`) },
	"nginx": func(s string) string { return strings.NewReplacer("\n", `\x0A`, `"`, `\x22`, `\`, `\x5C`).Replace(s) },
}

// plants are lines of every format with a place for a secret, by where a canary
// must be found: "free" for any text, "path" for a segment, "named" behind a name,
// "credential" where the log itself says that a credential stands, "name" where
// the name of somebody stands, which may look like anything.
var plants = []struct{ form, where, line string }{
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","user_agent":"x %s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"%s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","request_id":"%s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","traceparent":"%s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","x_tenant":"%s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","response_code_details":"rbac_access_denied %s"}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","api_client":"%s"}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"%s","azp":"c"}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"i","azp":"%s","sub":"s"}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"i","azp":"c","sub":"%s"}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"i","azp":"c","jti":"%s"}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"i","azp":"c","scope":["a","%s"]}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","jwt":{"iss":"i","azp":"c","act":{"sub":"%s"}}}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","downstream_peer_uri_san":"%s"}`},
	{"json", "name", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","downstream_peer_subject":"%s"}`},
	{"json", "free", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","unknown_field":"%s"}`},
	{"json", "credential", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","authorization":"Bearer %s"}`},
	{"json", "credential", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","x_api_key":"%s"}`},
	{"json", "credential", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a?access_token=%s","response_code":200,"authority":"h"}`},
	{"json", "credential", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a?page=%s","response_code":200,"authority":"h"}`},
	{"json", "path", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a/%s/b","response_code":200,"authority":"h"}`},
	{"json", "named", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a;password=%s","response_code":200,"authority":"h"}`},
	{"json", "named", `{"start_time":"2026-03-01T10:00:00Z","method":"GET","path":"/a","response_code":200,"authority":"h","user_agent":"t password=%s"}`},
	{"json", "name", `{"time":"2026-03-01T10:00:00Z","request_method":"GET","request_uri":"/a","status":"200","host":"h","remote_user":"%s"}`},
	{"json", "credential", `{"time":"2026-03-01T10:00:00Z","request_method":"GET","request_uri":"/a","status":"200","host":"h","http_cookie":"session=%s"}`},
	{"json", "name", `{"kind":"Event","auditID":"5b2c9d1e-7a3f-4c6b-9e8d-1f2a3b4c5d6e","stage":"ResponseComplete","verb":"get","requestURI":"/api/v1/namespaces/x/secrets/y","user":{"username":"%s"},"objectRef":{"resource":"secrets"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-03-01T10:00:00Z"}`},
	{"json", "free", `{"kind":"Event","auditID":"5b2c9d1e-7a3f-4c6b-9e8d-1f2a3b4c5d6e","stage":"ResponseComplete","verb":"get","requestURI":"/x","user":{"username":"u"},"objectRef":{"resource":"secrets","namespace":"%s","name":"%[1]s"},"annotations":{"authorization.k8s.io/reason":"%[1]s"},"requestObject":{"data":"%[1]s"},"responseStatus":{"code":200,"message":"%[1]s"},"requestReceivedTimestamp":"2026-03-01T10:00:00Z"}`},
	{"json", "path", `{"kind":"Event","auditID":"5b2c9d1e-7a3f-4c6b-9e8d-1f2a3b4c5d6e","stage":"ResponseComplete","verb":"get","requestURI":"/proxy/%s","user":{"username":"u"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-03-01T10:00:00Z"}`},
	{"json", "name", `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","userName":"%s","arn":"arn:aws:iam::1:user/%[1]s","sessionContext":{"sourceIdentity":"%[1]s"}},"eventTime":"2026-03-01T10:00:00Z","eventSource":"s3.amazonaws.com","eventName":"PutObject","userAgent":"[%[1]s]","requestParameters":{"bucketName":"b","key":"%[1]s"},"responseElements":{"credentials":{"sessionToken":"%[1]s"}},"errorMessage":"%[1]s"}`},
	{"nginx", "free", `192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "x %s"`},
	{"nginx", "name", `192.0.2.1 - %s [01/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "%[1]s" "x"`},
	{"nginx", "path", `192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET /a/%s HTTP/1.1" 200 5 "-" "x"`},
	{"nginx", "credential", `192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET /a?key=%s HTTP/1.1" 200 5 "-" "x"`},
	{"nginx", "free", `[2026-03-01T10:00:00.000Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 1 2 1 "-" "x %s" "%[1]s" "%[1]s" "10.0.0.9:80"`},
	{"nginx", "free", `a line of no format with %s in it`},
}

// applies reports whether a canary must be found in such a place.
func applies(c redacttest.Canary, where string) bool {
	switch where {
	case "free":
		return c.Place == "any" || c.Place == "text"
	case "path":
		return c.Place == "any" || c.Place == "path"
	case "name":
		// What has no form of its own cannot be told from a name.
		return (c.Place == "any" || c.Place == "text") && !strings.ContainsAny(c.Secret, " \n") &&
			!redact.NewScrubber(testKey()).Clean([]byte(c.Secret))
	case "named":
		return c.Place != "userinfo" && c.Place != "path"
	}
	return true
}

// No canary comes out of a call, an account, a dead letter or an error.
func TestCanaries(t *testing.T) {
	planted := 0
	for _, c := range redacttest.Canaries(t) {
		var text strings.Builder
		for _, p := range plants {
			if applies(c, p.where) {
				planted++
				secret := c.Secret
				if p.where == "path" || p.where == "credential" {
					secret = strings.NewReplacer("\n", "%0A", " ", "%20", `"`, "%22").Replace(secret)
				}
				fmt.Fprintf(&text, p.line+"\n", forms[p.form](secret))
			}
		}
		l := &printed{}
		m, r, err := readText(t, Config{DeadLetter: l}, text.String())
		for i := range m.calls {
			if s := survivor(c.Secret, jsonOf(t, &m.calls[i])); s != "" {
				t.Errorf("%s: %q survives in %s", c.Name, s, jsonOf(t, &m.calls[i]))
			}
		}
		all := fmt.Sprintf("%+v %v %s", r, err, l.text.String())
		if s := survivor(c.Secret, all); s != "" {
			t.Errorf("%s: %q survives in the account: %s", c.Name, s, all)
		}
	}
	t.Logf("%d secrets planted", planted)
}

// printed keeps all that a dead letter is told.
type printed struct{ text strings.Builder }

func (p *printed) Bad(input string, unit uint64, offset, length int64, reason string, digest [16]byte, shape string) {
	fmt.Fprintln(&p.text, input, unit, offset, length, reason, digest, shape)
}

// No needle that the corpus lists comes out of its file.
func TestCorpusCanaries(t *testing.T) {
	dir := corpus.Path(t)
	table, err := os.ReadFile(filepath.Join(dir, "CANARIES.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(table)) {
		field := strings.Split(line, "\t")
		if len(field) < 3 || !strings.HasPrefix(field[0], "access-logs/") && !strings.HasPrefix(field[0], "cloudtrail/") && !strings.HasPrefix(field[0], "k8s-audit/") {
			continue
		}
		n++
		m, _, _ := readFiles(t, Config{}, filepath.Join(dir, field[0]))
		for i := range m.calls {
			m.calls[i].Source.Name = ""
			if text := jsonOf(t, &m.calls[i]); strings.Contains(text, field[2]) {
				t.Errorf("%s: %s survives in %s", field[0], field[2], text)
			}
		}
	}
	if n == 0 {
		t.Error("no needle was looked for")
	}
}
