package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// seeds adds the files of the archives in testdata.
func seeds(f *testing.F, pattern string, name func(string) bool) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, member := range archive.Files {
			if member.Name != "want" && name(member.Name) {
				f.Add(member.Data)
			}
		}
	}
}

// FuzzLoad: any file is either a whole catalogue, or problems that each name
// the file and say something.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(everything))
	seeds(f, "testdata/*/*.txtar", func(name string) bool { return !strings.Contains(name, "openapi") })
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		defer inTime(t, data)()
		path := filepath.Join(dir, "catalog.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if (c == nil) == (err == nil) {
			t.Fatalf("catalogue %v and error %v", c, err)
		}
		if err != nil {
			for _, p := range err.(*Problems).List {
				if p.File == "" || p.Message == "" {
					t.Errorf("problem %+v", p)
				}
			}
			return
		}
		for _, s := range c.Services {
			if c.ServiceNamed(s.Name) != s {
				t.Errorf("service %q is not found by its name", s.Name)
			}
			for _, o := range s.Operations {
				if s.OperationNamed(o.Name) == nil {
					t.Errorf("operation %q is not found by its name", o.Name)
				}
			}
		}
	})
}

// FuzzOpenAPI: any document is read or refused; what is read routes its own
// templates.
func FuzzOpenAPI(f *testing.F) {
	seeds(f, "testdata/openapi/*.txtar", func(name string) bool { return name != "c.yaml" })
	dir := f.TempDir()
	write(f, filepath.Join(dir, "c.yaml"), "services:\n  - {name: s, hosts: [s.example], base_path: /, openapi: spec, scope_list: any}\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		defer inTime(t, data)()
		if err := os.WriteFile(filepath.Join(dir, "spec"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(dir)
		if err != nil {
			return
		}
		for _, o := range c.Services[0].Operations {
			path := instance(t, o.Template, "7")
			if strings.ContainsAny(path, "%?") || dotSegments(path) {
				continue
			}
			if r, ok := c.Route("s.example", o.Method, path); !ok || r.Operation == nil {
				t.Errorf("%s: %s has no operation", o.Name, path)
			}
		}
	})
}

// FuzzRoute: templates and a path of any kind; the router agrees with the
// definition wherever that knows the templates.
func FuzzRoute(f *testing.F) {
	f.Add("/users/{id}\n/users/me\n/users('{id}')\n/users/{id}:cancel\n/{p+}", "/users/me", "GET")
	f.Add("/a/{x=**}/b\n/v1/{name=projects/*/topics/*}:publish\n/%41/{y}", "/a/b/b/b", "HEAD")
	f.Add("/{a}{b}\n/x{a}y{b}z\n/", "/x%2Fy/../%2e%2E//", "POST")
	f.Fuzz(func(t *testing.T, templates, path, method string) {
		if len(templates) > 1<<12 || len(path) > 1<<12 {
			return
		}
		if path != "" && path[0] != '/' {
			path = "/" + path
		}
		built, names, plain := trie{}, []string{}, true
		for template := range strings.SplitSeq(templates, "\n") {
			segments, _, err := parseTemplate(template)
			if err != nil || strings.Contains(template, "%") {
				continue
			}
			o := &Operation{Name: "GET " + template, Method: "GET", Template: template}
			if built.add(nil, o) != nil {
				continue
			}
			names = append(names, o.Name)
			for i := range segments {
				s := &segments[i]
				plain = plain && s.kind != segRest && len(s.parts) <= 2 && !strings.ContainsAny(s.text, "{}*")
			}
			plain = plain && strings.Count(template, "{") == strings.Count(shape("", template), "{}") && !strings.ContainsAny(template, "=:*")
		}
		got := built.compile().name(method, path)
		if !plain || strings.Contains(path, "%") || dotSegments(path) || strings.HasSuffix(path, "//") || path == "" || path == "/" {
			return
		}
		if want := naive(names, method, path); got != want {
			t.Errorf("%s %q: got %q, want %q of %q", method, path, got, want, names)
		}
	})
}

// FuzzGlob compares the globs with their definitions.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c**d", "axxbyc/zd")
	f.Add("**/x*/y", "a/xb/c/xd/y")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 16 {
			return
		}
		if got, want := Glob(pattern, s), slowGlob(pattern, s, false); got != want {
			t.Errorf("Glob(%q, %q) = %v, want %v", pattern, s, got, want)
		}
		if got, want := PathGlob(pattern, s), slowGlob(pattern, s, true); got != want {
			t.Errorf("PathGlob(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

func slowGlob(pattern, s string, segments bool) bool {
	switch {
	case pattern == "":
		return s == ""
	case segments && strings.HasPrefix(pattern, "**"):
		return slowGlob(pattern[2:], s, true) || s != "" && slowGlob(pattern, s[1:], true)
	case pattern[0] == '*':
		return slowGlob(pattern[1:], s, segments) || s != "" && !(segments && s[0] == '/') && slowGlob(pattern, s[1:], segments)
	case s == "":
		return false
	}
	return (pattern[0] == s[0] || pattern[0] == '?' && !segments) && slowGlob(pattern[1:], s[1:], segments)
}

// inTime ends the test program where one input takes very long: the parser must
// not hang. Call what it returns when the input is done.
func inTime(t testing.TB, data []byte) func() {
	timer := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("more than 20 s for %d bytes: %.200q", len(data), data)) })
	return func() { timer.Stop() }
}
