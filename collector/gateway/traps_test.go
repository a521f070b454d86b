package gateway

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// TestTraps reads the logs of each file in testdata/traps and compares the calls
// and the account with what the file says. -update rewrites both.
func TestTraps(t *testing.T) {
	files, err := filepath.Glob("testdata/traps/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no trap files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var inputs []string
			var cfg Config
			logs := a.Files[:0:0]
			want := map[string]string{}
			for _, f := range a.Files {
				switch f.Name {
				case "calls", "report":
					want[f.Name] = string(f.Data)
				case "flags":
					cfg = flagsOf(t, string(f.Data))
					logs = append(logs, f)
				default:
					logs = append(logs, f)
					path := filepath.Join(dir, f.Name)
					if err := os.WriteFile(path, f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
					// The year of a syslog time is the file's.
					changed := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
					if err := os.Chtimes(path, changed, changed); err != nil {
						t.Fatal(err)
					}
					inputs = append(inputs, path)
				}
			}
			calls, report := account(t, cfg, inputs)
			if *update {
				a.Files = append(logs, txtar.File{Name: "calls", Data: []byte(calls)}, txtar.File{Name: "report", Data: []byte(report)})
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if calls != want["calls"] {
				t.Errorf("calls differ:\n%s", diff(want["calls"], calls))
			}
			if report != want["report"] {
				t.Errorf("the report differs:\n%s", diff(want["report"], report))
			}
		})
	}
}

func flagsOf(t *testing.T, text string) Config {
	t.Helper()
	var cfg Config
	for _, word := range strings.Fields(text) {
		name, v, _ := strings.Cut(word, "=")
		switch name {
		case "trusted":
			cfg.TrustedProxies, _ = strconv.Atoi(v)
		case "host":
			cfg.Host = v
		case "tenant":
			cfg.Tenant = v
		case "format":
			cfg.Format = v
		default:
			t.Fatalf("unknown flag %q", name)
		}
	}
	return cfg
}

// account reads inputs and writes calls and report as text. Names lose their
// directory.
func account(t *testing.T, cfg Config, inputs []string) (calls, report string) {
	t.Helper()
	m := newMemory(t)
	r, err := testGateway(t, cfg).Run(context.Background(), inputs, m)
	var c, text strings.Builder
	for i := range m.calls {
		m.calls[i].Source.Name = filepath.Base(m.calls[i].Source.Name)
		fmt.Fprintln(&c, jsonOf(t, &m.calls[i]))
	}
	for _, in := range r.Inputs {
		fmt.Fprintf(&text, "%s: %d units, %d calls\n  %s\n", filepath.Base(in.Input.Name), in.Units, in.Calls, in.Chosen)
		for _, counts := range []map[string]uint64{in.NotACall, in.Bad} {
			for _, reason := range slices.Sorted(maps.Keys(counts)) {
				fmt.Fprintf(&text, "  %s: %d\n", reason, counts[reason])
			}
		}
	}
	if err != nil {
		fmt.Fprintf(&text, "error: %s\n", strings.ReplaceAll(err.Error(), filepath.Dir(inputs[0])+"/", ""))
	}
	return c.String(), text.String()
}

// diff shows the lines that differ.
func diff(want, got string) string {
	var out strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			fmt.Fprintf(&out, "want %s\n got %s\n", a, b)
		}
	}
	return out.String()
}
