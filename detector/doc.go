// Package detector judges stored use of credentials against what they were
// granted, and reports drift.
//
// What you want: [New] with a [Config], then [Detector.Run] with a [Handler]
// that takes the findings. The detections themselves are in detector/rule, the
// comparison of use with grants in detector/compare, the smaller grant in
// detector/recommend.
//
// What it promises: findings are a pure function of the stored calls, the
// catalogue and the window. There is no clock, and neither the order in which
// calls arrived, nor how they were batched, nor a call stored twice makes or
// unmakes a finding (a call stored twice may raise a count). Calls are read
// folded and streamed, some credentials at a time, so that memory grows with
// the variety of use, not with the number of calls.
//
// # How a run goes
//
//  1. principals seen in the window are named: the catalogue's credential, else
//     the observed id;
//  2. their use is folded from the rollups, split where a grant begins or ends,
//     and judged; rows whose answer depends on the concrete object are split by
//     object from the calls and judged again;
//  3. the rules see each judged use once, and ask for the single calls that
//     some of them need;
//  4. the findings are put in order, get their calls as evidence, and are
//     handed on.
//
// # Limitations
//
// It sees only what was logged. What a credential holds through policies that
// the catalogue does not contain is unknown to it, and unknown is never judged.
// A day on which a log was silent and one whose log was lost look alike, so
// silence counts as observed only within what the catalogue declares as
// covered. Calls that name no caller are counted, and nothing that needs an
// identity is said of them.
package detector
