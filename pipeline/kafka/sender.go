package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/scopedrift/scopedrift/schema/wire"
)

const (
	// chunkBytes is how much goes into one request, uncompressed. A broker's limit
	// is 1 MiB by default, for the compressed form.
	chunkBytes = 512 << 10
	// portion is how much of the budget a writer takes at a time.
	portion = 64 << 10
	// itemBytes is what a message takes besides its bytes, in memory and in its
	// frame.
	itemBytes      = 40
	produceTimeout = 30 * time.Second
	refreshEvery   = 30 * time.Second
)

// errEnded is what a writer gets that comes too late.
var errEnded = errors.New("the producer has ended")

// sender writes messages to a topic's partitions: one lane each, one request in
// flight each. What comes while a request is on its way makes up the next one:
// batches grow with the load, and nothing waits for a timer.
type sender struct {
	link   *link
	topic  string
	report func(error)
	budget *budget
	size   int64

	lanes atomic.Pointer[[]*sendLane]
	ready chan struct{} // closed once the partitions are known
	ended chan struct{} // closed when run ends
	err   error         // why it ended; read after ended is closed

	stats sendCounters
}

type sendCounters struct {
	messages, bytes, requests, sent, retries, tooLarge, buffered atomic.Uint64

	mu      sync.Mutex
	last    string
	failing map[int]time.Time // since when, by partition
}

// SendStats are the counters of what is written.
type SendStats struct {
	// Messages and Bytes are what brokers acknowledged; bytes before compression.
	Messages, Bytes uint64
	// Requests and Sent are the requests that were acknowledged, and their bytes.
	Requests, Sent uint64
	// Retries are attempts after the first.
	Retries uint64
	// TooLarge are messages that no broker takes, and that are lost.
	TooLarge uint64
	// Buffered is how many bytes wait, of at most Limit.
	Buffered, Limit uint64
	// Failing is since when some partition has not taken anything; zero if all do.
	Failing time.Time
	// LastError is the text of the newest error.
	LastError string
}

func newSender(cfg Config, topic string, limit int64, report func(error)) (*sender, error) {
	l, err := cfg.open(topic)
	if err != nil {
		return nil, err
	}
	return &sender{
		link: l, topic: topic, report: report, budget: newBudget(limit), size: limit,
		ready: make(chan struct{}), ended: make(chan struct{}), stats: sendCounters{failing: map[int]time.Time{}},
	}, nil
}

