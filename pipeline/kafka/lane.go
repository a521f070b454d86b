package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

const (
	// longestMessage is how long a message may be that is handed on. What
	// belongs here is shorter than wire.MaxMessage; longer ones are still handed
	// on, to be counted and put aside, up to what a broker may well be set to.
	longestMessage = 64 << 20
	firstBuffer    = 64 << 10
	// replyTime is how long a broker may take beyond the wait that was asked for.
	replyTime = 20 * time.Second
)

// Lane is one partition in one generation of a group. Its methods are for one
// goroutine at a time.
type Lane struct {
	Topic     string
	Partition int
	// Generation is the group's number of it.
	Generation int

	group  *Group
	member string
	// committed and metadata are what the group held when the lane began.
	committed int64
	metadata  string
	// floor is the least offset that may be committed: a lane goes forward only.
	floor int64

	conn   *kafka.Conn
	buffer []byte
	lag    atomic.Int64
}

// Committed returns what was committed when the lane began: the offset of the
// first message that is not confirmed, and the metadata beside it. It is -1 if
// nothing was.
func (l *Lane) Committed() (offset int64, metadata string) { return l.committed, l.metadata }

// Bounds returns the first offset that the partition holds and the one that its
// next message will have. It waits for a broker until ctx ends.
func (l *Lane) Bounds(ctx context.Context) (first, next int64, err error) {
	err = l.try(ctx, func(conn *kafka.Conn) (bool, error) {
		_ = conn.SetDeadline(time.Now().Add(replyTime))
		var err error
		first, next, err = conn.ReadOffsets()
		return false, err
	})
	return first, next, err
}

// Fetch reads messages from an offset on, and before a limit, and gives them to
// each in order; the value is valid only during the call. It returns the offset to
// go on at. It returns after one answer of the broker: with no message, if none
// came in the configured wait. Numbers of offsets may be left out; next moves on
// all the same.
//
// Each ends the fetch with [ErrStop], after its message, or with an error of its
// own, before it. A broker that is away is waited for until ctx ends. The error is
// [ErrOutOfRange] where the partition does not hold the offset.
func (l *Lane) Fetch(ctx context.Context, from, limit int64, each func(offset int64, value []byte) error) (next int64, err error) {
	next = from
	var stop error
	err = l.try(ctx, func(conn *kafka.Conn) (bool, error) {
		var err error
		next, stop, err = l.fetch(conn, from, limit, each)
		// Once messages were handed on, an error that is left is for the next
		// fetch to meet again.
		return next > from || stop != nil, err
	})
	switch {
	case stop != nil && !errors.Is(stop, ErrStop):
		return next, stop
	case stop != nil:
		return next, nil
	}
	return next, err
}

// fetch makes one request. stop is what each returned.
func (l *Lane) fetch(conn *kafka.Conn, from, limit int64, each func(int64, []byte) error) (next int64, stop, err error) {
	counters := &l.group.stats
	counters.fetches.Add(1)
	if l.buffer == nil {
		l.buffer = make([]byte, firstBuffer)
	}
	_ = conn.SetDeadline(time.Now().Add(l.group.cfg.Wait + replyTime))
	if _, err := conn.Seek(from, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
		return from, nil, err
	}
	batch := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: l.group.cfg.FetchBytes, MaxWait: l.group.cfg.Wait})
	next = from
	var messages, bytes uint64
	seen := false
	for next < limit {
		n, err := batch.Read(l.buffer)
		if err != nil {
			// At the end of the answer this is io.EOF, and Close says nothing.
			break
		}
		// A broker sends whole batches of a producer, so the first may begin
		// before what was asked for; Read, other than ReadMessage, gives that, too.
		offset := batch.Offset() - 1
		seen = true
		if offset < from {
			continue
		}
		if offset >= limit {
			next = limit
			break
		}
		if stop = each(offset, l.buffer[:n]); stop != nil && !errors.Is(stop, ErrStop) {
			break
		}
		messages, bytes, next = messages+1, bytes+uint64(n), offset+1
		if stop != nil {
			break
		}
	}
	l.lag.Store(max(batch.HighWaterMark()-next, 0))
	if err = batch.Close(); errors.Is(err, kafka.RequestTimedOut) {
		err = nil // kafka-go's word for an answer without messages
	}
	if err == nil && stop == nil && seen && next < limit && batch.Offset() > next {
		// Offsets at the end that no message has, by compaction. Of an answer
		// without messages kafka-go's batch says nonsense here.
		next = min(batch.Offset(), limit)
	}
	counters.messages.Add(messages)
	counters.bytes.Add(bytes)
	return next, stop, err
}

