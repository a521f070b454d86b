package pcap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// script is a conversation in full: what each side says in turn, the client
// first. A turn may hold several messages.
type script []string

// frames returns the script as packets, cut at most every mss bytes.
func (s script) frames(mss int) []frame {
	var frames []frame
	var nanos int64 = 1_700_000_000e9
	w := newWire(rand.New(rand.NewPCG(9, 9)), addr4(1, 40000), addr4(2, 80), &frames, &nanos)
	w.mss = mss
	w.handshake()
	for i, text := range s {
		w.clientHas, w.serverHas = w.serverSeq, w.clientSeq
		if i%2 == 0 {
			w.send([]byte(text))
		} else {
			w.reply([]byte(text))
		}
	}
	w.close()
	return frames
}

// line is a call in short.
func line(c *schema.Call) string {
	path := c.Path
	if len(c.QueryKeys) > 0 {
		path += "?" + strings.Join(c.QueryKeys, "&")
	}
	return fmt.Sprintf("%s %s%s %d %d/%d %s", c.Method, c.Host, path, c.Status, c.RequestBytes, c.ResponseBytes, c.Quality)
}

func lines(calls []schema.Call) string {
	var out []string
	for i := range calls {
		out = append(out, line(&calls[i]))
	}
	return strings.Join(out, "\n")
}

const host = "\r\nHost: a.example\r\n\r\n"

