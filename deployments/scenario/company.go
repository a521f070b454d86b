package scenario

import "fmt"

// Everybody who calls the mesh.
var (
	webFrontend = inside("web-frontend", "orders:read orders:write customers:read notifications:send shipping:read")
	mobileBFF   = outside("mobile-bff", "orders:read orders:write customers:read payments:write", "10.20.5.%d", "mobile-bff/5.1 (okhttp/4.12)")
	ordersSvc   = inside("orders-svc", "payments:write payments:read shipping:write notifications:send customers:read")
	paymentsSvc = inside("payments-svc", "orders:read payments:payout notifications:send payments:audit")
	shippingSvc = inside("shipping-svc", "orders:read customers:read notifications:send")
	reportsJob  = inside("reports-job", "orders:read payments:read orders:write customers:read payments:payout")
	loader      = inside("inventory-loader", "openid")
	ciDeployer  = outside("ci-deployer", "orders:read shipping:read", "10.30.1.%d", "harbourline-ci/9 smoke")
	agent       = inside("support-agent", "tickets:read tickets:write orders:read customers:read customers:documents notifications:send")
	acme        = outside("partner-acme", "orders:read", "198.51.100.%d", "acme-connector/1.3")
	borealis    = outside("partner-borealis", "orders:read orders:write", "192.0.2.%d", "python-requests/2.32")
	kiosk       = caller{apiClient: "kiosk", spiffe: ingress, address: "10.40.7.%d", agent: "kiosk/3"}
	erpBridge   = caller{apiClient: "erp-bridge", spiffe: ingress, address: "10.50.0.4", agent: "ERP Integration Engine 11"}
	// legacySync is a key that nobody remembers.
	legacySync   = caller{apiClient: "legacy-sync", spiffe: ingress, address: "10.50.0.9", agent: "curl/7.29.0"}
	scanner      = caller{spiffe: "spiffe://harbourline.example/ns/warehouse/sa/scanner", address: "10.60.1.%d", agent: "scanner-fw/8.2"}
	routePlanner = caller{spiffe: "spiffe://harbourline.example/ns/shop/sa/route-planner", address: "10.20.3.%d", agent: "route-planner/0.9"}
)

var shopTenants = []string{"acme", "borealis", "cassini", "dunmore"}

// staff returns the person n of the back office.
func staff(n int) caller {
	return caller{
		client: "backoffice", subject: fmt.Sprintf("user:staff-%02d", n), address: "10.70.2.%d", spiffe: ingress,
		scopes: "orders:read orders:write customers:read customers:documents tickets:read tickets:write",
		agent:  "Mozilla/5.0 (X11; Linux x86_64) Firefox/141.0",
	}
}

