package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

var names atomic.Uint64

// Name returns a name for a topic or group that no other test has.
func Name(t testing.TB) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '.'
	}, t.Name())
	return fmt.Sprintf("%.150s.%d.%d", clean, time.Now().UnixMilli(), names.Add(1))
}

// Client returns a client that may do everything; it ends with the test.
func (b *Broker) Client(t testing.TB) *kafka.Client {
	t.Helper()
	transport := &kafka.Transport{MetadataTTL: time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(b.Brokers()...), Timeout: 20 * time.Second, Transport: transport}
}

// Topic makes a topic with a name of its own and returns the name.
func (b *Broker) Topic(t testing.TB, partitions int, entries ...kafka.ConfigEntry) string {
	t.Helper()
	name, client := Name(t), b.Client(t)
	response, err := client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: name, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries,
	}}})
	if err == nil {
		err = response.Errors[name]
	}
	if err != nil {
		t.Fatalf("make topic %s: %v", name, err)
	}
	// Made is not served: each partition's leader takes a moment to know it.
	var offsets []kafka.OffsetRequest
	for partition := range partitions {
		offsets = append(offsets, kafka.LastOffsetOf(partition))
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{name: offsets}})
		if err == nil {
			for _, p := range response.Topics[name] {
				err = errors.Join(err, p.Error)
			}
		}
		if err == nil {
			return name
		}
		if time.Now().After(end) {
			t.Fatalf("topic %s is not served: %v", name, err)
		}
	}
}

// Messages reads everything that a topic holds, partition by partition in the
// order of offsets.
func (b *Broker) Messages(t testing.TB, topic string) []kafka.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	partitions, err := kafka.DefaultDialer.LookupPartitions(ctx, "tcp", b.Brokers()[0], topic)
	if err != nil {
		t.Fatalf("read topic %s: %v", topic, err)
	}
	var all []kafka.Message
	for partition := range len(partitions) {
		messages, err := b.read(ctx, topic, partition)
		if err != nil {
			t.Fatalf("read topic %s, partition %d: %v", topic, partition, err)
		}
		all = append(all, messages...)
	}
	return all
}

func (b *Broker) read(ctx context.Context, topic string, partition int) ([]kafka.Message, error) {
	conn, err := kafka.DialLeader(ctx, "tcp", b.Brokers()[0], topic, partition)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	first, last, err := conn.ReadOffsets()
	if err != nil {
		return nil, err
	}
	var all []kafka.Message
	for at := first; at < last; {
		if _, err := conn.Seek(at, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
			return nil, err
		}
		batch := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: 8 << 20, MaxWait: time.Second})
		for {
			message, err := batch.ReadMessage()
			if err != nil {
				break
			}
			all = append(all, message)
			at = message.Offset + 1
		}
		if err := batch.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
