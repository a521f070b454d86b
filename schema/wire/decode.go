package wire

import (
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire/callpb"
)

// Decoder reads messages. It remembers texts and lists that repeat, within 8 MiB
// in all; besides, a call takes at most nine times the length of its message. It
// is not safe for use by several goroutines.
type Decoder struct {
	memory memory
}

// NewDecoder returns a decoder that remembers nothing yet.
func NewDecoder() *Decoder { return new(Decoder) }

// Reset lets go of the memory that the calls of a batch share for texts that do
// not repeat, so that the next batch does not keep it alive. Texts and lists
// handed out stay valid, whatever happens to the decoder: nothing writes to them.
func (d *Decoder) Reset() { d.memory.chunk = nil }

// Call reads a message. Where it holds a call, *c becomes it; where it holds an
// account, kind says so, and Account reads it. data may be reused afterwards. The
// call's lists may be shared with other calls and must not be written to. An
// error is always an *Error, after which *c holds nothing of use; the envelope is
// then what was read of it.
func (d *Decoder) Call(data []byte, c *schema.Call) (e Envelope, kind Kind, err error) {
	*c = schema.Call{}
	e, kind, at, reason := d.envelope(data, c)
	if reason != "" {
		return e, KindUnknown, &Error{reason, at}
	}
	return e, kind, nil
}

// Account reads a message that holds an account. An error is always an *Error.
func (d *Decoder) Account(data []byte) (Envelope, *schema.Account, error) {
	if len(data) > MaxMessage {
		return Envelope{}, nil, &Error{ReasonOversized, 0}
	}
	m := new(callpb.Envelope)
	if proto.Unmarshal(data, m) != nil {
		// Why, the other way of reading knows.
		e, _, err := d.Call(data, new(schema.Call))
		if err == nil {
			err = &Error{ReasonMalformed, 0}
		}
		return e, nil, err
	}
	e := Envelope{m.Epoch, m.Sequence}
	a := m.GetAccount()
	switch {
	case m.Version != Version:
		return e, nil, &Error{ReasonWrongVersion, 0}
	case a == nil:
		return e, nil, &Error{ReasonUnknownKind, 0}
	}
	account, reason := accountOf(a)
	if reason != "" {
		return e, nil, &Error{reason, 0}
	}
	return e, account, nil
}

// Message reads a message, whichever it is, into memory of its own.
func (d *Decoder) Message(data []byte) (Message, error) {
	c := new(schema.Call)
	e, kind, err := d.Call(data, c)
	if err != nil || kind == KindCall {
		return Message{Envelope: e, Call: c}, err
	}
	e, a, err := d.Account(data)
	return Message{Envelope: e, Account: a}, err
}

// envelope reads the outermost message. at is where reading ended, reason is
// empty if nothing is wrong.
func (d *Decoder) envelope(data []byte, c *schema.Call) (e Envelope, kind Kind, at int, reason string) {
	if len(data) > MaxMessage {
		return e, 0, 0, ReasonOversized
	}
	if len(data) == 0 {
		return e, 0, 0, ReasonTruncated
	}
	var version uint32
	var p pending
	r := reader{data: data}
	for r.more() {
		switch tag := r.tag(); tag {
		case envelopeVersion:
			version = uint32(r.number())
		case envelopeEpoch:
			e.Epoch = r.number()
		case envelopeSequence:
			e.Sequence = r.number()
		case envelopeCall:
			body := r.bytes()
			if kind != KindCall {
				// The last of different bodies counts; equal ones are merged.
				*c, p, kind = schema.Call{}, pending{}, KindCall
			}
			if inner := d.call(body, c, &p); inner.fault != "" {
				r.at -= len(body) - inner.at
				r.fail(inner.fault)
			}
		case envelopeAccount:
			kind = KindAccount
			if body := r.bytes(); proto.Unmarshal(body, new(callpb.Account)) != nil {
				r.fail(ReasonMalformed)
			}
		default:
			r.skip(tag)
		}
	}
	switch {
	case version > Version:
		// Whatever else is wrong with it is so for that reason.
		return e, kind, r.at, ReasonWrongVersion
	case r.fault != "":
		return e, kind, r.at, r.fault
	case version == 0:
		return e, kind, r.at, ReasonWrongVersion
	case kind == KindUnknown:
		return e, kind, r.at, ReasonUnknownKind
	case kind == KindCall:
		reason = p.finish(c)
	}
	return e, kind, r.at, reason
}

// pending is what of a call is understood only when all of it is read, since a
// field that comes again replaces what was there.
type pending struct {
	time             int64
	status           uint32
	timed, known     bool
	id, client, peer []byte
}

// call reads a call's fields over what is in c and p.
func (d *Decoder) call(data []byte, c *schema.Call, p *pending) reader {
	r := reader{data: data}
	for r.more() {
		start := r.at
		switch tag := r.tag(); tag {
		case callTime:
			p.time, p.timed = int64(r.number()), true
		case callID:
			p.id = r.bytes()
		case callSource:
			d.source(&r, &c.Source)
		case callReporter:
			c.Reporter = enum(&r, schema.ReporterClient, schema.ReporterClient)
		case callCredential:
			d.credential(&r, &c.Credential)
		case callScopes:
			c.Scopes = d.list(&r, start, c.Scopes)
		case callDecision:
			c.Decision = enum(&r, schema.DecisionError, schema.DecisionUnknown)
		case callMethod:
			c.Method = d.repeating(&r)
		case callHost:
			c.Host = d.repeating(&r)
		case callPath:
			c.Path = d.single(&r)
		case callStatus:
			p.status = uint32(r.number())
		case callDuration:
			c.DurationUS = r.number()
		case callClientAddress:
			p.client = r.bytes()
		case callUserAgent:
			c.UserAgent = d.repeating(&r)
		case callRequestID:
			c.RequestID = d.single(&r)
		case callScopesKnown:
			p.known = r.number() != 0
		default:
			d.rarer(&r, start, tag, c, p)
		}
	}
	return r
}

