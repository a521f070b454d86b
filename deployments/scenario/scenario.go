// Package scenario writes a month in the life of Harbourline, a small freight
// company that does not exist: the logs of its service mesh, its cluster, its
// cloud account and its old customer portal, and the catalogue it keeps of
// services and credentials.
//
// [Write] is the one function. It promises the same bytes at every call, and
// that the story holds at least one instance of each detection that the product
// has rules for. The demo, the tests and the benchmarks share it. Its secrets
// are made up and say so.
package scenario

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

//go:embed company/*.yaml
var company embed.FS

// The month that is told, [Start, End).
var (
	Start = time.Date(2026, time.October, 1, 0, 0, 0, 0, time.UTC)
	End   = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
)

// KeyHex is the installation key of the demo, 32 bytes in hexadecimal. It is
// fixed so that fingerprints are the same at every run, and protects nothing.
const KeyHex = "6861726265726c696e652064656d6f206b65793b206e6f742061207365637265"

// Story says what was written and what to look at.
type Story struct {
	// Logs is the directory of the log files, Catalogue that of the catalogue.
	Logs, Catalogue string
	// Lines counts the lines and packets written, by kind of log.
	Lines map[string]int
	// Beyond names the credential whose use beyond its grant is worth
	// explaining, Excess the one whose grant is worth reducing.
	Beyond, Excess string
}

// Write writes the month below dir, which must exist.
func Write(dir string) (*Story, error) {
	s := &Story{
		Logs: filepath.Join(dir, "logs"), Catalogue: filepath.Join(dir, "catalogue"),
		Lines: map[string]int{}, Beyond: "partner-acme", Excess: "reports-job",
	}
	if err := writeCatalogue(s.Catalogue); err != nil {
		return nil, err
	}
	w := &world{rand: rand.New(rand.NewPCG(20261001, 17)), logs: map[string]*log{}}
	for _, h := range habits() {
		w.live(h)
	}
	w.cluster()
	w.cloud()
	w.portal()
	w.incidents()
	for _, name := range w.names() {
		l := w.logs[name]
		if err := l.write(filepath.Join(s.Logs, name)); err != nil {
			return nil, err
		}
		s.Lines[l.kind] += len(l.lines)
	}
	capture, packets := w.capture()
	s.Lines["capture"] = packets
	return s, writeFile(filepath.Join(s.Logs, "portal", "visitors.pcap"), capture)
}

func writeCatalogue(dir string) error {
	return fs.WalkDir(company, "company", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := company.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, filepath.Base(path)), text)
	})
}

func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the scenario: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write the scenario: %w", err)
	}
	return nil
}

// world is the month as it is being told.
type world struct {
	rand *rand.Rand
	logs map[string]*log
}

// log is one file in the making.
type log struct {
	kind  string
	lines []line
}

type line struct {
	at   time.Time
	text []byte
}

// put appends a line to the named log.
func (w *world) put(name, kind string, at time.Time, text []byte) {
	l := w.logs[name]
	if l == nil {
		l = &log{kind: kind}
		w.logs[name] = l
	}
	l.lines = append(l.lines, line{at, text})
}

func (w *world) names() []string {
	var names []string
	for name := range w.logs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// write sorts the lines by time, as a log has them, and writes the file;
// names that end in .gz are compressed.
func (l *log) write(path string) error {
	slices.SortStableFunc(l.lines, func(a, b line) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	var buf bytes.Buffer
	for _, line := range l.lines {
		buf.Write(line.text)
		buf.WriteByte('\n')
	}
	if filepath.Ext(path) != ".gz" {
		return writeFile(path, buf.Bytes())
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(buf.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return writeFile(path, packed.Bytes())
}

// hexID returns n random bytes in hexadecimal.
func (w *world) hexID(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rand.Uint32())
	}
	return fmt.Sprintf("%x", b)
}

// uuid returns a random identifier in the usual form.
func (w *world) uuid() string {
	h := w.hexID(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}
