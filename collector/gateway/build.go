package gateway

import (
	"bytes"
	"strings"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/decide"
	"github.com/scopedrift/scopedrift/collector/identify"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// Reasons why a recognised unit gives no call.
const (
	notACall        = "not_a_call:"
	reasonNoTime    = "no_time"
	reasonBadTime   = "bad_time"
	reasonNoMethod  = "no_method"
	reasonNoTarget  = "no_target"
	reasonNoRequest = notACall + "no_request_line"
	reasonNoOp      = notACall + "no_operation"
)

// builder turns a recognised unit into a call: what is secret goes to identify
// or is removed, and the rest is copied out of the input's buffer.
type builder struct {
	texts    *texts
	scrub    *redact.Scrubber
	identify *identify.Identifier
	ids      ids
	calls    collector.Spare

	source  string
	host    string
	trusted int
	tenant  []byte // query key of the tenant, nil for none

	evidence identify.Evidence
	identity identify.Identity
	lists    [6][][]byte
	keys     map[uint64][]string
}

// build fills c from a unit and returns why there is no call, "" if there is.
func (b *builder) build(r *reader, u *unit, c *schema.Call) string {
	u.missing = r.missing
	for i := range r.expand {
		b.expand(&r.expand[i], u)
	}
	if why := u.notACall(r); why != "" {
		return why
	}
	micros, reason := timeOf(r, u)
	if reason != "" {
		return reason
	}
	c.Time = unixMicro(micros)
	c.Source = schema.Source{Type: r.Name, Name: b.source}
	c.Reporter = reporterOf(r, u)
	target, reason := b.request(r, u, c)
	if reason != "" {
		return reason
	}
	b.parties(r, u, c)
	b.who(r, u, c, target)
	b.answer(r, u, c, micros)
	b.rest(r, u, c)
	c.ID = b.ids.of(r, u)
	return ""
}

// expand reads an object that the log wrote as text.
func (b *builder) expand(e *expansion, u *unit) {
	first := u.s.first[e.slot]
	if first == 0 {
		return
	}
	v := u.s.vals[first-1]
	if v.kind != kindString || len(v.raw) == 0 {
		return
	}
	if text := u.plain(&v); len(text) > 0 && text[0] == '{' {
		u.s.expand(text, e.node)
	}
}

// timeOf finds when the call was made.
func timeOf(r *reader, u *unit) (micros int64, reason string) {
	f := &r.fields[fTime]
	for i := range f.sources {
		text := u.get(&field{sources: f.sources[i : i+1]})
		if text == nil {
			continue
		}
		micros, ok := parseTime(text, f.unit)
		if !ok {
			return 0, reasonBadTime
		}
		return micros, ""
	}
	if u.frameTime != 0 {
		u.frameTimeUsed = true
		return u.frameTime, ""
	}
	return 0, reasonNoTime
}

func reporterOf(r *reader, u *unit) schema.Reporter {
	for i := range r.reports {
		if bytes.HasPrefix(u.text(r.reports[i].slot), r.reports[i].prefix) {
			return r.reports[i].is
		}
	}
	return r.reporter
}

// request fills method, target, host and operation, and returns the raw target.
func (b *builder) request(r *reader, u *unit, c *schema.Call) (target []byte, reason string) {
	var method []byte
	method, target = u.get(&r.fields[fMethod]), u.get(&r.fields[fTarget])
	if r.Style == "api" {
		operation := u.get(&r.fields[fOperation])
		if operation == nil {
			return nil, reasonNoOp
		}
		c.Operation, c.RouteSource = b.texts.text(operation), schema.RouteFromSource
	} else {
		if line := u.get(&r.fields[fRequest]); line != nil {
			m, t, ok := parseRequestLine(line)
			if !ok && (method == nil || target == nil) {
				return nil, reasonNoRequest
			}
			if ok && method == nil {
				method = m
			}
			if ok && target == nil {
				target = t
			}
		}
		if target == nil && string(upper(method)) == "CONNECT" {
			target = u.get(&r.fields[fHost]) // HTTP/2 and Envoy leave out the target of a tunnel
		}
		switch {
		case method == nil && !u.namesAny(&r.fields[fMethod]) && !u.namesAny(&r.fields[fRequest]):
			return nil, reasonNoMethod
		case target == nil && !u.namesAny(&r.fields[fTarget]) && !u.namesAny(&r.fields[fRequest]):
			return nil, reasonNoTarget
		case method == nil || target == nil || !validMethod(upper(method)) || !validTarget(method, target):
			return nil, reasonNoRequest
		}
	}
	if method != nil {
		c.Method = b.texts.text(upper(method))
	}
	if target != nil {
		path, query := b.scrub.Target(validText(target))
		if c.Method != "CONNECT" { // whose target is a host
			c.Path = b.texts.clean(path)
			if object := b.scrub.Object(); object != nil && r.Style != "api" { // whose path names no object
				c.Resource = b.texts.copied(object)
			}
		}
		c.QueryKeys = b.queryKeys(query)
	}
	b.hostOf(r, u, c, target)
	return target, ""
}

// upper returns text in capitals, text itself where it is so already.
func upper(b []byte) []byte {
	for _, c := range b {
		if c >= 'a' && c <= 'z' {
			return bytes.ToUpper(b)
		}
	}
	return b
}

// hostOf finds the host. Where the log has none it is the user's word that
// counts, then the preset's; an API's log never has one of its own.
func (b *builder) hostOf(r *reader, u *unit, c *schema.Call, target []byte) {
	f := &r.fields[fHost]
	host := u.get(&field{sources: f.sources})
	if host == nil && len(target) > 0 && target[0] != '/' {
		host = authorityOf(target, c.Method)
	}
	switch {
	case b.host != "" && (host == nil || r.Style == "api"):
		c.Host = b.host
	case host != nil:
		c.Host = b.texts.host(host)
	case f.constant != nil:
		c.Host = b.texts.clean(f.constant)
	}
}

// lower returns text in small letters, text itself where it is so already.
func lower(b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			return bytes.ToLower(b)
		}
	}
	return b
}

