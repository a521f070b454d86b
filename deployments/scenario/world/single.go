package world

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// singles plans one deed for each detection that campaigns reach seldom: loud
// in one half of the worlds, quiet in the other.
func (w *world) singles() {
	stealth := []string{"loud", "slow"}[w.cfg.Seed%2]
	w.widened(stealth)
	w.drifting(stealth)
	w.driven(stealth)
	w.crossing(stealth)
	w.walking(stealth)
	w.deputy(stealth)
	w.minting(stealth)
	w.expired(stealth)
	w.hoarding(stealth)
	w.offPurpose(stealth)
	w.forgotten(stealth)
	w.clusterProbe(stealth)
}

// single begins a campaign of one deed by a credential.
func (w *world) single(name, stealth string, share float64, c *credential) *attacker {
	if c == nil {
		return nil
	}
	a := &attacker{w: w, by: c, from: c.home, clock: w.after(share, 9+w.rand.IntN(7), w.rand.IntN(60))}
	a.Campaign = w.campaign("single", stealth, name)
	return a
}

// widened is refused, and later holds more.
func (w *world) widened(stealth string) {
	a := w.single("widened_token", stealth, .66, w.victim(w.insider))
	if a == nil {
		return
	}
	s := a.by.habits[0].service
	o := s.op("delete")
	if a.by.holds(o.scope, w.end) {
		o = s.op("secret")
	}
	a.do(deed{service: s, op: o, id: "5150", tenant: a.tenant(), status: 403})
	a.clock = a.clock.Add(40 * time.Minute)
	a.do(deed{service: s, op: o, id: "5150", tenant: a.tenant(), presents: []string{o.scope}, status: 200})
}

// drifting does what it holds and never did.
func (w *world) drifting(stealth string) {
	a := w.single("new_behaviour", stealth, .75, w.victim(func(c *credential) bool { return w.insider(c) && len(c.habits) > 1 }))
	if a == nil {
		return
	}
	for i, s := range w.production() {
		if slices.ContainsFunc(a.by.habits, func(h habit) bool { return h.service == s }) || i > 6 {
			continue
		}
		for _, o := range []*operation{s.operations[2], s.operations[4], s.operations[6]} {
			a.by.hold(o.scope)
			a.do(deed{service: s, op: o})
		}
	}
}

// driven is a job's credential in a person's hands.
func (w *world) driven(stealth string) {
	a := w.single("person_with_key", stealth, .7, w.victim(func(c *credential) bool { return w.insider(c) && c.calls("read") > 1 }))
	if a == nil {
		return
	}
	a.from.agent = "curl/8.9.1"
	for i := range 24 {
		h := a.by.habits[i%len(a.by.habits)]
		o := h.service.operations[i%3]
		if !a.by.holds(o.scope, a.clock) {
			o = h.op
		}
		gap := math.Exp(2.5 + w.rand.NormFloat64())
		at := a.clock.Add(time.Duration(gap * float64(time.Second)))
		if stealth == "slow" && i%8 == 7 {
			at = at.Add(24 * time.Hour)
		}
		a.clock = at
		d := deed{by: a.by, service: h.service, op: o, from: a.from, campaign: a.Campaign, alone: true}
		w.at(at, func(at time.Time) {
			d := d
			d.at = at
			w.deed(&d)
			if d.campaign.Calls == 12 {
				w.shown(&d, "D08")
			}
		})
	}
}

// calls counts a credential's habits of a class.
func (c *credential) calls(class string) int {
	n := 0
	for _, h := range c.habits {
		if h.op.class == class {
			n++
		}
	}
	return n
}

// crossing acts for customers that are not its own.
func (w *world) crossing(stealth string) {
	if a := w.single("other_customer", stealth, .72, w.victim(func(c *credential) bool { return c.kind == "third_party" })); a != nil {
		for i := range 6 {
			h := a.by.habits[i%len(a.by.habits)]
			a.do(deed{service: h.service, op: h.op, tenant: w.tenants[(slices.Index(w.tenants, a.by.tenants[0])+1)%len(w.tenants)]})
		}
	}
	if !w.cfg.Staging {
		return
	}
	// A credential of staging acts in production.
	c := w.services[len(w.services)-1].identity
	staging := w.services[len(w.services)-1]
	c.habits = append(c.habits, habit{staging, staging.operations[0], 1, -1})
	c.hold(staging.operations[0].scope)
	for t := w.start.Add(13 * time.Minute); t.Before(w.end); t = t.Add(31 * time.Minute) {
		w.at(t, func(at time.Time) {
			w.deed(&deed{at: at, by: c, service: staging, op: staging.operations[0], alone: true})
		})
	}
	a := w.single("other_environment", stealth, .78, c)
	w.busy[c.name] = true
	s := w.services[0]
	c.hold(s.operations[1].scope)
	for i := range 5 {
		a.do(deed{service: s, op: s.operations[1], id: fmt.Sprint(6100 + i)})
	}
	w.at(a.clock, func(at time.Time) { w.shown(&deed{at: a.From, campaign: a.Campaign}, "D09") })
}

