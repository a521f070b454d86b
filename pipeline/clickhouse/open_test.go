package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// secret is what must never be seen; it needs escaping in a URL.
const secret = "s3cr3t-/?#@:% hunter2"

// leaks reports whether a text shows the secret, in any escaping that occurs.
func leaks(text string) bool {
	return strings.Contains(text, "s3cr3t") || strings.Contains(text, "hunter2")
}

// shown is everything that a person may get to see of an error.
func shown(err error) string {
	text := fmt.Sprintf("%v | %+v | %#v | %q", err, err, err, err)
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		text += fmt.Sprintf(" | %v | %+v", e, e)
	}
	return text
}

func TestWrongTargets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		target clickhouse.Target
		part   string
	}{
		{"nothing", clickhouse.Target{}, "neither"},
		{"both", clickhouse.Target{Socket: "/x", URL: "clickhouse://x"}, "both"},
		{"no scheme", clickhouse.Target{URL: "localhost:9000"}, "localhost"},
		{"another scheme", clickhouse.Target{URL: "mysql://u:" + "s3cr3t" + "@host/db"}, "mysql"},
		{"no host", clickhouse.Target{URL: "clickhouse:///db"}, "no host"},
		{"raw password", clickhouse.Target{URL: "clickhouse://u:" + secret + "@host:9000/db"}, "cannot be read"},
		{"bad port", clickhouse.Target{URL: "clickhouse://u:s3cr3t@host:port/db"}, "cannot be read"},
		{"bad option", clickhouse.Target{URL: "clickhouse://u:s3cr3t@host:9000/db?dial_timeout=soon&password=hunter2"}, "dial"},
		{"password file is missing", clickhouse.Target{URL: "clickhouse://u@host:9000/db", PasswordFile: "/nowhere/password"}, "/nowhere/password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clickhouse.Open(context.Background(), tt.target)
			var e *clickhouse.Error
			if !errors.As(err, &e) || e.Kind != clickhouse.WrongTarget || e.ExitCode() != 2 || e.Hint() == "" {
				t.Fatalf("error = %#v", err)
			}
			if tt.part != "localhost" && !strings.Contains(err.Error(), tt.part) {
				t.Errorf("%q is not in %q", tt.part, err)
			}
			if s := shown(err); leaks(s) {
				t.Errorf("the password is shown: %s", s)
			}
			if s := fmt.Sprintf("%v %+v %#v %s", tt.target, tt.target, tt.target, tt.target); leaks(s) {
				t.Errorf("the target shows the password: %s", s)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A server that repeats what it was given.
		user, pass, _ := r.BasicAuth()
		http.Error(w, "who are you, "+user+" with "+pass+"?", http.StatusUnauthorized)
	}))
	defer web.Close()
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer tls.Close()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cr3t hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		target clickhouse.Target
		kind   clickhouse.Kind
		part   string
	}{
		{"no socket", clickhouse.Target{Socket: "/nowhere/clickhouse.sock"}, clickhouse.Unreachable, "embedded engine"},
		{"native", clickhouse.Target{URL: "clickhouse://u:s3cr3t@" + closed}, clickhouse.Unreachable, closed},
		{"http", clickhouse.Target{URL: "http://u:s3cr3t@" + closed}, clickhouse.Unreachable, closed},
		{"not ClickHouse", clickhouse.Target{URL: "http://u:s3cr3t@" + web.Listener.Addr().String()}, clickhouse.Failed, "8123"},
		{"not ClickHouse, password of a file", clickhouse.Target{URL: "http://u@" + web.Listener.Addr().String(), PasswordFile: file}, clickhouse.Failed, "8123"},
		{"not native", clickhouse.Target{URL: "clickhouse://u:s3cr3t@" + web.Listener.Addr().String() + "?dial_timeout=300ms"}, clickhouse.Timeout, "9000"},
		{"certificate", clickhouse.Target{URL: "https://u:s3cr3t@" + tls.Listener.Addr().String()}, clickhouse.Unreachable, "certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clickhouse.Open(context.Background(), tt.target)
			var e *clickhouse.Error
			if !errors.As(err, &e) || e.ExitCode() != 1 || e.Hint() == "" {
				t.Fatalf("error = %#v", err)
			}
			if e.Kind != tt.kind || !strings.Contains(e.Error()+" | "+e.Hint(), tt.part) {
				t.Errorf("kind %s, want %s with %q: %s | %s", e.Kind, tt.kind, tt.part, e, e.Hint())
			}
			if s := shown(err); leaks(s) {
				t.Errorf("the password is shown: %s", s)
			}
		})
	}
}

func TestOpenEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	start := time.Now()
	for _, scheme := range []string{"http", "clickhouse"} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := clickhouse.Open(ctx, clickhouse.Target{URL: scheme + "://" + l.Addr().String()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error = %v", scheme, err)
		}
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
}

// The same statement through the socket and through a URL, with a database and
// settings of the target.
func TestTargets(t *testing.T) {
	ctx := context.Background()
	e := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
	conn := enginetest.Connect(t, e)
	if err := conn.Exec(ctx, "CREATE DATABASE other"); err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{"max_block_size": 1234, "final": true}
	for name, target := range map[string]clickhouse.Target{
		"socket":           {Socket: e.Socket(), Database: "other", Settings: settings},
		"http":             {URL: "http://" + e.Address(), Database: "other", Settings: settings},
		"http with path":   {URL: "http://" + e.Address() + "/other", Database: "default", Settings: settings},
		"settings in URL":  {URL: "http://" + e.Address() + "/other?max_block_size=1234", Settings: map[string]any{"max_block_size": 99, "final": true}},
		"with a user":      {URL: "http://someone@" + e.Address() + "/other?final=true", Password: "obviously-fake", Settings: settings},
		"with compression": {URL: "http://" + e.Address() + "/other?compress=zstd", Settings: settings},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := clickhouse.Open(ctx, target)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			var db, block, final string
			if err := conn.QueryRow(ctx, "SELECT currentDatabase(), toString(getSetting('max_block_size')), toString(getSetting('final'))").Scan(&db, &block, &final); err != nil {
				t.Fatal(err)
			}
			if db != "other" || block != "1234" || final != "true" {
				t.Errorf("database %q, max_block_size %s, final %s", db, block, final)
			}
		})
	}
	_, err := clickhouse.Open(ctx, clickhouse.Target{Socket: e.Socket(), Database: "nowhere"})
	if !clickhouse.IsKind(err, clickhouse.Missing) {
		t.Errorf("a missing database: %v", err)
	}
}

func TestExplain(t *testing.T) {
	exception := func(code int32, text string) error {
		return fmt.Errorf("sendQuery: %w", &ch.HTTPError{StatusCode: 500, Err: &ch.Exception{Code: code, Name: "DB::Exception", Message: text}})
	}
	for _, tt := range []struct {
		err  error
		kind clickhouse.Kind
		part string
	}{
		{exception(241, "(total) memory limit exceeded: would use 2 GiB"), clickhouse.Memory, "--memory"},
		{exception(243, "Cannot reserve 1.00 MiB, not enough space"), clickhouse.DiskFull, "space"},
		{exception(75, "Cannot write to file /x: No space left on device"), clickhouse.DiskFull, "space"},
		{exception(60, "Table default.calls does not exist (version 26.7.2.1)"), clickhouse.Missing, "schema migrate"},
		{exception(516, "default: Authentication failed"), clickhouse.Refused, "password"},
		{exception(159, "Timeout exceeded"), clickhouse.Timeout, "time"},
		{exception(9999, "something\nnew"), clickhouse.Failed, "something new (code 9999)"},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), clickhouse.Broken, "broke"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, clickhouse.Unreachable, "nobody listens"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}}, clickhouse.Unreachable, "no such host"},
		{errors.New("anything"), clickhouse.Failed, "anything"},
	} {
		err := clickhouse.Explain(tt.err)
		var e *clickhouse.Error
		if !errors.As(err, &e) || e.Kind != tt.kind || !strings.Contains(e.Error()+" | "+e.Hint(), tt.part) || e.Hint() == "" || e.ExitCode() != 1 {
			t.Errorf("%v: %#v", tt.err, err)
			continue
		}
		if strings.Contains(e.Error(), "\n") || strings.Contains(e.Error(), "(version") {
			t.Errorf("%v: %q", tt.err, e)
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v: the cause is lost", tt.err)
		}
		if again := clickhouse.Explain(fmt.Errorf("more: %w", err)); !errors.Is(again, err) {
			t.Errorf("%v: explained twice: %v", tt.err, again)
		}
	}
	for _, err := range []error{nil, context.Canceled, fmt.Errorf("x: %w", context.DeadlineExceeded)} {
		if got := clickhouse.Explain(err); got != err {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	}
}
