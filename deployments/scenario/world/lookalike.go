package world

import (
	"fmt"
	"time"
)

// after returns a moment some share into the world's time, at an hour.
func (w *world) after(share float64, hour, minute int) time.Time {
	day := int(share * float64(w.cfg.Days))
	return w.start.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(w.rand.IntN(50))*time.Second)
}

// alike declares a look-alike.
func (w *world) alike(code, what string, change bool, from, to time.Time, list ...*credential) string {
	l := LookAlike{ID: fmt.Sprintf("%s/%s/%d", w.cfg.Name(), code, len(w.truth.LookAlikes)), Code: code, What: what, From: from, To: to, Change: change}
	for _, c := range list {
		l.Credentials = append(l.Credentials, w.known(c))
		if change {
			w.changes = append(w.changes, newChange(len(w.changes), c.name, from, to, what))
		}
	}
	w.truth.LookAlikes = append(w.truth.LookAlikes, l)
	return l.ID
}

func newChange(n int, credential string, from, to time.Time, reason string) change {
	return change{id: fmt.Sprintf("chg-%03d", n), credential: credential, from: from.Truncate(time.Hour), to: to.Truncate(time.Hour).Add(2 * time.Hour), reason: reason}
}

// say plans one call of a look-alike.
func (w *world) say(id string, at time.Time, d deed) {
	w.at(at, func(at time.Time) {
		d := d
		d.at, d.lookAlike, d.alone = at, id, true
		w.deed(&d)
	})
}

// every plans a call again and again.
func (w *world) every(id string, from, to time.Time, step time.Duration, make func(int) deed) {
	i := 0
	for t := from; t.Before(to); t = t.Add(step) {
		w.say(id, t, make(i))
		i++
	}
}

// lookAlikes plans what is harmless and looks otherwise.
func (w *world) lookAlikes() {
	for _, name := range []string{"legacy-sync", "portal-user", "old-key", "shared-key", "exporter", "stubborn-job", "month-end", "aggregator", "implied-admin", "propagated",
		"requested", "rotated-new", "rotated-old", "helpdesk", "warm-cache", "launcher", "stable-chain", "new-federation", "expiring-key", "cli-runner", "dual-stack", "migrating",
		"release-0", "release-1", "release-2", "release-3"} {
		w.busy[name] = true
	}
	w.grantLookAlikes()
	w.driftLookAlikes()
	w.placeLookAlikes()
	w.volumeLookAlikes()
	w.cloudLookAlikes()
}

