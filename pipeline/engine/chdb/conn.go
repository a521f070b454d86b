package chdb

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strconv"
	"unsafe"
)

// Error is a failure that ClickHouse reported.
type Error struct {
	// Code is ClickHouse's number for the kind of failure, such as 60 for an
	// unknown table; 0 if the text carries none.
	Code int
	// Text is the whole text as ClickHouse gave it, "Code: 60. DB::Exception: …".
	Text string
}

// Error returns ClickHouse's text.
func (e *Error) Error() string { return e.Text }

// codeText finds the code in the text of an exception. The library puts words
// before it in some cases ("Error: Code: 60. …"), so it is not anchored.
var codeText = regexp.MustCompile(`Code: (\d{1,6})\. DB::`)

// newError makes an Error of a text; the text starts at its code.
func newError(text string) *Error {
	e := &Error{Text: text}
	if m := codeText.FindStringSubmatchIndex(text); m != nil {
		e.Code, _ = strconv.Atoi(text[m[2]:m[3]])
		e.Text = text[m[0]:]
	}
	return e
}

// Param is one query parameter, the value of {Name:Type} in a statement. Value
// is text in ClickHouse's escaped form, as in the HTTP interface.
type Param struct {
	Name, Value string
}

// Summary says what a finished statement did, materialized views included.
type Summary struct {
	RowsRead, BytesRead       uint64 // from storage
	RowsWritten, BytesWritten uint64
}

// Conn is one session of the engine: it has its own settings and current
// database and runs one statement at a time. It is not safe for concurrent use.
type Conn struct {
	lib  *Library
	cell *unsafe.Pointer // nil once closed
}

// Close ends the session. A stream or insert of it must be closed before.
func (c *Conn) Close() {
	if c.cell == nil {
		return
	}
	c.lib.api.closeConn(c.cell)
	c.cell = nil
}

// Query runs a statement and returns its whole answer in the given output
// format. The answer is a copy and the caller's.
func (c *Conn) Query(sql, format string, params ...Param) ([]byte, Summary, error) {
	if c.cell == nil {
		return nil, Summary{}, ErrClosed
	}
	q, f, p := newText(sql), newText(format), newParams(params)
	res := c.lib.api.queryWithParamsN(*c.cell, q.ptr(), q.size(), f.ptr(), f.size(), p.names.ptr(), p.names.size(), p.values.ptr(), p.values.size(), p.count())
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	runtime.KeepAlive(p)
	return c.lib.take(res)
}

// take copies a result and releases it.
func (l *Library) take(res unsafe.Pointer) ([]byte, Summary, error) {
	if res == nil {
		return nil, Summary{}, errNull
	}
	defer l.api.destroyQueryResult(res)
	if text := l.api.resultError(res); text != "" {
		return nil, Summary{}, newError(text)
	}
	sum := Summary{
		RowsRead:     l.api.resultStorageRowsRead(res),
		BytesRead:    l.api.resultStorageBytesRead(res),
		RowsWritten:  l.api.resultRowsWritten(res),
		BytesWritten: l.api.resultBytesWritten(res),
	}
	var out []byte
	if n := l.api.resultLength(res); n > 0 {
		if buf := l.api.resultBuffer(res); buf != nil {
			out = append(out, unsafe.Slice(buf, n)...)
		}
	}
	return out, sum, nil
}

// Stream is a statement whose answer comes in pieces.
type Stream struct {
	conn   *Conn
	handle unsafe.Pointer // nil once closed
	chunk  unsafe.Pointer // the piece that the last Next returned
	ended  bool
}

// Stream starts a statement that answers rows. The connection is busy until
// the stream is closed.
func (c *Conn) Stream(sql, format string, params ...Param) (*Stream, error) {
	if c.cell == nil {
		return nil, ErrClosed
	}
	q, f, p := newText(sql), newText(format), newParams(params)
	h := c.lib.api.streamQueryWithParamsN(*c.cell, q.ptr(), q.size(), f.ptr(), f.size(), p.names.ptr(), p.names.size(), p.values.ptr(), p.values.size(), p.count())
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	runtime.KeepAlive(p)
	if h == nil {
		return nil, errNull
	}
	if text := c.lib.api.resultError(h); text != "" {
		c.lib.api.destroyQueryResult(h)
		return nil, newError(text)
	}
	return &Stream{conn: c, handle: h}, nil
}

// Next returns the next piece of the answer, io.EOF after the last. The piece
// belongs to the engine and is valid until the next call of Next or Close.
func (s *Stream) Next() ([]byte, error) {
	if s.handle == nil || s.conn.cell == nil {
		return nil, ErrClosed
	}
	if s.ended {
		return nil, io.EOF
	}
	api := &s.conn.lib.api
	s.release()
	res := api.streamFetchResult(*s.conn.cell, s.handle)
	if res == nil {
		s.ended = true
		return nil, errNull
	}
	s.chunk = res
	if text := api.resultError(res); text != "" {
		s.ended = true
		return nil, newError(text)
	}
	n := api.resultLength(res)
	buf := api.resultBuffer(res)
	if n == 0 || buf == nil {
		s.ended = true
		return nil, io.EOF
	}
	return unsafe.Slice(buf, n), nil
}