// run sends until ctx ends and what was begun is sent, for at most [DrainTime].
func (s *sender) run(ctx context.Context) (err error) {
	defer s.link.close()
	defer func() { s.err = err; close(s.ended) }()
	// What is on its way when ctx ends still may arrive.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var lanes sync.WaitGroup
	grow := func(n int) error {
		var all []*sendLane
		if old := s.lanes.Load(); old != nil {
			all = append(all, *old...)
		}
		for partition := len(all); partition < n; partition++ {
			framer, err := newFramer()
			if err != nil {
				return err
			}
			lane := &sendLane{sender: s, partition: partition, framer: framer, wake: make(chan struct{}, 1)}
			all = append(all, lane)
			lanes.Go(func() { lane.run(ctx, life) })
		}
		s.lanes.Store(&all)
		return nil
	}
	// The first answer decides whether it can work at all.
	for wait := newBackoff(); ; {
		partitions, err := s.link.partitions(ctx, s.topic)
		if err == nil {
			err = grow(len(partitions))
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		if definite(err) {
			return err
		}
		s.fail(-1, err)
		if wait.pause(ctx) != nil {
			return nil
		}
	}
	s.healed(-1)
	close(s.ready)
	for ticker := time.NewTicker(refreshEvery); ; {
		select {
		case <-ticker.C:
			if partitions, err := s.link.partitions(ctx, s.topic); err == nil {
				if err := grow(len(partitions)); err != nil {
					s.fail(-1, err)
				}
			}
			continue
		case <-ctx.Done():
		}
		ticker.Stop()
		break
	}
	timer := time.AfterFunc(DrainTime, cancel)
	defer timer.Stop()
	lanes.Wait()
	if left := s.stats.buffered.Load(); left > 0 {
		return &Error{Kind: Interrupted,
			Text:   fmt.Sprintf("%d bytes were not acknowledged by Kafka before the end: %s", left, s.lastError()),
			Remedy: "start again: the source repeats what was not acknowledged"}
	}
	return nil
}

// fail notes an error that is being healed; partition is -1 for the whole.
func (s *sender) fail(partition int, err error) {
	c := &s.stats
	c.mu.Lock()
	c.last = err.Error()
	if _, ok := c.failing[partition]; !ok {
		c.failing[partition] = time.Now()
	}
	c.mu.Unlock()
	if s.report != nil {
		s.report(err)
	}
}

func (s *sender) healed(partition int) {
	c := &s.stats
	c.mu.Lock()
	delete(c.failing, partition)
	c.mu.Unlock()
}

func (s *sender) lastError() string {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.last
}

func (s *sender) snapshot() SendStats {
	c := &s.stats
	stats := SendStats{
		Messages: c.messages.Load(), Bytes: c.bytes.Load(), Requests: c.requests.Load(), Sent: c.sent.Load(),
		Retries: c.retries.Load(), TooLarge: c.tooLarge.Load(), Buffered: c.buffered.Load(), Limit: uint64(s.size),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stats.LastError = c.last
	for _, since := range c.failing {
		if stats.Failing.IsZero() || since.Before(stats.Failing) {
			stats.Failing = since
		}
	}
	return stats
}

// delivery is what one writer waits for.
type delivery struct {
	sender *sender
	// pending counts messages, and one more until all were added.
	pending  atomic.Int64
	done     chan struct{}
	tooLarge atomic.Uint64
	failed   atomic.Bool
	credit   int64
	// dirty says which partitions hold something that is not flushed.
	dirty []bool
}

// begin waits until the sender knows its partitions.
func (s *sender) begin(ctx context.Context) (*delivery, error) {
	select {
	case <-s.ended:
		return nil, s.endError()
	default:
	}
	select {
	case <-s.ready:
	case <-s.ended:
		return nil, s.endError()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d := &delivery{sender: s, done: make(chan struct{})}
	d.pending.Store(1)
	return d, nil
}

func (s *sender) endError() error {
	if s.err != nil {
		return s.err
	}
	return errEnded
}

// add hands a message to its partition. encode appends the value; it is told the
// message's number in the partition.
func (d *delivery) add(ctx context.Context, key []byte, headers []header, encode func(dst []byte, sequence uint64) []byte) error {
	s := d.sender
	if d.credit <= 0 {
		if !s.budget.tryTake(portion) {
			// What waits has to go before anything gets free.
			d.flush()
			limited, stop := s.untilEnd(ctx)
			err := s.budget.take(limited, portion)
			stop()
			if err != nil && ctx.Err() == nil {
				return s.endError()
			}
			if err != nil {
				return err
			}
		}
		d.credit += portion
	}
	lanes := *s.lanes.Load()
	partition := partitionOf(key, len(lanes))
	d.credit -= int64(lanes[partition].add(d, key, headers, encode))
	if len(d.dirty) < len(lanes) {
		d.dirty = append(d.dirty, make([]bool, len(lanes)-len(d.dirty))...)
	}
	d.dirty[partition] = true
	return nil
}

// untilEnd is ctx, ended also by the end of the sender.
func (s *sender) untilEnd(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	finished := make(chan struct{})
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-finished:
		}
	}()
	return ctx, func() { close(finished); cancel() }
}

// flush lets the lanes send what they have.
func (d *delivery) flush() {
	lanes := *d.sender.lanes.Load()
	for partition, dirty := range d.dirty {
		if dirty {
			lanes[partition].flush()
		}
	}
	clear(d.dirty)
}

// close gives back what of the budget was not needed. It has to be called, and
// nothing may be added after it.
func (d *delivery) close() {
	d.flush()
	d.sender.budget.give(d.credit)
	d.credit = 0
	d.settle(1)
}

// wait returns when all that was added is acknowledged, or given up.
func (d *delivery) wait(ctx context.Context) error {
	select {
	case <-d.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.failed.Load() {
		<-d.sender.ended
		return d.sender.endError()
	}
	return nil
}

func (d *delivery) settle(n int64) {
	if d.pending.Add(-n) == 0 {
		close(d.done)
	}
}

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
	framer    *framer
	wake      chan struct{}

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
	batch := l.framer.frame(c, time.Now())
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
