package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// replyTime is how long a broker may take beyond the wait that was asked for.
const replyTime = 20 * time.Second

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

	conn     *partitionConn
	unpacker unpacker
	lag      atomic.Int64
}

// Committed returns what was committed when the lane began: the offset of the
// first message that is not confirmed, and the metadata beside it. It is -1 if
// nothing was.
func (l *Lane) Committed() (offset int64, metadata string) { return l.committed, l.metadata }

// Bounds returns the first offset that the partition holds and the one that its
// next message will have. It waits for a broker until ctx ends.
func (l *Lane) Bounds(ctx context.Context) (first, next int64, err error) {
	request := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		l.Topic: {kafka.FirstOffsetOf(l.Partition), kafka.LastOffsetOf(l.Partition)},
	}}
	err = l.try(ctx, func() (bool, error) {
		attempt, cancel := context.WithTimeout(ctx, replyTime)
		defer cancel()
		response, err := l.group.link.client.ListOffsets(attempt, request)
		if err != nil {
			return false, err
		}
		for _, p := range response.Topics[l.Topic] {
			if p.Partition == l.Partition {
				first, next = p.FirstOffset, p.LastOffset
				return false, p.Error
			}
		}
		return false, kafka.UnknownTopicOrPartition
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
	err = l.try(ctx, func() (bool, error) {
		var err error
		next, stop, err = l.fetch(ctx, from, limit, each)
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
func (l *Lane) fetch(ctx context.Context, from, limit int64, each func(int64, []byte) error) (next int64, stop, err error) {
	if from >= limit {
		return from, nil, nil
	}
	if l.conn == nil {
		partitions, err := l.group.link.partitions(ctx, l.Topic)
		if err != nil {
			return from, nil, err
		}
		if l.Partition >= len(partitions) {
			return from, nil, kafka.UnknownTopicOrPartition
		}
		if l.conn, err = l.group.link.dialPartition(ctx, partitions[l.Partition]); err != nil {
			return from, nil, err
		}
	}
	// What waits for the broker ends with ctx.
	conn := l.conn.conn
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	counters := &l.group.stats
	counters.fetches.Add(1)
	answer, err := l.conn.fetch(l.Topic, l.Partition, from, l.group.cfg.FetchBytes, l.group.cfg.Wait)
	if err != nil {
		return from, nil, err
	}
	next, messages, bytes, err := l.unpacker.records(answer.records, from, limit, each)
	counters.messages.Add(messages)
	counters.bytes.Add(bytes)
	l.lag.Store(max(answer.highWatermark-next, 0))
	var stopped *stopError
	if errors.As(err, &stopped) {
		return next, stopped.error, nil
	}
	return next, nil, err
}

// try does a thing again until it works or ctx ends. work returns whether its
// error is to be left at that.
func (l *Lane) try(ctx context.Context, work func() (enough bool, err error)) error {
	what := l.group.link.deed("read", fmt.Sprintf("partition %d of topic %s", l.Partition, l.Topic))
	for wait := newBackoff(); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		enough, err := work()
		if err == nil {
			return nil
		}
		if errors.Is(err, kafka.OffsetOutOfRange) && !enough {
			return fmt.Errorf("%w: partition %d of topic %s", ErrOutOfRange, l.Partition, l.Topic)
		}
		l.close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
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

func (l *Lane) close() {
	if l.conn != nil {
		_ = l.conn.conn.Close()
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
