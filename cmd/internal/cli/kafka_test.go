package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// TestKafkaCommands runs the commands that only need Kafka against a real broker,
// with settings from flags, environment and file.
func TestKafkaCommands(t *testing.T) {
	b := kafkatest.Start(t, kafkatest.Options{Secure: true})
	run := func(environ []string, file string, args ...string) (code int, out, errs string) {
		t.Helper()
		env := testEnv(t, environ...)
		if file != "" {
			env.write(t, filepath.Join(env.Dir, projectFile), file)
		}
		var stdout, stderr bytes.Buffer
		env.Stdout, env.Stderr, env.Args = &stdout, &stderr, args
		code = Main(env)
		return code, stdout.String(), stderr.String()
	}
	plain, sasl := b.Brokers()[0], b.SASL()[0]
	b.Allow(t, "User:"+kafkatest.User, "acme.", kafkago.ACLOperationTypeDescribe)
	b.Allow(t, "User:"+kafkatest.User, "acme.", kafkago.ACLOperationTypeDescribeConfigs)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(kafkatest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := "kafka: [\"" + sasl + "\"]\nkafka_prefix: acme\nkafka_tls_ca: " + b.Secure().CA + "\nkafka_user: " + kafkatest.User + "\n"
	for _, c := range []struct {
		name        string
		environ     []string
		file        string
		args        string
		code        int
		out, stderr string
	}{
		{"none", nil, "", "check connections", 2, "", "nothing to connect to"},
		{"no broker", nil, "", "schema topics", 2, "", "hint:  pass --kafka HOST:PORT"},
		{"nobody", nil, "", "check connections --kafka 127.0.0.1:1", 1, "", "no broker listens there"},
		{"no topics yet", nil, "", "check connections --kafka " + plain, 1, "ok    Kafka answers at " + plain, "scopedrift schema topics --kafka"},
		{"made", nil, "", "schema topics --partitions 4 --kafka 127.0.0.1:1," + plain, 0, "made topic scopedrift.calls.v1 with 4 partitions", ""},
		{"there", []string{"SCOPEDRIFT_KAFKA=" + plain}, "", "check connections", 0, "topic scopedrift.findings.v1 has 3 partitions", ""},
		{"too few", []string{"SCOPEDRIFT_KAFKA=" + plain}, "", "schema topics --partitions 6", 1, "", "4 of 6 partitions"},
		{"made with a prefix", []string{"SCOPEDRIFT_KAFKA=" + plain}, "kafka_prefix: acme\n", "schema topics", 0, "made topic acme.calls.v1 with 12 partitions", ""},
		{"password in the environment", []string{"SCOPEDRIFT_KAFKA_PASSWORD=" + kafkatest.Password}, secure, "check connections", 0, "topic acme.calls.v1 has 12", ""},
		{"password in a file", []string{"SCOPEDRIFT_KAFKA_PASSWORD=wrong"}, secure + "kafka_password_file: " + secret + "\n", "check connections", 0, "topic acme.calls.v1 has 12", ""},
		{"wrong password", []string{"SCOPEDRIFT_KAFKA_PASSWORD=wrong"}, secure, "check connections", 1, "", "refuses user \"canary-user\""},
		{"no password", nil, secure, "check connections", 2, "", "SASL needs a user and a password"},
		{"unknown mechanism", nil, "", "check connections --kafka x --kafka-sasl digest", 2, "", "scram-sha-256"},
		{"no partitions", nil, "", "schema topics --partitions 0 --kafka " + plain, 2, "", "0 is no number of partitions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := run(c.environ, c.file, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.stderr) {
				t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errs)
			}
			if strings.Contains(out+errs, kafkatest.Password) {
				t.Errorf("the password is shown:\n%s%s", out, errs)
			}
			if code != 0 && !strings.Contains(errs, "hint:") {
				t.Errorf("no remedy:\n%s", errs)
			}
		})
	}
}
