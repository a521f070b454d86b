// Package rule holds the detections: each is one file that looks at the judged
// use of one credential and says what is wrong with it.
//
// What you want: [New] makes the rules for one [Subject]; [Set.Row] and
// [Set.Use] feed them, [Set.Finish] returns what they found. [Detections] is
// the table of all detections, for help texts and reports. The package detector
// drives all this; nothing else needs to.
//
// What it promises: what the rules say is a pure function of calls and
// catalogue. Each rule only keeps minima, maxima and sets, so neither the order
// of uses, nor how calls were folded into them, nor a call counted twice can
// make or unmake a finding. There is no clock: "now" is the end of the window.
// Every finding carries all its reasons, the terms of its severity, and what
// would make it harmless.
//
// # Limitations
//
// A rule sees use folded over time: the first and last time and the days, not
// each call. Those that need single calls ([Set.Reversal], [Set.Origin]) ask for
// exactly those. A person who acts through an application's token is told from
// others by the token's subject; where a gateway logs only the application,
// all its users are one. Whether a refusal was probing or a broken deployment
// cannot be seen in a log; the finding says what would tell.
package rule
