// Package operate is what a command needs that runs for a long time: its
// metrics, whether it lives and is ready, its log, the catalogue that is
// reloaded under it, and the bounded time to finish what it holds.
//
// The things to want are [New] for the HTTP side (/metrics, /healthz, /readyz),
// [NewLog], [NewCatalogue] and [Drain]. The package promises that a metric is
// read from the owner's own counters when it is asked for, so nothing is counted
// twice; that a broken catalogue never replaces one that works; and that no page
// it serves holds anything observed but names that the code itself gave. It
// cannot see whether a counter that a room reports is true.
package operate
