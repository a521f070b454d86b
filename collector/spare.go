package collector

import "github.com/scopedrift/scopedrift/schema"

// Spare is memory of calls that sinks gave back (Batch.Free), as many batches as it has
// room for. It may be used by several goroutines.
type Spare chan []schema.Call

// Take returns room for calls: what was given back, or new room for so many.
func (s Spare) Take(size int) []schema.Call {
	select {
	case calls := <-s:
		return calls[:0]
	default:
		return make([]schema.Call, 0, size)
	}
}

// Give takes calls back that nobody looks at any more.
func (s Spare) Give(calls []schema.Call) {
	select {
	case s <- calls:
	default:
	}
}
