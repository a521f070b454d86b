package pcap

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// builder turns heads into calls. It is the only part that looks at header
// values, and it hands every secret to identify and every text to redact.
type builder struct {
	key          *redact.Key
	scrub        *redact.Scrubber
	identifier   *identify.Identifier
	limits       Limits
	stats        *Stats
	tenantHeader string
	source       schema.Source

	head   head
	blocks blockReader
	// tables is how many bytes all tables of HPACK may still hold.
	tables int
	// bodies is how many bytes of bodies are kept.
	bodies int

	evidence identify.Evidence
	lone     facts
	strings  interner
	// texts are those in which no secret was found.
	texts   interner
	queries [256]*queryNames
	// keys are the secrets of TLS that the capture told, and those given.
	keys [2]*TLSKeys

	// calls are those that no batch holds yet; overflow is asked after each.
	calls     []schema.Call
	overflow  func()
	qualities [6]uint64
	free      []*exchange
	streams   []*stream // for reuse
	live      int       // exchanges that are not emitted
	// doubts are connections with calls that wait for a proof (doubt.go), the
	// first settled of them since longer; inTime says that somebody waits for calls.
	doubts  []interface{ settle() }
	settled int
	inTime  bool
}

// The longest texts that are kept; what is longer is cut.
const (
	maxText = 512
	maxID   = 128
	maxPath = 8 << 10
)

// exchange returns an empty exchange.
func (b *builder) exchange() *exchange {
	b.live++
	if n := len(b.free); n > 0 {
		x := b.free[n-1]
		b.free = b.free[:n-1]
		*x = exchange{}
		return x
	}
	return new(exchange)
}

// origin is who talks to whom.
type origin struct{ client, server *endpoint }

func (c *connection) origin(client side) origin {
	return origin{c.key.endpoint(client), c.key.endpoint(client.other())}
}

// facts are what is known of a call before it goes out. Many wait for their answers
// at a time, so what its connection says, and what all calls say alike, is no part of
// it. The fields are schema.Call's.
type facts struct {
	ID schema.CallID
	// who is shared: nobody may change it.
	who                          *identify.Identity
	queryKeys                    *queryNames // nil for none
	Method, Host, Path, Resource string
	UserAgent, Tenant            string
	RequestID, TraceID           string
	Operation                    string
	RequestBytes, ResponseBytes  uint64
	DurationUS                   uint64
	Status                       uint16
	RouteSource                  schema.RouteSource
	Decision                     schema.Decision
	Quality                      schema.Quality
}

// request fills an exchange's call from the head d of its request, which is the
// ordinal-th of its connection.
func (b *builder) request(o origin, ordinal uint64, x *exchange, d *head, truncated bool) {
	b.stats.Requests++
	c := &x.call
	c.ID = b.callID(o, x.nanos, "request", ordinal)
	x.head = string(d.method) == "HEAD"
	x.connect = bytes.Equal(d.method, methodConnect)
	x.upgrade = upgradeOf(d.upgrade)
	if c.Method = schema.RedactedText; len(d.method) <= maxMethod && upper(d.method) {
		c.Method = b.strings.of(b.scrub.Text(d.method))
	}
	path, query := b.scrub.Target(d.target)
	if x.connect && !d.origin() {
		path = nil
	}
	c.Path = b.strings.of(path[:min(len(path), maxPath)])
	if object := b.scrub.Object(); object != nil && path != nil {
		c.Resource = string(object[:min(len(object), maxPath)])
	}
	c.queryKeys = b.queryKeys(query)
	if c.Host = b.strings.of(b.host(d, x.connect)); c.Host == "" {
		c.Host = b.endpointName(o.server)
	}
	c.UserAgent = b.text(d.userAgent, maxText)
	c.Tenant = b.text(d.tenant, maxID)
	if c.RequestID = b.id(d.requestID); c.RequestID == "" {
		c.RequestID = b.id(d.correlation)
	}
	if c.TraceID = traceID(d.traceParent); c.TraceID == "" {
		c.TraceID = hexID(d.b3TraceID)
	}
	c.who = b.identify(d, truncated)
	d.doubtful = d.doubtful || len(d.override) > 0 && !bytes.EqualFold(d.override, d.method)
	if x.doubtful = d.doubtful; x.doubtful {
		b.stats.Ambiguous++
	}
	if !truncated {
		b.sampleRequest(x, d)
	}
}

