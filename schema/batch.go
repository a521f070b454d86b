package schema

import "time"

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

// Batch is calls of one input, in the order read: what a collector hands on and
// a pipeline accounts for.
type Batch struct {
	Input Input
	// FirstUnit and NextUnit are the half-open range of units (lines, array
	// elements, packets) of the input that the batch accounts for.
	FirstUnit, NextUnit uint64
	Calls               []Call
	// Skipped counts the units of the range that became no call, by reason.
	Skipped map[string]uint64
	// Done says that the input ends with this batch.
	Done bool
	// Free, if it is set, gives the memory of Calls back to the collector, once
	// nobody looks at them any more. Strings and lists of the calls may be kept.
	// Who does not call it leaves the memory to the garbage collector.
	Free func()
}

// Account is what a collector says of a range of an input: what a [Batch] says,
// without its calls. Coverage is made of accounts.
type Account struct {
	Input Input
	// FirstUnit and NextUnit are the half-open range of units.
	FirstUnit, NextUnit uint64
	// Calls is how many calls the range held.
	Calls uint64
	// Skipped counts the units that became no call, by reason. Reasons that
	// begin with [Lost] are calls that the collector had to drop.
	Skipped map[string]uint64
	// FirstTime and LastTime span the calls, and what was lost; zero where
	// nothing is known.
	FirstTime, LastTime time.Time
	// Done says that the input ends with the range.
	Done bool
}

// Lost begins the reasons of what a collector saw and could not hand on.
const Lost = "lost:"

// LostTLS begins the reason under which encrypted connections are counted; the
// server name that they ask for follows, empty where none is known. Such a
// connection is at least one call that was not seen, of the service with that
// host and no other.
const LostTLS = Lost + "tls:"
