// Package collector turns what a source reads into calls. It never slows the
// traffic, never ships a secret, and counts what it drops.
//
// Two packages below it see secrets, and no other code may: redact (removes
// them) and identify (names the credential by them); decide tells by tables what
// became of a call. gateway reads logs, pcap reads packets; their calls leave in
// a [Batch] through a [Sink].
package collector

import (
	"context"

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

// Batch and Input are the schema's: the collector makes them, the pipeline
// accounts for them, and neither imports the other.
type (
	Batch = schema.Batch
	Input = schema.Input
)
