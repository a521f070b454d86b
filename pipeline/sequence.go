package pipeline

import "github.com/scopedrift/scopedrift/schema/wire"

// mostProducers bounds how many lives of producers are remembered a partition.
const mostProducers = 4096

// sequence knows the last number of each producer's life in one partition.
type sequence map[uint64]uint64

// see takes a message's envelope. A copy has a number that was there already;
// missing is how many numbers were left out before it. A life of which nothing
// is known may have begun before what is remembered: its first number, whatever
// it is, is no hole.
func (s sequence) see(e wire.Envelope) (copied bool, missing uint64) {
	if e.Sequence == 0 {
		return false, 0 // whoever does not count cannot be checked
	}
	last, known := s[e.Epoch]
	switch {
	case !known:
		if len(s) >= mostProducers {
			for epoch := range s { // any of them: the dead are the many
				delete(s, epoch)
				break
			}
		}
	case e.Sequence <= last:
		return true, 0
	default:
		missing = e.Sequence - last - 1
	}
	s[e.Epoch] = e.Sequence
	return false, missing
}
