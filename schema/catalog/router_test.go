package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/spenttest"
	"github.com/scopedrift/scopedrift/schema"
)

// newRouter makes a router of "METHOD /template" names.
func newRouter(t testing.TB, names ...string) *router {
	t.Helper()
	var built trie
	for _, name := range names {
		method, template, ok := splitOperation(name)
		if !ok {
			t.Fatalf("%q is no operation", name)
		}
		if _, _, err := parseTemplate(template); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		built.add(nil, &Operation{Name: name, Method: method, Template: template})
	}
	return built.compile()
}

func (r *router) name(method, path string) string {
	if e := r.find(path, methodOf(method), nil); e != nil {
		return e.operation.Name
	}
	return "-"
}

func TestRouter(t *testing.T) {
	sets := map[string][]string{
		"literal before pattern before parameter": {
			"GET /users/{id}", "GET /users/me", "GET /users('{id}')", "GET /users/{id}:cancel", "GET /users/{name}.json",
			"PATCH /users/me", "GET /users/{id}/posts", "GET /users/me/likes", "POST /users/{id}",
		},
		"method at the leaf":    {"PATCH /users/me", "GET /users/{id}", "GET /users/{id}/x", "HEAD /a", "GET /a", "GET /b", "HEAD /{x}"},
		"trailing slash":        {"GET /a", "GET /b/", "GET /c", "GET /c/", "POST /c/", "GET /", "GET /d/{id}/"},
		"encoded":               {"GET /files/{name}", "GET /files/{name}/{part}", "GET /caf%C3%A9", "GET /a b/{x}", "GET /f('{x}')", "GET /%7Bx"},
		"rest":                  {"GET /f/{path+}", "GET /f/x", "GET /v1/{name=projects/*/topics/*}", "POST /v1/{name=projects/*/topics/*}:publish", "GET /w/{+name}", "POST /w/{+name}:verb", "GET /w/{+name}/operations", "GET /z/{a=**}/m/{b}", "DELETE /g/**", "GET /j/{p:.*}"},
		"dots":                  {"GET /a/{x}", "GET /a/{x}/{y}", "GET /a/{p+}", "GET /.well-known/{x}"},
		"graph":                 {"GET /reports/get(period='{period}')", "GET /w/range(address='{address}')", "GET /w/{id}", "GET /root:/{path}:", "GET /root:/{path}:/children", "GET /fn(a={a},b={b})", "GET /fn(a={a})"},
		"grpc":                  {"/shop.v1.Orders/Get", "GET /shop.v1.Orders/{x}"},
		"backtracking":          {"GET /a/b/c", "GET /a/{x}/d", "GET /{y}/b/e", "GET /{y}/{x}/f", "GET /a/{x}.z/g"},
		"adjacent parameters":   {"GET /{a}{b}", "GET /x-{a}{b}-y"},
		"parameter never empty": {"GET /a/{x}/b", "GET /a/x{y}"},
	}
	tests := []struct{ set, method, path, want string }{
		{"literal before pattern before parameter", "GET", "/users/me", "GET /users/me"},
		{"literal before pattern before parameter", "GET", "/users/7", "GET /users/{id}"},
		{"literal before pattern before parameter", "POST", "/users/me", "POST /users/{id}"},
		{"literal before pattern before parameter", "GET", "/users('7')", "GET /users('{id}')"},
		{"literal before pattern before parameter", "GET", "/users/7:cancel", "GET /users/{id}:cancel"},
		{"literal before pattern before parameter", "GET", "/users/a.json", "GET /users/{name}.json"},
		{"literal before pattern before parameter", "GET", "/users/.json", "GET /users/{id}"},
		{"literal before pattern before parameter", "GET", "/users/me/posts", "GET /users/{id}/posts"},
		{"literal before pattern before parameter", "GET", "/users/me/likes", "GET /users/me/likes"},
		{"literal before pattern before parameter", "GET", "/users/7/likes", "-"},
		{"literal before pattern before parameter", "DELETE", "/users/me", "-"},
		{"method at the leaf", "GET", "/users/me", "GET /users/{id}"},
		{"method at the leaf", "PATCH", "/users/me", "PATCH /users/me"},
		{"method at the leaf", "GET", "/users/me/x", "GET /users/{id}/x"},
		{"method at the leaf", "HEAD", "/a", "HEAD /a"},
		{"method at the leaf", "HEAD", "/b", "GET /b"},
		{"method at the leaf", "HEAD", "/c", "HEAD /{x}"},
		{"trailing slash", "GET", "/a/", "GET /a"},
		{"trailing slash", "GET", "/b", "GET /b/"},
		{"trailing slash", "GET", "/c", "GET /c"},
		{"trailing slash", "GET", "/c/", "GET /c/"},
		{"trailing slash", "POST", "/c", "POST /c/"},
		{"trailing slash", "GET", "", "GET /"},
		{"trailing slash", "GET", "/", "GET /"},
		{"trailing slash", "GET", "/a//", "-"},
		{"trailing slash", "GET", "/d/1", "GET /d/{id}/"},
		{"encoded", "GET", "/files/a%2Fb", "GET /files/{name}"},
		{"encoded", "GET", "/files/a/b", "GET /files/{name}/{part}"},
		{"encoded", "GET", "/caf%c3%a9", "GET /caf%C3%A9"},
		{"encoded", "GET", "/café", "GET /caf%C3%A9"},
		{"encoded", "GET", "/a%20b/1", "GET /a b/{x}"},
		{"encoded", "GET", "/f(%277%27)", "GET /f('{x}')"},
		{"encoded", "GET", "/f%28'7'%29", "GET /f('{x}')"},
		{"encoded", "GET", "/files%2Fx", "-"},
		{"encoded", "GET", "/%7bx", "GET /%7Bx"},
		{"encoded", "GET", "/f('%zz')", "GET /f('{x}')"},
		{"rest", "GET", "/f/x", "GET /f/x"},
		{"rest", "GET", "/f/x/y/z", "GET /f/{path+}"},
		{"rest", "GET", "/f/y/", "GET /f/{path+}"},
		{"rest", "GET", "/f/", "-"},
		{"rest", "GET", "/f", "-"},
		{"rest", "GET", "/f//", "-"},
		{"rest", "GET", "/v1/projects/p/topics/t", "GET /v1/{name=projects/*/topics/*}"},
		{"rest", "POST", "/v1/projects/p/topics/t:publish", "POST /v1/{name=projects/*/topics/*}:publish"},
		{"rest", "GET", "/v1/projects/p/topics", "-"},
		{"rest", "GET", "/w/a/b", "GET /w/{+name}"},
		{"rest", "POST", "/w/a/b:verb", "POST /w/{+name}:verb"},
		{"rest", "POST", "/w/a/b", "-"},
		{"rest", "GET", "/w/a/b/operations", "GET /w/{+name}/operations"},
		{"rest", "GET", "/w/a/operations/operations", "GET /w/{+name}/operations"},
		{"rest", "GET", "/z/1/2/m/3", "GET /z/{a=**}/m/{b}"},
		{"rest", "GET", "/z/1/m/2/m/3", "GET /z/{a=**}/m/{b}"},
		{"rest", "GET", "/z/m/m/3", "GET /z/{a=**}/m/{b}"},
		{"rest", "GET", "/z/m/3", "-"},
		{"rest", "DELETE", "/g/1/2", "DELETE /g/**"},
		{"rest", "GET", "/j/1/2", "GET /j/{p:.*}"},
		{"dots", "GET", "/a/..", "-"},
		{"dots", "GET", "/a/../b", "-"},
		{"dots", "GET", "/a/./b", "-"},
		{"dots", "GET", "/a/%2e%2E", "-"},
		{"dots", "GET", "/a/.%2e/x", "-"},
		{"dots", "GET", "/a/x/..", "-"},
		{"dots", "GET", "/a/...", "GET /a/{x}"},
		{"dots", "GET", "/a/..x", "GET /a/{x}"},
		{"dots", "GET", "/a/.x/.y", "GET /a/{x}/{y}"},
		{"dots", "GET", "/.well-known/x", "GET /.well-known/{x}"},
		{"graph", "GET", "/reports/get(period='D7')", "GET /reports/get(period='{period}')"},
		{"graph", "GET", "/reports/get(period='')", "-"},
		{"graph", "GET", "/w/range(address='A1:B2')", "GET /w/range(address='{address}')"},
		{"graph", "GET", "/w/range", "GET /w/{id}"},
		{"graph", "GET", "/root:/a.txt:", "GET /root:/{path}:"},
		{"graph", "GET", "/root:/a.txt:/children", "GET /root:/{path}:/children"},
		{"graph", "GET", "/fn(a=1,b=2)", "GET /fn(a={a},b={b})"},
		{"graph", "GET", "/fn(a=1)", "GET /fn(a={a})"},
		{"grpc", "POST", "/shop.v1.Orders/Get", "/shop.v1.Orders/Get"},
		{"grpc", "GET", "/shop.v1.Orders/Get", "GET /shop.v1.Orders/{x}"},
		{"backtracking", "GET", "/a/b/c", "GET /a/b/c"},
		{"backtracking", "GET", "/a/b/d", "GET /a/{x}/d"},
		{"backtracking", "GET", "/a/b/e", "GET /{y}/b/e"},
		{"backtracking", "GET", "/a/b/f", "GET /{y}/{x}/f"},
		{"backtracking", "GET", "/a/b.z/g", "GET /a/{x}.z/g"},
		{"backtracking", "GET", "/a/b.z/d", "GET /a/{x}/d"},
		{"backtracking", "GET", "/a/b/g", "-"},
		{"adjacent parameters", "GET", "/1", "GET /{a}{b}"},
		{"adjacent parameters", "GET", "/x-1-y", "GET /x-{a}{b}-y"},
		{"parameter never empty", "GET", "/a//b", "-"},
		{"parameter never empty", "GET", "/a/x", "-"},
		{"parameter never empty", "GET", "/a/xy", "GET /a/x{y}"},
	}
	routers := map[string]*router{}
	for name, templates := range sets {
		routers[name] = newRouter(t, templates...)
		slices.Reverse(templates)
		routers[name+" reversed"] = newRouter(t, templates...)
	}
	for _, tt := range tests {
		for _, order := range []string{"", " reversed"} {
			if got := routers[tt.set+order].name(tt.method, tt.path); got != tt.want {
				t.Errorf("%s%s: %s %s: got %q, want %q", tt.set, order, tt.method, tt.path, got, tt.want)
			}
		}
	}
}