// grantLookAlikes are about what is held: D01 to D04, D16 to D18.
func (w *world) grantLookAlikes() {
	s := w.services[0]
	c := w.named("implied-admin")
	c.hold(s.name + ":admin")
	id := w.alike("D01", "a scope that another one includes", false, w.start, w.end, c)
	w.every(id, w.after(.1, 9, 0), w.end, 7*time.Hour, func(i int) deed { return deed{by: c, service: s, op: s.operations[3+i%2]} })

	c = w.named("stubborn-job")
	denied := w.services[1].operations[9]
	id = w.alike("D02", "one refusal thousands of times", false, w.start, w.end, c)
	w.every(id, w.start.Add(10*time.Minute), w.end, 47*time.Minute, func(int) deed { return deed{by: c, service: w.services[1], op: denied} })

	c = w.named("propagated")
	scope := w.services[2].operations[5].scope
	moment := w.after(.5, 11, 0)
	c.later[scope] = moment.Add(20 * time.Second)
	id = w.alike("D03", "a grant that takes twenty seconds to arrive", false, moment, moment.Add(time.Hour), c)
	w.say(id, moment, deed{by: c, service: w.services[2], op: w.services[2].operations[5], id: "4711", tenant: w.tenants[0], status: 403})
	w.say(id, moment.Add(25*time.Second), deed{by: c, service: w.services[2], op: w.services[2].operations[5], id: "4711", tenant: w.tenants[0]})

	c = w.named("requested")
	scope = w.services[3].operations[5].scope
	moment = w.after(.6, 10, 0)
	c.later[scope] = moment.Add(90 * time.Minute)
	w.alike("D01", "a grant that began while it was watched", false, w.start, w.end, c)
	id = w.alike("D03", "an access request that was granted", false, moment, moment.Add(3*time.Hour), c)
	w.say(id, moment, deed{by: c, service: w.services[3], op: w.services[3].operations[5], id: "4712", tenant: w.tenants[0], status: 403})
	w.say(id, moment.Add(2*time.Hour), deed{by: c, service: w.services[3], op: w.services[3].operations[5], id: "4712", tenant: w.tenants[0]})

	c = w.named("month-end")
	rare := c.habits[0].service.name + ":closing"
	c.hold(rare)
	c.rare[rare] = "used at the end of the year"
	w.alike("D04", "a scope that is declared as rarely used", false, w.start, w.end, c)

	w.soonGranted()
	for _, c := range w.credentials {
		switch c.name {
		case "device-00":
			w.alike("D16", "a key younger than three months", false, w.start, w.end, c)
		case "front-02":
			w.alike("D16", "tokens of two hours", false, w.start, w.end, c)
			w.alike("D17", "a workload that the catalogue names otherwise than the mesh", false, w.start, w.end, c)
			w.alike("D18", "nothing is said about what is approved", false, w.start, w.after(.55, 0, 0), c)
		case "app-role-01":
			w.alike("D16", "temporary keys of a role", false, w.start, w.end, c)
		case "desk-00":
			w.alike("D12", "people who help every customer", false, w.start, w.after(.55, 0, 0), c)
			w.alike("D18", "people whose approval names nothing but networks", false, w.start, w.after(.55, 0, 0), c)
		case "front-00":
			w.alike("D12", "pages for all customers", false, w.start, w.after(.55, 0, 0), c)
		}
		if c.kind == "agent" && c.name == "agent-00" {
			w.alike("D18", "what the approved patterns cover", false, w.start, w.after(.55, 0, 0), c)
		}
	}
	w.alike("D17", "an owner without a workload of its own in the mesh", false, w.start, w.end, w.named("dual-stack"))
}

// soonGranted are more of those about what is held.
func (w *world) soonGranted() {
	s := w.services[3]
	c := w.named("helpdesk")
	c.later[s.operations[7].scope] = w.end.AddDate(0, 0, -9)
	w.alike("D04", "a scope that was granted last week", false, w.start, w.end, c)

	c = w.named("month-end")
	moment := w.after(.55, 9, 30)
	id := w.alike("D02", "a token that ran out, refused everywhere", false, moment, moment.Add(time.Hour), c)
	for i := range 8 {
		w.say(id, moment.Add(time.Duration(i)*20*time.Second), deed{by: c, service: w.services[i%3], op: w.services[i%3].operations[i], status: 401})
	}
	c = w.named("implied-admin")
	moment = w.after(.57, 9, 30)
	id = w.alike("D02", "a release that asks for two things it may not do", false, moment, moment.Add(time.Hour), c)
	for i := range 6 {
		w.say(id, moment.Add(time.Duration(i)*time.Minute), deed{by: c, service: s, op: s.operations[8+i%2], status: 403})
	}
	id = w.alike("D03", "an object that did not exist yet", false, moment, moment.Add(5*time.Hour), c)
	h := c.habits[0]
	for i, status := range []int{404, 404, 200} {
		w.say(id, moment.Add(time.Duration(i)*time.Hour), deed{by: c, service: h.service, op: h.op, id: "8080", tenant: w.tenants[0], status: status})
	}
	w.alike("D14", "a job that runs once a month", false, w.start, w.end, w.named("month-end"))
}

