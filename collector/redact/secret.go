// Package redact removes secrets, and holds the type that carries one between
// the moment it is read and the moment it is fingerprinted.
//
// Most callers want [Key.Fingerprint] (a secret's stable, public name) and a
// [Scrubber]: Target for request targets, Host for hosts, Text for everything
// else. The package promises that a [Secret] and a [Key] cannot print
// themselves, that the installation key never leaves its file, that what looks
// like a secret is replaced rather than kept, and that scrubbing twice is
// scrubbing once. It cannot know that an ordinary word is somebody's password:
// without a telling name, prefix, shape or length a secret is not seen.
package redact

import (
	"fmt"
	"io"
	"log/slog"
	"unsafe"
)

// hidden is what every way of printing a secret prints.
const hidden = "[secret]"

// Secret is a raw secret. It refuses to print, log or encode itself; only
// Fingerprint and the identity rules read it. It may alias its source's buffer
// and is valid only as long as that is.
//
// It holds a pointer and a length rather than a slice: fmt cannot call methods
// of unexported fields, and would print the bytes of a slice in one.
type Secret struct {
	first *byte
	size  int
}

// NewSecret wraps raw without copying it.
func NewSecret(raw []byte) Secret { return Secret{unsafe.SliceData(raw), len(raw)} }

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.size == 0 }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return hidden }

// Format hides the secret from every verb, also from those, such as %d, that
// do not ask String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the secret from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the secret from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Reveal hands the raw bytes to the identity rules. Nothing else may call it;
// a test of the import graph holds callers to that.
func (s Secret) Reveal() []byte { return unsafe.Slice(s.first, s.size) }
