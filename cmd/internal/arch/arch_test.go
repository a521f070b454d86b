package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

const module = "github.com/scopedrift/scopedrift"

// longest is how many lines a file may have without an entry in longFiles.
const longest = 500

// longFiles are the files that may be longer, each with its reason. An entry
// for a file that is no longer long is an error, so that the list only shrinks.
var longFiles = map[string]string{}

// forbiddenNames are folders that say nothing about what is in them.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "managers", "misc", "pkg", "lib"}

// forbiddenWords never name a JSON field or a column: DESIGN has one word for
// one thing, and these are the words it gave up.
var forbiddenWords = []string{"event", "events", "permission", "permissions", "entitlement", "entitlements", "alert", "alerts", "record", "records"}

// allowedNames are contract names that hold a forbidden word because the
// outside world calls a thing so.
var allowedNames = []string{"permissions_used", "is_alert", "permission_analysis_results"}

// pack is a package as the go command lists it.
type pack struct {
	ImportPath, Dir, Name     string
	Standard                  bool
	GoFiles                   []string
	Imports                   []string
	TestImports, XTestImports []string
	Deps                      []string
}

// room is the package's path within the module.
func (p *pack) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// packages lists every package of the module. What is listed does not depend on
// whether it compiles.
func packages(t *testing.T) []pack {
	t.Helper()
	command := exec.Command("go", "list", "-e", "-deps=false", "-json=ImportPath,Dir,Name,Standard,GoFiles,Imports,TestImports,XTestImports,Deps", "./...")
	command.Dir = corpus.Module(t)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.Bytes())
	}
	var all []pack
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pack
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("only %d packages: go list found the wrong place", len(all))
	}
	return all
}

func under(name string, rooms ...string) bool {
	for _, room := range rooms {
		if name == room || strings.HasPrefix(name, room+"/") {
			return true
		}
	}
	return false
}

// standard reports whether an import is of the standard library, whose paths
// have no dot in their first element.
func standard(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".")
}

// law is what packages under rooms may not import.
type law struct {
	reason string
	rooms  []string
	broken func(p *pack, imported string) bool
}

// forTests reports whether a room is made for tests: the corpus, and what a
// package gives to the tests of others, as redacttest of redact.
func forTests(room string) bool {
	return room == "internal/corpus" || strings.HasSuffix(room, "test")
}

func inModule(imported string) (string, bool) {
	room, ok := strings.CutPrefix(imported, module+"/")
	return room, ok
}

var laws = []law{
	{"schema imports the standard library only, besides Protobuf in schema/wire and YAML in schema/catalog", []string{"schema"},
		func(p *pack, imported string) bool {
			if room, ok := inModule(imported); ok {
				return !under(room, "schema")
			}
			switch {
			case under(p.room(), "schema/wire") && strings.HasPrefix(imported, "google.golang.org/protobuf"),
				under(p.room(), "schema/catalog") && strings.HasPrefix(imported, "github.com/goccy/go-yaml"):
				return false
			}
			return !standard(imported)
		}},
	{"collector never imports pipeline, detector or cmd", []string{"collector"}, rooms("pipeline", "detector", "cmd", "deployments")},
	{"pipeline never imports collector, detector or cmd", []string{"pipeline"}, rooms("collector", "detector", "cmd", "deployments")},
	{"detector never imports collector, pipeline or cmd", []string{"detector"}, rooms("collector", "pipeline", "cmd", "deployments")},
	{"the scenario imports schema only", []string{"deployments"}, rooms("collector", "pipeline", "detector", "cmd")},
	{"purego makes a binary need a loader, so only the engine program may link it",
		[]string{"collector", "detector", "schema", "deployments", "pipeline/direct", "pipeline/clickhouse", "cmd/scopedrift", "cmd/internal"},
		func(_ *pack, imported string) bool {
			return strings.HasPrefix(imported, "github.com/ebitengine/purego")
		}},
	{"only tests may import what is made for tests",
		[]string{"cmd", "collector", "deployments", "detector", "internal", "pipeline", "schema"},
		func(p *pack, imported string) bool {
			room, ok := inModule(imported)
			return ok && forTests(room) && !forTests(p.room())
		}},
	{"the command line wires and does no I/O of its own but through env.go", []string{"cmd/scopedrift"},
		func(_ *pack, imported string) bool { return imported != module+"/cmd/internal/cli" }},
}

