// Package collector turns what a source reads into calls. It never slows the
// traffic, never ships a secret, and counts what it drops.
//
// Two packages below it see secrets, and no other code may: redact (removes
// them) and identify (names the credential by them). gateway reads logs, pcap
// reads packets; both make an [Exchange] and let a [Finisher] turn it into a
// schema.Call. Calls leave in a [Batch] through a [Sink].
package collector

import (
	"context"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// Sink takes batches of calls.
//
// Put blocks while the sink is busy: that is the back-pressure, and the source
// stops reading. A nil error means that the batch is stored or durably queued.
// Any other error is final for the run; errors that a retry can heal are
// retried inside. The batch and its strings belong to the sink after the call:
// the caller never touches them again. Put is called by one goroutine at a time.
type Sink interface {
	Put(ctx context.Context, batch *Batch) error
}

// Batch is calls of one input, in the order read.
type Batch struct {
	Input Input
	// FirstUnit and NextUnit are the half-open range of units (lines, array
	// elements, packets) of the input that the batch accounts for.
	FirstUnit, NextUnit uint64
	Calls               []schema.Call
	// Skipped counts the units of the range that became no call, by reason.
	Skipped map[string]uint64
	// Done says that the input ends with this batch.
	Done bool
}

// Input names one file, stream or capture.
type Input struct {
	// Name is how the user named it.
	Name string
	// Format is the preset that reads it, "auto" before it is known.
	Format string
	// Size is the number of bytes on disk, 0 where it is not known.
	Size int64
	// Modified is the file's time of last change, zero for a stream.
	Modified time.Time
}
