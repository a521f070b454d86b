package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// Env is the world as a command sees it.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Args are the arguments after the program's name.
	Args []string
	// Environ is the environment as NAME=value.
	Environ []string
	// Dir is the working directory; relative paths are taken from it.
	Dir string
	// InTerminal, OutTerminal and ErrTerminal say which streams are one.
	InTerminal, OutTerminal, ErrTerminal bool
	// Width is the terminal's width in columns, 0 where it has none. It is
	// asked each time, since windows change.
	Width func() int

	mu sync.Mutex
	// hangups, once somebody wants them, take a SIGHUP each.
	hangups  chan struct{}
	cleanups map[int]func()
	serial   int
	// busy counts the cleanups under way.
	busy sync.WaitGroup
}

// System returns the Env of this process.
func System() *Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	return &Env{
		Stdin: os.Stdin, Stdout: results{os.Stdout}, Stderr: os.Stderr,
		Args: os.Args[1:], Environ: os.Environ(), Dir: dir,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width: func() int {
			width, _, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 0
			}
			return width
		},
	}
}

// results is standard output. That its reader went away is told apart from a
// connection that broke.
type results struct{ to io.Writer }

func (r results) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errReaderGone
	}
	return n, err
}

// Exit ends the process.
func Exit(code int) { os.Exit(code) }

// Getenv returns the value of an environment variable, empty if it is not set.
func (e *Env) Getenv(name string) string {
	value, _ := e.lookup(name)
	return value
}

func (e *Env) lookup(name string) (string, bool) {
	// The last one wins, as in the C library of every shell that exports twice.
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if key, value, ok := strings.Cut(e.Environ[i], "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// Path makes a path that the user gave absolute. "-" stays: it is a stream.
func (e *Env) Path(name string) string {
	if name == "" || name == "-" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(e.Dir, name)
}

// Signals returns a context that ends with the first SIGINT or SIGTERM, or
// SIGHUP unless Hangups are wanted.
// A second one does not wait for anything but the removal of what is temporary.
// A broken pipe comes back as a write error instead of ending the process.
func (e *Env) Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	caught := make(chan os.Signal, 2)
	pipe := make(chan os.Signal, 1)
	stop := make(chan struct{})
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(pipe, syscall.SIGPIPE)
	next := func() bool {
		for {
			select {
			case got := <-caught:
				if got != syscall.SIGHUP || !e.hangup() {
					return true
				}
			case <-stop:
				return false
			}
		}
	}
	go func() {
		if !next() {
			return
		}
		cancel(errInterrupted)
		if next() {
			e.runCleanups()
			os.Exit(codeInterrupted)
		}
	}()
	return ctx, func() {
		close(stop)
		signal.Stop(caught)
		signal.Stop(pipe)
		cancel(context.Canceled)
	}
}

// Hangups makes SIGHUP a message instead of the end, as a command wants that
// reads its configuration anew: one message stands for all that came since it
// was taken.
func (e *Env) Hangups() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hangups == nil {
		e.hangups = make(chan struct{}, 1)
	}
	return e.hangups
}

// hangup passes on a SIGHUP, if anybody wants it.
func (e *Env) hangup() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hangups == nil {
		return false
	}
	select {
	case e.hangups <- struct{}{}:
	default: // one waits already
	}
	return true
}

// TempDir makes a private directory that remove takes away again. It is also
// taken away when the command is interrupted twice.
func (e *Env) TempDir() (dir string, remove func(), err error) {
	base := e.Getenv("TMPDIR")
	if base == "" {
		base = os.TempDir()
	}
	dir, err = os.MkdirTemp(base, "scopedrift-")
	if err != nil {
		return "", nil, broken(err, "set TMPDIR to a directory that can be written, or pass --data DIR")
	}
	return dir, e.onExit(func() { _ = os.RemoveAll(dir) }), nil
}

// onExit registers f to run once: by the returned function, or when the process
// is made to exit early.
func (e *Env) onExit(f func()) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cleanups == nil {
		e.cleanups = map[int]func(){}
	}
	e.serial++
	n := e.serial
	e.cleanups[n] = f
	return func() {
		e.mu.Lock()
		run := e.cleanups[n]
		delete(e.cleanups, n)
		if run != nil {
			e.busy.Add(1)
		}
		e.mu.Unlock()
		if run != nil {
			run()
			e.busy.Done()
		}
	}
}

// runCleanups runs what is registered, and waits for what is under way.

func (e *Env) runCleanups() {
	e.mu.Lock()
	pending := e.cleanups
	e.cleanups = nil
	e.mu.Unlock()
	for _, f := range pending {
		f()
	}
	e.busy.Wait()
}