// rooms makes a law's test: none of these rooms may be imported.
func rooms(forbidden ...string) func(*pack, string) bool {
	return func(_ *pack, imported string) bool {
		room, ok := inModule(imported)
		return ok && under(room, forbidden...)
	}
}

func TestImportLaws(t *testing.T) {
	all := packages(t)
	for _, l := range laws {
		for i := range all {
			p := &all[i]
			if !under(p.room(), l.rooms...) {
				continue
			}
			for _, imported := range p.Imports {
				if l.broken(p, imported) {
					t.Errorf("%s imports %s: %s", p.room(), imported, l.reason)
				}
			}
		}
	}
}

// TestLawsBite makes sure that each law can be broken at all.
func TestLawsBite(t *testing.T) {
	for _, c := range []struct{ room, imported string }{
		{"schema", "github.com/spf13/cobra"}, {"schema/catalog", "github.com/spf13/cobra"}, {"schema", module + "/collector"},
		{"collector/gateway", module + "/pipeline/direct"}, {"pipeline/direct", module + "/detector"},
		{"detector/rule", module + "/collector/redact"}, {"deployments/scenario", module + "/cmd/internal/cli"},
		{"cmd/internal/cli", "github.com/ebitengine/purego"}, {"cmd/scopedrift", "os"},
		{"collector/redact", module + "/internal/corpus"}, {"pipeline/direct", module + "/pipeline/engine/enginetest"},
	} {
		p := &pack{ImportPath: module + "/" + c.room}
		if !slices.ContainsFunc(laws, func(l law) bool { return under(c.room, l.rooms...) && l.broken(p, c.imported) }) {
			t.Errorf("no law stops %s from importing %s", c.room, c.imported)
		}
	}
}

// TestMainBinaryLinksNoEngine looks at everything the main binary is made of.
func TestMainBinaryLinksNoEngine(t *testing.T) {
	command := exec.Command("go", "list", "-e", "-deps", module+"/cmd/scopedrift")
	command.Dir = corpus.Module(t)
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, "github.com/ebitengine/purego") {
			t.Errorf("cmd/scopedrift links %s: it would no longer be static", name)
		}
	}
}

func TestOnlyEnvTouchesOS(t *testing.T) {
	eachFile(t, func(name string, file *ast.File, _ *token.FileSet) {
		if path.Dir(name) != "cmd/internal/cli" && path.Dir(name) != "cmd/internal/output" || strings.HasSuffix(name, "_test.go") || path.Base(name) == "env.go" {
			return
		}
		for _, spec := range file.Imports {
			switch imported, _ := strconv.Unquote(spec.Path.Value); imported {
			case "os", "os/signal", "os/exec", "golang.org/x/term":
				t.Errorf("%s imports %s: only env.go touches the world outside", name, imported)
			}
		}
	})
}

func TestNoRegistries(t *testing.T) {
	eachFile(t, func(name string, file *ast.File, files *token.FileSet) {
		if strings.HasSuffix(name, "_test.go") {
			return // a test may prepare what all its cases share
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" && !ast.IsGenerated(file) {
				t.Errorf("%s has an init function: what a package needs is passed to it", files.Position(f.Pos()))
			}
		}
	})
}

// eachFile parses every Go file of the module.
func eachFile(t *testing.T, do func(name string, file *ast.File, files *token.FileSet)) {
	t.Helper()
	base := corpus.Module(t)
	walk(t, base, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, filepath.Join(base, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s does not parse: %v", name, err)
			return
		}
		do(name, file, files)
	})
}

