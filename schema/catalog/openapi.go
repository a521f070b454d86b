package catalog

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/scopedrift/scopedrift/schema"
)

// isSpec reports whether a document says that it is OpenAPI or Swagger.
func isSpec(n *node) bool {
	return n.is(kindMap) && (n.get("openapi") != nil || n.get("swagger") != nil)
}

// specReader reads of an OpenAPI 3 or Swagger 2 document what routes and
// demands need, and passes over the rest. Published documents break most rules
// of their own specification somewhere; what cannot be used is noted once a
// kind, and what it would make uncertain is unmapped.
type specReader struct {
	doc     *node
	file    *sourceFile
	swagger bool
	// anyScope: a list of scopes means any one of them.
	anyScope bool
	// security is that of the document, nil where it has none.
	security *node
	schemes  map[string]scheme

	operations []*Operation
	byShape    map[string]*Operation
	// byQuery are shapes that the document tells apart by query, with the line.
	byQuery map[string]int
	// ids are the names of operations by operationId.
	ids   map[string]string
	notes map[string]*specNote
	order []string
}

// specNote counts how often something was passed over.
type specNote struct{ line, count int }

// note counts something that was passed over; line is where it was first.
func (r *specReader) note(line int, text string) {
	n := r.notes[text]
	if n == nil {
		n = &specNote{line: line}
		r.notes[text] = n
		r.order = append(r.order, text)
	}
	n.count++
}

// readSpec reads the document of a service, and returns the names of its
// operations by operationId.
func (l *loader) readSpec(p *pendingService, d *document) map[string]string {
	s := p.service
	if len(d.nodes) == 0 || !isSpec(d.nodes[0]) {
		l.problem(p.file, p.openapi, fmt.Sprintf("%q is no OpenAPI document", p.openapi.text), `it needs a key "openapi" or "swagger" at its top`)
		return nil
	}
	doc := d.nodes[0]
	r := &specReader{
		doc: doc, file: &d.file, swagger: doc.get("swagger") != nil, anyScope: s.ScopeListAny, security: doc.get("security"),
		byShape: map[string]*Operation{}, byQuery: map[string]int{}, ids: map[string]string{}, notes: map[string]*specNote{},
	}
	version := doc.get("openapi")
	want := "3."
	if r.swagger {
		version, want = doc.get("swagger"), "2"
	}
	if !strings.HasPrefix(version.text, want) {
		l.problem(&d.file, version, fmt.Sprintf("version %s of OpenAPI is not known", describe(version)), "known are Swagger 2.0 and OpenAPI 3.x")
		return nil
	}
	r.readSchemes()
	hosts, base := r.servers()
	if !p.ownBase {
		s.BasePath = base
	}
	if s.Hosts == nil && s.Tenant.Host == "" {
		s.Hosts = hosts
	}
	r.paths()
	r.hideQueries()
	s.Operations = r.operations
	for _, text := range r.order {
		n := r.notes[text]
		if n.count > 1 {
			text += fmt.Sprintf(" (%d times, first here)", n.count)
		}
		l.note(&d.file, n.line, text)
	}
	return r.ids
}

// servers returns the hosts and the base path that the document gives.
func (r *specReader) servers() (hosts []string, base string) {
	if r.swagger {
		if host := strings.ToLower(r.doc.textOf("host")); host != "" {
			if strings.ContainsAny(host, "{}/") || !validHost(host) {
				r.note(r.doc.get("host").line, fmt.Sprintf("host %q is no host name", host))
			} else {
				hosts = []string{hostName(host)}
			}
		}
		return hosts, cleanBase(r.doc.textOf("basePath"))
	}
	servers := r.doc.get("servers")
	if !servers.is(kindList) {
		return nil, ""
	}
	for i, server := range servers.items {
		raw := r.expand(server)
		host, path := splitServer(raw)
		path = cleanBase(path)
		switch {
		case strings.ContainsAny(path, "{}"):
			r.note(server.line, fmt.Sprintf("server %q has a parameter without default in its path", raw))
			continue
		case i == 0:
			base = path
		case path != base:
			r.note(server.line, fmt.Sprintf("server %q has another base path than the first one", raw))
			continue
		}
		if host == "" {
			continue
		}
		if pattern, ok := serverHost(host); ok {
			// Logs mostly leave a default port out; without one both match.
			pattern = hostName(pattern)
			if !slices.Contains(hosts, pattern) {
				hosts = append(hosts, pattern)
			}
			continue
		}
		r.note(server.line, fmt.Sprintf("server %q has no host name that can be used; give the service's hosts in the catalogue", raw))
	}
	return hosts, base
}

