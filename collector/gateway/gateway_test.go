package gateway

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) Put(context.Context, *collector.Batch) error { return nil }

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
		if in.Units != in.Calls+total(in.NotACall)+in.BadTotal() {
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

// TestHostIsAHost refuses what is no host's name, and takes what is.
func TestHostIsAHost(t *testing.T) {
	key := redact.NewKey([32]byte{1})
	for host, good := range map[string]bool{
		"": true, "api.example.com": true, "api.example.com:8443": true, "[2001:db8::1]:443": true,
		"https://api.example.com": false, "api.example.com/v1": false, "user@api.example.com": false, "my api": false,
	} {
		if _, err := New(Config{Key: key, Host: host}); (err == nil) != good {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

// TestForeign names inputs that are no log as they are, whatever their name is.
func TestForeign(t *testing.T) {
	line := `{"start_time":"2026-03-01T10:00:00.000Z","method":"GET","path":"/a","authority":"a.example","response_code":200}` + "\n"
	wide := func(low, high int) string {
		b := make([]byte, 2*len(line))
		for i := range line {
			b[2*i+low], b[2*i+high] = line[i], 0
		}
		return string(b)
	}
	for text, want := range map[string]string{
		"\xff\xfe" + wide(0, 1): "it is UTF-16 text", "\xfe\xff" + wide(1, 0): "it is UTF-16 text", wide(0, 1): "it is UTF-16 text",
		wide(1, 0): "it is UTF-16 text", "BZh91AY&SY\x01\x02\n\x03\n": "compressed with bzip2", "\xfd7zXZ\x00\x00\x04\n\x01": "compressed with xz",
		"PK\x03\x04\x14\x00\x00\n\x01": "a zip archive", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n": "cannot be read",
	} {
		_, _, err := readText(t, Config{}, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text[:8], err, want)
		}
	}
}

// TestNamesOfFiles holds that a secret in a file's name goes no further than the
// file, and that two such files stay two.
func TestNamesOfFiles(t *testing.T) {
	dir := t.TempDir()
	const secret = "ghp_FAKE0FAKE0FAKE0FAKE0FAKE0FAKE0FAKE01"
	line := `{"start_time":"2026-03-01T10:00:00.000Z","method":"GET","path":"/a","authority":"a.example","response_code":200}` + "\n"
	var files []string
	for _, last := range []string{"", "x"} {
		file := filepath.Join(dir, secret+last+".log")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	m, report, err := readFiles(t, Config{}, files...)
	if err != nil || len(m.calls) != 2 {
		t.Fatalf("%d calls, %v", len(m.calls), err)
	}
	if all := jsonOf(t, m.calls) + jsonOf(t, report); strings.Contains(all, secret[4:]) {
		t.Error("the name of the file is in what was handed on:", all)
	}
	if m.calls[0].Source.Name == m.calls[1].Source.Name {
		t.Error("two files have become one")
	}
}
