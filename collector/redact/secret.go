// Package redact removes secrets, and holds the type that carries one between
// the moment it is read and the moment it is fingerprinted.
//
// Most callers want [Key.Fingerprint] (a secret's stable, public name) and the
// Scrubber (a path, query or free text without its secrets). The package
// promises that a [Secret] cannot print itself, that the installation key never
// leaves its file, and that what looks like a secret is replaced rather than
// kept. It cannot know that an ordinary word is somebody's password.
package redact

import "log/slog"

// hidden is what every way of printing a secret prints.
const hidden = "[secret]"

// Secret is a raw secret. It refuses to print, log or encode itself; only
// Fingerprint and the identity rules read it. It may alias its source's buffer
// and is valid only as long as that is.
type Secret struct{ raw []byte }

// NewSecret wraps raw without copying it.
func NewSecret(raw []byte) Secret { return Secret{raw} }

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return len(s.raw) == 0 }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return hidden }

// MarshalText hides the secret from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the secret from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Reveal hands the raw bytes to the identity rules. Nothing else may call it;
// a test of the import graph holds callers to that.
func (s Secret) Reveal() []byte { return s.raw }
