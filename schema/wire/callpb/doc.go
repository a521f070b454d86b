// Package callpb is the public contract of the topic scopedrift.calls.v1 for
// who reads or writes it in Go: the types that ../call.proto describes, as
// Google's generator makes them. In other languages generate from that file.
//
// Each message of the topic is one [Envelope]: check its version, then use
// whichever of Call and Account it holds. Within scopedrift package wire does
// this, faster and with the limits that it documents; this package promises only
// what Protobuf does, and checks no meaning.
package callpb
