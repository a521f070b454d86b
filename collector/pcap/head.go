package pcap

import (
	"bytes"
)

// head is what one HTTP/1 message head says, as slices of the head's bytes. Its
// values may be secrets: only the builder reads them.
type head struct {
	// method and target are a request's, status an answer's.
	method, target []byte
	status         int
	http10         bool
	// lineEnd is where the first line ends, 0 while it is not complete.
	lineEnd int

	host, authorization, proxyAuthorization, apiKey []byte
	cookie, xfcc, userAgent, requestID, correlation []byte
	traceParent, b3TraceID, tenant, upgrade         []byte
	location, contentType, contentEncoding          []byte
	grpcStatus, clientCert, clientSubject           []byte
	// override is another method, which some servers take for the request's.
	override []byte

	// statusKnown and unseen are of HTTP/2: that an answer's status was legible,
	// and that fields were not, because their table slots were filled unseen.
	statusKnown, unseen bool
	// doubtful says that a field on which the call hangs came twice with other
	// values: readers differ about which of them counts.
	doubtful bool
	// secretive says that a header which is not known has the name of a credential, bound
	// that the connection was proven before (NTLM): silence is no anonymity then.
	secretive, bound bool
	// cookies counts the cookie headers of HTTP/1 behind the first.
	cookies int
	// authority, scheme and protocol are those of HTTP/2.
	authority, scheme, protocol []byte

	framing
}

// framing says how long the message's body is.
type framing struct {
	// length is Content-Length; hasLength says that it stood there.
	length    uint64
	hasLength bool
	// encoded says that Transfer-Encoding stood there, chunked that its last
	// coding is chunked.
	encoded, chunked bool
	// ambiguous says that two readers may see the body end at different
	// places (both lengths, two lengths, odd spellings): such a message proves
	// nothing, and nothing behind it does.
	ambiguous bool
	// unusable says that the length cannot be known at all.
	unusable bool
}

// methods are the request methods that mark a request where the reader does not
// know that one must come.
var methods = [][]byte{
	[]byte("GET"), []byte("POST"), []byte("PUT"), []byte("DELETE"), []byte("PATCH"), []byte("HEAD"),
	[]byte("OPTIONS"), []byte("CONNECT"), []byte("TRACE"), []byte("PROPFIND"), []byte("PROPPATCH"),
	[]byte("MKCOL"), []byte("COPY"), []byte("MOVE"), []byte("LOCK"), []byte("UNLOCK"), []byte("REPORT"),
	[]byte("SEARCH"), []byte("MERGE"), []byte("PURGE"), []byte("LINK"), []byte("UNLINK"), []byte("LIST"),
	[]byte("QUERY"), []byte("SUBSCRIBE"), []byte("UNSUBSCRIBE"), []byte("NOTIFY"), []byte("MKCALENDAR"),
}

// maxMethod is the longest method that is believed.
const maxMethod = 32

// isToken holds the characters of a method or a header name (RFC 9110 §5.6.2).
var isToken = func() (set [256]bool) {
	for c := 'a'; c <= 'z'; c++ {
		set[c], set[c-32] = true, true
	}
	for _, c := range "0123456789!#$%&'*+-.^_`|~" {
		set[c] = true
	}
	return set
}()

// fit says how well bytes match the start of a message.
type fit uint8

const (
	fitNo fit = iota
	fitSoFar
	fitYes
)

// requestFit reports whether b starts a request: yes with a whole valid first
// line, so far where more bytes are needed. Strict admits the known methods only.
func requestFit(b []byte, strict bool) fit {
	n := 0
	for n < len(b) && n <= maxMethod && isToken[b[n]] {
		n++
	}
	if n == len(b) && n <= maxMethod {
		if knownMethod(b, true) || !strict && n > 0 && word(b) {
			return fitSoFar
		}
		return fitNo
	}
	if n == 0 || n > maxMethod || b[n] != ' ' {
		return fitNo
	}
	known := knownMethod(b[:n], false)
	if !known && (strict || !word(b[:n])) {
		return fitNo
	}
	if n+1 < len(b) {
		c := b[n+1]
		if c <= ' ' || c >= 0x7f || !known && c != '/' && c != 'h' && c != '*' {
			return fitNo
		}
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return fitSoFar
	}
	var h head
	if !h.requestLine(trimLine(b[:end])) {
		return fitNo
	}
	return fitYes
}

// word is upper for either case: a server may well take a method in lower case.
func word(b []byte) bool {
	for _, c := range b {
		if c |= 0x20; (c < 'a' || c > 'z') && c != '-' && c != '_'|0x20 {
			return false
		}
	}
	return true
}

func upper(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func knownMethod(b []byte, prefix bool) bool {
	for _, m := range methods {
		if bytes.Equal(m, b) || prefix && bytes.HasPrefix(m, b) {
			return true
		}
	}
	return false
}

// maxStatusLine is the longest status line that is believed.
const maxStatusLine = 1024

var versionPrefix = []byte("HTTP/1.")

// answerFit is requestFit for answers.
func answerFit(b []byte) fit {
	if n := min(len(b), len(versionPrefix)); !bytes.Equal(b[:n], versionPrefix[:n]) {
		return fitNo
	}
	end := bytes.IndexByte(b, '\n')
	if end > maxStatusLine || end < 0 && len(b) > maxStatusLine {
		return fitNo
	}
	if end < 0 {
		return fitSoFar
	}
	var h head
	if !h.statusLine(trimLine(b[:end])) {
		return fitNo
	}
	return fitYes
}

func trimLine(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\r' {
		return b[:n-1]
	}
	return b
}

