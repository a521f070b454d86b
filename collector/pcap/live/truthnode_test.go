//go:build linux

package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector/redact"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c" //lint:ignore SA1019 no other server for Go upgrades
)

// program finds a program that a test needs. Where it is missing the test is skipped,
// but not where everything is there that the project needs (CI).
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is missing: %v", name, err)
	default:
		t.Skipf("%s is missing: %v", name, err)
	}
	return path
}

// TestTruthOfNode runs servers and clients that share nothing with Go: the parsers of
// Node, and nghttp2 with its HPACK, table sizes that change, pushes and priorities.
func TestTruthOfNode(t *testing.T) {
	node := program(t, "node")
	if !apart(t) {
		return
	}
	key := redact.NewKey([32]byte{1})
	l, calls, stats := observed(t, key, func(l *ledger) {
		ctx, cancel := context.WithTimeout(context.Background(), forever)
		defer cancel()
		c := exec.CommandContext(ctx, node, "testdata/truth.mjs")
		var complaints bytes.Buffer
		c.Stderr = &complaints
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, complaints.Bytes())
		}
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			var e entry
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatalf("%v: %s", err, lines.Bytes())
			}
			l.add(e)
		}
	})
	agree(t, key, l, calls, stats)
	if l.len() < 800 || stats.Pushed == 0 {
		t.Errorf("%d requests in the log, %d pushed", l.len(), stats.Pushed)
	}
	t.Logf("%d requests in the servers' log, %d packets, %d frames, %v", l.len(), stats.Packets, stats.Frames, l.tally())
}

// TestTruthOfCurl lets curl ask Go's server, with HTTP/1, with prior knowledge of
// HTTP/2, and by upgrade.
func TestTruthOfCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("curl is missing: %v", err) // the project does without it
	}
	if !apart(t) {
		return
	}
	key := redact.NewKey([32]byte{1})
	l, calls, stats := observed(t, key, func(l *ledger) {
		address := listen(t, handler(l), nil)
		ask := func(how string, kinds ...string) {
			var args []string
			for i, kind := range kinds {
				if i > 0 {
					args = append(args, "--next")
				}
				args = append(args, how, "-s", "-S", "-o", "/dev/null", "-H", fmt.Sprintf("Authorization: Bearer fake-%d", i), fmt.Sprintf("http://%s/%s/%d/%s", address, kind, 200+i, how))
				if how != "--http2" {
					args = append(args, "--data-binary", strings.Repeat("d", 200*i))
				}
			}
			if out, err := exec.Command(curl, args...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
		ask("--http1.0", "plain", "chunks", "big", "trailers")
		ask("--http1.1", "plain", "chunks", "big", "trailers")
		for _, kind := range []string{"plain", "chunks", "big", "trailers"} {
			ask("--http2-prior-knowledge", kind)
		}
		address = upgrading(t, l)
		for _, kind := range []string{"plain", "chunks", "big", "trailers"} {
			ask("--http2", kind)
		}
	})
	agree(t, key, l, calls, stats)
	t.Logf("%d requests in the servers' log, %d packets, %d frames", l.len(), stats.Packets, stats.Frames)
}

// TestTruthOfJava lets the client of Java ask: it upgrades its first request, and goes
// on with HTTP/2.
func TestTruthOfJava(t *testing.T) {
	java := program(t, "java")
	if err := exec.Command(java, "--describe-module", "jdk.compiler").Run(); err != nil {
		t.Skipf("a Java that compiles is missing: %v", err) // the project does without it
	}
	if !apart(t) {
		return
	}
	key := redact.NewKey([32]byte{1})
	l, calls, stats := observed(t, key, func(l *ledger) {
		if out, err := exec.Command(java, "testdata/Ask.java", "http://"+upgrading(t, l)).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	agree(t, key, l, calls, stats)
	t.Logf("%d requests in the server's log, %d packets, %d frames, %v", l.len(), stats.Packets, stats.Frames, stats.Protocols)
}

// upgrading serves HTTP/1 that may become HTTP/2.
func upgrading(t *testing.T, l *ledger) string {
	t.Helper()
	//lint:ignore SA1019 no other server for Go upgrades
	h := h2c.NewHandler(handler(l), &http2.Server{})
	return listen(t, h, func(s *http.Server) { s.Protocols = nil })
}
