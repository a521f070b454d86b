package world

import (
	"fmt"
	"slices"
	"time"
)

// operation is one operation of a service.
type operation struct {
	name, method, path string
	class              string
	sensitivity        int
	scope              string
	// open operations are not refused to callers without the scope: the gap
	// that out-of-scope access goes through.
	open bool
	// edges are the calls that serving it makes.
	edges []edge
	// born is when a deployment brings it; zero from the start.
	born time.Time
}

// edge is a call that one operation makes to another.
type edge struct {
	to   *service
	op   *operation
	odds float64
}

// service is one API with its workload.
type service struct {
	name, env, host string
	operations      []*operation
	tenanted        bool
	// identity is what its workload calls others with.
	identity *credential
	// traces says that it passes trace ids on.
	traces bool
	layer  int
}

func (s *service) op(class string) *operation {
	for _, o := range s.operations {
		if o.class == class {
			return o
		}
	}
	return nil
}

// place is where calls come from.
type place struct {
	// spiffe is the peer that the mesh sees.
	spiffe string
	// address has a %d for the last number, and pool how many of those.
	address string
	pool    int
	agent   string
}

// credential is one of the company's.
type credential struct {
	// name is the catalogue's, client that of its token or key.
	name, client string
	// auth is jwt, key, mtls, user, role or account.
	auth string
	kind string
	// undeclared ones stand nowhere in the catalogue.
	undeclared bool
	owner      string
	workload   string
	purpose    string
	home       place
	// subjects are the people behind an application's token.
	subjects []string
	// scopes are held from the beginning; later are held from a moment on.
	scopes []string
	later  map[string]time.Time
	rare   map[string]string
	// tenants are where it works, nil for all.
	tenants []string
	// services and operations are approved, nil where nothing is said.
	services, operations []string
	networks             []string
	issued, expires      time.Time
	habits               []habit
	// spare is a habit of one whose calls are planned one by one.
	spare habit
	// target is the service whose data it mostly works on.
	key, role, session string
	namespace          string
}

// habit is what a credential does again and again.
type habit struct {
	service *service
	op      *operation
	weight  float64
	// week restricts it to weeks of that number modulo four, -1 for all.
	week int
}

// holds reports whether the credential holds a scope at a moment.
func (c *credential) holds(scope string, at time.Time) bool {
	if scope == "" || slices.Contains(c.scopes, scope) {
		return true
	}
	if from, ok := c.later[scope]; ok && !at.Before(from) {
		return true
	}
	for _, s := range c.scopes {
		if implied(s, scope) {
			return true
		}
	}
	return false
}

// implied reports whether one scope includes another: NOUN:admin includes all
// of its noun but the secrets.
func implied(held, scope string) bool {
	noun, ok := cutSuffix(held, ":admin")
	return ok && held != scope && len(scope) > len(noun) && scope[:len(noun)+1] == noun+":" && scope != noun+":secrets"
}

func cutSuffix(s, suffix string) (string, bool) {
	if len(s) > len(suffix) && s[len(s)-len(suffix):] == suffix {
		return s[:len(s)-len(suffix)], true
	}
	return s, false
}

// build makes the company.
func (w *world) build() {
	r := w.rand
	w.domain = companies[w.cfg.Set][r.IntN(len(companies[w.cfg.Set]))] + fmt.Sprint(w.cfg.Seed) + ".example"
	w.account = fmt.Sprintf("%012d", 100000000000+w.cfg.seed("account")%800000000000)
	for i := range w.cfg.Tenants {
		w.tenants = append(w.tenants, fmt.Sprintf("t-%s%02d", string(rune('a'+i%26)), r.IntN(90)+10))
	}
	names := slices.Clone(nouns[w.cfg.Set])
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i, noun := range names[:w.cfg.Services] {
		w.services = append(w.services, w.newService(noun, "production", i))
	}
	w.connect()
	w.staff()
}

