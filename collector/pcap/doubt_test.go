package pcap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/schema"
)

// holed reads a script without the packets whose payload holds the given mark.
func holed(t *testing.T, s script, mark string) []schema.Call {
	t.Helper()
	frames := slices.DeleteFunc(s.frames(1448), func(f frame) bool { return bytes.Contains(f.data, []byte(mark)) })
	sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	return sink.calls
}

// quality returns the quality of the call with a path, and how many there are.
func qualityOf(calls []schema.Call, path string) (schema.Quality, int) {
	n, q := 0, schema.QualityOrphan
	for i := range calls {
		if calls[i].Path == path {
			n++
			q = calls[i].Quality
		}
	}
	return q, n
}

// plain adds a request whose fields stand in full.
func (s *side2) plain(stream uint32, path, token string, end bool) {
	block := []byte{0x82, 0x86} // GET, http
	for _, f := range [][2]string{{"\x04", path}, {"\x01", "a.example"}, {"\x0f\x08", token}} {
		block = append(append(append(block, f[0]...), byte(len(f[1]))), f[1]...)
	}
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	s.frame(frameHeaders, flags, stream, block)
}

// TestDoubtProven loses a packet of either side: what is read behind it is certain
// once three streams agree, but for the first of them.
func TestDoubtProven(t *testing.T) {
	for _, lost := range []string{"LOSTASK!", "LOSTANSW"} {
		q, a := newSide2(), newSide2()
		s := script{}
		for i := range 8 {
			id := uint32(2*i + 1)
			q.plain(id, fmt.Sprintf("/%d", id), "Bearer fake-token", false)
			body := []byte("question")
			if i == 2 {
				body = []byte("LOSTASK!")
			}
			q.frame(frameData, flagEndStream, id, body)
			a.frame(frameHeaders, flagEndHeaders, id, []byte{0x88}) // 200
			body = []byte("an answer")
			if i == 2 {
				body = []byte("LOSTANSW")
			}
			a.frame(frameData, flagEndStream, id, body)
			ask := q.turn()
			if i == 0 {
				ask = hello2 + ask
			}
			s = append(s, ask, a.turn())
		}
		calls := holed(t, s, lost)
		for _, id := range []int{1, 3, 7, 9, 11, 13, 15} {
			quality, n := qualityOf(calls, fmt.Sprintf("/%d", id))
			if want := id != 7; n != 1 || quality.Certain() != want {
				t.Errorf("%s: /%d is there %d times, %v; want once, certain: %v\n%s", lost, id, n, quality, want, outcomes(calls))
			}
		}
	}
}

// TestDoubtOfTwo has too few streams behind the hole for a proof.
func TestDoubtOfTwo(t *testing.T) {
	q, a := newSide2(), newSide2()
	s := script{}
	for i := range 4 {
		id := uint32(2*i + 1)
		path := fmt.Sprintf("/%d", id)
		if i == 1 {
			path = "/LOST"
		}
		q.plain(id, path, "Bearer fake-token", true)
		a.frame(frameHeaders, flagEndHeaders|flagEndStream, id, []byte{0x88})
		s = append(s, q.turn(), a.turn())
	}
	s[0] = hello2 + s[0]
	calls := holed(t, s, "LOST")
	for _, path := range []string{"/5", "/7"} {
		if quality, n := qualityOf(calls, path); n != 1 || quality != schema.QualityGap {
			t.Errorf("%s is there %d times, %v; want once, gap\n%s", path, n, quality, outcomes(calls))
		}
	}
}

