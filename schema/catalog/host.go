package catalog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// hostTable finds the sites of a host.
type hostTable struct {
	// exact is by host name, or by host:port where the catalogue gives one.
	exact map[string]*hostSites
	// wild is by what follows the star, such as ".example.com"; "" is the
	// pattern "*".
	wild map[string]*hostSites
	// ports says that some host is given with its port.
	ports bool
	// conflicts are operations that no path tells apart.
	conflicts []conflict
}

// hostSites are the sites of one host, the longest base path first.
type hostSites struct {
	sites []*site
	// next are those of the host's next wider name, or nil.
	next *hostSites
}

// site is what answers below one base path of a host: mostly one service. Two
// services with the same host and base path are told apart by their templates.
type site struct {
	basePath string
	services []*Service
	router   *router
	// tenants says that a service has a tenant in its path.
	tenants bool
}

// conflict is one operation that two services at the same place both have.
type conflict struct {
	first, second endpoint
}

func newHostTable(services []*Service) hostTable {
	t := hostTable{exact: map[string]*hostSites{}, wild: map[string]*hostSites{}}
	for _, s := range services {
		for _, host := range s.Hosts {
			t.add(host, s)
		}
	}
	// Hosts with the same services share a router.
	routers := map[string]*router{}
	order := make(map[*Service]string, len(services))
	for i, s := range services {
		order[s] = strconv.Itoa(i)
	}
	for _, table := range [...]map[string]*hostSites{t.exact, t.wild} {
		for _, host := range slices.Sorted(mapKeys(table)) {
			h := table[host]
			slices.SortStableFunc(h.sites, func(a, b *site) int { return cmp.Compare(len(b.basePath), len(a.basePath)) })
			for _, site := range h.sites {
				t.route(site, routers, order)
			}
		}
	}
	for host, h := range t.exact {
		name := hostName(host)
		if h.next = t.exact[name]; h.next == nil || name == host {
			h.next = wider(&t, name)
		}
	}
	for suffix, h := range t.wild {
		if suffix != "" {
			h.next = wider(&t, suffix)
		}
	}
	return t
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// add files a service under a host.
func (t *hostTable) add(host string, s *Service) {
	table := t.exact
	if suffix, ok := strings.CutPrefix(host, "*"); ok {
		table, host = t.wild, suffix
	} else if strings.Contains(host, ":") {
		t.ports = true
	}
	h := table[host]
	if h == nil {
		h = &hostSites{}
		table[host] = h
	}
	for _, site := range h.sites {
		if site.basePath == s.BasePath {
			if !slices.Contains(site.services, s) {
				site.services = append(site.services, s)
			}
			return
		}
	}
	h.sites = append(h.sites, &site{basePath: s.BasePath, services: []*Service{s}})
}

// route gives a site its router.
func (t *hostTable) route(site *site, routers map[string]*router, order map[*Service]string) {
	key := ""
	for _, s := range site.services {
		key += order[s] + " "
		site.tenants = site.tenants || s.Tenant.Path != ""
	}
	site.router = routers[key]
	if site.router != nil {
		return
	}
	var built trie
	for _, s := range site.services {
		for _, o := range s.Operations {
			if o.Template == "" {
				continue
			}
			if taken := built.add(s, o); taken != nil {
				t.conflicts = append(t.conflicts, conflict{*taken, endpoint{s, o}})
			}
		}
	}
	site.router = built.compile()
	routers[key] = site.router
}

// maxHost is the longest host name that is looked up, with its port; DNS names
// have 253 characters at most.
const maxHost = 264

// Route finds the service, operation and tenant of a call. The host may carry a
// port and is compared without regard to case: an exact host goes before the
// longest wildcard, and among the services of a host the longest base path
// decides. A path with a query is cut there. False says that no service is
// known; a service without the operation is true with a nil Operation.
//
// A final slash does not matter unless templates differ in it; a segment is
// split off before it is percent-decoded, so that an encoded slash stays inside
// its segment; a path with dot segments has no operation. A HEAD call that is
// no operation of its own is the GET's.
func (c *Catalog) Route(host, method, path string) (Route, bool) {
	path = pathOnly(path)
	site, rest := c.hosts.find(host, path)
	if site == nil {
		return Route{}, false
	}
	route := site.find(rest, methodOf(method))
	if route.Service.Tenant.Host != "" {
		route.Tenant = route.Service.Tenant.fromHost(host)
	}
	return route, true
}

// ServiceForHost finds the service of host and path, without regard to its
// operations. With an empty path it is the one service that the host has, or
// nil if there are several. Where several services share host and base path,
// it is the first of the catalogue.
func (c *Catalog) ServiceForHost(host, path string) *Service {
	if path == "" {
		return c.hosts.single(host)
	}
	site, _ := c.hosts.find(host, pathOnly(path))
	if site == nil {
		return nil
	}
	return site.services[0]
}

// ServesHost reports whether the service has that host, whatever other services
// share it.
func (c *Catalog) ServesHost(s *Service, host string) bool {
	for h := c.hosts.nearest(host); h != nil; h = h.next {
		for _, site := range h.sites {
			if slices.Contains(site.services, s) {
				return true
			}
		}
	}
	return false
}

func pathOnly(path string) string {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		return path[:i]
	}
	return path
}

