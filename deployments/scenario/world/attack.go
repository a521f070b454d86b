package world

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The dimensions of campaigns.
var (
	goals     = []string{"explore", "spread", "reach"}
	stealths  = []string{"loud", "pairs", "active", "both", "slow"}
	entries   = []string{"leaked_key", "stolen_session", "compromised_workload", "malicious_third_party", "helpful_agent"}
	perWorld  = 7
	proportio = .62 // the share of the time that is over before attackers come
)

// campaigns plans the world's attackers. Worlds of a set go through all
// combinations of goal, stealth and entry in an order that is the set's.
func (w *world) campaigns() {
	var all [][3]string
	for _, g := range goals {
		for _, s := range stealths {
			for _, e := range entries {
				all = append(all, [3]string{g, s, e})
			}
		}
	}
	order := rand.New(rand.NewPCG(hash(string(w.cfg.Set)), 5)).Perm(len(all))
	w.singles()
	for i := range perWorld {
		combination := all[order[(int(w.cfg.Seed)*perWorld+i)%len(all)]]
		share := proportio + .3*float64(i)/float64(perWorld)
		w.attack(combination[0], combination[1], combination[2], share)
	}
}

// attacker is one campaign in the planning.
type attacker struct {
	*Campaign
	w     *world
	by    *credential
	from  place
	clock time.Time
}

