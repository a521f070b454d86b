package pcap

import (
	"bytes"
	"encoding/binary"
)

// A TLS connection whose secrets are known is read like a clear one: what its
// records carry goes to a protocol of its own. Its bytes keep the numbers of TCP,
// so that acknowledgements mean what they say: those of a record count from its
// beginning, and the last one stands at its end. Records are authenticated, so
// after lost bytes the next one is found by trying: what opens is a record, and
// its number tells how many are missing. Renegotiation, early data and suites without authenticated
// encryption are not read.

// The types of records, and of the handshake messages that change keys.
const (
	recordCCS       = 20
	recordHandshake = 22
	recordData      = 23

	messageClientHello = 1
	messageServerHello = 2
	messageFinished    = 20
	messageKeyUpdate   = 24
)

const (
	// maxRecord is the longest record with its header (RFC 5246, section 6.2.3).
	maxRecord = 5 + 1<<14 + 2048
	// maxMissed is how many records may be missing in a row, maxTried how many
	// bytes are looked through for the next one.
	maxMissed = 64
	maxTried  = 1 << 20
)

// tlsStream reads a TLS connection whose secrets are known.
type tlsStream struct {
	conn    *connection
	out     *builder
	secrets *tlsSecrets
	client  side
	// clientRandom is known from the beginning, the rest once the server spoke.
	clientRandom, serverRandom []byte
	suite                      tlsSuite
	modern, agreed             bool
	next12                     [2]*recordCipher // by client, server
	halves                     [2]tlsHalf       // by side
	inner                      protocol
	// server is the name that the client asked for.
	server string
	failed bool
}

// tlsHalf is one direction.
type tlsHalf struct {
	// buf holds a record that is not complete; at is where in TCP it begins, and
	// first tells of the segment that it began in.
	buf   []byte
	first chunk
	// now is the segment being read, older how many bytes of buf came before it.
	now   chunk
	older int
	// cipher is nil while records are in the clear.
	cipher *recordCipher
	// finished says that the handshake's keys are behind it.
	finished bool
	// header and left count through handshake messages.
	header []byte
	left   int
	kind   byte

	// searching says that bytes were lost; missed counts them and what was looked
	// through since. told says that the protocol knows.
	searching, told bool
	missed          int
}

// decrypted returns what reads the connection if its secrets are known, else nil.
func (t *tlsReader) decrypted(from side) protocol {
	// Message header, version, random.
	hello := helloOf(t.hello)
	if len(hello) < 38 {
		return nil
	}
	secrets := t.out.tlsSecrets([32]byte(hello[6:38]))
	if secrets == nil {
		return nil
	}
	t.stats.Decrypted++
	stream := newTLSStream(t.conn, t.out, secrets, from, hello[6:38])
	stream.server = serverName(hello)
	return stream
}

func newTLSStream(conn *connection, out *builder, secrets *tlsSecrets, client side, random []byte) *tlsStream {
	t := &tlsStream{conn: conn, out: out, secrets: secrets, client: client, clientRandom: bytes.Clone(random)}
	t.inner = newSniffer(conn, out)
	return t
}

func (t *tlsStream) data(from side, c chunk) (protocol, chunk) {
	h := &t.halves[from]
	for len(c.data) > 0 && !t.failed {
		if h.now, h.older = c, len(h.buf); h.older == 0 {
			h.first = c
		}
		n := min(len(c.data), maxRecord-len(h.buf))
		t.keep(h, c.data[:n])
		c.data, c.seq = c.data[n:], c.seq+uint32(n)
		t.records(from, h)
	}
	if t.failed {
		t.close()
		return &opaque{name: speaksTLS, stats: t.out.stats}, chunk{}
	}
	return t, chunk{}
}

// keep adds to what waits for the rest of its record.
func (t *tlsStream) keep(h *tlsHalf, b []byte) {
	h.buf = append(h.buf, b...)
	t.conn.table.held += len(b)
}

// used takes the first bytes of what waits away.
func (t *tlsStream) used(h *tlsHalf, n int) {
	h.buf = h.buf[:copy(h.buf, h.buf[n:])]
	if len(h.buf) == 0 && cap(h.buf) > bufferSize {
		h.buf = nil // a connection may be quiet for long
	}
	h.first.seq += uint32(n)
	if h.older = max(h.older-n, 0); h.older == 0 {
		h.first.ack, h.first.hasAck, h.first.nanos = h.now.ack, h.now.hasAck, h.now.nanos
	}
	t.conn.table.held -= n
}