func (s *Stream) release() {
	if s.chunk != nil {
		s.conn.lib.api.destroyQueryResult(s.chunk)
		s.chunk = nil
	}
}

// Close releases the stream, and cancels the statement if it has not ended.
// The cancel waits until the engine has let go of the statement.
func (s *Stream) Close() {
	if s.handle == nil {
		return
	}
	s.release()
	if s.conn.cell != nil {
		if !s.ended {
			s.conn.lib.api.streamCancelQuery(*s.conn.cell, s.handle)
		}
		s.conn.lib.api.destroyQueryResult(s.handle)
	}
	s.handle = nil
}

// Insert is an INSERT whose rows come in pieces.
type Insert struct {
	conn   *Conn
	handle unsafe.Pointer // nil once closed
	done   bool
}

// Insert starts an INSERT; sql has neither a FORMAT clause nor data. The
// connection is busy until the insert is closed.
func (c *Conn) Insert(sql, format string, params ...Param) (*Insert, error) {
	if c.cell == nil {
		return nil, ErrClosed
	}
	q, f, p := newText(sql), newText(format), newParams(params)
	h := c.lib.api.streamInsertWithParamsN(*c.cell, q.ptr(), q.size(), f.ptr(), f.size(), p.names.ptr(), p.names.size(), p.values.ptr(), p.values.size(), p.count())
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	runtime.KeepAlive(p)
	if h == nil {
		return nil, errNull
	}
	if text := c.lib.api.streamInsertError(h); text != "" {
		c.lib.api.destroyInsertStream(h)
		return nil, newError(text)
	}
	return &Insert{conn: c, handle: h}, nil
}

// Write appends bytes of the format; the engine copies them. It blocks while
// the engine cannot take more.
func (i *Insert) Write(p []byte) (int, error) {
	if i.handle == nil || i.done || i.conn.cell == nil {
		return 0, ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	state := i.conn.lib.api.streamAppend(i.handle, &p[0], uintptr(len(p)))
	runtime.KeepAlive(p)
	if state != 0 {
		return 0, i.failure()
	}
	return len(p), nil
}

// failure is why the insert stream is broken.
func (i *Insert) failure() error {
	if text := i.conn.lib.api.streamInsertError(i.handle); text != "" {
		return newError(text)
	}
	return errors.New("the engine refused rows of an insert without a reason")
}

// Done ends the rows and waits until they are stored.
func (i *Insert) Done() (Summary, error) {
	if i.handle == nil || i.done || i.conn.cell == nil {
		return Summary{}, ErrClosed
	}
	i.done = true
	_, sum, err := i.conn.lib.take(i.conn.lib.api.streamDone(i.handle))
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			return Summary{}, err
		}
		return Summary{}, fmt.Errorf("finish insert: %w", err)
	}
	return sum, nil
}

// Close releases the insert, and cancels it if Done was not called. A cancelled
// insert may have stored blocks that were complete.
func (i *Insert) Close() {
	if i.handle == nil {
		return
	}
	if i.conn.cell != nil {
		if !i.done {
			i.conn.lib.api.streamCancelInsert(i.handle)
		}
		i.conn.lib.api.destroyInsertStream(i.handle)
	}
	i.handle = nil
}

// text is a string as C wants it: bytes with a final zero that is not counted.
type text struct{ b []byte }

func newText(s string) text { return text{append([]byte(s), 0)} }

func (t text) ptr() *byte    { return &t.b[0] }
func (t text) size() uintptr { return uintptr(len(t.b) - 1) }

// list is an array of such strings with their sizes. It holds Go pointers,
// which is safe here: the heap does not move and C does not keep them.
type list struct {
	ptrs  []*byte
	sizes []uintptr
}

func (l *list) add(s string) {
	t := newText(s)
	l.ptrs = append(l.ptrs, t.ptr())
	l.sizes = append(l.sizes, t.size())
}

func (l *list) ptr() **byte {
	if len(l.ptrs) == 0 {
		return nil
	}
	return &l.ptrs[0]
}

func (l *list) size() *uintptr {
	if len(l.sizes) == 0 {
		return nil
	}
	return &l.sizes[0]
}

type paramLists struct{ names, values list }

func newParams(params []Param) *paramLists {
	p := &paramLists{}
	for _, x := range params {
		p.names.add(x.Name)
		p.values.add(x.Value)
	}
	return p
}

func (p *paramLists) count() uintptr { return uintptr(len(p.names.ptrs)) }