// TestRouterBacktrackingBounded gives templates and a path that would take
// exponential time without a bound.
func TestRouterBacktrackingBounded(t *testing.T) {
	var names []string
	for i := range 1 << 12 {
		name := "GET "
		for bit := range 12 {
			name += []string{"/a", "/{x}"}[i>>bit&1]
		}
		names = append(names, name+"/end")
	}
	r := newRouter(t, append(names, "GET /{p1+}/{p2+}/{p3+}/{p4+}/{p5+}/end")...)
	path := strings.Repeat("/a", 5000) + "/"
	if got := r.name("GET", path); got != "-" {
		t.Errorf("got %q", got)
	}
	if got := r.name("GET", strings.Repeat("/a", 12)+"/end"); got != "GET"+strings.Repeat(" /a", 1)+strings.Repeat("/a", 11)+"/end" {
		t.Errorf("got %q", got)
	}
}

// naive is the definition of what the router should do, as slow as it is plain:
// among all templates that match, the best by segment, then by final slash, then
// by method.
func naive(names []string, method, path string) string {
	best, bestRank := "-", []string(nil)
	for _, name := range names {
		m, template, _ := splitOperation(name)
		rank, ok := naiveMatch(template, path)
		if !ok {
			continue
		}
		switch {
		case m == method:
			rank = append(rank, "0")
		case m == "GET" && method == "HEAD":
			rank = append(rank, "1")
		default:
			continue
		}
		if bestRank == nil || slices.Compare(rank, bestRank) < 0 {
			best, bestRank = name, rank
		}
	}
	return best
}

