package serve

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/ClickHouse/ch-go/compress"
)

// packed is data in ClickHouse's compressed blocks of the given size.
func packed(t testing.TB, data []byte, block int, method compress.Method) (stream []byte, ends map[int]bool) {
	t.Helper()
	w := compress.NewWriter(compress.LevelZero, method)
	ends = map[int]bool{0: true}
	for len(data) > 0 {
		n := min(block, len(data))
		if err := w.Compress(data[:n]); err != nil {
			t.Fatal(err)
		}
		stream = append(stream, w.Data...)
		ends[len(stream)] = true
		data = data[n:]
	}
	return stream, ends
}

// A compressed body may end between blocks and nowhere else.
func TestDecompressEnds(t *testing.T) {
	data := bytes.Repeat([]byte("some rows, "), 40)
	for _, method := range []compress.Method{compress.None, compress.LZ4, compress.ZSTD} {
		stream, ends := packed(t, data, 100, method)
		for cut := range len(stream) + 1 {
			for _, r := range []io.Reader{bytes.NewReader(stream[:cut]), iotest.OneByteReader(bytes.NewReader(stream[:cut])), iotest.DataErrReader(bytes.NewReader(stream[:cut]))} {
				out, err := io.ReadAll(decompress(r))
				if ok := err == nil; ok != ends[cut] {
					t.Fatalf("method %v, cut at %d of %d: %v", method, cut, len(stream), err)
				}
				if !bytes.HasPrefix(data, out) {
					t.Fatalf("method %v, cut at %d: other data", method, cut)
				}
			}
		}
	}
}

func FuzzDecompress(f *testing.F) {
	stream, _ := packed(f, []byte("some rows"), 4, compress.LZ4)
	f.Add(stream)
	f.Add(stream[:30])
	f.Add(bytes.Repeat([]byte{0xff}, 60))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = io.Copy(io.Discard, decompress(bytes.NewReader(data)))
	})
}

func FuzzBinary(f *testing.F) {
	f.Add([]byte("\x03abc\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for r := (binary{data}); len(r.b) > 0; {
			before := len(r.b)
			r.str()
			if len(r.b) >= before {
				t.Fatal("no progress")
			}
		}
	})
}

func TestQuoting(t *testing.T) {
	for in, want := range map[string]string{"a": "'a'", `it's \`: `'it\'s \\'`, "\x00": `'\0'`} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
	for name, ok := range map[string]bool{"max_threads": true, "a1": true, "": false, "1a": false, "a b": false, "a=1": false, "ä": false} {
		if isSettingName(name) != ok {
			t.Errorf("isSettingName(%q) = %v", name, !ok)
		}
	}
}
