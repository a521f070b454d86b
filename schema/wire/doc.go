// Package wire is the one form in which calls travel between collectors and
// ingesters: one Protobuf message a call, as call.proto describes it, in the
// topic scopedrift.calls.v1. That file and package callpb, its generated types,
// are the contract for others; here is the fast way in and out of it.
//
// [AppendCall] and [AppendAccount] write a message. A [Decoder] reads them:
// [Decoder.Call] fills a call and says if the message is an account instead,
// which [Decoder.Account] reads; [Decoder.Message] does both for who is not in
// a hurry. A message that cannot be read is an [Error] with one of [Reasons],
// for counters and the dead-letter topic; it never holds bytes of the message.
//
// It promises:
//
//   - What one release wrote every later one reads: testdata/v1 holds messages
//     that must decode for ever, and a test refuses a call.proto that removes,
//     renumbers or retypes what was released.
//   - Fields that a reader does not know are passed over. Numbers of
//     enumerations that it does not know become the value that claims least (see
//     call.proto), so that a newer collector's calls are neither lost nor
//     believed more than they say. A newer [Version] is refused.
//   - Call, time apart (microseconds, UTC) and zones of addresses (dropped), is
//     read back as it was written, nil scopes as nil, empty ones as empty; of
//     the other lists an empty one becomes nil. Text that is not UTF-8, which
//     Protobuf forbids, is written with U+FFFD in the place of what is not.
//   - Neither way allocates for a call in steady state. Texts that repeat, and
//     lists of them, are identical in memory each time, so that package block
//     finds them by address. All memory is bounded: see [MaxMessage] and
//     [Decoder].
//   - It accepts what the generated types accept, and means the same by it: the
//     two are fuzzed against each other.
//
// To add a field: write it in call.proto, in tag.go and on both fast ways, then
// run go generate ./schema/wire and go test ./schema/wire -update, which only
// ever adds to testdata.
//
// It cannot see whether a call is true, whether a sequence has holes, or whether
// a text holds a secret: the first two are the ingester's, the last the
// collector's to know.
package wire

//go:generate go run -C generate . .. github.com/scopedrift/scopedrift/schema/wire call.proto
