package catalog

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// pendingService is a service whose operations are still to be put together.
type pendingService struct {
	service *Service
	file    *sourceFile
	at      *node
	// openapi is the value of that key, or nil.
	openapi *node
	// ownBase says that the catalogue gives the base path.
	ownBase    bool
	operations []listed
}

// listed is an operation as the catalogue lists it.
type listed struct {
	operation *Operation
	at        *node
	// scopes, class and sensitivity say which of the keys are given.
	scopes, class, sensitivity bool
}

func (l *loader) service(file *sourceFile, n *node) {
	f, ok := l.fields(file, n, "service", "name", "environment", "hosts", "base_path", "openapi", "authority",
		"scope_dialect", "scope_list", "grant", "demand", "tenant", "internet_facing", "workloads", "operations")
	if !ok {
		return
	}
	s := &Service{
		Name: f.required("name"), Environment: f.text("environment"), Authority: f.text("authority"),
		InternetFacing: f.boolean("internet_facing"), File: file.path, Line: n.line,
	}
	p := pendingService{service: s, file: file, at: n, openapi: f.value("openapi"), ownBase: n.get("base_path") != nil}
	if s.Authority == "" {
		s.Authority = s.Name
	}
	if i := f.word("scope_dialect", schema.Dialects()); i >= 0 {
		s.Dialect = schema.Dialect(i)
	}
	s.ScopeListAny = f.word("scope_list", []string{"all", "any"}) == 1
	if i := f.word("grant", []string{"presented", "declared", "both", "either"}); i >= 0 {
		s.Grant = schema.GrantPresented + schema.GrantMode(i)
	}
	s.DemandOperation = f.word("demand", []string{"declared", "operation"}) == 1
	for _, item := range f.items("hosts") {
		if host, ok := l.host(file, item); ok {
			s.Hosts = append(s.Hosts, host)
		}
	}
	s.Workloads = f.texts("workloads", false)
	s.BasePath = l.basePath(&f)
	if tenant := f.value("tenant"); tenant != nil {
		s.Tenant = l.tenant(file, tenant)
	}
	if p.openapi != nil && p.openapi.kind != kindText {
		f.wrong("openapi", p.openapi, "text")
		p.openapi = nil
	}
	p.operations = l.operations(&f, s)
	if s.Name != "" && l.once(file, n, "service", s.Name) {
		l.catalog.Services = append(l.catalog.Services, s)
		l.pending = append(l.pending, p)
	}
}

// host reads one host pattern.
func (l *loader) host(file *sourceFile, n *node) (string, bool) {
	if n.kind != kindText {
		l.problem(file, n, fmt.Sprintf(`"hosts" must be a list of texts; here is %s`, n.kind), "")
		return "", false
	}
	host := strings.ToLower(strings.TrimSuffix(n.text, "."))
	rest := host
	if rest != "*" {
		rest = strings.TrimPrefix(rest, "*.")
	}
	switch {
	case strings.Contains(host, "://"):
		l.problem(file, n, fmt.Sprintf("host %q is a URL", n.text), "write the host name only; a path belongs in base_path")
	case strings.Contains(host, "/"):
		l.problem(file, n, fmt.Sprintf("host %q holds a path", n.text), "write the host name only; a path belongs in base_path")
	case rest != "*" && strings.Contains(rest, "*"):
		l.problem(file, n, fmt.Sprintf("host %q has a * that is not its whole first label", n.text), "write *.example.com for every name below example.com")
	case strings.Contains(host, "{"):
		l.problem(file, n, fmt.Sprintf("host %q has a parameter", n.text), `write *.example.com here and tenant: {host: "{tenant}.example.com"}`)
	case !validHost(rest):
		l.problem(file, n, fmt.Sprintf("host %q is no host name", n.text), "write a name, an address (IPv6 in brackets), or name:port")
	default:
		return host, true
	}
	return "", false
}