// callID is the id of what the connection said at that time.
func (b *builder) callID(o origin, nanos int64, what string, ordinal uint64) schema.CallID {
	var id [52]byte
	copy(id[:18], o.client[:])
	copy(id[18:36], o.server[:])
	binary.BigEndian.PutUint64(id[36:], uint64(nanos))
	binary.BigEndian.PutUint64(id[44:], ordinal)
	return b.key.Sum("pcap "+what, id[:])
}

func address(e *endpoint) netip.Addr { return netip.AddrFrom16([16]byte(e[:16])).Unmap() }

// endpointName is the host of a request that names none.
func (b *builder) endpointName(e *endpoint) string {
	var buf [64]byte
	return b.strings.of(netip.AddrPortFrom(address(e), e.port()).AppendTo(buf[:0]))
}

// identify names the credential behind a request.
func (b *builder) identify(d *head, truncated bool) *identify.Identity {
	ev := &b.evidence
	*ev = identify.Evidence{
		Authorization: redact.NewSecret(d.authorization),
		APIKey:        redact.NewSecret(d.apiKey),
		XFCC:          d.xfcc,
		ClientCert:    d.clientCert,
		ClientSubject: d.clientSubject,
		// A secret in the path, as webhooks and bots have it, proves something too, and
		// forms hold what clients of a token endpoint and people prove themselves with.
		Complete: !truncated && !d.secretive && !d.bound && b.scrub.Object() == nil && mediaType(d.contentType) != mediaForm,
	}
	cookie, differ := identify.SessionCookies(d.cookie)
	ev.SessionCookie = redact.NewSecret(cookie)
	ev.Complete = ev.Complete && (len(cookie) > 0 || len(d.cookie) == 0 || !identify.CookiesMayProve(d.cookie))
	if ev.Authorization.Empty() {
		ev.Authorization = redact.NewSecret(d.proxyAuthorization)
	}
	var again bool
	ev.QueryName, ev.Query, again = b.scrub.QueryCredential(d.target)
	d.doubtful = d.doubtful || differ || again
	return b.identifier.Shared(ev)
}

// answer fills in what the answer's head says.
func (b *builder) answer(x *exchange, d *head, nanos int64) {
	x.call.Status = uint16(d.status)
	x.call.Decision = decision(d)
	b.sampleAnswer(x, d)
	b.lasted(x, nanos)
}

var grpcType = []byte("application/grpc")

// isGRPC reports whether a content type is one of gRPC, gRPC-Web included.
func isGRPC(contentType []byte) bool {
	return len(contentType) >= len(grpcType) && bytes.EqualFold(contentType[:len(grpcType)], grpcType)
}

// grpcRequest names the operation of a gRPC request, which is its path. It
// reports whether the request is one.
func (b *builder) grpcRequest(x *exchange, d *head) bool {
	if !isGRPC(d.contentType) || string(d.method) != "POST" {
		return false
	}
	if c := &x.call; grpcMethod(c.Path) {
		c.Operation, c.RouteSource = c.Path, schema.RouteFromSource
	}
	return true
}