// requestLine reads "METHOD target HTTP/1.x".
func (h *head) requestLine(line []byte) bool {
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first <= 0 || first > maxMethod || last <= first+1 {
		return false
	}
	version := line[last+1:]
	if len(version) != 8 || !bytes.HasPrefix(version, versionPrefix) || version[7] < '0' || version[7] > '9' {
		return false
	}
	for _, c := range line[:first] {
		if !isToken[c] {
			return false
		}
	}
	h.method, h.target = line[:first], bytes.Trim(line[first+1:last], " ")
	if bytes.IndexByte(h.target, ' ') >= 0 || bytes.IndexByte(h.target, '\t') >= 0 {
		h.ambiguous = true // readers differ about where the target ends
	}
	h.http10 = version[7] == '0'
	return len(h.target) > 0
}

// statusLine reads "HTTP/1.x 200 reason".
func (h *head) statusLine(line []byte) bool {
	if len(line) < 12 || !bytes.HasPrefix(line, versionPrefix) || line[7] < '0' || line[7] > '9' || line[8] != ' ' {
		return false
	}
	code := bytes.TrimLeft(line[8:], " ")
	if len(code) < 3 || len(code) > 3 && code[3] >= '0' && code[3] <= '9' {
		return false
	}
	h.status = 0
	for _, c := range code[:3] {
		if c < '0' || c > '9' {
			return false
		}
		h.status = h.status*10 + int(c-'0')
	}
	h.http10 = line[7] == '0'
	return h.status >= 100
}

// parse reads a head, which may be cut off anywhere: lines that are not
// complete are left out. It reports whether the first line is sound. tenant is
// the lower-case name of the header that holds the tenant. A folded header line
// is unfolded in b itself.
func (h *head) parse(b []byte, request bool, tenant string) bool {
	*h = head{}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return false
	}
	line := trimLine(b[:end])
	if request && !h.requestLine(line) || !request && !h.statusLine(line) {
		return false
	}
	h.lineEnd = end + 1
	// A NUL ends a text for some readers. CR alone ends a line for some, and so does
	// LF alone where others stand behind CR.
	bareLF := len(line) == end
	if bytes.IndexByte(b, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 {
		h.ambiguous = true
	}
	folded := false
	for at := end + 1; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			break
		}
		line := trimLine(b[at : at+n])
		if bytes.IndexByte(line, '\r') >= 0 || bareLF != (len(line) == n) {
			h.ambiguous = true
		}
		at += n + 1
		if len(line) == 0 {
			break
		}
		// A line that goes on with a blank continues this one.
		for at < len(b) && (b[at] == ' ' || b[at] == '\t') {
			more := bytes.IndexByte(b[at:], '\n')
			if more < 0 {
				break
			}
			start := at - 1
			b[start] = ' '
			if b[start-1] == '\r' {
				b[start-1] = ' '
			}
			line = trimLine(b[at-n-1 : at+more])
			n += more + 1
			at += more + 1
			folded = true
		}
		h.header(line, tenant)
	}
	if folded && (h.encoded || h.hasLength) {
		h.ambiguous = true
	}
	if h.encoded && h.hasLength || h.encoded && h.http10 || h.encoded && !h.chunked && request {
		h.ambiguous = true
	}
	return true
}

// header takes one header line.
func (h *head) header(line []byte, tenant string) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return
	}
	var lower [48]byte
	name := line[:colon]
	if c := name[len(name)-1]; c == ' ' || c == '\t' {
		// Readers differ about a name with a blank behind it.
		if name = bytes.TrimRight(name, " \t"); len(name) == 0 {
			return
		}
		h.ambiguous = true
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		} else if !isToken[c] {
			h.ambiguous = true // some leave such a line out, some do not
		}
		if i < len(lower) {
			lower[i] = c
		}
	}
	if len(name) > len(lower) {
		return
	}
	value := bytes.Trim(line[colon+1:], " \t")
	switch f := fieldOf(lower[:len(name)], tenant); f &^ fieldTenant {
	case fieldContentLength:
		h.contentLength(value)
	case fieldTransferEncoding:
		h.transferEncoding(value)
	case fieldCookie:
		h.moreCookies(value)
	default:
		h.keep(f, value)
	}
}

func (f *framing) contentLength(value []byte) {
	for part := range bytes.SplitSeq(value, []byte{','}) {
		part = bytes.Trim(part, " \t")
		n, ok := decimal(part)
		switch {
		case !ok:
			f.ambiguous, f.unusable = true, true
		case f.hasLength && n != f.length:
			f.ambiguous, f.unusable = true, true
		default:
			f.length = n
		}
		f.hasLength = true
	}
}

func decimal(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

var codingChunked = []byte("chunked")

func (f *framing) transferEncoding(value []byte) {
	if f.encoded {
		f.ambiguous = true
	}
	f.encoded, f.chunked = true, false
	for part := range bytes.SplitSeq(value, []byte{','}) {
		part = bytes.Trim(part, " \t")
		if f.chunked {
			// Chunked twice, or something around it.
			f.ambiguous = true
		}
		f.chunked = bytes.EqualFold(part, codingChunked)
	}
}
