package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// line is one access-log line that asks for path.
func line(path string) string {
	return `{"start_time":"2026-03-01T10:00:00.000Z","method":"GET","path":"` + path + `","authority":"o.example.internal","response_code":200}`
}

func pathsOf(m *memory) string {
	var paths []string
	for i := range m.calls {
		paths = append(paths, m.calls[i].Path)
	}
	return strings.Join(paths, " ")
}

func TestFraming(t *testing.T) {
	long := strings.Repeat("x", maxLine+10)
	for _, c := range []struct {
		name, text, paths string
		skipped           map[string]uint64
	}{
		{"no end of line", line("/1") + "\n" + line("/2"), "/1 /2", nil},
		{"carriage returns", line("/1") + "\r\n" + line("/2") + "\r\n", "/1 /2", nil},
		{"byte order mark", "\xef\xbb\xbf" + line("/1") + "\n", "/1", nil},
		{"only a byte order mark", "\xef\xbb\xbf", "", nil},
		{"empty", "", "", nil},
		{"blank lines", "\n \t\n" + line("/1") + "\n\r\n\n", "/1", map[string]uint64{reasonEmpty: 4}},
		{"NUL bytes of a sparse file", strings.Repeat("\x00", 5000) + line("/1") + "\n" + strings.Repeat("\x00", 100) + "\n" + line("/2") + "\n\x00\x00", "/1 /2", map[string]uint64{reasonNUL: 2}},
		{"a line too long", line("/1") + "\n" + long + "\n" + line("/2") + "\n", "/1 /2", map[string]uint64{reasonTooLong: 1}},
		{"a line too long at the end", line("/1") + "\n" + long, "/1", map[string]uint64{reasonTooLong: 1}},
		{"documents side by side", line("/1") + line("/2") + " " + line("/3") + "\n" + line("/4"), "/1 /2 /3 /4", nil},
		{"array on one line", "[" + line("/1") + "," + line("/2") + "]\n" + line("/3"), "/1 /2 /3", nil},
		{"array over lines", "[\n" + line("/1") + ",\n" + line("/2") + "\n]\n", "/1 /2", nil},
		{"two arrays", "[" + line("/1") + "][" + line("/2") + "]", "/1 /2", nil},
		{"array cut short", "[" + line("/1") + "," + line("/2")[:40], "/1", map[string]uint64{reasonTruncatedJSON: 1}},
		{"array without end", "[" + line("/1") + "," + line("/2") + "\n", "/1 /2", map[string]uint64{reasonTruncatedJSON: 1}},
		{"a bad element", "[" + line("/1") + ",\n" + `{"start_time":nope},` + "\n" + line("/2") + "]", "/1 /2", map[string]uint64{reasonInvalidJSON: 1}},
		{"an element without end", "[\n" + line("/1") + ",\n" + line("/2")[:60] + "\n" + line("/3") + "\n]\n", "/1 /3", map[string]uint64{reasonInvalidJSON: 1}},
		{"empty array", "[]\n" + line("/1"), "/1", map[string]uint64{reasonEmpty: 1}},
		{"empty envelope", `{"Records":[]}` + "\n" + line("/1"), "/1", map[string]uint64{reasonEmpty: 1}},
		{"a document over lines", strings.ReplaceAll(line("/1"), ",", ",\n  ") + "\n" + line("/2") + "\n", "/1 /2", nil},
		{"an open document before others", `{"a":` + "\n" + line("/1") + "\n" + line("/2") + "\n" + line("/3"), "/1 /2 /3", map[string]uint64{reasonTruncatedJSON: 1}},
		{"nesting too deep", `{"a":` + strings.Repeat("[", 5000) + "\n" + line("/1"), "/1", map[string]uint64{reasonTooDeep: 1}},
		{"an open string before others", `{"a":"` + "\n" + line("/1"), "/1", map[string]uint64{reasonTruncatedJSON: 1}},
		{"brackets that are no array", "[not json]\n" + line("/1") + "\n" + line("/2"), "/1 /2", map[string]uint64{reasonNoFormat: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := readText(t, Config{}, c.text)
			var mostly *UnreadableError
			if err != nil && !errors.As(err, &mostly) {
				t.Fatal(err)
			}
			if got := pathsOf(m); got != c.paths {
				t.Errorf("got calls %q, want %q", got, c.paths)
			}
			if len(m.skipped) != len(c.skipped) || !maps.Equal(m.skipped, c.skipped) && len(c.skipped) > 0 {
				t.Errorf("skipped %v, want %v", m.skipped, c.skipped)
			}
		})
	}
}