// grpcMethod reports whether a path is "/package.Service/Method".
func grpcMethod(path string) bool {
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || service == "" || method == "" || path[0] != '/' {
		return false
	}
	for _, c := range []byte(path[1:]) {
		if c != '.' && c != '_' && c != '/' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return !strings.ContainsAny(method, "/.")
}

// decision maps an answer. The status of gRPC, which grpc-web carries over
// HTTP/1, is not the HTTP one.
func decision(d *head) schema.Decision {
	if d.status == 200 && isGRPC(d.contentType) {
		code, ok := decimal(d.grpcStatus)
		if !ok {
			return schema.DecisionUnknown
		}
		return decide.GRPC(int(min(code, 1<<16)))
	}
	return decide.HTTP(d.status, d.location)
}

// lasted stretches an exchange to a time in nanoseconds.
func (b *builder) lasted(x *exchange, nanos int64) {
	if us := (nanos - x.nanos) / 1000; us > 0 && uint64(us) > x.call.DurationUS {
		x.call.DurationUS = uint64(us)
	}
}

// orphan emits an answer with the head d whose request is not known.
func (b *builder) orphan(o origin, ordinal uint64, d *head, nanos int64) {
	b.orphanOf(o, ordinal, uint16(d.status), decision(d), nanos)
}

// orphanOf emits an answer of which only the result is known.
func (b *builder) orphanOf(o origin, ordinal uint64, status uint16, decision schema.Decision, nanos int64) {
	b.stats.Orphans++
	b.lone = facts{
		ID: b.callID(o, nanos, "orphan", ordinal), who: &nobody, Host: b.endpointName(o.server),
		Status: status, Decision: decision, Quality: schema.QualityOrphan,
	}
	b.append(o, nanos, &b.lone, "")
}

// nobody is who made a call of which only the answer is known.
var nobody identify.Identity

// emit hands a finished exchange on and takes it back for reuse.
func (b *builder) emit(o origin, x *exchange) {
	mints := b.readBodies(x)
	if x.doubtful && x.call.Quality.Certain() {
		x.call.Quality = schema.QualityGap
	}
	if mints != "" && !x.call.Quality.Certain() {
		// Whoever is not surely the one that was answered was issued nothing.
		mints = ""
		b.stats.drop(dropMints)
	}
	b.append(o, x.nanos, &x.call, mints)
	b.live--
	if len(b.free) < max(1024, b.live) {
		b.free = append(b.free, x)
	}
}

// stream returns a stream of which nothing but the number is known.
func (b *builder) stream(id uint32) *stream {
	if n := len(b.streams); n > 0 {
		s := b.streams[n-1]
		b.streams = b.streams[:n-1]
		*s = stream{id: id}
		return s
	}
	return &stream{id: id}
}

// release takes a stream back for reuse: nobody knows it any more.
func (b *builder) release(s *stream) {
	if s.x = nil; len(b.streams) < max(1024, b.live) {
		b.streams = append(b.streams, s)
	}
}

// append hands a finished call on. Its id takes in what became of it, so that
// another capture of the same packets, which lost or cut the answer, is stored
// beside it rather than in its place: which of the two was read first must not
// decide what is known.
func (b *builder) append(o origin, nanos int64, f *facts, mints string) {
	id := f.ID
	id[len(id)-3] ^= byte(f.Quality)
	id[len(id)-2] ^= byte(f.Status >> 8)
	id[len(id)-1] ^= byte(f.Status)
	if int(f.Quality) < len(b.qualities) {
		b.qualities[f.Quality]++
	}
	client := address(o.client)
	b.calls = append(b.calls, schema.Call{
		Time: time.Unix(0, nanos).UTC(), ID: id, Source: b.source, Reporter: schema.ReporterServer,
		Credential: f.who.Credential, Scopes: f.who.Scopes, Workload: f.who.Workload, ActorChain: f.who.ActorChain,
		ClientAddress: client, PeerAddress: client,
		Decision: f.Decision, Operation: f.Operation, RouteSource: f.RouteSource,
		Method: f.Method, Host: f.Host, Path: f.Path, QueryKeys: f.queryKeys.list(), Resource: f.Resource,
		Status: f.Status, RequestBytes: f.RequestBytes, ResponseBytes: f.ResponseBytes, DurationUS: f.DurationUS,
		UserAgent: f.UserAgent, Tenant: f.Tenant, RequestID: f.RequestID, TraceID: f.TraceID,
		Mints: mints, Quality: f.Quality,
	})
	if b.overflow != nil {
		b.overflow()
	}
}

// text returns a header value without secrets, cut to limit.
func (b *builder) text(value []byte, limit int) string {
	if len(value) == 0 {
		return ""
	}
	known := b.texts.slot(value)
	if len(value) <= limit && *known == string(value) {
		return *known // most clients send the same text with each request
	}
	clean := b.scrub.Text(value)
	if len(value) <= limit && bytes.Equal(clean, value) {
		*known = b.strings.of(value)
		return *known
	}
	return b.strings.of(clean[:min(len(clean), limit)])
}

// id is text for values that hardly repeat.
func (b *builder) id(value []byte) string {
	if len(value) == 0 || len(value) > maxID {
		return ""
	}
	return string(b.scrub.Text(value))
}

// origin reports whether the target is a path: CONNECT of HTTP/2 has one where it
// begins a protocol on a stream (RFC 8441), and none where it asks for a tunnel.
func (h *head) origin() bool { return len(h.target) > 0 && h.target[0] == '/' }

// host returns the host that a request names, in lower case: its target's where
// that is absolute, else its header's.
func (b *builder) host(d *head, connect bool) []byte {
	host := d.host
	if connect && len(d.target) > 0 && !d.origin() {
		host = d.target
	} else if i := bytes.Index(d.target[:min(len(d.target), 16)], []byte("://")); i > 0 && d.target[0] != '/' {
		host = d.target[i+3:]
		if end := bytes.IndexAny(host, "/?#"); end >= 0 {
			host = host[:end]
		}
	}
	if len(host) == 0 || len(host) > 255+6 {
		return nil
	}
	host = b.scrub.Host(host)
	for _, c := range host {
		if c >= 'A' && c <= 'Z' {
			return bytes.ToLower(host)
		}
	}
	return host
}

// queryNames is a remembered list of query parameters.
type queryNames struct {
	joined string
	names  []string
}

// list returns the names; calls share it.
func (q *queryNames) list() []string {
	if q == nil {
		return nil
	}
	return q.names
}

// queryKeys returns the names as strings. Calls share equal lists.
func (b *builder) queryKeys(query [][]byte) *queryNames {
	if len(query) == 0 {
		return nil
	}
	var buf [256]byte
	joined := buf[:0]
	for _, name := range query {
		joined = append(append(joined, name...), 0)
	}
	slot := &b.queries[maphash.Bytes(b.strings.seed, joined)%uint64(len(b.queries))]
	if *slot == nil || (*slot).joined != string(joined) {
		names := make([]string, len(query))
		for i, name := range query {
			names[i] = b.strings.of(name)
		}
		*slot = &queryNames{string(joined), names}
	}
	return *slot
}

// interner remembers strings seen lately, so that equal ones share memory. It
// never grows beyond its slots.
type interner struct {
	seed  maphash.Seed
	slots [8192]string
}

func (i *interner) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	slot := i.slot(b)
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}

// slot returns where a string is, if it is remembered.
func (i *interner) slot(b []byte) *string {
	return &i.slots[maphash.Bytes(i.seed, b)%uint64(len(i.slots))]
}

func upgradeOf(value []byte) upgrade {
	if len(value) == 0 {
		return upgradeNone
	}
	for name := range bytes.SplitSeq(value, []byte{','}) {
		if bytes.EqualFold(bytes.Trim(name, " \t"), []byte("h2c")) {
			return upgradeHTTP2
		}
	}
	return upgradeOther
}

// traceID returns the trace id of a W3C traceparent.
func traceID(value []byte) string {
	if len(value) < 55 || value[2] != '-' || value[35] != '-' {
		return ""
	}
	return hexID(value[3:35])
}

// hexID returns value in lower case if it is a trace id: 16 or 32 hexadecimal
// digits.
func hexID(value []byte) string {
	if len(value) != 16 && len(value) != 32 {
		return ""
	}
	for _, c := range value {
		if _, ok := unhex(c); !ok {
			return ""
		}
	}
	return strings.ToLower(string(value))
}
