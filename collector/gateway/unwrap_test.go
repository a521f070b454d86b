package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// TestCarriers puts lines into what shippers and exports wrap around them.
func TestCarriers(t *testing.T) {
	quoted := func(s string) string {
		text, _ := json.Marshal(s)
		return string(text)
	}
	envoy := func(path string) string {
		return fmt.Sprintf(`{"start_time":"2026-03-01T09:00:00.000Z","method":"GET","path":%q,"authority":"o.example.com","response_code":200}`, path)
	}
	combined := func(path string) string {
		return `192.0.2.1 - - [01/Mar/2026:09:00:00 +0000] "GET ` + path + ` HTTP/1.1" 200 5 "-" "curl"`
	}
	const origin = `"log":{"offset":17,"file":{"path":"/var/log/x.log"}}`
	for _, c := range []struct {
		name, text, paths string
		skipped           map[string]uint64
	}{
		{"filebeat, text", `{"@timestamp":"2026-03-01T09:00:01Z",` + origin + `,"message":` + quoted(combined("/a")) + `}`, "/a", nil},
		{"filebeat, json", `{"@timestamp":"2026-03-01T09:00:01Z","message":` + quoted(envoy("/a")) + `,` + origin + `}`, "/a", nil},
		{"filebeat, an ingest pipeline's original", `{"event":{"kind":"event","original":` + quoted(combined("/a")) + `},` + origin + `}`, "/a", nil},
		{"filebeat, decoded", `{"@timestamp":"2026-03-01T09:00:01Z","json":` + envoy("/a") + `}`, "/a", nil},
		{"fluent bit, merged", `{"date":1772355600.1,"log":` + envoy("/a") + `}`, "/a", nil},
		{"elasticsearch", `{"_index":"x","_source":{` + origin + `,"message":` + quoted(combined("/a")) + `}}`, "/a", nil},
		{"splunk's collector", `{"time":1772355600,"sourcetype":"x","event":` + envoy("/a") + `}`, "/a", nil},
		{"splunk's collector, text", `{"time":1772355600,"event":` + quoted(combined("/a")) + `}`, "/a", nil},
		{"a splunk export", `{"preview":false,"result":{"_raw":` + quoted(envoy("/a")) + `,"_time":"x"}}`, "/a", nil},
		{"azure, properties as text", `{"records":[{"time":"2026-03-01T09:00:01Z","properties":` + quoted(`{"log":`+quoted(envoy("/a"))+`}`) + `}]}`, "/a", nil},
		{"a subscription and its health check", `{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","timestamp":1772355600000,"message":` + quoted(envoy("/a")) + `}]}` +
			`{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","timestamp":1772355600000,"message":"CWL CONTROL MESSAGE: Checking health of destination."}]}`,
			"/a", map[string]uint64{reasonControl: 1}},
		{"lists without units", `{"kind":"EventList","items":null}` + "\n" + `{"Records":null}` + "\n" + `{"records":[]}` + "\n" + envoy("/a"), "/a", map[string]uint64{reasonEmpty: 3}},
		{"an application about itself", `{"level":"info","event":{"type":"start"},"properties":{"a":1}}` + "\n" + `{"level":"info","event":"started"}` + "\n" + envoy("/a"),
			"/a", map[string]uint64{reasonAppLog: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := readText(t, Config{}, c.text+"\n")
			if err != nil {
				t.Error(err)
			}
			if got := pathsOf(m); got != c.paths {
				t.Errorf("got calls %q, want %q", got, c.paths)
			}
			if len(m.skipped) != len(c.skipped) || !maps.Equal(m.skipped, c.skipped) && len(c.skipped) > 0 {
				t.Errorf("skipped %v, want %v", m.skipped, c.skipped)
			}
			for i := range m.calls {
				if at := m.calls[i].Time.Format("15:04:05"); !strings.HasPrefix(at, "09:00:00") {
					t.Errorf("the time is %s, not the line's own", at)
				}
			}
		})
	}
}

// TestWrongFormat names a format that the log does not have: the error says what
// of it is missing, also where the log could be an application's own.
func TestWrongFormat(t *testing.T) {
	audit := `{"kind":"Event","level":"Metadata","auditID":"11111111-aaaa-4bbb-8ccc-000000000001","stage":"ResponseComplete","verb":"get","requestURI":"/x"}` + "\n"
	for format, field := range map[string]string{"cloudtrail": "eventVersion", "envoy": "start_time"} {
		_, _, err := readText(t, Config{Format: format}, audit+audit)
		var mostly *UnreadableError
		if !errors.As(err, &mostly) || mostly.Format != format || mostly.Missing != field {
			t.Errorf("as %s: %v", format, err)
		}
	}
}

// TestStagesInTwoInputs reads the stages of a call from two inputs: of the same
// outcome they have one id, of others two.
func TestStagesInTwoInputs(t *testing.T) {
	idOf := func(stage string, code int) schema.CallID {
		m, _, err := readText(t, Config{}, auditEvent(1, stage, "watch", "pods", code))
		if err != nil || len(m.calls) != 1 {
			t.Fatalf("%d calls, %v", len(m.calls), err)
		}
		return m.calls[0].ID
	}
	if idOf("ResponseStarted", 200) != idOf("ResponseComplete", 200) {
		t.Error("a beginning and its end are two calls")
	}
	if idOf("ResponseStarted", 200) == idOf("Panic", 500) {
		t.Error("a panic stands for the beginning, or the other way round")
	}
}

// TestTunnels reads CONNECT with and without a target: where it leads is the
// host.
func TestTunnels(t *testing.T) {
	m, _, err := readText(t, Config{}, `{"start_time":"2026-03-01T09:00:00.000Z","method":"CONNECT","path":null,"authority":"db.example.com:443","response_code":200}
{"start_time":"2026-03-01T09:00:01.000Z","method":"CONNECT","authority":"db.example.com:443","response_code":200}
{"start_time":"2026-03-01T09:00:02.000Z","method":"CONNECT","path":"db.example.com:443","authority":"db.example.com:443","response_code":200}
{"start_time":"2026-03-01T09:00:03.000Z","method":"CONNECT","path":null,"authority":null,"response_code":400}
192.0.2.1 - - [01/Mar/2026:09:00:04 +0000] "CONNECT db.example.com:443 HTTP/1.1" 200 5 "-" "curl"
`)
	if err != nil || len(m.calls) != 4 || m.skipped[reasonNoRequest] != 1 {
		t.Fatalf("%d calls, want 4; skipped %v, %v", len(m.calls), m.skipped, err)
	}
	for i := range m.calls {
		if c := &m.calls[i]; c.Method != "CONNECT" || c.Host != "db.example.com:443" || c.Path != "" {
			t.Errorf("call %d: %s %q %q", i, c.Method, c.Host, c.Path)
		}
	}
}
