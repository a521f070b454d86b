package grant_test

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/detector/compare"
	"github.com/scopedrift/scopedrift/detector/grant"
	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// auditEvent is a Kubernetes audit event, as far as authorisation goes.
type auditEvent struct {
	Items      []auditEvent
	Verb       string
	RequestURI string
	User       struct {
		Username string
		Groups   []string
	}
	ImpersonatedUser *struct {
		Username string
		Groups   []string
	}
	ObjectRef   *struct{ Resource, Subresource, APIGroup, Namespace, Name string }
	Annotations map[string]string
}

// operation names what the event asked for, as scopedrift does.
func (e *auditEvent) operation() string {
	o := e.ObjectRef
	if o == nil {
		path, _, _ := strings.Cut(e.RequestURI, "?")
		return e.Verb + " " + path
	}
	name := o.Resource
	if o.APIGroup != "" {
		name += "." + o.APIGroup
	}
	if o.Subresource != "" {
		name += "/" + o.Subresource
	}
	return e.Verb + " " + name
}

func auditEvents(t testing.TB, path string) []auditEvent {
	var events []auditEvent
	d := json.NewDecoder(bytes.NewReader(corpus.Read(t, path)))
	for {
		var e auditEvent
		if err := d.Decode(&e); err == io.EOF {
			return events
		} else if err != nil {
			return events // One file of the corpus holds no event.
		}
		switch {
		case e.Items != nil:
			events = append(events, e.Items...)
		case e.Verb != "":
			events = append(events, e)
		}
	}
}

func bootstrap(t testing.TB, version string) (*grant.Import, *catalog.Catalog) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(corpus.Path(t, "k8s-audit/bootstrap-rbac/"+version), "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files (%v)", err)
	}
	var documents [][]byte
	for _, f := range files {
		documents = append(documents, corpus.Read(t, f))
	}
	imported, err := grant.RBAC("prod", documents...)
	if err != nil {
		t.Fatal(err)
	}
	return imported, load(t, imported, clusterService)
}

// TestBootstrapRBAC judges real audit events by the roles that every cluster
// starts with: the calls that were allowed were held, and the node's own, which
// another authoriser decides, is unknown.
func TestBootstrapRBAC(t *testing.T) {
	imported, cat := bootstrap(t, "v1.23.4")
	sameAsLoaded(t, imported, cat)
	c := compare.New(cat)
	counts := map[compare.Holding]int{}
	for _, pattern := range []string{"k8s-audit/falco/*.json", "k8s-audit/khi/*.ndjson"} {
		files, err := filepath.Glob(corpus.Path(t, filepath.Dir(pattern)) + "/" + filepath.Base(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			for _, e := range auditEvents(t, path) {
				if e.Annotations["authorization.k8s.io/decision"] != "allow" {
					t.Errorf("%s: not allowed", path)
				}
				namespace, name := "", ""
				if e.ObjectRef != nil {
					namespace, name = e.ObjectRef.Namespace, e.ObjectRef.Name
				}
				j := c.Judge(request(t, cat, e.User.Username, e.User.Groups, e.operation(), namespace, name))
				counts[j.Holding]++
				switch {
				case j.Holding == compare.Lacks, j.Holding == compare.Unknown && !strings.HasPrefix(e.User.Username, "system:node:"):
					t.Errorf("%s: %s %s: %v: %q", filepath.Base(path), e.User.Username, e.operation(), j.Holding, j.Reasons)
				}
				if v := compare.VerdictOf(schema.DecisionAllowed, true, j.Holding); v == schema.VerdictBeyond {
					t.Errorf("%s: beyond", path)
				}
			}
		}
	}
	if counts[compare.Holds] != 51 || counts[compare.Unknown] != 1 || counts[compare.Lacks] != 0 {
		t.Errorf("%v, want 51 held and 1 unknown", counts)
	}
}

// TestBootstrapFigures checks what is read against counts stated elsewhere.
func TestBootstrapFigures(t *testing.T) {
	imported, cat := bootstrap(t, "v1.23.4")
	c := compare.New(cat)
	admin := request(t, cat, "whoever", []string{"system:masters"}, "delete secrets", "any", "s")
	if j := c.Judge(admin); j.Holding != compare.Holds {
		t.Errorf("system:masters: %v %q", j.Holding, j.Reasons)
	}
	url := request(t, cat, "whoever", []string{"system:authenticated"}, "get /api/v1", "", "")
	if j := c.Judge(url); j.Holding != compare.Holds {
		t.Errorf("discovery: %v %q", j.Holding, j.Reasons)
	}
	plain := request(t, cat, "whoever", []string{"system:authenticated"}, "list secrets", "any", "")
	if j := c.Judge(plain); j.Holding != compare.Unknown { // more than the group may be held
		t.Errorf("anyone: %v %q", j.Holding, j.Reasons)
	}
	t.Logf("%d groups, %d credentials, notes %q", len(imported.Groups), len(imported.Credentials), imported.Notes)
	if _, old := bootstrap(t, "v1.15"); old == nil {
		t.Error("v1.15 is not read")
	}
}