// try does a thing with the connection to the partition's leader, anew with
// another one until it works or ctx ends. work returns whether its error is to be
// left at that.
func (l *Lane) try(ctx context.Context, work func(*kafka.Conn) (enough bool, err error)) error {
	what := l.group.link.deed("read", fmt.Sprintf("partition %d of topic %s", l.Partition, l.Topic))
	for wait := newBackoff(); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		enough, err := l.attempt(ctx, work)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			l.close()
			return ctx.Err()
		}
		if errors.Is(err, io.ErrShortBuffer) && len(l.buffer) < longestMessage {
			l.close()
			l.buffer = make([]byte, 4*len(l.buffer))
			if enough {
				return nil
			}
			continue
		}
		if errors.Is(err, kafka.OffsetOutOfRange) && !enough {
			return fmt.Errorf("%w: partition %d of topic %s", ErrOutOfRange, l.Partition, l.Topic)
		}
		l.close()
		if enough {
			return nil
		}
		err = explain(err, what)
		if definite(err) {
			return err
		}
		l.group.report(err)
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}

func (l *Lane) attempt(ctx context.Context, work func(*kafka.Conn) (bool, error)) (bool, error) {
	if l.conn == nil {
		partitions, err := l.group.link.partitions(ctx, l.Topic)
		if err != nil {
			return false, err
		}
		if l.Partition >= len(partitions) {
			return false, kafka.UnknownTopicOrPartition
		}
		if l.conn, err = l.group.link.dialer.DialPartition(ctx, "tcp", "", partitions[l.Partition]); err != nil {
			return false, err
		}
	}
	// A read that waits for the broker ends with ctx.
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return work(conn)
}

func (l *Lane) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// Commit stores an offset and metadata for the partition, in the name of the
// lane's generation. It tries until it succeeds, ctx ends, or the group says that
// the generation is over: then the error is [ErrFenced]. It works for [DrainTime]
// after the lane's own context ended; give it one that lives that long. An offset
// below one that was committed before is an error of the caller.
func (l *Lane) Commit(ctx context.Context, offset int64, metadata string) error {
	if offset < l.floor || offset < 0 {
		return fmt.Errorf("commit offset %d of partition %d of topic %s: offset %d is committed already", offset, l.Partition, l.Topic, l.floor)
	}
	group := l.group
	request := &kafka.OffsetCommitRequest{
		GroupID: group.cfg.Group, GenerationID: l.Generation, MemberID: l.member,
		Topics: map[string][]kafka.OffsetCommit{l.Topic: {{Partition: l.Partition, Offset: offset, Metadata: metadata}}},
	}
	what := group.link.deed("commit for group", group.cfg.Group)
	for wait := newBackoff(); ; {
		attempt, cancel := context.WithTimeout(ctx, dialTimeout)
		response, err := group.link.client.OffsetCommit(attempt, request)
		cancel()
		if err == nil {
			err = kafka.Unknown
			for _, p := range response.Topics[l.Topic] {
				if p.Partition == l.Partition {
					err = p.Error
				}
			}
		}
		switch {
		case err == nil:
			l.floor = offset
			group.stats.commits.Add(1)
			return nil
		case errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId), errors.Is(err, kafka.RebalanceInProgress):
			group.stats.fenced.Add(1)
			return ErrFenced
		case ctx.Err() != nil:
			return ctx.Err()
		}
		err = explain(err, what)
		if definite(err) {
			return err
		}
		group.report(err)
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}
