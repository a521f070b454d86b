package pipeline_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/kafka"
)

// log is a partition and the group's offset in it, in memory, so that a test can
// fail each single step. The real ones are tested in TestIngest and TestChaos.
type log struct {
	mu       sync.Mutex
	first    int64
	messages [][]byte
	offset   int64
	metadata string
	// generation is that of the lane that may commit.
	generation int
	// before, if set, is called before a commit takes place; its error is the
	// commit's, after which the process is gone.
	before func(offset int64, metadata string) error
	// answer bounds the messages of one fetch.
	answer int64
}

func newLog() *log { return &log{offset: -1, answer: 500} }

func (g *log) append(messages ...[]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.messages = append(g.messages, messages...)
}

func (g *log) end() int64 { return g.first + int64(len(g.messages)) }

// committed is the group's offset.
func (g *log) committed() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.offset
}

// lane is the next owner of the partition.
func (g *log) lane() *memoryLane {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.generation++
	return &memoryLane{log: g, generation: g.generation, offset: g.offset, metadata: g.metadata}
}

type memoryLane struct {
	*log
	generation int
	offset     int64
	metadata   string
}

func (l *memoryLane) Committed() (int64, string) { return l.offset, l.metadata }

func (l *memoryLane) Bounds(context.Context) (int64, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.end(), nil
}

func (l *memoryLane) Fetch(ctx context.Context, from, limit int64, each func(int64, []byte) error) (int64, error) {
	l.mu.Lock()
	first, end, messages := l.first, l.end(), l.messages
	l.mu.Unlock()
	switch {
	case from < first || from > end:
		return from, kafka.ErrOutOfRange
	case from == end:
		select {
		case <-ctx.Done():
			return from, ctx.Err()
		case <-time.After(10 * time.Millisecond):
			return from, nil
		}
	}
	next := from
	for next < min(limit, end, from+l.answer) {
		err := each(next, messages[next-first])
		next++
		if errors.Is(err, kafka.ErrStop) {
			break
		}
	}
	return next, nil
}

func (l *memoryLane) Commit(_ context.Context, offset int64, metadata string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generation != l.log.generation {
		return kafka.ErrFenced
	}
	if l.before != nil {
		if err := l.before(offset, metadata); err != nil {
			return err
		}
	}
	l.log.offset, l.log.metadata = offset, metadata
	return nil
}