// drop forgets what waits.
func (t *tlsStream) drop() {
	for i := range t.halves {
		t.used(&t.halves[i], len(t.halves[i].buf))
	}
}

// records reads what is complete.
func (t *tlsStream) records(from side, h *tlsHalf) {
	for !t.failed {
		if h.searching && !t.search(from, h) {
			return
		}
		if len(h.buf) < 5 {
			return
		}
		length := 5 + int(binary.BigEndian.Uint16(h.buf[3:]))
		if h.buf[0] < recordCCS || h.buf[0] > recordData || h.buf[1] != 3 || length > maxRecord {
			t.failed = true
			return
		}
		if len(h.buf) < length {
			return
		}
		t.record(from, h, h.buf[:length])
		t.used(h, length)
	}
}

// record takes one record.
func (t *tlsStream) record(from side, h *tlsHalf, record []byte) {
	kind, plain := record[0], record[5:]
	if h.cipher != nil && !(h.cipher.modern && kind == recordCCS) {
		var ok bool
		if kind, plain, ok = h.cipher.open(record, h.cipher.seq); !ok {
			t.failed = true
			return
		}
		h.cipher.seq++
	}
	switch {
	case kind == recordHandshake && h.cipher == nil:
		t.hello(from, plain)
	case kind == recordHandshake && h.cipher.modern:
		t.messages(from, h, plain)
	case kind == recordCCS && t.agreed && !t.modern:
		if h.cipher != nil {
			t.failed = true // keys of a second handshake
			return
		}
		h.cipher = t.next12[t.index(from)]
	case kind == recordData && h.cipher == nil:
		t.failed = true // early data
	case kind == recordData && len(plain) > 0:
		t.deliver(from, h, plain, h.first.seq+uint32(len(record)))
	}
}

// index is 0 for the client's direction and 1 for the server's.
func (t *tlsStream) index(from side) int {
	if from == t.client {
		return 0
	}
	return 1
}

// deliver hands the bytes of a record that ends at a number of TCP to the protocol.
func (t *tlsStream) deliver(from side, h *tlsHalf, plain []byte, end uint32) {
	c := h.first
	c.start = true
	if _, contiguous := t.inner.(*http2); contiguous || len(plain) == 1 {
		c.data = plain
		t.pass(from, c)
		return
	}
	// Which message an acknowledgement means is told by where messages begin and
	// end: most do with a record.
	last := len(plain) - 1
	c.data = plain[:last]
	t.pass(from, c)
	c.data, c.seq, c.start = plain[last:], end-1, false
	t.pass(from, c)
}

func (t *tlsStream) pass(from side, c chunk) {
	for len(c.data) > 0 {
		t.inner, c = t.inner.data(from, c)
	}
}

// retry is the random number by which a server asks for another hello (RFC 8446,
// section 4.1.3).
var retry = []byte("\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c")

// hello reads the server's hello, which decides what the keys are.
func (t *tlsStream) hello(from side, b []byte) {
	if from == t.client || len(b) < 4 || b[0] != messageServerHello || t.agreed {
		return // certificates and the like
	}
	b = b[4:]
	// Version, random, session id, suite, compression.
	if len(b) < 35 || len(b) < 38+int(b[34]) {
		t.failed = true
		return
	}
	if bytes.Equal(b[2:34], retry) {
		return
	}
	t.serverRandom = bytes.Clone(b[2:34])
	b = b[35+int(b[34]):]
	suite, known := tlsSuites[binary.BigEndian.Uint16(b)]
	if t.suite, t.agreed = suite, known; !known {
		t.failed = true
		return
	}
	if b = b[3:]; len(b) >= 2 {
		// Behind the extensions other messages may stand in the same record.
		b = b[2:min(len(b), 2+int(binary.BigEndian.Uint16(b)))]
	}
	for len(b) >= 4 {
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[4:]; n > len(b) {
			break
		}
		if kind == 43 && n == 2 && b[0] == 3 && b[1] == 4 {
			t.modern = true
		}
		b = b[n:]
	}
	t.failed = !t.keys()
}

