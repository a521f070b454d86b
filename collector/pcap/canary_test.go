package pcap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/redact/redacttest"
	"github.com/scopedrift/scopedrift/internal/corpus"
)

// positions are where a secret may stand in a conversation. %s is the secret.
var positions = []struct{ name, request, answer string }{
	{"bearer", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", ""},
	{"unknown scheme", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Turbo %s\r\n\r\n", ""},
	{"bare authorization", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n", ""},
	{"proxy authorization", "GET /a HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic %s\r\n\r\n", ""},
	{"api key header", "GET /a HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n\r\n", ""},
	{"session cookie", "GET /a HTTP/1.1\r\nHost: a\r\nCookie: a=b; session_id=%s\r\n\r\n", ""},
	{"any cookie", "GET /a HTTP/1.1\r\nHost: a\r\nCookie: lang=%s\r\n\r\n", ""},
	{"any header", "GET /a HTTP/1.1\r\nHost: a\r\nX-Whatever: %s\r\n\r\n", ""},
	{"query value", "GET /a?page=%s HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"query token", "GET /a?access_token=%s&b=c HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"query name", "GET /a?%s HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"fragment", "GET /a#%s HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"path segment", "GET /a/%s/b HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"path parameter", "GET /a;jsessionid=%s HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"path password", "GET /a/password=%s HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"userinfo of target", "GET http://user:%s@a/x HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	{"userinfo of host", "GET /x HTTP/1.1\r\nHost: user:%s@a\r\n\r\n", ""},
	{"user agent", "GET /x HTTP/1.1\r\nHost: a\r\nUser-Agent: tool token=%s\r\n\r\n", ""},
	{"request id", "GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: Bearer %s\r\n\r\n", ""},
	{"tenant", "GET /x HTTP/1.1\r\nHost: a\r\nX-Tenant: token=%s\r\n\r\n", ""},
	{"request body", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400;x=%[1]s\r\n%[1]s", ""},
	{"second request in a broken one", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\nGET /y HTTP/1.1\r\nAuthorization: %s\r\n\r\n", ""},
	{"head cut", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s", ""},
	{"set-cookie", q1, "HTTP/1.1 200 OK\r\nSet-Cookie: session=%s\r\nContent-Length: 0\r\n\r\n"},
	{"location", q1, "HTTP/1.1 302 Go\r\nLocation: https://b/cb?code=%s\r\nContent-Length: 0\r\n\r\n"},
	{"answer body", q1, "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"%s\"}"},
	{"reason", q1, "HTTP/1.1 200 %s\r\nContent-Length: 0\r\n\r\n"},
	{"not http at all", "LOGIN user %s\r\n", "OK\r\n"},
}

// bare are the positions in which nothing tells that a secret follows: there only
// those are found that tell themselves.
var bare = map[string]bool{"query name": true, "path segment": true}

func TestNoSecretComesOut(t *testing.T) {
	for _, p := range positions {
		t.Run(p.name, func(t *testing.T) {
			for _, c := range redacttest.Canaries(t) {
				if bare[p.name] && c.Place != "any" && c.Place != "path" {
					continue
				}
				secret, request, answer := c.Secret, p.request, p.answer
				if strings.Contains(request, "%") {
					request = fmt.Sprintf(request, secret)
				}
				if answer == "" {
					answer = a1
				} else if strings.Contains(answer, "%") {
					answer = fmt.Sprintf(answer, secret)
				}
				for _, mss := range []int{1448, 40} {
					sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, script{request, answer}.frames(mss))))
					leaks(t, secret, sink, stats)
				}
			}
		})
	}
}

// TestNoSecretComesOutOfHTTP2 puts secrets into every field, body and trailer,
// whole, joined late and with losses.
func TestNoSecretComesOutOfHTTP2(t *testing.T) {
	fields := []string{"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "x-whatever", "user-agent", "x-request-id", "x-tenant",
		"traceparent", "grpc-status", "content-type", "x-forwarded-client-cert", "referer", "te", "location", "set-cookie", "grpc-message", "content-encoding"}
	for _, c := range redacttest.Canaries(t) {
		if c.Place != "any" && c.Place != "path" {
			continue
		}
		for _, where := range append([]string{"path", "query", "authority", "method", "scheme", "request", "request json", "graphql", "tool", "answer", "token", "goaway", "trailers"}, fields...) {
			q, a := newSide2(), newSide2()
			request, body, answer := post("/a", "content-type", "application/json"), "{}", `{"data":{}}`
			switch secret := c.Secret; where {
			case "path":
				request[7] = "/a/" + secret
			case "query":
				request[7] = "/a?access_token=" + secret
			case "authority":
				request[5] = "user:" + secret + "@a"
			case "method":
				request[1] = secret
			case "scheme":
				request[3] = secret
			case "request":
				body = secret
			case "request json":
				body = `{"jsonrpc":"2.0","method":"m","params":{"password":"` + secret + `"}}`
			case "graphql":
				body = `{"query":"query ` + secret + ` { a }"}`
			case "tool":
				body = `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"` + secret + `"}}`
			case "answer":
				answer = `{"data":"` + secret + `"}`
			case "token":
				request[7], answer = "/token", `{"access_token":"`+secret+`","token_type":"bearer"}`
			case "goaway", "trailers":
			default:
				value := secret
				if where == "user-agent" || where == "x-request-id" || where == "x-tenant" {
					value = "token=" + secret // a name there is no secret by itself
				}
				request = append(request, where, value)
			}
			q.head(1, false, request...).frame(frameData, 0, 1, []byte(body)).head(1, true, "x-trailer", c.Secret)
			a.head(1, false, ":status", "200", "content-type", "application/json", "location", "/x?code="+c.Secret, "set-cookie", c.Secret, "x-any", c.Secret)
			a.frame(frameData, 0, 1, []byte(answer)).head(1, true, "grpc-message", c.Secret, "grpc-status", c.Secret).frame(frameGoAway, 0, 0, append(make([]byte, 8), c.Secret...))
			frames := script{hello2 + q.turn(), a.turn()}.frames(700)
			for _, part := range [][]frame{frames, frames[min(3, len(frames)):], append(firstFrames(frames, 4), frames[5:]...)} {
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, part)))
				if n := len(sink.calls); n == 0 && len(part) == len(frames) {
					t.Fatalf("no call with a secret as %s", where)
				}
				leaks(t, c.Secret, sink, stats)
				if t.Failed() {
					t.Fatalf("as %s", where)
				}
			}
		}
	}
}

// firstFrames returns a copy of the first n frames.
func firstFrames(frames []frame, n int) []frame { return append([]frame(nil), frames[:n]...) }

// leaks fails the test if secret, or a long part of it, stands in what came out.
func leaks(t *testing.T, secret string, sink *collected, stats Stats) {
	t.Helper()
	for _, v := range []any{sink.calls, stats} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(secret)) || bytes.Contains(text, bytes.Trim(written, `"`)) {
			t.Errorf("a secret came out: %.12s… in %s", secret, text)
		}
	}
}

func TestCorpusSecretsStayIn(t *testing.T) {
	dir := corpus.Path(t)
	needles := 0
	for _, row := range corpus.Lines(t, corpus.Path(t, "CANARIES.tsv")) {
		field := strings.Split(string(row), "\t")
		if len(field) < 3 || !strings.HasPrefix(field[0], "pcap/") {
			continue
		}
		needles++
		f, err := os.Open(filepath.Join(dir, field[0]))
		if err != nil {
			t.Fatal(err)
		}
		sink, stats := read(t, Config{}, f)
		_ = f.Close()
		leaks(t, field[2], sink, stats)
	}
	if needles < 10 {
		t.Errorf("%d needles for captures, want at least 10", needles)
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	secret := redacttest.Canaries(t)[0].Secret
	for _, text := range []string{secret, "\xd4\xc3\xb2\xa1" + secret, string(writePcap(linkEthernet, nil)) + secret + strings.Repeat(secret, 3)} {
		_, err := New(Config{Key: testKey}).Run(context.Background(), strings.NewReader(text), collector.Input{Name: "x"}, &collected{})
		if err != nil && strings.Contains(err.Error(), secret[:16]) {
			t.Errorf("an error quotes the file: %v", err)
		}
	}
}
