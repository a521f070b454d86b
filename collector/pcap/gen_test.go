package pcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// frame is one captured packet of a made-up capture.
type frame struct {
	nanos int64
	data  []byte
}

// segmentSpec is a TCP segment to be written as a packet.
type segmentSpec struct {
	client, server endpoint
	toServer       bool
	seq, ack       uint32
	flags          uint8
	payload        []byte
}

func addr4(last byte, port uint16) (e endpoint) {
	copy(e[:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last})
	binary.BigEndian.PutUint16(e[16:], port)
	return e
}

func addr6(last byte, port uint16) (e endpoint) {
	e[0], e[1], e[15] = 0xfd, 0, last
	binary.BigEndian.PutUint16(e[16:], port)
	return e
}

// tcpHeader flags on the wire.
func wireFlags(f uint8) byte {
	var b byte
	for _, m := range [...]struct{ from, to uint8 }{{flagFIN, 1}, {flagSYN, 2}, {flagRST, 4}, {flagACK, 0x10}} {
		if f&m.from != 0 {
			b |= m.to
		}
	}
	return b
}

// ip returns the segment as an IP packet.
func (s *segmentSpec) ip() []byte {
	src, dst := s.client, s.server
	if !s.toServer {
		src, dst = dst, src
	}
	tcp := make([]byte, 20, 20+len(s.payload))
	copy(tcp[0:2], src[16:])
	copy(tcp[2:4], dst[16:])
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = 5<<4, wireFlags(s.flags)
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	tcp = append(tcp, s.payload...)
	if src[10] == 0xff {
		h := make([]byte, 20, 20+len(tcp))
		h[0], h[8], h[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(tcp)))
		copy(h[12:16], src[12:16])
		copy(h[16:20], dst[12:16])
		return append(h, tcp...)
	}
	h := make([]byte, 40, 40+len(tcp))
	h[0], h[6], h[7] = 0x60, 6, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(tcp)))
	copy(h[8:24], src[:16])
	copy(h[24:40], dst[:16])
	return append(h, tcp...)
}

// ethernet returns the segment as an Ethernet frame with the given VLAN tags.
func (s *segmentSpec) ethernet(vlans ...uint16) []byte {
	ip := s.ip()
	b := make([]byte, 12, 26+len(ip))
	for _, v := range vlans {
		b = binary.BigEndian.AppendUint16(append(b, 0x81, 0x00), v)
	}
	if ip[0]>>4 == 4 {
		b = append(b, 0x08, 0x00)
	} else {
		b = append(b, 0x86, 0xdd)
	}
	return append(b, ip...)
}

// writePcap writes frames as a little-endian pcap file with microseconds.
func writePcap(link linkType, frames []frame) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	b = binary.LittleEndian.AppendUint32(b, uint32(link))
	for _, f := range frames {
		b = binary.LittleEndian.AppendUint32(b, uint32(f.nanos/1e9))
		b = binary.LittleEndian.AppendUint32(b, uint32(f.nanos%1e9/1e3))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.data)))
		b = binary.LittleEndian.AppendUint32(b, uint32(wholeLength(link, f.data)))
		b = append(b, f.data...)
	}
	return b
}

// wholeLength returns how long a packet was before it was cut, as its outermost IP
// header says.
func wholeLength(link linkType, b []byte) int {
	at := 0
	if link == linkEthernet {
		at = 14
		for len(b) >= at && b[at-2] == 0x81 && b[at-1] == 0 {
			at += 4
		}
	} else if link != linkRaw {
		return len(b)
	}
	switch {
	case len(b) >= at+20 && b[at]>>4 == 4:
		return max(len(b), at+int(binary.BigEndian.Uint16(b[at+2:])))
	case len(b) >= at+40 && b[at]>>4 == 6:
		return max(len(b), at+40+int(binary.BigEndian.Uint16(b[at+4:])))
	}
	return len(b)
}

// wire makes up one connection, as a tap between the two sees it.
type wire struct {
	client, server endpoint
	vlans          []uint16
	rng            *rand.Rand
	frames         *[]frame
	nanos          *int64
	mss            int
	// plain leaves out header names that HPACK does not know from the start.
	plain bool

	clientSeq, serverSeq uint32 // next to send
	// clientHas and serverHas are what each has received of the other.
	clientHas, serverHas uint32
}