// rarer reads the fields whose tags take two bytes.
func (d *Decoder) rarer(r *reader, start int, tag uint64, c *schema.Call, p *pending) {
	switch tag {
	case callPermissionsUsed:
		c.PermissionsUsed = d.list(r, start, c.PermissionsUsed)
	case callPolicy:
		c.Policy = d.repeating(r)
	case callService:
		c.Service = d.repeating(r)
	case callOperation:
		c.Operation = d.repeating(r)
	case callRouteSource:
		c.RouteSource = enum(r, schema.RouteLearned, schema.RouteNone)
	case callQueryKeys:
		c.QueryKeys = d.list(r, start, c.QueryKeys)
	case callResource:
		c.Resource = d.single(r)
	case callRequestBytes:
		c.RequestBytes = r.number()
	case callResponseBytes:
		c.ResponseBytes = r.number()
	case callPeerAddress:
		p.peer = r.bytes()
	case callWorkload:
		c.Workload = d.repeating(r)
	case callTenant:
		c.Tenant = d.repeating(r)
	case callEnvironment:
		c.Environment = d.repeating(r)
	case callTraceID:
		c.TraceID = d.single(r)
	case callActorChain:
		c.ActorChain = d.list(r, start, c.ActorChain)
	case callMints:
		c.Mints = d.single(r)
	case callQuality:
		c.Quality = enum(r, schema.QualityUnanswered, schema.QualityTruncated)
	default:
		r.skip(tag)
	}
}

// finish understands what was pending.
func (p *pending) finish(c *schema.Call) (reason string) {
	switch {
	case len(p.id) != len(c.ID):
		return ReasonMalformed
	case p.timed && (p.time < minTime || p.time > maxTime), p.status > 1<<16-1:
		return ReasonOutOfRange
	}
	var client, peer bool
	copy(c.ID[:], p.id)
	c.Status = uint16(p.status)
	c.ClientAddress, client = addressOf(p.client)
	c.PeerAddress, peer = addressOf(p.peer)
	if !client || !peer {
		return ReasonMalformed
	}
	if p.timed {
		c.Time = time.UnixMicro(p.time).UTC()
	}
	if p.known && c.Scopes == nil {
		c.Scopes = []string{}
	}
	return ""
}

func addressOf(b []byte) (netip.Addr, bool) {
	if len(b) == 0 {
		return netip.Addr{}, true
	}
	return netip.AddrFromSlice(b)
}

func (d *Decoder) source(outer *reader, s *schema.Source) {
	body := outer.bytes()
	r := reader{data: body}
	for r.more() {
		switch tag := r.tag(); tag {
		case sourceType:
			s.Type = d.repeating(&r)
		case sourceName:
			s.Name = d.repeating(&r)
		default:
			r.skip(tag)
		}
	}
	outer.join(&r, body)
}

func (d *Decoder) credential(outer *reader, c *schema.Credential) {
	body := outer.bytes()
	r := reader{data: body}
	for r.more() {
		start := r.at
		switch tag := r.tag(); tag {
		case credentialKind:
			c.Kind = enum(&r, schema.KindSessionCookie, schema.KindUnknown)
		case credentialID:
			c.ID = d.repeating(&r)
		case credentialIssuer:
			c.Issuer = d.repeating(&r)
		case credentialSubject:
			c.Subject = d.repeating(&r)
		case credentialClient:
			c.Client = d.repeating(&r)
		case credentialInstance:
			c.Instance = d.single(&r)
		case credentialSession:
			c.Session = d.repeating(&r)
		case credentialGroups:
			c.Groups = d.list(&r, start, c.Groups)
		case credentialVerified:
			c.Verified = r.number() != 0
		default:
			r.skip(tag)
		}
	}
	outer.join(&r, body)
}

// repeating reads a text that other messages are likely to hold as well.
func (d *Decoder) repeating(r *reader) string {
	text, ok := d.memory.repeating(r.bytes())
	if !ok {
		r.fail(ReasonNotUTF8)
	}
	return text
}

// single reads a text that is likely to be in this message only.
func (d *Decoder) single(r *reader) string {
	text, ok := d.memory.single(r.bytes())
	if !ok {
		r.fail(ReasonNotUTF8)
	}
	return text
}

// list reads the elements of a list that stand one behind the other, of which
// the first begins at start and has its tag read, and appends them to before.
func (d *Decoder) list(r *reader, start int, before []string) []string {
	tag := r.data[start:r.at]
	count := 1
	for r.bytes(); r.fault == "" && len(r.data)-r.at > len(tag) && string(r.data[r.at:][:len(tag)]) == string(tag); count++ {
		r.at += len(tag)
		r.bytes()
	}
	if r.fault != "" {
		return before
	}
	texts, ok := d.memory.list(r.data[start:r.at], count)
	switch {
	case !ok:
		r.fail(ReasonNotUTF8)
		return before
	case before == nil:
		return texts
	}
	// A list of the memory has no room behind it: this copies.
	return append(before, texts...)
}