// driftLookAlikes are about what is new: D05 and D11.
func (w *world) driftLookAlikes() {
	s := w.services[0]
	o := &operation{method: "GET", path: "/" + s.name + "/{id}/summary", name: "GET /" + s.name + "/{id}/summary", class: "read", sensitivity: 1, scope: s.name + ":read", born: w.after(.65, 9, 0)}
	s.operations = append(s.operations, o)
	var parts []*credential
	for i := range 4 {
		c := w.named(fmt.Sprintf("release-%d", i))
		c.hold(o.scope)
		c.habits = append(c.habits, habit{s, o, .5, -1})
		parts = append(parts, c)
	}
	w.alike("D05", "a release that all of an application's credentials take part in", false, o.born, w.end, parts...)
	for _, c := range w.credentials {
		if c.name == "agent-01" || c.name == "ci-00" {
			w.alike("D05", "calls that change every week, by kind", false, w.start, w.after(.55, 0, 0), c)
		}
	}

	// The old key ends when the new one begins, on the same workload.
	before, next := w.named("rotated-old"), w.named("rotated-new")
	next.workload, next.owner, next.home = before.workload, before.owner, before.home
	next.habits, next.scopes = before.habits, before.scopes
	moment := w.after(.5, 3, 0)
	w.alike("D11", "a key rotated on the same workload", false, w.start, w.end, before, next)
	w.alike("D14", "a key used until the day that it was replaced", false, w.start, w.end, before)
	before.expires = moment.Add(48 * time.Hour).Truncate(24 * time.Hour)
	old, young := before.habits, next.habits
	before.habits, next.habits = nil, nil
	id := ""
	for t := w.start.Add(11 * time.Minute); t.Before(w.end); t = t.Add(53 * time.Minute) {
		by, habits := before, old
		if t.After(moment) {
			by, habits = next, young
		}
		h := habits[w.rand.IntN(len(habits))]
		w.say(id, t, deed{by: by, service: h.service, op: h.op})
	}
}

// placeLookAlikes are about where calls come from: D06 to D09.
func (w *world) placeLookAlikes() {
	c := w.named("dual-stack")
	id := w.alike("D06", "one partner over both address families", false, w.start, w.end, c)
	h := c.habits[0]
	c.networks = append(c.networks, "2001:db8:77::/48")
	if len(c.networks) == 1 {
		c.networks = nil
	}
	w.every(id, w.after(.05, 8, 0), w.end, 5*time.Hour, func(i int) deed {
		from := c.home
		from.address, from.pool = fmt.Sprintf("2001:db8:77::%d", 10+i%3), 1
		return deed{by: c, service: h.service, op: h.op, from: from}
	})
	for _, c := range w.credentials {
		if c.name == "front-00" {
			c.home.pool = 60
			w.alike("D06", "replicas that come and go", false, w.start, w.after(.55, 0, 0), c)
			w.alike("D07", "replicas that come and go", false, w.start, w.after(.55, 0, 0), c)
		}
	}
	c = w.named("cli-runner")
	w.alike("D08", "a command line tool on a timer", false, w.start, w.end, c)
	h = c.habits[0]
	c.habits, c.spare = nil, h
	w.every("", w.start.Add(3*time.Minute), w.end, 30*time.Minute, func(int) deed { return deed{by: c, service: h.service, op: h.op} })

	for _, c := range w.credentials {
		switch c.name {
		case "ci-01":
			w.alike("D08", "builds that call with a command line tool", false, w.start, w.after(.55, 0, 0), c)
		case "desk-00":
			w.alike("D09", "people who help every customer", false, w.start, w.after(.55, 0, 0), c)
		case "front-01":
			id := w.alike("D07", "two versions side by side", false, w.start, w.after(.55, 0, 0), c)
			w.every(id, w.after(.2, 8, 0), w.after(.5, 0, 0), 20*time.Minute, func(i int) deed {
				from := c.home
				from.agent = c.name + "/9.0-canary (Go-http-client/2.0)"
				h := c.habits[i%len(c.habits)]
				return deed{by: c, service: h.service, op: h.op, from: from}
			})
		}
	}
	w.failover()
	w.passedOn()
	w.alike("D09", "an aggregator that works for every customer", false, w.start, w.end, w.named("aggregator"))
	w.alike("D12", "an aggregator that works for every customer", false, w.start, w.end, w.named("aggregator"))
	c = w.named("migrating")
	from := w.after(.6, 8, 0)
	id = w.alike("D09", "a move between customers that was approved", true, from, from.Add(30*time.Hour), c)
	h = c.habits[0]
	w.every(id, from, from.Add(30*time.Hour), 20*time.Minute, func(int) deed {
		return deed{by: c, service: h.service, op: h.op, tenant: w.tenants[len(w.tenants)-1]}
	})
	c = w.named("helpdesk")
	from = w.after(.62, 13, 0)
	id = w.alike("D08", "an on-call engineer with an approved change", true, from, from.Add(2*time.Hour), c)
	for _, code := range []string{"D06", "D11"} {
		w.alike(code, "an on-call engineer with an approved change", false, from, from.Add(2*time.Hour), c)
		w.truth.LookAlikes[len(w.truth.LookAlikes)-1].Change = true // that of D08
	}
	h = c.habits[0]
	at := from
	for range 14 {
		at = at.Add(time.Duration(4+w.rand.IntN(70)) * time.Second)
		hand := c.home
		hand.agent, hand.spiffe = "curl/8.9.1", w.spiffe("debug")
		w.say(id, at, deed{by: c, service: h.service, op: h.op, from: hand})
	}
}

