package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

// TestRefusals is the table of what can be wrong between here and a broker: each
// is a sentence of its own kind with a remedy, and none is tried again for ever.
func TestRefusals(t *testing.T) {
	b := kafkatest.Shared(t)
	s := b.Secure()
	trust := func() *kafka.TLS { return &kafka.TLS{CA: s.CA} }
	scram := func(mechanism, user, password string) *kafka.SASL {
		return &kafka.SASL{Mechanism: mechanism, User: user, Password: kafka.Secret(password)}
	}
	for _, c := range []struct {
		name string
		cfg  kafka.Config
		// kind is empty where it works.
		kind kafka.Kind
		says string
	}{
		{"plain", kafka.Config{Brokers: b.Brokers()}, "", ""},
		{"scram 256", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.ScramSHA256, kafkatest.User, kafkatest.Password)}, "", ""},
		{"scram 512", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.ScramSHA512, kafkatest.User, kafkatest.Password)}, "", ""},
		{"sasl plain", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.Plain, kafkatest.PlainUser, kafkatest.PlainPassword)}, "", ""},
		{"client certificate", kafka.Config{Brokers: b.MTLS(), TLS: &kafka.TLS{CA: s.CA, Certificate: s.Certificate, Key: s.Key}}, "", ""},
		{"wrong password, scram", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.ScramSHA512, kafkatest.User, "wrong")}, kafka.Password, "refuses user"},
		{"wrong user, scram", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.ScramSHA256, "nobody", "wrong")}, kafka.Password, `"nobody"`},
		{"wrong password, plain", kafka.Config{Brokers: b.SASL(), TLS: trust(), SASL: scram(kafka.Plain, kafkatest.PlainUser, "wrong")}, kafka.Password, "refuses user"},
		{"no password", kafka.Config{Brokers: b.SASL(), TLS: trust()}, kafka.Password, "may want a user"},
		{"password for a listener without", kafka.Config{Brokers: b.Brokers(), SASL: scram(kafka.Plain, "a", "b")}, kafka.Password, ""},
		{"unknown authority", kafka.Config{Brokers: b.MTLS(), TLS: &kafka.TLS{CA: s.OtherCA}}, kafka.Certificate, "authority that is not known"},
		{"expired broker", kafka.Config{Brokers: b.Expired(), TLS: trust()}, kafka.Certificate, "expired"},
		{"wrong name", kafka.Config{Brokers: b.MTLS(), TLS: &kafka.TLS{CA: s.CA, ServerName: "kafka.example"}}, kafka.Certificate, "another name"},
		{"no client certificate", kafka.Config{Brokers: b.MTLS(), TLS: trust()}, kafka.Certificate, "certificate"},
		{"expired client", kafka.Config{Brokers: b.MTLS(), TLS: &kafka.TLS{CA: s.CA, Certificate: s.ExpiredCertificate, Key: s.ExpiredKey}}, kafka.Certificate, "expired"},
		{"foreign client", kafka.Config{Brokers: b.MTLS(), TLS: &kafka.TLS{CA: s.CA, Certificate: s.ForeignCertificate, Key: s.ForeignKey}}, kafka.Certificate, "certificate"},
		{"plain text to tls", kafka.Config{Brokers: b.SASL()}, kafka.Transport, "speaks TLS"},
		{"tls to plain text", kafka.Config{Brokers: b.Brokers(), TLS: trust()}, kafka.Transport, "speaks plain text"},
		{"nobody", kafka.Config{Brokers: []string{"127.0.0.1:1"}}, kafka.Unreachable, "no broker listens"},
		{"no such name", kafka.Config{Brokers: []string{"kafka.invalid"}}, kafka.Unreachable, "kafka.invalid"},
		{"one of two works", kafka.Config{Brokers: append([]string{"127.0.0.1:1"}, b.Brokers()...)}, "", ""},
		{"no broker", kafka.Config{}, kafka.WrongConfig, "no Kafka broker"},
		{"a url", kafka.Config{Brokers: []string{"kafka://host:9092"}}, kafka.WrongConfig, "no address"},
		{"no ca file", kafka.Config{Brokers: b.Brokers(), TLS: &kafka.TLS{CA: "/nowhere.crt"}}, kafka.WrongConfig, "nowhere.crt"},
		{"ca file without certificate", kafka.Config{Brokers: b.Brokers(), TLS: &kafka.TLS{CA: s.Key}}, kafka.WrongConfig, "no certificate"},
		{"key without certificate", kafka.Config{Brokers: b.Brokers(), TLS: &kafka.TLS{Key: s.Key}}, kafka.WrongConfig, "go together"},
		{"key of another", kafka.Config{Brokers: b.Brokers(), TLS: &kafka.TLS{Certificate: s.Certificate, Key: s.ForeignKey}}, kafka.WrongConfig, "cannot use the client certificate"},
		{"unknown mechanism", kafka.Config{Brokers: b.Brokers(), SASL: scram("digest", "a", "b")}, kafka.WrongConfig, `"digest"`},
		{"no user", kafka.Config{Brokers: b.Brokers(), SASL: scram(kafka.Plain, "", "b")}, kafka.WrongConfig, "user and a password"},
		{"no password file", kafka.Config{Brokers: b.Brokers(), SASL: &kafka.SASL{Mechanism: kafka.Plain, User: "a", PasswordFile: "/nowhere"}}, kafka.WrongConfig, "nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.cfg.Check(t.Context())
			if c.kind == "" {
				if err != nil {
					t.Errorf("refused: %v (%v)", err, errors.Unwrap(err))
				}
				return
			}
			checkError(t, err, c.kind, c.says)
			// What runs says the same: at once where it is definite.
			if definite := errors.As(err, new(*kafka.Error)) && c.kind != kafka.Unreachable; definite {
				p, err := kafka.NewProducer(kafka.ProducerConfig{Config: c.cfg})
				if err == nil {
					ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
					defer cancel()
					err = p.Run(ctx)
				}
				checkError(t, err, c.kind, c.says)
			}
		})
	}
}

