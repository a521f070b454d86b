package world

import (
	"fmt"
	"time"
)

// staff makes everybody who calls: the company's own, its partners', its
// people's and its clouds' credentials, in the shares of a usual company.
func (w *world) staff() {
	w.cloud = w.cloudService()
	w.cluster = clusterService()
	w.portal = &service{name: "portal", env: "production", host: "portal." + w.domain, operations: []*operation{
		{method: "GET", path: "/forms", name: "GET /forms", class: "read", sensitivity: 1, scope: "portal:read"},
		{method: "GET", path: "/forms/{id}", name: "GET /forms/{id}", class: "read", sensitivity: 1, scope: "portal:read"},
	}}
	w.special()
	left := max(w.cfg.Credentials-len(w.credentials), 12)
	share := func(percent int) int { return max(1, left*percent/100) }
	for i := range share(24) {
		c := w.inside(fmt.Sprintf("front-%02d", i), "service", "pages and applications for customers")
		w.use(c, 2+w.rand.IntN(3), 4, "read", "write")
	}
	for i := range share(14) {
		c := w.inside(fmt.Sprintf("job-%02d", i), "service", "works by night")
		if i%3 == 0 {
			c.workload = "cronjob/" + c.name
		}
		w.use(c, 1+w.rand.IntN(2), 2, "read")
	}
	for i := range share(8) {
		c := w.inside(fmt.Sprintf("agent-%02d", i), "agent", "answers customers' questions")
		w.use(c, 3, 9, "read", "write")
		w.weekly(c)
		w.approve(c)
	}
	for i := range share(8) {
		c := w.inside(fmt.Sprintf("ci-%02d", i), "ci", "builds and tests releases")
		c.home.agent = "curl/8.9.1"
		w.use(c, 3, 8, "read")
		w.weekly(c)
	}
	for i := range share(16) {
		w.partner(fmt.Sprintf("partner-%02d", i), i)
	}
	for i := range share(12) {
		w.apiKey(fmt.Sprintf("device-%02d", i))
	}
	for i := range share(5) {
		c := w.inside(fmt.Sprintf("desk-%02d", i), "human", "the back office of team "+fmt.Sprint(i))
		c.workload, c.home.spiffe, c.home.pool = "", w.ingress(), 30
		c.home.agent = "Mozilla/5.0 (X11; Linux x86_64) Firefox/141.0"
		for n := range 3 + w.rand.IntN(6) {
			c.subjects = append(c.subjects, fmt.Sprintf("user:desk-%02d-%d", i, n))
		}
		w.use(c, 3, 5, "read", "write")
	}
	for i := range share(8) {
		w.role(fmt.Sprintf("app-role-%02d", i))
	}
	for i := range share(5) {
		w.clusterAccount(fmt.Sprintf("operator-%02d", i))
	}
	w.excess()
}

// use gives a credential habits: up to n operations of some services, with the
// scopes they need.
func (w *world) use(c *credential, services, n int, classes ...string) {
	order := w.rand.Perm(len(w.production()))
	for _, i := range order[:min(services, len(order))] {
		s := w.production()[i]
		for range max(1, n/services) {
			var o *operation
			switch class := classes[w.rand.IntN(len(classes))]; class {
			case "read":
				o = s.operations[w.rand.IntN(3)]
			case "write":
				o = s.operations[3+w.rand.IntN(2)]
			default:
				o = s.op(class)
			}
			c.hold(o.scope)
			c.habits = append(c.habits, habit{s, o, .3 + w.rand.Float64(), -1})
		}
	}
}

// production are the services of the first environment.
func (w *world) production() []*service { return w.services[:w.cfg.Services] }

// weekly makes a credential's habits change from week to week.
func (w *world) weekly(c *credential) {
	for i := range c.habits {
		if i > 1 {
			c.habits[i].week = i % 4
		}
	}
}

// approve writes down as approved what a credential's purpose needs: what it
// does, as patterns.
func (w *world) approve(c *credential) {
	for _, h := range c.habits {
		c.services = add(c.services, h.service.name)
		c.operations = add(c.operations, h.op.method+" "+h.op.path)
	}
}

// outside makes a caller that comes through the ingress.
func (w *world) outside(name, kind, purpose string) *credential {
	c := w.inside(name, kind, purpose)
	n := len(w.credentials)
	c.workload = ""
	network := fmt.Sprintf("%d.%d.%d", 100+n%50, 64+n%60, n%250)
	if w.cfg.NAT {
		// Several partners leave through one provider's shared addresses.
		network = "192.0.2"
		if n%2 == 0 {
			network = "198.51.100"
		}
	}
	c.home = place{spiffe: w.ingress(), address: network + ".%d", pool: 1 + w.rand.IntN(4), agent: []string{"okhttp/4.12", "python-requests/2.32", "Apache-HttpClient/5.3", name + "-connector/2"}[n%4]}
	c.networks = []string{network + ".0/24"}
	if n%3 == 0 {
		c.networks = nil
	}
	return c
}

func (w *world) partner(name string, i int) *credential {
	c := w.outside(name, "third_party", "exchanges data for its own customer")
	c.tenants = []string{w.tenants[i%len(w.tenants)]}
	w.use(c, 2, 4, "read", "write")
	return c
}

func (w *world) apiKey(name string) *credential {
	c := w.outside(name, "service", "a device of a store")
	c.auth, c.issued = "key", w.start.AddDate(0, 0, -20-w.rand.IntN(20))
	w.use(c, 1, 3, "read")
	return c
}

