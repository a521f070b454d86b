package daemon

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/serve"
)

// maxSocketPath is what fits into the kernel's socket address, with the zero.
const maxSocketPath = 107

// door is where the engine is reached.
type door struct {
	server  *serve.Server
	leases  *leases
	socket  string
	private string // directory made for the socket, to remove
	address string // TCP, or ""
	http    *http.Server
	failed  chan error
}

// open listens on the socket, and on a loopback address if one is given.
func (d *door) open(socket, listen string) error {
	d.failed = make(chan error, 2)
	mux := http.NewServeMux()
	mux.Handle("/", d.server)
	mux.HandleFunc(engine.LeasePath, d.leases.serve)
	d.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 30 * time.Second,
		// Parameters and settings come in the URL.
		MaxHeaderBytes: 16 << 20,
		ErrorLog:       log.New(os.Stderr, "scopedrift-engine: ", 0),
	}
	if socket == "" {
		var err error
		if socket, err = d.privateSocket(); err != nil {
			return err
		}
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return &engine.Error{Kind: engine.StartFailed, Text: fmt.Sprintf("cannot listen on the socket %s: %v", socket, err), Err: err,
			Remedy: "set TMPDIR to a short path where this user may write"}
	}
	d.socket = socket
	if err := os.Chmod(socket, 0o600); err != nil {
		return err
	}
	d.serve(l)
	if listen == "" {
		return nil
	}
	return d.openTCP(listen)
}

// openTCP serves a loopback address. Others are refused: nothing protects them.
func (d *door) openTCP(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return &engine.Error{Kind: engine.StartFailed, Text: fmt.Sprintf("%q is not a loopback address with a port", listen),
			Remedy: "use 127.0.0.1:PORT: the engine has no access control"}
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return &engine.Error{Kind: engine.StartFailed, Text: fmt.Sprintf("cannot listen on %s: %v", listen, err), Err: err,
			Remedy: "choose a free port"}
	}
	d.address = l.Addr().String()
	d.serve(l)
	return nil
}

func (d *door) serve(l net.Listener) {
	go func() {
		if err := d.http.Serve(l); err != http.ErrServerClosed {
			d.failed <- err
		}
	}()
}

// privateSocket makes a directory that only this user can enter. The usual
// place for temporary files may have a path too long for a socket.
func (d *door) privateSocket() (string, error) {
	var last error
	for _, base := range []string{os.TempDir(), os.Getenv("XDG_RUNTIME_DIR"), "/tmp"} {
		if base == "" {
			continue
		}
		dir, err := os.MkdirTemp(base, "scopedrift-engine-")
		if err != nil {
			last = err
			continue
		}
		socket := filepath.Join(dir, "clickhouse.sock")
		if len(socket) > maxSocketPath {
			_ = os.Remove(dir)
			last = fmt.Errorf("%s is longer than %d bytes", socket, maxSocketPath)
			continue
		}
		d.private = dir
		return socket, nil
	}
	return "", &engine.Error{Kind: engine.StartFailed, Text: fmt.Sprintf("cannot make a directory for the socket: %v", last), Err: last,
		Remedy: "set TMPDIR to a short path where this user may write"}
}

// close stops listening and breaks the connections; a client sees that its
// answer is incomplete.
func (d *door) close() {
	if d.http != nil {
		_ = d.http.Close()
	}
	if d.socket != "" {
		_ = os.Remove(d.socket)
	}
	if d.private != "" {
		_ = os.Remove(d.private)
	}
}

// leases counts who needs the engine.
type leases struct {
	mu    sync.Mutex
	count int
	ended bool
	none  chan struct{} // closed when the last one was given back
}

func newLeases() *leases { return &leases{none: make(chan struct{})} }

// take adds a lease; it fails once the engine is ending.
func (l *leases) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.count++
	return true
}

// give gives one back and returns how many are left.
func (l *leases) give() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	if l.count == 0 && !l.ended {
		l.ended = true
		close(l.none)
	}
	return l.count
}

// serve holds a lease for as long as the client's connection lives.
func (l *leases) serve(w http.ResponseWriter, r *http.Request) {
	if !l.take() {
		http.Error(w, "the engine is ending", http.StatusServiceUnavailable)
		return
	}
	defer l.give()
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	<-r.Context().Done()
}

// followParent holds the lease of the command that started the engine, whose
// end of the pipe closes when it lets go and when it dies. kept is called if
// others go on.
func (l *leases) followParent(pipe *os.File, kept func()) {
	buf := make([]byte, 1)
	for {
		if _, err := pipe.Read(buf); err != nil {
			break
		}
	}
	if l.give() > 0 {
		kept()
	}
}
