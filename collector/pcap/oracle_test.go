package pcap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
)

// What a damaged capture can show at best is told by an oracle that has the whole
// one beside it. It reads with other code than the package (net/http, and x/net's
// HPACK in oracle2_test.go), knows every border between messages, and asks of each
// call: were the heads of request and answer captured, and do the rules by which a
// pair is proven (pair.go, align.go) leave one request for the answer? The first is
// what can be found, the second what can be certain. Nothing is known of what was
// lost but its length.

// spoke is what one connection of a whole capture said: the client's bytes and the
// server's.
type spoke struct {
	bytes [2][]byte
	begin [2]uint32 // sequence numbers
}

// segmentOf reads a frame of a made-up capture.
func segmentOf(f frame) (port uint16, dir int, seq, ack uint32, flags byte, payload []byte) {
	at := transport(f.data)
	b := f.data[at:]
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if dir, port = 0, src; src == 8080 {
		dir, port = 1, dst
	}
	return port, dir, binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), b[13], b[20:]
}

// listen puts the connections of a whole capture together, by the client's port.
func listen(frames []frame) map[uint16]*spoke {
	all := map[uint16]*spoke{}
	for _, f := range frames {
		port, dir, seq, _, flags, payload := segmentOf(f)
		s := all[port]
		if s == nil {
			s = &spoke{}
			all[port] = s
		}
		if flags&2 != 0 {
			s.begin[dir] = seq + 1
			continue
		}
		if len(payload) == 0 {
			continue
		}
		at := int(seq - s.begin[dir])
		if grow := at + len(payload) - len(s.bytes[dir]); grow > 0 {
			s.bytes[dir] = append(s.bytes[dir], make([]byte, grow)...)
		}
		copy(s.bytes[dir][at:], payload)
	}
	return all
}

// caught is which bytes of a connection a damaged capture holds, and what the segment
// that brought each acknowledged: an offset in the other direction.
type caught struct {
	seen [2][]bool
	acks [2][]int
}

func (s *spoke) caughtNone() *caught {
	h := &caught{}
	for i := range h.seen {
		h.seen[i], h.acks[i] = make([]bool, len(s.bytes[i])), make([]int, len(s.bytes[i]))
	}
	return h
}

// hear notes what a damaged capture holds of the connections.
func hear(all map[uint16]*spoke, frames []frame) map[uint16]*caught {
	out := map[uint16]*caught{}
	for port, s := range all {
		out[port] = s.caughtNone()
	}
	for _, f := range frames {
		port, dir, seq, ack, _, payload := segmentOf(f)
		at, h := int(int32(seq-all[port].begin[dir])), out[port]
		for i := range payload {
			if at+i < len(h.seen[dir]) && !h.seen[dir][at+i] {
				h.seen[dir][at+i], h.acks[dir][at+i] = true, int(int32(ack-all[port].begin[1-dir]))
			}
		}
	}
	return out
}

func (h *caught) whole(dir, from, to int) bool {
	return !bytes.Contains(asBytes(h.seen[dir][from:to]), []byte{0})
}

func asBytes(b []bool) []byte {
	out := make([]byte, len(b))
	for i, is := range b {
		if is {
			out[i] = 1
		}
	}
	return out
}

// message is one of HTTP/1.
type message struct {
	from, head, to int // offsets: of its begin, of its head's end, of its end
	path           string
	isHead         bool // the method
	hasBody        bool
	chunked        bool
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// messages reads both directions.
func (s *spoke) messages(t *testing.T) (requests, answers []message) {
	t.Helper()
	count := &counter{r: bytes.NewReader(s.bytes[0])}
	r := bufio.NewReader(count)
	var asked []*http.Request
	for from := 0; from < len(s.bytes[0]); {
		q, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("the oracle cannot read a request: %v", err)
		}
		m := message{from: from, path: q.URL.Path, isHead: q.Method == "HEAD", chunked: len(q.TransferEncoding) > 0}
		m.head = from + bytes.Index(s.bytes[0][from:], []byte("\r\n\r\n")) + 4
		io.Copy(io.Discard, q.Body)
		from = count.n - r.Buffered()
		m.to = from
		requests, asked = append(requests, m), append(asked, q)
	}
	count = &counter{r: bytes.NewReader(s.bytes[1])}
	r = bufio.NewReader(count)
	for from := 0; from < len(s.bytes[1]); {
		a, err := http.ReadResponse(r, asked[len(answers)])
		if err != nil {
			t.Fatalf("the oracle cannot read an answer: %v", err)
		}
		m := message{from: from, path: requests[len(answers)].path, chunked: len(a.TransferEncoding) > 0}
		m.head = from + bytes.Index(s.bytes[1][from:], []byte("\r\n\r\n")) + 4
		n, _ := io.Copy(io.Discard, a.Body)
		m.hasBody = n > 0
		from = count.n - r.Buffered()
		if m.to = from; a.StatusCode >= 200 {
			answers = append(answers, m)
		}
	}
	return requests, answers
}