// role makes a role of the cloud account that is assumed twice a day.
func (w *world) role(name string) *credential {
	c := w.inside(name, "service", "the cloud rights of an application")
	c.auth, c.role, c.session = "role", name, "i-0example"+fmt.Sprintf("%05x", w.rand.IntN(1<<20))
	c.home.pool, c.home.agent = 1, "aws-sdk-go/1.55"
	for _, o := range w.cloud.operations[:3] {
		c.hold(o.scope)
		c.habits = append(c.habits, habit{w.cloud, o, 1, -1})
	}
	return c
}

// clusterAccount makes a service account of the cluster.
func (w *world) clusterAccount(name string) *credential {
	c := w.inside(name, "service", "keeps something in the cluster as it should be")
	c.auth, c.namespace = "account", "ns-"+name
	c.home.agent, c.home.pool = name+"/v1.4", 1
	for i, o := range w.cluster.operations[:5] {
		if i == 0 || w.rand.IntN(2) == 0 {
			c.hold(o.scope)
			c.habits = append(c.habits, habit{w.cluster, o, 1, -1})
		}
	}
	return c
}

func (w *world) cloudService() *service {
	s := &service{name: "aws", env: "production", host: "amazonaws.com"}
	for _, o := range []struct{ name, scope, class string }{
		{"s3:GetObject", "s3:GetObject", "read"}, {"s3:PutObject", "s3:PutObject", "write"}, {"s3:ListObjects", "s3:ListBucket", "read"},
		{"sts:AssumeRole", "sts:AssumeRole", "mint"}, {"secretsmanager:GetSecretValue", "secretsmanager:GetSecretValue", "secret"},
		{"ec2:DescribeInstances", "ec2:DescribeInstances", "read"}, {"iam:ListRoles", "iam:ListRoles", "read"},
		{"iam:CreateAccessKey", "iam:CreateAccessKey", "mint"}, {"kms:ListKeys", "kms:ListKeys", "read"}, {"s3:DeleteObject", "s3:DeleteObject", "delete"},
	} {
		s.operations = append(s.operations, &operation{name: o.name, scope: o.scope, class: o.class, sensitivity: 2})
	}
	return s
}

func clusterService() *service {
	s := &service{name: "cluster", env: "production", host: "kubernetes.default.svc"}
	for _, name := range []string{"list pods", "get pods", "watch pods", "get configmaps", "list services", "get secrets", "list secrets", "delete pods", "list nodes", "create pods"} {
		class := "read"
		switch {
		case name == "get secrets" || name == "list secrets":
			class = "secret"
		case name == "delete pods" || name == "create pods":
			class = "write"
		}
		s.operations = append(s.operations, &operation{name: name, scope: name, class: class, sensitivity: 2})
	}
	return s
}

// excess gives some credentials scopes that nobody needs.
func (w *world) excess() {
	for i, c := range w.credentials {
		if c.auth == "role" || c.auth == "account" || c.auth == "user" || c.auth == "basic" || i%3 != 0 || len(c.habits) == 0 {
			continue
		}
		s := c.habits[0].service
		c.hold(s.operations[[]int{5, 6, 3, 7}[w.rand.IntN(4)]].scope)
	}
}

// special makes the credentials that the world's faults and look-alikes need.
func (w *world) special() {
	rogue := w.inside("legacy-sync", "", "")
	rogue.undeclared, rogue.owner = true, ""
	w.use(rogue, 1, 1, "read")
	old := w.apiKey("old-key")
	old.issued = w.start.AddDate(-1, -1, 0)
	shared := w.apiKey("shared-key")
	shared.habits, shared.networks = nil, nil
	for _, name := range []string{"exporter", "stubborn-job", "month-end", "aggregator", "implied-admin", "propagated", "requested", "rotated-new", "rotated-old", "helpdesk", "warm-cache"} {
		c := w.inside(name, "service", "one of the company's own jobs")
		w.use(c, 2, 3, "read")
	}
	for i := range 4 {
		c := w.inside(fmt.Sprintf("release-%d", i), "service", "a part of one application")
		c.workload, c.owner, c.home.spiffe, c.home.agent = "ns/prod/sa/release", "team-release", w.spiffe("release"), "release/3.1 (Go-http-client/2.0)"
		w.use(c, 2, 3, "read")
	}
	launcher := w.inside("launcher", "service", "starts applications with their roles")
	launcher.auth, launcher.key, launcher.home.pool, launcher.home.agent = "user", "AKIAEXAMPLELAUNCH001", 1, "aws-sdk-go/1.55"
	launcher.issued = w.start.AddDate(0, 0, -30)
	launcher.hold("sts:AssumeRole")
	w.role("stable-chain")
	w.role("new-federation").habits = nil
	// A user of the old portal, which knows people by their passwords.
	user := w.outside("portal-user", "service", "fetches forms from the old portal")
	user.auth, user.networks = "basic", nil
	user.hold("portal:read")
	for _, o := range w.portal.operations {
		user.habits = append(user.habits, habit{w.portal, o, 1, -1})
	}
	expiring := w.apiKey("expiring-key")
	expiring.expires = w.start.Add(time.Duration(float64(w.cfg.Days)*.8*24) * time.Hour).Truncate(24 * time.Hour)
	w.named("aggregator").tenants = nil
	runner := w.inside("cli-runner", "ci", "uploads artefacts on a timer")
	runner.home.agent = "curl/8.9.1"
	w.use(runner, 1, 2, "read")
	w.partner("dual-stack", 0)
	w.partner("migrating", 1)
}

// named finds a credential; every name asked for is made by special.
func (w *world) named(name string) *credential {
	for _, c := range w.credentials {
		if c.name == name {
			return c
		}
	}
	panic("no credential " + name) // a mistake in this package
}
