package serve

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// Limits of the transfer, in bytes.
const (
	maxExceptionText = 15 << 10 // clients look for an exception in the last 16 KiB
	maxBlock         = 1 << 20  // of what one compressed block holds
)

// answer writes the body of a response that has begun with success.
type answer struct {
	w   http.ResponseWriter
	q   *request
	zip *compress.Writer // nil: plain
	tag string           // marks an exception in the body as ours

	begun bool // something was written
}

// brokenAnswer says that a failure was written into a body that had begun.
type brokenAnswer struct{ err error }

func (b *brokenAnswer) Error() string { return b.err.Error() }
func (b *brokenAnswer) Unwrap() error { return b.err }

func newAnswer(w http.ResponseWriter, q *request) *answer {
	a := &answer{w: w, q: q}
	var tag [8]byte
	_, _ = rand.Read(tag[:]) // never fails
	a.tag = hex.EncodeToString(tag[:])
	h := w.Header()
	h.Set("Content-Type", contentType(q.format))
	h.Set("X-ClickHouse-Format", q.format)
	h.Set("X-ClickHouse-Exception-Tag", a.tag)
	h.Set("X-ClickHouse-Timezone", "UTC")
	if q.compress {
		a.zip = compress.NewWriter(compress.LevelZero, q.method)
	}
	return a
}

func contentType(format string) string {
	switch f := strings.ToLower(format); {
	case strings.HasPrefix(f, "json"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(f, "tab") || strings.HasPrefix(f, "tsv"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(f, "csv"):
		return "text/csv; charset=UTF-8"
	}
	return "application/octet-stream"
}

// summary tells what a statement did, in ClickHouse's header.
func (a *answer) summary(s chdb.Summary) {
	a.w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(
		`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d"}`,
		s.RowsRead, s.BytesRead, s.RowsWritten, s.BytesWritten))
}

// write sends a piece. An error means that the client is gone.
func (a *answer) write(piece []byte) error {
	a.begun = true
	if a.zip == nil {
		if _, err := a.w.Write(piece); err != nil {
			return &brokenAnswer{err}
		}
		return nil
	}
	for len(piece) > 0 {
		n := min(len(piece), maxBlock)
		if err := a.zip.Compress(piece[:n]); err != nil {
			return a.abort(fmt.Errorf("compress the answer: %w", err))
		}
		if _, err := a.w.Write(a.zip.Data); err != nil {
			return &brokenAnswer{err}
		}
		piece = piece[n:]
	}
	return nil
}

// finish sends the last piece and ends the answer.
func (a *answer) finish(piece []byte) error {
	if len(piece) == 0 {
		if !a.begun {
			a.w.WriteHeader(http.StatusOK)
		}
		return nil
	}
	return a.write(piece)
}

// abort writes an exception behind what was sent, framed as ClickHouse does.
func (a *answer) abort(err error) error {
	text := exceptionText(err)
	frame := fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", a.tag, text, len(text)+1, a.tag)
	if a.zip != nil {
		// In a block that is stored as it is: clients look for the exception in
		// the bytes that arrive, before they undo the compression.
		plain := compress.NewWriter(compress.LevelZero, compress.None)
		if zerr := plain.Compress([]byte(frame)); zerr == nil {
			_, _ = a.w.Write(plain.Data)
		}
	} else {
		_, _ = a.w.Write([]byte(frame))
	}
	_ = http.NewResponseController(a.w).Flush()
	return &brokenAnswer{err}
}

// exceptionText is the text of an error in ClickHouse's form.
func exceptionText(err error) string {
	var e *chdb.Error
	text := ""
	if errors.As(err, &e) && e.Code > 0 {
		text = e.Text
	} else {
		text = "Code: 1002. DB::Exception: " + err.Error() + ". (UNKNOWN_EXCEPTION)"
	}
	if len(text) > maxExceptionText {
		text = text[:maxExceptionText]
	}
	return text
}

// fail answers with an HTTP error.
func fail(w http.ResponseWriter, err error) {
	code := 1002
	var e *chdb.Error
	if errors.As(err, &e) && e.Code > 0 {
		code = e.Code
	}
	status := http.StatusInternalServerError
	switch code {
	case 60, 81: // no such table, no such database
		status = http.StatusNotFound
	case 36, 47, 48, 62, 89, 115, 164:
		status = http.StatusBadRequest
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(exceptionText(err) + "\n"))
}

// emptyNative makes the block without rows that a client expects when a
// statement has no rows: it is where column names come from. The engine gives
// nothing in that case, so the columns are asked for without running anything.
func (s *Server) emptyNative(sess *session, q *request) []byte {
	if !strings.EqualFold(q.format, "Native") {
		return nil
	}
	switch first, _ := (&scanner{text: q.sql}).next(); strings.ToUpper(first) {
	case "SELECT", "WITH", "(", "FROM":
	default:
		return nil
	}
	out, _, err := sess.conn.Query("DESCRIBE TABLE (\n"+q.sql+"\n)", "RowBinary", q.params...)
	if err != nil {
		return nil
	}
	var cols []column
	for r := (binary{out}); len(r.b) > 0; {
		c := column{name: r.str(), typ: r.str()}
		for range 5 { // default kind, default, comment, codec, ttl
			r.str()
		}
		if c.typ == "" {
			return nil
		}
		cols = append(cols, c)
	}
	return encodeHeader(nil, cols, 0)
}