// walk visits every file of the module but test data and what is not ours.
func walk(t *testing.T, base string, do func(name string)) {
	t.Helper()
	err := filepath.WalkDir(base, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(base, full)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if n := entry.Name(); n == "testdata" || n == "bin" || n == "dist" || n == "node_modules" || name != "." && strings.HasPrefix(n, ".") {
				return fs.SkipDir
			}
			return nil
		}
		do(filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileLength(t *testing.T) {
	base := corpus.Module(t)
	seen := map[string]bool{}
	walk(t, base, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		text, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("// Code generated ")) {
			return
		}
		lines := bytes.Count(text, []byte("\n"))
		reason, allowed := longFiles[name]
		switch {
		case lines > longest && !allowed:
			t.Errorf("%s has %d lines, more than %d: split it, or give the reason in longFiles", name, lines, longest)
		case lines > longest && reason == "":
			t.Errorf("%s is in longFiles without a reason", name)
		case lines <= longest && allowed:
			t.Errorf("%s has %d lines: take it out of longFiles", name, lines)
		}
		seen[name] = true
	})
	for name := range longFiles {
		if !seen[name] {
			t.Errorf("longFiles names %s, which does not exist", name)
		}
	}
}

func TestFolderNames(t *testing.T) {
	all := packages(t)
	for i := range all {
		p := &all[i]
		for _, part := range strings.Split(p.room(), "/") {
			if slices.Contains(forbiddenNames, part) {
				t.Errorf("%s: a folder called %s says nothing about what is in it", p.room(), part)
			}
		}
		if slices.Contains(forbiddenNames, p.Name) {
			t.Errorf("%s: package %s says nothing about what is in it", p.room(), p.Name)
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	documented, named := map[string]bool{}, map[string]string{}
	eachFile(t, func(name string, file *ast.File, _ *token.FileSet) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		dir := path.Dir(name)
		named[dir] = file.Name.Name
		if file.Doc != nil && len(file.Doc.Text()) > 40 {
			documented[dir] = true
		}
	})
	for dir, name := range named {
		if !documented[dir] {
			t.Errorf("%s: package %s has no comment that says what it is, what to use and what it promises", dir, name)
		}
	}
}

// words splits a contract name at underscores.
func words(name string) []string { return strings.Split(strings.ToLower(name), "_") }

func offends(name string) bool {
	if slices.Contains(allowedNames, name) {
		return false
	}
	return slices.ContainsFunc(words(name), func(w string) bool { return slices.Contains(forbiddenWords, w) })
}

// TestWords holds JSON field names and columns to the vocabulary. Structs that
// read somebody else's format have no business being written as JSON and lie
// outside the rooms that are checked: schema, detector and cmd.
func TestWords(t *testing.T) {
	eachFile(t, func(name string, file *ast.File, files *token.FileSet) {
		if !under(name, "schema", "detector", "cmd") || under(name, "detector/grant", "schema/wire") || strings.HasSuffix(name, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				return true
			}
			written, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if written != "" && offends(written) {
				t.Errorf("%s: JSON field %q uses a word that DESIGN gave up (%s)", files.Position(field.Pos()), written, strings.Join(forbiddenWords, ", "))
			}
			return true
		})
	})
}

var column = regexp.MustCompile(`^\s+([a-z_]+)\s+(?:String|LowCardinality|U?Int\d+|Date|DateTime|FixedString|Array|Map|Enum|IPv6|Simple|Aggregate|Bool|Float)`)

func TestColumnWords(t *testing.T) {
	base := corpus.Module(t)
	tables, err := filepath.Glob(filepath.Join(base, "schema", "table", "*.sql"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	found := 0
	for _, table := range tables {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			m := column.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			found++
			if offends(m[1]) {
				t.Errorf("%s:%d: column %s uses a word that DESIGN gave up", filepath.Base(table), n+1, m[1])
			}
		}
	}
	if found < 40 {
		t.Fatalf("only %d columns recognised: the pattern no longer fits the DDL", found)
	}
}

// TestSchemaFilesAgree holds the words of the shipped JSON Schemas as well.
func TestSchemaFilesAgree(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus.Module(t), "schema", "*.schema.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no JSON Schemas: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		properties(doc, func(name string) {
			if offends(name) {
				t.Errorf("%s: field %q uses a word that DESIGN gave up", filepath.Base(file), name)
			}
		})
	}
}

func properties(doc any, do func(string)) {
	switch d := doc.(type) {
	case map[string]any:
		if fields, ok := d["properties"].(map[string]any); ok {
			for name := range fields {
				do(name)
			}
		}
		for _, value := range d {
			properties(value, do)
		}
	case []any:
		for _, value := range d {
			properties(value, do)
		}
	}
}
