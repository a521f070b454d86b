//go:build tshark

package pcap

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

// TestCompareTshark shows side by side what scopedrift and tshark find: on the
// captures of the corpus, and on generated ones, clean and damaged, of which it also
// shows how many pairs are right. It wants no equality, since readers differ for reasons
// (docs/capture-corpus.md); of the clean generated ones, whose truth is known, it
// wants all of scopedrift. SCOPEDRIFT_TSHARK names the program; where there is none the test fails, so it
// is built only when asked for (make compare-tshark).
func TestCompareTshark(t *testing.T) {
	c := comparison{t: t, program: cmp.Or(os.Getenv("SCOPEDRIFT_TSHARK"), "tshark")}
	w := tabwriter.NewWriter(&c.table, 0, 8, 2, ' ', tabwriter.AlignRight)
	c.out = w
	fmt.Fprintln(w, "capture\trequests\ttshark\tanswers\ttshark\tcertain\tright\ttshark\twrong\ttshark\t")
	c.generated()
	dir := corpus.Path(t, "pcap")
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (strings.HasSuffix(file, ".pcap") || strings.HasSuffix(file, ".pcapng")) {
			name, _ := filepath.Rel(dir, file)
			c.one(name, file, nil)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Flush()
	t.Logf("requests, answers, and pairs of generated captures by their truth: scopedrift's, and tshark's\n%s", &c.table)
}

// comparison is the table while it grows.
type comparison struct {
	t       *testing.T
	program string
	table   bytes.Buffer
	out     io.Writer
}

// generated compares made-up captures.
func (c *comparison) generated() {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range traffics {
		known := map[string]truth{}
		frames := conversation(rng, 60, func(w *wire, name string) { kind.talk(w, 25, name, known) })
		for _, d := range []struct {
			name   string
			change func() []frame
		}{
			{"whole", func() []frame { return frames }},
			{"0.1 % lost", func() []frame { return damage{loss: .001}.apply(rng, frames) }},
			{"1 % lost", func() []frame { return damage{loss: .01}.apply(rng, frames) }},
			{"1 % reordered and repeated", func() []frame { return damage{reorder: .01, repeat: .01}.apply(rng, frames) }},
			{"joined late", func() []frame { return frames[len(frames)/2:] }},
		} {
			file := filepath.Join(c.t.TempDir(), "generated.pcap")
			if err := os.WriteFile(file, writePcap(linkEthernet, d.change()), 0o600); err != nil {
				c.t.Fatal(err)
			}
			ours, theirs := c.one(fmt.Sprintf("%s, %d calls, %s", kind.name, len(known), d.name), file, known)
			// What tshark misses of these docs/capture-corpus.md says.
			if ours != [2]int{len(known), len(known)} && d.name == "whole" {
				c.t.Errorf("%s: %v of %d, tshark %v", kind.name, ours, len(known), theirs)
			}
		}
	}
}

// one reads a file with both. known is the truth by path, nil where that is not known.
func (c *comparison) one(name, file string, known map[string]truth) (ours, theirs [2]int) {
	f, err := os.Open(file)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	sink, stats := read(c.t, Config{}, f)
	ours = [2]int{int(stats.Requests), int(stats.Responses)}
	if theirs, err = tshark(c.program, file); err != nil {
		c.t.Errorf("%s: %v", name, err)
	}
	certain, right, wrong := 0, 0, 0
	for i := range sink.calls {
		call := &sink.calls[i]
		if call.Quality.Certain() {
			certain++
		}
		switch fact, ok := known[call.Path]; {
		case !ok || call.Status == 0:
		case fact.status == int(call.Status):
			right++
		default:
			wrong++
		}
	}
	fmt.Fprintf(c.out, "%s\t%d\t%d\t%d\t%d\t%d\t", name, ours[0], theirs[0], ours[1], theirs[1], certain)
	switch {
	case known == nil:
		fmt.Fprint(c.out, "\t\t\t\t")
	case !strings.HasPrefix(name, "http1"): // tshark pairs HTTP/1 only
		fmt.Fprintf(c.out, "%d\t\t%d\t\t", right, wrong)
	default:
		good, bad, err := tsharkPairs(c.program, file, known)
		if err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
		fmt.Fprintf(c.out, "%d\t%d\t%d\t%d\t", right, good, wrong, bad)
	}
	fmt.Fprintln(c.out)
	return ours, theirs
}

// tsharkPairs counts the answers of HTTP/1 that tshark ties to their own request, each
// request once, and those that it ties to another.
func tsharkPairs(program, file string, known map[string]truth) (right, wrong int, err error) {
	lines, err := fields(program, file, "http.response.code", "http.response.code", "http.response_for.uri")
	if err != nil {
		return 0, 0, err
	}
	seen := map[string]bool{}
	for _, f := range lines {
		// Of interim answers it names the request as well.
		for i, code := range f[0] {
			status, _ := strconv.Atoi(code)
			if status < 200 || i >= len(f[1]) {
				continue
			}
			at, err := url.Parse(f[1][i])
			switch {
			case err != nil || known[at.Path].status != status:
				wrong++
			case !seen[at.Path]:
				seen[at.Path] = true
				right++
			}
		}
	}
	return right, wrong, nil
}

// fields returns for each packet that a filter admits the values of the fields named.
func fields(program, file, filter string, names ...string) (lines [][][]string, err error) {
	// Its reader of gRPC gives up frames whose bodies are made up, heads included.
	args := []string{"-r", file, "--disable-protocol", "grpc", "-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	c := exec.Command(program, args...)
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	for text := range strings.Lines(string(out)) {
		line := make([][]string, len(names))
		for i, field := range strings.Split(strings.TrimRight(text, "\r\n"), "\t") {
			if field != "" && i < len(names) {
				line[i] = strings.Split(field, ",")
			}
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// tshark counts final requests and answers of both versions of HTTP.
func tshark(program, file string) (n [2]int, err error) {
	lines, err := fields(program, file, "http || http2", "http.request.method", "http.response.code", "http2.headers.method", "http2.headers.status")
	for _, line := range lines {
		for i, values := range line {
			for _, value := range values {
				if code, _ := strconv.Atoi(value); i%2 == 0 || code < 100 || code >= 200 {
					n[i%2]++
				}
			}
		}
	}
	return n, err
}
