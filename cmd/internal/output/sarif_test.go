package output

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// sarifSchema finds the published JSON Schema of SARIF 2.1.0 in the source of a
// library that validates with it, since a test may not fetch it.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		t.Fatalf("find the sarif package: %v", err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		constant, ok := decl.(*ast.GenDecl)
		if !ok || constant.Tok != token.CONST {
			continue
		}
		literal := constant.Specs[0].(*ast.ValueSpec).Values[0].(*ast.BasicLit)
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("sarif.json", doc); err != nil {
			t.Fatal(err)
		}
		schema, err := c.Compile("sarif.json")
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
	t.Fatal("the sarif package holds no schema")
	return nil
}

func TestSARIFValidates(t *testing.T) {
	schema := sarifSchema(t)
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Write(&out, SARIF, r, testOptions()); err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%v\n%s", err, out.Bytes())
			}
			// Another program's reader understands it as meant.
			read, err := sarif.FromBytes(out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			run := read.Runs[0]
			if len(run.Results) != len(r.Findings) {
				t.Fatalf("%d results, want %d", len(run.Results), len(r.Findings))
			}
			for i, result := range run.Results {
				f := &r.Findings[i]
				rule := run.Tool.Driver.Rules[result.RuleIndex]
				if *rule.ID != f.Code || result.PartialFingerprints["findingId/v1"] != string(f.ID) {
					t.Errorf("result %d is of rule %s with %v, want %s and %s", i, *rule.ID, result.PartialFingerprints, f.Code, f.ID)
				}
				if result.Locations[0].LogicalLocations[0].FullyQualifiedName == nil {
					t.Errorf("result %d has no logical location", i)
				}
			}
		})
	}
}

// TestSARIFSchemaBites makes sure that the validation can fail.
func TestSARIFSchemaBites(t *testing.T) {
	schema := sarifSchema(t)
	var doc any
	if err := json.Unmarshal([]byte(`{"version":"2.1.0","runs":[{"tool":{"driver":{}}}]}`), &doc); err != nil {
		t.Fatal(err)
	}
	if schema.Validate(doc) == nil {
		t.Error("a driver without a name passed")
	}
}

func TestSARIFLocation(t *testing.T) {
	o := testOptions()
	o.Locate = func(credential string) (string, int) { return "catalogue/team a.yaml", 12 }
	var out bytes.Buffer
	if err := Write(&out, SARIF, reports()["full"], o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"uri": "catalogue/team%20a.yaml"`, `"startLine": 12`, `POST /orders/{{id}}/refund`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
