package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// sorted is calls in short, in an order of their own.
func sorted(calls []schema.Call) []string {
	out := strings.Split(outcomes(calls), "\n")
	for i := range out {
		c := &calls[i]
		out[i] += " " + c.Credential.ID + " " + c.UserAgent
	}
	slices.Sort(out)
	return out
}

// TestSameTrafficSameCalls states that what a tap does to packets, as long as it
// loses none, changes no call.
func TestSameTrafficSameCalls(t *testing.T) {
	for _, kind := range traffics {
		rng := rand.New(rand.NewPCG(21, 4))
		frames := conversation(rng, 12, func(w *wire, name string) { kind.talk(w, 15, name, map[string]truth{}) })
		whole, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
		want := sorted(whole.calls)
		for name, change := range map[string]func(*rand.Rand, []frame) []frame{
			"reordered": damaged(damage{reorder: .1}), "repeated": damaged(damage{repeat: .3}), "both": damaged(damage{reorder: .05, repeat: .05}),
			"other segments": resegmented, "vxlan": tunnelled(vxlanOf), "mpls": labelled,
			"fragments": func(rng *rand.Rand, f []frame) []frame {
				return everyIP(f, func(ip []byte) [][]byte { return fragments(rng, ip) })
			},
			"the whole twice": func(_ *rand.Rand, f []frame) []frame { return append(slices.Clone(f), f...) },
		} {
			got, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, change(rng, frames))))
			calls := got.calls
			if name == "the whole twice" {
				// The same calls under the same ids: whoever stores them stores one.
				seen := map[schema.CallID]bool{}
				calls = slices.DeleteFunc(slices.Clone(calls), func(c schema.Call) bool {
					twice := seen[c.ID]
					seen[c.ID] = true
					return twice
				})
			}
			if sum := sorted(calls); !slices.Equal(sum, want) {
				t.Errorf("%s, %s: %d calls instead of %d; %+v", kind.name, name, len(sum), len(want), stats)
				for i := range sum {
					if i >= len(want) || sum[i] != want[i] {
						t.Errorf("first other: %s", sum[i])
						break
					}
				}
			}
		}
	}
}

// TestBodiesThatLookLikeMessages loses packets, one after another, of traffic in
// whose bodies stand messages that nobody sent: none may come out as certain.
func TestBodiesThatLookLikeMessages(t *testing.T) {
	fakeAnswer := func(stream uint32) []byte {
		return append(frame2(frameHeaders, flagEndHeaders|flagEndStream, stream, []byte{0x88}), frame2(framePing, 0, 0, make([]byte, 8))...)
	}
	fakeRequest := func(stream uint32) []byte {
		return frame2(frameHeaders, flagEndHeaders|flagEndStream, stream, newEncoder2().block(true, get("/forged", "authorization", "Bearer forged")...))
	}
	h2 := func() []frame {
		q, a := newSide2(), newSide2()
		settings := string(frame2(frameSettings, 0, 0, nil))
		q.head(1, false, post("/1")...).frame(frameData, flagEndStream, 1, bytes.Repeat(fakeRequest(5), 60)).head(3, true, get("/secret")...)
		a.head(1, false, ":status", "201").frame(frameData, 0, 1, bytes.Repeat(fakeAnswer(3), 80)).frame(frameData, flagEndStream, 1, bytes.Repeat(append(fakeAnswer(5), fakeAnswer(3)...), 60))
		a.head(3, true, ":status", "403")
		first, firstAnswer := q.turn(), a.turn()
		q.head(5, true, get("/secret/2")...)
		a.head(5, true, ":status", "403")
		return script{hello2 + settings + first, settings + firstAnswer, q.turn(), a.turn()}.frames(200)
	}
	answer := strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 40)
	body := hello2 + strings.Repeat("GET /forged HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer forged\r\n\r\n", 40) + strings.Repeat(string(fakeRequest(1)), 20)
	length := func(s string) string { return fmt.Sprint(len(s)) + "\r\n\r\n" + s }
	h1 := func() []frame {
		return script{
			"POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: " + length(body), "HTTP/1.1 201 OK\r\nContent-Length: " + length(answer),
			"GET /secret HTTP/1.1" + host, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
			"GET /secret/2 HTTP/1.1" + host, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
		}.frames(200)
	}
	truths := map[string]uint16{"/1": 201, "/secret": 403, "/secret/2": 403}
	certain := 0
	for name, frames := range map[string][]frame{"http1": h1(), "http2": h2()} {
		for lost := 0; lost < len(frames); lost++ {
			for run := 1; run <= 6 && lost+run <= len(frames); run++ {
				rest := append(slices.Clone(frames[:lost]), frames[lost+run:]...)
				sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, rest)))
				for i := range sink.calls {
					c := &sink.calls[i]
					if !c.Quality.Certain() {
						continue
					}
					certain++
					if truths[c.Path] != c.Status {
						t.Fatalf("%s without packets %d to %d: %s is certain", name, lost, lost+run-1, line(c))
					}
				}
			}
			// Joined later.
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames[lost:])))
			for i := range sink.calls {
				if c := &sink.calls[i]; c.Quality.Certain() && truths[c.Path] != c.Status {
					t.Fatalf("%s joined at packet %d: %s is certain", name, lost, line(c))
				}
			}
		}
	}
	if certain < 100 {
		t.Errorf("%d certain pairs in all of them", certain)
	}
}

// TestManyHandshakes reads a flood of connections that are never made.
func TestManyHandshakes(t *testing.T) {
	var frames []frame
	for i := range 200_000 {
		client := addr4(1, uint16(i))
		client[13], client[14] = byte(i>>16), byte(i>>8)
		s := segmentSpec{client, addr4(250, 80), true, uint32(i), 0, flagSYN, nil}
		frames = append(frames, frame{int64(i) * 1000, s.ethernet()})
	}
	_, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	if stats.Connections != 200_000 || stats.Dropped[dropConnections] != 200_000-32<<10 {
		t.Errorf("%d connections, %v dropped", stats.Connections, stats.Dropped)
	}
}
