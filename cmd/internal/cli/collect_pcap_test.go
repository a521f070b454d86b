package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scopedrift/scopedrift/schema"
)

// TestCollectPcap captures calls on loopback: each comes out once, with its
// credential, complete, and without the secret. Where the kernel forbids it the
// refusal has a remedy.
func TestCollectPcap(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") }))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"collect", "pcap", "-i", "lo", "--filter", "tcp port " + address.Port(), "--key", filepath.Join(t.TempDir(), "key")}
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		out, failed := exec.Command(program, append(args, "--metrics-listen", "off")...).CombinedOutput()
		if failed == nil || !bytes.Contains(out, []byte("hint:")) {
			t.Errorf("without the right to capture it ended with %v and said %s", failed, out)
		}
		t.Skipf("the kernel forbids to capture here: %v", err)
	} else {
		_ = unix.Close(fd)
	}
	d := startDaemon(t, nil, args...)
	const secret = "example-not-a-secret-0123456789"
	for n := range 20 {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/orders/%d", server.URL, n), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	d.until(t, "the calls come out", func() bool { return strings.Count(d.stdout.String(), "\n") >= 20 })
	if n := d.metric("scopedrift_capture_packets_total"); n < 80 {
		t.Errorf("%v packets are counted", n)
	}
	d.terminate(t)
	jsonOnly(t, d.stderr.String())
	seen := map[string]bool{}
	for line := range strings.Lines(d.stdout.String()) {
		var c schema.Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if c.Quality != schema.QualityComplete || c.Status != 200 || !strings.HasPrefix(c.Credential.ID, "hmac:") || time.Since(c.Time) > time.Hour {
			t.Errorf("got %s", line)
		}
		seen[c.Path] = true
	}
	if len(seen) != 20 || strings.Count(d.stdout.String(), "\n") != 20 {
		t.Errorf("%d calls of %d paths, want 20", strings.Count(d.stdout.String(), "\n"), len(seen))
	}
	if strings.Contains(d.stdout.String()+d.stderr.String(), secret) {
		t.Error("the secret came out")
	}
}

// TestCollectPcapRefuses wants sentences for wrong use.
func TestCollectPcapRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"needs one source":           {},
		"one source of packets":      {"-i", "lo", "--follow", t.TempDir()},
		"is no directory":            {"--follow", filepath.Join(t.TempDir(), "none")},
		"--filter":                   {"-i", "lo", "--filter", "tcp prot 80"},
		"of use with -i only":        {"--follow", t.TempDir(), "--promiscuous"},
		"is not between 1MiB and 4G": {"-i", "lo", "--ring", "1KiB"},
	} {
		out, err := exec.Command(program, append([]string{"collect", "pcap", "--metrics-listen", "off"}, args...)...).CombinedOutput()
		var failed *exec.ExitError
		if !errors.As(err, &failed) || failed.ExitCode() != codeUsage || !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
