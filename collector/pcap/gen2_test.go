package pcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// talker2 makes up one HTTP/2 connection. Its header blocks are encoded by an
// implementation that is not ours.
type talker2 struct {
	w    *wire
	rng  *rand.Rand
	name string
	// private says that paths and credentials are never indexed, as nghttp2 does;
	// otherwise everything is, as Go does.
	private bool
	known   map[string]truth

	requests, answers *encoder2
	next              uint32
	open              []*answer2
}

type encoder2 struct {
	buf bytes.Buffer
	enc *hpack.Encoder
}

func newEncoder2() *encoder2 {
	e := &encoder2{}
	e.enc = hpack.NewEncoder(&e.buf)
	return e
}

func (e *encoder2) block(private bool, fields ...string) []byte {
	e.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		sensitive := private && (fields[i] == ":path" || fields[i] == "authorization")
		if err := e.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: sensitive}); err != nil {
			panic(err)
		}
	}
	return bytes.Clone(e.buf.Bytes())
}

// answer2 is what is still to be sent of an answer. Each step is made when it is
// sent: the table of HPACK is in the order of the wire.
type answer2 struct {
	end   uint32 // of its request in the client's bytes
	steps []func() []byte
}

func frame2(kind, flags uint8, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// headers2 returns a header block in frames: with padding, priority and
// continuations as chance has it.
func (t *talker2) headers2(stream uint32, block []byte, end bool) []byte {
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	var rest []byte
	if t.rng.IntN(12) == 0 && len(block) > 2 {
		cut := 1 + t.rng.IntN(len(block)-1)
		flags &^= flagEndHeaders
		block, rest = block[:cut], block[cut:]
	}
	payload := block
	if t.rng.IntN(8) == 0 {
		flags |= flagPriority
		payload = append([]byte{0, 0, 0, 0, 15}, payload...)
	}
	if t.rng.IntN(8) == 0 {
		pad := t.rng.IntN(40)
		flags |= flagPadded
		payload = append(append([]byte{byte(pad)}, payload...), make([]byte, pad)...)
	}
	out := frame2(frameHeaders, flags, stream, payload)
	for len(rest) > 0 {
		n := 1 + t.rng.IntN(len(rest))
		flags := uint8(0)
		if n == len(rest) {
			flags = flagEndHeaders
		}
		out = append(out, frame2(frameContinuation, flags, stream, rest[:n])...)
		rest = rest[n:]
	}
	return out
}

// data2 returns a body in frames.
func (t *talker2) data2(stream uint32, size int, end bool) [][]byte {
	var frames [][]byte
	for {
		n := min(size, 1+t.rng.IntN(3000))
		size -= n
		flags := uint8(0)
		payload := bytes.Repeat([]byte{'d'}, n)
		if t.rng.IntN(10) == 0 {
			flags |= flagPadded
			payload = append(append([]byte{7}, payload...), make([]byte, 7)...)
		}
		if size == 0 && end {
			flags |= flagEndStream
		}
		frames = append(frames, frame2(frameData, flags, stream, payload))
		if size == 0 {
			return frames
		}
	}
}

// ask opens a stream and returns its frames.
func (t *talker2) ask(number int) []byte {
	r, id := t.rng, t.next
	t.next += 2
	path := fmt.Sprintf("/%s/%d", t.name, number)
	grpc := r.IntN(4) == 0
	method := "GET"
	switch {
	case grpc:
		method, path = "POST", fmt.Sprintf("/pkg.S%s/M%d", t.name, number)
	case r.IntN(3) == 0:
		method = "POST"
	}
	fields := []string{":method", method, ":scheme", "http", ":authority", "api.example.com", ":path", path + "?page=1",
		"user-agent", "made-up/" + strconv.Itoa(r.IntN(3)), "authorization", fmt.Sprintf("Bearer fake-%d", number%7)}
	if !t.w.plain {
		fields = append(fields, "x-nobody-reads", strconv.Itoa(r.IntN(1000)))
	}
	if grpc {
		fields[7] = path
		fields = append(fields, "content-type", "application/grpc")
		if !t.w.plain {
			fields = append(fields, "te", "trailers")
		}
	}
	a := &answer2{}
	fact := truth{status: 200 + r.IntN(300), size: r.IntN(5000)}
	if r.IntN(15) == 0 {
		a.then(func() []byte { return t.headers2(id, t.answers.block(false, ":status", "103", "link", "x"), false) })
	}
	if grpc {
		fact = truth{status: 200, size: 1 + fact.size, grpc: 1 + r.IntN(16)}
		a.then(func() []byte {
			return t.headers2(id, t.answers.block(false, ":status", "200", "content-type", "application/grpc"), false)
		})
	} else {
		a.then(func() []byte {
			return t.headers2(id, t.answers.block(false, ":status", strconv.Itoa(fact.status), "server", "made-up",
				"content-type", "application/json", "x-cost", strconv.Itoa(r.IntN(500))), fact.size == 0)
		})
	}
	if fact.size > 0 {
		for _, f := range t.data2(id, fact.size, !grpc) {
			a.then(func() []byte { return f })
		}
	}
	if grpc {
		a.then(func() []byte {
			return t.headers2(id, t.answers.block(false, "grpc-status", strconv.Itoa(fact.grpc), "grpc-message", "made up"), true)
		})
	}
	t.known[path] = fact
	out := t.headers2(id, t.requests.block(t.private, fields...), method == "GET")
	if method == "POST" {
		for _, f := range t.data2(id, r.IntN(3000), true) {
			out = append(out, f...)
		}
	}
	t.open = append(t.open, a)
	return out
}

func (a *answer2) then(step func() []byte) { a.steps = append(a.steps, step) }

// talk2 makes up a whole conversation of n calls, at most depth at a time.
func (w *wire) talk2(n, depth int, private bool, name string, known map[string]truth) {
	t := &talker2{w: w, rng: w.rng, name: name, private: private, known: known, requests: newEncoder2(), answers: newEncoder2(), next: 1}
	settings := frame2(frameSettings, 0, 0, []byte{0, 3, 0, 0, 0, 100})
	w.send(append(append([]byte{}, http2Preface...), settings...))
	w.serverHas = w.clientSeq
	w.reply(append(settings, frame2(frameSettings, 1, 0, nil)...))
	w.clientHas = w.serverSeq
	for sent := 0; sent < n || len(t.open) > 0; {
		if sent < n && len(t.open) < depth && (len(t.open) == 0 || w.rng.IntN(2) == 0) {
			var out []byte
			for first := true; sent < n && len(t.open) < depth && (first || w.rng.IntN(3) == 0); first = false {
				out = append(out, t.ask(sent)...)
				sent++
			}
			if w.rng.IntN(6) == 0 {
				out = append(out, frame2(frameWindowUpdate, 0, 0, []byte{0, 0, 40, 0})...)
			}
			w.clientHas += w.rng.Uint32N(w.serverSeq - w.clientHas + 1)
			w.send(out)
			for _, a := range t.open {
				if a.end == 0 {
					a.end = w.clientSeq
				}
			}
			continue
		}
		i := w.rng.IntN(len(t.open))
		a := t.open[i]
		if before(w.serverHas, a.end) {
			w.serverHas = a.end
		}
		w.serverHas += w.rng.Uint32N(w.clientSeq - w.serverHas + 1)
		out := a.steps[0]()
		for a.steps = a.steps[1:]; len(a.steps) > 0 && w.rng.IntN(3) > 0; a.steps = a.steps[1:] {
			out = append(out, a.steps[0]()...)
		}
		if w.rng.IntN(20) == 0 {
			out = append(out, frame2(framePing, 0, 0, []byte("12345678"))...)
		}
		w.reply(out)
		if len(a.steps) == 0 {
			t.open = append(t.open[:i], t.open[i+1:]...)
		}
		if w.rng.IntN(3) == 0 {
			w.clientHas = w.serverSeq
			w.put(true, w.clientSeq, w.clientHas, flagACK, nil)
		}
	}
}