// TestDoubtForged hides in a body, behind a hole that swallows its head, requests
// that nobody made: none may be certain, whatever the numbers are that it guessed.
func TestDoubtForged(t *testing.T) {
	for _, forged := range [][]uint32{{3}, {3, 5}, {3, 5, 7}, {5, 7, 9}, {3, 5, 7, 9, 11, 13}, {1, 3, 5, 7}, {99, 101, 103}} {
		q, a := newSide2(), newSide2()
		q.plain(1, "/1", "Bearer fake-1", true)
		a.frame(frameHeaders, flagEndHeaders|flagEndStream, 1, []byte{0x88})
		s := script{hello2 + q.turn(), a.turn()}
		// The upload: its head and the beginning of its body fill the packet that is lost.
		fakes := newSide2()
		for _, id := range forged {
			fakes.plain(id, fmt.Sprintf("/forged/%d", id), "Bearer fake-other", true)
		}
		q.plain(3, "/upload", "Bearer fake-1", false)
		head := q.turn()
		filler := 1448 - len(head) - frameHeadSize
		body := append([]byte("LOST"+strings.Repeat("x", filler-4)), fakes.turn()...)
		q.frame(frameData, flagEndStream, 3, body)
		s = append(s, head+q.turn())
		a.frame(frameHeaders, flagEndHeaders|flagEndStream, 3, []byte{0x88})
		s = append(s, a.turn())
		for id := uint32(5); id < 25; id += 2 {
			q.plain(id, fmt.Sprintf("/%d", id), "Bearer fake-1", true)
			a.frame(frameHeaders, flagEndHeaders|flagEndStream, id, []byte{0x88})
			s = append(s, q.turn(), a.turn())
		}
		calls := holed(t, s, "LOST")
		seen := 0
		for i := range calls {
			if strings.HasPrefix(calls[i].Path, "/forged/") {
				if seen++; calls[i].Quality.Certain() {
					t.Errorf("forged %v: %s is certain", forged, line(&calls[i]))
				}
			}
		}
		if seen == 0 {
			t.Errorf("forged %v: nothing of it was read: the test attacks nothing", forged)
		}
	}
}

// TestShelf loses a packet that holds no header block, and one that does: the
// fields that stood in the table before are known behind the one only. (The first
// call behind a hole proves the border for the others.)
func TestShelf(t *testing.T) {
	for _, lost := range []struct {
		name  string
		block bool
	}{{"a ping", false}, {"a request", true}} {
		q, a := newSide2(), newSide2()
		s := script{}
		id := uint32(1)
		ask := func(path string) {
			q.head(id, true, get(path, "authorization", "Bearer fake-token")...)
			a.frame(frameHeaders, flagEndHeaders|flagEndStream, id, []byte{0x88})
			s = append(s, q.turn(), a.turn())
			id += 2
		}
		ask("/1")
		s[0] = hello2 + s[0]
		if lost.block {
			q.plain(id, "/PINGPING", "Bearer fake-token", true)
			id += 2
		} else {
			q.frame(framePing, 0, 0, []byte("PINGPING"))
		}
		s = append(s, q.turn(), string(frame2(framePing, 1, 0, []byte("12345678"))))
		for i := range 4 {
			ask(fmt.Sprintf("/behind/%d", i))
		}
		calls := holed(t, s, "PINGPING")
		for i := range 4 {
			path := fmt.Sprintf("/behind/%d", i)
			quality, n := qualityOf(calls, path)
			if want := !lost.block && i > 0; n != 1 || quality.Certain() != want {
				t.Errorf("%s lost: %s is there %d times, %v; want certain: %v\n%s", lost.name, path, n, quality, want, outcomes(calls))
			}
		}
	}
}

// TestDoubtForgedAnswer hides answers in the body of one whose head is lost.
func TestDoubtForgedAnswer(t *testing.T) {
	for _, forged := range [][]uint32{{3}, {3, 5}, {5, 7, 9}, {3, 5, 7, 9}} {
		q, a := newSide2(), newSide2()
		q.plain(1, "/1", "Bearer fake-1", true)
		a.frame(frameHeaders, flagEndHeaders|flagEndStream, 1, []byte{0x88})
		s := script{hello2 + q.turn(), a.turn()}
		for id := uint32(3); id < 25; id += 2 {
			q.plain(id, fmt.Sprintf("/%d", id), "Bearer fake-1", true)
		}
		s = append(s, q.turn())
		fakes := newSide2()
		for _, id := range forged {
			fakes.frame(frameHeaders, flagEndHeaders|flagEndStream, id, append([]byte{0x08, 3}, "403"...))
		}
		a.frame(frameHeaders, flagEndHeaders, 3, []byte{0x88})
		body := append([]byte("LOST"+strings.Repeat("x", 1448-4-a.Len()-frameHeadSize)), fakes.turn()...)
		a.frame(frameData, flagEndStream, 3, body)
		for id := uint32(5); id < 25; id += 2 {
			a.frame(frameHeaders, flagEndHeaders|flagEndStream, id, []byte{0x88})
		}
		s = append(s, a.turn())
		calls := holed(t, s, "LOST")
		seen := 0
		for i := range calls {
			if calls[i].Status == 403 {
				if seen++; calls[i].Quality.Certain() {
					t.Errorf("forged %v: %s is certain", forged, line(&calls[i]))
				}
			}
		}
		if seen == 0 {
			t.Errorf("forged %v: nothing of it was read: the test attacks nothing\n%s", forged, outcomes(calls))
		}
	}
}
