package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestOpenAPI loads the catalogues of testdata/openapi and compares what became
// of their services: one line a service and operation, then the notes.
func TestOpenAPI(t *testing.T) {
	files, err := filepath.Glob("testdata/openapi/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir, want := t.TempDir(), -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				write(t, filepath.Join(dir, f.Name), string(f.Data))
			}
			if want < 0 {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				want = len(archive.Files) - 1
			}
			c, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(dump(c), dir+"/", "")
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if wanted := string(archive.Files[want].Data); got != wanted {
				t.Errorf("got:\n%swant:\n%s", got, wanted)
			}
		})
	}
}

// dump writes services, operations with their demands, and notes.
func dump(c *Catalog) string {
	var b strings.Builder
	for _, s := range c.Services {
		fmt.Fprintf(&b, "service %s hosts %v base %q\n", s.Name, s.Hosts, s.BasePath)
		for _, o := range s.Operations {
			fmt.Fprintf(&b, "  %s (%s) %s", o.Name, o.RouteSource, o.Demand.State)
			if o.Class != 0 || o.Sensitivity != 0 {
				fmt.Fprintf(&b, " class %s sensitivity %d", o.Class, o.Sensitivity)
			}
			fmt.Fprintf(&b, " from %s\n", o.Demand.Source)
			for _, a := range o.Demand.Alternatives {
				kinds := "any kind"
				if a.Kinds != nil {
					kinds = fmt.Sprint(a.Kinds)
				}
				unscoped := ""
				if a.Unscoped {
					unscoped = " unscoped"
				}
				fmt.Fprintf(&b, "    %q %s %s%s\n", a.Scopes, a.Scheme, kinds, unscoped)
			}
			if o.Demand.Why != "" {
				fmt.Fprintf(&b, "    why: %s\n", o.Demand.Why)
			}
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note %s:%d: %s\n", n.File, n.Line, n.Text)
	}
	return b.String()
}
