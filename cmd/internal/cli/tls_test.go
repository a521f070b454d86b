package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// TestScanOpensTLS reads a capture of three calls over TLS 1.3 with the key log
// that its client wrote, and without; what is no key log has a remedy.
func TestScanOpensTLS(t *testing.T) {
	environment := needEngine(t)
	run := func(args ...string) string {
		c := exec.Command(program, args...)
		c.Env = environment
		out, _ := c.CombinedOutput()
		return string(out)
	}
	const capture = "testdata/tls/api.pcap"
	for _, c := range []struct{ want, args string }{
		{"calls        3", "scan --tls-keys testdata/tls/keys.log " + capture},
		{"calls        0", "scan " + capture},
		{"why it shows no call says: scopedrift doctor " + capture, "scan -o json " + capture},
		{"leave it out", "scan --format pcap " + capture},
		{"decrypted      1 connection", "doctor --tls-keys testdata/tls/keys.log " + capture},
		{"api.example.com", "doctor " + capture},
		{"100 % of the connections are encrypted", "doctor " + capture},
		{"no TLS key log", "scan --tls-keys tls_test.go " + capture},
		{"no such file", "doctor --tls-keys nowhere.log " + capture},
	} {
		if out := run(strings.Fields(c.args)...); !strings.Contains(out, c.want) || strings.Contains(out, "fake-secret") {
			t.Errorf("scopedrift %s does not say %q:\n%s", c.args, c.want, out)
		}
	}
}
