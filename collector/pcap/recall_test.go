package pcap

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRecall states that what the ring gives back is what was put there, or nothing,
// however often it went around.
func TestRecall(t *testing.T) {
	type kept struct {
		at   uint64
		text []byte
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var m recall
	var all []kept
	found, gone := 0, 0
	for i := range 3000 {
		text := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, rng.IntN(recallBlock/2))
		all = append(all, kept{m.put(text), text})
		k := all[rng.IntN(len(all))]
		switch got := m.get(k.at, len(k.text)); {
		case got == nil:
			gone++
		case !bytes.Equal(got, k.text):
			t.Fatalf("at %d of %d stands something else", k.at, m.at)
		default:
			found++
		}
		if last := all[len(all)-1]; !bytes.Equal(m.get(last.at, len(last.text)), last.text) && len(last.text) > 0 {
			t.Fatal("what was put last is gone")
		}
	}
	if found == 0 || gone == 0 {
		t.Errorf("%d found, %d gone", found, gone)
	}
}

// TestRecallBorder states that pieces end with the blocks that hold them: segments
// that fill a block exactly are not joined with what stands in the next one.
func TestRecallBorder(t *testing.T) {
	for _, size := range []int{1024, 256, 64, 1000} {
		segments := opened(70, 30)
		head := "GET /1 HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", recallBlock+3*size)
		for at := 0; at+size <= len(head); at += size {
			segments = append(segments, tcp{from: 'c', seq: 70 + uint32(at), ack: 30, flags: ack, text: head[at : at+size]})
		}
		for at := recallBlock - 2*size; at < recallBlock+size; at += 7 {
			segments = append(segments, tcp{from: 'c', seq: 70 + uint32(at), ack: 30, flags: ack, text: head[at : at+size]})
		}
		if _, stats := read(t, Config{}, bytes.NewReader(wired(segments))); stats.Conflicting > 0 || stats.Retransmitted == 0 {
			t.Errorf("segments of %d: %+v", size, stats)
		}
	}
}

// TestClockStep states that a clock that is set between a request and its answer is no
// long pause of the client.
func TestClockStep(t *testing.T) {
	for _, delay := range []int64{1 << 60, 1<<62 + 5, 1<<63 - 1} {
		h := &http1{}
		h.pause = 2 * longPause
		if h.waited(&exchange{}, delay); h.patience > 0 || h.lockstep {
			t.Errorf("an answer after %d ns: patience %d, lockstep %v", delay, h.patience, h.lockstep)
		}
	}
}

// TestEvicted states that the values of evicted entries are not kept.
func TestEvicted(t *testing.T) {
	table, budget := &hpackTable{}, 1<<20
	table.begin(false)
	r := &blockReader{table: table, budget: &budget}
	for round := range 200 {
		value := make([]byte, 1000)
		r.evict(1032)
		table.push(hpackEntry{bytes: 1000, field: fieldHost, known: true}, value)
		table.size += 1032
		if len(table.texts) > 3*hpackDefaultMax {
			t.Fatalf("round %d: %d bytes of values are kept, of %d entries", round, len(table.texts), len(table.entries))
		}
	}
	if r.evict(int(table.max) + 1); len(table.entries) > 0 || cap(table.texts) > 0 {
		t.Errorf("%d entries are left, and room for %d bytes", len(table.entries), cap(table.texts))
	}
}

// TestChunksBeginAnew states that a hole inside of a chunk's line leaves nothing for
// the next chunked body.
func TestChunksBeginAnew(t *testing.T) {
	r := &messageReader{cr: true, line: 9, quiet: true, digits: 3, size: 7}
	r.chunks()
	for i, b := range []byte("5\r\n") {
		if !r.chunkSize(b) {
			t.Fatalf("byte %d is refused", i)
		}
	}
	if r.phase != phaseChunk || r.odd {
		t.Errorf("phase %d, odd %v", r.phase, r.odd)
	}
}
