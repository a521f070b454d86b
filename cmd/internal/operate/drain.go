package operate

import (
	"context"
	"time"
)

// DrainTime is how long a command may take to store and confirm what it holds
// after it was told to end.
const DrainTime = 15 * time.Second

// Drain returns a context for finishing work: it does not end when ctx does but
// DrainTime later, with the cause of ctx. Reading stops with ctx; storing and
// confirming what was read goes on with the returned context.
func Drain(ctx context.Context) (context.Context, context.CancelFunc) {
	return drain(ctx, DrainTime)
}

func drain(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	live, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-live.Done():
		}
	})
	return live, func() {
		stop()
		cancel(context.Canceled)
	}
}
