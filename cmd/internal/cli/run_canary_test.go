package cli

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunKeepsSecrets follows logs in which canaries stand everywhere, and looks
// for them in all that run writes, serves and leaves: findings, log lines,
// metrics, health, checkpoint, dead letters and store.
func TestRunKeepsSecrets(t *testing.T) {
	environment := needEngine(t)
	list := canaries(t)
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "store")
	planted := plant(t, dir, list)
	d := startDaemon(t, environment, "run", "--data", data, "--every", "500ms", dir)
	still, last := 0, -1.0
	d.until(t, "everything is read", func() bool {
		now := d.metric("scopedrift_follow_bytes_total")
		if still++; now != last || now == 0 || d.metric("scopedrift_follow_behind_bytes") > 0 {
			still = 0
		}
		last = now
		return still > 40
	})
	if n := d.metric("scopedrift_calls_stored_total"); int(n) < planted/4 {
		t.Errorf("only %v calls of %d planted lines are stored", n, planted)
	}
	written := map[string][]byte{}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		_, text := d.get(path)
		written[path] = []byte(text)
	}
	d.terminate(t)
	written["standard output"], written["standard error"] = []byte(d.stdout.String()), []byte(d.stderr.String())
	collectStore(t, data, written)
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		written[strings.TrimPrefix(path, data)] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/" + checkpointFile, "/" + deadLetterFile, "standard output", "/metrics"} {
		if len(written[name]) == 0 {
			t.Errorf("%s is empty: nothing was tested", name)
		}
	}
	found := 0
	for name, text := range written {
		for _, needle := range needles(list) {
			if at := bytes.Index(text, []byte(needle.text)); at >= 0 {
				if found++; found < 20 {
					t.Errorf("%s survives in %s: …%.160q", needle.name, name, text[max(0, at-80):min(len(text), at+80)])
				}
			}
		}
	}
}
