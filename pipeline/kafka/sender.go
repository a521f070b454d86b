package kafka

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
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
	refreshEvery   = 10 * time.Second
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
	// framers are those that nobody uses.
	framers chan *framer

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
		link: l, topic: topic, report: calm(report), budget: newBudget(limit), size: limit,
		framers: make(chan *framer, runtime.GOMAXPROCS(0)),
		ready:   make(chan struct{}), ended: make(chan struct{}), stats: sendCounters{failing: map[int]time.Time{}},
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
	// Encoders are large: there are as many as can work at a time, not one a lane.
	for range cap(s.framers) {
		framer, err := newFramer()
		if err != nil {
			return err
		}
		s.framers <- framer
	}
	grow := func(n int) {
		var all []*sendLane
		if old := s.lanes.Load(); old != nil {
			all = append(all, *old...)
		}
		for partition := len(all); partition < n; partition++ {
			lane := &sendLane{sender: s, partition: partition, wake: make(chan struct{}, 1)}
			all = append(all, lane)
			lanes.Go(func() { lane.run(ctx, life) })
		}
		s.lanes.Store(&all)
	}
	// The first answer decides whether it can work at all.
	for wait := newBackoff(); ; {
		partitions, err := s.link.first(ctx, s.topic)
		if err == nil {
			grow(len(partitions))
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
				grow(len(partitions))
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
	partition := PartitionOf(key, len(lanes))
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
