package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/detector/notify"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
)

func open(t *testing.T) driver.Conn {
	t.Helper()
	conn := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

func finding(id string, status schema.Status) schema.Finding {
	return schema.Finding{ID: schema.FindingID(id), Code: "D01", Detection: "out-of-scope-access", Severity: schema.SeverityHigh, Status: status,
		Credential: schema.FindingCredential{ID: "reports-job", Observed: []string{"reports"}}, Title: "title of " + id,
		Reasons: []string{"first", "second"}, First: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Last: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), Frameworks: []string{}}
}

func save(t *testing.T, conn driver.Conn, second int, findings ...schema.Finding) {
	t.Helper()
	if err := clickhouse.InsertFindings(t.Context(), conn, findings, time.Date(2026, 3, 1, 0, 0, second, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
}

// wall takes findings, or refuses them.
type wall struct {
	refuse bool
	got    []string
}

func (w *wall) Name() string { return "wall" }

func (w *wall) Receive(_ context.Context, findings []schema.Finding) error {
	if w.refuse {
		return errors.New("closed")
	}
	for _, f := range findings {
		w.got = append(w.got, string(f.ID)+" "+f.Status.String())
	}
	return nil
}

// TestOutbox: changes go out in their order, each once, also over restarts and
// refusals; who is new hears of what is open only.
func TestOutbox(t *testing.T) {
	conn := open(t)
	save(t, conn, 1, finding("a", schema.StatusOpen), finding("old", schema.StatusResolved))
	w := &wall{}
	cfg := notify.Config{Conn: conn, Receiver: w}
	flush := func(o *notify.Outbox, want string) {
		t.Helper()
		w.got = nil
		if err := o.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(w.got, ", "); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	o := notify.New(cfg)
	flush(o, "a open")
	flush(o, "")
	save(t, conn, 2, finding("b", schema.StatusOpen))
	save(t, conn, 3, finding("a", schema.StatusResolved))
	w.refuse = true
	if err := o.Flush(t.Context()); err == nil {
		t.Error("nobody says that it was refused")
	}
	w.refuse = false
	o = notify.New(cfg) // started again
	flush(o, "b open, a resolved")
	flush(notify.New(cfg), "")
	save(t, conn, 4, finding("b", schema.StatusResolved))
	save(t, conn, 5, finding("b", schema.StatusOpen)) // what it was in between is past
	flush(o, "b open")
	cfg.Refresh = time.Hour
	again := notify.New(cfg)
	flush(again, "b open")
	flush(again, "")
	if s := again.Stats(); s.Sent != 1 || !s.Waiting.IsZero() {
		t.Errorf("counted %+v", s)
	}
}

// TestOutboxRuns: what is refused is tried again by itself, and only by who leads.
func TestOutboxRuns(t *testing.T) {
	conn := open(t)
	save(t, conn, 1, finding("a", schema.StatusOpen))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	asked, reported := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	hook, err := notify.NewWebhook(server.URL+"/secret-path", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := notify.New(notify.Config{Conn: conn, Receiver: hook, Every: 10 * time.Millisecond, Report: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		reported = err.Error()
	}})
	idle := notify.New(notify.Config{Conn: conn, Receiver: hook, Every: time.Millisecond, Lead: func() bool { return false }})
	go o.Run(ctx)
	go idle.Run(ctx)
	for end := time.Now().Add(30 * time.Second); o.Stats().Sent == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was never sent")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if asked != 3 || o.Stats().Failed != 2 || idle.Stats().Sent+idle.Stats().Failed != 0 {
		t.Errorf("asked %d times; counted %+v, of the other %+v", asked, o.Stats(), idle.Stats())
	}
	if strings.Contains(reported, "secret-path") || !strings.Contains(reported, "502") {
		t.Errorf("reported %q", reported)
	}
}

// TestAlertmanager holds what is posted to the form of the API.
func TestAlertmanager(t *testing.T) {
	var path string
	var posted []struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &posted); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	manager, err := notify.NewAlertmanager(server.URL + "/prefix/")
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.Receive(t.Context(), []schema.Finding{finding("a", schema.StatusOpen), finding("b", schema.StatusSuppressed)}); err != nil {
		t.Fatal(err)
	}
	if path != "/prefix/api/v2/alerts" || len(posted) != 2 {
		t.Fatalf("posted %d to %s", len(posted), path)
	}
	one := posted[0]
	if one.Labels["alertname"] != "out-of-scope-access" || one.Labels["severity"] != "high" || one.Labels["finding"] != "a" ||
		one.Annotations["summary"] != "title of a" || one.Annotations["description"] != "first\nsecond" {
		t.Errorf("posted %+v", one)
	}
	if _, ok := one.Labels["tenant"]; ok {
		t.Error("an empty label is posted")
	}
	if now := time.Now(); !one.EndsAt.After(now.Add(notify.AlertmanagerRefresh)) || posted[1].EndsAt.After(now) {
		t.Errorf("they end at %v and %v", one.EndsAt, posted[1].EndsAt)
	}
}

// TestAddresses: what is no address is refused without being repeated, since it
// may hold a password.
func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "hooks.example.com", "ftp://u:example-password@h/", "http://", "http://u:example-password@h:x/"} {
		if _, err := notify.NewWebhook(address, nil); err == nil || strings.Contains(err.Error(), "example-password") {
			t.Errorf("%q: %v", address, err)
		}
		if _, err := notify.NewAlertmanager(address); err == nil || strings.Contains(err.Error(), "example-password") {
			t.Errorf("%q: %v", address, err)
		}
	}
	a, _ := notify.NewWebhook("https://u:example-password@h/one", nil)
	b, _ := notify.NewWebhook("https://u:example-password@h/two", nil)
	if a.Name() == b.Name() || strings.Contains(a.Name(), "example-password") || strings.Contains(a.Name(), "one") {
		t.Errorf("the names are %q and %q", a.Name(), b.Name())
	}
	if err := a.Receive(t.Context(), nil); err == nil || strings.Contains(err.Error(), "example-password") {
		t.Errorf("got %v", err)
	}
}
