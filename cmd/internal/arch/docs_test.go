package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

// quoted finds what documents put between backquotes.
var quoted = regexp.MustCompile("`([A-Za-z0-9_.*/-]+)`")

// TestDocumentsNameRealFiles holds every path that a document names to the
// files that there are. A bare file name may be that of any file.
func TestDocumentsNameRealFiles(t *testing.T) {
	base := corpus.Module(t)
	byName := map[string]bool{}
	walk(t, base, func(name string) { byName[filepath.Base(name)] = true })
	for _, document := range []string{"README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/dependencies.md", "docs/performance.md"} {
		text, err := os.ReadFile(filepath.Join(base, document))
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			name := strings.TrimSuffix(m[1], "/")
			extension := filepath.Ext(name)
			file := extension == ".go" || extension == ".sql" || extension == ".sh" || extension == ".yaml"
			first, _, deep := strings.Cut(name, "/")
			ours := first == "schema" || first == "collector" || first == "pipeline" || first == "detector" || first == "cmd" || first == "deployments" || first == "docs"
			switch {
			case deep && ours:
				named++
				if found, err := filepath.Glob(filepath.Join(base, name)); err != nil || len(found) == 0 {
					t.Errorf("%s names %s, which does not exist", document, name)
				}
			case !deep && file && !strings.Contains(name, "*"):
				named++
				if !byName[name] && !strings.HasPrefix(name, ".") {
					t.Errorf("%s names %s, and no file is called so", document, name)
				}
			}
		}
		if document == "docs/architecture.md" && named < 40 {
			t.Errorf("only %d files recognised in %s", named, document)
		}
	}
}

// TestDependenciesAreExplained wants a line in docs/dependencies.md for each
// direct dependency, and none for anything else.
func TestDependenciesAreExplained(t *testing.T) {
	base := corpus.Module(t)
	mod, err := os.ReadFile(filepath.Join(base, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) {
		direct[m[1]] = true
	}
	if len(direct) == 0 {
		t.Fatal("go.mod has no direct dependency: is it tidy?")
	}
	text, err := os.ReadFile(filepath.Join(base, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\S").FindAllStringSubmatch(string(text), -1) {
		if !direct[m[1]] {
			t.Errorf("docs/dependencies.md explains %s, which is no direct dependency, or twice", m[1])
		}
		delete(direct, m[1])
	}
	for module := range direct {
		t.Errorf("docs/dependencies.md does not say why %s is here", module)
	}
}
