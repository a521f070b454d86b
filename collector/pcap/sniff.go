package pcap

import (
	"bytes"
	"encoding/binary"
)

// What a connection speaks, as Stats.Protocols and Stats.Unread name it.
const (
	speaksHTTP1    = "http/1"
	speaksHTTP2    = "http/2"
	speaksTLS      = "tls"
	speaksUpgraded = "upgraded"
	speaksOther    = "other"
)

// opaque is the protocol of a connection that is not read any further.
type opaque struct {
	// name is what is counted for each segment; empty counts nothing.
	name  string
	stats *Stats
}

func (o *opaque) data(_ side, _ chunk) (protocol, chunk) {
	if o.stats != nil {
		o.stats.Unread[o.name]++
	}
	return o, chunk{}
}
func (*opaque) gap(side, uint32, uint32) {}
func (*opaque) end(side, int64)          {}
func (*opaque) close()                   {}

// sniffer finds out by the first bytes what a connection speaks.
type sniffer struct {
	conn *connection
	out  *builder
	// searching says that a message may begin at any segment: the connection
	// was joined in its middle, bytes were lost, or another protocol has to
	// finish first (SOCKS).
	searching bool
	// budget is how many bytes it looks at before it gives up.
	budget int
	passed uint64 // segments with nothing known in them
	// holes are the directions that lost bytes; begun is how many bytes their
	// beginnings lost, 0 where they lost others.
	holes [2]bool
	begun [2]uint32
}

// The bytes to look at before a connection is given up.
const (
	budgetMidstream = 16 << 20
	budgetPrelude   = 4 << 10
)

func newSniffer(c *connection, out *builder) *sniffer {
	return &sniffer{conn: c, out: out, budget: budgetMidstream}
}

var (
	http2Preface   = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	proxyPrefix    = []byte("PROXY ")
)

func (s *sniffer) data(from side, c chunk) (protocol, chunk) {
	b := c.data
	skipped := 0 // empty lines before the first message
	// Until it is joined, a connection may begin anywhere.
	searching := s.searching || s.conn.midstream()
	switch {
	case searching && !c.start:
		return s.pass(c)
	case len(b) >= 8 && bytes.HasPrefix(http2Preface, b[:min(len(b), len(http2Preface))]) && (!s.conn.clientKnown || s.conn.client == from):
		return s.http2(from, false), c
	case !searching && s.conn.client != from && isSettings(b):
		// The server need not wait for the client's first byte.
		return s.http2(from.other(), false), c
	case searching && s.conn.clientKnown && s.conn.client != from && isSettings(b):
		// The client's beginning is lost.
		return s.http2(from.other(), true), c
	case isTLS(b) && s.passed < 8:
		s.out.stats.Protocols[speaksTLS]++
		return &tlsReader{conn: s.conn, out: s.out, stats: s.out.stats}, c
	}
	n := proxyHeader(b)
	for n == 0 && !searching && skipped < len(b) && (b[skipped] == '\r' || b[skipped] == '\n') {
		skipped++
	}
	if n += skipped; n > 0 {
		c.data, c.seq, c.start = b[n:], c.seq+uint32(n), true
		return s, c
	}
	if searching {
		if fromClient, ok := attachFit(b); ok {
			client := from
			if !fromClient {
				client = from.other()
			}
			if !s.conn.clientKnown || s.conn.client == client {
				return s.http2(client, true), c
			}
		}
	}
	if f := requestFit(b, searching); f == fitYes || f == fitSoFar && (!searching || len(b) > 8) {
		if !s.conn.clientKnown || s.conn.client == from {
			return s.http1(from), c
		}
	}
	if f := answerFit(b); f != fitNo && (s.conn.clientKnown && s.conn.client != from || !s.conn.clientKnown && len(b) >= 5) {
		return s.http1(from.other()), c
	}
	if searching {
		return s.pass(c)
	}
	if b[0] == 4 || b[0] == 5 {
		// SOCKS: what it carries begins in a segment of its own.
		s.searching, s.budget = true, budgetPrelude
		return s.pass(c)
	}
	return s.settle(speaksOther), c
}

// http1 begins to read messages. What was lost before may have been some.
func (s *sniffer) http1(client side) *http1 {
	h := newHTTP1(s.conn, s.out, client)
	for _, from := range [...]side{client, client.other()} {
		if s.holes[from] {
			h.lostBegin(from == client, s.begun[from], s.passed > 0)
		}
	}
	if s.passed > 0 {
		// What was passed over may have held messages too.
		h.broken = true
		s.out.stats.Resyncs++
		s.out.stats.Unread[speaksOther] += s.passed
		s.passed = 0
	}
	if s.holes[0] || s.holes[1] {
		h.broken, h.hadGap = true, true
		h.requestHole, h.answersLost = s.holes[client], s.holes[client.other()]
	}
	return h
}

// http2 begins to read frames.
func (s *sniffer) http2(client side, joined bool) *http2 {
	h := newHTTP2(s.conn, s.out, client, joined)
	if s.searching || s.conn.midstream() {
		h.doubted()
	}
	if s.passed > 0 {
		s.out.stats.Unread[speaksOther] += s.passed
		s.passed = 0
	}
	h.gaps = s.holes[0] || s.holes[1]
	return h
}

// pass leaves a segment unread and goes on looking.
func (s *sniffer) pass(c chunk) (protocol, chunk) {
	s.passed++
	if s.budget -= len(c.data); s.budget < 0 {
		return s.settle(speaksOther), chunk{}
	}
	return s, chunk{}
}

func (s *sniffer) settle(name string) protocol {
	s.count(name)
	return &opaque{name: name, stats: s.out.stats}
}

