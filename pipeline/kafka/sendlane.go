package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/scopedrift/scopedrift/schema/wire"
)

// chunk is messages of one partition, in order.
type chunk struct {
	tails []byte
	items []item
	// values is the bytes of the values, cost what was taken from the budget.
	values, cost int
}

type item struct {
	// end is where the message ends in the chunk's tails.
	end      int
	delivery *delivery
	value    int
}

// sendLane is one partition of a sender.
type sendLane struct {
	sender    *sender
	partition int
	// batch is what is being sent, framed; it is used again.
	batch []byte
	wake  chan struct{}

	mu       sync.Mutex
	sequence uint64
	open     *chunk
	full     []*chunk
	flushed  bool
	gone     bool
	scratch  []byte
	spare    *chunk
}

// add returns what the message takes of the budget.
func (l *sendLane) add(d *delivery, key []byte, headers []header, encode func([]byte, uint64) []byte) (cost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		d.failed.Store(true)
		return 0
	}
	value := encode(l.scratch[:0], l.sequence+1)
	l.scratch = value
	if len(value) > wire.MaxMessage {
		// No number is used up: the reader would take the hole for a loss of
		// Kafka's.
		d.tooLarge.Add(1)
		l.sender.stats.tooLarge.Add(1)
		if cap(l.scratch) > 4*chunkBytes {
			l.scratch = nil
		}
		return 0
	}
	l.sequence++
	if l.open != nil && len(l.open.tails)+len(value) > chunkBytes {
		l.full = append(l.full, l.open)
		l.open = nil
		l.signal()
	}
	if l.open == nil {
		if l.open, l.spare = l.spare, nil; l.open == nil {
			l.open = &chunk{}
		}
	}
	c := l.open
	before := len(c.tails)
	c.tails = appendTail(c.tails, key, value, headers)
	cost = len(c.tails) - before + itemBytes
	c.items = append(c.items, item{len(c.tails), d, len(value)})
	c.values, c.cost = c.values+len(value), c.cost+cost
	d.pending.Add(1)
	l.sender.stats.buffered.Add(uint64(cost))
	return cost
}

// flush lets the lane send what it has, although there is room for more.
func (l *sendLane) flush() {
	l.mu.Lock()
	l.flushed = true
	l.mu.Unlock()
	l.signal()
}

func (l *sendLane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next returns the chunk to send, nil if there is none yet. At the end everything
// is to be sent.
func (l *sendLane) next(end bool) *chunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.full) > 0 {
		c := l.full[0]
		l.full = l.full[1:]
		return c
	}
	if (l.flushed || end) && l.open != nil {
		c := l.open
		l.open, l.flushed = nil, false
		return c
	}
	l.flushed = false
	if end {
		l.gone = true
	}
	return nil
}

// run sends until ctx ends and nothing is left, or life ends.
func (l *sendLane) run(ctx, life context.Context) {
	for {
		end := ctx.Err() != nil
		c := l.next(end)
		switch {
		case c != nil:
			l.deliver(life, c)
			l.reuse(c)
		case end:
			return
		default:
			select {
			case <-l.wake:
			case <-ctx.Done():
			}
		}
	}
}

// reuse keeps a chunk's memory for the next one.
func (l *sendLane) reuse(c *chunk) {
	clear(c.items)
	*c = chunk{tails: c.tails[:0], items: c.items[:0]}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare == nil {
		l.spare = c
	}
}

// deliver sends a chunk and settles its deliveries, whatever becomes of it.
func (l *sendLane) deliver(life context.Context, c *chunk) {
	s := l.sender
	err := l.send(life, c)
	for i := 0; i < len(c.items); {
		d, n := c.items[i].delivery, int64(0)
		for ; i < len(c.items) && c.items[i].delivery == d; i++ {
			n++
		}
		if err != nil {
			d.failed.Store(true)
		}
		d.settle(n)
	}
	s.budget.give(int64(c.cost))
	if err == nil {
		// What was not acknowledged stays in the sum, for the last sentence.
		s.stats.buffered.Add(-uint64(c.cost))
	}
}

// send tries until a broker acknowledges the chunk or life ends. Copies that this
// makes have the same sequence.
func (l *sendLane) send(life context.Context, c *chunk) error {
	s := l.sender
	framer := <-s.framers
	l.batch = append(l.batch[:0], framer.frame(c, time.Now())...)
	s.framers <- framer
	batch := l.batch
	what := s.link.deed("write to", fmt.Sprintf("partition %d of topic %s", l.partition, s.topic))
	for wait := newBackoff(); ; {
		if err := life.Err(); err != nil {
			return err
		}
		err := l.produce(life, batch)
		switch {
		case err == nil:
			s.healed(l.partition)
			s.stats.messages.Add(uint64(len(c.items)))
			s.stats.bytes.Add(uint64(c.values))
			s.stats.requests.Add(1)
			s.stats.sent.Add(uint64(len(batch)))
			return nil
		case life.Err() != nil:
			s.fail(l.partition, explain(err, what))
			return life.Err()
		case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
			return l.split(life, c)
		}
		s.stats.retries.Add(1)
		s.fail(l.partition, s.reason(life, err, what))
		if err := wait.pause(life); err != nil {
			return err
		}
	}
}

// reason explains an error of a request. The pool of connections says of all that
// keeps it from connecting only that time was over.
func (s *sender) reason(ctx context.Context, err error, what deed) error {
	if errors.Is(err, context.DeadlineExceeded) {
		if why := s.link.probe(ctx); why != nil {
			return why
		}
	}
	return explain(err, what)
}

func (l *sendLane) produce(ctx context.Context, batch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	response, err := l.sender.link.client.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: l.sender.topic, Partition: l.partition, RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(batch)},
	})
	if err != nil {
		return err
	}
	return response.Error
}

// split sends a chunk that is too large for the broker in halves. A single message
// that is too large is lost, and its writer told.
func (l *sendLane) split(life context.Context, c *chunk) error {
	if len(c.items) == 1 {
		c.items[0].delivery.tooLarge.Add(1)
		l.sender.stats.tooLarge.Add(1)
		return nil
	}
	half := len(c.items) / 2
	cut := c.items[half-1].end
	first := &chunk{tails: c.tails[:cut], items: c.items[:half]}
	second := &chunk{tails: c.tails[cut:], items: append([]item(nil), c.items[half:]...)}
	for i := range second.items {
		second.items[i].end -= cut
	}
	for _, part := range []*chunk{first, second} {
		for _, item := range part.items {
			part.values += item.value
		}
		if err := l.send(life, part); err != nil {
			return err
		}
	}
	return nil
}