// find returns the site of host and path, and the path after its base path.
func (t *hostTable) find(host, path string) (*site, string) {
	for h := t.nearest(host); h != nil; h = h.next {
		for _, s := range h.sites {
			if after, ok := afterBase(path, s.basePath); ok {
				return s, after
			}
		}
	}
	return nil, ""
}

// single returns the only service of the host's nearest entry, or nil.
func (t *hostTable) single(host string) *Service {
	h := t.nearest(host)
	if h == nil || len(h.sites) != 1 || len(h.sites[0].services) != 1 {
		return nil
	}
	return h.sites[0].services[0]
}

// nearest returns the sites of the nearest name of a host, or nil.
func (t *hostTable) nearest(host string) *hostSites {
	if len(host) > maxHost || len(host) == 0 || len(t.exact)+len(t.wild) == 0 {
		return nil
	}
	name := hostName(host)
	if !t.ports {
		// The table has lower-case names only, so what is found as it stands
		// would be found in lower case.
		if h := t.exact[name]; h != nil {
			return h
		}
	}
	for i := range len(host) {
		if 'A' <= host[i] && host[i] <= 'Z' {
			var buf [maxHost]byte
			return nearest(t, lower(buf[:], host), len(name))
		}
	}
	return nearest(t, host, len(name))
}

// lower writes s into dst, its letters in lower case, and returns that.
func lower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
	return dst[:len(s)]
}

// nearest is hostTable.nearest of a host in lower case; length is that of its
// name.
func nearest[T string | []byte](t *hostTable, host T, length int) *hostSites {
	if t.ports {
		if h := t.exact[string(host)]; h != nil {
			return h
		}
	}
	if h := t.exact[string(host[:length])]; h != nil {
		return h
	}
	return wider(t, host[:length])
}

// wider returns the sites of the longest wildcard that stands for a name in
// lower case, or for the text after a wildcard's star; nil if there is none.
func wider[T string | []byte](t *hostTable, name T) *hostSites {
	if len(t.wild) == 0 {
		return nil
	}
	for i := 1; i < len(name); i++ {
		if name[i] == '.' {
			if h := t.wild[string(name[i:])]; h != nil {
				return h
			}
		}
	}
	return t.wild[""]
}

// hostName returns the host without port and final dot. An IPv6 address keeps
// its brackets.
func hostName(host string) string {
	if first := strings.IndexByte(host, ':'); first >= 0 {
		last := strings.LastIndexByte(host, ':')
		if (host[0] == '[' || first == last) && strings.IndexByte(host[last:], ']') < 0 {
			host = host[:last]
		}
	}
	return strings.TrimSuffix(host, ".")
}

// afterBase cuts a base path off, at a segment's end only.
func afterBase(path, base string) (string, bool) {
	if !strings.HasPrefix(path, base) {
		return "", false
	}
	path = path[len(base):]
	return path, path == "" || path[0] == '/'
}

// find returns the route of a path after the base path.
func (s *site) find(path string, m method) Route {
	if e := s.router.find(path, m, nil); e != nil {
		tenant, _, _ := e.service.Tenant.cut(path)
		return Route{e.service, e.operation, tenant}
	}
	if !s.tenants {
		return Route{Service: s.services[0]}
	}
	route := Route{Service: s.services[0]}
	for _, service := range s.services {
		tenant, rest, ok := service.Tenant.cut(path)
		if !ok {
			continue
		}
		if e := s.router.find(rest, m, service); e != nil {
			return Route{service, e.operation, tenant}
		}
		if route.Tenant == "" {
			route = Route{Service: service, Tenant: tenant}
		}
	}
	return route
}

// cut returns the tenant that a path begins with, and the path after the
// tenant's prefix.
func (r *TenantRule) cut(path string) (tenant, rest string, ok bool) {
	if len(r.path) == 0 {
		return "", path, false
	}
	rest = path
	for i := range r.path {
		if rest == "" || rest[0] != '/' {
			return "", path, false
		}
		value := rest[1:]
		if end := strings.IndexByte(value, '/'); end >= 0 {
			value = value[:end]
		}
		rest = rest[1+len(value):]
		s := &r.path[i]
		switch {
		case value == "" || value == "." || value == "..":
			return "", path, false
		case s.kind == segLiteral && value != s.text:
			return "", path, false
		case s.kind == segPattern:
			if !matchParts(s.parts, value) {
				return "", path, false
			}
			tenant = value[len(s.parts[0]) : len(value)-len(s.parts[1])]
		case s.kind == segParameter && s.name == "tenant":
			tenant = value
		}
	}
	return tenant, rest, true
}

// fromHost returns the tenant that stands in a host name.
func (r *TenantRule) fromHost(host string) string {
	host = hostName(host)
	end := len(host) - len(r.hostSuffix)
	if end <= len(r.hostPrefix) || !strings.EqualFold(host[:len(r.hostPrefix)], r.hostPrefix) ||
		!strings.EqualFold(host[end:], r.hostSuffix) {
		return ""
	}
	tenant := host[len(r.hostPrefix):end]
	if strings.IndexByte(tenant, '.') >= 0 {
		return ""
	}
	return tenant
}
