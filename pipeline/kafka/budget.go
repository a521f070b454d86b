package kafka

import (
	"context"
	"sync"
)

// budget bounds the bytes that wait to be sent.
type budget struct {
	mu      sync.Mutex
	free    int64
	changed chan struct{}
}

func newBudget(bytes int64) *budget { return &budget{free: bytes, changed: make(chan struct{})} }

// take waits until something is free, and takes n bytes: the last one may take
// more than there is, by one share.
func (b *budget) take(ctx context.Context, n int64) error {
	for {
		b.mu.Lock()
		if b.free > 0 {
			b.free -= n
			b.mu.Unlock()
			return nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// tryTake takes n bytes if something is free.
func (b *budget) tryTake(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free <= 0 {
		return false
	}
	b.free -= n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.free
	b.free += n
	if before <= 0 && b.free > 0 {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}
