package wire

import (
	"fmt"

	"github.com/scopedrift/scopedrift/schema"
)

// Version is that of the messages written here, and the newest that is read.
const Version = 1

// MaxMessage is how many bytes a message may have. With its key and its frame
// it fits the limit that brokers have by default (1,048,588).
const MaxMessage = 1_000_000

// maxReasons is how many reasons an account may give for what was skipped.
const maxReasons = 1024

// Envelope stands before every message: who produced it, and the how-manieth it
// is of that producer and partition.
type Envelope struct {
	// Epoch names one life of a producer; another one after each start.
	Epoch uint64
	// Sequence counts from 1. A hole is a lost message, a repeat a copy.
	Sequence uint64
}

// Kind says what a message holds.
type Kind uint8

// The kinds.
const (
	// KindUnknown is what a message that cannot be read has.
	KindUnknown Kind = iota
	KindCall
	KindAccount
)

// Message is one message of the topic: a call or an account.
type Message struct {
	Envelope
	// Call is nil if the message is an account, Account if it is a call.
	Call    *schema.Call
	Account *schema.Account
}

// The reasons why a message cannot be read: labels of counters and of the
// dead-letter topic.
const (
	// ReasonTruncated says that the message ends too early.
	ReasonTruncated = "truncated"
	// ReasonMalformed says that it is no Protobuf message, or one whose ids or
	// addresses have impossible lengths.
	ReasonMalformed = "malformed"
	// ReasonWrongVersion says that it has a newer version, or none.
	ReasonWrongVersion = "wrong_version"
	// ReasonOversized says that it is longer than MaxMessage.
	ReasonOversized = "oversized"
	// ReasonUnknownKind says that it is neither call nor account, or not the
	// one of them that was asked for.
	ReasonUnknownKind = "unknown_kind"
	// ReasonOutOfRange says that a number is impossible: a time outside the
	// years 1 to 9999, a status above 65535, a range that ends before it begins.
	ReasonOutOfRange = "out_of_range"
	// ReasonNotUTF8 says that a text is not UTF-8.
	ReasonNotUTF8 = "not_utf8"
)

// Reasons lists every reason that an Error can have.
func Reasons() []string {
	return []string{
		ReasonTruncated, ReasonMalformed, ReasonWrongVersion, ReasonOversized,
		ReasonUnknownKind, ReasonOutOfRange, ReasonNotUTF8,
	}
}

// remedies say for each reason what to do.
var remedies = map[string]string{
	ReasonTruncated:    "the message ends too early: see who else writes to the topic",
	ReasonMalformed:    "the message is not one of scopedrift's: see who else writes to the topic",
	ReasonWrongVersion: "the message has a version that this release does not read: update the ingester before the collectors",
	ReasonOversized:    "the message is too long: see who else writes to the topic",
	ReasonUnknownKind:  "the message is of a kind that this release does not read: update the ingester before the collectors",
	ReasonOutOfRange:   "a number in the message is impossible: see the clock of its collector, and who else writes to the topic",
	ReasonNotUTF8:      "a text in the message is not UTF-8: see who else writes to the topic",
}

// Error says why a message cannot be read. It holds nothing of the message.
type Error struct {
	// Reason is one of Reasons.
	Reason string
	// Offset is the byte at which reading ended, within the part of the message
	// that was being read.
	Offset int
}

// Error says what is wrong and what to do about it.
func (e *Error) Error() string {
	return fmt.Sprintf("read call at byte %d: %s", e.Offset, remedies[e.Reason])
}
