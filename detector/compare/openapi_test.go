package compare

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestPublishedDocuments judges every operation of published API descriptions:
// an alternative's own scopes suffice, all scopes but those of some alternative
// do not, and what one kind of credential may do says nothing about another.
func TestPublishedDocuments(t *testing.T) {
	for _, tt := range []struct {
		file, list string
		scoped     int
		kind       schema.CredentialKind
	}{
		{"okta/management-minimal.yaml.gz", "all", 723, schema.KindOAuthClient},
		{"slack/slack_web_openapi_v2.json.gz", "any", 174, schema.KindOAuthClient},
		{"spotify/fixed-spotify-open-api.yml.gz", "all", 65, schema.KindOAuthClient},
		{"spotify/official-spotify-open-api.yml.gz", "all", 64, schema.KindOAuthClient},
	} {
		data := corpus.Read(t, corpus.Path(t, "openapi/"+tt.file))
		dir := t.TempDir()
		name := strings.TrimSuffix(filepath.Base(tt.file), ".gz")
		text := "services: [{name: api, hosts: [api.example.com], openapi: " + name + ", scope_list: " + tt.list + "}]\n"
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "catalogue.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cat, err := catalog.Load(filepath.Join(dir, "catalogue.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		c := New(cat)
		s := cat.Services[0]
		judge := func(o *catalog.Operation, kind schema.CredentialKind, scopes []string) Holding {
			return c.Judge(&Request{Kind: kind, Service: "api", Operation: o.Name, RouteSource: o.RouteSource, Scopes: scopes}).Holding
		}
		all := []string{}
		for _, o := range s.Operations {
			for _, a := range o.Demand.Alternatives {
				all = append(all, a.Scopes...)
			}
		}
		scoped := 0
		for _, o := range s.Operations {
			d := c.DemandFor(s, o.Name, tt.kind)
			if d.State != schema.DemandKnown {
				continue
			}
			var every []string
			for _, a := range d.Alternatives {
				if a.Unscoped {
					continue
				}
				every = append(every, a.Scopes...)
				if got := judge(o, tt.kind, a.Scopes); got != Holds {
					t.Errorf("%s %s: %q: %v", name, o.Name, a.Scopes, got)
				}
			}
			if len(every) == 0 {
				continue
			}
			scoped++
			others := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(every, s) })
			if got := judge(o, tt.kind, others); got != Lacks {
				t.Errorf("%s %s: without %q: %v", name, o.Name, every, got)
			}
			if got := judge(o, schema.KindAPIKey, all); got != Unknown {
				t.Errorf("%s %s: an API key: %v", name, o.Name, got)
			}
		}
		if scoped != tt.scoped {
			t.Errorf("%s: %d operations need scopes, want %d", name, scoped, tt.scoped)
		}
	}
}
