package pcap

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// side2 writes what one side of an HTTP/2 connection says.
type side2 struct {
	bytes.Buffer
	enc *encoder2
}

func newSide2() *side2 { return &side2{enc: newEncoder2()} }

// head adds a header block; end ends the stream with it.
func (s *side2) head(stream uint32, end bool, fields ...string) *side2 {
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	return s.frame(frameHeaders, flags, stream, s.enc.block(false, fields...))
}

func (s *side2) frame(kind, flags uint8, stream uint32, payload []byte) *side2 {
	s.Write(frame2(kind, flags, stream, payload))
	return s
}

// turn takes what was written since the last turn.
func (s *side2) turn() string {
	text := s.String()
	s.Reset()
	return text
}

// get are the fields of a request.
func get(path string, more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", path}, more...)
}

func post(path string, more ...string) []string {
	f := get(path, more...)
	f[1] = "POST"
	return f
}

const hello2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// outcomes is a call in short, with what became of it.
func outcomes(calls []schema.Call) string {
	var out []string
	for i := range calls {
		c := &calls[i]
		text := line(c) + " " + c.Decision.String()
		if c.Operation != "" {
			text += " <" + c.Operation + ">"
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}

// What many conversations of HTTP/2 have in common.
var (
	grpcHead2 = []string{"content-type", "application/grpc+proto", "te", "trailers"}
	settings2 = string(frame2(frameSettings, 0, 0, nil))
)

// conversations2 are both sides of a connection of HTTP/2, and the calls in them.
var conversations2 = []struct {
	name  string
	make  func(q, a *side2) script
	want  string
	check func(Stats) bool
}{
	{name: "answers out of order", make: func(q, a *side2) script {
		q.head(1, true, get("/1")...).head(3, true, get("/3?x=1")...)
		a.head(3, false, ":status", "403").frame(frameData, flagEndStream, 3, []byte("no")).head(1, true, ":status", "204")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/3?x 403 0/2 complete denied\nGET a.example/1 204 0/0 complete allowed"},
	{name: "the server begins", make: func(q, a *side2) script {
		q.head(1, true, get("/1")...)
		a.head(1, true, ":status", "200")
		return script{"", settings2, hello2 + settings2 + q.turn(), a.turn()}
	}, want: "GET a.example/1 200 0/0 complete allowed"},
	{name: "grpc", make: func(q, a *side2) script {
		for i, id := range []uint32{1, 3, 5} {
			q.head(id, false, post("/pkg.S/M", grpcHead2...)...).frame(frameData, flagEndStream, id, []byte("\x00\x00\x00\x00\x00"))
			if i == 2 {
				a.head(id, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "16")
				continue
			}
			a.head(id, false, ":status", "200", "content-type", "application/grpc").frame(frameData, 0, id, []byte("\x00\x00\x00\x00\x01x"))
			a.head(id, true, "grpc-status", [...]string{"0", "7"}[i], "grpc-message", "whatever")
		}
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "POST a.example/pkg.S/M 200 5/6 complete allowed </pkg.S/M>\nPOST a.example/pkg.S/M 200 5/6 complete denied </pkg.S/M>\n" +
		"POST a.example/pkg.S/M 200 5/0 complete unauthenticated </pkg.S/M>"},
	{name: "grpc, a status in the head and another in the trailers", make: func(q, a *side2) script {
		for _, id := range []uint32{1, 3} {
			q.head(id, false, post("/pkg.S/M", grpcHead2...)...).frame(frameData, flagEndStream, id, nil)
			a.head(id, false, ":status", "200", "content-type", "application/grpc", "grpc-status", "0")
		}
		a.head(1, true, "grpc-status", "7").frame(frameData, flagEndStream, 3, nil)
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "POST a.example/pkg.S/M 200 0/0 complete denied </pkg.S/M>\nPOST a.example/pkg.S/M 200 0/0 complete allowed </pkg.S/M>"},
	{name: "grpc without its end", make: func(q, a *side2) script {
		q.head(1, false, post("/pkg.S/M", grpcHead2...)...).frame(frameData, flagEndStream, 1, nil)
		a.head(1, false, ":status", "200", "content-type", "application/grpc")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "POST a.example/pkg.S/M 200 0/0 truncated unknown </pkg.S/M>"},
	{name: "grpc refused by a proxy", make: func(q, a *side2) script {
		q.head(1, true, post("/pkg.S/M", grpcHead2...)...)
		a.head(1, true, ":status", "403", "content-type", "text/html")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "POST a.example/pkg.S/M 403 0/0 complete denied </pkg.S/M>"},
	{name: "interim, trailers, padding", make: func(q, a *side2) script {
		q.head(1, false, post("/1")...).frame(frameData, flagPadded, 1, []byte("\x03abc\x00\x00\x00")).head(1, true, "x-checksum", "1")
		a.head(1, false, ":status", "103").head(1, false, ":status", "201").frame(frameData, 0, 1, []byte("ok")).head(1, true, "x-checksum", "2")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "POST a.example/1 201 3/2 complete allowed", check: func(s Stats) bool { return s.Interim == 1 }},
	{name: "given up and answered all the same", make: func(q, a *side2) script {
		q.head(1, true, get("/1")...).frame(frameReset, 0, 1, []byte{0, 0, 0, 8}).head(3, true, get("/3")...).frame(frameReset, 0, 3, []byte{0, 0, 0, 8})
		a.head(1, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/1 200 0/0 complete allowed\nGET a.example/3 0 0/0 unanswered unknown"},
	{name: "going away", make: func(q, a *side2) script {
		q.head(1, true, get("/1")...).head(3, true, get("/3")...)
		a.frame(frameGoAway, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0}).head(1, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/3 0 0/0 unanswered unknown\nGET a.example/1 200 0/0 complete allowed"},
	{name: "what the server pushes is no call", make: func(q, a *side2) script {
		q.head(1, true, get("/1")...)
		a.frame(framePushPromise, flagEndHeaders, 1, append([]byte{0, 0, 0, 2}, a.enc.block(false, get("/pushed")...)...))
		a.head(2, true, ":status", "200").head(1, true, ":status", "418")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/1 418 0/0 complete unknown", check: func(s Stats) bool { return s.Pushed == 1 }},
	{name: "upgrade", make: func(q, a *side2) script {
		q.head(3, true, get("/3")...)
		a.head(1, false, ":status", "200").frame(frameData, flagEndStream, 1, []byte("one")).head(3, true, ":status", "404")
		return script{"POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nConnection: Upgrade\r\nUpgrade: foo, h2c\r\n\r\n{}",
			"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + settings2, hello2 + settings2 + q.turn(), a.turn()}
	}, want: "POST a.example/1 200 2/3 complete allowed\nGET a.example/3 404 0/0 complete no_effect", check: func(s Stats) bool { return s.Interim == 1 }},
	{name: "connect, with a protocol and without", make: func(q, a *side2) script {
		q.head(1, false, ":method", "CONNECT", ":authority", "b.example:443")
		q.head(3, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat?a=b", ":authority", "c.example")
		a.head(1, true, ":status", "200").head(3, true, ":status", "403")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "CONNECT b.example:443 200 0/0 complete allowed\nCONNECT c.example/chat?a 403 0/0 complete denied"},
	{name: "said twice", make: func(q, a *side2) script {
		q.head(1, true, get("/1", ":path", "/2")...).head(3, true, get("/3", "x", "y", ":authority", "b")...)
		a.head(1, true, ":status", "200").head(3, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/1 200 0/0 gap allowed\nGET a.example/3 200 0/0 gap allowed", check: func(s Stats) bool { return s.Ambiguous == 2 }},
	{name: "a block that is none", make: func(q, a *side2) script {
		q.frame(frameHeaders, flagEndHeaders|flagEndStream, 1, []byte{0x82, 0x84, 0xff, 0xff, 0xff}).head(3, true, get("/3")...)
		a.head(3, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/3 200 0/0 complete allowed\nGET 10.0.0.2:80/ 0 0/0 truncated unknown", check: func(s Stats) bool { return s.Dropped[dropBlock] == 1 }},
	{name: "blocks in pieces", make: func(q, a *side2) script {
		b := q.enc.block(false, get("/1")...)
		q.frame(frameHeaders, flagEndStream, 1, b[:3]).frame(frameContinuation, 0, 1, nil).frame(frameContinuation, flagEndHeaders, 1, b[3:])
		a.head(1, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET a.example/1 200 0/0 complete allowed"},
	{name: "a block that is interrupted", make: func(q, a *side2) script {
		b := q.enc.block(false, get("/1")...)
		q.frame(frameHeaders, flagEndStream, 1, b[:3]).frame(framePing, 0, 0, make([]byte, 8)).frame(frameContinuation, flagEndHeaders, 1, b[3:])
		a.head(1, true, ":status", "200")
		return script{hello2 + settings2 + q.turn(), settings2 + a.turn()}
	}, want: "GET 10.0.0.2:80 200 0/0 truncated allowed"},
}

func TestHTTP2Conversations(t *testing.T) {
	for _, c := range conversations2 {
		for _, mss := range []int{1448, 11, 1} {
			if mss == 1 && c.name == "the server begins" {
				continue // told by its first segment
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, mss), func(t *testing.T) {
				q, a := newSide2(), newSide2()
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, c.make(q, a).frames(mss))))
				if got := outcomes(sink.calls); got != c.want || c.check != nil && !c.check(stats) {
					t.Errorf("got\n%s\nwant\n%s\n%+v", got, c.want, stats)
				}
			})
		}
	}
}

// TestHTTP2JoinedLate states what a bystander may say who came late: what stands
// there in full, and never what a table slot may hold.
func TestHTTP2JoinedLate(t *testing.T) {
	q, a := newSide2(), newSide2()
	secret := []string{"authorization", "Bearer fake-token"}
	q.head(1, true, get("/1", secret...)...)
	first := q.turn()
	a.head(1, true, ":status", "299", "content-type", "text/plain")
	firstAnswer := a.turn()
	q.head(3, true, get("/3", secret...)...)
	a.head(3, true, ":status", "299", "content-type", "text/plain")
	s := script{hello2 + first, firstAnswer, q.turn(), a.turn()}
	frames := s.frames(1448)
	// The handshake, the first request and its answer are not captured.
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames[5:])))
	if len(sink.calls) != 1 || stats.Unseen == 0 {
		t.Fatalf("%d calls, want 1; %+v", len(sink.calls), stats)
	}
	c := &sink.calls[0]
	if c.Method != "GET" || c.Path != "/3" || c.Host != "10.0.0.2:80" || c.Credential.Kind != schema.KindUnknown || c.Status != 0 || c.Quality != schema.QualityMidstream {
		t.Errorf("got %s with %+v; want GET /3, an unknown credential, no status, midstream", line(c), c.Credential)
	}
}

// TestHTTP2Floods reads what is made to exhaust a reader: it must stay within
// its bounds, and say what it did not keep.
func TestHTTP2Floods(t *testing.T) {
	repeat := func(n int, f func(w *bytes.Buffer, i int)) string {
		var b bytes.Buffer
		b.WriteString(hello2)
		for i := range n {
			f(&b, i)
		}
		return b.String()
	}
	block := newEncoder2().block(true, get("/1")...)
	for _, c := range []struct {
		name, text, dropped string
	}{
		{"streams", repeat(200_000, func(b *bytes.Buffer, i int) {
			b.Write(frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), block[:2]))
		}), dropPending},
		{"streams that are given up", repeat(200_000, func(b *bytes.Buffer, i int) {
			b.Write(frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), block[:2]))
			b.Write(frame2(frameReset, 0, uint32(2*i+1), []byte{0, 0, 0, 8}))
		}), ""},
		{"continuations", repeat(100_000, func(b *bytes.Buffer, i int) {
			kind := uint8(frameContinuation)
			if i == 0 {
				kind = frameHeaders
			}
			b.Write(frame2(kind, 0, 1, bytes.Repeat([]byte{0x40, 1, 'a', 1, 'b'}, 20)))
		}), dropHead},
		{"empty continuations", repeat(300_000, func(b *bytes.Buffer, i int) {
			kind := uint8(frameContinuation)
			if i == 0 {
				kind = frameHeaders
			}
			b.Write(frame2(kind, 0, 1, nil))
		}), ""},
		{"bombs", repeat(50, func(b *bytes.Buffer, i int) {
			b.Write(frame2(frameHeaders, flagEndHeaders, uint32(2*i+1), bomb("cookie", 3900, 16000)))
		}), ""},
		{"one huge frame", hello2 + "\xff\xff\xff\x01\x00\x00\x00\x00\x01" + strings.Repeat("x", 20<<20), dropHead},
		{"settings", repeat(300_000, func(b *bytes.Buffer, i int) { b.Write(frame2(frameSettings, 0, 0, nil)) }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := writePcap(linkEthernet, script{c.text}.frames(1448))
			peak, base := uint64(0), uint64(0)
			live := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			base = live()
			capture := New(Config{Key: testKey})
			r := newRun(&capture.cfg, collector.Input{}, sinkFunc(func(*collector.Batch) error { peak = max(peak, live()); return nil }))
			reader, err := newRecordReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := r.run(context.Background(), reader)
			if err != nil {
				t.Fatal(err)
			}
			settled(t, r)
			if peak > base && peak-base > 24<<20 {
				t.Errorf("%d MB live", (peak-base)>>20)
			}
			if c.dropped != "" && stats.Dropped[c.dropped] == 0 {
				t.Errorf("nothing was counted as %s: %+v", c.dropped, stats)
			}
		})
	}
}

// FuzzHTTP2 reads two byte streams as a conversation. However they are cut into
// segments, they give the same calls, as long as no border is lost.
func FuzzHTTP2(f *testing.F) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var frames []frame
		var nanos int64
		w := newWire(rng, addr4(1, 2), addr4(2, 80), &frames, &nanos)
		w.talk2(3, 2, seed%2 == 0, "x", map[string]truth{})
		var client, server []byte
		for _, fr := range frames {
			at := transport(fr.data) + 20
			if fr.data[at-20+3] == 80 {
				client = append(client, fr.data[at:]...)
			} else {
				server = append(server, fr.data[at:]...)
			}
		}
		f.Add(client[len(http2Preface):], server, uint8(50), false)
	}
	f.Fuzz(func(t *testing.T, client, server []byte, mss uint8, late bool) {
		if len(client)+len(server) > 16384 {
			return
		}
		run := func(mss int) (string, Stats) {
			capture := New(Config{Key: testKey, Limits: Limits{HeadBytes: 2048, Streams: 8, BodyBytes: 512}})
			var sink collected
			r := newRun(&capture.cfg, collector.Input{}, &sink)
			frames := script{hello2 + string(client), string(server)}.frames(mss)
			if late {
				frames = frames[min(4, len(frames)):]
			}
			reader, err := newRecordReader(bytes.NewReader(writePcap(linkEthernet, frames)))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := r.run(context.Background(), reader)
			if err != nil {
				t.Fatal(err)
			}
			settled(t, r)
			return lines(sink.calls), stats
		}
		whole, stats := run(65000)
		cut, cutStats := run(1 + int(mss))
		if late || stats.Resyncs+cutStats.Resyncs > 0 || stats.Protocols[speaksHTTP2] != 1 || cutStats.Protocols[speaksHTTP2] != 1 {
			return
		}
		if whole != cut {
			t.Errorf("whole:\n%s\ncut at %d:\n%s", whole, 1+int(mss), cut)
		}
	})
}

// TestHTTP2JoinedLateBecomesCertain states that a long connection is not doubted
// for ever: once much has fitted, what is legible counts. (A header name of the
// client's own stays unseen: each new value refers to the last one's name.)
func TestHTTP2JoinedLateBecomesCertain(t *testing.T) {
	for _, private := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 3))
		known := map[string]truth{}
		frames := conversation(rng, 1, func(w *wire, name string) {
			w.plain = true
			w.talk2(2000, 8, private, name, known)
		})
		whole, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		is := map[string]*schema.Call{}
		for i := range whole.calls {
			is[whole.calls[i].Path] = &whole.calls[i]
		}
		sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, attachedLate(rng, frames))))
		var c cell
		c.count(t, sink.calls, known, is)
		t.Logf("found %d, certain %d of %d", c.found, c.certain, c.known)
		// A client that keeps paths and credentials out of its table never renews
		// the slots of the rest.
		if c.wrong > 0 || c.certain < 300 && !private {
			t.Errorf("%d certain, %d wrong; %+v", c.certain, c.wrong, stats)
		}
	}
}

// TestHTTP2JoinedLateReadsOn joins between frames that are rarer: extensions, and
// DATA longer than usual.
func TestHTTP2JoinedLateReadsOn(t *testing.T) {
	q, a := newSide2(), newSide2()
	q.head(1, true, get("/1")...)
	a.head(1, true, ":status", "200")
	s := script{hello2 + q.turn(), a.turn()}
	for i := range 5 {
		id := uint32(2*i + 3)
		q.frame(0x10, 0, 0, []byte("\x00\x00\x00\x03u=1")).head(id, true, get(fmt.Sprintf("/%d", id))...)
		a.head(id, false, ":status", "200").frame(frameData, 0, id, make([]byte, 100_000)).frame(0x0c, 0, 0, []byte("\x00\x01a")).frame(frameData, flagEndStream, id, make([]byte, 30_000))
		s = append(s, q.turn(), a.turn())
	}
	sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448)[5:])))
	if len(sink.calls) != 5 || stats.Resyncs > 0 || stats.Orphans > 0 {
		t.Errorf("got\n%s\n%+v", outcomes(sink.calls), stats)
	}
	for i := range sink.calls {
		if c := &sink.calls[i]; c.Status != 200 || c.ResponseBytes != 130_000 {
			t.Errorf("got %s", line(c))
		}
	}
}
