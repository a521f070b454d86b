package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// piecewise are the formats whose answer may be cut: the pieces that the engine
// gives, one after the other, are the whole. Others have a head or a foot, which
// the engine writes around every piece; those are answered as a whole.
var piecewise = map[string]bool{
	"native": true, "rowbinary": true, "jsoneachrow": true, "jsonlines": true, "ndjson": true,
	"jsoncompacteachrow": true, "tabseparated": true, "tsv": true, "tabseparatedraw": true, "tsvraw": true,
	"csv": true, "tskv": true,
}

// run executes a request. It returns an error only while nothing was written.
func (s *Server) run(w http.ResponseWriter, r *http.Request, q *request) error {
	if q.kind == kindRead && isHello(q) {
		return s.hello.write(w, q)
	}
	sess, err := s.sessions.get(r.Context(), q.database, q.settings)
	if err != nil {
		return err
	}
	watch := s.watch(r.Context(), sess.mark)
	switch {
	case q.kind == kindInsert:
		err = s.insert(w, sess, q)
	case q.kind == kindRead && piecewise[strings.ToLower(q.format)]:
		err = s.stream(w, sess, q)
	default:
		err = s.whole(w, sess, q)
	}
	killed := watch()
	// A failed session is given up: the engine keeps the failed statement in
	// its list until the session ends.
	s.sessions.put(sess, err == nil && !killed && q.kind != kindSession)
	var broken *brokenAnswer
	if errors.As(err, &broken) {
		// The answer has begun, so its end must be missing.
		panic(http.ErrAbortHandler)
	}
	return err
}

// watch cancels the statement of a session when the client goes away. The
// returned function ends that and reports whether it cancelled.
func (s *Server) watch(ctx context.Context, mark string) func() bool {
	var killed atomic.Bool
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
		case <-ctx.Done():
			killed.Store(true)
			s.kill(context.Background(), mark)
		}
	}()
	return func() bool {
		close(done)
		<-ended
		return killed.Load()
	}
}

// stream answers a statement in pieces.
func (s *Server) stream(w http.ResponseWriter, sess *session, q *request) error {
	st, err := sess.conn.Stream(q.sql, q.format, q.params...)
	if isNotStreamable(err) {
		return s.whole(w, sess, q)
	}
	if err != nil {
		return err
	}
	defer st.Close()
	// The first piece decides between an error and an answer.
	piece, err := st.Next()
	if err != nil && err != io.EOF {
		return err
	}
	a := newAnswer(w, q)
	if err == io.EOF {
		st.Close()
		return a.finish(s.emptyNative(sess, q))
	}
	for {
		if err := a.write(piece); err != nil {
			return err // the client went away
		}
		piece, err = st.Next()
		if err == io.EOF {
			return a.finish(nil)
		}
		if err != nil {
			return a.abort(err)
		}
	}
}

// isNotStreamable recognises the library's refusal to answer in pieces, which
// it gives to everything but SELECT before it runs anything.
func isNotStreamable(err error) bool {
	var e *chdb.Error
	return errors.As(err, &e) && e.Code == 36 && strings.Contains(e.Text, "Streaming query is not supported")
}

// whole runs a statement to its end before the answer starts, so that its
// failure is always an HTTP error.
func (s *Server) whole(w http.ResponseWriter, sess *session, q *request) error {
	out, _, err := sess.conn.Query(q.sql, q.format, q.params...)
	if err != nil {
		return err
	}
	return newAnswer(w, q).finish(out)
}

// insert passes rows on as they come. Nothing is answered before the engine
// has stored them all.
func (s *Server) insert(w http.ResponseWriter, sess *session, q *request) error {
	in, err := sess.conn.Insert(q.sql, q.format, q.params...)
	if err != nil {
		return err
	}
	defer in.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := fill(q.data, buf)
		if n > 0 {
			if _, werr := in.Write(buf[:n]); werr != nil {
				// The reason is often better known at the end.
				if _, derr := in.Done(); derr != nil {
					return derr
				}
				return werr
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			// Half an insert must not be stored: Close cancels it.
			return bad(210, "NETWORK_ERROR", "the rows of the insert broke off: %v", err)
		}
	}
	sum, err := in.Done()
	if err != nil {
		return err
	}
	a := newAnswer(w, q)
	a.summary(sum)
	return a.finish(nil)
}

// fill reads until the buffer is full or the reader ends. Unlike io.ReadFull it
// hands on the reader's own error: an unexpected end is not an end here.
func fill(r io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
