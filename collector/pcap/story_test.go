package pcap

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/schema"
)

// told is one call of a story.
type told struct {
	client, scope, method, path, tenant, agent string
	status                                     int
}

// token is the JWT that the caller shows.
func (s *told) token(t *testing.T) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	claims := map[string]any{"iss": "https://idp.example", "azp": s.client, "sub": "service-" + s.client, "scope": s.scope, "jti": "token-of-" + s.client}
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(claims) + ".fake-signature-00"
}

// TestCaptureAndLogTellTheSameStory makes the same calls as packets, of both
// versions of HTTP, and as the access log of a gateway that verified the tokens.
func TestCaptureAndLogTellTheSameStory(t *testing.T) {
	var story []told
	for i := range 60 {
		story = append(story, told{
			client: fmt.Sprintf("client-%d", i%4), scope: [...]string{"orders:read", "orders:read orders:write"}[i%2],
			method: [...]string{"GET", "DELETE", "PUT"}[i%3], path: fmt.Sprintf("/v1/orders/%d?expand=lines", i),
			tenant: [...]string{"acme", "globex"}[i%2], agent: "sdk/1.2", status: [...]int{200, 201, 204, 403, 404, 401, 429, 500}[i%8],
		})
	}
	var h1 script
	q, a := newSide2(), newSide2()
	h2 := script{}
	var log bytes.Buffer
	for i, s := range story {
		h1 = append(h1, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: orders.example\r\nAuthorization: Bearer %s\r\nX-Tenant: %s\r\nUser-Agent: %s\r\n\r\n", s.method, s.path, s.token(t), s.tenant, s.agent),
			fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", s.status))
		id := uint32(2*i + 1)
		q.head(id, true, ":method", s.method, ":scheme", "http", ":authority", "orders.example", ":path", s.path, "authorization", "Bearer "+s.token(t), "x-tenant", s.tenant, "user-agent", s.agent)
		a.head(id, true, ":status", fmt.Sprint(s.status))
		turn := q.turn()
		if i == 0 {
			turn = hello2 + turn
		}
		h2 = append(h2, turn, a.turn())
		line, err := json.Marshal(map[string]any{
			"start_time": "2026-01-02T03:04:05.000Z", "method": s.method, "path": s.path, "protocol": "HTTP/1.1", "response_code": s.status,
			"authority": "orders.example", "user_agent": s.agent, "x_tenant": s.tenant, "bytes_received": 0, "bytes_sent": 0, "duration": 1,
			"jwt_iss": "https://idp.example", "jwt_azp": s.client, "jwt_sub": "service-" + s.client, "jwt_scope": s.scope, "jwt_jti": "token-of-" + s.client,
		})
		if err != nil {
			t.Fatal(err)
		}
		log.Write(append(line, '\n'))
	}
	file := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(file, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := gateway.New(gateway.Config{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	var logged collected
	if _, err := reader.Run(context.Background(), []string{file}, &logged); err != nil {
		t.Fatal(err)
	}
	summary := func(calls []schema.Call) []string {
		var out []string
		for i := range calls {
			c := calls[i]
			c.Credential.Verified = false // the gateway verified it, a bystander cannot
			out = append(out, fmt.Sprintf("%s %s%s %v %d %s %+v %v %s %s", c.Method, c.Host, c.Path, c.QueryKeys, c.Status, c.Decision, c.Credential, c.Scopes, c.Tenant, c.UserAgent))
		}
		slices.Sort(out)
		return out
	}
	want := summary(logged.calls)
	if len(want) != len(story) {
		t.Fatalf("the log gave %d calls, want %d", len(want), len(story))
	}
	for name, s := range map[string]script{"http1": h1, "http2": h2} {
		sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
		got := summary(sink.calls)
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%s: captured %s\nlogged %s", name, got[i], want[i])
					break
				}
			}
			t.Errorf("%s: %d calls captured, %d logged", name, len(got), len(want))
		}
	}
}