func (w *world) newService(noun, env string, i int) *service {
	s := &service{name: noun, env: env, host: noun + "." + w.domain, tenanted: w.rand.IntN(3) > 0, traces: w.rand.Float64() < w.cfg.Traced}
	if env != "production" {
		s.name, s.host = noun+"-"+env, noun+"."+env+"."+w.domain
	}
	if i == 0 {
		s.tenanted = true // somebody must keep customers apart
	}
	s.layer = i * 3 / w.cfg.Services
	one := "/" + noun + "/{id}"
	list := []*operation{
		{method: "GET", path: "/" + noun, class: "read", sensitivity: 1, scope: "read"},
		{method: "GET", path: one, class: "read", sensitivity: 1, scope: "read"},
		{method: "GET", path: one + "/history", class: "read", sensitivity: 2, scope: "read"},
		{method: "POST", path: "/" + noun, class: "write", sensitivity: 2, scope: "write"},
		{method: "PATCH", path: one, class: "write", sensitivity: 2, scope: "write"},
		{method: "DELETE", path: one, class: "delete", sensitivity: 3, scope: "delete"},
		{method: "GET", path: "/" + noun + "/export", class: "read", sensitivity: 3, scope: "export"},
		{method: "POST", path: one + "/approve", class: "admin", sensitivity: 4, scope: "approve"},
		{method: "PUT", path: "/" + noun + "/settings", class: "admin", sensitivity: 4, scope: "settings"},
		{method: "GET", path: one + "/secret", class: "secret", sensitivity: 4, scope: "secrets"},
	}
	// Every service has its own gaps; at least one service has one.
	for _, o := range list {
		o.name, o.scope = o.method+" "+o.path, s.name+":"+o.scope
		switch o.class {
		case "admin", "delete":
			o.open = w.rand.IntN(3) == 0 || i == 0 && o.class == "admin"
		case "read":
			o.open = o.sensitivity == 3 && w.rand.IntN(2) == 0
		}
	}
	s.operations = list
	return s
}

// connect draws the call graph. It has no cycles: a service calls only later
// ones.
func (w *world) connect() {
	link := func(from, to *service, odds float64) {
		// Reads lead to reads and writes to writes, mostly.
		for _, o := range from.operations[:5] {
			if w.rand.Float64() > .7 {
				continue
			}
			target := to.operations[w.rand.IntN(2)]
			if o.class == "write" && w.rand.IntN(2) == 0 {
				target = to.operations[3+w.rand.IntN(2)]
			}
			o.edges = append(o.edges, edge{to, target, odds})
		}
	}
	n := len(w.services)
	for i, s := range w.services {
		switch w.cfg.Topology {
		case Chain:
			if i+1 < n {
				link(s, w.services[i+1], .5)
			}
		case Hub:
			hub := w.services[n/2]
			if i < n/2 {
				link(s, hub, .5)
			} else if s == hub {
				for _, to := range w.services[i+1:] {
					link(s, to, .25)
				}
			}
		case Mesh:
			for _, to := range w.services[i+1:] {
				if w.rand.IntN(n) < 3 {
					link(s, to, .3)
				}
			}
		default:
			for _, to := range w.services {
				if to.layer == s.layer+1 && w.rand.IntN(2) == 0 {
					link(s, to, .4)
				}
			}
		}
	}
	if w.cfg.Staging {
		for i := range min(2, n) {
			w.services = append(w.services, w.newService(w.services[i].name, "staging", i))
		}
	}
	for _, s := range w.services {
		c := w.inside(s.name+"-svc", "service", "serves "+s.name)
		s.identity = c
		for _, o := range s.operations {
			for _, e := range o.edges {
				c.hold(e.op.scope)
			}
		}
	}
}

func (c *credential) hold(scopes ...string) {
	for _, s := range scopes {
		if !slices.Contains(c.scopes, s) {
			c.scopes = append(c.scopes, s)
		}
	}
}

// inside makes a workload of the mesh with its own token.
func (w *world) inside(name, kind, purpose string) *credential {
	n := len(w.credentials)
	c := &credential{
		name: name, client: name, auth: "jwt", kind: kind, owner: "team-" + string(rune('a'+n%9)), workload: workloadName(name, n), purpose: purpose,
		home: place{spiffe: w.spiffe(name), address: fmt.Sprintf("10.%d.%d.%%d", 20+n/200, n%200), pool: 2 + w.rand.IntN(4),
			agent: name + "/" + fmt.Sprint(1+w.rand.IntN(4)) + "." + fmt.Sprint(w.rand.IntN(9)) + " (Go-http-client/2.0)"},
		networks: []string{"10.0.0.0/8"}, rare: map[string]string{}, later: map[string]time.Time{},
	}
	w.credentials = append(w.credentials, c)
	return c
}

// workloadName is how the catalogue names a workload: as the cluster knows its
// deployment, or by the account that the mesh sees.
func workloadName(name string, n int) string {
	if n%2 == 0 {
		return "ns/prod/sa/" + name
	}
	return "deploy/" + name
}

func (w *world) spiffe(name string) string {
	return "spiffe://" + w.domain + "/ns/prod/sa/" + name
}

func (w *world) ingress() string { return "spiffe://" + w.domain + "/ns/edge/sa/ingress" }