// validHost reports whether a host (lower case, without wildcard) is a name or
// address, with or without a port.
func validHost(host string) bool {
	if host == "*" {
		return true
	}
	name := hostName(host)
	if rest := host[len(name):]; rest != "" {
		port, ok := strings.CutPrefix(rest, ":")
		if p, err := strconv.ParseUint(port, 10, 16); !ok || err != nil || p == 0 {
			return false
		}
	}
	if address, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return !address.Is6() || strings.HasPrefix(name, "[")
	}
	if name == "" || len(name) > 253 {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c != '-' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c < 0x80 {
				return false
			}
		}
	}
	return true
}

func (l *loader) basePath(f *fields) string {
	n := f.n.get("base_path")
	if n == nil {
		return ""
	}
	path := f.text("base_path")
	switch {
	case path == "":
	case !strings.HasPrefix(path, "/"):
		l.problem(f.file, n, fmt.Sprintf("base_path %q does not begin with a slash", path), fmt.Sprintf("write %q", "/"+path))
	case strings.ContainsAny(path, "{}*"):
		l.problem(f.file, n, fmt.Sprintf("base_path %q has a parameter", path), `a tenant belongs in tenant: {path: "/tenants/{tenant}"}`)
	case strings.ContainsAny(path, "?#"):
		l.problem(f.file, n, fmt.Sprintf("base_path %q has a query or fragment", path), "write the path only")
	}
	return strings.TrimRight(path, "/")
}

func (l *loader) tenant(file *sourceFile, n *node) TenantRule {
	f, ok := l.fields(file, n, "tenant rule", "path", "host")
	if !ok {
		return TenantRule{}
	}
	r := TenantRule{Path: f.text("path"), Host: f.text("host")}
	hasPath, hasHost := n.get("path") != nil, n.get("host") != nil
	if hasPath == hasHost {
		message := "a tenant rule needs a path or a host"
		if hasPath {
			message = "a tenant rule has either a path or a host, not both"
		}
		l.problem(file, n, message, `write {path: "/tenants/{tenant}"} or {host: "{tenant}.example.com"}`)
		return TenantRule{}
	}
	pattern := r.Path + r.Host
	if pattern == "" {
		return TenantRule{}
	}
	if strings.Count(pattern, "{tenant}") != 1 {
		l.problem(file, f.n, fmt.Sprintf("tenant rule %q must hold {tenant} once", pattern), `write {path: "/tenants/{tenant}"} or {host: "{tenant}.example.com"}`)
		return TenantRule{}
	}
	if hasHost {
		r.Host = strings.ToLower(r.Host)
		r.hostPrefix, r.hostSuffix, _ = strings.Cut(r.Host, "{tenant}")
		if !validHost(r.hostPrefix+"x"+r.hostSuffix) || strings.Contains(r.hostSuffix, ":") {
			l.problem(file, n.get("host"), fmt.Sprintf("tenant host %q is no host name", r.Host), "write {tenant}.example.com")
			return TenantRule{}
		}
		return r
	}
	segments, slash, err := parseTemplate(r.Path)
	if slash {
		r.Path = strings.TrimSuffix(r.Path, "/")
	}
	r.path = segments
	if err != nil {
		l.problem(file, n.get("path"), fmt.Sprintf("tenant path %q %s", r.Path, err), "write /tenants/{tenant}")
		return TenantRule{}
	}
	for i := range segments {
		if s := &segments[i]; s.kind == segRest || s.kind == segPattern && len(s.parts) != 2 {
			l.problem(file, n.get("path"), fmt.Sprintf("tenant path %q mixes parameters in one segment or over several", r.Path), "write /tenants/{tenant}")
			return TenantRule{}
		}
	}
	return r
}

