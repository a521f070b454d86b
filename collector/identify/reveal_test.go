package identify

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyHereRevealed reads the source of the whole module: nobody but redact
// and identify may ask a Secret for its bytes, tests included.
func TestOnlyHereRevealed(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{filepath.Join(root, "collector", "redact"), filepath.Join(root, "collector", "identify")}
	files, here := 0, 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		if !strings.Contains(string(text), "Reveal") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok || selector.Sel.Name != "Reveal" {
				return true
			}
			for _, dir := range allowed {
				if filepath.Dir(path) == dir {
					here++
					return true
				}
			}
			t.Errorf("%s: only redact and identify may reveal a secret; hand it on as a redact.Secret", set.Position(selector.Pos()))
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 || here == 0 {
		t.Errorf("%d files read, %d revealing: the test proves nothing", files, here)
	}
}
