package wire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// This file is the second opinion: what a message means, by the generated types
// and the words of call.proto, written without a look at the fast way.

// generated makes the generated type of a call.
func generated(e Envelope, c *schema.Call) *callpb.Envelope {
	address := func(a netip.Addr) []byte { return a.WithZone("").AsSlice() }
	k := &c.Credential
	out := &callpb.Call{
		Id:          c.ID[:],
		Source:      &callpb.Source{Type: clean(c.Source.Type), Name: clean(c.Source.Name)},
		Reporter:    callpb.Reporter(c.Reporter),
		Scopes:      cleanAll(c.Scopes),
		ScopesKnown: c.Scopes != nil,
		Credential: &callpb.Credential{
			Kind: callpb.CredentialKind(k.Kind), Id: clean(k.ID), Issuer: clean(k.Issuer), Subject: clean(k.Subject),
			Client: clean(k.Client), Instance: clean(k.Instance), Session: clean(k.Session), Groups: cleanAll(k.Groups), Verified: k.Verified,
		},
		Decision: callpb.Decision(c.Decision), Method: clean(c.Method), Host: clean(c.Host), Path: clean(c.Path),
		Status: uint32(c.Status), DurationUs: c.DurationUS, UserAgent: clean(c.UserAgent), RequestId: clean(c.RequestID),
		PermissionsUsed: cleanAll(c.PermissionsUsed), Policy: clean(c.Policy), Service: clean(c.Service), Operation: clean(c.Operation),
		RouteSource: callpb.RouteSource(c.RouteSource), QueryKeys: cleanAll(c.QueryKeys), Resource: clean(c.Resource),
		RequestBytes: c.RequestBytes, ResponseBytes: c.ResponseBytes, Workload: clean(c.Workload), Tenant: clean(c.Tenant),
		Environment: clean(c.Environment), TraceId: clean(c.TraceID), ActorChain: cleanAll(c.ActorChain), Mints: clean(c.Mints),
		Quality: callpb.Quality(c.Quality), ClientAddress: address(c.ClientAddress), PeerAddress: address(c.PeerAddress),
	}
	if !c.Time.IsZero() {
		out.TimeUs = proto.Int64(c.Time.UnixMicro())
	}
	return &callpb.Envelope{Version: 1, Epoch: e.Epoch, Sequence: e.Sequence, Body: &callpb.Envelope_Call{Call: out}}
}

func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func cleanAll(list []string) (out []string) {
	for _, s := range list {
		out = append(out, clean(s))
	}
	return out
}

// meaning is the call that a message of the generated type stands for; ok is
// false if it must be refused.
func meaning(m *callpb.Envelope) (e Envelope, c *schema.Call, ok bool) {
	e = Envelope{m.GetEpoch(), m.GetSequence()}
	p := m.GetCall()
	if m.GetVersion() != 1 || p == nil {
		return e, nil, false
	}
	if len(p.Id) != 16 || p.Status > math.MaxUint16 {
		return e, nil, false
	}
	k := p.GetCredential()
	c = &schema.Call{
		ID:       schema.CallID(p.Id),
		Source:   schema.Source{Type: p.GetSource().GetType(), Name: p.GetSource().GetName()},
		Reporter: known(p.Reporter, callpb.Reporter_name, schema.ReporterClient),
		Credential: schema.Credential{
			Kind: known(k.GetKind(), callpb.CredentialKind_name, schema.KindUnknown), ID: k.GetId(), Issuer: k.GetIssuer(), Subject: k.GetSubject(),
			Client: k.GetClient(), Instance: k.GetInstance(), Session: k.GetSession(), Groups: k.GetGroups(), Verified: k.GetVerified(),
		},
		Scopes: p.Scopes, PermissionsUsed: p.PermissionsUsed,
		Decision: known(p.Decision, callpb.Decision_name, schema.DecisionUnknown), Policy: p.Policy, Service: p.Service, Operation: p.Operation,
		RouteSource: known(p.RouteSource, callpb.RouteSource_name, schema.RouteNone), Method: p.Method, Host: p.Host, Path: p.Path,
		QueryKeys: p.QueryKeys, Resource: p.Resource, Status: uint16(p.Status), RequestBytes: p.RequestBytes, ResponseBytes: p.ResponseBytes,
		DurationUS: p.DurationUs, Workload: p.Workload, UserAgent: p.UserAgent, Tenant: p.Tenant, Environment: p.Environment,
		RequestID: p.RequestId, TraceID: p.TraceId, ActorChain: p.ActorChain, Mints: p.Mints,
		Quality: known(p.Quality, callpb.Quality_name, schema.QualityTruncated),
	}
	if p.ScopesKnown && c.Scopes == nil {
		c.Scopes = []string{}
	}
	if p.TimeUs != nil {
		if c.Time = time.UnixMicro(*p.TimeUs).UTC(); c.Time.Year() < 1 || c.Time.Year() > 9999 {
			return e, nil, false
		}
	}
	for _, a := range []struct {
		to   *netip.Addr
		from []byte
	}{{&c.ClientAddress, p.ClientAddress}, {&c.PeerAddress, p.PeerAddress}} {
		switch len(a.from) {
		case 0:
		case 4:
			*a.to = netip.AddrFrom4([4]byte(a.from))
		case 16:
			*a.to = netip.AddrFrom16([16]byte(a.from))
		default:
			return e, nil, false
		}
	}
	return e, c, true
}