// A document may be as long as maxDocument; one that is longer is skipped to its
// end, or to the end of its line, without being held.
func TestFramingLongDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 60 MB")
	}
	fill := strings.Repeat("y", maxDocument)
	longer := strings.TrimSuffix(line("/long"), "}") + `,"pad":"` + fill + `"}`
	fits := strings.TrimSuffix(line("/fits"), "}") + `,"pad":"` + fill[:maxDocument-1000] + `"}`
	for name, text := range map[string]string{
		"lines": line("/1") + "\n" + longer + "\n" + fits + "\n" + line("/2"),
		"array": "[" + line("/1") + "," + longer + "," + fits + "," + line("/2") + "]",
	} {
		m, _, err := readText(t, Config{}, text)
		if err != nil || pathsOf(m) != "/1 /fits /2" || m.skipped[reasonTooLong] != 1 {
			t.Errorf("%s: %v, calls %q, skipped %v", name, err, pathsOf(m), m.skipped)
		}
	}
}

// How the input arrives must not matter: one byte at a time, or with an error at
// its end.
func TestFramingSlowReaders(t *testing.T) {
	text := "\xef\xbb\xbf" + line("/1") + "\r\n[" + line("/2") + ",\n" + strings.ReplaceAll(line("/3"), ",", ",\n") + "]\n\n" +
		`192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET /4 HTTP/1.1" 200 5 "-" "x"` + "\n" + `{"Records":[` + line("/5") + `],"x":[1,{"y":2}]}` + "\n" + line("/6")
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(text),
		"bytes":        iotest.OneByteReader(strings.NewReader(text)),
		"halves":       iotest.HalfReader(strings.NewReader(text)),
		"data and err": iotest.DataErrReader(strings.NewReader(text)),
	} {
		g := testGateway(t, Config{Stdin: r})
		m := newMemory(t)
		if _, err := g.Run(context.Background(), []string{"-"}, m); err != nil {
			t.Error(name, err)
		}
		if got := pathsOf(m); got != "/1 /2 /3 /4 /5 /6" || m.skipped[reasonEmpty] != 1 || len(m.skipped) != 1 {
			t.Errorf("%s: got %q, skipped %v", name, got, m.skipped)
		}
	}
}

func TestCompression(t *testing.T) {
	text := []byte(line("/1") + "\n" + line("/2") + "\n" + line("/3") + "\n")
	var gz, two bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, _ = w.Write(text)
	_ = w.Close()
	for _, part := range bytes.SplitAfter(text, []byte("\n")) {
		w := gzip.NewWriter(&two) // members one after the other, as appending writers make them
		_, _ = w.Write(part)
		_ = w.Close()
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"plain": text, "gzip": gz.Bytes(), "members": two.Bytes(), "zstd": z.EncodeAll(text, nil),
		"twice": z.EncodeAll(gz.Bytes(), nil),
	} {
		// The name says nothing: what the file begins with does.
		m, _, err := readText(t, Config{}, string(data))
		if err != nil || pathsOf(m) != "/1 /2 /3" {
			t.Errorf("%s: %v, %q", name, err, pathsOf(m))
		}
	}
	m, r, err := readText(t, Config{}, string(gz.Bytes()[:gz.Len()-9]))
	if err != nil || r.Inputs[0].Cut == "" {
		t.Errorf("a cut gzip file: %v, cut %q", err, r.Inputs[0].Cut)
	}
	if len(m.calls) == 0 {
		t.Error("a cut gzip file gives none of its calls")
	}
	if _, r, _ = readText(t, Config{}, "\x1f\x8b\x08\x00garbage"); r.Inputs[0].Cut == "" {
		t.Error("a broken gzip file is not reported")
	}
}

