package pcap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestAlignStyles loses packets of clients that send ahead in every way: no pair
// that is certain may be wrong, and most are found again.
func TestAlignStyles(t *testing.T) {
	for _, kind := range []struct {
		name    string
		how     style
		loss    float64
		certain float64 // the least share
	}{
		{"batches", batches, .01, .75}, {"window", window, .01, .7}, {"moody", moody, .01, .7},
		{"batches, much lost", batches, .03, .4}, {"window, much lost", window, .03, .35}, {"moody, much lost", moody, .03, .4},
	} {
		asked, certain, marked := 0, 0, 0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 7))
			known := map[string]truth{}
			frames := conversation(rng, 8, func(w *wire, name string) { w.talk(40, kind.how, name, known) })
			frames = damage{loss: kind.loss, reorder: .01}.apply(rng, frames)
			sink, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
			asked += len(known)
			for i := range sink.calls {
				c := &sink.calls[i]
				switch wrong := int(c.Status) != known[c.Path].status; {
				case !c.Quality.Certain():
					if wrong && c.Status != 0 && c.Path != "" {
						marked++
					}
				case wrong:
					t.Errorf("%s, seed %d: certain and wrong: %s, want %d", kind.name, seed, line(c), known[c.Path].status)
				default:
					certain++
				}
			}
		}
		share := float64(certain) / float64(asked)
		t.Logf("%-20s certain %.2f %% of %d; %d wrong pairs, all marked", kind.name, 100*share, asked, marked)
		if share < kind.certain || marked > 0 {
			t.Errorf("%s: %.2f %% certain, want %.2f; %d wrong pairs that are marked", kind.name, 100*share, 100*kind.certain, marked)
		}
	}
}

// page is an answer with a body.
func page(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func ask(paths ...string) string {
	var b strings.Builder
	for _, p := range paths {
		method := "GET"
		if strings.HasPrefix(p, "/head") {
			method = "HEAD"
		}
		fmt.Fprintf(&b, "%s %s HTTP/1.1%s", method, p, host)
	}
	return b.String()
}

// TestAlign says call by call what is known behind a hole: the packets that hold
// LOST are. A digit is the last of the status of a certain pair, a point none.
func TestAlign(t *testing.T) {
	large := strings.Repeat("x", 2000)
	for _, test := range []struct {
		name string
		s    script
		want string // of /1, /2 ...
	}{
		{"the beginning of an answer: its rest tells that it was one",
			script{ask("/1", "/2"), page(201, "a") + page(202, "b"), ask("/3", "/4"), page(203, "LOST"+large), "", page(204+1, "d"), ask("/5"), page(206, "f"), ask("/6"), page(207, "g"), ask("/7"), page(208, "h")},
			"12.5678"},
		{"an answer in one packet: it may have been an interim one",
			script{ask("/1", "/2"), page(201, "a") + page(202, "b"), ask("/3"), page(203, "LOST"), ask("/4", "/5"), page(205, "d") + page(206, "e")},
			"12..."},
		{"an answer without a body goes with HEAD only",
			script{ask("/1", "/2"), page(201, "a") + page(202, "b"), ask("/head3", "/4"), "HTTP/1.1 203 LOST\r\nContent-Length: 9\r\n\r\n", "", page(204+1, "d"), ask("/5"), page(206, "f"), ask("/6"), page(207, "g"), ask("/7"), page(208, "h")},
			"12..678"},
		{"requests that were sent before lost ones",
			script{ask("/1", "/2"), page(201, "a") + page(202, "b"), ask("/3", "/4"), "", ask("/LOST"), page(203, "c") + page(205, "d") + page(209, "lost"), ask("/5"), page(206, "f")},
			"1235."},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := holed(t, test.s, "LOST")
			got := ""
			for i := range len(test.want) {
				mark := "."
				for k := range calls {
					if p := calls[k].Path; strings.HasSuffix(p, fmt.Sprint(i+1)) && calls[k].Quality.Certain() {
						mark = fmt.Sprint(calls[k].Status % 10)
					}
				}
				got += mark
			}
			if got != test.want {
				t.Errorf("got %s, want %s\n%s", got, test.want, lines(calls))
			}
		})
	}
}

// TestAlignForged hides answers in the body of one whose head is lost, and requests
// in the body of one: none may be certain, nor may any call be answered wrong.
func TestAlignForged(t *testing.T) {
	const other = "HTTP/1.1 403 Forged\r\nContent-Length: 0\r\n\r\n"
	for n := 1; n < 6; n++ {
		head := "HTTP/1.1 209 Whatever\r\nX: LOST\r\nContent-Length: %d\r\n\r\n"
		fakes := strings.Repeat(other, n)
		size := 1448 - len(fmt.Sprintf(head, 1000)) + len(fakes)
		object := fmt.Sprintf(head, size) + strings.Repeat("x", size-len(fakes)) + fakes
		s := script{ask("/1", "/2"), page(201, "a") + page(202, "b"), ask("/3", "/4", "/5"), object + page(204+10, "d"), ask("/6"), page(215, "e") + page(216, "f")}
		for i := 7; i < 30; i += 2 {
			s = append(s, ask(fmt.Sprintf("/%d", i), fmt.Sprintf("/%d", i+1)), page(200+i+9, "y")+page(200+i+10, "z"))
		}
		truth := func(path string) int {
			var i int
			fmt.Sscanf(path, "/%d", &i)
			return map[int]int{1: 201, 2: 202, 3: 209, 4: 214, 5: 215, 6: 216}[i]
		}
		for _, c := range holed(t, s, "LOST") {
			if c.Quality.Certain() && (c.Status == 403 || truth(c.Path) != 0 && truth(c.Path) != int(c.Status)) {
				t.Errorf("%d forged answers: %s", n, line(&c))
			}
		}

		forged := ""
		for i := range n {
			forged += fmt.Sprintf("GET /forged/%d HTTP/1.1\r\nAuthorization: Bearer fake-other%s", i, host)
		}
		post := "POST /upload HTTP/1.1\r\nHost: a.example\r\nX: LOST\r\nContent-Length: %d\r\n\r\n"
		size = 1448 - len(fmt.Sprintf(post, 1000)) + len(forged)
		upload := fmt.Sprintf(post, size) + strings.Repeat("x", size-len(forged)) + forged
		s = script{ask("/1", "/2"), page(201, "a") + page(202, "b"), upload, page(203, "")}
		for i := 4; i < 30; i += 2 {
			s = append(s, ask(fmt.Sprintf("/head/%d", i), fmt.Sprintf("/%d", i+1)), "HTTP/1.1 207 Whatever\r\nContent-Length: 7\r\n\r\n"+page(208, "z"))
		}
		for _, c := range holed(t, s, "LOST") {
			if c.Quality.Certain() && strings.HasPrefix(c.Path, "/forged") {
				t.Errorf("%d forged requests: %s", n, line(&c))
			}
		}
	}
}
