// Package serve speaks the ClickHouse HTTP interface for an embedded engine,
// as far as clickhouse-go and plain HTTP clients need it.
//
// [New] takes a loaded library and opens the engine; [Server] is an
// http.Handler; [Server.Close] ends it. Statements, settings, query_id,
// param_… values, native and gzip compression and the two ways in which
// ClickHouse reports an exception are as in the server's own interface.
//
// It promises that a failure never looks like an answer: an exception before
// the first byte is an HTTP error with ClickHouse's code, a later one is framed
// in the body and the body is left without its end; and that an answer or an
// insert of any size passes through in pieces. A client that goes away takes
// its statement with it.
//
// It cannot do users, sessions, external tables or progress headers, and it
// has no access control: whoever reaches the socket may do everything.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
)

// Config says how the engine runs.
type Config struct {
	// Path is ClickHouse's data directory.
	Path string
	// Memory bounds the engine's memory, in bytes.
	Memory uint64
	// Threads bounds the threads of one statement; 0 is one for each core.
	Threads int
	// Sessions bounds the statements that run at the same time; more wait.
	// 0 is 32.
	Sessions int
}

// Server is an open engine and its HTTP interface.
type Server struct {
	lib      *chdb.Library
	sessions *sessions
	admin    chan *chdb.Conn // holds the one connection that kills statements
	formats  formats
	hello    hello
}

// threadMemory is how much of the bound on memory must be free for each thread
// of a statement, in bytes. The engine's own default is made for machines where
// hundreds of GiB are; under a bound of one or two GiB it leaves every statement
// with one thread.
const threadMemory = "268435456"

// New opens the engine on its directory. The error is the engine's own text.
func New(lib *chdb.Library, cfg Config) (*Server, error) {
	if cfg.Sessions <= 0 {
		cfg.Sessions = 32
	}
	args := []string{
		"--path=" + cfg.Path,
		"--max_server_memory_usage=" + strconv.FormatUint(cfg.Memory, 10),
	}
	admin, err := lib.Connect(args...)
	if err != nil {
		return nil, err
	}
	// The library's default lets an expression stand for a SELECT; a server's
	// does not, and a typing error should be the same on both.
	base := []setting{{"implicit_select", "0"}, {"max_threads_min_free_memory_per_thread", threadMemory}}
	if cfg.Threads > 0 {
		base = append(base, setting{"max_threads", strconv.Itoa(cfg.Threads)}, setting{"max_insert_threads", "1"})
	}
	s := &Server{lib: lib, admin: make(chan *chdb.Conn, 1)}
	if s.formats, err = readFormats(admin); err == nil {
		s.hello, err = readHello(admin)
	}
	if err != nil {
		admin.Close()
		return nil, err
	}
	s.sessions = newSessions(lib, args[:1], base, cfg.Sessions)
	s.admin <- admin
	return s, nil
}

// Version is ClickHouse's version, such as "26.7.2.1".
func (s *Server) Version() string { return s.hello.version }

// Close cancels what runs, waits for it at most as long as ctx lives, and shuts
// the engine down. It reports whether the engine came to rest: if it did not,
// the process has to end with the engine inside.
func (s *Server) Close(ctx context.Context) bool {
	s.sessions.close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; s.sessions.busy() > 0; n++ {
		if n%50 == 0 {
			s.kill(ctx, "")
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	select {
	case admin := <-s.admin:
		admin.Close()
	case <-ctx.Done():
		return false
	}
	return true
}

// kill cancels the statement of one session, or of all with an empty mark. The
// statement ends at its next check, not at once.
func (s *Server) kill(ctx context.Context, mark string) {
	var admin *chdb.Conn
	select {
	case admin = <-s.admin:
	case <-ctx.Done():
		return
	}
	defer func() { s.admin <- admin }()
	where := "Settings['log_comment'] = " + quote(mark)
	if mark == "" {
		where = "Settings['log_comment'] LIKE 'scopedrift session %'"
	}
	// Not SYNC: the engine keeps a cancelled statement in its list until its
	// session does something else, and SYNC would wait for that.
	_, _, _ = admin.Query("KILL QUERY WHERE "+where+" ASYNC", "Null")
}

func readFormats(conn *chdb.Conn) (formats, error) {
	out, _, err := conn.Query("SELECT lower(name) FROM system.formats", "TSVRaw")
	if err != nil {
		return nil, fmt.Errorf("list the engine's formats: %w", err)
	}
	f := formats{}
	for name := range strings.Lines(string(out)) {
		f[strings.TrimSpace(name)] = true
	}
	if !f["native"] {
		return nil, errors.New("the engine has no Native format")
	}
	return f, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" || r.URL.Path == "/" && r.Method != http.MethodPost && r.URL.Query().Get("query") == "" {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = w.Write([]byte("Ok.\n"))
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	q, err := s.readRequest(w, r)
	if err == nil {
		err = s.run(w, r, q)
	}
	if err != nil {
		fail(w, err)
	}
}
