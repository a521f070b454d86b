package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// temper is how the two ends of one made-up connection of HTTP/1 behave.
type temper struct {
	// depth is how many requests the client has on the way at most, mood how likely it
	// is (of 100) to choose another depth before a request.
	depth, mood int
	// whole says that the client waits until nothing is on the way before it sends again.
	whole bool
	// asks and answers are the longest body of a request and an answer; even says that
	// all messages of a side have one length.
	asks, answers int
	even          bool
	// joins is how likely (of 100) a message goes out in one write with the next.
	joins int
	// cuts says that packets end anywhere, as where writes are larger than buffers.
	cuts bool
	// prompt says that each segment acknowledges all that its sender's kernel was
	// sent, read or not.
	prompt bool
	// interim is how likely (of 100) an answer has an interim one before it.
	interim int
	// parting says that the last answer has no length, and ends with the connection.
	parting bool
}

// anyTemper makes one up.
func anyTemper(r *rand.Rand) temper {
	sizes := []int{0, 20, 200, 1400, 6000}
	return temper{
		depth: 1 + r.IntN(5), mood: []int{0, 10, 30}[r.IntN(3)], whole: r.IntN(3) == 0,
		asks: sizes[r.IntN(len(sizes))], answers: sizes[r.IntN(len(sizes))], even: r.IntN(4) == 0,
		joins: []int{0, 0, 20, 60}[r.IntN(4)], cuts: r.IntN(4) == 0, prompt: r.IntN(2) == 0,
		interim: []int{0, 0, 5, 30}[r.IntN(4)], parting: r.IntN(6) == 0,
	}
}

// converse makes up a conversation of n calls of one temper.
func (w *wire) converse(n int, m temper, name string, known map[string]truth) {
	r := w.rng
	type asked struct {
		end    uint32
		answer []byte
	}
	var waiting []asked
	var ask, say []byte // written, not sent yet
	mss := func() int {
		if m.cuts {
			return 1 + r.IntN(w.mss)
		}
		return w.mss
	}
	flushAsk := func() {
		if m.prompt || len(waiting) == 0 {
			w.clientHas = w.serverSeq
		}
		old := w.mss
		for len(ask) > 0 {
			w.mss = min(mss(), len(ask))
			w.send(ask[:w.mss])
			ask, w.mss = ask[w.mss:], old
		}
	}
	flushSay := func(least uint32) {
		if before(w.serverHas, least) {
			w.serverHas = least
		}
		if lag := w.clientSeq - w.serverHas; m.prompt {
			w.serverHas = w.clientSeq
		} else if lag > 0 {
			w.serverHas += r.Uint32N(lag + 1)
		}
		old := w.mss
		for len(say) > 0 {
			w.mss = min(mss(), len(say))
			w.reply(say[:w.mss])
			say, w.mss = say[w.mss:], old
		}
	}
	depth, refill := m.depth, true
	least := w.serverHas
	for sent := 0; sent < n || len(waiting) > 0; {
		if r.IntN(100) < m.mood {
			depth = 1 + r.IntN(5)
		}
		if len(waiting) == 0 {
			refill = true
		}
		if sent < n && len(waiting) < depth && (!m.whole || refill) && (len(waiting) == 0 || r.IntN(2) == 0) {
			if len(waiting) == 0 {
				flushSay(least)
				w.clientHas = w.serverSeq
			} else if lag := w.serverSeq - w.clientHas; lag > 0 && !m.prompt {
				w.clientHas += r.Uint32N(lag + 1)
			}
			path := fmt.Sprintf("/%s/%d", name, sent)
			request, answer, fact := w.composeAs(path, m, sent == n-1 && m.parting)
			known[path] = fact
			ask = append(ask, request...)
			waiting = append(waiting, asked{w.clientSeq + uint32(len(ask)), answer})
			sent++
			if len(waiting) >= depth {
				refill = false
			}
			if r.IntN(100) >= m.joins || len(waiting) >= depth || sent == n {
				flushAsk()
			}
			continue
		}
		flushAsk()
		a := waiting[0]
		waiting = waiting[1:]
		say, least = append(say, a.answer...), a.end
		if r.IntN(100) >= m.joins || len(waiting) == 0 {
			flushSay(least)
		}
	}
	flushSay(least)
}

// composeAs makes up a request and its answer.
func (w *wire) composeAs(path string, m temper, parting bool) (request, answer []byte, fact truth) {
	r := w.rng
	long := func(most int) int {
		if m.even || most == 0 {
			return most
		}
		return r.IntN(most)
	}
	method := [...]string{"GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE"}[r.IntN(7)]
	if m.even {
		method = "GET"
	}
	var q, a bytes.Buffer
	fmt.Fprintf(&q, "%s %s HTTP/1.1\r\nHost: a.example\r\n", method, path)
	if r.IntN(2) == 0 && !m.even {
		fmt.Fprintf(&q, "Authorization: Bearer fake-%d\r\n", r.IntN(5))
	}
	switch body := strings.Repeat("x", long(m.asks)); {
	case method != "POST" && method != "PUT":
		q.WriteString("\r\n")
	case r.IntN(3) == 0:
		q.WriteString("Transfer-Encoding: chunked\r\n\r\n" + chunks(r, body))
	default:
		fmt.Fprintf(&q, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	fact = truth{status: 200 + r.IntN(400), size: long(m.answers)}
	for r.IntN(100) < m.interim {
		a.WriteString([...]string{"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"}[r.IntN(2)])
	}
	fmt.Fprintf(&a, "HTTP/1.1 %d Any\r\n", fact.status)
	switch body := strings.Repeat("y", fact.size); {
	case fact.status == 204 || fact.status == 304:
		a.WriteString("\r\n")
	case method == "HEAD":
		fmt.Fprintf(&a, "Content-Length: %d\r\n\r\n", fact.size)
	case parting:
		a.WriteString("Connection: close\r\n\r\n" + body)
	case r.IntN(3) == 0:
		a.WriteString("Transfer-Encoding: chunked\r\n\r\n" + chunks(r, body))
	default:
		fmt.Fprintf(&a, "Content-Length: %d\r\n\r\n%s", fact.size, body)
	}
	return q.Bytes(), a.Bytes(), fact
}
