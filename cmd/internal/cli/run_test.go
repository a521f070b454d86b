package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemon is a long-running scopedrift.
type daemon struct {
	*exec.Cmd
	stdout, stderr growing
	address        string
}

// growing is what a process has written until now.
type growing struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

var servedOn = regexp.MustCompile(`"address":"([^"]+)"`)

func startDaemon(t testing.TB, environment []string, args ...string) *daemon {
	t.Helper()
	return startDaemonTo(t, environment, nil, args...)
}

// startDaemonTo is startDaemon with a taker of standard output.
func startDaemonTo(t testing.TB, environment []string, stdout io.Writer, args ...string) *daemon {
	t.Helper()
	d := &daemon{Cmd: exec.Command(program, append(args, "--metrics-listen", "127.0.0.1:0")...)}
	d.Env, d.Stdout, d.Stderr = environment, &d.stdout, &d.stderr
	if stdout != nil {
		d.Stdout = stdout
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Process.Kill() })
	d.until(t, "it serves metrics", func() bool {
		m := servedOn.FindStringSubmatch(d.stderr.String())
		if m != nil {
			d.address = m[1]
		}
		return m != nil
	})
	return d
}

// until waits for something that comes by and by.
func (d *daemon) until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never\n%s", what, d.stderr.String())
		}
	}
}

func (d *daemon) get(path string) (int, string) {
	response, err := http.Get("http://" + d.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// metric adds up the values of a metric.
func (d *daemon) metric(name string) (sum float64) {
	_, text := d.get("/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+"{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			sum += n
		}
	}
	return sum
}

// terminate tells it to end and wants a clean end within the bound.
func (d *daemon) terminate(t testing.TB) {
	t.Helper()
	begun := time.Now()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, d.stderr.String())
	}
	if took := time.Since(begun); took > 16*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.Write(data)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sortedFindings are the findings of JSON lines, byte for byte, sorted.
func sortedFindings(t *testing.T, lines []byte) string {
	t.Helper()
	list := slices.Collect(strings.Lines(findingLines(t, lines)))
	slices.Sort(list)
	return strings.Join(list, "")
}

// standing are the findings of a store, sorted: those within the day's budget, and
// those over it, which are listed apart.
func standing(t *testing.T, environment []string, data string) string {
	t.Helper()
	var all []byte
	for _, flags := range [][]string{nil, {"--over-budget"}} {
		cmd := exec.Command(program, append([]string{"findings", "--data", data, "-o", "jsonl"}, flags...)...)
		var talk strings.Builder
		cmd.Env, cmd.Stderr = environment, &talk
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("findings %v: %v\n%s", flags, err, talk.String())
		}
		all = append(all, out...)
	}
	return sortedFindings(t, all)
}

// overBudget says that a finding, as a line, is one that nobody is told of.
func overBudget(line string) bool { return strings.Contains(line, `"over_budget":true`) }

// TestRun writes the logs of the simulated company while run follows them, kills
// it in the midst, breaks and mends its catalogue, and wants in the end what one
// scan of the same logs finds.
func TestRun(t *testing.T) {
	environment := needEngine(t)
	story, logs := world(t)
	dir, data := filepath.Join(t.TempDir(), "logs"), filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var names []string
	parts := map[string][][]byte{}
	calls := 0
	for name, text := range logs {
		names = append(names, name)
		parts[name] = inParts(text, 4)
		calls += bytes.Count(text, []byte("\n"))
	}
	slices.Sort(names)
	write := func(part int) {
		t.Helper()
		for _, name := range names {
			appendTo(t, filepath.Join(dir, strings.ReplaceAll(name, "/", "_")), parts[name][part])
		}
	}
	args := []string{"run", "--catalog", story.Catalogue, "--data", data, "--every", "500ms", dir}
	write(0)
	d := startDaemon(t, environment, args...)
	d.until(t, "calls are stored", func() bool { return d.metric("scopedrift_calls_stored_total") > 0 })
	d.until(t, "a pass is done", func() bool { return d.metric("scopedrift_detector_passes_total") > 0 })
	if code, text := d.get("/readyz"); code != 200 {
		t.Errorf("/readyz is %d %s", code, text)
	}
	write(1)
	time.Sleep(300 * time.Millisecond)
	if err := d.Process.Kill(); err != nil { // in the midst of something
		t.Fatal(err)
	}
	_ = d.Wait()
	write(2)
	d = startDaemon(t, environment, args...)
	broken := filepath.Join(story.Catalogue, "zz-broken.yaml")
	appendTo(t, broken, []byte("services: [{nam: x}]\n"))
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.until(t, "the broken catalogue is refused", func() bool { return d.metric("scopedrift_catalog_refused_total") > 0 })
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	d.until(t, "the catalogue is mended", func() bool { return d.metric("scopedrift_catalog_broken") == 0 })
	write(3)
	// Everything has been read once nothing is behind for a while.
	still := 0
	last := 0.0
	d.until(t, "everything is read", func() bool {
		time.Sleep(200 * time.Millisecond)
		now := d.metric("scopedrift_follow_bytes_total")
		if now == last && now > 0 && d.metric("scopedrift_follow_behind_bytes") == 0 {
			still++
		} else {
			still = 0
		}
		last = now
		return still > 8
	})
	d.terminate(t)
	jsonOnly(t, d.stderr.String())
	want := sortedFindings(t, []byte(scanned(t, environment, "--catalog", story.Catalogue, dir)))
	if got := standing(t, environment, data); got != want {
		t.Errorf("run found something else than scan:\n%s", firstDifference(want, got))
	}
	if strings.Count(want, "\n") < 10 {
		t.Errorf("only %d findings: the test shows little", strings.Count(want, "\n"))
	}
}

// inParts cuts a text into n parts, not always between lines.
func inParts(text []byte, n int) [][]byte {
	var parts [][]byte
	for i := range n {
		parts = append(parts, text[len(text)*i/n:len(text)*(i+1)/n])
	}
	return parts
}

// jsonOnly wants every line of a long-running command's talk to be one of JSON.
func jsonOnly(t *testing.T, text string) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		var line struct{ Time, Level, Part, Message string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Time == "" || line.Level == "" || line.Part == "" || line.Message == "" {
			t.Errorf("no log line: %s (%v)", lines.Text(), err)
		}
	}
}

// TestRunRefuses is wrong use.
func TestRunRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"run"}, "needs at least one input"},
		{[]string{"run", "a.log"}, "needs a place"},
		{[]string{"run", "--data", "d", "--every", "1ms", "a.log"}, "shorter than"},
		{[]string{"run", "--data", "d", "--metrics-listen", "nowhere:x:y", "a.log"}, "--metrics-listen"},
		{[]string{"run", "--data", "d", "--catalog", "absent.yaml", "a.log"}, "absent.yaml"},
	} {
		env := testEnv(t)
		env.Args = c.args
		var told bytes.Buffer
		env.Stderr = &told
		if code := Main(env); code != codeUsage || !strings.Contains(told.String(), c.says) {
			t.Errorf("%s: code %d, says %s", fmt.Sprint(c.args), code, told.String())
		}
	}
}
