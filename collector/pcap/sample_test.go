package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

func zip(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func text64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// asked is a POST of a body, and its answer.
func asked(path, media, body, answerMedia, answer string) script {
	if answerMedia != "" {
		answerMedia = "Content-Type: " + answerMedia + "\r\n"
	}
	return script{
		fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, media, len(body), body),
		fmt.Sprintf("HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", answerMedia, len(answer), answer),
	}
}

func TestBodiesNameOperations(t *testing.T) {
	const js = "application/json"
	allowed := `{"data":{"order":{"id":1}}}`
	long := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		name, media, body, answerMedia, answer string
		operation                              string
		decision                               schema.Decision
	}{
		{"graphql", js, `{"operationName":"Orders","query":"query Orders($n: Int = 3) {\n orders(first: $n) { id } }","variables":{"n":1}}`, js, allowed, "query Orders", schema.DecisionAllowed},
		{"graphql, its only operation", js, `{"query":"# a comment { \nmutation Refund { refund(id: \"}\") { ok } }"}`, js + "; charset=utf-8", allowed, "mutation Refund", schema.DecisionAllowed},
		{"graphql, one of two", js, `{"query":"query A { a } query B { b } fragment F on T { x }","operationName":"B"}`, js, allowed, "query B", schema.DecisionAllowed},
		{"graphql, two and no word", js, `{"query":"query A { a } query B { b }"}`, js, allowed, "", schema.DecisionAllowed},
		{"graphql, not in the document", js, `{"query":"query A { a }","operationName":"C"}`, js, allowed, "", schema.DecisionAllowed},
		{"graphql without a name", js, `{"query":"{ orders { id } }"}`, js, allowed, "", schema.DecisionAllowed},
		{"graphql, names said twice", js, `{"operationName":"A","query":"query A { a } query B { b }","operationName":"B"}`, js, allowed, "", schema.DecisionAllowed},
		{"graphql denied", js, `{"query":"query A { a }"}`, js, `{"data":null,"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}},{"extensions":{"code":"FORBIDDEN"}}]}`, "query A", schema.DecisionDenied},
		{"graphql, errors disagree", js, `{"query":"query A { a }"}`, js, `{"errors":[{"extensions":{"code":"FORBIDDEN"}},{"extensions":{"code":"NOT_FOUND"}}]}`, "query A", schema.DecisionUnknown},
		{"graphql, data and errors", js, `{"query":"query A { a b }"}`, js, `{"data":{"a":1,"b":null},"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "query A", schema.DecisionUnknown},
		{"graphql, no errors", js, `{"query":"query A { a }"}`, "application/graphql-response+json", `{"errors":[ ],"data":{"a":1}}`, "query A", schema.DecisionAllowed},
		{"graphql, answer too long", js, `{"query":"query A { a }"}`, js, `{"data":"` + long + `"}`, "query A", schema.DecisionUnknown},
		{"graphql document", "application/graphql", "query A { a }", js, allowed, "query A", schema.DecisionAllowed},
		{"a search is none", js, `{"query":"red shoes"}`, js, `{"hits":[]}`, "", schema.DecisionAllowed},
		{"json-rpc", js, `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}`, js, `{"jsonrpc":"2.0","id":1,"result":"0x"}`, "eth_call", schema.DecisionAllowed},
		{"json-rpc error", js, `{"jsonrpc":"2.0","id":1,"method":"eth_call"}`, js, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}`, "eth_call", schema.DecisionUnknown},
		{"json-rpc internal error", js, `{"jsonrpc":"2.0","id":1,"method":"a.b"}`, js, `{"error":{"code":-32603}}`, "a.b", schema.DecisionError},
		{"json-rpc, several at once", js, `[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"method":"b"}]`, js, `[{"id":1,"result":1},{"id":2,"result":2}]`, "", schema.DecisionAllowed},
		{"json-rpc, several, one failed", js, `[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","id":2,"method":"b"}]`, js, `[{"id":1,"result":1},{"id":2,"error":{"code":-32000}}]`, "", schema.DecisionUnknown},
		{"json-rpc, several, no answer", js, `[{"jsonrpc":"2.0","id":1,"method":"a"}]`, js, `[]`, "a", schema.DecisionUnknown},
		{"json-rpc, several of one method", js, `[{"jsonrpc":"2.0","id":1,"method":"a"} , {"jsonrpc":"2.0","id":2,"method":"a"}]`, js, `[{"result":1},{"result":2}]`, "a", schema.DecisionAllowed},
		{"json-rpc, several in several", js, `[{"jsonrpc":"2.0","id":1,"method":"a"}]`, js, `[[{"result":1}]]`, "a", schema.DecisionUnknown},
		{"json-rpc, method in escapes", js, `{"jsonrpc":"2.0","meth\u006fd":"drop","id":1}`, js, `{"result":1}`, "drop", schema.DecisionAllowed},
		{"json-rpc, method again in escapes", js, `{"jsonrpc":"2.0","method":"list","meth\u006fd":"drop"}`, js, `{"result":1}`, "", schema.DecisionAllowed},
		{"json-rpc, method again in capitals", js, `{"jsonrpc":"2.0","method":"list","METHOD":"drop"}`, js, `{"error":{"code":-32603}}`, "", schema.DecisionError},
		{"json-rpc behind a byte order mark", js, "\ufeff" + `{"jsonrpc":"2.0","method":"list"}`, js, `{"result":1}`, "list", schema.DecisionAllowed},
		{"json-rpc by its own type", "application/json-rpc", `{"jsonrpc":"2.0","method":"list"}`, "application/json-rpc", `{"result":1}`, "list", schema.DecisionAllowed},
		{"json-rpc too long", js, `{"jsonrpc":"2.0","method":"a","params":"` + long + `"}`, js, `{"error":{"code":-32000}}`, "", schema.DecisionUnknown},
		{"mcp, name again in capitals", js, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read","Name":"delete"}}`, js, `{"result":{}}`, "", schema.DecisionAllowed},
		{"graphql, query again in escapes", js, `{"query":"query A { a }","qu\u0065ry":"mutation B { b }"}`, js, `{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "", schema.DecisionDenied},
		{"graphql, quotes in a block", js, `{"operationName":"B","query":"query X { a(s: \"\"\" \\\"\"\" ) } query B { b } #\"\"\") }\nmutation B { drop }"}`, js, allowed, "mutation B", schema.DecisionAllowed},
		{"graphql, several", js, `[{"query":"query A { a }"},{"query":"mutation B { b }"}]`, js, `[{"data":{"a":1}},{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}]`, "", schema.DecisionUnknown},
		{"graphql, several denied", js, `[{"query":"query A { a }"},{"query":"query A { a }"}]`, js, `[{"errors":[{"extensions":{"code":"FORBIDDEN"}}]},{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}]`, "query A", schema.DecisionDenied},
		{"graphql kept by the server", js, `{"operationName":"A","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}`, js, `{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "", schema.DecisionDenied},
		{"graphql too long and denied", js, `{"query":"query A { a }","variables":"` + long + `"}`, js, `{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "", schema.DecisionDenied},
		{"graphql document too long and denied", js, `{"query":"\n query A { a ` + long + `}"}`, js, `{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "", schema.DecisionDenied},
		{"a selector of Prometheus", js, `{"query":"{job=\"x\"}"}`, js, `{"errors":[{}]}`, "", schema.DecisionAllowed},
		{"a query in JSON", js, `{"query":"{\"a\":1}"}`, js, `{"hits":[]}`, "", schema.DecisionAllowed},
		{"json-rpc, method twice", js, `{"jsonrpc":"2.0","method":"a","method":"b"}`, js, `{"result":1}`, "", schema.DecisionAllowed},
		{"mcp", js, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"delete_file","arguments":{"name":"x","path":"/etc"}}}`, "text/event-stream",
			"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"content\":[]}}\n\n", "tools/call delete_file", schema.DecisionAllowed},
		{"mcp, an event of several lines", js, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t"}}`, "text/event-stream",
			"id: 1\r\ndata: {\r\ndata:  \"jsonrpc\": \"2.0\",\r\ndata:  \"result\": {}\r\ndata: }\r\n\r\n: end\r\n\r\n", "tools/call t", schema.DecisionAllowed},
		{"graphql in events", js, `{"query":"query A { a }"}`, "text/event-stream", "event: next\ndata: {\"data\":\ndata: {\"a\":1}}\n\nevent: complete\ndata:\n\n", "query A", schema.DecisionAllowed},
		{"mcp, the tool failed", js, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t"}}`, js, `{"result":{"isError":true,"content":[]}}`, "tools/call t", schema.DecisionUnknown},
		{"mcp, other methods", js, `{"jsonrpc":"2.0","id":3,"method":"tools/list"}`, js, `{"result":{}}`, "tools/list", schema.DecisionAllowed},
		{"a name that is a secret", js, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ghp_0123456789abcdefghijABCDEFGHIJ012345"}}`, js, `{"result":{}}`, "", schema.DecisionAllowed},
		{"request too long", js, `{"query":"query A { a }","variables":"` + long + `"}`, js, allowed, "", schema.DecisionAllowed},
		{"no json", js, `{"jsonrpc":"2.0","method":"a"`, js, `{"result":{}}`, "", schema.DecisionAllowed},
		{"grpc-web", "application/grpc-web+proto", "\x00\x00\x00\x00\x00", "application/grpc-web+proto", "\x00\x00\x00\x00\x02ab\x80\x00\x00\x00\x1egrpc-status: 7\r\ngrpc-message:\r\n", "", schema.DecisionDenied},
		{"graphql with a file", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"mutation Put($f: Upload!) { put(f: $f) }\"}\r\n--x\r\nContent-Disposition: form-data; name=\"0\"\r\n\r\nfile\r\n--x--\r\n", js,
			`{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "mutation Put", schema.DecisionDenied},
		{"graphql with a long file", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"mutation Put($f: Upload!) { put(f: $f) }\"}\r\n--x\r\nContent-Disposition: form-data; name=\"0\"\r\n\r\n" + long + "\r\n--x--\r\n", js,
			`{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`, "", schema.DecisionDenied},
		{"a file", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + long + "\r\n--x--\r\n", js, `{"errors":[]}`, "", schema.DecisionAllowed},
		{"grpc-web as text", "application/grpc-web-text", "AAAAAAA=", "application/grpc-web-text+proto", text64("\x00\x00\x00\x00\x02ab") + text64("\x80\x00\x00\x00\x1egrpc-status: 7\r\ngrpc-message:\r\n"), "", schema.DecisionDenied},
		{"grpc-web as text in one piece", "application/grpc-web-text", "AAAAAAA=", "application/grpc-web-text", text64("\x00\x00\x00\x00\x01a\x80\x00\x00\x00\x10grpc-status: 0\r\n"), "", schema.DecisionAllowed},
		{"grpc-web as text that is none", "application/grpc-web-text", "AAAAAAA=", "application/grpc-web-text", "\x80\x00\x00\x00\x10grpc-status: 0\r\n", "", schema.DecisionUnknown},
	} {
		for _, mss := range []int{1448, 13} {
			t.Run(fmt.Sprintf("%s/%d", c.name, mss), func(t *testing.T) {
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, asked("/api", c.media, c.body, c.answerMedia, c.answer).frames(mss))))
				if len(sink.calls) != 1 {
					t.Fatalf("%d calls; %+v", len(sink.calls), stats)
				}
				got := &sink.calls[0]
				wantSource := schema.RouteNone
				if c.operation != "" {
					wantSource = schema.RouteFromSource
				}
				if got.Operation != c.operation || got.Decision != c.decision || got.RouteSource != wantSource {
					t.Errorf("operation %q, %s by %s; want %q, %s", got.Operation, got.Decision, got.RouteSource, c.operation, c.decision)
				}
			})
		}
	}
}

// TestGraphQLInAQuery states that a query in the target is read as one in a body is.
func TestGraphQLInAQuery(t *testing.T) {
	denied := `{"errors":[{"extensions":{"code":"FORBIDDEN"}}]}`
	for _, c := range []struct{ target, answer, want string }{
		{"/graphql?query=query+Orders+%7B+a+%7D", `{"data":{"a":1}}`, "GET a/graphql?query 200 0/16 complete allowed <query Orders>"},
		{"/graphql?query=query%20A%7Ba%7D%20query%20B%7Bb%7D&operationName=B", denied, "GET a/graphql?query&operationName 200 0/48 complete denied <query B>"},
		{"/graphql?qu%65ry=mutation+A%7Ba%7D", denied, "GET a/graphql?query 200 0/48 complete denied <mutation A>"},
		{"/graphql?query=%7Ba%7D", denied, "GET a/graphql?query 200 0/48 complete denied"},
		{"/graphql?query=query+A%7Ba%7D&query=query+B%7Bb%7D", denied, "GET a/graphql?query 200 0/48 complete denied"},
		{"/graphql?extensions=%7B%22persistedQuery%22:%7B%7D%7D", denied, "GET a/graphql?extensions 200 0/48 complete denied"},
		{"/graphql?query=query+A%7Ba%7D%zz", denied, "GET a/graphql?query 200 0/48 complete denied"},
		{"/api/v1/query?query=%7Bjob%3D%22x%22%7D", denied, "GET a/api/v1/query?query 200 0/48 complete allowed"},
		{"/search?query=red+shoes", denied, "GET a/search?query 200 0/48 complete allowed"},
	} {
		s := script{"GET " + c.target + " HTTP/1.1\r\nHost: a\r\n\r\n", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(c.answer), c.answer)}
		sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
		if got := outcomes(sink.calls); got != c.want {
			t.Errorf("%s: got %s, want %s", c.target, got, c.want)
		}
	}
}

func TestGRPCWebIsNamed(t *testing.T) {
	s := asked("/pkg.v1.Orders/Refund", "application/grpc-web+proto", "\x00\x00\x00\x00\x00", "application/grpc-web+proto", "\x80\x00\x00\x00\x10grpc-status: 0\r\n")
	sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
	if got := outcomes(sink.calls); got != "POST a/pkg.v1.Orders/Refund 200 5/21 complete allowed </pkg.v1.Orders/Refund>" {
		t.Error(got)
	}
}

func TestBodiesInGzip(t *testing.T) {
	body, answer := zip(`{"query":"query A { a }"}`), zip(`{"data":{"a":1}}`)
	s := script{
		fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer),
		fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(zip(strings.Repeat(" ", 1<<20))), zip(strings.Repeat(" ", 1<<20))),
		a1,
	}
	sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
	if len(sink.calls) != 2 || sink.calls[0].Operation != "query A" || sink.calls[0].Decision != schema.DecisionAllowed || sink.calls[1].Operation != "" {
		t.Errorf("got\n%s", outcomes(sink.calls))
	}
}

// TestMints states that the answer which issues a token names the credential as
// the call that uses it does.
func TestMints(t *testing.T) {
	const token = "fake-access-token-0123456789"
	answer := `{"access_token":"` + token + `","token_type":"Bearer","expires_in":3600,"refresh_token":"fake-refresh"}`
	for _, make := range []func() []frame{
		func() []frame {
			s := asked("/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials&client_secret=fake-secret", "application/json;charset=UTF-8", answer)
			return append(s, "GET /use HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+token+"\r\n\r\n", a1).frames(1448)
		},
		func() []frame {
			q, a := newSide2(), newSide2()
			q.head(1, false, post("/v1/token", "content-type", "application/json")...).frame(frameData, flagEndStream, 1, []byte(`{"grant_type":"x"}`))
			a.head(1, false, ":status", "200", "content-type", "application/json").frame(frameData, 0, 1, []byte(answer[:20])).frame(frameData, flagEndStream, 1, []byte(answer[20:]))
			first, firstAnswer := q.turn(), a.turn()
			q.head(3, true, get("/use", "authorization", "Bearer "+token)...)
			a.head(3, true, ":status", "200")
			return script{hello2 + first, firstAnswer, q.turn(), a.turn()}.frames(100)
		},
	} {
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, make())))
		if len(sink.calls) != 2 || sink.calls[0].Mints == "" || sink.calls[0].Mints != sink.calls[1].Credential.ID {
			t.Errorf("%d calls, mints %q, used as %q", len(sink.calls), sink.calls[0].Mints, sink.calls[1].Credential.ID)
		}
		for _, secret := range []string{token, "fake-secret", "fake-refresh"} {
			leaks(t, secret, sink, stats)
		}
	}
}

// FuzzBodies reads anything as bodies, beside the standard library's JSON.
func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"query":"query A { a }","operationName":"A"}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`))
	f.Add([]byte(`{"access_token":"a","token_type":"b","x":[{"y":"}"}]}`))
	f.Add([]byte(`{"errors":[{"extensions":{"code":"FORBIDDEN"}}],"data":null}`))
	f.Add([]byte("\x80\x00\x00\x00\x0fgrpc-status: 7\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rpcName(text)
		rpcBeginning(text)
		graphqlQuery(append([]byte("?query="), text...))
		partOfGraphQL(text)
		graphqlName(string(text), "")
		graphqlDecision(text)
		rpcDecision(text)
		grpcWebStatus(text)
		grpcWebStatus(pieces64(text))
		lastEvent(text)
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		got := map[string]string{}
		if !jsonMembers(text, func(key, value []byte) { got[string(key)] = string(value) }) {
			t.Fatalf("%q is JSON", text)
		}
		if bytes.IndexByte(text, '\\') >= 0 || !json.Valid(text) || len(got) != len(want) {
			return
		}
		for key, value := range got {
			if w, ok := want[key]; ok && string(bytes.TrimSpace(w)) != value {
				t.Fatalf("%q is %q, want %q", key, value, w)
			}
		}
	})
}
