package catalog

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// TestBroken loads the catalogues of testdata/broken, each of which is wrong,
// and compares every message. The archive's comment is what is loaded, if it is
// not the whole directory: "load: NAME".
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.txtar")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d broken catalogues found (%v), want 30 at least", len(files), err)
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
				write(t, filepath.Join(dir, f.Name), unescape(f.Data))
			}
			if want < 0 {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				want = len(archive.Files) - 1
			}
			path := dir
			if name, ok := strings.CutPrefix(strings.TrimSpace(string(archive.Comment)), "load: "); ok {
				path = filepath.Join(dir, name)
			}
			c, err := Load(path)
			var problems *Problems
			if c != nil || !errors.As(err, &problems) || len(problems.List) == 0 {
				t.Fatalf("got catalogue %v and error %v, want problems only", c, err)
			}
			if problems.ExitCode() != 2 {
				t.Errorf("exit code %d, want 2", problems.ExitCode())
			}
			got := strings.ReplaceAll(problems.Error(), dir+"/", "")
			got = strings.ReplaceAll(got, dir, "DIR") + "\n"
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

// unescape writes bytes that a text archive cannot hold: \xff and \0.
func unescape(data []byte) string {
	return strings.NewReplacer(`\xff`, "\xff", `\0`, "\x00").Replace(string(data))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
