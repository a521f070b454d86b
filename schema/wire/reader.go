package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// reader goes through the fields of one message. The first fault ends it: what
// follows reads as nothing, and whoever loops over the fields stops.
type reader struct {
	data []byte
	at   int
	// fault is the reason why the message cannot be read, empty while it can.
	fault string
}

func (r *reader) more() bool { return r.at < len(r.data) }

func (r *reader) fail(reason string) {
	if r.fault == "" {
		r.fault = reason
	}
	r.data = r.data[:r.at]
}

// failCode is fail with an error of package protowire.
func (r *reader) failCode(n int) {
	if n == truncated {
		r.fail(ReasonTruncated)
	} else {
		r.fail(ReasonMalformed)
	}
}

// truncated is how protowire says that the data ends too early.
var truncated = func() int {
	_, n := protowire.ConsumeVarint(nil)
	return n
}()

// number reads a varint. Most take one byte or two.
func (r *reader) number() uint64 {
	if at := r.at; at < len(r.data) && r.data[at] < 0x80 {
		r.at = at + 1
		return uint64(r.data[at])
	}
	return r.longNumber()
}

func (r *reader) longNumber() uint64 {
	data := r.data[r.at:]
	if len(data) >= 2 && data[1] < 0x80 {
		r.at += 2
		return uint64(data[0]&0x7f) | uint64(data[1])<<7
	}
	n, size := protowire.ConsumeVarint(data)
	if size < 0 {
		r.failCode(size)
		return 0
	}
	r.at += size
	return n
}

// tag reads a field's number and type.
func (r *reader) tag() uint64 { return r.number() }

// bytes reads a value with its length before it. It is a part of the data.
func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.data)-r.at) {
		r.fail(ReasonTruncated)
		return nil
	}
	b := r.data[r.at:][:n]
	r.at += int(n)
	return b
}

// skip passes over a field that is not known, or whose type is another one.
func (r *reader) skip(tag uint64) {
	number := tag >> 3
	if number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		r.fail(ReasonMalformed)
		return
	}
	n := protowire.ConsumeFieldValue(protowire.Number(number), protowire.Type(tag&7), r.data[r.at:])
	if n < 0 {
		r.failCode(n)
		return
	}
	r.at += n
}

// enum reads a number of an enumeration whose last known one is given, as other
// if it is not known.
func enum[T ~uint8](r *reader, last, other T) T {
	n := int32(r.number())
	if n < 0 || n > int32(last) {
		return other
	}
	return T(n)
}

// join takes over the fault of an inner message, whose bytes were read last.
func (r *reader) join(inner *reader, body []byte) {
	if inner.fault != "" {
		r.at -= len(body) - inner.at
		r.fail(inner.fault)
	}
}
