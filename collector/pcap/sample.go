package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"strings"

	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Some APIs say in a body what others say in the path: GraphQL the operation,
// JSON-RPC and MCP the method, and all three whether it was refused; gRPC-Web
// its status; OAuth which token it issued. Such bodies are kept up to a limit
// until the call goes out, and nothing of them leaves but a name, a decision, or
// the id of a credential. What is cut, coded otherwise or says two things names
// nothing.

// bodyKind is what a body is kept for.
type bodyKind uint8

const (
	bodyNone    bodyKind = iota
	bodyJSON             // a request that may be of GraphQL or JSON-RPC
	bodyParts            // a request in parts, whose first may be of GraphQL, with files behind it
	bodyGraphQL          // a request that is a GraphQL document, or an answer to one
	bodyRPC              // an answer of JSON-RPC
	bodyToken            // an answer that may issue a token
	bodyGRPCWeb          // an answer of gRPC-Web
)

// sample is what is kept of one body.
type sample struct {
	kind bodyKind
	data []byte
	// zipped says that it is in gzip; stream that it is a stream of events, text that it
	// is in Base64 (gRPC-Web).
	zipped, stream, text bool
	// cut says that something of it is missing; rpc is what the beginning told of the
	// kind of its answer.
	cut bool
	rpc bodyKind
}

// keep takes bytes of a body, of which nothing is kept where s is nil.
func (b *builder) keep(s *sample, data []byte) {
	if s == nil || s.cut {
		return
	}
	if len(s.data)+len(data) > b.limits.BodyBytes || b.bodies+len(data) > b.limits.BodyTotal {
		b.stats.drop(dropBody)
		b.spoil(s)
		return
	}
	began := len(s.data)
	s.data = append(s.data, data...)
	b.bodies += len(data)
	// Once: pieces may be of one byte, and looking through all for each takes long.
	if s.kind == bodyParts && began <= maxFirstPart && len(s.data) > maxFirstPart && partOfGraphQL(s.data) == nil {
		b.spoil(s) // an upload like any other
	}
}

// give forgets what is kept of a body.
func (b *builder) give(s *sample) {
	b.bodies -= len(s.data)
	s.data = nil
}

// spoil says that something of a body is missing, so that it tells nothing, but
// perhaps that it is one whose answer tells the result: HTTP's status is none then.
func (b *builder) spoil(s *sample) {
	if s == nil {
		return
	}
	if !s.cut {
		text, _ := b.unpack(s)
		switch s.kind {
		case bodyJSON:
			s.rpc = rpcBeginning(text)
		case bodyParts:
			s.rpc = rpcBeginning(partOfGraphQL(text))
		}
	}
	b.give(s)
	s.cut = true
}

// sampleRequest decides whether a request's body is kept.
func (b *builder) sampleRequest(x *exchange, d *head) {
	x.form = false
	if string(d.method) == "GET" {
		var name string
		name, x.rpc = graphqlQuery(d.target)
		b.named(x, name)
	}
	if string(d.method) != "POST" {
		return
	}
	kind := bodyNone
	switch media := mediaType(d.contentType); {
	case strings.HasPrefix(media, "application/json"), strings.HasSuffix(media, "+json"):
		kind = bodyJSON
	case media == "application/graphql":
		kind = bodyGraphQL
	case media == "multipart/form-data":
		kind = bodyParts
	case media == mediaForm:
		x.form = true
	}
	zipped, legible := coding(d.contentEncoding)
	if kind != bodyNone && legible {
		x.ask = &sample{kind: kind, zipped: zipped}
	}
	// Clients of the token endpoint send a form, or JSON to a path of that name.
	x.form = x.form || kind == bodyJSON && strings.Contains(strings.ToLower(x.call.Path[strings.LastIndexByte(x.call.Path, '/')+1:]), "token")
}