// naiveMatch matches segment by segment, and ranks each as the router's
// documentation says. It knows literals, parameters, patterns of one parameter,
// and a rest at the end.
func naiveMatch(template, path string) (rank []string, ok bool) {
	slash := func(s string) bool { return len(s) > 1 && strings.HasSuffix(s, "/") }
	bySlash := "0"
	if slash(template) != slash(path) {
		bySlash = "1"
	}
	want := strings.Split(strings.TrimPrefix(strings.TrimSuffix(template, "/"), "/"), "/")
	have := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if slash(path) {
		have = have[:len(have)-1]
	}
	for i, w := range want {
		open, shut := strings.IndexByte(w, '{'), strings.IndexByte(w, '}')
		switch {
		case strings.HasSuffix(w, "+}"):
			return append(rank, "3", bySlash), i < len(have) && strings.Join(have[i:], "") != ""
		case i >= len(have):
			return nil, false
		case open < 0:
			if w != have[i] {
				return nil, false
			}
			rank = append(rank, "0")
		case open == 0 && shut == len(w)-1:
			if have[i] == "" {
				return nil, false
			}
			rank = append(rank, "2")
		default:
			before, after := w[:open], w[shut+1:]
			if len(have[i]) <= len(before)+len(after) || !strings.HasPrefix(have[i], before) || !strings.HasSuffix(have[i], after) {
				return nil, false
			}
			rank = append(rank, fmt.Sprintf("1 %03d %s\x00%s", 500-len(before)-len(after), before, after))
		}
	}
	return append(rank, bySlash), len(want) == len(have)
}