// expand returns a server's URL, with the variables in its path replaced by
// their defaults. In the host they stay: a default there is mostly an example.
func (r *specReader) expand(server *node) string {
	raw := server.textOf("url")
	head, path := raw, ""
	if i := strings.Index(raw, "://"); i >= 0 {
		if slash := strings.IndexByte(raw[i+3:], '/'); slash >= 0 {
			head, path = raw[:i+3+slash], raw[i+3+slash:]
		}
	} else {
		head, path = "", raw
	}
	variables := server.get("variables")
	if !variables.is(kindMap) {
		return raw
	}
	for _, e := range variables.entries {
		if value := e.value.get("default"); value != nil {
			path = strings.ReplaceAll(path, "{"+e.key+"}", value.text)
		}
	}
	return head + path
}

// splitServer takes a server's URL apart; it may be a path only.
func splitServer(raw string) (host, path string) {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		if rest, ok = strings.CutPrefix(raw, "//"); !ok {
			return "", raw
		}
	}
	host, path, ok = strings.Cut(rest, "/")
	if ok {
		path = "/" + path
	}
	return strings.ToLower(host), path
}

// serverHost returns a host, or the pattern for one whose first label is a
// variable.
func serverHost(host string) (string, bool) {
	if strings.HasPrefix(host, "{") {
		if _, rest, ok := strings.Cut(host, "}."); ok && strings.Contains(rest, ".") {
			host = rest
			return "*." + host, !strings.ContainsAny(host, "{}") && validHost(host)
		}
		return "", false
	}
	return host, !strings.ContainsAny(host, "{}@") && validHost(host)
}

func cleanBase(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if path = strings.Trim(path, "/"); path == "" {
		return ""
	}
	return "/" + path
}

// maxRefs bounds how many references follow one another.
const maxRefs = 16

// resolve follows references within the document; nil says that it leads
// nowhere or outside.
func (r *specReader) resolve(n *node) *node {
	for range maxRefs {
		ref := n.get("$ref")
		if !n.is(kindMap) || !ref.is(kindText) {
			return n
		}
		pointer, ok := strings.CutPrefix(ref.text, "#")
		if !ok {
			r.note(ref.line, fmt.Sprintf("reference %q leads outside the document", ref.text))
			return nil
		}
		if plain, err := url.PathUnescape(pointer); err == nil {
			pointer = plain
		}
		n = r.doc
		for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
			if n = n.get(part); n == nil {
				r.note(ref.line, fmt.Sprintf("reference %q leads nowhere", ref.text))
				return nil
			}
		}
	}
	r.note(n.line, "a reference refers to itself")
	return nil
}

// paths reads the operations of all paths.
func (r *specReader) paths() {
	paths := r.doc.get("paths")
	if !paths.is(kindMap) {
		r.note(r.doc.line, "the document has no paths")
		return
	}
	for _, e := range paths.all() {
		if strings.HasPrefix(e.key, "x-") {
			continue
		}
		item := e.value
		r.pathItem(&e, item)
		if ref := item.get("$ref"); ref != nil {
			if target := r.resolve(item); target != nil && target != item {
				r.pathItem(&e, target)
			}
		}
	}
}

var specMethods = map[string]bool{
	"get": true, "put": true, "post": true, "delete": true, "options": true, "head": true, "patch": true, "trace": true, "query": true,
}