// sampleAnswer decides whether an answer's body is kept.
func (b *builder) sampleAnswer(x *exchange, d *head) {
	if x.requestDone {
		b.nameOperation(x)
	}
	if d.status != 200 && d.status != 201 {
		return
	}
	media := mediaType(d.contentType)
	kind := bodyNone
	switch {
	case x.rpc != bodyNone && (strings.Contains(media, "json") || media == "text/event-stream"):
		kind = x.rpc
	case x.form && media == "application/json":
		kind = bodyToken
	case strings.HasPrefix(media, "application/grpc-web") && d.grpcStatus == nil:
		kind = bodyGRPCWeb
	}
	zipped, legible := coding(d.contentEncoding)
	if kind != bodyNone && legible {
		x.reply = &sample{kind: kind, zipped: zipped, stream: media == "text/event-stream", text: strings.HasPrefix(media, "application/grpc-web-text")}
	}
}

// mediaForm is the type of a form.
const mediaForm = "application/x-www-form-urlencoded"

// mediaType returns a content type without parameters, in lower case.
func mediaType(value []byte) string {
	if i := bytes.IndexByte(value, ';'); i >= 0 {
		value = value[:i]
	}
	if value = bytes.TrimSpace(value); len(value) > 64 {
		return ""
	}
	switch string(value) {
	case "application/json":
		return "application/json"
	case "application/grpc":
		return "application/grpc"
	case mediaForm:
		return mediaForm
	case "":
		return ""
	}
	return strings.ToLower(string(value))
}

// coding reports whether a content coding can be read, and whether it is gzip.
func coding(value []byte) (zipped, legible bool) {
	switch {
	case len(value) == 0, bytes.EqualFold(value, []byte("identity")):
		return false, true
	case bytes.EqualFold(value, []byte("gzip")):
		return true, true
	}
	return false, false
}

// whole returns a whole body, unpacked; nil if it is not whole or too long.
func (b *builder) whole(s *sample) []byte {
	if s.cut {
		return nil
	}
	text, whole := b.unpack(s)
	if !whole {
		return nil
	}
	return text
}

// unpack returns what can be read of a body, and whether that is all.
func (b *builder) unpack(s *sample) (text []byte, whole bool) {
	if !s.zipped || len(s.data) == 0 {
		return s.data, len(s.data) > 0
	}
	z, err := gzip.NewReader(bytes.NewReader(s.data))
	if err != nil {
		return nil, false
	}
	text, err = io.ReadAll(io.LimitReader(z, int64(b.limits.BodyBytes)+1))
	return text, err == nil && len(text) <= b.limits.BodyBytes
}

// nameOperation reads the request's body, once.
func (b *builder) nameOperation(x *exchange) {
	s := x.ask
	x.ask = nil
	if s == nil {
		return
	}
	defer b.give(s)
	text := b.whole(s)
	if text == nil {
		b.spoil(s)
	}
	var name string
	switch {
	case text == nil:
		x.rpc = s.rpc
		if s.kind == bodyGraphQL {
			x.rpc = bodyGraphQL
		}
	case s.kind == bodyGraphQL:
		name, x.rpc = graphqlName(string(text), ""), bodyGraphQL
	case s.kind == bodyParts:
		name, x.rpc = rpcName(partOfGraphQL(text))
	default:
		name, x.rpc = rpcName(text)
	}
	b.named(x, name)
}

// named gives an exchange's call the name of its operation.
func (b *builder) named(x *exchange, name string) {
	if name == "" || !b.harmless(name) {
		return
	}
	x.call.Operation, x.call.RouteSource = b.strings.of([]byte(name)), schema.RouteFromSource
}

// harmless reports whether a name that the client chose holds nothing that looks
// like a secret, in a text, a name or a path.
func (b *builder) harmless(name string) bool {
	text := []byte(name)
	if !b.scrub.Clean(text) || string(b.scrub.Text(text)) != name {
		return false
	}
	path := append([]byte{'/'}, strings.ReplaceAll(name, " ", "/")...)
	clean, _ := b.scrub.Target(path)
	return bytes.Equal(clean, path)
}

