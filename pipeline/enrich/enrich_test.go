package enrich

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

func TestShape(t *testing.T) {
	e := New(catalog.Empty())
	for _, test := range []struct{ path, want string }{
		{"/orders", "/orders"},
		{"/orders/4711", "/orders/{id}"},
		{"/v1/orders/4711/lines/2", "/v1/orders/{id}/lines/{id}"},
		{"/2015-03-31/functions", "/2015-03-31/functions"},
		{"/files/0b6c1f1e-7b1e-4f3c-9a59-2f6f3f9d5f10/meta", "/files/{id}/meta"},
		{"/blob/deadbeefdeadbeef01", "/blob/{id}"},
		{"/items/SKU-1042", "/items/{id}"},
		{"/oauth2/token", "/oauth2/token"},
		{"/s3/bucket", "/s3/bucket"},
		{"/u/{redacted}/x", "/u/{id}/x"},
		{"", ""},
		{"/a/b/c/d/e/f/g/h/i/j/k/l/m/n", "/a/b/c/d/e/f/g/h/i/j/k/**"},
	} {
		for range 2 { // the second time from memory
			if got, want := e.learn("GET", test.path), strings.TrimSpace("GET "+test.want); got != want {
				t.Errorf("%q is learned as %q, want %q", test.path, got, want)
			}
		}
	}
}

// TestNoAllocation completes calls to many objects of a few kinds.
func TestNoAllocation(t *testing.T) {
	service := t.TempDir() + "/catalog.yaml"
	if err := os.WriteFile(service, []byte("services:\n  - name: orders\n    hosts: [orders.example.com]\n    operations:\n      - operation: GET /orders/{id}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := catalog.Load(service)
	if err != nil {
		t.Fatal(err)
	}
	paths := make([]string, 512)
	for i := range paths {
		paths[i] = fmt.Sprintf("/orders/%d", i*7919)
	}
	for name, c := range map[string]*catalog.Catalog{"learned": catalog.Empty(), "catalogue": known} {
		e, i := New(c), 0
		one := func() {
			call := schema.Call{Method: "GET", Host: "orders.example.com", Path: paths[i%len(paths)]}
			i++
			e.Call(&call)
			if call.Operation != "GET /orders/{id}" {
				t.Fatalf("%s: %s is %q", name, call.Path, call.Operation)
			}
		}
		one()
		if n := testing.AllocsPerRun(len(paths), one); n != 0 {
			t.Errorf("%s: %v allocations a call", name, n)
		}
	}
}

func TestHostName(t *testing.T) {
	for _, test := range []struct{ host, want string }{
		{"Orders.example.com:8443", "orders.example.com"},
		{"[2001:db8::1]:80", "[2001:db8::1]"},
		{"2001:db8::1", "2001:db8::1"},
		{"", ""},
	} {
		if got := hostName(test.host); got != test.want {
			t.Errorf("hostName(%q) = %q, want %q", test.host, got, test.want)
		}
	}
}

func TestNotFoundOnUnknownRouteIsNoProof(t *testing.T) {
	e := New(catalog.Empty())
	call := schema.Call{Method: "GET", Host: "API.example.com:443", Path: "/things/17", Decision: schema.DecisionNoEffect}
	e.Call(&call)
	if call.Decision != schema.DecisionUnknown || call.Operation != "GET /things/{id}" || call.Service != "api.example.com" || call.RouteSource != schema.RouteLearned {
		t.Errorf("got %s on %s %q by %s", call.Decision, call.Service, call.Operation, call.RouteSource)
	}
	named := schema.Call{Host: "s3.amazonaws.com", Operation: "s3:GetObject", RouteSource: schema.RouteFromSource, Decision: schema.DecisionNoEffect}
	e.Call(&named)
	if named.Decision != schema.DecisionNoEffect || named.Operation != "s3:GetObject" || named.Service != "s3.amazonaws.com" {
		t.Errorf("a call named by its source became %s on %s %q", named.Decision, named.Service, named.Operation)
	}
}