// count adds what was passed over to what was not read.
func (s *sniffer) count(name string) {
	s.out.stats.Protocols[name]++
	if s.passed > 0 {
		s.out.stats.Unread[name] += s.passed
		s.passed = 0
	}
}

func (s *sniffer) gap(from side, seq, n uint32) {
	d := &s.conn.dirs[from]
	if s.begun[from] = 0; d.fromSYN && seq == d.first {
		s.begun[from] = n
	}
	s.searching, s.holes[from] = true, true
}
func (s *sniffer) end(side, int64) {}
func (s *sniffer) close() {
	if s.passed > 0 {
		s.count(speaksOther)
	}
}

// proxyHeader returns the length of a PROXY protocol header, which load
// balancers put before everything else; 0 if there is none.
func proxyHeader(b []byte) int {
	if bytes.HasPrefix(b, proxyPrefix) {
		if end := bytes.Index(b[:min(len(b), 108)], []byte("\r\n")); end > 0 {
			return end + 2
		}
	}
	if len(b) >= 16 && bytes.HasPrefix(b, proxySignature) {
		if n := 16 + int(binary.BigEndian.Uint16(b[14:])); n <= len(b) {
			return n
		}
	}
	return 0
}

// isTLS reports whether b starts a TLS handshake record, or any TLS record of a
// connection joined later.
func isTLS(b []byte) bool {
	return len(b) >= 3 && b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] <= 4
}

// tlsReader reads the hello of a client: the name that it asks for, and whether
// the connection's secrets are known.
type tlsReader struct {
	conn  *connection
	out   *builder
	stats *Stats
	hello []byte
	first chunk
	from  side // of the hello
	done  bool
}

// maxHello bounds the bytes kept of a hello that spans segments.
const maxHello = 4 << 10

func (t *tlsReader) data(from side, c chunk) (protocol, chunk) {
	next := &opaque{name: speaksTLS, stats: t.stats}
	if len(t.hello) == 0 {
		if len(c.data) < 6 || c.data[0] != recordHandshake || c.data[5] != messageClientHello {
			return next, c
		}
		t.first, t.from = c, from
	}
	if from != t.from || t.done {
		t.count() // an answer to half a hello: the rest of it is lost
		return next, c
	}
	n := min(len(c.data), maxHello-len(t.hello))
	t.hello = append(t.hello, c.data[:n]...)
	if !helloWhole(t.hello) && len(t.hello) < maxHello {
		t.stats.Unread[speaksTLS]++
		return t, chunk{}
	}
	if stream := t.decrypted(from); stream != nil {
		t.first.data = t.hello
		_, _ = stream.data(from, t.first) // a hello does not end it
		return stream, advance(c, n)
	}
	t.stats.Unread[speaksTLS]++
	t.count()
	return next, chunk{}
}

func (t *tlsReader) gap(from side, _, _ uint32) {
	if from == t.from {
		t.close() // what follows is not the rest of the hello
	}
}
func (t *tlsReader) end(side, int64) {}
func (t *tlsReader) close() {
	if len(t.hello) > 0 {
		t.count()
	}
}

// count counts the handshake under the server's name.
func (t *tlsReader) count() {
	if t.done {
		return
	}
	t.done = true
	t.stats.countServer(serverName(helloOf(t.hello)))
}

// helloOf returns the handshake messages in a row of records, of which the last may be
// cut, without the heads of the records.
func helloOf(b []byte) []byte {
	if len(b) >= 5 && len(b) <= 5+int(binary.BigEndian.Uint16(b[3:])) {
		return b[5:] // nearly always it is one
	}
	var hello []byte
	for len(b) >= 5 && b[0] == recordHandshake {
		n := min(len(b), 5+int(binary.BigEndian.Uint16(b[3:])))
		hello, b = append(hello, b[5:n]...), b[n:]
	}
	return hello
}

// helloWhole reports whether a row of records holds a whole hello, or what can be none.
func helloWhole(b []byte) bool {
	for at := 0; at < len(b); {
		if len(b)-at < 5 {
			return b[at] != recordHandshake
		}
		if b[at] != recordHandshake {
			return true
		}
		at += 5 + int(binary.BigEndian.Uint16(b[at+3:]))
		if at > len(b) {
			return false
		}
	}
	hello := helloOf(b)
	return len(hello) >= 4 && len(hello) >= 4+(int(hello[1])<<16|int(hello[2])<<8|int(hello[3]))
}

// serverName returns the name that a TLS client hello asks for, or "" if there
// is none, if it is encrypted, or if what is there is no host name.
func serverName(hello []byte) string {
	b := hello
	// Handshake header, version, random.
	if len(b) < 4+2+32+1 {
		return ""
	}
	b = b[38:]
	skip := func(width int) bool {
		if len(b) < width {
			return false
		}
		n := int(b[0])
		if width == 2 {
			n = int(binary.BigEndian.Uint16(b))
		}
		if len(b) < width+n {
			return false
		}
		b = b[width+n:]
		return true
	}
	// Session id, cipher suites, compression methods.
	if !skip(1) || !skip(2) || !skip(1) || len(b) < 2 {
		return ""
	}
	for b = b[2:]; len(b) >= 4; {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		if n > len(b) {
			return ""
		}
		if kind == 0 && n >= 5 && b[2] == 0 {
			size := int(binary.BigEndian.Uint16(b[3:]))
			if 5+size > n {
				return ""
			}
			return hostName(b[5 : 5+size])
		}
		b = b[n:]
	}
	return ""
}

func hostName(b []byte) string {
	if len(b) > 253 {
		return ""
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return ""
		}
	}
	return string(bytes.ToLower(b))
}
