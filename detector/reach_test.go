package detector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
)

var update = flag.Bool("update", false, "write what is said into the cases")

// TestReach follows links in memory and in the store, which must agree with each
// other and with what the case states. A file "from KIND NAME" is a question.
func TestReach(t *testing.T) {
	s := newStores(t)
	for _, path := range detectortest.Cases(t, "testdata/reach/*.txtar") {
		c := detectortest.Read(t, path)
		conn, _ := s.fill(t, c.Catalog, c.Calls, 5, 11)
		changed := false
		for i := range c.Archive.Files {
			file := &c.Archive.Files[i]
			rest, ok := strings.CutPrefix(file.Name, "from ")
			if !ok {
				continue
			}
			kind, name, _ := strings.Cut(strings.TrimSuffix(rest, ".json"), " ")
			start := detector.Node{Kind: detector.NodeKind(kind), Name: name}
			got := reach(t, detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}, start)
			same(t, reach(t, detector.Config{Catalog: c.Catalog, Conn: conn, Window: c.Window}, start), got)
			if *update {
				changed = changed || !bytes.Equal(file.Data, got)
				file.Data = got
				continue
			}
			same(t, got, file.Data)
		}
		if changed {
			if err := os.WriteFile(path, txtar.Format(c.Archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// reach writes one edge a line.
func reach(t *testing.T, cfg detector.Config, start detector.Node) []byte {
	t.Helper()
	r, err := detector.New(cfg).Reach(context.Background(), start)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i := range r.Edges {
		r.Edges[i].Call = [16]byte{}
		if err := e.Encode(r.Edges[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, cut := range r.Cut {
		b.WriteString(cut + "\n")
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(`,"call":"00000000000000000000000000000000"`), nil)
}

func TestReachFromNowhere(t *testing.T) {
	c := detectortest.Read(t, "rule/testdata/d11/path.txtar")
	d := detector.New(detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls)})
	var credential *detector.UnknownCredential
	if _, err := d.Reach(context.Background(), detector.Node{Kind: detector.NodeCredential, Name: "nobody"}); !errors.As(err, &credential) {
		t.Errorf("got %v", err)
	}
	var place *detector.UnknownPlace
	if _, err := d.Reach(context.Background(), detector.Node{Kind: detector.NodePlace, Name: "nowhere"}); !errors.As(err, &place) {
		t.Errorf("got %v", err)
	}
}
