package reenrich

import (
	"context"
	"fmt"
	"time"

	"github.com/scopedrift/scopedrift/schema/table"
)

// lull is how long nothing must have been stored before a shared store is worked
// on. Ingesters write down each batch before they insert it, and under any traffic
// worth swapping days for that is every few seconds.
const lull = time.Minute

// Busy is the error of a store that others write to.
type Busy struct {
	// Who writes, in words, and how long ago that was seen.
	Who string
	Ago time.Duration
}

// Error says what to do.
func (b *Busy) Error() string {
	return fmt.Sprintf("%s wrote to this store %s ago, and days cannot be swapped under it: stop it (Kafka keeps what comes, logs are read on later), "+
		"wait a minute, and try again", b.Who, b.Ago.Round(time.Second))
}

// writers is how far those that write to a store had come: what they wrote down
// of ranges that they were about to insert.
type writers struct{ ranges, ledger uint64 }

// look reads how far writers have come, and fails where one was at work just now.
func (j *Job) look(ctx context.Context, lull time.Duration) (w writers, err error) {
	if !j.cfg.Shared {
		return w, nil
	}
	for _, one := range []struct {
		who, from string
		count     *uint64
	}{{"an ingester", table.Ranges, &w.ranges}, {"another scopedrift", table.Ledger, &w.ledger}} {
		var ago float64
		// The clock of a writer may be ahead of the server's.
		err := j.cfg.Conn.QueryRow(ctx, "SELECT count(), if(count() = 0, 1e9, greatest(0, (toUnixTimestamp64Micro(now64(6, 'UTC')) - toUnixTimestamp64Micro(max(written))) / 1e6)) FROM "+
			one.from+" FINAL").Scan(one.count, &ago)
		if err != nil {
			return w, fmt.Errorf("look for who writes to the store: %w", err)
		}
		if since := time.Duration(ago * float64(time.Second)); since < lull {
			return w, &Busy{one.who, since}
		}
	}
	return w, nil
}

// still makes sure that no writer has come further.
func (j *Job) still(ctx context.Context, before writers) error {
	now, err := j.look(ctx, 0)
	if err != nil {
		return err
	}
	if now != before {
		return ErrWritten
	}
	return nil
}
