package wire

import (
	"net/netip"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// fullCall is a call that has every field.
func fullCall() *schema.Call {
	return &schema.Call{
		Time:     time.Date(2026, 10, 3, 9, 8, 7, 123456000, time.UTC),
		ID:       schema.CallID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255},
		Source:   schema.Source{Type: "envoy", Name: "logs/edge-1.log"},
		Reporter: schema.ReporterServer,
		Credential: schema.Credential{
			Kind: schema.KindOAuthClient, ID: "https://idp.example.com|ci-deployer", Issuer: "https://idp.example.com", Subject: "svc-ci",
			Client: "ci-deployer", Instance: "jti-000017", Session: "ci/run-99", Groups: []string{"deployers", "auditors"}, Verified: true,
		},
		Scopes: []string{"orders:read", "orders:write"}, PermissionsUsed: []string{"orders.orders.get"},
		Decision: schema.DecisionDenied, Policy: "deny-all", Service: "orders", Operation: "GET /orders/{id}", RouteSource: schema.RouteSpec,
		Method: "GET", Host: "orders.example.com", Path: "/v1/orders/81726", QueryKeys: []string{"expand", "page"},
		Resource: "orders/81726", Status: 403, RequestBytes: 312, ResponseBytes: 70_000, DurationUS: 5_400_000_000,
		ClientAddress: netip.MustParseAddr("10.20.3.4"), PeerAddress: netip.MustParseAddr("2001:db8::42"),
		Workload: "spiffe://cluster.local/ns/ci/sa/runner", UserAgent: "deployer/1.4", Tenant: "acme", Environment: "production",
		RequestID: "3f1c0a52-0000-4000-8000-000000000017", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		ActorChain: []string{"ci", "human@example.com"}, Mints: "hmac:00112233445566778899aabbccddeeff", Quality: schema.QualityMidstream,
	}
}

// fullAccount is an account that has every field.
func fullAccount() *schema.Account {
	day := time.Date(2026, 10, 3, 0, 0, 0, 0, time.UTC)
	return &schema.Account{
		Input:     schema.Input{Name: "logs/edge-1.log", Format: "envoy", Size: 1 << 33, Modified: day.Add(time.Hour)},
		FirstUnit: 1000, NextUnit: 2000, Calls: 990,
		Skipped:   map[string]uint64{"no caller": 7, schema.Lost + "spool_full": 3},
		FirstTime: day, LastTime: day.Add(59 * time.Minute), Done: true,
	}
}
