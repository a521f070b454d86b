package scenario

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// on returns a moment of the month.
func on(day, hour, minute, second int) time.Time {
	return time.Date(2026, time.October, day, hour, minute, second, 0, time.UTC)
}

// incidents tells what should not have happened.
func (w *world) incidents() {
	// A partner may read its orders. Nothing stops it from paying itself back.
	for i, t := range []time.Time{on(14, 11, 2, 7), on(14, 11, 9, 40), on(21, 16, 30, 2)} {
		w.call(&acme, t, "orders", "POST", fmt.Sprintf("/tenants/acme/orders/%d/refund", 4411+i), 200)
	}

	// Somebody in the reports job's container tries its token's reach.
	probe := reportsJob
	probe.agent = "curl/8.9.1"
	for i, p := range []struct{ service, method, path string }{
		{"customers", "GET", "/tenants/acme/customers/export"}, {"payments", "GET", "/keys"}, {"notifications", "GET", "/templates"},
		{"tickets", "GET", "/tickets"}, {"orders", "DELETE", "/tenants/acme/orders/4410"}, {"payments", "GET", "/audit"},
	} {
		w.call(&probe, on(23, 2, 41+3*i, 11), p.service, p.method, p.path, 403)
	}

	// The support agent asks to delete a ticket, is refused, and an hour later
	// holds a token that may.
	w.call(&agent, on(17, 10, 2, 30), "tickets", "DELETE", "/tickets/4733", 403)
	w.call(&agent, on(17, 10, 2, 44), "tickets", "DELETE", "/tickets/4733", 403)
	widened := agent
	widened.scopes += " tickets:admin"
	w.call(&widened, on(17, 10, 58, 12), "tickets", "DELETE", "/tickets/4733", 204)

	// The same agent reads passports, which it may and which nobody meant.
	for i := range 12 {
		w.call(&agent, on(19+i/6, 13, 4*i, 5), "customers", "GET", fmt.Sprintf("/tenants/cassini/customers/%d/documents", 4200+i), 200)
	}

	// The backup's key turns up elsewhere.
	w.api(thief, on(25, 3, 12, 9), "sts", "GetCallerIdentity", "", nil)
	w.api(thief, on(25, 3, 12, 31), "s3", "ListBuckets", "AccessDenied", nil)
	for i := range 9 {
		w.s3(thief, on(25, 3, 14+i, 2), "GetObject", "harbourline-archive", fmt.Sprintf("2026-10-24/part-%02d.zst", i), "")
	}

	// The deployer looks for secrets in a namespace that is not its own.
	w.kube(deployer, on(9, 15, 20, 0), object{"list", "", "secrets", "", "kube-system", ""}, 403)
	w.kube(deployer, on(9, 15, 20, 9), object{"get", "", "secrets", "", "kube-system", "bootstrap-token"}, 403)

	w.movement()
}

// movement tells of an order that is more than one: what a partner sends makes
// the order service act with the payment service's token, which it found.
func (w *world) movement() {
	// Dice of its own, so that the rest of the month stays what it was.
	m := &world{rand: rand.New(rand.NewPCG(27, 10)), logs: w.logs}
	entry, orders, stolen := borealis, ordersSvc, paymentsSvc
	entry.address = "192.0.2.66"
	for i, t := range []time.Time{on(27, 22, 47, 3), on(27, 22, 51, 40)} {
		trace := fmt.Sprintf("5ca1ab1e%024x", 47+i)
		entry.trace, entry.lasts = trace, 900
		m.call(&entry, t, "orders", "POST", "/tenants/borealis/orders", 201)
		orders.trace, orders.lasts = trace, 40
		m.call(&orders, t.Add(80*time.Millisecond), "payments", "GET", "/payments/4411", 200)
		stolen.trace, stolen.lasts, stolen.spiffe = trace, 120, ordersSvc.spiffe
		stolen.agent = "python-httpx/0.28"
		m.call(&stolen, t.Add(240*time.Millisecond), "payments", "POST", "/payouts", 201)
	}
}