// TestRouterAgainstNaive compares the two over random templates and paths.
func TestRouterAgainstNaive(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	for round := range 300 {
		seen := map[string]bool{}
		var names []string
		for range 1 + rnd.IntN(60) {
			template := ""
			for range 1 + rnd.IntN(4) {
				template += "/" + pick("a", "b", "ab", "{x}", "{x}", "{y}", "a{x}", "{x}b", "a{y}b", "({x})")
			}
			if rnd.IntN(8) == 0 {
				template += "/{rest+}"
			} else if rnd.IntN(8) == 0 {
				template += "/"
			}
			name := pick("GET", "GET", "POST", "HEAD") + " " + template
			if key := shape(name[:strings.IndexByte(name, ' ')], template); !seen[key] {
				seen[key] = true
				names = append(names, name)
			}
		}
		r := newRouter(t, names...)
		for range 200 {
			path := ""
			for range 1 + rnd.IntN(5) {
				path += "/" + pick("a", "b", "ab", "aab", "c", "(a)", "axb", "")
			}
			if rnd.IntN(6) == 0 {
				path += "/"
			}
			if strings.HasSuffix(path, "//") {
				continue
			}
			method := pick("GET", "POST", "HEAD", "PUT")
			if got, want := r.name(method, path), naive(names, method, path); got != want {
				t.Fatalf("round %d: %s %s: got %q, want %q of\n%s", round, method, path, got, want, strings.Join(names, "\n"))
			}
		}
	}
}

