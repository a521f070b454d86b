package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const ownPreset = `name: my-gateway
title: our own gateway
kind: json
style: http
match: [[rt, code]]
missing: ["none"]
decision: http
reporter:
  default: gateway
  rules: [{field: side, prefix: in, is: server}]
fields:
  time: {from: rt, unit: ms}
  method: verb
  target: [raw, where]
  host: ["{zone}.{name}[.{suffix}]", fallback]
  status: code
  duration: {from: took, unit: us}
  tenant: {value: everybody}
credential:
  api_client: caller.name
not_a_call:
  - {why: probe, field: where, in: ["/healthz", "/readyz"]}
`

func writePreset(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "my.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOwnPreset(t *testing.T) {
	set, err := Presets(writePreset(t, ownPreset))
	if err != nil {
		t.Fatal(err)
	}
	if set.Names()[0] != "my-gateway" {
		t.Errorf("the user's preset is not tried first: %v", set.Names())
	}
	m, r, err := readText(t, Config{Presets: set}, `{"rt":1772359200123,"code":"200","verb":"get","where":"/a?b=c","zone":"EU","name":"orders","took":1500,"caller":{"name":"billing"},"side":"inbound"}
{"rt":1772359200124,"code":"403","verb":"GET","where":"/healthz","zone":"eu"}
{"rt":1772359200125.5,"code":"none","verb":"GET","where":"/a","fallback":"x","suffix":"y","took":"none"}
`)
	if err != nil || len(m.calls) != 2 || r.Inputs[0].NotACall["not_a_call:probe"] != 1 {
		t.Fatalf("%v, %d calls, %v", err, len(m.calls), r.Inputs[0].NotACall)
	}
	for i, want := range []string{
		`"time":"2026-03-01T10:00:00.123000Z"`, `"reporter":"server"`, `"kind":"api_key","id":"billing"`, `"method":"GET"`,
		`"host":"eu.orders"`, `"path":"/a","query_keys":["b"]`, `"duration_us":1500`, `"tenant":"everybody"`, `"type":"my-gateway"`,
	} {
		if got := jsonOf(t, &m.calls[0]); !strings.Contains(got, want) {
			t.Errorf("%d: %s lacks %s", i, got, want)
		}
	}
	if got := jsonOf(t, &m.calls[1]); !strings.Contains(got, `"host":"x"`) || !strings.Contains(got, `"time":"2026-03-01T10:00:00.125500Z"`) || strings.Contains(got, "duration") {
		t.Errorf("got %s", got)
	}
}

func TestOwnTextPreset(t *testing.T) {
	set, err := Presets(writePreset(t, `name: mine
title: mine
kind: text
style: http
lines:
  - {line: '{time:iso}|{client:ip}|{method:word}|{target}|{status:status}|{caller}', rest: any}
fields: {time: time, method: method, target: target, status: status, client: client}
credential: {api_client: caller}
decision: http
`))
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := readText(t, Config{Presets: set, Host: "orders"}, "2026-03-01T10:00:00Z|192.0.2.1|GET|/a?x=1|200|billing\n2026-03-01T10:00:01Z|-|GET|/a|200|billing\n2026-03-01T10:00:00Z|192.0.2.1|GET|/a|403|- more\n")
	if err != nil || len(m.calls) != 2 || m.skipped[reasonNoFormat] != 1 {
		t.Fatal(err, len(m.calls), m.skipped)
	}
	if c := &m.calls[0]; c.Host != "orders" || c.Credential.ID != "billing" || c.Path != "/a" || c.Decision.String() != "allowed" {
		t.Error(jsonOf(t, c))
	}
}

