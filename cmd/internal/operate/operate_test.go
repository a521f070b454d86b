package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema/catalog"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	s := New(cfg)
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestServer(t *testing.T) {
	s := serve(t, Config{Part: "ingest", Version: "1.2", Listen: "127.0.0.1:0", Log: NewLog(io.Discard, "ingest", false)})
	n := uint64(41)
	s.Counter("scopedrift_test_calls_total", "Calls.", func() uint64 { n++; return n })
	s.Counters("scopedrift_test_skipped_total", "Skipped.", "reason", func() map[string]uint64 { return map[string]uint64{"bad": 3, "old": 1} })
	s.Gauges("scopedrift_test_lag", "Lag.", "partition", func() map[string]float64 { return map[string]float64{"7": 2.5} })
	observe := s.Durations("scopedrift_test_seconds", "Time.")
	observe(20 * time.Millisecond)
	code, text := get(t, s, "/metrics")
	if code != 200 {
		t.Fatalf("%d: %s", code, text)
	}
	for _, want := range []string{
		`scopedrift_test_calls_total{part="ingest"} 42`, `scopedrift_test_skipped_total{part="ingest",reason="bad"} 3`,
		`scopedrift_test_lag{part="ingest",partition="7"} 2.5`, `scopedrift_test_seconds_bucket{part="ingest",le="0.05"} 1`,
		`scopedrift_build_info{part="ingest",version="1.2"} 1`, `scopedrift_ready{part="ingest"} 1`, "process_open_fds", "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}

	var sick, busy error
	s.Alive("engine", func() error { return sick })
	s.Ready("kafka", func() error { return busy })
	steps := []struct {
		sick, busy    error
		alive, ready  int
		says, ofReady string
	}{
		{nil, nil, 200, 200, "ok", "ok"},
		{nil, errors.New("no broker answers"), 200, 503, "ok", "kafka: no broker answers"},
		{errors.New("it died"), nil, 503, 503, "engine: it died", "engine: it died"},
	}
	for _, c := range steps {
		sick, busy = c.sick, c.busy
		if code, text := get(t, s, "/healthz"); code != c.alive || strings.TrimSpace(text) != c.says {
			t.Errorf("/healthz is %d %q, want %d %q", code, text, c.alive, c.says)
		}
		if code, text := get(t, s, "/readyz"); code != c.ready || strings.TrimSpace(text) != c.ofReady {
			t.Errorf("/readyz is %d %q, want %d %q", code, text, c.ready, c.ofReady)
		}
	}
	sick, busy = nil, nil
	s.Ending()
	if code, _ := get(t, s, "/readyz"); code != 503 {
		t.Errorf("/readyz is %d while the part drains", code)
	}
	if code, _ := get(t, s, "/healthz"); code != 200 {
		t.Errorf("/healthz is %d while the part drains", code)
	}
	if code, _ := get(t, s, "/debug/pprof/"); code != 404 {
		t.Errorf("something else is served: %d", code)
	}
}

func TestListen(t *testing.T) {
	first := serve(t, Config{Part: "a", Listen: "127.0.0.1:0", Log: NewLog(io.Discard, "a", false)})
	second := New(Config{Part: "b", Listen: first.Address(), Log: NewLog(io.Discard, "b", false)})
	if err := second.Open(); !errors.Is(err, ErrListen) {
		t.Errorf("an address that is taken gives %v", err)
	}
	off := serve(t, Config{Part: "c", Listen: "off", Log: NewLog(io.Discard, "c", false)})
	if off.Address() != "" {
		t.Errorf("off serves on %s", off.Address())
	}
	// Two parts without a wish get along, whoever has the usual address.
	a := serve(t, Config{Part: "d", Log: NewLog(io.Discard, "d", false)})
	b := serve(t, Config{Part: "e", Log: NewLog(io.Discard, "e", false)})
	if a.Address() == b.Address() || a.Address() == "" || b.Address() == "" {
		t.Errorf("served on %q and %q", a.Address(), b.Address())
	}
}

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := NewLog(&out, "run", false)
	log.Info().Str("input", "a\n{\"level\":\"error\"}\x1b[31m").Msg("opened")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 1 || strings.ContainsRune(lines[0], '\x1b') {
		t.Fatalf("written %q", out.String())
	}
	var line map[string]string
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339, line["time"]); err != nil || at.Location() != time.UTC || line["part"] != "run" || line["level"] != "info" {
		t.Errorf("line is %v", line)
	}
	out.Reset()
	quiet := NewLog(&out, "run", true)
	quiet.Info().Msg("nothing")
	if out.Len() > 0 {
		t.Errorf("quiet says %q", out.String())
	}
}

func TestDrain(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	live, stop := drain(ctx, 50*time.Millisecond)
	defer stop()
	why := errors.New("told to end")
	cancel(why)
	if live.Err() != nil {
		t.Fatal("it ended at once")
	}
	select {
	case <-live.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("it did not end")
	}
	if context.Cause(live) != why {
		t.Errorf("it ended with %v", context.Cause(live))
	}
}

const small = "services:\n  - {name: orders, hosts: [orders.example.com]}\n"

func TestCatalogue(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(small)
	loaded, err := catalog.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var told []*catalog.Catalog
	c := NewCatalogue(dir, loaded, NewLog(&out, "run", false), func(c *catalog.Catalog) { told = append(told, c) })
	write("services: [{nam: x}]\n")
	if c.Reload() || c.Current() != loaded || c.Refused() != 1 || !c.Broken() || !strings.Contains(out.String(), "old one stays") {
		t.Errorf("a broken catalogue: refused %d, log %s", c.Refused(), out.String())
	}
	write(small)
	if !c.Reload() || c.Reloads() != 0 || c.Broken() || c.Current() != loaded {
		t.Errorf("the same catalogue was put in force anew")
	}
	write(strings.ReplaceAll(small, "orders", "billing"))
	hangups := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { c.Run(ctx, hangups); close(ended) }()
	hangups <- struct{}{}
	hangups <- struct{}{} // the first has been dealt with when this is taken
	if c.Reloads() != 1 || c.Current().Services[0].Name != "billing" {
		t.Errorf("reloads %d, services %v", c.Reloads(), c.Current().Services)
	}
	write(strings.ReplaceAll(small, "orders", "shipping"))
	for end := time.Now().Add(20 * time.Second); c.Reloads() < 2 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-ended
	if c.Reloads() != 2 || c.Current().Services[0].Name != "shipping" || len(told) != 2 {
		t.Errorf("a change of the file was not noticed: reloads %d, told %d", c.Reloads(), len(told))
	}
}

// TestFingerprint: a mounted directory changes by a symbolic link.
func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "c.yaml"), []byte(small), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "current")
	if err := os.Symlink("one", link); err != nil {
		t.Fatal(err)
	}
	before := fingerprint(link)
	if before != fingerprint(link) {
		t.Error("it depends on more than the files")
	}
	_ = os.Remove(link)
	if err := os.Symlink("two", link); err != nil {
		t.Fatal(err)
	}
	if before == fingerprint(link) {
		t.Error("another directory behind the link is not noticed")
	}
	if fingerprint("") != 0 || fingerprint(filepath.Join(dir, "absent")) == fingerprint(link) {
		t.Error("what is absent looks like something")
	}
}
