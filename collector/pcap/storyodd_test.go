package pcap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/schema"
)

// oddCall is a request that readers may take differently, as packets and as the gateway in
// front logs it.
type oddCall struct {
	name, method string
	// target is what stands in the request line, path what HTTP/2 and the log have
	// where that differs.
	target, path string
	host         string
	// header has names and values in turn; the log has them under the names in logged.
	header []string
	status int
	// grpc is the status in the trailers, "" where the call is none. aborted says that
	// the client went away before an answer.
	grpc    string
	aborted bool
	// only is the version of HTTP that can say this, 0 where both can.
	only int
}

// logged are the log's names of headers.
var logged = map[string]string{
	"authorization": "authorization", "x-api-key": "x_api_key", "x-tenant": "x_tenant", "user-agent": "user_agent",
	"content-type": "content_type", "x-forwarded-client-cert": "x_forwarded_client_cert",
}

var oddities = []oddCall{
	{name: "query keys", method: "GET", target: "/v1/orders/42?expand=lines&page=2&expand=tax&flag", host: "orders.example", status: 200},
	{name: "an empty query", method: "GET", target: "/v1/orders?", host: "orders.example", status: 200},
	{name: "keys with escapes", method: "GET", target: "/v1/orders?filter%5Bstate%5D=open&a+b=1;c=2", host: "orders.example", status: 200},
	{name: "a slash at the end", method: "GET", target: "/v1/orders/", host: "orders.example", status: 200},
	{name: "slashes in a row", method: "GET", target: "//v1///orders/7", host: "orders.example", status: 404},
	{name: "dots", method: "GET", target: "/v1/orders/../admin/./users", host: "orders.example", status: 403},
	{name: "escaped dots", method: "GET", target: "/v1/orders/%2e%2e/admin", host: "orders.example", status: 403},
	{name: "an escaped slash", method: "GET", target: "/v1/orders/a%2Fb", host: "orders.example", status: 200},
	{name: "an escape for nothing", method: "GET", target: "/v1/%6Frders/7", host: "orders.example", status: 200},
	{name: "escapes of UTF-8", method: "GET", target: "/v1/orders/%C3%A9%e2%82%ac", host: "orders.example", status: 200},
	{name: "a broken escape", method: "GET", target: "/v1/orders/100%", host: "orders.example", status: 400},
	{name: "parameters of a path", method: "GET", target: "/v1/orders;v=2/7;x=y", host: "orders.example", status: 200},
	{name: "a method of its own", method: "PURGE", target: "/v1/orders/7", host: "orders.example", status: 204},
	{name: "all of a server", method: "OPTIONS", target: "*", host: "orders.example", status: 204},
	{name: "a preflight", method: "OPTIONS", target: "/v1/orders", host: "orders.example", status: 204},
	{name: "a host in capitals", method: "GET", target: "/v1/orders/1", host: "Orders.EXAMPLE", status: 200},
	{name: "a port", method: "GET", target: "/v1/orders/1", host: "orders.example:8443", status: 200},
	{name: "the usual port", method: "GET", target: "/v1/orders/1", host: "orders.example:80", status: 200},
	{name: "a dot behind the host", method: "GET", target: "/v1/orders/1", host: "orders.example.", status: 200},
	{name: "an address of IPv6", method: "GET", target: "/v1/orders/1", host: "[fd00::fa]:8080", status: 200},
	{name: "an address of IPv6 in full", method: "GET", target: "/v1/orders/1", host: "[FD00:0:0:0:0:0:0:fa]", status: 200},
	{name: "an address of IPv4", method: "GET", target: "/v1/orders/1", host: "10.0.0.250:8080", status: 200},
	{name: "an absolute target", method: "GET", target: "http://orders.example/v1/orders/1?x=1", path: "/v1/orders/1?x=1", host: "orders.example", status: 200, only: 1},
	{name: "an absolute target without path", method: "GET", target: "http://orders.example", path: "/", host: "orders.example", status: 200, only: 1},
	{name: "not changed", method: "GET", target: "/v1/orders/1", host: "orders.example", header: []string{"if-none-match", `"x"`}, status: 304},
	{name: "a part", method: "GET", target: "/v1/orders/export", host: "orders.example", header: []string{"range", "bytes=0-9"}, status: 206},
	{name: "too slow", method: "POST", target: "/v1/orders", host: "orders.example", status: 408},
	{name: "gone before the answer", method: "GET", target: "/v1/orders/slow", host: "orders.example", aborted: true},
	{name: "redirected", method: "GET", target: "/v1/orders", host: "orders.example", status: 308},
	{name: "too many", method: "GET", target: "/v1/orders", host: "orders.example", status: 429},
	{name: "a conflict", method: "PUT", target: "/v1/orders/1", host: "orders.example", status: 409},
	{name: "a bearer", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"authorization", "Bearer fake-opaque-0001"}, status: 200},
	{name: "a bearer in small letters", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"authorization", "bearer  fake-opaque-0001"}, status: 200},
	{name: "a password", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"authorization", "Basic am9iOmZha2U="}, status: 200},
	{name: "an unknown scheme", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"authorization", "Fancy fake-0003"}, status: 200},
	{name: "a key", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"x-api-key", "fake-key-0002"}, status: 200},
	{name: "a key in the query", method: "GET", target: "/v1/orders?api_key=fake-key-0002&page=1", host: "orders.example", status: 200},
	{name: "a token in the query", method: "GET", target: "/v1/orders?access_token=fake-opaque-0001", host: "orders.example", status: 401},
	{name: "a workload", method: "GET", target: "/v1/orders", host: "orders.example",
		header: []string{"x-forwarded-client-cert", "By=spiffe://mesh/ns/shop/sa/orders;URI=spiffe://mesh/ns/shop/sa/cart"}, status: 200},
	{name: "a tenant", method: "GET", target: "/v1/orders", host: "orders.example", header: []string{"x-tenant", "acme"}, status: 200},
	{name: "gRPC", method: "POST", target: "/shop.Orders/List", host: "orders.example", header: []string{"content-type", "application/grpc"}, status: 200, grpc: "0", only: 2},
	{name: "gRPC refused", method: "POST", target: "/shop.Orders/Delete", host: "orders.example", header: []string{"content-type", "application/grpc+proto"}, status: 200, grpc: "7", only: 2},
	{name: "gRPC without credential", method: "POST", target: "/shop.Orders/Get", host: "orders.example", header: []string{"content-type", "application/grpc"}, status: 200, grpc: "16", only: 2},
	{name: "gRPC of a missing thing", method: "POST", target: "/shop.Orders/Get", host: "orders.example", header: []string{"content-type", "application/grpc"}, status: 200, grpc: "5", only: 2},
}