// keys makes the ciphers once the server's hello is known. It reports whether
// the secrets suffice.
func (t *tlsStream) keys() bool {
	var err error
	if !t.modern {
		if len(t.secrets.master) != 48 {
			return false
		}
		t.next12, err = ciphers12(t.suite, t.secrets.master, t.clientRandom, t.serverRandom)
		return err == nil
	}
	for _, from := range []side{t.client, t.client.other()} {
		i := t.index(from)
		if len(t.secrets.handshake[i]) == 0 || len(t.secrets.traffic[i]) == 0 {
			return false
		}
		if t.halves[from].cipher, err = cipher13(t.suite, t.secrets.handshake[i]); err != nil {
			return false
		}
	}
	return true
}

// messages follows encrypted handshake messages of TLS 1.3, for the two that
// change the keys of their direction.
func (t *tlsStream) messages(from side, h *tlsHalf, b []byte) {
	for len(b) > 0 {
		if h.left == 0 {
			n := min(4-len(h.header), len(b))
			h.header, b = append(h.header, b[:n]...), b[n:]
			if len(h.header) < 4 {
				return
			}
			h.kind, h.left = h.header[0], int(h.header[1])<<16|int(h.header[2])<<8|int(h.header[3])
			h.header = h.header[:0]
		}
		n := min(h.left, len(b))
		h.left, b = h.left-n, b[n:]
		if h.left > 0 {
			return
		}
		var err error
		switch {
		case h.kind == messageFinished && !h.finished:
			h.finished = true
			h.cipher, err = cipher13(t.suite, t.secrets.traffic[t.index(from)])
		case h.kind == messageKeyUpdate && h.finished:
			h.cipher, err = h.cipher.updated(t.suite)
		}
		t.failed = t.failed || err != nil
	}
}

// gap begins the search for the next record.
func (t *tlsStream) gap(from side, seq, n uint32) {
	h := &t.halves[from]
	if h.cipher == nil || h.cipher.modern && !h.finished {
		// Of a handshake every byte counts.
		t.failed = true
		return
	}
	h.missed += len(h.buf) + int(n)
	t.used(h, len(h.buf))
	h.searching = true
	// How much of it was not framing shows once a record is found. But a request
	// that is sent after a lost answer must not seem to come before it.
	if p, ok := t.inner.(*http1); ok && !h.told && !p.inside(from, uint64(h.missed)) {
		p.hole(from)
		h.told = true
	}
}

// search looks for the next record of application data that opens. It reports
// whether that stands at the beginning of what waits.
func (t *tlsStream) search(from side, h *tlsHalf) bool {
	for i := 0; ; i++ {
		if i+5 > len(h.buf) {
			t.skip(h, i)
			return false
		}
		b := h.buf[i:]
		length := 5 + int(binary.BigEndian.Uint16(b[3:]))
		if b[0] != recordData || b[1] != 3 || b[2] != 3 || length > maxRecord || length < h.cipher.overhead() {
			continue
		}
		if len(b) < length {
			// It may be one: the rest has to come.
			t.skip(h, i)
			return false
		}
		for k := range uint64(maxMissed) {
			if _, _, ok := h.cipher.open(b[:length], h.cipher.seq+1+k); ok {
				t.skip(h, i)
				t.found(from, h, int(k)+1)
				return true
			}
		}
	}
}

// skip counts bytes that are no record that can be opened.
func (t *tlsStream) skip(h *tlsHalf, n int) {
	h.missed += n
	t.used(h, n)
	if h.missed > maxTried && len(h.buf) < 5 {
		t.failed = true
	}
}

// found tells the protocol what was lost before a record was found: so many
// records, and so many bytes in them.
func (t *tlsStream) found(from side, h *tlsHalf, records int) {
	lost := max(h.missed-records*h.cipher.overhead(), 0)
	if lost > 0 && !h.told {
		t.inner.gap(from, h.first.seq-uint32(h.missed), uint32(lost))
	}
	h.cipher.seq += uint64(records)
	h.searching, h.told, h.missed = false, false, 0
}

func (t *tlsStream) end(from side, nanos int64) { t.inner.end(from, nanos) }

func (t *tlsStream) close() {
	if t.failed || !t.agreed {
		t.out.stats.drop(dropTLS)
		t.out.stats.countServer(t.server) // the rest was not seen
	}
	t.drop()
	t.inner.close()
}