func checkError(t *testing.T, err error, kind kafka.Kind, says string) {
	t.Helper()
	var e *kafka.Error
	if !errors.As(err, &e) {
		t.Errorf("the error is %T: %v", err, err)
		return
	}
	if e.Kind != kind || !strings.Contains(e.Text, says) {
		t.Errorf("kind %s: %s (%v); want kind %s and %q", e.Kind, e.Text, e.Err, kind, says)
	}
	if e.Remedy == "" || strings.HasSuffix(e.Text, ".") || e.Text != strings.TrimSpace(e.Text) {
		t.Errorf("not a sentence with a remedy: %q, %q", e.Text, e.Remedy)
	}
	for _, secret := range []string{kafkatest.Password, kafkatest.PlainPassword, "wrong\""} {
		if strings.Contains(e.Text+e.Remedy, secret) {
			t.Errorf("the error holds the password: %s", e.Text)
		}
	}
}

// TestRights: what a user may not do is said as that, for writing, reading and
// committing; with the rights it works, and with no more than these.
func TestRights(t *testing.T) {
	b := kafkatest.Shared(t)
	topic, group := b.Topic(t, 1), kafkatest.Name(t)
	cfg := kafka.Config{Brokers: b.SASL(), TLS: &kafka.TLS{CA: b.Secure().CA},
		SASL: &kafka.SASL{Mechanism: kafka.ScramSHA512, User: kafkatest.User, Password: kafkatest.Password}}
	put := func() (last string, err error) {
		p, err := kafka.NewProducer(kafka.ProducerConfig{Config: cfg, Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		err = p.Put(ctx, batchOf("rights", 0, 3))
		cancel()
		if failed := <-done; failed != nil {
			err = failed
		}
		return p.Stats().LastError, err
	}
	read := func() error {
		g, err := kafka.NewGroup(kafka.GroupConfig{Config: cfg, Topic: topic, Group: group})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return g.Run(ctx, func(ctx context.Context, lane *kafka.Lane) error {
			defer cancel()
			if _, err := lane.Fetch(ctx, 0, 10, func(int64, []byte) error { return nil }); err != nil {
				return err
			}
			return lane.Commit(ctx, 1, "plan")
		})
	}
	// Kafka does not show a topic to who may not even look at it.
	_, err := put()
	checkError(t, err, kafka.NoRights, "no right")
	b.Allow(t, "User:"+kafkatest.User, topic, kafkago.ACLOperationTypeDescribe)
	states, err := kafka.CheckTopics(t.Context(), cfg, []kafka.Topic{{Name: topic, Partitions: 1}})
	if err != nil || states[0].Problem != nil || !states[0].Unseen || states[0].Partitions != 1 {
		t.Errorf("with the right to describe: %+v, %v", states, err)
	}
	// To write is refused by and by, message by message: it is waited for, and said.
	if last, _ := put(); !strings.Contains(last, "no right") {
		t.Errorf("without the right to write: %q", last)
	}
	b.Allow(t, "User:"+kafkatest.User, topic, kafkago.ACLOperationTypeWrite)
	if last, err := put(); err != nil {
		t.Errorf("with the right to write: %v, %s", err, last)
	}
	checkError(t, read(), kafka.NoRights, "no right")
	b.Allow(t, "User:"+kafkatest.User, topic, kafkago.ACLOperationTypeRead)
	b.Allow(t, "User:"+kafkatest.User, group, kafkago.ACLOperationTypeRead)
	if err := read(); err != nil {
		t.Errorf("with the right to read: %v", err)
	}
}

// TestTopics: made once, with what they need; then checked, never changed.
func TestTopics(t *testing.T) {
	b := kafkatest.Shared(t)
	cfg := kafka.Config{Brokers: b.Brokers()}
	prefix := kafkatest.Name(t)
	topics := kafka.Topics(kafka.NamesOf(prefix), 6, 1)
	if names := kafka.NamesOf(""); names != (kafka.Names{Calls: "scopedrift.calls.v1", DeadLetters: "scopedrift.calls.dlq.v1", Findings: "scopedrift.findings.v1"}) {
		t.Errorf("the names are %+v", names)
	}
	states, err := kafka.CheckTopics(t.Context(), cfg, topics)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		checkError(t, s.Problem, kafka.NoTopic, "no such topic")
	}
	for attempt, made := range []bool{true, false} {
		states, err = kafka.EnsureTopics(t.Context(), cfg, topics)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range states {
			if s.Problem != nil || s.Made != made || s.Partitions != topics[i].Partitions {
				t.Errorf("attempt %d: %+v", attempt, s)
			}
		}
	}
	more := topics[0]
	more.Partitions, more.Retention = 12, 30*24*time.Hour
	if states, err = kafka.EnsureTopics(t.Context(), cfg, []kafka.Topic{more}); err != nil {
		t.Fatal(err)
	}
	checkError(t, states[0].Problem, kafka.WrongTopic, "6 of 12 partitions")
	checkError(t, states[0].Problem, kafka.WrongTopic, "retention.ms")

	compacted := b.Topic(t, 1, kafkago.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: "compact"})
	if states, err = kafka.CheckTopics(t.Context(), cfg, []kafka.Topic{{Name: compacted, Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	checkError(t, states[0].Problem, kafka.WrongTopic, "cleanup.policy is compact")

	_, err = kafka.EnsureTopics(t.Context(), cfg, []kafka.Topic{{Name: prefix + ".replicas", Partitions: 1, Replicas: 3, Retention: time.Hour}})
	checkError(t, err, kafka.WrongTopic, "fewer brokers")
}

// TestSecretsDoNotPrint: not by any verb, and not inside a configuration.
func TestSecretsDoNotPrint(t *testing.T) {
	cfg := kafka.Config{SASL: &kafka.SASL{User: "u", Password: "not-a-real-password"}}
	for _, text := range []string{fmt.Sprintf("%v", *cfg.SASL), fmt.Sprintf("%+v", *cfg.SASL), fmt.Sprintf("%#v", *cfg.SASL), fmt.Sprint(cfg.SASL.Password), fmt.Sprintf("%q", cfg.SASL.Password)} {
		if strings.Contains(text, "not-a-real") {
			t.Errorf("prints %s", text)
		}
	}
}
