package kafka

import (
	"context"
	"math/rand/v2"
	"sync"
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

const (
	// calmTime is for how long an error is not reported again.
	calmTime = 10 * time.Second
	mostCalm = 256
)

// calm passes an error on unless the same text was passed on a moment ago: with a
// broker away, each partition tries several times a second. nil stays nil.
func calm(report func(error)) func(error) {
	if report == nil {
		return nil
	}
	var mu sync.Mutex
	last := map[string]time.Time{}
	return func(err error) {
		text, now := err.Error(), time.Now()
		mu.Lock()
		at, known := last[text]
		silent := known && now.Sub(at) < calmTime
		if !silent {
			if len(last) >= mostCalm {
				clear(last)
			}
			last[text] = now
		}
		mu.Unlock()
		if !silent {
			report(err)
		}
	}
}
