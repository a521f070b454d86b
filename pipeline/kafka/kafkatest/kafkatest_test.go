package kafkatest

import (
	"context"
	"testing"

	kafka "github.com/segmentio/kafka-go"
)

func TestMain(m *testing.M) { Run(m) }

// TestRestart holds the broker to what it promises: what was acknowledged before
// a kill is there after the restart, on the same ports.
func TestRestart(t *testing.T) {
	b := Start(t, Options{})
	topic := b.Topic(t, 2)
	conn, err := kafka.DialLeader(context.Background(), "tcp", b.Brokers()[0], topic, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteMessages(kafka.Message{Value: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	b.Kill()
	b.Restart(t)
	if got := b.Messages(t, topic); len(got) != 1 || string(got[0].Value) != "before" || got[0].Partition != 1 {
		t.Errorf("after a restart the topic holds %v", got)
	}
}

// TestSecure only starts the secure form: what it refuses is tested where the
// refusals are explained, in the package above.
func TestSecure(t *testing.T) {
	b := Shared(t)
	if b.Secure() == nil || len(b.Messages(t, b.Topic(t, 1))) != 0 {
		t.Error("the shared broker is not secure, or its new topic not empty")
	}
}