// habits are what everybody does day by day.
func habits() []habit {
	all := shopTenants
	list := []habit{
		{webFrontend, "orders", "GET", "/tenants/{tenant}/orders?state=open", 8, daylight, 200, .01, all},
		{webFrontend, "orders", "GET", "/tenants/{tenant}/orders/{n}", 12, daylight, 200, .02, all},
		{webFrontend, "orders", "POST", "/tenants/{tenant}/orders", 3, daylight, 201, .02, all},
		{webFrontend, "customers", "GET", "/tenants/{tenant}/customers/{n}", 5, daylight, 200, .01, all},
		{webFrontend, "notifications", "POST", "/messages", 2, daylight, 202, .01, nil},
		{webFrontend, "shipping", "GET", "/rates", 3, daylight, 200, .01, nil},
		{mobileBFF, "orders", "GET", "/tenants/{tenant}/orders", 6, daylight, 200, .02, all},
		{mobileBFF, "orders", "POST", "/tenants/{tenant}/orders", 2, daylight, 201, .02, all},
		{mobileBFF, "customers", "GET", "/tenants/{tenant}/customers/{n}", 3, daylight, 200, .02, all},
		{mobileBFF, "payments", "POST", "/payments", 2, daylight, 201, .03, nil},
		{ordersSvc, "payments", "POST", "/payments", 3, daylight, 201, .02, nil},
		{ordersSvc, "payments", "GET", "/payments/{n}", 3, daylight, 200, .01, nil},
		{ordersSvc, "shipping", "POST", "/shipments", 3, daylight, 201, .01, nil},
		{ordersSvc, "inventory", "GET", "/items/{sku}", 6, daylight, 200, .01, nil},
		{ordersSvc, "inventory", "PUT", "/items/{sku}/stock", 3, daylight, 204, .01, nil},
		{ordersSvc, "customers", "GET", "/tenants/{tenant}/customers/{n}", 2, daylight, 200, .01, all},
		{ordersSvc, "notifications", "POST", "/messages", 2, daylight, 202, .01, nil},
		{paymentsSvc, "orders", "GET", "/tenants/{tenant}/orders/{n}", 3, daylight, 200, .01, all},
		{paymentsSvc, "payments", "POST", "/payouts", 2, at(4), 201, 0, nil},
		{paymentsSvc, "notifications", "POST", "/messages", 1, daylight, 202, .01, nil},
		{shippingSvc, "orders", "GET", "/tenants/{tenant}/orders/{n}/events", 4, daylight, 200, .01, all},
		{shippingSvc, "customers", "GET", "/tenants/{tenant}/customers/{n}", 2, daylight, 200, .01, all},
		{shippingSvc, "inventory", "GET", "/items", 1, always, 200, .01, nil},
		{shippingSvc, "notifications", "POST", "/messages", 1, daylight, 202, 0, nil},
		{reportsJob, "orders", "GET", "/tenants/{tenant}/orders?from=yesterday&page={n}", 24, at(2), 200, .01, all},
		{reportsJob, "payments", "GET", "/payments?from=yesterday&page={n}", 16, at(2), 200, .01, nil},
		{loader, "inventory", "GET", "/items", 2, at(1), 200, 0, nil},
		{loader, "inventory", "PUT", "/items/{sku}/stock", 120, at(1), 204, .01, nil},
		{ciDeployer, "orders", "GET", "/tenants/{tenant}/orders", 1, office, 200, .02, all[:1]},
		{ciDeployer, "shipping", "GET", "/rates", 1, office, 200, .02, nil},
		{agent, "tickets", "GET", "/tickets", 4, daylight, 200, .01, nil},
		{agent, "tickets", "GET", "/tickets/{n}", 6, daylight, 200, .01, nil},
		{agent, "tickets", "POST", "/tickets/{n}/replies", 3, daylight, 201, .01, nil},
		{agent, "orders", "GET", "/tenants/{tenant}/orders/{n}", 3, daylight, 200, .02, all},
		{agent, "customers", "GET", "/tenants/{tenant}/customers/{n}", 2, daylight, 200, .01, all},
		{acme, "orders", "GET", "/tenants/acme/orders", 2, always, 200, .01, nil},
		{acme, "orders", "GET", "/tenants/acme/orders/{n}", 2, always, 200, .02, nil},
		{borealis, "orders", "GET", "/tenants/borealis/orders", 2, daylight, 200, .01, nil},
		{borealis, "orders", "POST", "/tenants/borealis/orders", 1, daylight, 201, .02, nil},
		{kiosk, "inventory", "GET", "/items", 6, daylight, 200, .01, nil},
		{kiosk, "inventory", "GET", "/items/{sku}", 10, daylight, 200, .02, nil},
		{erpBridge, "inventory", "GET", "/items", 1, always, 200, .01, nil},
		{erpBridge, "inventory", "PUT", "/items/{sku}/stock", 2, always, 204, .01, nil},
		{legacySync, "inventory", "GET", "/items", 1, always, 200, .01, nil},
		{scanner, "inventory", "GET", "/items/{sku}", 8, daylight, 200, .01, nil},
		{scanner, "inventory", "PUT", "/items/{sku}/stock", 6, daylight, 204, .01, nil},
		{routePlanner, "inventory", "GET", "/items", 1, always, 200, 0, nil},
	}
	for n := 1; n <= 6; n++ {
		who := staff(n)
		list = append(list,
			habit{who, "orders", "GET", "/tenants/{tenant}/orders/{n}", 2, office, 200, .01, all},
			habit{who, "customers", "GET", "/tenants/{tenant}/customers/{n}", 2, office, 200, .01, all},
			habit{who, "customers", "GET", "/tenants/{tenant}/customers/{n}/documents", .3, office, 200, .01, all},
			habit{who, "tickets", "GET", "/tickets/{n}", 2, office, 200, .01, nil},
			habit{who, "tickets", "POST", "/tickets/{n}/replies", 1, office, 201, .01, nil},
			habit{who, "orders", "PATCH", "/tenants/{tenant}/orders/{n}", .5, office, 200, .02, all},
		)
	}
	return list
}