// instance fills a template's parameters.
func instance(t testing.TB, template, value string) string {
	segments, slash, err := parseTemplate(template)
	if err != nil {
		t.Fatalf("%q: %v", template, err)
	}
	var b strings.Builder
	for i := range segments {
		b.WriteByte('/')
		switch s := &segments[i]; s.kind {
		case segLiteral:
			b.WriteString(s.text)
		case segParameter:
			b.WriteString(value)
		default:
			b.WriteString(strings.Join(s.parts, value))
		}
	}
	if slash || len(segments) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// many returns at least 6,000 operations: those of the Microsoft Graph
// permission catalogue, or made ones where the corpus is absent.
func many(t testing.TB) []string {
	if names := graphOperations(t); len(names) > 0 {
		return names
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	nouns := []string{"users", "groups", "sites", "teams", "drives", "items", "mail", "events", "rooms", "plans", "tasks", "apps"}
	seen := map[string]bool{}
	var names []string
	for len(names) < 6500 {
		template := "/" + nouns[rnd.IntN(len(nouns))]
		for range 1 + rnd.IntN(5) {
			template += []string{"/{id}", "/{id}", fmt.Sprintf("/fn%d(on='{value}')", rnd.IntN(40))}[rnd.IntN(3)]
			template += fmt.Sprintf("/%s%d", nouns[rnd.IntN(len(nouns))], rnd.IntN(30))
		}
		if key := shape("GET", template); !seen[key] {
			seen[key] = true
			names = append(names, "GET "+template)
		}
	}
	return names
}

// TestRouterOwnInstance: every template routes its own instance to itself, or
// to one that is more literal at the first place where they differ.
func TestRouterOwnInstance(t *testing.T) {
	names := many(t)
	r := newRouter(t, names...)
	for _, name := range names {
		method, template, _ := splitOperation(name)
		path := instance(t, template, "Zz9-instance")
		got := r.name(method, path)
		if got == name {
			continue
		}
		if got == "-" || !moreLiteral(t, got, name) {
			t.Errorf("%s: %s is routed to %q", name, path, got)
		}
	}
}

func moreLiteral(t testing.TB, a, b string) bool {
	_, ta, _ := splitOperation(a)
	_, tb, _ := splitOperation(b)
	sa, _, _ := parseTemplate(ta)
	sb, _, _ := parseTemplate(tb)
	for i := range min(len(sa), len(sb)) {
		x, y := &sa[i], &sb[i]
		if x.kind != y.kind {
			return x.kind < y.kind
		}
		if x.weight() != y.weight() {
			return x.weight() > y.weight()
		}
		if x.shape() != y.shape() {
			return x.shape() < y.shape()
		}
	}
	return len(sa) == len(sb)
}

// manyCatalog returns a catalogue with many operations and paths of them.
func manyCatalog(t testing.TB) (*Catalog, []string, []string) {
	s := &Service{Name: "graph", Hosts: []string{"graph.example.com"}, BasePath: "/v1.0"}
	var methods, paths []string
	interned := map[string]string{}
	for i, name := range many(t) {
		method, template, _ := splitOperation(name)
		s.Operations = append(s.Operations, &Operation{Name: name, Method: method, Template: template, RouteSource: schema.RouteSpec})
		// As from a log reader: one text a method, not one a call.
		if _, ok := interned[method]; !ok {
			interned[method] = strings.Clone(method)
		}
		methods = append(methods, interned[method])
		paths = append(paths, "/v1.0"+instance(t, template, fmt.Sprintf("%08x-0000-4000", i*2654435761)))
	}
	c := Empty()
	c.Services = []*Service{s, {Name: "other", Hosts: []string{"*.example.com"}}}
	c.index()
	rnd := rand.New(rand.NewPCG(5, 6))
	rnd.Shuffle(len(paths), func(i, j int) {
		paths[i], paths[j] = paths[j], paths[i]
		methods[i], methods[j] = methods[j], methods[i]
	})
	return c, methods, paths
}

func TestRouteAllocatesNothing(t *testing.T) {
	c, methods, paths := manyCatalog(t)
	tests := []struct{ host, method, path string }{
		{"graph.example.com", methods[0], paths[0]},
		{"GRAPH.Example.com:443", methods[1], paths[1] + "/"},
		{"other.example.com", "GET", "/x"},
		{"graph.example.com", "GET", "/v1.0/nothing/%20here"},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := c.Route(tt.host, tt.method, tt.path); !ok {
				t.Fatal("no service")
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", tt, n)
		}
	}
}

// BenchmarkRoute looks up calls of many templates in random order; the other
// figure is what merely splitting the same paths takes. On a shared machine
// cpu-ns/op is the one to look at.
func BenchmarkRoute(b *testing.B) {
	c, methods, paths := manyCatalog(b)
	run := func(name string, f func(i int) bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i, hits := 0, 0
			before := spenttest.Own(b)
			for b.Loop() {
				if f(i) {
					hits++
				}
				if i++; i == len(paths) {
					i = 0
				}
			}
			b.ReportMetric(float64(spenttest.Own(b)-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(len(paths)), "operations")
			if hits < b.N {
				b.Errorf("%d of %d calls have an operation", hits, b.N)
			}
		})
	}
	run("route", func(i int) bool {
		r, ok := c.Route("graph.example.com:443", methods[i], paths[i])
		return ok && r.Operation != nil
	})
	run("split only", func(i int) bool { return len(strings.Split(paths[i], "/")) > 0 })
}
