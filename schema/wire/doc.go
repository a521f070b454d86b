// Package wire is the one form in which calls travel between collectors and
// ingesters: one Protobuf message a call, as call.proto describes it.
package wire

//go:generate go run -C generate . .. github.com/scopedrift/scopedrift/schema/wire call.proto
