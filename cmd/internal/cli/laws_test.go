package cli

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/deployments/scenario"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// needEngine skips, or fails under CI, where the embedded engine is missing.
func needEngine(t testing.TB) (environment []string) {
	t.Helper()
	engine, library := enginetest.Files(t)
	home := t.TempDir()
	key := filepath.Join(home, "key")
	if err := os.WriteFile(key, []byte(scenario.KeyHex+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "SCOPEDRIFT_ENGINE="+engine, "SCOPEDRIFT_LIBCHDB="+library, "HOME="+home, "SCOPEDRIFT_KEY="+key)
}

// scanned runs a scan and returns the lines of its findings.
func scanned(t *testing.T, environment []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, append([]string{"scan", "-o", "jsonl"}, args...)...)
	cmd.Env = environment
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("scan %s: %v\n%s", strings.Join(args, " "), err, talk.String())
	}
	return findingLines(t, out.Bytes())
}

// findingLines keeps the findings of JSON lines, byte for byte.
func findingLines(t *testing.T, lines []byte) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(string(lines)) {
		var probe struct {
			ID   string `json:"id"`
			Code string `json:"code"`
		}
		if err := json.Unmarshal([]byte(line), &probe); err != nil {
			t.Fatalf("a line is no JSON: %v\n%s", err, line)
		}
		if probe.ID != "" && probe.Code != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// world writes the scenario and returns its directories and its text logs by
// name.
func world(t *testing.T) (story *scenario.Story, logs map[string][]byte) {
	t.Helper()
	story, err := scenario.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	logs = map[string][]byte{}
	err = filepath.WalkDir(story.Logs, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".pcap") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err != nil {
				return err
			}
			if text, err = io.ReadAll(z); err != nil {
				return err
			}
		}
		name, _ := filepath.Rel(story.Logs, path)
		logs[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return story, logs
}

// TestFindingsDoNotDependOnHowTheLogsCame states the law of DESIGN 7: another
// order, other pieces, other files, the same file twice: the same findings,
// byte for byte.
func TestFindingsDoNotDependOnHowTheLogsCame(t *testing.T) {
	environment := needEngine(t)
	story, logs := world(t)
	capture := filepath.Join(story.Logs, "portal", "visitors.pcap")
	want := scanned(t, environment, "--catalog", story.Catalogue, story.Logs)
	for _, code := range []string{"D01", "D02", "D03", "D04", "D06", "D17", "D18"} {
		if !strings.Contains(want, `"code":"`+code+`"`) {
			t.Errorf("the story has no %s", code)
		}
	}
	random := rand.New(rand.NewPCG(4, 2))
	for name, inputs := range map[string]func(dir string) []string{
		"shuffled": func(dir string) []string {
			for name, text := range logs {
				lines := linesOf(text)
				random.Shuffle(len(lines), func(i, k int) { lines[i], lines[k] = lines[k], lines[i] })
				place(t, filepath.Join(dir, name), lines)
			}
			return []string{dir, capture}
		},
		"split": func(dir string) []string {
			for name, text := range logs {
				lines := linesOf(text)
				// Equal lines stay together: their ordinals are a file's.
				slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(len(a)%7, len(b)%7) })
				parts := map[int][]string{}
				for _, line := range lines {
					parts[len(line)%7] = append(parts[len(line)%7], line)
				}
				for i, part := range parts {
					place(t, filepath.Join(dir, fmt.Sprintf("%d-%s", i, strings.ReplaceAll(name, "/", "-"))), part)
				}
			}
			return []string{dir, capture}
		},
		"concatenated": func(dir string) []string {
			var all []string
			for _, name := range slices.Sorted(keys(logs)) {
				if strings.HasPrefix(name, "mesh/") {
					all = append(all, linesOf(logs[name])...)
				} else {
					place(t, filepath.Join(dir, strings.ReplaceAll(name, "/", "-")), linesOf(logs[name]))
				}
			}
			place(t, filepath.Join(dir, "mesh.log.zst"), all)
			return []string{capture, dir}
		},
		"twice": func(dir string) []string {
			for name, text := range logs {
				place(t, filepath.Join(dir, "a", name), linesOf(text))
				place(t, filepath.Join(dir, "b", name), linesOf(text))
			}
			return []string{capture, dir, capture}
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := scanned(t, environment, append([]string{"--catalog", story.Catalogue}, inputs(t.TempDir())...)...)
			if got != want {
				t.Errorf("the findings differ:\n%s", firstDifference(want, got))
			}
		})
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func linesOf(text []byte) []string {
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// place writes lines to a file, compressed as its name says.
func place(t *testing.T, path string, lines []string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	var to io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&buf, io.NopCloser(nil)}
	switch filepath.Ext(path) {
	case ".gz":
		to = gzip.NewWriter(&buf)
	case ".zst":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		to = z
	}
	for _, line := range lines {
		io.WriteString(to, line)
		io.WriteString(to, "\n")
	}
	if filepath.Ext(path) == ".gz" || filepath.Ext(path) == ".zst" {
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// firstDifference shows where two texts part.
func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		at := 0
		for at < min(len(a[i]), len(b[i])) && a[i][at] == b[i][at] {
			at++
		}
		from := max(0, at-200)
		return fmt.Sprintf("line %d, character %d\nwant …%.400s\ngot  …%.400s", i+1, at, a[i][from:], b[i][from:])
	}
	return fmt.Sprintf("%d lines, want %d", len(b), len(a))
}
