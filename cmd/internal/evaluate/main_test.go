package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/cmd/internal/cli"
	"github.com/scopedrift/scopedrift/deployments/scenario/world"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// asProgram makes this test's own program the one that is measured.
const asProgram = "SCOPEDRIFT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		cli.Exit(cli.Main(cli.System()))
	}
	os.Exit(m.Run())
}

// TestTiny measures two tiny worlds: what the definitions make certain is found,
// no look-alike is, and nothing is invented where logs lack something.
func TestTiny(t *testing.T) {
	program, library := enginetest.Files(t)
	t.Setenv(engine.ProgramEnv, program)
	t.Setenv(engine.LibraryEnv, library)
	t.Setenv(asProgram, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got, err := measure(t.Context(), &options{set: world.Dev, program: self, ablate: 1}, world.Tiny(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	got.print(&out)
	found, chances := map[string]int{}, map[string]int{}
	for _, c := range got.chances {
		chances[c.code]++
		if c.found {
			found[c.code]++
		}
	}
	for _, code := range []string{"D01", "D03", "D06", "D14", "D18"} {
		if chances[code] == 0 || found[code] < chances[code] {
			t.Errorf("%s saw %d of %d campaigns, want all, and at least one", code, found[code], chances[code])
		}
	}
	for _, f := range got.fired {
		t.Errorf("look-alike of %s fired in %s: %s", f.code, f.cfg.Name(), f.text)
	}
	for _, a := range ablations {
		l := got.ablation[a.name]
		if l == nil {
			t.Fatalf("nothing was measured %s", a.title)
		}
		for _, text := range l.invented {
			t.Errorf("invented %s: %s", a.title, text)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", out.Bytes(), got.failureList())
	}
}

// TestSets keeps the worlds to measure with apart from those to work with.
func TestSets(t *testing.T) {
	seen := map[uint64]bool{}
	services := map[int]bool{}
	for _, cfg := range world.Worlds(world.Dev) {
		seen[cfg.Seed], services[cfg.Services] = true, true
	}
	held := world.Worlds(world.Held)
	if len(held) < 20 {
		t.Errorf("%d worlds to measure with, want 20", len(held))
	}
	for _, cfg := range held {
		if seen[cfg.Seed] || services[cfg.Services] || cfg.Set != world.Held {
			t.Errorf("the world %s shares its seed or size with one of the set dev", cfg.Name())
		}
	}
	for _, args := range []string{"-set dev -out x.md", "-seeds 101 -out x.md", "-set all", "-seeds one", "101"} {
		if o, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%q was taken, as %+v", args, o)
		}
	}
}