// readBodies takes from bodies what they say of a finished exchange. It returns the
// id of the credential that the answer issued, if it did.
func (b *builder) readBodies(x *exchange) (mints string) {
	b.nameOperation(x)
	s := x.reply
	x.reply = nil
	if x.rpc != bodyNone && x.answered && (x.call.Status == 200 || x.call.Status == 201) {
		// The HTTP status says only that something answered.
		x.call.Decision = schema.DecisionUnknown
	}
	if s == nil {
		return ""
	}
	defer b.give(s)
	if s.kind == bodyGRPCWeb {
		body := s.data
		if s.text {
			body = pieces64(body)
		}
		if code, ok := grpcWebStatus(body); ok && !s.zipped {
			x.call.Decision = decide.GRPC(code)
		}
		return ""
	}
	text := b.whole(s)
	if s.stream {
		text = lastEvent(text)
	}
	switch {
	case text == nil:
	case s.kind == bodyToken:
		mints = b.minted(text)
	case s.kind == bodyRPC:
		x.call.Decision = rpcDecision(text)
	case s.kind == bodyGraphQL:
		x.call.Decision = graphqlDecision(text)
	}
	return mints
}

// lastEvent returns the data of the last event in a whole stream of them
// (text/event-stream) that has some: MCP answers with notifications first, then the
// result; GraphQL says at the end that it is complete. Data may span lines.
func lastEvent(text []byte) []byte {
	var last, event []byte
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			event = append(append(event, data...), '\n')
		}
		if len(line) == 0 && len(bytes.TrimSpace(event)) > 0 {
			last = event
		}
		if len(line) == 0 {
			event = nil
		}
	}
	if len(bytes.TrimSpace(event)) > 0 {
		last = event // the blank line behind it is missing
	}
	return bytes.TrimSpace(last)
}

// minted returns the id of the credential that a token answer issues (RFC 6749
// §5.1), as it will be known when it is used.
func (b *builder) minted(text []byte) string {
	var token string
	tokens, kinds := 0, 0
	if !jsonMembers(text, func(key, value []byte) {
		switch {
		case strings.EqualFold(string(key), "access_token"):
			token, _ = jsonText(value)
			tokens++
		case strings.EqualFold(string(key), "token_type"):
			kinds++
		}
	}) || tokens != 1 || kinds != 1 || token == "" || len(token) > 16<<10 {
		return ""
	}
	b.evidence = identify.Evidence{Authorization: redact.NewSecret([]byte("Bearer " + token))}
	id := b.identifier.Shared(&b.evidence).Credential.ID
	b.evidence = identify.Evidence{}
	return id
}

// pieces64 undoes the Base64 of gRPC-Web as text: pieces, each with its own padding. It
// returns nil for what is none.
func pieces64(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		n := len(b)
		if i := bytes.IndexByte(b, '='); i >= 0 {
			n = min((i/4+1)*4, len(b))
		}
		var err error
		if out, err = base64.StdEncoding.AppendDecode(out, b[:n]); err != nil {
			return nil
		}
		b = b[n:]
	}
	return out
}

// grpcWebStatus reads the status that stands at the end of a gRPC-Web body: in a
// message with the highest bit of its first byte set.
func grpcWebStatus(b []byte) (int, bool) {
	for len(b) >= 5 {
		n := uint64(b[1])<<24 | uint64(b[2])<<16 | uint64(b[3])<<8 | uint64(b[4])
		if n > uint64(len(b)-5) {
			return 0, false
		}
		if b[0]&0x80 != 0 {
			for line := range bytes.Lines(b[5 : 5+n]) {
				name, value, ok := bytes.Cut(line, []byte(":"))
				if ok && bytes.EqualFold(bytes.TrimSpace(name), []byte("grpc-status")) {
					code, ok := decimal(bytes.TrimSpace(value))
					return int(min(code, 1<<16)), ok
				}
			}
			return 0, false
		}
		b = b[5+n:]
	}
	return 0, false
}
