package wire

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/scopedrift/scopedrift/schema"
)

// AppendCall appends the message for a call to dst. It allocates only where dst
// has no room. The result may be longer than MaxMessage where the call's texts
// are: such a message must not be sent, but counted as lost.
func AppendCall(dst []byte, e Envelope, c *schema.Call) []byte {
	dst = appendEnvelope(dst, e)
	dst, start := open(dst, envelopeCall, longLength)
	dst = appendCall(dst, c)
	return closeAt(dst, start, longLength)
}

// AppendAccount appends the message for an account to dst. Its range must not
// end before it begins, and Skipped may have at most 1024 reasons.
func AppendAccount(dst []byte, e Envelope, a *schema.Account) []byte {
	dst = appendEnvelope(dst, e)
	dst, start := open(dst, envelopeAccount, longLength)
	dst, input := open(dst, accountInput, 1)
	dst = appendText(dst, inputName, a.Input.Name)
	dst = appendText(dst, inputFormat, a.Input.Format)
	dst = appendNumber(dst, inputSize, uint64(a.Input.Size))
	dst = appendTime(dst, inputModified, a.Input.Modified)
	dst = closeAt(dst, input, 1)
	dst = appendNumber(dst, accountFirstUnit, a.FirstUnit)
	dst = appendNumber(dst, accountNextUnit, a.NextUnit)
	dst = appendNumber(dst, accountCalls, a.Calls)
	for _, reason := range slices.Sorted(maps.Keys(a.Skipped)) {
		var entry int
		dst, entry = open(dst, accountSkipped, 1)
		dst = appendText(dst, skippedReason, reason)
		dst = appendNumber(dst, skippedCount, a.Skipped[reason])
		dst = closeAt(dst, entry, 1)
	}
	dst = appendTime(dst, accountFirstTime, a.FirstTime)
	dst = appendTime(dst, accountLastTime, a.LastTime)
	dst = appendBool(dst, accountDone, a.Done)
	return closeAt(dst, start, longLength)
}

func appendEnvelope(dst []byte, e Envelope) []byte {
	dst = appendNumber(dst, envelopeVersion, Version)
	dst = appendNumber(dst, envelopeEpoch, e.Epoch)
	return appendNumber(dst, envelopeSequence, e.Sequence)
}

// appendCall writes a call's fields in the order of their numbers.
func appendCall(dst []byte, c *schema.Call) []byte {
	dst = appendTime(dst, callTime, c.Time)
	dst = protowire.AppendBytes(appendTag(dst, callID), c.ID[:])
	if c.Source != (schema.Source{}) {
		var start int
		dst, start = open(dst, callSource, 1)
		dst = appendText(dst, sourceType, c.Source.Type)
		dst = appendText(dst, sourceName, c.Source.Name)
		dst = closeAt(dst, start, 1)
	}
	dst = appendNumber(dst, callReporter, uint64(c.Reporter))
	dst, start := open(dst, callCredential, 1)
	dst = appendCredential(dst, &c.Credential)
	dst = closeAt(dst, start, 1)
	dst = appendList(dst, callScopes, c.Scopes)
	dst = appendNumber(dst, callDecision, uint64(c.Decision))
	dst = appendText(dst, callMethod, c.Method)
	dst = appendText(dst, callHost, c.Host)
	dst = appendText(dst, callPath, c.Path)
	dst = appendNumber(dst, callStatus, uint64(c.Status))
	dst = appendNumber(dst, callDuration, c.DurationUS)
	dst = appendAddress(dst, callClientAddress, c.ClientAddress)
	dst = appendText(dst, callUserAgent, c.UserAgent)
	dst = appendText(dst, callRequestID, c.RequestID)
	dst = appendBool(dst, callScopesKnown, c.Scopes != nil)
	dst = appendList(dst, callPermissionsUsed, c.PermissionsUsed)
	dst = appendText(dst, callPolicy, c.Policy)
	dst = appendText(dst, callService, c.Service)
	dst = appendText(dst, callOperation, c.Operation)
	dst = appendNumber(dst, callRouteSource, uint64(c.RouteSource))
	dst = appendList(dst, callQueryKeys, c.QueryKeys)
	dst = appendText(dst, callResource, c.Resource)
	dst = appendNumber(dst, callRequestBytes, c.RequestBytes)
	dst = appendNumber(dst, callResponseBytes, c.ResponseBytes)
	dst = appendAddress(dst, callPeerAddress, c.PeerAddress)
	dst = appendText(dst, callWorkload, c.Workload)
	dst = appendText(dst, callTenant, c.Tenant)
	dst = appendText(dst, callEnvironment, c.Environment)
	dst = appendText(dst, callTraceID, c.TraceID)
	dst = appendList(dst, callActorChain, c.ActorChain)
	dst = appendText(dst, callMints, c.Mints)
	return appendNumber(dst, callQuality, uint64(c.Quality))
}

