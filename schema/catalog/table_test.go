package catalog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestRouterLiterals: of many literals at one node, also such as differ in
// their middles only, each is found, and nothing else.
func TestRouterLiterals(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	var texts []string
	for length := 1; length <= 40; length++ {
		for range min(1<<length, 12) {
			text := []byte(strings.Repeat("a", length))
			for range 1 + length/4 {
				text[rnd.IntN(length)] = "ab"[rnd.IntN(2)]
			}
			texts = append(texts, string(text))
		}
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	for _, count := range []int{1, 2, 3, 4, 5, 7, 30, len(texts) / 2} {
		rnd.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
		var names []string
		for _, text := range texts[:count] {
			names = append(names, "GET /"+text)
		}
		r := newRouter(t, names...)
		for i, text := range texts {
			want := "-"
			if i < count {
				want = names[i]
			}
			encoded := fmt.Sprintf("/%%%02x%s", text[0], text[1:])
			for _, path := range []string{"/" + text, "/" + text + "/", encoded} {
				if got := r.name("GET", path); got != want {
					t.Errorf("%d literals: %s: got %q, want %q", count, path, got, want)
				}
			}
		}
	}
}

// TestRouterMethods: any method can be an operation's, beside all others.
func TestRouterMethods(t *testing.T) {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "M-SEARCH"}
	for drop := range methods {
		var names []string
		for i, m := range methods {
			if i != drop {
				names = append(names, m+" /x", m+" /y/")
			}
		}
		r := newRouter(t, names...)
		for i, m := range methods {
			for _, path := range []string{"/x", "/y/", "/y"} {
				want := m + " /" + strings.Trim(path, "/")
				if path != "/x" {
					want += "/"
				}
				if i == drop {
					want = "-"
					if m == "HEAD" {
						want = "GET " + strings.TrimSuffix(path, "/")
						if path != "/x" {
							want += "/"
						}
					}
				}
				for _, spelt := range []string{m, strings.ToLower(m)} {
					if got := r.name(spelt, path); got != want {
						t.Errorf("without %s: %s %s: got %q, want %q", methods[drop], spelt, path, got, want)
					}
				}
			}
		}
	}
}

// TestHostsAgainstNaive compares the table of hosts with its definition: the
// exact host with its port, the exact host, the longest wildcard; and at each
// the longest base path that fits.
func TestHostsAgainstNaive(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	name := func() string {
		labels := []string{pick("a", "b"), pick("a", "b", "c"), "com"}
		return strings.Join(labels[rnd.IntN(3):], ".")
	}
	for range 500 {
		c := Empty()
		for i := range 1 + rnd.IntN(6) {
			s := &Service{Name: fmt.Sprint(i), BasePath: pick("", "", "/v1", "/v1/x")}
			for range 1 + rnd.IntN(2) {
				s.Hosts = append(s.Hosts, pick("", "", "*.")+name()+pick("", "", ":80"))
			}
			if rnd.IntN(8) == 0 {
				s.Hosts = []string{"*"}
			}
			c.Services = append(c.Services, s)
		}
		c.index()
		for range 50 {
			host := name() + pick("", ":80", ":81", ".", ".:80")
			path := pick("", "/", "/v1", "/v1/x/y", "/v2", "/v1x")
			spelt := pick(host, strings.ToUpper(host))
			want := naiveService(c.Services, host, path)
			got, ok := c.Route(spelt, "GET", path)
			if ok != (want != nil) || got.Service != want {
				t.Fatalf("%s %s: got %v, want %v of %+v", spelt, path, got.Service, want, c.Services)
			}
		}
	}
}

func naiveService(services []*Service, host, path string) *Service {
	bare, _, _ := strings.Cut(host, ":")
	bare = strings.TrimSuffix(bare, ".")
	names := []string{host, bare}
	for i, b := range bare {
		if b == '.' && i > 0 {
			names = append(names, "*"+bare[i:])
		}
	}
	for _, name := range append(names, "*") {
		var found *Service
		for _, s := range services {
			fits := path == s.BasePath || strings.HasPrefix(path, s.BasePath+"/")
			if s.BasePath == "" {
				fits = true
			}
			if fits && slices.Contains(s.Hosts, name) && (found == nil || len(s.BasePath) > len(found.BasePath)) {
				found = s
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}