// ReadFile reads a whole file, or standard input for "-", up to limit bytes.
func (e *Env) ReadFile(name string, limit int64) ([]byte, error) {
	r := e.Stdin
	if name != "-" {
		file, err := os.Open(e.Path(name))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		r = file
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, faultf(codeUsage, "%s is larger than %s", name, formatBytes(uint64(limit)))
	}
	return data, nil
}

// ReadSecret reads a secret from standard input, without its last line end. On
// a terminal it asks, and does not show what is typed.
func (e *Env) ReadSecret(prompt string, limit int64) ([]byte, error) {
	file, isFile := e.Stdin.(*os.File)
	if e.InTerminal && isFile {
		_, _ = io.WriteString(e.Stderr, prompt)
		secret, err := term.ReadPassword(int(file.Fd()))
		_, _ = io.WriteString(e.Stderr, "\n")
		return secret, err
	}
	secret, err := e.ReadFile("-", limit)
	if err != nil {
		return nil, err
	}
	secret, _ = bytes.CutSuffix(secret, []byte("\n"))
	secret, _ = bytes.CutSuffix(secret, []byte("\r"))
	return secret, nil
}

// StdinUntil is standard input as long as ctx lives: a read that waits for more
// ends with ctx, which a read of a pipe would not do by itself.
func (e *Env) StdinUntil(ctx context.Context) io.Reader {
	return &patient{ctx: ctx, from: e.Stdin}
}

type patient struct {
	ctx  context.Context
	from io.Reader
	// chunks come from the goroutine that waits, one at a time.
	chunks chan chunk
	rest   []byte
	err    error
}

type chunk struct {
	data []byte
	err  error
}

// Read hands on what has come, or why nothing more does.
func (p *patient) Read(buf []byte) (int, error) {
	if p.chunks == nil {
		p.chunks = make(chan chunk)
		go p.wait()
	}
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		select {
		case c := <-p.chunks:
			p.rest, p.err = c.data, c.err
		case <-p.ctx.Done():
			p.err = context.Cause(p.ctx)
		}
	}
	n := copy(buf, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// wait reads until there is nothing more or nobody wants it. It may be left
// waiting in a read when the command ends.
func (p *patient) wait() {
	for {
		data := make([]byte, 1<<16)
		n, err := p.from.Read(data)
		select {
		case p.chunks <- chunk{data[:n], err}:
		case <-p.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Create opens a file for writing, replacing what it held. What may hold
// observed data is readable by its owner only.
func (e *Env) Create(name string) (io.WriteCloser, error) {
	return os.OpenFile(e.Path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// CreateNew opens a file for writing that must not exist yet.
func (e *Env) CreateNew(name string) (io.WriteCloser, error) {
	return os.OpenFile(e.Path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Open opens a file for reading; "-" is standard input.
func (e *Env) Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(e.Stdin), nil
	}
	return os.Open(e.Path(name))
}

// Append opens a file for writing at its end.
func (e *Env) Append(name string) (io.WriteCloser, error) {
	return os.OpenFile(e.Path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// MkdirAll makes a directory for its owner only, with its parents.
func (e *Env) MkdirAll(name string) error { return os.MkdirAll(e.Path(name), 0o700) }

// Remove takes away one file.
func (e *Env) Remove(name string) error { return os.Remove(e.Path(name)) }

// Stat tells about a file.
func (e *Env) Stat(name string) (fs.FileInfo, error) { return os.Stat(e.Path(name)) }

// Exists reports whether the name exists.
func (e *Env) Exists(name string) bool {
	_, err := e.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// TotalSize adds up the files that the inputs name, as far as that is known.
func (e *Env) TotalSize(inputs []string) uint64 {
	var total uint64
	for _, name := range inputs {
		if !e.Exists(name) {
			_, name, _ = strings.Cut(name, ":")
		}
		// What cannot be read here is reported by whoever reads it.
		_ = filepath.WalkDir(e.Path(name), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return nil
			}
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				total += uint64(info.Size())
			}
			return nil
		})
	}
	return total
}

// Empty reports whether a directory holds nothing.
func (e *Env) Empty(dir string) bool {
	entries, err := os.ReadDir(e.Path(dir))
	return err == nil && len(entries) == 0
}

// UserDir is where the user's own settings and installation key live: empty
// where the environment names no home.
func (e *Env) UserDir() string {
	if dir := e.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "scopedrift")
	}
	if home := e.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "scopedrift")
	}
	return ""
}
