package catalog

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestChange: a change covers an act only as a whole, and never what is not
// known of it.
func TestChange(t *testing.T) {
	c := &Change{
		Credentials: []string{"ci-*"}, Workloads: []string{"deploy/*"}, Services: []string{"ord*"}, Operations: []string{"POST /orders/*/refund"},
		Scopes: []string{"orders:*"}, Tenants: []string{"acme"}, Environments: []string{"prod*"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
		From: day(2026, 3, 1), To: day(2026, 3, 2),
	}
	act := func(change func(*Act)) *Act {
		a := &Act{Service: "orders", Operation: "POST /orders/{id}/refund", Scope: "orders:write", Tenant: "acme", Environment: "production",
			Address: netip.MustParseAddr("::ffff:10.20.1.1"), First: day(2026, 3, 1), Last: day(2026, 3, 2).Add(-time.Microsecond)}
		change(a)
		return a
	}
	for name, test := range map[string]struct {
		act  *Act
		want bool
	}{
		"all":                    {act(func(*Act) {}), true},
		"begins before":          {act(func(a *Act) { a.First = a.First.Add(-time.Microsecond) }), false},
		"ends with the change":   {act(func(a *Act) { a.Last = day(2026, 3, 2) }), false},
		"other service":          {act(func(a *Act) { a.Service = "billing" }), false},
		"unknown service":        {act(func(a *Act) { a.Service = "" }), false},
		"deeper operation":       {act(func(a *Act) { a.Operation = "POST /orders/{id}/x/refund" }), false},
		"unknown operation":      {act(func(a *Act) { a.Operation = "" }), false},
		"other scope":            {act(func(a *Act) { a.Scope = "billing:write" }), false},
		"unknown tenant":         {act(func(a *Act) { a.Tenant = "" }), false},
		"other environment":      {act(func(a *Act) { a.Environment = "staging" }), false},
		"outside the network":    {act(func(a *Act) { a.Address = netip.MustParseAddr("10.21.0.1") }), false},
		"unknown address":        {act(func(a *Act) { a.Address = netip.Addr{} }), false},
		"an address with a zone": {act(func(a *Act) { a.Address = netip.MustParseAddr("fe80::1%eth0") }), false},
	} {
		if got := c.Covers(test.act); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	for _, test := range []struct {
		names, workloads []string
		want             bool
	}{
		{[]string{"x", "ci-1"}, []string{"deploy/ci"}, true},
		{[]string{"ci-1"}, nil, false},
		{[]string{"x"}, []string{"deploy/ci"}, false},
		{[]string{""}, []string{""}, false},
	} {
		if got := c.For(test.names, test.workloads); got != test.want {
			t.Errorf("for %q at %q: %v, want %v", test.names, test.workloads, got, test.want)
		}
	}
	window := &Change{From: day(2026, 3, 1), To: day(2026, 3, 2)}
	if !window.For(nil, nil) || !window.Covers(act(func(*Act) {})) {
		t.Error("a maintenance window that names nothing does not cover all of its time")
	}
}

// TestChangeForNobody: a change for what nobody declared is said.
func TestChangeForNobody(t *testing.T) {
	c := load(t, `
services: [{name: orders, hosts: [orders.example.com]}]
credentials: [{id: ci-deployer, match: [{id: ci}], workload: deploy/ci}]
changes:
  - {id: good, who: {credentials: ["ci-*"], workloads: ["deploy/*"]}, what: {services: ["ord*"]}, from: 2026-03-01, to: 2026-03-02, reason: r, by: b}
  - {id: typo, who: {credentials: [ci-deplyer]}, what: {services: [ordres]}, from: 2026-03-01, to: 2026-03-02, reason: r, by: b}
`)
	if len(c.Notes) != 2 || !strings.Contains(c.Notes[0].Text, `"typo" is for service "ordres"`) || !strings.Contains(c.Notes[1].Text, `credential "ci-deplyer"`) || c.Notes[1].Line != 6 {
		t.Errorf("notes %+v", c.Notes)
	}
}
