package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWatch looks on while calls come in, and wants each once, with the verdict
// that a scan's findings rest on.
func TestWatch(t *testing.T) {
	environment := needEngine(t)
	dir := t.TempDir()
	if err := fixture(dir); err != nil {
		t.Fatal(err)
	}
	data, cat := filepath.Join(dir, "store"), filepath.Join(dir, "catalogue")
	scanned(t, environment, "--catalog", cat, "--data", data, filepath.Join(dir, "edge.log"))
	w := &daemon{Cmd: exec.Command(program, "watch", "--catalog", cat, "--data", data, "--last", "3", "--every", "200ms", "-o", "jsonl")}
	w.Env, w.Stdout, w.Stderr = environment, &w.stdout, &w.stderr
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Process.Kill() })
	lines := func() []string { return strings.Split(strings.TrimSpace(w.stdout.String()), "\n") }
	w.until(t, "the latest calls", func() bool { return strings.Count(w.stdout.String(), "\n") == 3 })
	at := time.Date(2026, 4, 10, 12, 0, 0, 0, time.UTC)
	more := filepath.Join(dir, "more.log")
	text := edgeLine(at, "GET", "/orders/1", "ci-deployer", "orders:read", 200) +
		edgeLine(at.Add(time.Second), "DELETE", "/orders/1", "ci-deployer", "orders:read", 200) +
		edgeLine(at.Add(2*time.Second), "DELETE", "/orders/2", "ci-deployer", "orders:read", 403) +
		edgeLine(at.Add(3*time.Second), "GET", "/nobody/knows", "ci-deployer", "orders:read", 200)
	if err := os.WriteFile(more, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	scanned(t, environment, "--catalog", cat, "--data", data, more)
	w.until(t, "what came in", func() bool { return strings.Count(w.stdout.String(), "\n") == 7 })
	time.Sleep(500 * time.Millisecond) // nothing is shown twice
	got := lines()[3:]
	want := []string{"exercised", "beyond", "denied", "unmapped"}
	if len(got) != len(want) {
		t.Fatalf("shown:\n%s", strings.Join(got, "\n"))
	}
	for i, line := range got {
		var one struct {
			Credential, Verdict string
			Missing             [][]string
			Call                struct{ Operation string }
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		if one.Verdict != want[i] || one.Credential != "ci-deployer" || one.Call.Operation == "" {
			t.Errorf("line %d is %s, want %s", i, line, want[i])
		}
		if one.Verdict == "beyond" && (len(one.Missing) != 1 || one.Missing[0][0] != "orders:admin") {
			t.Errorf("it would have needed %v", one.Missing)
		}
	}
	if err := w.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err != nil || w.stderr.String() != "" {
		t.Errorf("watching ended with %v and says %s", err, w.stderr.String())
	}
	// For people, and filtered.
	p := &daemon{Cmd: exec.Command(program, "watch", "--catalog", cat, "--data", data, "--last", "300", "--verdict", "beyond", "--color", "never")}
	p.Env, p.Stdout, p.Stderr = environment, &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.until(t, "the latest calls", func() bool { return strings.Count(p.stdout.String(), "\n") >= 2 })
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	for _, says := range []string{"POST /orders/{id}/refund", "DELETE /orders/{id}", "needs orders:admin", "beyond"} {
		if !strings.Contains(p.stdout.String(), says) {
			t.Errorf("no %q in\n%s", says, p.stdout.String())
		}
	}
	if strings.Contains(p.stdout.String(), "exercised") || strings.Count(p.stdout.String(), "\n") != 2 {
		t.Errorf("the filter lets through:\n%s", p.stdout.String())
	}
}