func appendCredential(dst []byte, c *schema.Credential) []byte {
	dst = appendNumber(dst, credentialKind, uint64(c.Kind))
	dst = appendText(dst, credentialID, c.ID)
	dst = appendText(dst, credentialIssuer, c.Issuer)
	dst = appendText(dst, credentialSubject, c.Subject)
	dst = appendText(dst, credentialClient, c.Client)
	dst = appendText(dst, credentialInstance, c.Instance)
	dst = appendText(dst, credentialSession, c.Session)
	dst = appendList(dst, credentialGroups, c.Groups)
	return appendBool(dst, credentialVerified, c.Verified)
}

// longLength is how many bytes the length of a call mostly has.
const longLength = 2

// open begins a message within the message, for whose length it leaves some
// bytes; closeAt fills them in, and moves the message where they are not as many
// as it takes. Measuring first would look at every text twice.
func open(dst []byte, tag uint64, length int) (_ []byte, start int) {
	dst = append(appendTag(dst, tag), make([]byte, length)...)
	return dst, len(dst)
}

func closeAt(dst []byte, start, length int) []byte {
	n := len(dst) - start
	need := (bits.Len(uint(n|1)) + 6) / 7
	if need != length {
		dst = slices.Grow(dst, max(need-length, 0))[:start-length+need+n]
		copy(dst[start-length+need:], dst[start:][:n])
	}
	protowire.AppendVarint(dst[:start-length], uint64(n))
	return dst
}

func appendTag(dst []byte, tag uint64) []byte {
	if tag < 0x80 {
		return append(dst, byte(tag))
	}
	return append(dst, byte(tag)|0x80, byte(tag>>7)) // no field has a number above 2047
}

func appendNumber(dst []byte, tag, n uint64) []byte {
	switch {
	case n == 0:
		return dst
	case n < 0x80:
		return append(appendTag(dst, tag), byte(n))
	}
	return protowire.AppendVarint(appendTag(dst, tag), n)
}

func appendBool(dst []byte, tag uint64, b bool) []byte {
	if !b {
		return dst
	}
	return append(appendTag(dst, tag), 1)
}

// appendTime writes a time that is known: absent are the zero time and what no
// calendar of four digits holds.
func appendTime(dst []byte, tag uint64, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	if s := t.Unix(); s < minTime/1_000_000 || s > maxTime/1_000_000 {
		return dst
	}
	return protowire.AppendVarint(appendTag(dst, tag), uint64(t.UnixMicro()))
}

func appendAddress(dst []byte, tag uint64, a netip.Addr) []byte {
	switch {
	case !a.IsValid():
		return dst
	case a.Is4():
		b := a.As4()
		return protowire.AppendBytes(appendTag(dst, tag), b[:])
	}
	b := a.As16()
	return protowire.AppendBytes(appendTag(dst, tag), b[:])
}

func appendText(dst []byte, tag uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(dst, tag, s)
}

func appendList(dst []byte, tag uint64, list []string) []byte {
	for _, s := range list {
		dst = appendString(dst, tag, s)
	}
	return dst
}

func appendString(dst []byte, tag uint64, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if dst = appendTag(dst, tag); len(s) < 0x80 {
		dst = append(dst, byte(len(s)))
	} else {
		dst = protowire.AppendVarint(dst, uint64(len(s)))
	}
	return append(dst, s...)
}
