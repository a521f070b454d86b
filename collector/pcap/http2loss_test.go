package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// exhausted is one HTTP/2 conversation, a segment for each frame, made so that table
// slots change hands: credentials take turns, trailers fill slots of their own, the
// table's size goes up and down, and a field now and then is larger than the table.
type exhausted struct {
	frames []frame
	// suspects are the segments with a frame in the middle of it; each subset of
	// them is lost once.
	suspects []int
	// told is what each path was asked with, and answered.
	told map[string]toldOf
}

type toldOf struct {
	credential string // its number
	method     string
	status     uint16
}

// exhaust makes up a conversation.
func exhaust(rng *rand.Rand) exhausted {
	e := exhausted{told: map[string]toldOf{}}
	var nanos int64 = 1_700_000_000e9
	w := newWire(rng, addr4(1, 40000), addr4(2, 80), &e.frames, &nanos)
	w.mss = [...]int{65000, 65000, 60, 25}[rng.IntN(4)]
	w.handshake()
	q, a := newEncoder2(), newEncoder2()
	q.enc.SetMaxDynamicTableSizeLimit(1 << 16)
	say := func(toServer, suspect bool, b []byte) {
		if rng.IntN(3) == 0 {
			b = append(b, frame2(frameWindowUpdate, 0, 0, []byte{0, 0, 40, 0})...)
		}
		w.clientHas, w.serverHas = w.serverSeq, w.clientSeq
		first := len(e.frames)
		if toServer {
			w.send(b)
		} else {
			w.reply(b)
		}
		for i := first; suspect && i < len(e.frames) && len(e.suspects) < 9; i++ {
			if w.mss > 1000 || rng.IntN(3) == 0 {
				e.suspects = append(e.suspects, i)
			}
		}
	}
	flags := func(end bool) uint8 {
		if end {
			return flagEndHeaders | flagEndStream
		}
		return flagEndHeaders
	}
	say(true, false, append([]byte(hello2), frame2(frameSettings, 0, 0, nil)...))
	say(false, false, frame2(frameSettings, 0, 0, nil))
	// head is a header block, now and then in two frames.
	head := func(end bool, id uint32, block []byte) []byte {
		if rng.IntN(5) > 0 || len(block) < 4 {
			return frame2(frameHeaders, flags(end), id, block)
		}
		cut := 1 + rng.IntN(len(block)-2)
		return append(frame2(frameHeaders, flags(end)&^flagEndHeaders, id, block[:cut]), frame2(frameContinuation, flagEndHeaders, id, block[cut:])...)
	}
	trailers, both := rng.IntN(2) == 0, rng.IntN(3) == 0
	var waiting []func()
	const first, last, all = 2, 6, 14
	for n := range all {
		id := uint32(2*n + 1)
		hot := n >= first && n < last
		if rng.IntN(4) == 0 {
			q.enc.SetMaxDynamicTableSize(uint32([...]int{0, 150, 1000, 4096, 20000}[rng.IntN(5)]))
		}
		t := toldOf{fmt.Sprint(rng.IntN(3)), "GET", uint16(200 + n)}
		body := rng.IntN(2) == 0
		if body || trailers {
			t.method = [...]string{"POST", "PUT"}[rng.IntN(2)]
		}
		path := fmt.Sprintf("/thing/%d", n)
		e.told[path] = t
		fields := []string{":authority", "a.example", ":method", t.method, ":scheme", "http", ":path", path, "authorization", "Bearer fake-" + t.credential}
		if rng.IntN(5) == 0 {
			fields = append(fields, "x-large", string(bytes.Repeat([]byte{'l'}, 5000)))
		}
		say(true, hot, head(!body && !trailers, id, q.block(false, fields...)))
		if body {
			say(true, hot, frame2(frameData, flags(!trailers)&flagEndStream, id, []byte("a body")))
		}
		if trailers {
			say(true, hot, head(true, id, q.block(false, "x-checksum", fmt.Sprint(rng.IntN(100)), "authorization", "Bearer trailer-"+fmt.Sprint(n))))
		}
		waiting = append(waiting, func() {
			if rng.IntN(6) == 0 {
				say(false, hot && both, head(false, id, a.block(false, ":status", "103", "x-cost", fmt.Sprint(rng.IntN(9)))))
			}
			end := rng.IntN(3) > 0
			say(false, hot && both, head(end, id, a.block(false, ":status", fmt.Sprint(t.status), "x-cost", fmt.Sprint(rng.IntN(9)))))
			if !end {
				say(false, hot && both, frame2(frameData, 0, id, []byte("an answer")))
				say(false, hot && both, head(true, id, a.block(false, "x-checksum", fmt.Sprint(rng.IntN(9)), "x-status", "503")))
			}
		})
		for len(waiting) > 0 && (rng.IntN(2) == 0 || n == all-1) {
			i := rng.IntN(len(waiting))
			waiting[i]()
			waiting = append(waiting[:i], waiting[i+1:]...)
		}
	}
	w.close()
	return e
}

// TestEverySubsetLost loses each subset of the frames in the middle of a conversation:
// no call may come out with another's credential, method or status, be it certain or
// not, and what was not seen must not pass for what was not there.
func TestEverySubsetLost(t *testing.T) {
	from, runs := otherSeeds(t)
	if os.Getenv("SCOPEDRIFT_SEEDS") == "" {
		runs = 6 // each is lost in five hundred ways
	}
	who := map[string]string{}
	for n := range 3 {
		s := script{"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-" + fmt.Sprint(n) + "\r\n\r\n", a1}
		sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(1448))))
		who[fmt.Sprint(n)] = sink.calls[0].Credential.ID
	}
	calls, certain := 0, 0
	for seed := from; seed < from+runs; seed++ {
		e := exhaust(rand.New(rand.NewPCG(seed, 99)))
		for subset := range 1 << len(e.suspects) {
			var left []frame
			for i, f := range e.frames {
				lost := false
				for k, at := range e.suspects {
					lost = lost || at == i && subset>>k&1 != 0
				}
				if !lost {
					left = append(left, f)
				}
			}
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, left)))
			for i := range sink.calls {
				c := &sink.calls[i]
				if c.Path == "" {
					continue
				}
				calls++
				told, known := e.told[c.Path]
				switch who := who[told.credential]; {
				case !known:
					t.Errorf("nobody asked for %s", line(c))
				case c.Method != told.method && c.Method != "",
					c.Credential.Kind != schema.KindUnknown && c.Credential.ID != who,
					c.Host != "a.example" && c.Host != "10.0.0.2:80",
					c.Status != told.status && c.Quality.Certain():
					t.Errorf("%s by %+v, want %+v %s", line(c), c.Credential, told, who)
				case c.Quality.Certain():
					certain++
					if c.Method == "" || c.Credential.ID == "" || c.Host != "a.example" {
						t.Errorf("%s by %+v is called complete", line(c), c.Credential)
					}
				}
				if t.Failed() {
					t.Fatalf("seed %d, subset %b", seed, subset)
				}
			}
		}
	}
	t.Logf("%d calls, %d certain", calls, certain)
	if certain < calls/4 {
		t.Errorf("%d calls of %d are certain", certain, calls)
	}
}