// walking reads one object after the other.
func (w *world) walking(stealth string) {
	a := w.single("object_walk", stealth, .74, w.victim(func(c *credential) bool { return c.kind == "third_party" || c.auth == "key" }))
	if a == nil {
		return
	}
	s := a.by.habits[0].service
	o := s.operations[1]
	a.by.hold(o.scope)
	a.by.habits = append(a.by.habits, habit{s, o, .4, -1})
	step := 2 * time.Second
	if stealth == "slow" {
		step = 17 * time.Second
	}
	for i := range 200 {
		at := a.clock.Truncate(time.Hour).Add(time.Duration(i) * step)
		w.at(at, func(at time.Time) {
			status := 200
			if i%5 == 4 {
				status = 404
			}
			w.deed(&deed{at: at, by: a.by, from: a.from, service: s, op: o, id: fmt.Sprint(3000 + i), tenant: a.tenant(), status: status, campaign: a.Campaign, alone: true})
		})
	}
}

// deputy is a service that acts for another customer than its caller's.
func (w *world) deputy(stealth string) {
	for _, s := range w.production() {
		if !s.traces || !s.tenanted || w.busy[s.identity.name] {
			continue
		}
		for _, o := range s.operations {
			for _, e := range o.edges {
				if !e.to.tenanted {
					continue
				}
				caller := w.victim(func(c *credential) bool { return c.kind == "third_party" })
				a := w.single("deputy", stealth, .76, caller)
				if a == nil {
					return
				}
				w.busy[s.identity.name] = true
				caller.hold(o.scope)
				a.through(s, o, e)
				return
			}
		}
	}
}

// through plans calls through a service that mixes up customers.
func (a *attacker) through(s *service, o *operation, e edge) {
	w := a.w
	mine := a.by.tenants[0]
	other := w.tenants[(slices.Index(w.tenants, mine)+1)%len(w.tenants)]
	for range 4 {
		w.at(a.next(), func(at time.Time) {
			trace := w.hexID(16)
			w.deed(&deed{at: at.Add(4 * time.Millisecond), by: s.identity, service: e.to, op: e.op, tenant: other, trace: trace, took: 9 * time.Millisecond, status: 200, campaign: a.Campaign, alone: true})
			d := deed{at: at, by: a.by, from: a.from, service: s, op: o, tenant: mine, trace: trace, took: 40 * time.Millisecond, status: 200, campaign: a.Campaign, alone: true}
			w.deed(&d)
			w.shown(&d, "D12")
		})
	}
}

// minting issues what was never issued before.
func (w *world) minting(stealth string) {
	if a := w.single("role_chain", stealth, .7, w.victim(func(c *credential) bool { return c.auth == "role" })); a != nil {
		a.by.hold("sts:AssumeRole")
		a.assume()
	}
	launcher := w.named("launcher")
	a := w.single("key_made", stealth, .8, launcher)
	w.busy["launcher"] = true
	key := fakeKey("AKIAEXAMPLE", a.ID)
	made := &credential{name: "made-key", client: "made-user", auth: "user", key: key, undeclared: true, kind: "service",
		home: place{address: "203.0.113.99", pool: 1, agent: "aws-cli/2.27 Python/3.12 Linux"}}
	a.do(deed{service: w.cloud, op: w.cloud.op("mint"), mintsFor: "x", mints: "", status: 403})
	a.do(deed{service: w.cloud, op: w.cloud.operations[7], mints: key, mintsFor: made.client, status: 200})
	a.from = made.home
	clock := a.clock
	for i := range 4 {
		w.at(clock.Add(time.Duration(3+i)*time.Minute), func(at time.Time) {
			d := deed{at: at, by: made, from: made.home, service: w.cloud, op: w.cloud.operations[i%3], status: 200, campaign: a.Campaign, alone: true}
			w.deed(&d)
			w.shown(&d, "D13")
		})
	}
}

