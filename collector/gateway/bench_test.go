package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/internal/spenttest"
)

// envoyLines makes n access-log lines of about 900 bytes, as a mesh of 20
// services and 40 clients writes them: fields vary as much as they do there.
func envoyLines(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	hex := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[r.IntN(16)]
		}
		return string(b)
	}
	jtis := make([]string, 40*8) // a token lives for many calls
	for i := range jtis {
		jtis[i] = hex(22)
	}
	for range n {
		at = at.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		service, client := r.IntN(20), r.IntN(40)
		path := []string{"/v1/orders/%d", "/v1/customers/%d/invoices", "/healthz/%d", "/v1/search?q=%d&limit=20"}[r.IntN(4)]
		fmt.Fprintf(&out, `{"authority":"service-%d.example.internal:8080","bytes_received":%d,"bytes_sent":%d,`+
			`"downstream_peer_uri_san":"spiffe://cluster.local/ns/shop/sa/client-%d","downstream_remote_address":"10.2.%d.%d:%d",`+
			`"duration":%d,"jwt":{"azp":"client-%d","exp":1772330000,"iss":"https://idp.example.com","jti":"%s","scope":"orders:read customers:read","sub":"client-%d"},`+
			`"method":"%s","path":"%s","request_id":"%s-%s-4%s-a%s-%s",`+
			`"response_code":%d,"response_code_details":"via_upstream","response_flags":"-","route_name":"default","start_time":"%s",`+
			`"traceparent":"00-%s-%s-01","upstream_cluster":"inbound|8080||","upstream_host":"10.1.%d.7:8080",`+
			`"upstream_service_time":"%d","user_agent":"client/%d.2 (linux; go1.26)","x_forwarded_for":null,"x_tenant":"tenant-%d"}`+"\n",
			service, r.IntN(4000), r.IntN(40000), client, client, r.IntN(8), 1024+r.IntN(60000), r.IntN(300), client, jtis[client*8+r.IntN(8)], client,
			[]string{"GET", "GET", "GET", "POST", "PUT"}[r.IntN(5)], fmt.Sprintf(path, r.IntN(50000)), hex(8), hex(4), hex(3), hex(3), hex(12),
			[]int{200, 200, 200, 201, 403, 404}[r.IntN(6)], at.Format("2006-01-02T15:04:05.000Z"), hex(32), hex(16), service, r.IntN(200), client%7, r.IntN(12))
	}
	return out.Bytes()
}

// envoyStruct are the fields that the preset reads, for encoding/json.
type envoyStruct struct {
	Authority     string  `json:"authority"`
	BytesReceived uint64  `json:"bytes_received"`
	BytesSent     uint64  `json:"bytes_sent"`
	Remote        string  `json:"downstream_remote_address"`
	URISAN        string  `json:"downstream_peer_uri_san"`
	Duration      uint64  `json:"duration"`
	Method        string  `json:"method"`
	Path          string  `json:"path"`
	RequestID     string  `json:"request_id"`
	ResponseCode  uint16  `json:"response_code"`
	Details       string  `json:"response_code_details"`
	Start         string  `json:"start_time"`
	Traceparent   string  `json:"traceparent"`
	Cluster       string  `json:"upstream_cluster"`
	UserAgent     string  `json:"user_agent"`
	Forwarded     *string `json:"x_forwarded_for"`
	Tenant        string  `json:"x_tenant"`
	JWT           struct {
		Issuer  string `json:"iss"`
		Party   string `json:"azp"`
		Subject string `json:"sub"`
		ID      string `json:"jti"`
		Scope   string `json:"scope"`
		Expires int64  `json:"exp"`
	} `json:"jwt"`
}

const benchLines = 20_000

// BenchmarkEnvoyJSON is redacted, identified calls with ids, out of lines of
// about 900 bytes; BenchmarkEnvoyEncodingJSON is the decoding of the same lines
// with encoding/json and nothing else. Compare their lines/s.
func BenchmarkEnvoyJSON(b *testing.B) {
	data := envoyLines(benchLines)
	g, err := New(Config{Key: redact.NewKey([32]byte{1})})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := spenttest.Own(b)
	for b.Loop() {
		g.cfg.Stdin = bytes.NewReader(data)
		r, err := g.Run(context.Background(), []string{"-"}, discard{})
		if err != nil || r.Calls() != benchLines {
			b.Fatal(r.Calls(), err)
		}
	}
	perLine(b, before, len(data))
}

func BenchmarkEnvoyEncodingJSON(b *testing.B) {
	data := envoyLines(benchLines)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := spenttest.Own(b)
	for b.Loop() {
		n := 0
		for line := range bytes.Lines(data) {
			var e envoyStruct
			if err := json.Unmarshal(line, &e); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != benchLines {
			b.Fatal(n)
		}
	}
	perLine(b, before, len(data))
}

// perLine reports CPU seconds, which a busy machine does not change much.
func perLine(b *testing.B, before time.Duration, bytes int) {
	lines := float64(b.N) * benchLines
	b.ReportMetric((spenttest.Own(b)-before).Seconds()/lines*1e5, "cpu-s/100k-lines")
	b.ReportMetric(float64(bytes)/benchLines, "B/line")
}

// BenchmarkScanner is the trie scanner alone.
func BenchmarkScanner(b *testing.B) {
	data := envoyLines(benchLines)
	set, err := Presets()
	if err != nil {
		b.Fatal(err)
	}
	f, err := compile(set.presets, "")
	if err != nil {
		b.Fatal(err)
	}
	s := newScanner(f.trie)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := spenttest.Own(b)
	for b.Loop() {
		fr := newFramer(bytes.NewReader(data))
		for {
			if _, ok := fr.next(s); !ok {
				break
			}
		}
	}
	perLine(b, before, len(data))
}

// BenchmarkPresets is what a command pays before it reads anything.
func BenchmarkPresets(b *testing.B) {
	for b.Loop() {
		if _, err := Presets(); err != nil {
			b.Fatal(err)
		}
	}
}
