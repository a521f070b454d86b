// Package compare answers one question: does this credential hold what this
// operation needs?
//
// What you want: [New] with a catalogue, then [Comparer.Judge] for a request
// and [VerdictOf] for what was decided about it. [Comparer.Held] and
// [Comparer.Uses] serve the opposite question, which held scope is used by
// nothing. [Comparer.DemandFor] tells what an operation needs, [Covers] how one
// scope name stands to another.
//
// What it promises: an answer is Holds or Lacks only where demand and grant are
// both known and no condition, resource or other authoriser that the call does
// not show could turn it round; everything else is Unknown, with every reason
// in words. The order of grants never matters. A judgement is a pure function
// of request and catalogue, constant for times within [Since, Until).
//
// # How an entry counts
//
// An entry (a grant of the credential itself or of a group it presents) counts
// for a service if its authority is the service's, or is absent. An entry
// without authority that is written in the iam or kubernetes dialect counts
// only for services of that dialect, and one in the wildcard or url dialect
// for none of those two: it names something else's rights. A flat entry is read
// in the service's dialect, since flat is also what an entry has that names
// none. What a credential holds at an authority is known only if an entry of
// its own counts, and only from the earliest "from" of such entries on; "to" may
// pass: then it is known to hold nothing. What a group gives is held besides: it
// can show that a scope is held, or denied, but never by itself that one is
// lacking, since nothing tells what else the member has.
//
// Each need of an alternative is held, not held or uncertain: deny wins; an
// entry that is conditional, or narrowed by something that the call does not
// show, is uncertain either way. With grant mode both a need must be presented
// and declared, with either one of the two is enough (but a declared deny still
// wins). An alternative holds if all its needs do, and the demand if one of the
// alternatives for the credential's kind does.
//
// # Limitations
//
// It cannot see what is decided elsewhere: resource-based policies, permission
// boundaries and organisation policies of AWS, webhook authorisers of
// Kubernetes (identities of the Node authoriser and of the built-in super-user
// group are left unknown rather than lacking). The demand of CloudTrail events
// is our own table of facts, written from general knowledge of AWS; an event
// that it does not know is unmapped. Where an action needs rights that depend
// on the request's parameters (passing a role, using a key), only the action's
// own right counts.
package compare