// operations reads the key "operations" of a service.
func (l *loader) operations(f *fields, s *Service) []listed {
	var list []listed
	first := map[string]int{}
	for _, item := range f.items("operations") {
		o, ok := l.operation(f.file, item, s)
		if !ok {
			continue
		}
		key := o.operation.Name
		if o.operation.Template != "" {
			key = shape(o.operation.Method, o.operation.Template)
		}
		if line, twice := first[key]; twice {
			l.problem(f.file, item, fmt.Sprintf("operation %q is listed twice, first in line %d", o.operation.Name, line), "templates that differ only in the names of parameters are the same; keep one")
			continue
		}
		first[key] = item.line
		list = append(list, o)
	}
	return list
}

func (l *loader) operation(file *sourceFile, n *node, s *Service) (listed, bool) {
	f, ok := l.fields(file, n, "operation", "operation", "scopes", "class", "sensitivity")
	if !ok {
		return listed{}, false
	}
	o := &Operation{Name: f.required("operation"), RouteSource: schema.RouteRule, Sensitivity: uint8(f.integer("sensitivity", 1, 4))}
	entry := listed{operation: o, at: n, scopes: n.get("scopes") != nil, class: n.get("class") != nil, sensitivity: n.get("sensitivity") != nil}
	if i := f.word("class", schema.Classes()); i >= 0 {
		o.Class = schema.ClassRead + schema.Class(i)
	}
	o.Demand = schema.Demand{Source: file.name + ":" + strconv.Itoa(n.line), Why: "the catalogue lists no scopes for it"}
	if scopes := n.get("scopes"); scopes.is(kindText) {
		l.flatScopes(file, scopes)
	} else if items := f.items("scopes"); items != nil {
		l.demand(file, items, &o.Demand)
	}
	return entry, o.Name != "" && l.operationName(file, n.get("operation"), s, o)
}

// demand reads "scopes" of an operation: any one inner list, all of it. No
// inner list at all, or an empty one, says that no scope is needed.
func (l *loader) demand(file *sourceFile, items []*node, d *schema.Demand) {
	d.State, d.Why = schema.DemandKnown, ""
	if len(items) == 0 {
		d.State = schema.DemandPublic
	}
	for _, item := range items {
		if item.kind != kindList {
			l.flatScopes(file, item)
			return
		}
		if len(item.items) == 0 {
			d.State = schema.DemandPublic
			continue
		}
		a := schema.Alternative{}
		for _, scope := range item.items {
			if scope.kind != kindText || scope.text == "" {
				l.problem(file, scope, fmt.Sprintf("a scope must be text, not %s", describe(scope)), "")
				return
			}
			a.Scopes = append(a.Scopes, scope.text)
		}
		d.Alternatives = append(d.Alternatives, a)
	}
}

func (l *loader) flatScopes(file *sourceFile, n *node) {
	l.problem(file, n, fmt.Sprintf(`"scopes" of an operation must be a list of lists; here is %s`, describe(n)),
		"write [[a], [b]] for any one of them, [[a, b]] for all of them")
}

// operationName checks an operation's name and takes it apart.
func (l *loader) operationName(file *sourceFile, at *node, s *Service, o *Operation) bool {
	method, template, ok := splitOperation(o.Name)
	if ok {
		if _, _, err := parseTemplate(template); err != nil {
			l.problem(file, at, fmt.Sprintf("operation %q %s", o.Name, err), "write a path such as /orders/{id}")
			return false
		}
		for part := range strings.SplitSeq(template, "/") {
			if len(part) > 1 && part[0] == ':' {
				l.problem(file, at, fmt.Sprintf("operation %q writes a parameter as %q", o.Name, part), fmt.Sprintf("write {%s}", part[1:]))
				return false
			}
		}
		if base := s.BasePath; base != "" {
			if after, ok := afterBase(template, base); ok && after != "" {
				l.note(file, at.line, fmt.Sprintf("operation %q repeats the base path %s; operations are written without it", o.Name, base))
			}
		}
		o.Method, o.Template = method, template
		return true
	}
	first, rest, _ := strings.Cut(o.Name, " ")
	switch {
	case strings.HasPrefix(o.Name, "/"):
		l.problem(file, at, fmt.Sprintf("operation %q has no method", o.Name), fmt.Sprintf("write %q", "GET "+o.Name))
	case httpMethods[first] && !strings.HasPrefix(rest, "/"):
		l.problem(file, at, fmt.Sprintf("operation %q has no path that begins with a slash", o.Name), `write "GET /orders/{id}"`)
	case httpMethods[strings.ToUpper(first)] && strings.HasPrefix(rest, "/") && s.Dialect != schema.DialectKubernetes:
		l.problem(file, at, fmt.Sprintf("operation %q has its method in lower case", o.Name), fmt.Sprintf("write %q", strings.ToUpper(first)+" "+rest))
	default:
		return true
	}
	return false
}

