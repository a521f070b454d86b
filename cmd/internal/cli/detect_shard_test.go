package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// ear counts how often it is told of each state of each finding.
type ear struct {
	*httptest.Server
	mu    sync.Mutex
	asked int
	heard map[string]int
}

func listen(t *testing.T) *ear {
	t.Helper()
	e := &ear{heard: map[string]int{}}
	e.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var told struct{ Findings []schema.Finding }
		if err == nil {
			err = json.Unmarshal(body, &told)
		}
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.asked++
		for _, f := range told.Findings {
			line, err := json.Marshal(&f)
			if err != nil {
				t.Error(err)
			}
			e.heard[string(line)]++
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// states returns how many states were heard of, and fails for one that was heard
// of twice.
func (e *ear) states(t *testing.T) int {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for line, n := range e.heard {
		if n > 1 {
			t.Errorf("told %d times of %.200s", n, line)
		}
	}
	return len(e.heard)
}

// ids are the findings that were heard of.
func (e *ear) ids(t *testing.T) map[schema.FindingID]bool {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := map[schema.FindingID]bool{}
	for line := range e.heard {
		var f schema.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		ids[f.ID] = true
	}
	return ids
}

// TestDetectorsShareAStore: of two processes on one shard one writes and tells,
// the other stands by and tells nobody; when the first is killed the other goes
// on within the lease. Processes of two shards find together what one scan does.
// No state of a finding is written or told twice by any of them.
func TestDetectorsShareAStore(t *testing.T) {
	environment := needEngine(t)
	story, _ := world(t)
	data := filepath.Join(t.TempDir(), "store")
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		var talk strings.Builder
		cmd.Env, cmd.Stderr = environment, &talk
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, talk.String())
		}
		return string(out)
	}
	want := sortedFindings(t, []byte(command("scan", "-o", "jsonl", "--catalog", story.Catalogue, "--data", data, story.Logs)))
	// Without a catalogue the findings are others, so that there is work to do.
	command("detect", "--data", data, "--once", "--metrics-listen", "off")
	const lease = 4 * time.Second
	hook, silent := listen(t), listen(t)
	start := func(hook *ear, more ...string) *daemon {
		return startDaemon(t, environment, append([]string{"detect", "--data", data, "--catalog", story.Catalogue, "--every", "300ms",
			"--lease", lease.String(), "--webhook", hook.URL}, more...)...)
	}
	caughtUp := func(d *daemon, hook *ear) {
		t.Helper()
		d.until(t, "all findings stand and were told of", func() bool {
			if standing(t, environment, data) != want {
				return false
			}
			ids := hook.ids(t)
			for line := range strings.Lines(want) {
				id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":"`), `"`)
				if !ids[schema.FindingID(id)] && !overBudget(line) {
					return false
				}
			}
			return true
		})
	}
	first := start(hook)
	first.until(t, "the first works", func() bool { return first.metric("scopedrift_detector_passes_total") > 0 })
	second, other := start(hook), start(silent)
	for _, d := range []*daemon{second, other} {
		d.until(t, "the other stands by", func() bool { return d.metric("scopedrift_detector_standby_total") > 0 })
	}
	caughtUp(first, hook)
	other.terminate(t)
	if silent.asked > 0 {
		t.Error("a detector that stands by tells a receiver")
	}
	if second.metric("scopedrift_detector_passes_total") > 0 || second.stdout.String() != "" {
		t.Error("two work at once")
	}

	killed := time.Now()
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	second.until(t, "the second takes over", func() bool { return second.metric("scopedrift_detector_passes_total") > 0 })
	// Beside the lease: steps, and a pass over everything on a busy machine.
	if took := time.Since(killed); took > lease+20*time.Second {
		t.Errorf("it took over after %v", took)
	}
	caughtUp(second, hook)
	second.terminate(t)
	if hook.states(t) == 0 || second.stdout.String() != "" {
		t.Errorf("what was found before is found again: %.300s", second.stdout.String())
	}

	// Two shards take over from one.
	command("detect", "--data", data, "--once", "--metrics-listen", "off")
	halves := listen(t)
	a, b := start(halves, "--shard", "1/2"), start(halves, "--shard", "2/2")
	caughtUp(a, halves)
	for _, d := range []*daemon{a, b} {
		if strings.Count(d.stdout.String(), "\n") == 0 {
			t.Error("a shard has nothing to do: the test says nothing")
		}
		d.terminate(t)
	}
	halves.states(t)
	if got := standing(t, environment, data); got != want {
		t.Errorf("two shards find something else than a scan:\n%s", firstDifference(want, got))
	}
	written := strings.Count(a.stdout.String()+b.stdout.String(), `{"id":`)
	if n := halves.states(t); n > written {
		t.Errorf("told of %d states, written were %d", n, written)
	}
}
