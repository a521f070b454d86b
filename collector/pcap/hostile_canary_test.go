package pcap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/collector/redact/redacttest"
)

// oddPositions are where a secret stands as no honest client puts it. In those that
// are bare nothing tells that one follows: there only those are found that tell
// themselves.
var oddPositions = []struct {
	name, request, answer string
	bare                  bool
	// named says that it is the place of a name: names may be noise, so there only
	// those are found that surely are none.
	named bool
}{
	{"folded authorization", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\n\t%s\r\n\r\n", "", false, false},
	{"folded api key", "GET /a HTTP/1.1\r\nHost: a\r\nX-API-Key:\r\n %s\r\n\r\n", "", false, false},
	{"folded user agent", "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: tool\r\n token=%s\r\n\r\n", "", false, false},
	{"folded request id", "GET /a HTTP/1.1\r\nHost: a\r\nX-Request-Id: Bearer\r\n %s\r\n\r\n", "", false, false},
	{"behind NUL", "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: tool\x00token=%s\r\n\r\n", "", false, false},
	{"behind NUL in the target", "GET /a\x00?token=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"behind CR", "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: tool\rAuthorization: Bearer %s\r\n\r\n", "", false, false},
	{"behind LF", "GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: tool\nAuthorization: Bearer %s\r\n\r\n", "", false, false},
	{"second authorization", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake\r\nAuthorization: Bearer %s\r\n\r\n", "", false, false},
	{"second cookie header", "GET /a HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: session=%s\r\n\r\n", "", false, false},
	{"second host", "GET /a HTTP/1.1\r\nHost: a\r\nHost: user:%s@b\r\n\r\n", "", false, false},
	{"host", "GET /a HTTP/1.1\r\nHost: %s\r\n\r\n", "", true, false},
	{"port", "GET /a HTTP/1.1\r\nHost: a:%s\r\n\r\n", "", true, false},
	{"trailer", "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer %s\r\nUser-Agent: token=%[1]s\r\n\r\n", "", false, false},
	{"trailer of the answer", q1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSet-Cookie: s=%s\r\nLocation: /?code=%[1]s\r\n\r\n", false, false},
	{"encoded name in the query", "GET /a?%%61ccess_token=%s&to%%6ben=%[1]s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"name encoded twice", "GET /a?access%%255ftoken=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"name with brackets", "GET /a?token[0]=%s&user%%5Bpassword%%5D=%[1]s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"behind a semicolon", "GET /a?x=y;access_token=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"behind an encoded question mark", "GET /a%%3Faccess_token=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"behind a second question mark", "GET /a?b?access_token=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"fragment with a name", "GET /a#access_token=%s&x=y HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"query name of its own", "GET /a?b=c&%s=1 HTTP/1.1\r\nHost: a\r\n\r\n", "", true, false},
	{"user of an absolute target", "GET http://%s@a.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "", true, false},
	{"password of an absolute target in capitals", "GET HTTP://user:%s@a.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"password of a target without scheme", "GET //user:%s@a.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"password of another scheme", "GET ftp://user:%s@a.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"password of CONNECT", "CONNECT user:%s@a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", false, false},
	{"host of CONNECT", "CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", true, false},
	{"password in a target with blanks", "GET /a b?token=%s HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"method", "%s / HTTP/1.1\r\nHost: a\r\n\r\n", "", true, false},
	{"HTTP/0.9", "GET /a?token=%s\r\n", "", false, false},
	{"upgrade", "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: %s\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: %s\r\n\r\n\x81\x7f%[1]s", false, false},
	{"behind an upgrade", "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nGET /?token=%s HTTP/1.1\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n%s", false, false},
	{"PROXY", "PROXY TCP4 %s 192.0.2.1 1 2\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"interim answer", q1, "HTTP/1.1 103 Hints\r\nLink: </?token=%s>\r\n\r\n" + a1, false, false},
	{"GraphQL", "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"query\":\"mutation Login { login(password: \\\"%s\\\") { token } }\",\"variables\":{\"token\":\"%[1]s\"},\"operationName\":\"Login\"}", "", false, false},
	{"GraphQL name", "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"operationName\":\"%s\",\"query\":\"query %[1]s { a }\"}", "", true, false},
	{"JSON-RPC", "POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"login\",\"id\":\"%s\",\"params\":[\"%[1]s\",{\"token\":\"%[1]s\"}]}", "", false, false},
	{"MCP", "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"get\",\"arguments\":{\"token\":\"%s\"},\"_meta\":{\"progressToken\":\"%[1]s\"}}}", "", false, false},
	{"client certificate", "GET /a HTTP/1.1\r\nHost: a\r\nClient-Cert: :%s:\r\nX-SSL-Client-Cert: %[1]s\r\n\r\n", "", false, false},
	{"subject of a client certificate", "GET /a HTTP/1.1\r\nHost: a\r\nX-SSL-Client-DN: CN=%s\r\n\r\n", "", true, true},
	{"subject in a forwarded certificate", "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: Subject=\"CN=%s\"\r\n\r\n", "", true, true},
	{"name in a forwarded certificate", "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: By=spiffe://a/%s;URI=spiffe://a/%[1]s,URI=spiffe://b/%[1]s\r\n\r\n", "", true, true},
	{"header that nobody knows", "GET /a HTTP/1.1\r\nHost: a\r\nX-Acme-Token: %s\r\nSignature: %[1]s\r\n\r\n", "", false, false},
	{"NTLM", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM %s\r\n\r\n", "", false, false},
	{"Negotiate with a tab", "GET /a HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Negotiate\t%s\r\n\r\n", "", false, false},
	{"account of a shared key", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: SharedKey %s:sig\r\n\r\n", "", true, false},
	{"signature of a shared key", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: SharedKey account:%s\r\n\r\n", "", false, false},
	{"user of an HMAC", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: hmac username=\"%s\", signature=\"%[1]s\"\r\n\r\n", "", true, true},
	{"user of Digest", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Digest username=\"%s\", realm=\"%[1]s\", response=\"%[1]s\"\r\n\r\n", "", true, true},
	{"nonce of Digest", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Digest username=\"ann\", nonce=\"%s\", response=\"%[1]s\"\r\n\r\n", "", false, false},
	{"key id of AWS", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/d/r/s/aws4_request, Signature=%[1]s\r\n\r\n", "", true, true},
	{"key id of AWS in the query", "GET /a?X-Amz-Credential=%s%%2Fd%%2Fr&X-Amz-Signature=%[1]s&X-Amz-Security-Token=%[1]s HTTP/1.1\r\nHost: a\r\n\r\n", "", true, true},
	{"shared access signature", "GET /a?sv=2026-01-01&sig=%s&se=2027 HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"scheme that nobody knows", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Turbo %s\r\n\r\n", "", false, false},
	{"scheme itself", "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: %s x\r\n\r\n", "", false, false},
	{"traces", "GET /a HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%s-01\r\nx-b3-traceid: %[1]s\r\n\r\n", "", false, false},
	{"GraphQL in the query", "GET /graphql?query=query+%s%%7Ba%%7D&operationName=%[1]s HTTP/1.1\r\nHost: a\r\n\r\n", "", true, false},
	{"variables of GraphQL in the query", "GET /graphql?query=query+A%%7Ba(p:%%22%s%%22)%%7D&variables=%%7B%%22token%%22:%%22%[1]s%%22%%7D HTTP/1.1\r\nHost: a\r\n\r\n", "", false, false},
	{"several calls", "POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n[{\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"token\":\"%s\"}},{\"jsonrpc\":\"2.0\",\"method\":\"login\",\"id\":\"%[1]s\"}]", "", false, false},
	{"several methods", "POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n[{\"jsonrpc\":\"2.0\",\"method\":\"%s\"},{\"jsonrpc\":\"2.0\",\"method\":\"%[1]s\"}]", "", true, false},
	{"name of a member", "POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"%s\":1,\"params\":{\"%[1]s\":2}}", "", false, false},
	{"token answer", "POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n\r\ngrant_type=password&password=%s", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"access_token\":\"%s\",\"refresh_token\":\"%[1]s\",\"token_type\":\"%[1]s\"}", false, false},
}

// TestNoSecretComesOutOfOddPlaces puts secrets there, whole, cut by the snap length at
// every place, in fragments, and with an urgent byte in their middle.
func TestNoSecretComesOutOfOddPlaces(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for k, p := range oddPositions {
		t.Run(p.name, func(t *testing.T) {
			for i, c := range redacttest.Canaries(t) {
				if (i+k)%4 != 0 {
					continue // each of them meets many places
				}
				if p.named && redact.NewScrubber(nil).Clean([]byte(c.Secret)) {
					continue
				}
				if p.bare && c.Place != "any" || strings.Contains(c.Secret, "\n") || strings.ContainsAny(c.Secret, "%$@") {
					continue
				}
				request, answer := filled(p.request, c.Secret), filled(p.answer, c.Secret)
				if answer == "" {
					answer = a1
				}
				if n := strings.Index(request, "\r\n\r\n"); strings.Contains(request, "Content-Length: 4000") {
					request = strings.Replace(request, "4000", fmt.Sprint(len(request)-n-4), 1)
				}
				frames := script{request, answer, q2, a2}.frames(1448)
				captures := [][]frame{frames, script{request, answer}.frames(13)}
				if i%3 == 0 {
					for n := 60; n < 54+len(request); n += 3 {
						captures = append(captures, snap(frames, n))
					}
					captures = append(captures, everyIP(frames, func(ip []byte) [][]byte { return fragments(rng, ip) }), urgent(frames, c.Secret))
				}
				for _, f := range captures {
					sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, f)))
					leaks(t, c.Secret, sink, stats)
					if c.Place == "any" {
						leaksInPart(t, c.Secret, sink, stats)
					}
				}
				if t.Failed() {
					t.Fatalf("%s", c.Name)
				}
			}
		})
	}
}

func filled(text, secret string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	return fmt.Sprintf(text, secret)
}

// urgent puts an urgent byte into the middle of a secret.
func urgent(frames []frame, secret string) []frame {
	var out []frame
	for _, f := range frames {
		b := bytes.Clone(f.data)
		if at := bytes.Index(b, []byte(secret)); at > 0 {
			middle := at + len(secret)/2
			b[middle] = '!'
			b[transport(b)+13] |= 0x20
			b[transport(b)+19] = byte(middle - transport(b) - 20 + 1)
		}
		out = append(out, frame{f.nanos, b})
	}
	return out
}

// leaksInPart fails the test if a long part of a secret stands in what came out: of
// one that is cut, what is left must not.
func leaksInPart(t *testing.T, secret string, sink *collected, stats Stats) {
	t.Helper()
	const long = 20
	text, err := json.Marshal([]any{sink.calls, stats})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+long <= len(secret); i++ {
		if bytes.Contains(text, []byte(secret[i:i+long])) {
			t.Errorf("a part of a secret came out: %s in %s", secret[i:i+long], text)
			return
		}
	}
}

// TestNoSecretComesOutOfOddHTTP2 puts secrets into promises, pieces of cookies, fields
// that are never indexed, blocks that are cut.
func TestNoSecretComesOutOfOddHTTP2(t *testing.T) {
	settings := frame2(frameSettings, 0, 0, nil)
	for _, c := range redacttest.Canaries(t) {
		if c.Place != "any" || len(c.Secret) > 120 {
			continue
		}
		never := func(name, value string) []byte { b := literal(name, value); b[0] = 0x10; return b }
		secret := c.Secret
		half := len(secret) / 2
		promise := blocks([]byte{0, 0, 0, 2}, []byte{0x82, 0x86}, literal(":path", "/p/"+secret), literal(":authority", "a"), literal("authorization", "Bearer "+secret))
		request := blocks(asks(1), never("authorization", "Bearer "+secret), never("x-api-key", secret), literal("cookie", "a=b"), literal("cookie", "session="+secret), literal("cookie", secret[:half]), literal("cookie", secret[half:]),
			literal("user-agent", "token="+secret), literal("host", "user:"+secret+"@b"))
		for _, cut := range []int{len(request), len(request) / 2, len(request) / 3, 60, 90} {
			cut = min(cut, len(request))
			q := blocks([]byte(hello2), settings, frame2(frameHeaders, flagEndStream, 1, request[:cut/2]), frame2(frameContinuation, flagEndHeaders, 1, request[cut/2:cut]))
			a := blocks(settings, frame2(framePushPromise, flagEndHeaders, 1, promise), frame2(frameHeaders, flagEndHeaders|flagEndStream, 2, blocks([]byte{0x88}, literal("location", "/?code="+secret))),
				frame2(frameHeaders, flagEndHeaders, 1, blocks([]byte{0x88}, literal("set-cookie", secret))), frame2(frameHeaders, flagEndHeaders|flagEndStream, 1, blocks(literal("grpc-status", secret), literal("x", secret))))
			frames := script{string(q), string(a)}.frames(1448)
			for _, f := range [][]frame{frames, script{string(q), string(a)}.frames(50), frames[3:], snap(frames, 200), urgent(frames, secret)} {
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, f)))
				leaks(t, secret, sink, stats)
				leaksInPart(t, secret, sink, stats)
			}
		}
		if t.Failed() {
			t.Fatal(c.Name)
		}
	}
}