var conversations = []struct {
	name   string
	script script
	want   string
}{
	{"length", script{"GET /1 HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		"GET a.example/1 200 0/5 complete"},
	{"chunked both ways", script{
		"POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
		"HTTP/1.1 201 Created\r\nTransfer-Encoding: gzip, chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"},
		"POST a.example/c 201 5/10 complete"},
	{"until close", script{"GET /x HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\neverything else"},
		"GET 10.0.0.2:80/x 200 0/15 complete"},
	{"head", script{
		"HEAD /h HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
		"GET /g HTTP/1.1" + host, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"},
		"HEAD a.example/h 200 0/0 complete\nGET a.example/g 404 0/0 complete"},
	{"no content", script{
		"DELETE /d HTTP/1.1" + host, "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
		"GET /g HTTP/1.1" + host, "HTTP/1.1 304 Not Modified\r\n\r\n"},
		"DELETE a.example/d 204 0/0 complete\nGET a.example/g 304 0/0 complete"},
	{"interim", script{
		"POST /i HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
		"abc", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"},
		"POST a.example/i 200 3/1 complete"},
	{"pipelined", script{
		"GET /1 HTTP/1.1" + host + "HEAD /2 HTTP/1.1" + host + "GET /3 HTTP/1.1" + host,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 403 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 500 OK\r\nContent-Length: 2\r\n\r\n33"},
		"GET a.example/1 200 0/1 complete\nHEAD a.example/2 403 0/0 complete\nGET a.example/3 500 0/2 complete"},
	{"empty lines between", script{
		"\r\n\r\nGET /1 HTTP/1.1" + host + "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"GET /2 HTTP/1.1" + host, "\r\nHTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/1 200 0/0 complete\nGET a.example/2 201 0/0 complete"},
	{"line feeds alone", script{"GET /lf HTTP/1.1\nHost: a.example\n\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		"GET a.example/lf 200 0/2 complete"},
	{"folded header", script{"GET /f HTTP/1.1\r\nUser-Agent: one\r\n two\r\nHost: a.example\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/f 200 0/0 complete"},
	{"absolute form", script{"GET http://Other.Example:8080/p?q=1&r=2 HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET other.example:8080/p?q&r 200 0/0 complete"},
	{"both lengths are never certain", script{
		"POST /te HTTP/1.1\r\nHost: a.example\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET /after HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"POST a.example/te 200 0/0 gap\nGET a.example/after 200 0/0 gap"},
	{"two lengths are never certain", script{
		"GET /cl HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
		"GET /after HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/cl 200 0/0 gap\nGET a.example/after 200 0/0 gap"},
	{"a blank before the colon", script{
		"POST /s HTTP/1.1\r\nHost: a.example\r\nContent-Length : 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"POST a.example/s 200 2/0 gap"},
	{"a request inside a body is none", script{
		"POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 37\r\n\r\nGET /secret HTTP/1.1\r\nHost: evil\r\n\r\n.", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"POST a.example/b 200 37/0 complete"},
	{"tunnel", script{
		"CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n", "HTTP/1.1 200 Connection established\r\n\r\n",
		"GET /inside HTTP/1.1\r\nHost: inner.example\r\n\r\n", "HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n"},
		"CONNECT inner.example:443 200 0/0 complete\nGET inner.example/inside 418 0/0 complete"},
	{"tunnel refused", script{
		"CONNECT inner.example:443 HTTP/1.1" + host, "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
		"CONNECT inner.example:443 HTTP/1.1" + host, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"},
		"CONNECT inner.example:443 407 0/2 complete\nCONNECT inner.example:443 403 0/0 complete"},
	{"upgrade", script{
		"GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		"GET /fake HTTP/1.1" + host, "HTTP/1.1 200 OK\r\n\r\n"},
		"GET a.example/ws 101 0/0 complete"},
	{"upgrade refused", script{
		"GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
		"GET /on HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/ws 403 0/0 complete\nGET a.example/on 200 0/0 complete"},
	{"early answer to a long body", script{
		"POST /big HTTP/1.1\r\nHost: a.example\r\nContent-Length: 6\r\n\r\nabc", "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", "def", ""},
		"POST a.example/big 413 6/0 complete"},
	{"a server that forgot the length", script{
		"GET /1 HTTP/1.1" + host, "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "GET /2 HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/1 302 0/0 complete\nGET a.example/2 200 0/0 gap"},
	{"an answer nobody asked for", script{
		"", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"},
		" 10.0.0.2:80 408 0/0 orphan"},
	{"a question nobody answered", script{"GET /q HTTP/1.1" + host},
		"GET a.example/q 0 0/0 unanswered"},
	{"head cut by the end", script{"GET /q HTTP/1.1\r\nHost: a.exa"},
		"GET 10.0.0.2:80/q 0 0/0 truncated"},
	{"proxy protocol", script{
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /p HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"GET a.example/p 200 0/0 complete"},
	{"method of its own", script{"M-SEARCH * HTTP/1.1" + host, "HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n"},
		"M-SEARCH a.example* 501 0/0 complete"},
	{"another protocol", script{"EHLO mail.example\r\n", "250 ok\r\n", "GET / HTTP/1.1" + host, "HTTP/1.1 200 OK\r\n\r\n"}, ""},
	{"almost http", script{"OPTIONS rtsp://a RTSP/1.0\r\nCSeq: 1\r\n\r\n", "RTSP/1.0 200 OK\r\n\r\n"}, ""},
}

func TestConversations(t *testing.T) {
	for _, c := range conversations {
		for _, mss := range []int{1448, 7, 1} {
			if mss < 1448 && (strings.Contains(c.name, "forgot") || strings.Contains(c.name, "proxy")) {
				continue // these are told by where segments begin
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, mss), func(t *testing.T) {
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, c.script.frames(mss))))
				if got := lines(sink.calls); got != c.want {
					t.Errorf("got\n%s\nwant\n%s\n%+v", got, c.want, stats)
				}
			})
		}
	}
}

func TestProtocolsAreCounted(t *testing.T) {
	hello := "\x16\x03\x01\x00\x4c\x01\x00\x00\x48\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x02\x13\x01\x01\x00\x00\x1d" +
		"\x00\x00\x00\x13\x00\x11\x00\x00\x0eApi.Example.io" + "\x00\x2b\x00\x02\x03\x04"
	for _, c := range []struct {
		name, want, server string
		script             script
	}{
		{"tls", speaksTLS, "api.example.io", script{hello, "\x16\x03\x03\x00\x01\x02", "\x17\x03\x03\x00\x01x"}},
		{"http2", speaksHTTP2, "", script{string(http2Preface) + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x00\x04\x01\x00\x00\x00\x00"}},
		{"h2c", speaksHTTP2, "", script{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n\x00\x00\x00\x04\x01\x00\x00\x00\x00"}},
		{"websocket", speaksUpgraded, "", script{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Go\r\n\r\n\x81\x01x"}},
		{"ssh", speaksOther, "", script{"", "SSH-2.0-x\r\n", "SSH-2.0-y\r\n"}},
		{"tls in a tunnel", speaksTLS, "api.example.io", script{"CONNECT x:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", hello, "\x16\x03\x03\x00\x01\x02"}},
	} {
		for _, mss := range []int{1448, 9} {
			_, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, c.script.frames(mss))))
			if stats.Protocols[c.want] != 1 || (stats.Unread[c.want] == 0) != (c.want == speaksHTTP2) {
				t.Errorf("%s/%d: protocols %v, unread %v; want one %s", c.name, mss, stats.Protocols, stats.Unread, c.want)
			}
			if c.server != "" && stats.TLSServers[c.server] != 1 {
				t.Errorf("%s/%d: servers %v, want %s", c.name, mss, stats.TLSServers, c.server)
			}
		}
	}
}

func TestCallFields(t *testing.T) {
	s := script{
		"POST /orders/7?expand=a&expand=b&page=2 HTTP/1.1\r\nHost: API.Example\r\nUser-Agent: sdk/1.2\r\nX-Tenant: acme\r\n" +
			"X-Request-Id: req-1\r\nTraceparent: 00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 302 Found\r\nLocation: https://sso.example/login?next=x\r\nContent-Length: 4\r\n\r\ngo!!"}
	sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
	if len(sink.calls) != 1 {
		t.Fatalf("%d calls, want 1", len(sink.calls))
	}
	c := sink.calls[0]
	if c.DurationUS == 0 || c.Time.Year() != 2023 || c.ID == (schema.CallID{}) {
		t.Errorf("duration %d, time %v, id %v", c.DurationUS, c.Time, c.ID)
	}
	c.DurationUS, c.ID = 0, schema.CallID{}
	c.Time = c.Time.Truncate(1e9)
	got, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2023-11-14T22:13:20.000000Z","id":"00000000000000000000000000000000","source":{"type":"pcap","name":"test.pcap"},` +
		`"reporter":"server","credential":{"kind":"anonymous"},"decision":"unauthenticated","route_source":"none","method":"POST",` +
		`"host":"api.example","path":"/orders/7","query_keys":["expand","page"],"status":302,"request_bytes":2,"response_bytes":4,` +
		`"client_address":"10.0.0.1","peer_address":"10.0.0.1","user_agent":"sdk/1.2","tenant":"acme","request_id":"req-1",` +
		`"trace_id":"0af7651916cd43dd8448eb211c80319c","quality":"complete"}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSameFileSameCalls(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	frames := damage{loss: .01, reorder: .02}.apply(rng, madeUp(rng, moody, 12, 15, map[string]truth{}, true))
	file := writePcap(linkEthernet, frames)
	var first []byte
	for _, size := range []int{0, 1, 17} {
		sink, stats := read(t, Config{BatchSize: size}, bytes.NewReader(file))
		text, err := json.Marshal(sink.calls)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if !bytes.Equal(first, text) {
			t.Errorf("batches of %d give other calls", size)
		}
		ids := map[schema.CallID]bool{}
		for i := range sink.calls {
			ids[sink.calls[i].ID] = true
		}
		if len(ids) != len(sink.calls) {
			t.Errorf("%d ids for %d calls", len(ids), len(sink.calls))
		}
		accounted(t, sink.batches, stats)
	}
}

// accounted checks that the batches account for every packet once.
func accounted(t *testing.T, batches []*collector.Batch, stats Stats) {
	t.Helper()
	next := uint64(0)
	for i, b := range batches {
		if b.FirstUnit != next || b.NextUnit < b.FirstUnit || b.Done != (i == len(batches)-1) {
			t.Errorf("batch %d accounts for packets %d to %d (done %v), want it to begin at %d", i, b.FirstUnit, b.NextUnit, b.Done, next)
		}
		next = b.NextUnit
	}
	if next != stats.Packets {
		t.Errorf("batches account for %d packets of %d", next, stats.Packets)
	}
}

// TestTwoCapturesOfOneCall states what makes a call the same: two captures of
// the same packets give the same ids, unless one of them saw less.
func TestTwoCapturesOfOneCall(t *testing.T) {
	s := script{"GET /1" + " HTTP/1.1" + host, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}
	frames := s.frames(1448)
	whole, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	again, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	// The handshake has three packets, the request one.
	half, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames[:4])))
	if len(whole.calls) != 1 || len(again.calls) != 1 || len(half.calls) != 1 {
		t.Fatalf("%d, %d and %d calls, want 1 each", len(whole.calls), len(again.calls), len(half.calls))
	}
	if whole.calls[0].ID != again.calls[0].ID {
		t.Error("a copy of a capture gives other ids")
	}
	if h := &half.calls[0]; h.Quality != schema.QualityUnanswered || h.ID == whole.calls[0].ID {
		t.Errorf("a capture without the answer gives %s under the id of the answered call", line(h))
	}
}