func TestInputs(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.log", line("/b")+"\n")
	write("a/2.log", line("/a2")+"\n")
	write("a/1.log", line("/a1")+"\n")
	write(".hidden", line("/hidden")+"\n")
	write(".git/x", line("/hidden")+"\n")
	write("README", "what these files are\n")

	m, r, err := readFiles(t, Config{}, dir)
	if err != nil || pathsOf(m) != "/a1 /a2 /b" {
		t.Errorf("directory: %v, %q", err, pathsOf(m))
	}
	stray := false
	for _, in := range r.Inputs {
		stray = stray || in.NotALog && filepath.Base(in.Input.Name) == "README"
	}
	if !stray {
		t.Error("a file that is no log is not named as such")
	}
	if m, _, err = readFiles(t, Config{}, "envoy:"+filepath.Join(dir, "b.log"), filepath.Join(dir, "a")); err != nil || pathsOf(m) != "/b /a1 /a2" {
		t.Errorf("with a format: %v, %q", err, pathsOf(m))
	}
	var mostly *UnreadableError
	if _, _, err = readFiles(t, Config{}, filepath.Join(dir, "README")); !errors.As(err, &mostly) || mostly.ExitCode() != 1 || mostly.Hint() == "" {
		t.Errorf("a file that is no log gives %v", err)
	}
	if _, _, err = readFiles(t, Config{}, "k8s-audit:"+filepath.Join(dir, "b.log")); err == nil ||
		!strings.Contains(err.Error(), "the field auditID of the format k8s-audit is missing") {
		t.Errorf("the wrong format gives %v", err)
	}
	for _, c := range []struct {
		inputs []string
		want   string
	}{
		{nil, "no input: name log files or directories, or - for standard input"},
		{[]string{filepath.Join(dir, "none")}, "open input: stat " + filepath.Join(dir, "none") + ": no such file or directory"},
		{[]string{"envoi:" + filepath.Join(dir, "b.log")}, `"envoi" is no format`},
		{[]string{"-"}, "standard input is not available: name a file"},
	} {
		if _, _, err := readFiles(t, Config{}, c.inputs...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("inputs %q: got %v, want %s", c.inputs, err, c.want)
		}
	}
	if _, err := New(Config{Key: testKey(), Format: "envo"}); err == nil || !strings.Contains(err.Error(), "did you mean envoy?") {
		t.Errorf("an unknown format gives %v", err)
	}
	if _, err := New(Config{Key: testKey(), Tenant: "cookie:x"}); err == nil {
		t.Error("a bad tenant rule is accepted")
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no key is accepted")
	}
}