// failover moves a job to another of the company's networks for a day.
func (w *world) failover() {
	c := w.named("cli-runner")
	h := c.spare
	from := w.after(.58, 0, 0)
	id := w.alike("D06", "a day in the company's other network", false, from, from.Add(24*time.Hour), c)
	w.every(id, from, from.Add(24*time.Hour), 31*time.Minute, func(int) deed {
		there := c.home
		there.address = "10.250.7.%d"
		return deed{by: c, service: h.service, op: h.op, from: there}
	})
}

// passedOn lets a service pass on the token that it was called with.
func (w *world) passedOn() {
	var desk *credential
	for _, c := range w.credentials {
		if c.name == "desk-00" {
			desk = c
		}
	}
	front, back := w.services[0], w.services[len(w.production())-1]
	if desk == nil {
		return
	}
	o := back.operations[1]
	desk.hold(o.scope, front.operations[1].scope)
	id := w.alike("D11", "a token passed on within one trace", false, w.start, w.after(.55, 0, 0), desk)
	for t := w.start.Add(10 * time.Hour); t.Before(w.end); t = t.Add(5 * time.Hour) {
		if w.activity(desk, t) == 0 {
			continue
		}
		w.at(t, func(at time.Time) {
			trace, tenant, person := w.hexID(16), w.tenants[0], desk.subjects[0]
			w.deed(&deed{at: at.Add(5 * time.Millisecond), by: desk, from: front.identity.home, service: back, op: o, tenant: tenant, subject: person, trace: trace, took: 6 * time.Millisecond, status: 200, lookAlike: id, alone: true})
			w.deed(&deed{at: at, by: desk, service: front, op: front.operations[1], tenant: tenant, subject: person, trace: trace, took: 30 * time.Millisecond, status: 200, lookAlike: id, alone: true})
		})
	}
}