// expired is a key that works on after its end.
func (w *world) expired(stealth string) {
	c := w.named("expiring-key")
	h := c.habits[0]
	c.habits = nil
	a := w.single("expired_key", stealth, .8, c)
	for t := w.start.Add(9 * time.Minute); t.Before(w.end); t = t.Add(150 * time.Minute) {
		d := deed{by: c, service: h.service, op: h.op, alone: true}
		if t.After(c.expires.Add(2 * time.Minute)) {
			d.campaign = a.Campaign
		}
		w.at(t, func(at time.Time) {
			d := d
			d.at = at
			w.deed(&d)
		})
	}
}

// forgotten is a key that nobody used for two months; only long worlds can tell.
func (w *world) forgotten(stealth string) {
	if w.cfg.Days < 70 {
		return
	}
	c := w.victim(func(c *credential) bool { return c.auth == "key" })
	if c == nil {
		return
	}
	h := c.habits[0]
	c.habits = nil
	for i := range 40 {
		w.at(w.start.Add(time.Duration(40+137*i)*time.Minute), func(at time.Time) {
			w.deed(&deed{at: at, by: c, service: h.service, op: h.op, alone: true})
		})
	}
	a := w.single("forgotten_key", stealth, .95, c)
	for range 4 {
		a.do(deed{service: h.service, op: h.op, idle: true})
	}
}

// clusterProbe is a service account that tries what it may not.
func (w *world) clusterProbe(stealth string) {
	a := w.single("cluster_probe", stealth, .83, w.victim(func(c *credential) bool { return c.auth == "account" }))
	if a == nil {
		return
	}
	for _, i := range []int{6, 5, 8, 9, 7} {
		if o := w.cluster.operations[i]; !a.by.holds(o.scope, a.clock) {
			a.do(deed{service: w.cluster, op: o})
		}
	}
}

// hoarding reads many secrets where it read one a day.
func (w *world) hoarding(stealth string) {
	a := w.single("secrets", stealth, .77, w.victim(w.insider))
	if a == nil {
		return
	}
	s := w.services[1]
	o := s.op("secret")
	a.by.hold(o.scope)
	for day := range w.cfg.Days {
		w.at(w.start.AddDate(0, 0, day).Add(7*time.Hour), func(at time.Time) {
			w.deed(&deed{at: at, by: a.by, service: s, op: o, id: "900", alone: true})
		})
	}
	step := 6 * time.Second
	if stealth == "slow" {
		step = 40 * time.Second
	}
	for i := range 24 {
		w.at(a.clock.Add(time.Duration(i)*step), func(at time.Time) {
			w.deed(&deed{at: at, by: a.by, from: a.from, service: s, op: o, id: fmt.Sprint(900 + i), status: 200, campaign: a.Campaign, alone: true})
		})
	}
}

// offPurpose is an agent that does what it may and what nobody meant.
func (w *world) offPurpose(stealth string) {
	a := w.single("off_purpose", stealth, .7, w.victim(func(c *credential) bool { return c.kind == "agent" }))
	if a == nil {
		return
	}
	for _, s := range w.production()[:3] {
		o := s.op("delete")
		if a.by.does(s, o) {
			continue
		}
		a.by.hold(o.scope)
		a.do(deed{service: s, op: o})
	}
}

// faults writes down what is wrong with the company itself.
func (w *world) faults() {
	fault := func(code, credential, scope, why string, may bool) {
		w.truth.Faults = append(w.truth.Faults, Fault{Code: code, Credential: credential, Scope: scope, Why: why, May: may})
	}
	fault("D17", w.known(w.named("legacy-sync")), "", "stands in no catalogue", false)
	for _, c := range w.attacks {
		for _, name := range c.Credentials {
			if c.Entry == "key_made" && name != "launcher" {
				fault("D17", name, "", "made by an attacker, stands in no catalogue", true)
			}
		}
	}
	fault("D16", "old-key", "", "a static key of more than a year", false)
	fault("D16", "portal-user", "", "a password in every request", false)
	fault("D07", "shared-key", "", "two applications that have nothing in common", false)
	for _, c := range w.credentials {
		for _, s := range c.scopes {
			if _, rare := c.rare[s]; !rare && !w.truth.Used[c.name+" "+s] {
				// Nobody can say so of less than a month.
				fault("D04", w.known(c), s, "held and never used", w.cfg.Days < 31)
			}
		}
	}
	for _, c := range w.attacks {
		if c.Calls > 0 {
			slices.Sort(c.Credentials)
			w.truth.Campaigns = append(w.truth.Campaigns, *c)
		}
	}
}
