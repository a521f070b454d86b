package world

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/scopedrift/scopedrift/internal/treetest"
)

// TestSameBytes holds Write to its promise.
func TestSameBytes(t *testing.T) {
	for _, cfg := range Tiny() {
		first, second := t.TempDir(), t.TempDir()
		if _, err := Write(cfg, first); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(cfg, second); err != nil {
			t.Fatal(err)
		}
		files := treetest.Same(t, first, second)
		if files < 10 {
			t.Errorf("wrote %d files, want at least 10", files)
		}
	}
}

// written makes a world in a directory of its own and returns its truth, as
// written.
func written(t *testing.T, cfg Config) (*Written, []byte) {
	t.Helper()
	dir := t.TempDir()
	w, err := Write(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "truth.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return w, text
}

// TestAblationsChangeLogsOnly makes sure that a world of which less is logged is
// the same world.
func TestAblationsChangeLogsOnly(t *testing.T) {
	cfg := Tiny()[0]
	whole, truth := written(t, cfg)
	for name, ablation := range map[string]Ablation{"traces": {Traces: true}, "grants": {Grants: true}, "mints": {Mints: true}, "calls": {Missing: .2}} {
		cfg.Ablation = ablation
		part, same := written(t, cfg)
		if !bytes.Equal(truth, same) {
			t.Errorf("without %s something else happens", name)
		}
		lines := part.Truth.Lines
		if want := float64(whole.Truth.Lines) * (1 - ablation.Missing); float64(lines) < .98*want || float64(lines) > 1.02*want {
			t.Errorf("without %s there are %d calls, want about %.0f", name, lines, want)
		}
	}
}

// TestTruth holds the truth to what it is for: every detection has something to
// stay silent about, and most have something to see.
func TestTruth(t *testing.T) {
	alikes, must := map[string]int{}, map[string]int{}
	for _, cfg := range Worlds(Dev)[:2] {
		cfg.Calls = 30_000
		w, _ := written(t, cfg)
		for _, l := range w.Truth.LookAlikes {
			if l.What == "" || len(l.Credentials) == 0 && l.Code != "D15" || !l.From.Before(l.To) {
				t.Errorf("the look-alike %+v says too little", l)
			}
			alikes[l.Code]++
		}
		for _, c := range w.Truth.Campaigns {
			if c.From.Before(cfg.Start()) || !c.To.Before(cfg.End()) || c.To.Before(c.From) || c.Calls == 0 || len(c.Credentials) == 0 {
				t.Errorf("the campaign %+v is none", c)
			}
			for _, code := range c.Must {
				if at, ok := c.Seen[code]; !ok || at.Before(c.From) || at.After(c.To) {
					t.Errorf("%s should show %s at %s, which is outside it", c.ID, code, at)
				}
				must[code]++
			}
		}
		for _, f := range w.Truth.Faults {
			must[f.Code]++
		}
		for _, c := range w.Truth.Calls {
			if c.Campaign == "" && c.LookAlike == "" {
				t.Errorf("the call %+v belongs to nothing", c)
			}
		}
	}
	for i := range 18 {
		code := fmt.Sprintf("D%02d", i+1)
		if alikes[code] < 2 {
			t.Errorf("%s has %d look-alikes in two worlds, want at least one in each", code, alikes[code])
		}
		if must[code] == 0 && code != "D11" { // which some worlds have no attacker for
			t.Errorf("nothing should make %s fire", code)
		}
	}
}

// TestConfigs refuses worlds that cannot be made.
func TestConfigs(t *testing.T) {
	for what, spoil := range map[string]func(*Config){
		"no set": func(c *Config) { c.Set = "other" }, "few services": func(c *Config) { c.Services = 2 }, "many services": func(c *Config) { c.Services = 99 },
		"few credentials": func(c *Config) { c.Credentials = 3 }, "few days": func(c *Config) { c.Days = 2 }, "one tenant": func(c *Config) { c.Tenants = 1 },
	} {
		cfg := Tiny()[0]
		spoil(&cfg)
		if _, err := Write(cfg, t.TempDir()); err == nil {
			t.Errorf("a world with %s was made", what)
		}
	}
}

// TestKeysAreExamples looks for key ids that could be real.
func TestKeysAreExamples(t *testing.T) {
	w, _ := written(t, Tiny()[1])
	text, err := os.ReadFile(filepath.Join(w.Logs, "cloud", "trail.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`A[KS]IA[A-Z0-9]{16}`).FindAll(text, -1)
	if len(keys) < 100 {
		t.Fatalf("only %d key ids: the pattern no longer fits the log", len(keys))
	}
	for _, key := range keys {
		if !bytes.Contains(key, []byte("EXAMPLE")) {
			t.Fatalf("the key id %s does not say that it is an example", key)
		}
	}
}