// silence is what lies between two messages that were seen, of the same direction:
// from least to most messages were lost there.
type silence struct{ least, most int }

const anyNumber = 1 << 20

// between tells what can be known of what was lost between the messages a and b of
// a row, a and b not counted; a is -1 for the beginning of the connection.
func (h *caught) between(dir int, row []message, text []byte, a, b int) silence {
	from := 0
	if a >= 0 {
		if from = row[a].to; row[a].chunked {
			from = h.framed(dir, text, row[a])
		}
	}
	missing := 0
	for i := from; i < row[b].from; i++ {
		if !h.seen[dir][i] {
			missing++
		}
	}
	if missing == 0 && b == a+1 {
		return silence{}
	}
	s := silence{most: anyNumber}
	for i := a + 1; i < b; i++ {
		if bytes.Contains(asBytes(h.seen[dir][row[i].from:row[i].to]), []byte{1}) {
			s.least++ // its rest was seen
		}
	}
	if dir == 0 {
		s.most = s.least + missing/leastRequest + 2
		if b > a+1 {
			s.least = max(s.least, 1)
		}
	}
	return s
}

// framed returns the end of a chunked message if its framing was seen, else where
// the first byte of it is missing.
func (h *caught) framed(dir int, text []byte, m message) int {
	for at := m.head; ; {
		line := bytes.IndexByte(text[at:], '\n') + 1
		if !h.whole(dir, at, at+line) {
			return at
		}
		n := 0
		for _, c := range strings.TrimRight(string(text[at:at+line]), "\r\n") {
			n = n<<4 | strings.IndexRune("0123456789abcdef", c)
		}
		at += line
		if !h.whole(dir, at+n, at+n+2) {
			return at + n
		}
		if at += n + 2; n == 0 {
			return at
		}
	}
}

// judge1 says of each call of a connection whether it can be found, and whether it can be
// certain.
func (h *caught) judge1(t *testing.T, s *spoke, requests, answers []message) (found, certain map[string]bool) {
	found, certain = map[string]bool{}, map[string]bool{}
	var q, a []int // those seen
	for i, m := range requests {
		if h.whole(0, m.from, m.head) {
			q = append(q, i)
		}
	}
	for i, m := range answers {
		if h.whole(1, m.from, m.head) {
			a = append(a, i)
		}
	}
	// Let R be the place of each request in the row of all, and A that of the request
	// which an answer answers: differences between them are bounded. most[i][j] is
	// the most that place j can be above place i; node 0 is the connection's
	// beginning, place -1 of both.
	n := 1 + len(q) + len(a)
	most := make([][]int, n)
	for i := range most {
		most[i] = make([]int, n)
		for j := range most[i] {
			if most[i][j] = anyNumber; i == j {
				most[i][j] = 0
			}
		}
	}
	atMost := func(i, j, d int) { most[i][j] = min(most[i][j], d) } // place j - place i
	chain := func(dir, base int, row []message, seen []int, text []byte) {
		before, last := 0, -1
		for k, i := range seen {
			gap := h.between(dir, row, text, last, i)
			atMost(before, base+k, min(1+gap.most, anyNumber))
			atMost(base+k, before, -1-gap.least)
			before, last = base+k, i
		}
	}
	chain(0, 1, requests, q, s.bytes[0])
	chain(1, 1+len(q), answers, a, s.bytes[1])
	for x, i := range q {
		for y, j := range a {
			received := h.acks[1][answers[j].from] >= requests[i].head
			known := h.acks[0][requests[i].from] > answers[j].from
			if !received || known {
				atMost(1+x, 1+len(q)+y, -1)
			}
		}
	}
	close1(most)
	for apart(most, requests, answers, q, a) {
		close1(most)
	}
	for x, i := range q {
		for y, j := range a {
			if i != j {
				continue
			}
			found[requests[i].path] = true
			u, v := 1+x, 1+len(q)+y
			if most[u][v] < 0 || most[v][u] < 0 {
				t.Errorf("the oracle rules a true pair out: %s", requests[i].path)
			}
			if most[u][v] == 0 && most[v][u] == 0 {
				certain[requests[i].path] = true
			}
		}
	}
	return found, certain
}

