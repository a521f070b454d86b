package serve

import (
	stdbinary "encoding/binary"
	"errors"
	"io"

	"github.com/ClickHouse/ch-go/compress"
)

// frameHead is the head of a compressed block: checksum (16 bytes), method (1),
// size of the block without checksum (4), size of what it holds (4).
const (
	frameHead    = 25
	frameSizeAt  = 17
	frameCounted = 9 // bytes of the head that the size counts
)

// decompress reads ClickHouse's compressed blocks. It ends with io.EOF only
// after a whole block: ch-go's reader calls every end an EOF.
func decompress(r io.Reader) io.Reader {
	return &eofReader{compress.NewReader(&frames{r: r})}
}

// eofReader takes the wrapping off an io.EOF.
type eofReader struct{ r io.Reader }

func (e *eofReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		err = io.EOF
	}
	return n, err
}

// frames follows the blocks that pass and makes an end inside of one an
// unexpected end.
type frames struct {
	r    io.Reader
	head [frameHead]byte
	have int    // bytes of the head so far
	left uint32 // bytes of the block's body that have not passed
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		if f.left > 0 {
			k := min(uint64(f.left), uint64(len(b)))
			f.left -= uint32(k)
			b = b[k:]
			continue
		}
		k := copy(f.head[f.have:], b)
		f.have += k
		b = b[k:]
		if f.have == frameHead {
			f.have = 0
			if size := stdbinary.LittleEndian.Uint32(f.head[frameSizeAt:]); size > frameCounted {
				f.left = size - frameCounted
			}
		}
	}
	if err == io.EOF && (f.have > 0 || f.left > 0) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