// pathItem reads the operations of one path.
func (r *specReader) pathItem(path *entry, item *node) {
	if !item.is(kindMap) {
		if !item.is(kindNull) {
			r.note(path.line, fmt.Sprintf("path %q is no mapping", path.key))
		}
		return
	}
	for _, e := range item.all() {
		switch {
		case specMethods[e.key]:
			r.operation(path, strings.ToUpper(e.key), &e)
		case specMethods[strings.ToLower(e.key)]:
			r.note(e.line, fmt.Sprintf("method %q is not in lower case; read all the same", e.key))
			r.operation(path, strings.ToUpper(e.key), &e)
		case e.key == "additionalOperations" && e.value.is(kindMap):
			for _, more := range e.value.all() {
				r.operation(path, strings.ToUpper(more.key), &more)
			}
		case e.key == "servers":
			r.note(e.line, "servers of a single path are passed over")
		}
	}
}

// operation reads one operation.
func (r *specReader) operation(path *entry, method string, e *entry) {
	n := r.resolve(e.value)
	if !n.is(kindMap) {
		r.note(e.line, fmt.Sprintf("%s %s is no mapping", method, path.key))
		return
	}
	if n.get("servers") != nil {
		r.note(n.get("servers").line, "servers of a single operation are passed over")
	}
	template := path.key
	if !strings.HasPrefix(template, "/") {
		r.note(path.line, fmt.Sprintf("path %q does not begin with a slash; read as if it did", path.key))
		template = "/" + template
	}
	_, _, err := parseTemplate(template)
	if err == errTemplateQuery || err == errTemplateBrace && strings.ContainsAny(template, "?#") {
		bare := template[:strings.IndexAny(template, "?#")]
		r.byQuery[shape(method, bare)] = path.line
		r.note(path.line, "paths with a query or fragment are passed over: routes do not see them")
		return
	}
	if err != nil {
		r.note(path.line, fmt.Sprintf("path %q %s; passed over", path.key, err))
		return
	}
	o := &Operation{Name: method + " " + template, Method: method, Template: template, RouteSource: schema.RouteSpec}
	security := n.get("security")
	if security == nil || security.kind == kindNull {
		security = r.security
	}
	o.Demand = r.demand(security, r.file.name+":"+strconv.Itoa(e.line))
	key := shape(method, template)
	if other := r.byShape[key]; other != nil {
		r.twin(path, other, o)
		return
	}
	r.byShape[key] = o
	r.operations = append(r.operations, o)
	if id := n.textOf("operationId"); id != "" {
		r.ids[id] = o.Name
	}
}

// twin deals with a second operation for the same calls: if it needs something
// else, what the calls need is not known.
func (r *specReader) twin(path *entry, first, second *Operation) {
	if first.Name != second.Name {
		r.note(path.line, fmt.Sprintf("operations %q and %q match the same calls; the first one is used", first.Name, second.Name))
	} else {
		r.note(path.line, fmt.Sprintf("operation %q occurs twice; the first one is used", first.Name))
	}
	if !sameDemand(&first.Demand, &second.Demand) {
		first.Demand.State = schema.DemandUnmapped
		first.Demand.Why = fmt.Sprintf("the document also has %q for the same calls, with other scopes", second.Name)
	}
}

func sameDemand(a, b *schema.Demand) bool {
	return a.State == b.State && slices.EqualFunc(a.Alternatives, b.Alternatives, func(x, y schema.Alternative) bool {
		return x.Scheme == y.Scheme && slices.Equal(x.Scopes, y.Scopes)
	})
}

// hideQueries unmaps operations whose path the document has again with a query:
// a call of the one looks like a call of the other.
func (r *specReader) hideQueries() {
	for key, line := range r.byQuery {
		if o := r.byShape[key]; o != nil {
			o.Demand.State = schema.DemandUnmapped
			o.Demand.Why = fmt.Sprintf("the document tells operations of this path apart by query (line %d), which routes do not see", line)
		}
	}
}
