package catalog

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
)

// graphOperations returns the operations of Microsoft Graph's permission
// catalogue, each shape once; nil where the corpus is absent.
func graphOperations(t testing.TB) []string {
	const file = "openapi/microsoft-graph/permissions.json.gz"
	if !corpus.Has(t, file) {
		return nil
	}
	var document struct {
		Permissions map[string]struct {
			PathSets []struct {
				Methods []string
				Paths   map[string]string
			}
		}
	}
	if err := json.Unmarshal(corpus.Read(t, corpus.Path(t, file)), &document); err != nil {
		t.Fatal(err)
	}
	byShape, refused := map[string]string{}, map[string]bool{}
	for _, p := range document.Permissions {
		for _, set := range p.PathSets {
			for _, method := range set.Methods {
				for path := range set.Paths {
					if _, _, err := parseTemplate(path); err != nil {
						// Three have a brace too many, two a query.
						refused[path] = true
						continue
					}
					key := shape(method, path)
					if name := method + " " + path; byShape[key] == "" || name < byShape[key] {
						byShape[key] = name
					}
				}
			}
		}
	}
	if len(refused) > 5 {
		t.Errorf("templates refused: %v", refused)
	}
	names := make([]string, 0, len(byShape))
	for _, name := range byShape {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// published is one operation as a generic decoder reads it out of a document.
type published map[string][]map[string][]string

// reread reads the security of every operation with a generic decoder, knowing
// nothing of this package.
func reread(t *testing.T, data []byte) published {
	t.Helper()
	type security = []map[string][]string
	var document struct {
		Security *security                             `json:"security" yaml:"security"`
		Paths    map[string]map[string]json.RawMessage `json:"paths" yaml:"-"`
	}
	if !json.Valid(data) {
		converted, err := yaml.YAMLToJSON(data)
		if err != nil {
			t.Fatal(err)
		}
		data = converted
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	out := published{}
	for path, item := range document.Paths {
		for method, raw := range item {
			if !slices.Contains([]string{"get", "put", "post", "delete", "patch", "head", "options", "trace"}, method) {
				continue
			}
			var operation struct {
				Security *security `json:"security"`
			}
			if err := json.Unmarshal(raw, &operation); err != nil {
				t.Fatal(err)
			}
			s := operation.Security
			if s == nil {
				s = document.Security
			}
			name := strings.ToUpper(method) + " " + path
			if s != nil {
				out[name] = *s
			} else {
				out[name] = nil
			}
		}
	}
	return out
}

func TestCorpusOpenAPI(t *testing.T) {
	tests := []struct {
		file                       string
		any                        bool
		operations, scoped, scopes int
		listsOfSeveral             int
	}{
		{"openapi/okta/management-minimal.yaml.gz", false, 732, 723, 109, -1},
		{"openapi/slack/slack_web_openapi_v2.json.gz", true, 174, 174, 61, 25},
		{"openapi/slack/slack_web_openapi_v2.json.gz", false, 174, 174, 61, 25},
		{"openapi/spotify/fixed-spotify-open-api.yml.gz", false, 97, 65, 17, -1},
		{"openapi/spotify/official-spotify-open-api.yml.gz", false, 96, 64, 17, -1},
	}
	for _, tt := range tests {
		t.Run(filepath.Base(tt.file), func(t *testing.T) {
			data := corpus.Read(t, corpus.Path(t, tt.file))
			s := loadSpec(t, data, tt.any)
			want := reread(t, data)
			scoped, several, scopes := 0, 0, map[string]bool{}
			for _, o := range s.Operations {
				requirements, ok := want[o.Name]
				if !ok {
					t.Errorf("%s is not in the document", o.Name)
				}
				delete(want, o.Name)
				has := false
				for _, a := range o.Demand.Alternatives {
					has = has || len(a.Scopes) > 0
					for _, scope := range a.Scopes {
						scopes[scope] = true
					}
				}
				if has {
					scoped++
				}
				for _, r := range requirements {
					for _, list := range r {
						if len(list) > 1 {
							several++
						}
					}
				}
				compareAlternatives(t, o, requirements, tt.any)
			}
			for name := range want {
				t.Errorf("%s is missing", name)
			}
			if len(s.Operations) != tt.operations || scoped != tt.scoped || len(scopes) != tt.scopes {
				t.Errorf("%d operations, %d scoped, %d scopes; want %d, %d, %d",
					len(s.Operations), scoped, len(scopes), tt.operations, tt.scoped, tt.scopes)
			}
			if tt.listsOfSeveral >= 0 && several != tt.listsOfSeveral {
				t.Errorf("%d lists of two or more scopes, want %d", several, tt.listsOfSeveral)
			}
		})
	}
}

// compareAlternatives compares an operation with its published requirements, in
// documents that name one scheme a requirement.
func compareAlternatives(t *testing.T, o *Operation, requirements []map[string][]string, anyScope bool) {
	t.Helper()
	var want, got []string
	for _, r := range requirements {
		if len(r) > 1 {
			t.Fatalf("%s: a requirement of several schemes; compare it here", o.Name)
		}
		for scheme, scopes := range r {
			switch {
			case len(scopes) == 0:
				want = append(want, scheme+": unscoped")
			case anyScope:
				for _, scope := range scopes {
					want = append(want, scheme+": "+scope)
				}
			default:
				want = append(want, scheme+": "+strings.Join(scopes, " "))
			}
		}
	}
	for _, a := range o.Demand.Alternatives {
		if a.Unscoped {
			got = append(got, a.Scheme+": unscoped")
		} else {
			got = append(got, a.Scheme+": "+strings.Join(a.Scopes, " "))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: alternatives %q, want %q", o.Name, got, want)
	}
	known := slices.ContainsFunc(o.Demand.Alternatives, func(a schema.Alternative) bool { return !a.Unscoped })
	if (o.Demand.State == schema.DemandKnown) != known || o.Demand.State == schema.DemandUnmapped && o.Demand.Why == "" {
		t.Errorf("%s: state %s (%s)", o.Name, o.Demand.State, o.Demand.Why)
	}
}

// loadSpec loads a catalogue of one service with the document.
func loadSpec(t testing.TB, data []byte, anyScope bool) *Service {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "spec.txt"), string(data))
	list := "all"
	if anyScope {
		list = "any"
	}
	write(t, filepath.Join(dir, "catalog.yaml"), "services:\n  - {name: s, hosts: [s.example.com], openapi: spec.txt, scope_list: "+list+"}\n")
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.Services[0]
}

// TestCorpusOktaKinds: the API key beside OAuth says nothing about a call with
// a token.
func TestCorpusOktaKinds(t *testing.T) {
	data := corpus.Read(t, corpus.Path(t, "openapi/okta/management-minimal.yaml.gz"))
	s := loadSpec(t, data, false)
	both := 0
	for _, o := range s.Operations {
		forKey, forToken := 0, 0
		for i := range o.Demand.Alternatives {
			a := &o.Demand.Alternatives[i]
			if a.Applies(schema.KindAPIKey) {
				forKey++
				if !a.Unscoped {
					t.Errorf("%s: an API key would need %q", o.Name, a.Scopes)
				}
			}
			if a.Applies(schema.KindOAuthClient) {
				forToken++
				if a.Unscoped {
					t.Errorf("%s: a token would need no scope", o.Name)
				}
			}
		}
		if forKey > 0 && forToken > 0 {
			both++
		}
	}
	if both < 500 {
		t.Errorf("%d operations have both an API key and a token alternative, want most of 732", both)
	}
}

func BenchmarkLoadOkta(b *testing.B) {
	data := corpus.Read(b, corpus.Path(b, "openapi/okta/management-minimal.yaml.gz"))
	b.ReportAllocs()
	for b.Loop() {
		loadSpec(b, data, false)
	}
}
