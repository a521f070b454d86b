package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// TestNoSecretInKafka plants every canary in every position of every format and
// looks for it in all that a collector hands to Kafka and says.
func TestNoSecretInKafka(t *testing.T) {
	b := kafkatest.Start(t, kafkatest.Options{})
	list := canaries(t)
	logs, home := t.TempDir(), t.TempDir()
	if planted := plant(t, logs, list); planted < 5000 {
		t.Fatalf("only %d lines were planted", planted)
	}
	written := map[string][]byte{}
	runKafka(t, b, home, "schema topics", written, "schema", "topics", "--partitions", "3")
	runKafka(t, b, home, "collect", written, "collect", "gateway",
		"--key", filepath.Join(home, "key"), "--metrics-listen", "off", logs)
	calls, decoder := 0, wire.NewDecoder()
	for _, topic := range []string{kafka.CallsTopic, kafka.DeadLettersTopic, kafka.FindingsTopic} {
		var all bytes.Buffer
		for _, m := range b.Messages(t, topic) {
			all.Write(m.Key)
			all.Write(m.Value)
			for _, h := range m.Headers {
				all.WriteString(h.Key)
				all.Write(h.Value)
			}
			if message, err := decoder.Message(m.Value); err == nil && message.Call != nil {
				calls++
			}
		}
		written["topic "+topic] = all.Bytes()
	}
	if calls < 5000 {
		t.Fatalf("only %d calls are in Kafka:\n%.2000s", calls, written["collect standard error"])
	}
	found := 0
	for name, text := range written {
		for _, needle := range needles(list) {
			if at := bytes.Index(text, []byte(needle.text)); at >= 0 {
				if found++; found < 20 {
					t.Errorf("%s survives in %s: …%.160q", needle.name, name, text[max(0, at-80):min(len(text), at+80)])
				}
			}
		}
	}
}

// runKafka runs the program against the broker and keeps what it says.
func runKafka(t *testing.T, b *kafkatest.Broker, home, name string, written map[string][]byte, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "SCOPEDRIFT_KAFKA="+b.Brokers()[0])
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%s: %v\n%.2000s", name, err, stderr.String())
	}
	written[name+" standard output"], written[name+" standard error"] = stdout.Bytes(), stderr.Bytes()
}
