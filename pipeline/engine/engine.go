// Package engine runs the embedded ClickHouse as a child process.
//
// [Start] starts it on a data directory, or joins the one that runs there
// already; [Engine.Socket] is where it speaks the ClickHouse HTTP interface
// (package clickhouse connects to it); [Engine.Done] tells when it ended and
// [Engine.Err] why; [Engine.Close] lets go of it.
//
// It promises that a crash of the engine takes nothing with it and is reported;
// that the engine does not outlive the last command that uses it, however that
// one ends; that a directory with anything else in it is not touched; and that
// what was acknowledged survives a kill of the engine (not a power failure:
// ClickHouse leaves writing out to the operating system).
//
// It cannot run where there is no libchdb (it needs Linux with glibc), and the
// engine has no access control but the rights of its socket: 0700, this user.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// DefaultMemory bounds the engine's memory where the configuration does not:
// 1.5 GiB.
const DefaultMemory = 3 << 29

// Config says how the engine runs. The zero value runs it in a temporary
// directory.
type Config struct {
	// Dir is the data directory; it is created if it does not exist. Empty
	// means a temporary one that is removed with the engine.
	Dir string
	// Memory bounds the engine's memory, in bytes; 0 is DefaultMemory. It is
	// decided by the command that starts the engine, not by one that joins.
	Memory uint64
	// Threads bounds the threads of one statement; 0 is one for each core.
	Threads int
	// Program is the engine program; empty means $SCOPEDRIFT_ENGINE, else
	// scopedrift-engine beside the running program.
	Program string
	// Library is libchdb; empty means $SCOPEDRIFT_LIBCHDB, else libchdb.so
	// beside the engine program.
	Library string
	// Listen is a loopback TCP address at which the engine serves as well, for
	// tests of --clickhouse; empty means none.
	Listen string
	// Log takes what the engine writes to its standard error; nil discards it.
	// The last lines are kept for the report of a crash in any case.
	Log io.Writer
}

// Engine is a running engine. Its methods are safe for concurrent use.
type Engine struct {
	running Running
	done    chan struct{}
	// release lets go of the engine and waits for its end where it has to.
	release func() error
	joined  bool

	mu      sync.Mutex
	err     error // why it ended
	closing bool
	closed  sync.Once
	result  error // of Close
}

// waitOwner is how long Start waits for a directory whose owner is starting or
// stopping, in which case it can soon be joined or taken.
const waitOwner = 10 * time.Second

// Start starts the engine, or joins the one that owns the directory, and
// returns when it can be used. ctx bounds the start only: the engine then runs
// until Close. Every error is an [*Error] or that of ctx.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Dir == "" {
		return startTemporary(ctx, cfg)
	}
	deadline := time.Now().Add(waitOwner)
	for {
		if e, ok := join(ctx, cfg.Dir); ok {
			return e, nil
		}
		e, err := spawn(ctx, cfg, false)
		if err == nil || !IsKind(err, DirectoryInUse) || time.Now().After(deadline) {
			return e, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func startTemporary(ctx context.Context, cfg Config) (*Engine, error) {
	dir, err := os.MkdirTemp("", "scopedrift-store-")
	if err != nil {
		return nil, fileError("create a directory in", os.TempDir(), err)
	}
	cfg.Dir = dir
	e, err := spawn(ctx, cfg, true)
	if err != nil {
		_ = os.RemoveAll(dir)
	}
	return e, err
}

// Socket is the path of the unix socket at which the engine speaks the
// ClickHouse HTTP interface.
func (e *Engine) Socket() string { return e.running.Socket }

// Address is the TCP address of Config.Listen with its real port, or "".
func (e *Engine) Address() string { return e.running.Address }

// Version is ClickHouse's version, such as "26.7.2.1".
func (e *Engine) Version() string { return e.running.Version }

// PID is the process of the engine.
func (e *Engine) PID() int { return e.running.PID }

// Joined reports whether another command started the engine.
func (e *Engine) Joined() bool { return e.joined }

// Done is closed when the engine has ended, or was let go of.
func (e *Engine) Done() <-chan struct{} { return e.done }

// Err says why the engine ended: nil while it runs and after a Close, an
// [*Error] of kind Died if it ended by itself.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Blame returns why the engine ended, if err is what a statement met when it
// did, and err otherwise. A connection breaks a moment before the end is known,
// so it may wait for that.
func (e *Engine) Blame(err error) error {
	broken := false
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, syscall.ENOENT} {
		broken = broken || errors.Is(err, sign)
	}
	if !broken {
		return err
	}
	select {
	case <-e.done:
	case <-time.After(2 * time.Second):
	}
	if cause := e.Err(); cause != nil {
		return cause
	}
	return err
}

// Close lets go of the engine, which ends unless another command uses it, and
// waits for that. A temporary directory is removed. It returns an error of kind
// Died if the engine had ended before: then what the command computed must not
// be trusted. Every call returns the same.
func (e *Engine) Close() error {
	e.closed.Do(func() {
		e.mu.Lock()
		e.closing = true
		e.mu.Unlock()
		e.result = e.release()
	})
	return e.result
}

// end records why the engine ended. Whoever has asked for it hears nothing.
func (e *Engine) end(err error) {
	e.mu.Lock()
	if e.closing && !IsKind(err, Died) {
		err = nil
	}
	e.err = err
	e.mu.Unlock()
	close(e.done)
}

// arguments are the command line of the engine program.
func (c Config) arguments(ephemeral bool) []string {
	args := []string{"--data", c.Dir, "--memory", strconv.FormatUint(c.Memory, 10), "--child"}
	if c.Threads > 0 {
		args = append(args, "--threads", strconv.Itoa(c.Threads))
	}
	if c.Library != "" {
		args = append(args, "--library", c.Library)
	}
	if c.Listen != "" {
		args = append(args, "--listen", c.Listen)
	}
	if ephemeral {
		args = append(args, "--ephemeral")
	}
	return args
}

var errNotAsked = errors.New("it ended although nobody asked it to")

func died(how, tail string) *Error {
	text := "the embedded engine died: " + how
	if line := lastLine(tail); line != "" {
		text += fmt.Sprintf(" (its last words: %s)", line)
	}
	return &Error{Kind: Died, Text: text,
		Remedy: "run the command again: what was acknowledged is kept; if it happens again, give the engine less work at a time or more memory",
		Err:    errNotAsked}
}