func known[T ~uint8, P ~int32](n P, names map[int32]string, other T) T {
	if _, ok := names[int32(n)]; ok {
		return T(n)
	}
	return other
}

// expected is what a call is read back as.
func expected(c *schema.Call) *schema.Call {
	_, out, ok := meaning(generated(Envelope{}, c))
	if !ok {
		panic(fmt.Sprintf("the test's call %+v is refused", c))
	}
	return out
}

// randomCall makes a call, more or less full, of values from all corners.
func randomCall(r *rand.Rand) *schema.Call {
	text := func() string {
		switch r.IntN(8) {
		case 0, 1:
			return ""
		case 2:
			return strings.Repeat("long text ", r.IntN(2000))
		case 3:
			return "\xff\xfebad" + string(rune(r.IntN(0x3000))) + "\xe2\x82"
		case 4:
			return "ключ-鍵-🔑"
		}
		return fmt.Sprintf("value-%d", r.IntN(50))
	}
	list := func() (out []string) {
		switch r.IntN(5) {
		case 0:
			return nil
		case 1:
			return []string{}
		}
		for range r.IntN(12) {
			out = append(out, text())
		}
		return out
	}
	number := func() uint64 {
		return []uint64{0, 1, 127, 128, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64, r.Uint64N(1 << 20)}[r.IntN(10)]
	}
	address := func() netip.Addr {
		return []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:10.0.0.1"),
			netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("::")}[r.IntN(7)]
	}
	when := []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 999), time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(2026, 10, 3, 4, 5, 6, 123456789, time.FixedZone("far", 7200))}
	enum := func(n int) uint8 { return uint8(r.IntN(n)) }
	c := &schema.Call{
		Time: when[r.IntN(len(when))], Source: schema.Source{Type: text(), Name: text()}, Reporter: schema.Reporter(enum(5)),
		Credential: schema.Credential{Kind: schema.CredentialKind(enum(12)), ID: text(), Issuer: text(), Subject: text(), Client: text(),
			Instance: text(), Session: text(), Groups: list(), Verified: r.IntN(2) == 0},
		Scopes: list(), PermissionsUsed: list(), Decision: schema.Decision(enum(7)), Policy: text(), Service: text(), Operation: text(),
		RouteSource: schema.RouteSource(enum(6)), Method: text(), Host: text(), Path: text(), QueryKeys: list(), Resource: text(),
		Status: uint16(r.IntN(1 << 16)), RequestBytes: number(), ResponseBytes: number(), DurationUS: number(),
		ClientAddress: address(), PeerAddress: address(), Workload: text(), UserAgent: text(), Tenant: text(), Environment: text(),
		RequestID: text(), TraceID: text(), ActorChain: list(), Mints: text(), Quality: schema.Quality(enum(7)),
	}
	for i := range c.ID {
		c.ID[i] = byte(r.IntN(256))
	}
	return c
}
