package direct

import (
	"math/rand/v2"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/table"
)

func TestColumnsAreThoseOfTheTable(t *testing.T) {
	if len(callColumns) != len(table.CallColumns) {
		t.Fatalf("%d columns are filled, the table has %d", len(callColumns), len(table.CallColumns))
	}
	for i, c := range callColumns {
		if c.name != table.CallColumns[i] {
			t.Errorf("column %d is %s, want %s", i, c.name, table.CallColumns[i])
		}
	}
}

func TestGroupPath(t *testing.T) {
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
		if got := groupPath(test.path); got != test.want {
			t.Errorf("groupPath(%q) = %q, want %q", test.path, got, test.want)
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

func TestIDMemory(t *testing.T) {
	m := newIDMemory(100)
	id := func(n int) schema.CallID { return schema.CallID{byte(n), byte(n >> 8), 1} }
	for n := range 100 {
		if !m.add(id(n)) {
			t.Fatalf("id %d is said to be known", n)
		}
	}
	for n := range 100 {
		if m.add(id(n)) {
			t.Fatalf("id %d was forgotten within the limit", n)
		}
	}
	if m.forgot {
		t.Error("the memory says it forgot, and it did not")
	}
	for n := range 1000 {
		m.add(id(n))
		if m.held() > 150 {
			t.Fatalf("the memory holds %d ids, and its limit is 100", m.held())
		}
		for back := range min(50, n) {
			if m.add(id(n - back)) {
				t.Fatalf("id %d was forgotten, and only %d came after it", n-back, back)
			}
		}
	}
	if !m.forgot {
		t.Error("the memory forgot ids and does not say so")
	}
}

// TestIDSet compares with a map, with ids that are nothing like hashes.
func TestIDSet(t *testing.T) {
	var s idSet
	known := map[schema.CallID]bool{}
	random := rand.New(rand.NewPCG(7, 8))
	for range 200_000 {
		var id schema.CallID
		id[random.IntN(16)] = byte(random.IntN(256))
		id[random.IntN(16)] = byte(random.IntN(256))
		id[15] = byte(random.IntN(8))
		if s.has(id) != known[id] || s.add(id) == known[id] || !s.has(id) {
			t.Fatalf("%v: a map says %v", id, known[id])
		}
		known[id] = true
	}
	if s.size != len(known) {
		t.Errorf("it says it has %d ids, and has %d", s.size, len(known))
	}
}

func TestPresentedHash(t *testing.T) {
	same := presentedHash([]string{"a", "b"}, []string{"g"})
	if presentedHash([]string{"b", "a", "b"}, []string{"g"}) != same {
		t.Error("the order or repetition of scopes changes the hash")
	}
	for name, other := range map[string]schema.PresentedHash{
		"scope as group": presentedHash([]string{"a"}, []string{"b", "g"}),
		"joined names":   presentedHash([]string{"ab"}, []string{"g"}),
		"no groups":      presentedHash([]string{"a", "b"}, nil),
	} {
		if other == same {
			t.Errorf("%s has the same hash", name)
		}
	}
	if presentedHash(nil, nil) == presentedHash([]string{}, nil) {
		t.Error("no scopes and an empty list of scopes have the same hash")
	}
}

func TestNotFoundOnUnknownRouteIsNoProof(t *testing.T) {
	e := newEnricher(catalog.Empty())
	call := schema.Call{Method: "GET", Host: "API.example.com:443", Path: "/things/17", Decision: schema.DecisionNoEffect}
	e.call(&call)
	if call.Decision != schema.DecisionUnknown || call.Operation != "GET /things/{id}" || call.Service != "api.example.com" || call.RouteSource != schema.RouteLearned {
		t.Errorf("got %s on %s %q by %s", call.Decision, call.Service, call.Operation, call.RouteSource)
	}
	named := schema.Call{Host: "s3.amazonaws.com", Operation: "s3:GetObject", RouteSource: schema.RouteFromSource, Decision: schema.DecisionNoEffect}
	e.call(&named)
	if named.Decision != schema.DecisionNoEffect || named.Operation != "s3:GetObject" || named.Service != "s3.amazonaws.com" {
		t.Errorf("a call named by its source became %s on %s %q", named.Decision, named.Service, named.Operation)
	}
}