// victim picks a credential that no story has yet.
func (w *world) victim(fits func(*credential) bool) *credential {
	var list []*credential
	for _, c := range w.credentials {
		if !w.busy[c.name] && len(c.habits) > 0 && fits(c) {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil
	}
	c := list[w.rand.IntN(len(list))]
	w.busy[c.name] = true
	return c
}

func (w *world) insider(c *credential) bool {
	return c.auth == "jwt" && c.home.spiffe != w.ingress() && c.kind == "service"
}

// attack plans one campaign.
func (w *world) attack(goal, stealth, entry string, share float64) {
	a := &attacker{w: w, clock: w.after(share, 9+w.rand.IntN(8), w.rand.IntN(60))}
	switch entry {
	case "leaked_key":
		a.by = w.victim(func(c *credential) bool { return c.auth == "key" || w.insider(c) })
	case "stolen_session":
		a.by = w.victim(func(c *credential) bool { return c.auth == "role" || c.kind == "human" })
	case "compromised_workload":
		a.by = w.victim(w.insider)
	case "malicious_third_party":
		a.by = w.victim(func(c *credential) bool { return c.kind == "third_party" })
	default:
		a.by = w.victim(func(c *credential) bool { return c.kind == "agent" })
	}
	if a.by == nil {
		return // a world too small for so many attackers
	}
	a.Campaign = w.campaign(goal, stealth, entry)
	a.from = a.by.home
	if len(a.by.subjects) > 0 {
		a.by.habits = slices.Clone(a.by.habits)
	}
	if entry == "leaked_key" || entry == "stolen_session" {
		a.from.spiffe, a.from.pool = w.ingress(), 1
		a.from.address = "203.0.113." + []string{"7", "19", "44", "121", "200"}[w.rand.IntN(5)]
	}
	if stealth == "loud" {
		a.from.agent = []string{"curl/8.9.1", "python-requests/2.31"}[w.rand.IntN(2)]
	}
	switch goal {
	case "explore":
		a.explore()
	case "spread":
		a.spread()
	default:
		a.reach()
	}
}

// next is the moment of the attacker's next call.
func (a *attacker) next() time.Time {
	r := a.w.rand
	switch a.Stealth {
	case "loud":
		a.clock = a.clock.Add(time.Duration(5+r.IntN(60)) * time.Second)
	case "slow":
		a.clock = a.clock.Add(time.Duration(7*60+r.IntN(16*60)) * time.Minute)
	default:
		a.clock = a.clock.Add(time.Duration(90+r.IntN(400)) * time.Second)
	}
	if a.Stealth == "active" || a.Stealth == "both" {
		for n := 0; a.w.activity(a.by, a.clock) == 0 && n < 24*8; n++ {
			a.clock = a.clock.Truncate(time.Hour).Add(time.Hour + time.Duration(r.IntN(600))*time.Second)
		}
	}
	return a.clock
}

// quiet says that the attacker keeps to services seen before.
func (a *attacker) quiet() bool { return a.Stealth == "pairs" || a.Stealth == "both" }

// do plans a call of the attacker.
func (a *attacker) do(d deed) {
	w := a.w
	if d.by == nil {
		d.by = a.by
	}
	d.from, d.campaign, d.alone = a.from, a.Campaign, true
	w.at(a.next(), func(at time.Time) {
		d := d
		d.at = at
		w.deed(&d)
	})
}

// services are those that the attacker may call with a credential.
func (a *attacker) services(c *credential) []*service {
	if c.auth == "role" {
		return []*service{a.w.cloud}
	}
	if !a.quiet() {
		return a.w.production()
	}
	var list []*service
	for _, h := range c.habits {
		if !slices.Contains(list, h.service) {
			list = append(list, h.service)
		}
	}
	return list
}

// does reports whether a credential has a habit.
func (c *credential) does(s *service, o *operation) bool {
	return slices.ContainsFunc(c.habits, func(h habit) bool { return h.service == s && h.op == o })
}

// explore tries what there is.
func (a *attacker) explore() {
	type pair struct {
		s *service
		o *operation
	}
	var list []pair
	for _, s := range a.services(a.by) {
		for _, o := range s.operations {
			if !a.by.does(s, o) && o.born.IsZero() && o.class != "mint" {
				list = append(list, pair{s, o})
			}
		}
	}
	a.w.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	n := 7
	if a.Stealth == "loud" {
		n = 14
	}
	for _, p := range list[:min(n, len(list))] {
		a.do(deed{service: p.s, op: p.o, subject: a.subject()})
	}
}

// subject is the person whose session it is, the same one throughout.
func (a *attacker) subject() string {
	if len(a.by.subjects) > 0 {
		return a.by.subjects[0]
	}
	return ""
}

// spread takes other credentials, and uses them.
func (a *attacker) spread() {
	w := a.w
	switch {
	case a.by.auth == "role":
		a.assume()
		return
	case a.by.kind == "third_party":
		for i := range 8 {
			h := a.by.habits[i%len(a.by.habits)]
			a.do(deed{service: h.service, op: h.op, tenant: w.tenants[(slices.Index(w.tenants, a.by.tenants[0])+1+i/3)%len(w.tenants)]})
		}
		return
	}
	for range 3 {
		other := w.victim(func(c *credential) bool {
			if !w.insider(c) || (a.Stealth == "active" || a.Stealth == "both") && w.activity(c, a.clock) == 0 {
				return false
			}
			return !a.quiet() || slices.ContainsFunc(c.habits, func(h habit) bool { return slices.Contains(a.services(a.by), h.service) })
		})
		if other == nil {
			continue
		}
		for i := range 4 {
			h := other.habits[i%len(other.habits)]
			if a.quiet() && !slices.Contains(a.services(a.by), h.service) {
				continue
			}
			a.do(deed{by: other, service: h.service, op: h.op})
		}
	}
}

// assume goes from role to role.
func (a *attacker) assume() {
	w := a.w
	other := w.victim(func(c *credential) bool { return c.auth == "role" })
	if other == nil {
		other = w.named("stable-chain")
	}
	key := fakeKey("ASIAEXAMPLE", a.ID+other.name)
	a.do(deed{service: w.cloud, op: w.cloud.operations[3], mints: key, mintsFor: other.role, status: 200})
	w.at(a.clock, func(at time.Time) { w.shown(&deed{at: at, campaign: a.Campaign}, "D13") })
	for i := range 5 {
		a.do(deed{by: other, service: w.cloud, op: w.cloud.operations[i%3], key: key, session: "session"})
	}
}

// reach goes for what is worth most.
func (a *attacker) reach() {
	w := a.w
	services := a.services(a.by)
	s := services[w.rand.IntN(len(services))]
	if s == w.cloud {
		for i := range 12 {
			a.do(deed{service: s, op: s.op("secret"), id: string(rune('a' + i)), status: 200})
		}
		return
	}
	h := a.by.habits[0]
	a.do(deed{service: h.service, op: h.op, subject: a.subject()})
	target := s.op([]string{"secret", "admin"}[w.rand.IntN(2)])
	times := 3
	if a.Stealth == "loud" && target.class == "secret" {
		times = 14
	}
	if a.by.holds(target.scope, a.clock) || target.open {
		for i := range times {
			a.do(deed{service: s, op: target, id: w.numbered(i), subject: a.subject()})
		}
		return
	}
	// Refused: then with a credential that may, or a token that was widened.
	a.do(deed{service: s, op: target, id: w.numbered(0), tenant: a.tenant(), subject: a.subject()})
	if a.Stealth == "loud" {
		a.clock = a.clock.Add(10 * time.Minute)
	}
	if other := w.victim(func(c *credential) bool { return w.insider(c) && c.holds(target.scope, a.clock) }); other != nil && !strings.HasPrefix(a.Entry, "malicious") {
		for i := range times {
			a.do(deed{by: other, service: s, op: target, id: w.numbered(i)})
		}
		return
	}
	for i := range times {
		d := deed{service: s, op: target, id: w.numbered(i), tenant: a.tenant(), presents: []string{target.scope}, subject: a.subject()}
		if a.by.auth != "jwt" {
			d.presents, d.status = nil, 200 // a hole in the service, not a token
		}
		a.do(d)
	}
}

func (a *attacker) tenant() string {
	if a.by.tenants != nil {
		return a.by.tenants[0]
	}
	return a.w.tenants[0]
}

func (w *world) numbered(i int) string {
	return []string{"7001", "7002", "7003", "7004", "7005", "7006", "7007", "7008", "7009", "7010", "7011", "7012", "7013", "7014"}[i%14]
}
