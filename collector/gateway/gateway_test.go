package gateway

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// memory is a sink that keeps everything, and checks the batches' contract.
type memory struct {
	t       testing.TB
	calls   []schema.Call
	skipped map[string]uint64
	next    map[string]uint64
	done    map[string]bool
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, skipped: map[string]uint64{}, next: map[string]uint64{}, done: map[string]bool{}}
}

func (m *memory) Put(_ context.Context, b *collector.Batch) error {
	name := b.Input.Name
	if b.FirstUnit != m.next[name] {
		m.t.Errorf("%s: a batch begins at unit %d, want %d", name, b.FirstUnit, m.next[name])
	}
	if m.done[name] {
		m.t.Errorf("%s: a batch after the last one", name)
	}
	units := uint64(len(b.Calls))
	for reason, n := range b.Skipped {
		m.skipped[reason] += n
		units += n
	}
	if b.NextUnit-b.FirstUnit != units {
		m.t.Errorf("%s: units %d to %d, but %d calls and skipped units", name, b.FirstUnit, b.NextUnit, units)
	}
	m.next[name], m.done[name] = b.NextUnit, b.Done
	m.calls = append(m.calls, b.Calls...)
	return nil
}

func testKey() *redact.Key { return redact.NewKey([32]byte{1, 2, 3}) }

func testGateway(t testing.TB, cfg Config) *Gateway {
	t.Helper()
	cfg.Key = testKey()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// readFiles runs a gateway over files and returns their calls.
func readFiles(t testing.TB, cfg Config, files ...string) (*memory, Report, error) {
	t.Helper()
	m := newMemory(t)
	r, err := testGateway(t, cfg).Run(context.Background(), files, m)
	for _, in := range r.Inputs {
		if in.Units != in.Calls+in.Skipped()+in.BadTotal() {
			t.Errorf("%s: %d units are not %d calls, %v and %v", in.Input.Name, in.Units, in.Calls, in.NotACall, in.Bad)
		}
	}
	return m, r, err
}

// readText runs a gateway over one input with that text.
func readText(t testing.TB, cfg Config, text string) (*memory, Report, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readFiles(t, cfg, file)
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