func newWire(rng *rand.Rand, client, server endpoint, frames *[]frame, nanos *int64) *wire {
	// Numbers that wrap soon, so that every run crosses the border.
	w := &wire{client: client, server: server, rng: rng, frames: frames, nanos: nanos, mss: 1448,
		clientSeq: 0xffffff00 - rng.Uint32N(3000), serverSeq: 0xfffff000 - rng.Uint32N(9000)}
	w.clientHas, w.serverHas = w.serverSeq, w.clientSeq
	return w
}

func (w *wire) put(toServer bool, seq, ack uint32, flags uint8, payload []byte) {
	*w.nanos += int64(w.rng.IntN(30_000)) + 1000
	s := segmentSpec{w.client, w.server, toServer, seq, ack, flags, payload}
	*w.frames = append(*w.frames, frame{*w.nanos, s.ethernet(w.vlans...)})
}

func (w *wire) handshake() {
	w.put(true, w.clientSeq, 0, flagSYN, nil)
	w.clientSeq++
	w.serverHas = w.clientSeq
	w.put(false, w.serverSeq, w.serverHas, flagSYN|flagACK, nil)
	w.serverSeq++
	w.clientHas = w.serverSeq
	w.put(true, w.clientSeq, w.clientHas, flagACK, nil)
}

// send sends bytes from the client, with what it has of the server.
func (w *wire) send(b []byte) {
	for len(b) > 0 {
		n := min(len(b), w.mss)
		w.put(true, w.clientSeq, w.clientHas, flagACK, b[:n])
		w.clientSeq += uint32(n)
		b = b[n:]
	}
}

// reply sends bytes from the server, with what it has of the client.
func (w *wire) reply(b []byte) {
	for len(b) > 0 {
		n := min(len(b), w.mss)
		w.put(false, w.serverSeq, w.serverHas, flagACK, b[:n])
		w.serverSeq += uint32(n)
		b = b[n:]
		if w.rng.IntN(3) == 0 {
			// The client acknowledges in the middle.
			w.put(true, w.clientSeq, w.serverSeq, flagACK, nil)
		}
	}
}

func (w *wire) close() {
	w.clientHas, w.serverHas = w.serverSeq, w.clientSeq
	w.put(true, w.clientSeq, w.clientHas, flagFIN|flagACK, nil)
	w.put(false, w.serverSeq, w.clientSeq+1, flagFIN|flagACK, nil)
	w.put(true, w.clientSeq+1, w.serverSeq+1, flagACK, nil)
}

// style is how a made-up client sends.
type style int

const (
	lockstep style = iota // waits for each answer
	batches               // sends several, then waits for all
	window                // always keeps several on the way
	moody                 // changes its mind
	eager                 // sends one as soon as one is answered, of a few on the way
)

// truth is what a made-up request was answered with.
type truth struct {
	status int
	size   int
	grpc   int // status of gRPC, 0 where it is none: none made up succeeds
}

// talk makes up a whole conversation of n calls and notes its truth by path.
func (w *wire) talk(n int, how style, name string, known map[string]truth) {
	type asked struct {
		end    uint32
		answer []byte
	}
	var waiting []asked
	depth := 1
	opens, wide := 0, 0
	if how == eager {
		opens, wide = w.rng.IntN(4), 2+w.rng.IntN(2)
	}
	if how == batches || how == window {
		depth = 2 + w.rng.IntN(7)
	}
	refill := true
	for sent := 0; sent < n || len(waiting) > 0; {
		if how == moody && w.rng.IntN(4) == 0 {
			depth = 1 + w.rng.IntN(4)
		}
		if how == eager && sent >= opens {
			depth = wide
		}
		mayAsk := sent < n && len(waiting) < depth && (how != batches || refill)
		if len(waiting) == 0 {
			mayAsk, refill = true, true
		}
		if mayAsk && (len(waiting) == 0 || w.rng.IntN(2) == 0 || how == batches || how == eager) {
			if len(waiting) == 0 || how == eager {
				w.clientHas = w.serverSeq // it has the whole last answer
			} else if lag := w.serverSeq - w.clientHas; lag > 0 {
				w.clientHas += w.rng.Uint32N(lag + 1)
			}
			path := fmt.Sprintf("/%s/%d", name, sent)
			request, answer, fact := w.compose(path)
			known[path] = fact
			if how == batches && len(waiting)+1 < depth && sent+1 < n && w.rng.IntN(2) == 0 {
				// Two requests in one write.
				sent++
				path2 := fmt.Sprintf("/%s/%d", name, sent)
				more, answer2, fact2 := w.compose(path2)
				known[path2] = fact2
				mid := w.clientSeq + uint32(len(request))
				w.send(append(request, more...))
				waiting = append(waiting, asked{mid, answer}, asked{w.clientSeq, answer2})
			} else {
				w.send(request)
				waiting = append(waiting, asked{w.clientSeq, answer})
			}
			sent++
			if len(waiting) >= depth {
				refill = false
			}
			continue
		}
		a := waiting[0]
		waiting = waiting[1:]
		if before(w.serverHas, a.end) {
			w.serverHas = a.end
		}
		if how == eager {
			w.serverHas = w.clientSeq
		}
		if lag := w.clientSeq - w.serverHas; lag > 0 {
			w.serverHas += w.rng.Uint32N(lag + 1)
		}
		w.reply(a.answer)
	}
}