// A log in which a field that every call needs has another name is an error that
// says which one.
func TestMissingFieldIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		strings.ReplaceAll(line("/1"), "response_code", "code"):                 "the field response_code of the format envoy is missing",
		strings.ReplaceAll(line("/1"), `"method"`, `"verb"`):                    "the field method of the format envoy is missing",
		strings.ReplaceAll(line("/1"), `"path"`, `"where"`):                     "the field x-envoy-origin-path of the format envoy is missing",
		strings.ReplaceAll(line("/1"), "2026-03-01T10:00:00.000Z", "yesterday"): "bad time",
		"hello world": "no known format fits them",
	} {
		if _, _, err := readText(t, Config{}, text+"\n"+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

type letters struct {
	t     *testing.T
	text  string
	lines []string
}

func (l *letters) Bad(input string, unit uint64, offset, length int64, reason string, digest [16]byte, shape string) {
	l.lines = append(l.lines, fmt.Sprintf("%d %d %d %s %s", unit, offset, length, reason, shape))
	if digest == ([16]byte{}) {
		l.t.Error("no digest")
	}
	if got := l.text[offset : offset+length]; reason != reasonTooLong && shapeOf([]byte(got)) != shape {
		l.t.Errorf("offset and length name %q, the shape is %q", got, shape)
	}
}

func TestDeadLetters(t *testing.T) {
	text := line("/1") + "\nPassword1: Hünter2, ок?\n" + line("/2") + "\n" + `{"token":"abc123"` + "\n" + line("/3") + "\n"
	l := &letters{t: t, text: text}
	if _, _, err := readText(t, Config{DeadLetter: l}, text); err != nil {
		t.Fatal(err)
	}
	n := len(line("/1")) + 1
	want := []string{
		fmt.Sprintf("1 %d 26 no_format aaaaaaaa9: aaaaaa9, aa?", n),
		fmt.Sprintf(`3 %d 17 truncated_json {"aaaaa":"aaa999"`, 2*n+27),
	}
	if strings.Join(l.lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(l.lines, "\n"), strings.Join(want, "\n"))
	}
	if s := shapeOf([]byte(strings.Repeat("ab1-", 1000))); len(s) != maxShape {
		t.Errorf("a shape of %d characters", len(s))
	}
}

// Batch size, compression and wrapping are no part of a call; order and splitting
// of an input change neither ids nor what a call says.
func TestLaws(t *testing.T) {
	data := envoyLines(300)
	lines := bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	set := func(m *memory) map[string]int {
		all := map[string]int{}
		for i := range m.calls {
			m.calls[i].Source.Name = ""
			all[jsonOf(t, &m.calls[i])]++
		}
		return all
	}
	base, _, err := readText(t, Config{}, string(data))
	if err != nil {
		t.Fatal(err)
	}
	want := set(base)
	if len(want) != 300 {
		t.Fatalf("%d different calls, want 300", len(want))
	}
	rand.New(rand.NewPCG(7, 7)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for i := range lines {
		lines[i] = append(bytes.TrimSuffix(lines[i], []byte("\n")), '\n')
	}
	shuffled := string(bytes.Join(lines, nil))
	for name, c := range map[string]struct {
		cfg  Config
		text string
	}{
		"batches of one": {Config{BatchSize: 1}, string(data)},
		"batches of 7":   {Config{BatchSize: 7}, string(data)},
		"shuffled":       {Config{}, shuffled},
		"array":          {Config{}, "[" + strings.ReplaceAll(strings.TrimSpace(shuffled), "\n", ",\n") + "]"},
		"records":        {Config{}, `{"Records":[` + strings.ReplaceAll(strings.TrimSpace(shuffled), "\n", ",") + "]}"},
		"cri":            {Config{}, prefixLines(shuffled, "2026-03-01T10:00:00.1Z stdout F ")},
	} {
		m, _, err := readText(t, c.cfg, c.text)
		got := set(m)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %d calls, which differ", name, err, len(got))
		}
	}
}

func prefixLines(text, prefix string) string {
	return prefix + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+prefix) + "\n"
}

// TestHeadersDoNotMakeALogReadable reads a log of few lines below its headers:
// it is as unreadable as without them.
func TestHeadersDoNotMakeALogReadable(t *testing.T) {
	headers := "#Software: x\n#Version: 1.0\n#Date: 2026-03-01 10:00:00\n#Fields: date time cs-method cs-uri-stem sc-status\n"
	_, _, err := readText(t, Config{}, headers+"2026-03-01 10:00:01 GET /a 200\n")
	var mostly *UnreadableError
	if !errors.As(err, &mostly) || mostly.Bad != 1 || mostly.Units != 1 {
		t.Errorf("got %v", err)
	}
	if m, _, err := readText(t, Config{}, headers); err != nil || len(m.calls) != 0 {
		t.Errorf("headers alone: %v", err)
	}
}
