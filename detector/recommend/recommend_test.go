package recommend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/memory"
	"github.com/scopedrift/scopedrift/detector/recommend"
)

var update = flag.Bool("update", false, "write what is recommended into the cases")

// TestCases runs every case below testdata: a catalogue and calls, and what is
// recommended for all credentials.
func TestCases(t *testing.T) {
	for _, path := range detectortest.Cases(t, "testdata/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			c := detectortest.Read(t, path)
			all, err := recommend.New(detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls), Window: c.Window}).All(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			e := json.NewEncoder(&got)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(all); err != nil {
				t.Fatal(err)
			}
			for i := range all {
				if len(all[i].Replay.Refused) > 0 {
					t.Errorf("%s: the proposal would refuse %v", all[i].Credential.ID, all[i].Replay.Refused)
				}
			}
			at := -1
			for i := range c.Archive.Files {
				if c.Archive.Files[i].Name == "want.json" {
					at = i
				}
			}
			if *update {
				if at < 0 {
					c.Archive.Files = append(c.Archive.Files, txtar.File{Name: "want.json"})
					at = len(c.Archive.Files) - 1
				}
				c.Archive.Files[at].Data = got.Bytes()
				if err := os.WriteFile(path, txtar.Format(c.Archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if at < 0 || !bytes.Equal(c.Archive.Files[at].Data, got.Bytes()) {
				t.Errorf("recommended:\n%s", got.Bytes())
			}
		})
	}
}

func TestUnknownCredential(t *testing.T) {
	c := detectortest.Read(t, "testdata/shop.txtar")
	for name, want := range map[string]string{"sho": "did you mean shop?", "shpo": "did you mean shop?", "ledger": ""} {
		_, err := recommend.New(detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls)}).Recommend(context.Background(), name)
		var unknown *detector.UnknownCredential
		if !errors.As(err, &unknown) {
			t.Fatalf("%s: got %v", name, err)
		}
		if unknown.Hint() != want {
			t.Errorf("%s: hint %q, want %q", name, unknown.Hint(), want)
		}
	}
	one, err := recommend.New(detector.Config{Catalog: c.Catalog, Facts: memory.New(c.Calls)}).Recommend(context.Background(), "idp|shop")
	if err != nil || one.Credential.ID != "shop" {
		t.Errorf("an observed id finds %q, %v", one.Credential.ID, err)
	}
}
