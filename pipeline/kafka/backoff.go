package kafka

import (
	"context"
	"math/rand/v2"
	"time"
)

// The waits between attempts: doubled from the least to the most, each shortened
// at random by up to a half, so that many clients do not come at once.
const (
	leastWait = 50 * time.Millisecond
	mostWait  = 2 * time.Second
)

type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{leastWait} }

// pause waits, or returns the context's error if that ends first.
func (b *backoff) pause(ctx context.Context) error {
	wait := b.next/2 + rand.N(b.next/2)
	b.next = min(2*b.next, mostWait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
