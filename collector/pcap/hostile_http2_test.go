package pcap

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
)

// literal is a field of a header block that is not put into the table, as it stands.
func literal(name, value string) []byte {
	b := append([]byte{0, byte(len(name))}, name...)
	return append(append(b, byte(len(value))), value...)
}

// coded is literal with the value's bytes as Huffman code.
func coded(name string, code ...byte) []byte {
	b := append([]byte{0, byte(len(name))}, name...)
	return append(append(b, 0x80|byte(len(code))), code...)
}

func blocks(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// asks is a header block of GET /n without the table.
func asks(n int) []byte {
	return blocks([]byte{0x82, 0x86}, literal(":path", fmt.Sprintf("/%d", n)), literal(":authority", "a.example"))
}

// TestHostileHTTP2 sends blocks and frames that no honest client sends. What cannot be
// read is no reason to guess, and nothing certain is wrong.
func TestHostileHTTP2(t *testing.T) {
	settings := frame2(frameSettings, 0, 0, nil)
	ends := uint8(flagEndHeaders | flagEndStream)
	ok := []byte{0x88}
	for _, c := range []struct {
		name            string
		client, server  []byte
		want            string
		dropped, counts string
	}{
		{name: "a table of no size", client: blocks(frame2(frameHeaders, ends, 1, blocks([]byte{0x20}, asks(1))), frame2(frameHeaders, ends, 3, blocks([]byte{0x82, 0x86, 0x40, 5}, []byte(":path"), []byte{2}, []byte("/3"), []byte{0xbe}))),
			server: frame2(frameHeaders, ends, 1, ok), want: "GET a.example/1 200 0/0 complete\nGET 10.0.0.2:80/3 0 0/0 truncated", dropped: dropBlock},
		{name: "a table of 4 GB", client: blocks(frame2(frameHeaders, ends, 1, blocks([]byte{0x3f, 0xe1, 0xff, 0xff, 0xff, 0x0f}, asks(1))), frame2(frameHeaders, ends, 3, asks(3))),
			server: blocks(frame2(frameHeaders, ends, 1, ok), frame2(frameHeaders, ends, 3, ok)), dropped: dropBlock,
			want: "GET a.example/3 200 0/0 complete"},
		{name: "a size that never ends", client: blocks(frame2(frameHeaders, ends, 1, blocks([]byte{0x3f}, bytes.Repeat([]byte{0xff}, 40), asks(1))), frame2(frameHeaders, ends, 3, asks(3))),
			server: frame2(frameHeaders, ends, 3, ok), dropped: dropBlock, want: "GET a.example/3 200 0/0 complete"},
		{name: "Huffman with padding that is too long", client: frame2(frameHeaders, ends, 1, blocks(asks(1), coded("authorization", 0x1f, 0xff))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 truncated", dropped: dropBlock},
		{name: "Huffman with padding of zeros", client: frame2(frameHeaders, ends, 1, blocks(asks(1), coded("authorization", 0x18))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 truncated", dropped: dropBlock},
		{name: "Huffman with the end in it", client: frame2(frameHeaders, ends, 1, blocks(asks(1), coded("authorization", 0xff, 0xff, 0xff, 0xff))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 truncated", dropped: dropBlock},
		{name: "a text longer than its block", client: frame2(frameHeaders, ends, 1, blocks(asks(1), []byte{0, 13}, []byte("authorization"), []byte{0x7f, 0xff, 0xff, 3})), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 truncated", dropped: dropBlock},
		{name: "an index of nothing", client: frame2(frameHeaders, ends, 1, blocks(asks(1), []byte{0x80})), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 truncated", dropped: dropBlock},
		{name: "padding longer than its frame", client: blocks(frame2(frameHeaders, ends|flagPadded, 1, append([]byte{200}, asks(1)...)), frame2(frameHeaders, ends, 3, asks(3))), server: frame2(frameHeaders, ends, 3, ok),
			want: "GET a.example/3 200 0/0 complete", dropped: dropFrame},
		{name: "a length that swallows the next request", client: blocks([]byte{0, 1, 0, frameData, 0, 0, 0, 0, 1}, frame2(frameHeaders, ends, 1, asks(1)), frame2(frameHeaders, ends, 3, asks(3))), server: frame2(frameHeaders, ends, 1, ok),
			want: " 10.0.0.2:80 200 0/0 orphan"},
		{name: "two credentials", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("authorization", "Bearer fake-1"), literal("authorization", "Bearer fake-2"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a host and another authority", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("host", "b.example"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a stream that is asked for twice", client: blocks(frame2(frameHeaders, flagEndHeaders, 1, asks(1)), frame2(frameHeaders, ends, 1, asks(9))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap"},
		{name: "streams that go back", client: blocks(frame2(frameHeaders, ends, 9, asks(9)), frame2(frameHeaders, ends, 3, asks(3))), server: blocks(frame2(frameHeaders, ends, 3, ok), frame2(frameHeaders, ends, 9, ok)),
			want: "GET a.example/9 200 0/0 complete", dropped: dropStream},
		{name: "an even stream", client: blocks(frame2(frameHeaders, ends, 2, asks(2)), frame2(frameHeaders, ends, 3, asks(3))), server: blocks(frame2(frameHeaders, ends, 2, ok), frame2(frameHeaders, ends, 3, ok)),
			want: "GET a.example/3 200 0/0 complete", dropped: dropStream},
		{name: "a request on no stream", client: blocks(frame2(frameHeaders, ends, 0, asks(0)), frame2(frameHeaders, ends, 3, asks(3))), server: frame2(frameHeaders, ends, 3, ok),
			want: "GET a.example/3 200 0/0 complete", dropped: dropStream},
		{name: "a body behind its end", client: blocks(frame2(frameHeaders, ends, 1, asks(1)), frame2(frameData, flagEndStream, 1, []byte("more"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap"},
		{name: "two answers", client: frame2(frameHeaders, ends, 1, asks(1)), server: blocks(frame2(frameHeaders, flagEndHeaders, 1, ok), frame2(frameHeaders, ends, 1, []byte{0x8d})),
			want: "GET a.example/1 200 0/0 gap"},
		{name: "going away, one answered all the same", client: blocks(frame2(frameHeaders, ends, 1, asks(1)), frame2(frameHeaders, ends, 3, asks(3)), frame2(frameHeaders, ends, 5, asks(5))),
			server: blocks(frame2(frameHeaders, flagEndHeaders, 5, ok), frame2(frameGoAway, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0}), frame2(frameHeaders, ends, 1, ok)),
			want:   "GET a.example/3 0 0/0 unanswered\nGET a.example/1 200 0/0 complete\nGET a.example/5 200 0/0 complete"},
		{name: "a promise from the client", client: blocks(frame2(framePushPromise, flagEndHeaders, 1, append([]byte{0, 0, 0, 2}, asks(2)...)), frame2(frameHeaders, ends, 3, asks(3))), server: frame2(frameHeaders, ends, 3, ok),
			want: "GET a.example/3 200 0/0 complete"},
		{name: "an answer before the question", client: frame2(frameHeaders, ends, 3, asks(3)), server: blocks(frame2(frameHeaders, ends, 5, []byte{0x8d}), frame2(frameHeaders, ends, 3, ok)),
			want: " 10.0.0.2:80 404 0/0 orphan\nGET a.example/3 200 0/0 complete"},
		{name: "a name in capitals, which is none", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("Authorization", "Bearer fake-1"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a line end in a value", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("authorization", "Bearer fake\r\nhost: b"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a line end in a name", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("x\r\nauthorization", "Bearer fake"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a coding of HTTP/1", client: frame2(frameHeaders, ends, 1, blocks(asks(1), literal("transfer-encoding", "chunked"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET a.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a target with a host", client: frame2(frameHeaders, ends, 1, blocks([]byte{0x82, 0x86}, literal(":path", "http://b.example/1"), literal(":authority", "a.example"))), server: frame2(frameHeaders, ends, 1, ok),
			want: "GET b.example/1 200 0/0 gap", counts: "ambiguous"},
		{name: "a line end in the table", client: blocks(frame2(frameHeaders, ends, 1, blocks(asks(1), []byte{0x40, 13}, []byte("authorization"), []byte{13}, []byte("Bearer fake\r\n"))), frame2(frameHeaders, ends, 3, blocks(asks(3), []byte{0xbe}))),
			server: blocks(frame2(frameHeaders, ends, 1, ok), frame2(frameHeaders, ends, 3, ok)), want: "GET a.example/1 200 0/0 gap\nGET a.example/3 200 0/0 gap", counts: "ambiguous"},
		{name: "a status of four digits", client: frame2(frameHeaders, ends, 1, asks(1)), server: frame2(frameHeaders, ends, 1, literal(":status", "2000")),
			want: "GET a.example/1 0 0/0 midstream"},
	} {
		for _, mss := range []int{1448, 5} {
			t.Run(fmt.Sprintf("%s/%d", c.name, mss), func(t *testing.T) {
				s := script{hello2 + string(settings) + string(c.client), string(settings) + string(c.server)}
				sink, stats := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, s.frames(mss))))
				if got := lines(sink.calls); got != c.want {
					t.Errorf("got\n%s\nwant\n%s\n%+v", got, c.want, stats)
				}
				if c.dropped != "" && stats.Dropped[c.dropped] == 0 || c.counts != "" && stats.Ambiguous == 0 {
					t.Errorf("not counted: %+v", stats)
				}
			})
		}
	}
}

// TestFloodsOnManyConnections attacks with what each connection holds for itself, in
// more of them than memory has room for: it stays within the limits, and what is
// asked behind the flood is read.
func TestFloodsOnManyConnections(t *testing.T) {
	many := func(n int, f func(i int) []byte) string {
		var b strings.Builder
		for i := range n {
			b.Write(f(i))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		connections    int
		client, server string
	}{
		"a million streams": {1, many(1_000_000, func(i int) []byte {
			return frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), []byte{0x82, 0x84})
		}), ""},
		"rapid resets": {1, many(300_000, func(i int) []byte {
			return append(frame2(frameHeaders, flagEndHeaders, uint32(2*i+1), []byte{0x82, 0x84}), frame2(frameReset, 0, uint32(2*i+1), make([]byte, 4))...)
		}), ""},
		"resets by the server": {1, many(100_000, func(i int) []byte { return frame2(frameHeaders, flagEndHeaders, uint32(2*i+1), []byte{0x82, 0x84}) }), many(100_000, func(i int) []byte { return frame2(frameReset, 0, uint32(2*i+1), make([]byte, 4)) })},
		"pings":                {1, many(500_000, func(int) []byte { return frame2(framePing, 0, 0, make([]byte, 8)) }), ""},
		"priorities":           {1, many(500_000, func(i int) []byte { return frame2(framePriority, 0, uint32(2*i+1), make([]byte, 5)) }), ""},
		"promises": {1, "", many(200_000, func(i int) []byte {
			return frame2(framePushPromise, flagEndHeaders, 1, []byte{0, byte(i >> 15), byte(i >> 7), byte(i<<1 | 2), 0x82, 0x84})
		})},
		"answers to nothing": {1, "", many(200_000, func(i int) []byte { return frame2(frameHeaders, flagEndHeaders, uint32(2*i+1), []byte{0x88}) })},
		"answers behind a hole": {-1, "", many(100_000, func(i int) []byte {
			return frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), []byte{0x88})
		})},
		"sizes of the table": {1, many(50_000, func(i int) []byte {
			return frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), []byte{0x20, 0x3f, 0xe1, 0x1f, 0x20, 0x82, 0x84})
		}), ""},
		"tables in many": {3000, many(20, func(i int) []byte {
			return frame2(frameHeaders, flagEndHeaders|flagEndStream, uint32(2*i+1), blocks([]byte{0x82, 0x84, 0x40, 13}, []byte("authorization"), []byte{127, 23}, bytes.Repeat([]byte{byte(i)}, 150)))
		}), ""},
		"unfinished blocks":     {3000, string(frame2(frameHeaders, 0, 1, bytes.Repeat([]byte{0x82}, 15_000))), ""},
		"unfinished bodies":     {3000, string(frame2(frameHeaders, flagEndHeaders, 1, blocks([]byte{0x83, 0x84}, literal("content-type", "application/json")))) + string(frame2(frameData, 0, 1, append([]byte(`{"jsonrpc":"2.0","params":"`), bytes.Repeat([]byte{'x'}, 14_000)...))), ""},
		"frames longer than is": {3000, "\xff\xff\xff\x01\x00\x00\x00\x00\x01" + strings.Repeat("x", 15_000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var conversations [][]frame
			for i := range max(c.connections, -c.connections) {
				frames := script{hello2 + c.client, c.server}.frames(1448)
				frames = frames[:len(frames)-3] // nobody closes
				if c.connections < 0 {
					// The first answers come last.
					first := frames[4]
					frames = append(append(frames[:4], frames[5:]...), first)
				}
				for k := range frames {
					ip := frames[k].data[14:]
					client := ip[12:16] // its address
					if ip[20] == 0 {
						client = ip[16:20]
					}
					client[0], client[1], client[2] = 172, byte(i>>8), byte(i)
				}
				conversations = append(conversations, frames)
			}
			var all []frame
			for k := 0; len(all) < 4_000_000; k++ {
				more := false
				for _, frames := range conversations {
					if k < len(frames) {
						f := frames[k]
						f.nanos = int64(1_700_000_000e9) + int64(len(all))*1000
						all = append(all, f)
						more = true
					}
				}
				if !more {
					break
				}
			}
			all = append(all, script{q1, a1}.frames(1448)...)
			file := writePcap(linkEthernet, all)
			conversations, all = nil, nil
			peak, base := uint64(0), alive()
			capture := New(Config{Key: testKey})
			var last string
			r := newRun(&capture.cfg, collector.Input{}, sinkFunc(func(b *collector.Batch) error {
				if len(b.Calls) > 3*4096 {
					peak = max(peak, alive())
				}
				if n := len(b.Calls); n > 0 {
					for i := range b.Calls {
						if b.Calls[i].Quality.Certain() {
							last = line(&b.Calls[i])
						}
					}
				}
				return nil
			}))
			reader, err := newRecordReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := r.run(context.Background(), &sampled{reader, &peak, 0})
			if err != nil {
				t.Fatal(err)
			}
			settled(t, r)
			if peak > base && peak-base > 64<<20 {
				t.Errorf("%d MB live", (peak-base)>>20)
			}
			if last != "GET a/1 201 0/4 complete" {
				t.Errorf("what follows the flood is %q; %+v", last, stats)
			}
			t.Logf("%d packets, %d calls, %d MB live, %v", stats.Packets, stats.Requests+stats.Orphans, (max(peak, base)-base)>>20, stats.Dropped)
		})
	}
}

// sampled looks at memory while a capture is read.
type sampled struct {
	recordReader
	peak *uint64
	n    int
}

func (s *sampled) next(rec *record) error {
	if s.n++; s.n%4000 == 0 {
		*s.peak = max(*s.peak, alive())
	}
	return s.recordReader.next(rec)
}

func alive() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