// apart takes note that an answer with a body is none to HEAD. It reports whether that
// says anything new.
func apart(most [][]int, requests, answers []message, q, a []int) (again bool) {
	for x, i := range q {
		for y, j := range a {
			u, v := 1+x, 1+len(q)+y
			if !requests[i].isHead || !answers[j].hasBody {
				continue
			}
			if most[u][v] == 0 {
				most[u][v], again = -1, true
			}
			if most[v][u] == 0 {
				most[v][u], again = -1, true
			}
		}
	}
	return again
}

// close1 is Floyd's and Warshall's.
func close1(most [][]int) {
	for k := range most {
		for i := range most {
			if most[i][k] >= anyNumber {
				continue
			}
			for j := range most {
				if d := most[i][k] + most[k][j]; d < most[i][j] {
					most[i][j] = d
				}
			}
		}
	}
}

// oracleOf returns what tells of each damaged capture how many calls can be found in it,
// and how many can be certain.
func oracleOf(t *testing.T, kind traffic, frames []frame) interface {
	possible(t *testing.T, damaged []frame) (found, certain int)
} {
	if strings.HasPrefix(kind.name, "http1") {
		return newOracle(t, frames)
	}
	return newOracle2(t, frames)
}

// oracle knows a whole capture of HTTP/1.
type oracle struct {
	all               map[uint16]*spoke
	requests, answers map[uint16][]message
}

func newOracle(t *testing.T, frames []frame) *oracle {
	o := &oracle{listen(frames), map[uint16][]message{}, map[uint16][]message{}}
	for port, s := range o.all {
		o.requests[port], o.answers[port] = s.messages(t)
	}
	return o
}

// possible sums up what a damaged capture can show: how many calls can be found, and
// of how many the pair can be proven by the rules for clients that send ahead.
func (o *oracle) possible(t *testing.T, damaged []frame) (found, certain int) {
	t.Helper()
	for port, h := range hear(o.all, damaged) {
		f, c := h.judge1(t, o.all[port], o.requests[port], o.answers[port])
		found += len(f)
		certain += len(c)
	}
	return found, certain
}

// rows drops a share of the packets, so many in a row on average, as the ring of a
// tap does that is full.
func rows(share, length float64) func(*rand.Rand, []frame) []frame {
	return func(rng *rand.Rand, frames []frame) []frame {
		var out []frame
		for i := 0; i < len(frames); i++ {
			if rng.Float64() < share/length {
				for rng.Float64() < 1-1/length {
					i++
				}
				continue
			}
			out = append(out, frames[i])
		}
		return out
	}
}

// lopsided drops other shares of what client and server sent, as where each direction
// has a port of the mirror of its own.
func lopsided(client, server float64) func(*rand.Rand, []frame) []frame {
	return func(rng *rand.Rand, frames []frame) []frame {
		var out []frame
		for _, f := range frames {
			share := server
			if toServer := binary.BigEndian.Uint16(f.data[transport(f.data)+2:]) == 8080; toServer {
				share = client
			}
			if rng.Float64() >= share {
				out = append(out, f)
			}
		}
		return out
	}
}

// otherSeeds are the seeds of the matrix: SCOPEDRIFT_SEEDS=1000+200 makes two hundred
// other captures of each kind.
func otherSeeds(t *testing.T) (first, runs uint64) {
	t.Helper()
	if text := os.Getenv("SCOPEDRIFT_SEEDS"); text != "" {
		if _, err := fmt.Sscanf(text, "%d+%d", &first, &runs); err != nil {
			t.Fatalf("SCOPEDRIFT_SEEDS is %q, not FIRST+COUNT: %v", text, err)
		}
		return first, runs
	}
	return 0, seeds
}
