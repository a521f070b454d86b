package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/collector"
)

// autoFormat is the word for "find the format yourself".
const autoFormat = "auto"

// standardInput is the name of standard input on the command line.
const standardInput = "-"

// namedInput is an input and the directory through which it was named, if any.
type namedInput struct {
	collector.Input
	dir string
}

// expandInputs turns what the user named into inputs: a NAME: before a path
// chooses its format, a directory stands for its files, sorted, without hidden
// ones.
func (g *Gateway) expandInputs(names []string) ([]namedInput, error) {
	var inputs []namedInput
	for _, name := range names {
		format, path := g.splitFormat(name)
		if path == standardInput {
			inputs = append(inputs, namedInput{Input: collector.Input{Name: standardInput, Format: format}})
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, g.openError(name, err)
		}
		if !info.IsDir() {
			inputs = append(inputs, namedInput{Input: collector.Input{Name: path, Format: format, Size: info.Size(), Modified: info.ModTime()}})
			continue
		}
		files, err := filesIn(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			f.Format = format
			inputs = append(inputs, namedInput{f, path})
		}
	}
	if len(inputs) == 0 {
		return nil, ErrNoInput
	}
	return inputs, nil
}

// splitFormat splits NAME:path where NAME is a format.
func (g *Gateway) splitFormat(name string) (format, path string) {
	if before, after, found := strings.Cut(name, ":"); found && after != "" {
		if before == autoFormat || g.cfg.Presets.Find(before) != nil {
			return before, after
		}
	}
	return g.cfg.Format, name
}

// openError explains why an input cannot be opened.
func (g *Gateway) openError(name string, err error) error {
	if before, _, found := strings.Cut(name, ":"); found && errors.Is(err, fs.ErrNotExist) && validName(before) {
		return fmt.Errorf("open input %s: no such file, and %q is no format; the formats are %s",
			name, before, strings.Join(g.cfg.Presets.Names(), ", "))
	}
	return fmt.Errorf("open input: %w", err)
}

// filesIn lists the regular files below a directory in the order of their paths.
func filesIn(dir string) ([]collector.Input, error) {
	var files []collector.Input
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
		if path != dir && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := os.Stat(path) // through links
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a link to nothing, or a file that was rotated away just now
		}
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
		if info.Mode().IsRegular() {
			files = append(files, collector.Input{Name: path, Size: info.Size(), Modified: info.ModTime()})
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: %w", dir, errNoFiles)
	}
	slices.SortFunc(files, func(a, b collector.Input) int { return strings.Compare(a.Name, b.Name) })
	return files, err
}

// stream is an input opened for reading, without its compression.
type stream struct {
	io.Reader
	// raw counts the bytes read from disk.
	raw     *countingReader
	closers []func()
	// foreign is what the input is instead of a log, "" if it may be one.
	foreign string
}

func (s *stream) close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// open opens an input. What it begins with, not its name, says whether it is
// compressed.
func (g *Gateway) open(in collector.Input) (*stream, error) {
	s := &stream{}
	var file io.Reader = g.cfg.Stdin
	if in.Name != standardInput {
		f, err := os.Open(in.Name)
		if err != nil {
			return nil, fmt.Errorf("open input: %w", err)
		}
		s.closers = append(s.closers, func() { _ = f.Close() })
		file = f
	} else if file == nil {
		return nil, errors.New("standard input is not available: name a file")
	}
	s.unpack(file)
	return s, nil
}

// unpack takes the compression from what file holds.
func (s *stream) unpack(file io.Reader) {
	s.raw = &countingReader{r: file}
	buffered := bufio.NewReaderSize(s.raw, 64<<10)
	for range 4 { // a compressed file that was compressed again is still read
		head, _ := buffered.Peek(4)
		switch {
		case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
			z, err := gzip.NewReader(buffered)
			if err != nil {
				s.Reader = &failing{err}
				return
			}
			s.closers = append(s.closers, func() { _ = z.Close() })
			buffered = bufio.NewReaderSize(z, 64<<10)
		case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
			if err != nil {
				s.Reader = &failing{err}
				return
			}
			s.closers = append(s.closers, z.Close)
			buffered = bufio.NewReaderSize(z, 64<<10)
		default:
			head, _ = buffered.Peek(16)
			s.Reader, s.foreign = buffered, foreign(head)
			return
		}
	}
	s.Reader = buffered
}

// foreign names what a log cannot be read from as it is, by what it begins
// with: text in another encoding, and compression that nobody here undoes. What
// is to be done about it stands in foreignRemedy.
func foreign(head []byte) string {
	for magic, name := range map[string]string{
		"\xff\xfe": "UTF-16 text", "\xfe\xff": "UTF-16 text", "BZh": "compressed with bzip2", "\xfd7zXZ\x00": "compressed with xz",
		"PK\x03\x04": "a zip archive", "7z\xbc\xaf\x27\x1c": "a 7z archive", "\x04\x22\x4d\x18": "compressed with lz4",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return name
		}
	}
	// UTF-16 without its mark: every other byte of ASCII text is zero.
	if len(head) < 16 {
		return ""
	}
	var zero [2]int
	for i, c := range head[:16] {
		if c == 0 {
			zero[i%2]++
		}
	}
	if zero[0] == 8 && zero[1] == 0 || zero[1] == 8 && zero[0] == 0 {
		return "UTF-16 text"
	}
	return ""
}

// foreignRemedy says how to make a log of what foreign named.
func foreignRemedy(what string) string {
	if what == "UTF-16 text" {
		return "convert it first: iconv -f UTF-16 -t UTF-8 (where it begins with no byte order mark, name UTF-16LE or UTF-16BE)"
	}
	return "unpack it first; gzip and zstd are unpacked here"
}

// failing is a stream that cannot be read at all.
type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// IsCapture reports whether an input that begins with head is a packet capture:
// pcap in either byte order and resolution, or pcapng.
func IsCapture(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	switch [4]byte(head) {
	case [4]byte{0xa1, 0xb2, 0xc3, 0xd4}, [4]byte{0xd4, 0xc3, 0xb2, 0xa1},
		[4]byte{0xa1, 0xb2, 0x3c, 0x4d}, [4]byte{0x4d, 0x3c, 0xb2, 0xa1},
		[4]byte{0x0a, 0x0d, 0x0d, 0x0a}:
		return true
	}
	return false
}