// compose makes up a request and its answer.
func (w *wire) compose(path string) (request, answer []byte, fact truth) {
	r := w.rng
	method := [...]string{"GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE"}[r.IntN(7)]
	var q bytes.Buffer
	fmt.Fprintf(&q, "%s %s?page=%d HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer fake-%d\r\nUser-Agent: %s\r\n",
		method, path, r.IntN(9), r.IntN(5), strings.Repeat("agent ", 1+r.IntN(60)))
	if method == "POST" || method == "PUT" {
		body := strings.Repeat("x", r.IntN(4000))
		if r.IntN(3) == 0 {
			q.WriteString("Transfer-Encoding: chunked\r\n\r\n")
			q.WriteString(chunks(r, body))
		} else {
			fmt.Fprintf(&q, "Content-Length: %d\r\n\r\n%s", len(body), body)
		}
	} else {
		q.WriteString("\r\n")
	}
	status := 200 + r.IntN(400)
	size := r.IntN(6000)
	fact = truth{status: status, size: size}
	var a bytes.Buffer
	if r.IntN(20) == 0 {
		a.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
	}
	fmt.Fprintf(&a, "HTTP/1.1 %d Whatever\r\nServer: made-up\r\n", status)
	body := strings.Repeat("y", size)
	switch {
	case status == 204 || status == 304:
		fact.size = 0
		a.WriteString("\r\n")
	case method == "HEAD":
		fact.size = 0
		fmt.Fprintf(&a, "Content-Length: %d\r\n\r\n", size)
	case r.IntN(3) == 0:
		a.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		a.WriteString(chunks(r, body))
	default:
		fmt.Fprintf(&a, "Content-Length: %d\r\n\r\n%s", size, body)
	}
	return q.Bytes(), a.Bytes(), fact
}

func chunks(r *rand.Rand, body string) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(len(body), 1+r.IntN(2000))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

// mix shuffles the packets of several conversations into one capture, each in
// its own order.
func mix(rng *rand.Rand, conversations [][]frame) []frame {
	var out []frame
	nanos := int64(1_700_000_000e9)
	for len(conversations) > 0 {
		i := rng.IntN(len(conversations))
		f := conversations[i][0]
		nanos += int64(rng.IntN(20_000))
		f.nanos = nanos
		out = append(out, f)
		if conversations[i] = conversations[i][1:]; len(conversations[i]) == 0 {
			conversations = append(conversations[:i], conversations[i+1:]...)
		}
	}
	return out
}

// damage is what a tap does to a capture.
type damage struct{ loss, reorder, repeat float64 }

func (d damage) apply(rng *rand.Rand, frames []frame) []frame {
	var kept []frame
	for _, f := range frames {
		if rng.Float64() >= d.loss {
			kept = append(kept, f)
		}
	}
	// moved[i] are packets that turn up after the one at i.
	moved := map[int][]frame{}
	var out []frame
	for i, f := range kept {
		switch x := rng.Float64(); {
		case x < d.reorder:
			at := i + 1 + rng.IntN(8)
			moved[at] = append(moved[at], f)
		default:
			out = append(out, f)
			if rng.Float64() < d.repeat {
				at := i + 1 + rng.IntN(20)
				moved[at] = append(moved[at], f)
			}
		}
		out = append(out, moved[i]...)
		delete(moved, i)
	}
	for i := len(kept); len(moved) > 0; i++ {
		out = append(out, moved[i]...)
		delete(moved, i)
	}
	// The tap's clock goes on whatever the order.
	nanos := int64(0)
	for i := range out {
		nanos = max(nanos+1000, out[i].nanos)
		out[i].nanos = nanos
	}
	return out
}
