package kafkatest

import (
	"context"
	"sync"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// DeleteBefore takes everything before an offset out of a partition, as retention
// does.
func (b *Broker) DeleteBefore(t testing.TB, topic string, partition int, offset int64) {
	t.Helper()
	register()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	response, err := transport.RoundTrip(ctx, kafka.TCP(b.Brokers()...), &deleteRequest{
		Timeout: 10_000,
		Topics:  []deleteTopic{{Topic: topic, Partitions: []deletePartition{{Partition: int32(partition), Offset: offset}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range response.(*deleteResponse).Topics {
		for _, p := range topic.Partitions {
			if p.Code != 0 {
				t.Fatalf("delete messages: %v", kafka.Error(p.Code))
			}
		}
	}
}

// kafka-go knows the request's number, and not what is in it.
var register = sync.OnceFunc(func() { protocol.Register(&deleteRequest{}, &deleteResponse{}) })

type deleteRequest struct {
	Topics  []deleteTopic `kafka:"min=v0,max=v1"`
	Timeout int32         `kafka:"min=v0,max=v1"`
}

type deleteTopic struct {
	Topic      string            `kafka:"min=v0,max=v1"`
	Partitions []deletePartition `kafka:"min=v0,max=v1"`
}

type deletePartition struct {
	Partition int32 `kafka:"min=v0,max=v1"`
	Offset    int64 `kafka:"min=v0,max=v1"`
}

type deleteResponse struct {
	ThrottleTimeMs int32           `kafka:"min=v0,max=v1"`
	Topics         []deletedTopics `kafka:"min=v0,max=v1"`
}

type deletedTopics struct {
	Topic      string             `kafka:"min=v0,max=v1"`
	Partitions []deletedPartition `kafka:"min=v0,max=v1"`
}

type deletedPartition struct {
	Partition int32 `kafka:"min=v0,max=v1"`
	First     int64 `kafka:"min=v0,max=v1"`
	Code      int16 `kafka:"min=v0,max=v1"`
}

// ApiKey is the request's number in Kafka's protocol.
func (*deleteRequest) ApiKey() protocol.ApiKey { return protocol.DeleteRecords }

// ApiKey is the request's number in Kafka's protocol.
func (*deleteResponse) ApiKey() protocol.ApiKey { return protocol.DeleteRecords }
