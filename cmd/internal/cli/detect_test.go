package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/scopedrift/scopedrift/detector/notify"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// hook gathers what a webhook is posted, refuses the first, and checks the rest.
type hook struct {
	t      *testing.T
	secret []byte
	mu     sync.Mutex
	asked  int
	got    bytes.Buffer
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked++; h.asked == 1 {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	if want := notify.Sign(h.secret, r.Header.Get(notify.TimestampHeader), body); r.Header.Get(notify.SignatureHeader) != want {
		h.t.Errorf("signed %q, want %q", r.Header.Get(notify.SignatureHeader), want)
	}
	h.got.Write(body)
}

func (h *hook) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got.String()
}

// TestClusterFindsWhatAScanFinds sends the logs of the simulated company through
// collect, Kafka, ingest and detect: in the end the store has the findings of one
// scan of the same logs, byte for byte, and a webhook was told of each.
func TestClusterFindsWhatAScanFinds(t *testing.T) {
	environment := needEngine(t)
	broker := kafkatest.Start(t, kafkatest.Options{})
	story, logs := world(t)
	state := t.TempDir()
	dir, data, key := filepath.Join(state, "logs"), filepath.Join(state, "store"), filepath.Join(state, "key")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range logs {
		appendTo(t, filepath.Join(dir, strings.ReplaceAll(name, "/", "_")), text)
	}
	environment = append(environment, "SCOPEDRIFT_KAFKA="+broker.Brokers()[0], "SCOPEDRIFT_KEY="+key)
	command := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(program, args...)
		var talk bytes.Buffer
		cmd.Env, cmd.Stderr = environment, &talk
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, talk.String())
		}
		return out
	}
	command("schema", "topics", "--partitions", "3")
	in := startDaemon(t, environment, "ingest", "--data", data, "--catalog", story.Catalogue, "--group-session", "6s", "--batch-age", "200ms")
	secret := filepath.Join(state, "secret")
	appendTo(t, secret, []byte("example-not-a-secret\n"))
	told := &hook{t: t, secret: []byte("example-not-a-secret")}
	server := httptest.NewServer(told)
	defer server.Close()
	watch := startDaemon(t, environment, "detect", "--data", data, "--catalog", story.Catalogue, "--every", "500ms",
		"--webhook", server.URL+"/hooks/T0KEN", "--webhook-secret-file", secret)
	command("collect", "gateway", "--metrics-listen", "off", dir)
	want := sortedFindings(t, []byte(scanned(t, environment, "--catalog", story.Catalogue, dir)))
	in.until(t, "all partitions were read to their end", func() bool {
		return in.metric("scopedrift_calls_stored_total") > 0 && in.metric("scopedrift_kafka_lag") == 0
	})
	in.terminate(t)
	watch.terminate(t)
	if got := standing(t, environment, data); got != want {
		t.Errorf("the cluster found something else than a scan:\n%s", firstDifference(want, got))
	}
	command("detect", "--data", data, "--catalog", story.Catalogue, "--once", "--metrics-listen", "off", "--webhook", server.URL+"/hooks/T0KEN", "--webhook-secret-file", secret)
	for line := range strings.Lines(want) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":"`), `"`)
		if !overBudget(line) && !strings.Contains(told.text(), fmt.Sprintf("%q", id)) {
			t.Errorf("the webhook was not told of %s", id)
		}
	}
	jsonOnly(t, watch.stderr.String())
	if strings.Contains(watch.stderr.String(), "T0KEN") || strings.Contains(watch.stderr.String(), "example-not-a-secret") {
		t.Error("the log has the webhook's secret")
	}
}