var httpMethods = map[string]bool{
	"GET": true, "PUT": true, "POST": true, "DELETE": true, "OPTIONS": true, "HEAD": true, "PATCH": true,
	"TRACE": true, "QUERY": true, "CONNECT": true,
}

// assemble puts a service's operations together: those of the OpenAPI document,
// the catalogue's laid over.
func (l *loader) assemble(p *pendingService) {
	s := p.service
	var ids map[string]string
	if p.openapi != nil {
		path := p.openapi.text
		if strings.Contains(path, "://") {
			l.problem(p.file, p.openapi, fmt.Sprintf("the OpenAPI document %q is a URL", path), "download it and name the file")
			return
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(p.file.path), path)
		}
		d := l.open(path, p.file, p.openapi)
		if d == nil {
			return
		}
		d.used = true
		ids = l.readSpec(p, d)
	}
	s.index()
	for i := range p.operations {
		l.lay(p, &p.operations[i], ids)
	}
	if s.DemandOperation {
		for _, o := range s.Operations {
			if !p.scopesListed(o) {
				o.Demand = schema.Demand{State: schema.DemandKnown, Source: p.file.name + ":" + strconv.Itoa(p.at.line),
					Alternatives: []schema.Alternative{{Scopes: []string{o.Name}}}}
			}
		}
	}
	if len(s.Hosts) == 0 && s.Tenant.Host != "" {
		s.Hosts = []string{"*" + s.Tenant.hostSuffix}
		if !strings.HasPrefix(s.Tenant.hostSuffix, ".") {
			s.Hosts = nil
		}
	}
	if len(s.Hosts) == 0 && s.Name != "" {
		l.note(p.file, p.at.line, fmt.Sprintf("service %q has no hosts, so no call is routed to it", s.Name))
	}
}

// lay puts one listed operation over the service's, or adds it.
func (l *loader) lay(p *pendingService, entry *listed, ids map[string]string) {
	s, o := p.service, entry.operation
	under := s.byName[o.Name]
	if o.Template != "" && under == nil {
		key := shape(o.Method, o.Template)
		if under = s.byShape[key]; under == nil {
			under = s.byShape[otherSlash(key)]
		}
	}
	if name, ok := ids[o.Name]; ok && under == nil {
		l.problem(p.file, entry.at.get("operation"), fmt.Sprintf("operation %q is an operationId of the OpenAPI document", o.Name), fmt.Sprintf("write %q", name))
		return
	}
	if under == nil {
		s.Operations = append(s.Operations, o)
		return
	}
	if entry.scopes {
		under.Demand = o.Demand
	}
	if entry.class {
		under.Class = o.Class
	}
	if entry.sensitivity {
		under.Sensitivity = o.Sensitivity
	}
	entry.operation = under
}

// scopesListed reports whether the catalogue itself states the operation's
// scopes.
func (p *pendingService) scopesListed(o *Operation) bool {
	for i := range p.operations {
		if e := &p.operations[i]; e.operation == o {
			return e.scopes
		}
	}
	return false
}