func TestBrokenPresets(t *testing.T) {
	replace := func(old, by string) string {
		if !strings.Contains(ownPreset, old) {
			t.Fatalf("the preset has no %q", old)
		}
		return strings.Replace(ownPreset, old, by, 1)
	}
	for _, c := range []struct{ text, want string }{
		{"name: [", `my.yaml:1: `},
		{replace("title:", "titel:"), `my.yaml:2: unknown field "titel"`},
		{replace("name: my-gateway", "name: My Gateway"), `name "My Gateway": write lower-case letters, digits and dashes`},
		{replace("name: my-gateway", "name: auto"), `name "auto" means something else`},
		{replace("kind: json", "kind: xml"), `kind "xml": write json or text`},
		{replace("kind: json", "kind: text"), "lines is missing"},
		{replace("style: http", "style: soap"), `style "soap": write http`},
		{replace("match: [[rt, code]]", "match: []"), "match is missing"},
		{replace("match: [[rt, code]]", "match: [[]]"), "match: set 1 is empty"},
		{replace("decision: http", "decision: maybe"), `decision "maybe": write http, cloudtrail or kubernetes`},
		{replace("  method: verb", "  methd: verb"), `did you mean method?`},
		{replace("  time: {from: rt, unit: ms}", "  host2: x"), "did you mean host?"},
		{replace("unit: ms", "unit: min"), `my.yaml:12: time: unit "min" is not known`},
		{replace("{from: rt, unit: ms}", "{form: rt, unit: ms}"), `my.yaml:12: unknown field "form"`},
		{replace("  time: {from: rt, unit: ms}\n", ""), "fields: time is missing"},
		{replace("  method: verb\n", ""), "fields: method or request is missing"},
		{replace("[raw, where]", "[]"), "target: say from where"},
		{replace("[raw, where]", `["a..b"]`), `path "a..b"`},
		{replace("[raw, where]", `["a[x]"]`), "open bracket"},
		{replace("[.{suffix}]", "[.{suffix}"), "optional group"},
		{replace("{zone}", "{zone"), "a { has no }"},
		{replace("{zone}", "{zone|upper}"), `filter "upper"`},
		{replace("why: probe", "why: Not Me"), "lower-case words"},
		{replace(`, in: ["/healthz", "/readyz"]`, ""), "field with in"},
		{replace("is: server", "is: mirror"), `reporter: "mirror" is no reporter`},
		{replace("api_client", "api_cleint"), "did you mean api_client?"},
		{ownPreset + "lines: [{line: '{a}{b}'}]\n", "two fields stand side by side"},
		{ownPreset + "lines: [{line: '{a:ipv4}'}]\n", `type "ipv4"`},
		{ownPreset + "lines: [{line: '{a'}]\n", "a { has no }"},
		{ownPreset + "lines: [{line: ''}]\n", "the form of a line is empty"},
		{ownPreset + "unit_id: {from: 'a['}\n", "unit_id"},
		{ownPreset + "stages: {field: 'a[', early: [x]}\n", "stages"},
	} {
		_, err := Presets(writePreset(t, c.text))
		if err == nil {
			t.Errorf("accepted, want %s:\n%s", c.want, c.text)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.want) || !strings.Contains(text, "my.yaml") || strings.Contains(text, "\n") {
			t.Errorf("got %s\nwant %s", text, c.want)
		}
	}
	if _, err := Presets(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "--format-file") {
		t.Errorf("a missing file gives %v", err)
	}
	same := writePreset(t, ownPreset)
	if _, err := Presets(same, same); err == nil || !strings.Contains(err.Error(), "two format files") {
		t.Errorf("the same name twice gives %v", err)
	}
}

// Every embedded preset says what it is and how to get what is missing.
func TestEmbeddedPresets(t *testing.T) {
	set, err := Presets()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"k8s-audit", "cloudtrail", "envoy", "envoy-text", "ingress-nginx", "nginx-proxy-manager", "nginx-json", "combined"}
	if got := strings.Join(set.Names(), " "); got != strings.Join(want, " ") {
		t.Errorf("got %s", got)
	}
	for _, p := range set.presets {
		if p.Title == "" || p.Recipe == "" {
			t.Errorf("%s has no title or no recipe", p.Name)
		}
	}
}

func FuzzPreset(f *testing.F) {
	f.Add([]byte(ownPreset))
	files, _ := filepath.Glob("presets/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePreset("x.yaml", data)
		if (p == nil) == (err == nil) {
			t.Fatal("neither preset nor error")
		}
	})
}