// volumeLookAlikes are about how much: D10 and D15.
func (w *world) volumeLookAlikes() {
	c := w.named("exporter")
	s := w.services[1]
	c.hold(s.operations[1].scope)
	c.habits = nil
	id := w.alike("D10", "an export that walks all objects every night", false, w.start, w.end, c)
	for day := range w.cfg.Days {
		from := w.start.AddDate(0, 0, day).Add(2*time.Hour + 7*time.Minute)
		w.every(id, from, from.Add(80*time.Second), 800*time.Millisecond, func(i int) deed {
			return deed{by: c, service: s, op: s.operations[1], id: fmt.Sprint(2000 + i), tenant: w.tenants[0]}
		})
	}
	w.alike("D15", "an export that is as large every night", false, w.start, w.end, c)
	monthly := w.named("month-end")
	h := monthly.habits[0]
	monthly.habits = nil
	for day := 0; day < w.cfg.Days; day += 28 {
		for i := range 30 {
			w.say("", w.start.AddDate(0, 0, day).Add(3*time.Hour+time.Duration(i)*11*time.Second), deed{by: monthly, service: h.service, op: h.op})
		}
	}
	from := w.after(.64, 22, 0)
	id = w.alike("D10", "a back-fill that was approved", true, from, from.Add(time.Hour), monthly)
	monthly.hold(s.operations[1].scope)
	w.every(id, from, from.Add(10*time.Minute), 1500*time.Millisecond, func(i int) deed {
		return deed{by: monthly, service: s, op: s.operations[1], id: fmt.Sprint(4000 + i), tenant: w.tenants[0]}
	})
	from = w.after(.7, 14, 0)
	var all []*credential
	for _, c := range w.credentials {
		if len(c.name) > 6 && c.name[:6] == "front-" && len(all) < 5 {
			all = append(all, c)
		}
	}
	id = w.alike("D15", "caches that fill at many applications after a restart", false, from, from.Add(10*time.Minute), all...)
	for _, c := range all {
		h := c.habits[0]
		w.every(id, from, from.Add(2*time.Minute), time.Second, func(int) deed { return deed{by: c, service: h.service, op: h.op} })
	}
	c = w.named("warm-cache")
	from = w.after(.75, 15, 0)
	id = w.alike("D15", "a load test that was approved", true, from, from.Add(time.Hour), c)
	h = c.habits[0]
	w.every(id, from, from.Add(5*time.Minute), 400*time.Millisecond, func(int) deed { return deed{by: c, service: h.service, op: h.op} })
}

// cloudLookAlikes are about issuing: D13, and the use of what was issued.
func (w *world) cloudLookAlikes() {
	launcher, chain := w.named("launcher"), w.named("stable-chain")
	w.alike("D13", "applications started with their roles twice a day", false, w.start, w.start.AddDate(0, 0, w.cfg.Days/2), launcher)
	w.alike("D13", "a chain of roles that is older than the window", false, w.start, w.end, chain)
	chain.hold("sts:AssumeRole")
	assume := w.cloud.operations[3]
	federated := w.named("new-federation")
	moment := w.after(.6, 9, 0)
	id := w.alike("D13", "a federation that was approved", true, moment, moment.Add(2*time.Hour), launcher)
	w.changes = append(w.changes, newChange(len(w.changes), federated.name, moment, moment.Add(2*time.Hour), "a federation that was approved"))
	for i := range 4 {
		w.say(id, moment.Add(time.Duration(i)*20*time.Minute), deed{by: launcher, service: w.cloud, op: assume, mints: w.sessionKey(federated, moment), mintsFor: federated.role})
		w.say(id, moment.Add(time.Duration(i)*20*time.Minute+time.Minute), deed{by: federated, service: w.cloud, op: w.cloud.operations[i%3]})
	}
	for _, c := range w.credentials {
		if c.auth != "role" || c == federated {
			continue
		}
		by := launcher
		if c.name == "app-role-00" {
			by = chain
		}
		for half := range w.cfg.Days * 2 {
			at := w.start.Add(time.Duration(half) * 12 * time.Hour)
			role := c.role
			key := w.sessionKey(c, at)
			w.at(at.Add(time.Duration(w.rand.IntN(900))*time.Millisecond), func(at time.Time) {
				w.deed(&deed{at: at, by: by, service: w.cloud, op: assume, mints: key, mintsFor: role, alone: true})
			})
		}
	}
	// One key, two applications that have nothing in common: a fault.
	shared := w.named("shared-key")
	for i, s := range []*service{w.services[0], w.services[len(w.production())-1]} {
		from := place{spiffe: w.ingress(), address: fmt.Sprintf("198.18.%d.%%d", i+1), pool: 2, agent: []string{"erp-connector/4", "stock-board/2"}[i]}
		o := s.operations[[]int{0, 3}[i]]
		shared.hold(o.scope)
		for t := w.start.Add(time.Duration(5+i) * time.Minute); t.Before(w.end); t = t.Add(41 * time.Minute) {
			w.at(t, func(at time.Time) {
				w.deed(&deed{at: at, by: shared, service: s, op: o, from: from, alone: true})
			})
		}
	}
}
