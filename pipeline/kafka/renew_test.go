package kafka

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// TestRenewal: what a running process has of certificate and password changes with
// the files, and a file that is not whole changes nothing.
func TestRenewal(t *testing.T) {
	b := kafkatest.Shared(t)
	s := b.Secure()
	dir := t.TempDir()
	place := func(name, from string) string {
		t.Helper()
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key := place("crt", s.Certificate), place("key", s.Key)
	mutual, err := Config{Brokers: b.MTLS(), TLS: &TLS{CA: s.CA, Certificate: certificate, Key: key}}.open()
	if err != nil {
		t.Fatal(err)
	}
	password := write("password", kafkatest.Password)
	scram, err := Config{Brokers: b.SASL(), TLS: &TLS{CA: s.CA},
		SASL: &SASL{Mechanism: ScramSHA512, User: kafkatest.User, PasswordFile: password}}.open()
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, l *link, want Kind) {
		t.Helper()
		err := l.probe(t.Context())
		var e *Error
		if want == "" && err != nil || want != "" && (!errors.As(err, &e) || e.Kind != want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("at first", mutual, "")
	check("at first", scram, "")
	write("crt", "-----BEGIN CERTIFICATE-----\nhalf")
	write("password", "")
	check("while it is written", mutual, "")
	check("while it is written", scram, "")
	place("crt", s.ForeignCertificate)
	place("key", s.ForeignKey)
	write("password", "another")
	check("a foreign one", mutual, Certificate)
	check("another one", scram, Password)
	place("crt", s.Certificate)
	place("key", s.Key)
	write("password", kafkatest.Password+"\n")
	check("at last", mutual, "")
	check("at last", scram, "")
}