// authorityOf returns the authority of a target in absolute or authority form.
func authorityOf(target []byte, method string) []byte {
	if scheme := bytes.Index(target, []byte("://")); scheme > 0 && scheme < 12 {
		authority := target[scheme+3:]
		if end := bytes.IndexAny(authority, "/?#"); end >= 0 {
			authority = authority[:end]
		}
		return authority
	}
	if method == "CONNECT" {
		return target
	}
	return nil
}

// queryKeys returns the names of query parameters. Sets of names come back again
// and again, so a set is one slice, shared by all its calls.
func (b *builder) queryKeys(query [][]byte) []string {
	if len(query) == 0 {
		return nil
	}
	h := uint64(14695981039346656037)
	for _, key := range query {
		for _, c := range key {
			h = (h ^ uint64(c)) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	if known := b.keys[h]; equalKeys(known, query) {
		return known
	}
	keys := make([]string, len(query))
	for i, key := range query {
		keys[i] = string(validText(key))
	}
	if b.keys == nil || len(b.keys) >= 4096 {
		b.keys = map[uint64][]string{}
	}
	b.keys[h] = keys
	return keys
}

func equalKeys(known []string, query [][]byte) bool {
	if len(known) != len(query) {
		return false
	}
	for i, key := range query {
		if known[i] != string(key) {
			return false
		}
	}
	return true
}

// parties fills the addresses.
func (b *builder) parties(r *reader, u *unit, c *schema.Call) {
	c.PeerAddress = parseAddress(u.get(&r.fields[fPeer]))
	client := parseAddress(u.get(&r.fields[fClient]))
	if forwarded := u.get(&r.fields[fForwardedFor]); forwarded != nil && (b.trusted > 0 || !client.IsValid()) {
		from := client
		if c.PeerAddress.IsValid() {
			from = c.PeerAddress
		}
		if found := forwardedClient(forwarded, from, b.trusted); found.IsValid() {
			client = found
		}
	}
	c.ClientAddress = client
}

// answer fills what became of the call.
func (b *builder) answer(r *reader, u *unit, c *schema.Call, started int64) {
	status := u.get(&r.fields[fStatus])
	if n, ok := parseCount(status); ok && n < 1000 {
		c.Status = uint16(n)
	}
	c.RequestBytes, _ = parseCount(u.get(&r.fields[fRequestBytes]))
	c.ResponseBytes, _ = parseCount(u.get(&r.fields[fResponseBytes]))
	if f := &r.fields[fDuration]; f.unit != 0 {
		if ns, ok := parseDecimal(u.get(f), f.unit); ok {
			c.DurationUS = uint64(ns / 1000)
		}
	}
	if finished := u.get(&r.fields[fFinished]); finished != nil && c.DurationUS == 0 {
		if end, ok := parseTime(finished, r.fields[fFinished].unit); ok && end > started {
			c.DurationUS = uint64(end - started)
		}
	}
	c.Policy = b.texts.text(u.get(&r.fields[fPolicy]))
	switch r.Decision {
	case "cloudtrail":
		c.Decision = decide.CloudTrail(u.get(&r.fields[fErrorCode]), u.get(&r.fields[fErrorMessage]))
	case "kubernetes":
		c.Decision = decide.Kubernetes(int(c.Status), u.get(&r.fields[fAnnotation]), u.get(&r.fields[fErrorMessage]))
	case "http":
		code, told := grpcCode(u.get(&r.fields[fGRPCStatus]))
		grpc := isGRPC(c, u.get(&r.fields[fContentType]))
		if (told || grpc) && c.Operation == "" && c.Method == "POST" && isGRPCMethod(c.Path) {
			c.Operation, c.RouteSource = c.Path, schema.RouteFromSource
		}
		switch {
		case told:
			c.Decision = decide.GRPC(code)
			return
		case c.Status == 200 && grpc:
			return // what became of it stands in a trailer that the log lacks
		}
		c.Decision = decide.HTTP(int(c.Status), u.get(&r.fields[fLocation]))
	}
}

// isGRPC reports whether a call is one of gRPC, whose HTTP status says nothing:
// by its content type, or where the log has none (Istio's and Envoy's own
// formats), by a path that only gRPC makes, POST /package.Service/Method.
func isGRPC(c *schema.Call, contentType []byte) bool {
	if contentType != nil {
		return bytes.HasPrefix(contentType, []byte("application/grpc"))
	}
	if c.Method != "POST" || len(c.QueryKeys) > 0 || !isGRPCMethod(c.Path) {
		return false
	}
	service, method, _ := strings.Cut(c.Path[1:], "/")
	dot := strings.LastIndexByte(service, '.')
	return dot > 0 && startsName(method) && startsName(service[dot+1:])
}

// isGRPCMethod reports whether a path is /package.Service/Method, which then names the
// operation.
func isGRPCMethod(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	service, method, found := strings.Cut(path[1:], "/")
	return found && service != "" && method != "" && isIdentifier(method, false) && isIdentifier(service, true)
}

func startsName(s string) bool { return s != "" && s[0] >= 'A' && s[0] <= 'Z' }

// isIdentifier reports whether s is made of letters, digits and underscores,
// and of dots between them where they are allowed.
func isIdentifier(s string, dots bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case c == '.' && dots && i > 0 && s[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

// grpcNames are the status codes by their names, as proxies write them.
var grpcNames = []string{
	"ok", "canceled", "unknown", "invalidargument", "deadlineexceeded", "notfound", "alreadyexists", "permissiondenied",
	"resourceexhausted", "failedprecondition", "aborted", "outofrange", "unimplemented", "internal", "unavailable",
	"dataloss", "unauthenticated",
}

// grpcCode reads a gRPC status: a number, or a name in any of its spellings.
func grpcCode(text []byte) (int, bool) {
	if len(text) == 0 || len(text) > 24 {
		return 0, false
	}
	if n, ok := digits(text); ok {
		return n, true
	}
	name := strings.ToLower(strings.ReplaceAll(string(text), "_", ""))
	if name == "cancelled" {
		name = "canceled"
	}
	for code, known := range grpcNames {
		if name == known {
			return code, true
		}
	}
	return 0, false
}

// rest fills what is left.
func (b *builder) rest(r *reader, u *unit, c *schema.Call) {
	c.UserAgent = b.texts.text(u.get(&r.fields[fUserAgent]))
	c.RequestID = b.texts.unique(u.get(&r.fields[fRequestID]))
	if trace := traceID(u.get(&r.fields[fTraceID])); isHex(trace, 32) {
		c.TraceID = b.texts.copied(trace) // a number by its form (W3C, B3)
	} else {
		c.TraceID = b.texts.unique(trace)
	}
	if resource := u.get(&r.fields[fResource]); resource != nil {
		c.Resource = b.texts.resource(resource)
	}
	c.Mints = b.texts.text(u.get(&r.fields[fMints]))
	c.PermissionsUsed = b.stringsOf(&r.fields[fPermissions], u)
	if c.Tenant == "" {
		c.Tenant = b.texts.text(u.get(&r.fields[fTenant]))
	}
}

// traceID returns the trace of a traceparent header (W3C), or text as it is.
func traceID(text []byte) []byte {
	if len(text) >= 55 && text[2] == '-' && text[35] == '-' {
		return text[3:35]
	}
	return text
}

// stringsOf returns all values of a field.
func (b *builder) stringsOf(f *field, u *unit) []string {
	if len(f.sources) == 0 {
		return nil
	}
	b.lists[5], _ = u.list(b.lists[5][:0], f, false)
	var out []string
	for _, v := range b.lists[5] {
		out = append(out, b.texts.text(v))
	}
	return out
}
