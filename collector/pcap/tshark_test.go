//go:build tshark

package pcap

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
// captures of the corpus, and on generated ones, clean and with packets lost. It
// wants no equality, since readers differ for reasons (docs/capture-corpus.md);
// on the clean generated ones, of which the truth is known, it does.
// SCOPEDRIFT_TSHARK names the program; where there is none the test fails, so it
// is built only when asked for (make compare-tshark).
func TestCompareTshark(t *testing.T) {
	program := os.Getenv("SCOPEDRIFT_TSHARK")
	if program == "" {
		program = "tshark"
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "capture\trequests\ttshark\tanswers\ttshark\tpairs\t")
	one := func(name, file string) (ours, theirs [2]int) {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sink, stats := read(t, Config{}, f)
		ours = [2]int{int(stats.Requests), int(stats.Responses)}
		if theirs, err = tshark(program, file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pairs := 0
		for i := range sink.calls {
			if sink.calls[i].Quality.Certain() {
				pairs++
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t\n", name, ours[0], theirs[0], ours[1], theirs[1], pairs)
		return ours, theirs
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range traffics {
		known := map[string]truth{}
		frames := conversation(rng, 20, func(w *wire, name string) { kind.talk(w, 15, name, known) })
		for _, lost := range []float64{0, 0.001, 0.01} {
			var kept []frame
			for _, f := range frames {
				if rng.Float64() >= lost {
					kept = append(kept, f)
				}
			}
			file := filepath.Join(t.TempDir(), "generated.pcap")
			if err := os.WriteFile(file, writePcap(linkEthernet, kept), 0o600); err != nil {
				t.Fatal(err)
			}
			ours, theirs := one(fmt.Sprintf("%s, %d calls, %.1f %% lost", kind.name, len(known), 100*lost), file)
			// Where requests are sent ahead tshark ties answers to the newest, and takes them
			// for such as have no body where that is HEAD.
			if lost == 0 && (ours != [2]int{len(known), len(known)} || theirs != ours && kind.name != "http1-pipelined") {
				t.Errorf("%s: %v and tshark %v of %d", kind.name, ours, theirs, len(known))
			}
		}
	}
	dir := corpus.Path(t, "pcap")
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (strings.HasSuffix(file, ".pcap") || strings.HasSuffix(file, ".pcapng")) {
			name, _ := filepath.Rel(dir, file)
			one(name, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Flush()
	t.Logf("requests and answers found by scopedrift and by tshark, and scopedrift's certain pairs\n%s", &table)
}

// tshark counts final requests and answers of both versions of HTTP.
func tshark(program, file string) (n [2]int, err error) {
	// Its reader of gRPC gives up frames whose bodies are made up, heads included.
	c := exec.Command(program, "-r", file, "--disable-protocol", "grpc", "-Y", "http || http2", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a",
		"-e", "http.request.method", "-e", "http.response.code", "-e", "http2.headers.method", "-e", "http2.headers.status")
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return n, fmt.Errorf("tshark: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	for line := range strings.Lines(string(out)) {
		for i, field := range strings.Split(strings.TrimRight(line, "\r\n"), "\t") {
			for value := range strings.SplitSeq(field, ",") {
				code, _ := strconv.Atoi(value)
				if value != "" && (i%2 == 0 || code < 100 || code >= 200) {
					n[i%2]++
				}
			}
		}
	}
	return n, nil
}