// packets returns the request and its answer, alone on a connection.
func (o *oddCall) packets(version int) []frame {
	if version == 1 {
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n", o.method, o.target, o.host)
		for i := 0; i < len(o.header); i += 2 {
			text += o.header[i] + ": " + o.header[i+1] + "\r\n"
		}
		answer := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", o.status)
		if o.aborted {
			answer = ""
		}
		return script{text + "\r\n", answer}.frames(1448)
	}
	q, a := newSide2(), newSide2()
	path := o.target
	if o.path != "" {
		path = o.path
	}
	fields := append([]string{":method", o.method, ":scheme", "http", ":authority", o.host, ":path", path}, o.header...)
	q.WriteString(hello2)
	q.head(1, true, fields...)
	switch {
	case o.aborted:
		q.frame(frameReset, 0, 1, []byte{0, 0, 0, 8})
	case o.grpc != "":
		a.head(1, false, ":status", "200", "content-type", "application/grpc").head(1, true, "grpc-status", o.grpc)
	default:
		a.head(1, true, ":status", fmt.Sprint(o.status))
	}
	return script{q.turn(), a.turn()}.frames(1448)
}

// line is what the gateway logs of it.
func (o *oddCall) line(t *testing.T, version int) []byte {
	path := o.target
	if o.path != "" {
		path = o.path
	}
	entry := map[string]any{
		"start_time": "2026-01-02T03:04:05.000Z", "method": o.method, "path": path, "authority": o.host,
		"protocol": map[int]string{1: "HTTP/1.1", 2: "HTTP/2"}[version], "response_code": o.status, "response_flags": "-",
		"bytes_received": 0, "bytes_sent": 0, "duration": 1,
	}
	if o.aborted {
		entry["response_flags"] = "DC"
	}
	if o.grpc != "" {
		entry["grpc_status_number"] = o.grpc
	}
	for _, name := range logged {
		entry[name] = nil // as Envoy writes what is not there
	}
	for i := 0; i < len(o.header); i += 2 {
		if name := logged[o.header[i]]; name != "" {
			entry[name] = o.header[i+1]
		}
	}
	text, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// TestOddRequestsTellTheSameStory compares what packets and a log say of requests that
// readers may take differently: who called what, and what became of it.
func TestOddRequestsTellTheSameStory(t *testing.T) {
	reader, err := gateway.New(gateway.Config{Key: testKey, Format: "envoy"})
	if err != nil {
		t.Fatal(err)
	}
	summary := func(calls []schema.Call) string {
		var out []string
		for i := range calls {
			c := calls[i]
			if c.Credential.Kind == schema.KindAnonymous {
				// Packets show that there was none; of a log nobody knows what it leaves out.
				c.Credential.Kind = schema.KindUnknown
			}
			keys := slices.Sorted(slices.Values(c.QueryKeys))
			out = append(out, fmt.Sprintf("%s %s %s %v %d %s %q %+v %v %s %s", c.Method, c.Host, c.Path, keys, c.Status, c.Decision, c.Operation, c.Credential, c.Scopes, c.Tenant, c.Workload))
		}
		return strings.Join(out, "\n")
	}
	for i := range oddities {
		o := &oddities[i]
		for version := 1; version <= 2; version++ {
			if o.only != 0 && o.only != version {
				continue
			}
			file := filepath.Join(t.TempDir(), "access.log")
			if err := os.WriteFile(file, o.line(t, version), 0o600); err != nil {
				t.Fatal(err)
			}
			var log collected
			if _, err := reader.Run(context.Background(), []string{file}, &log); err != nil {
				t.Fatal(err)
			}
			tapped, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, o.packets(version))))
			if got, want := summary(tapped.calls), summary(log.calls); got != want || len(tapped.calls) != 1 {
				t.Errorf("%s, HTTP/%d:\ncaptured %s\nlogged   %s", o.name, version, got, want)
			}
		}
	}
}
