package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long a stop may take: the engine itself gives its statements StopGrace,
// then it is killed.
const (
	// StopGrace bounds the time in which the engine cancels what runs.
	StopGrace = 5 * time.Second
	killAfter = 15 * time.Second
	// cancelGrace is for an engine whose start was cancelled.
	cancelGrace = 3 * time.Second
)

// Status is one line that the engine program writes to its third file for the
// command that started it. Exactly one of the fields is set.
type Status struct {
	Ready *Running `json:"ready,omitempty"`
	Error *Error   `json:"error,omitempty"`
	// Kept says, after the command let go, that others use the engine: it goes
	// on without the command.
	Kept bool `json:"kept,omitempty"`
}

// maxStatus is more than an engine ever says, so that its reader never waits.
const maxStatus = 8

// StatusFile is the number of that file in the engine program.
const StatusFile = 3

// child is the engine as the process that started it sees it.
type child struct {
	cmd    *exec.Cmd
	lease  *os.File      // held open; closing it lets go
	status chan Status   // closed when the engine closed its end
	exited chan struct{} // closed after Wait
	state  string        // how it ended; set before exited is closed
	tail   *tail
	socket string
	dir    string // a temporary one to remove, or ""
}

// spawn starts an engine and waits until it is ready.
func spawn(ctx context.Context, cfg Config, ephemeral bool) (*Engine, error) {
	program, err := findProgram(cfg.Program)
	if err != nil {
		return nil, err
	}
	c := &child{status: make(chan Status, maxStatus), exited: make(chan struct{}), tail: &tail{next: cfg.Log}}
	if ephemeral {
		c.dir = cfg.Dir
	}
	if err := c.start(program, cfg.arguments(ephemeral)); err != nil {
		return nil, err
	}
	select {
	case s, ok := <-c.status:
		switch {
		case ok && s.Ready != nil:
			return c.engine(*s.Ready), nil
		case ok && s.Error != nil:
			c.stop(killAfter)
			return nil, s.Error
		}
		c.stop(killAfter)
		return nil, &Error{Kind: StartFailed, Text: fmt.Sprintf("the engine program %s did not start: %s%s", program, c.state, c.tail.quoted()),
			Remedy: "see whether the machine has the memory for it, " + withoutEngine}
	case <-ctx.Done():
		// Without its lease it ends by itself as soon as it is up, and cleans
		// up better than we could.
		c.stop(cancelGrace)
		return nil, ctx.Err()
	}
}

// start runs the program in a process group of its own, so that the terminal's
// interrupt reaches only the command, which then decides when the engine ends.
func (c *child) start(program string, args []string) error {
	leaseRead, leaseWrite, err := os.Pipe()
	if err != nil {
		return fileError("make a pipe for", program, err)
	}
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		_ = leaseRead.Close()
		_ = leaseWrite.Close()
		return fileError("make a pipe for", program, err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = leaseRead
	cmd.Stderr = c.tail
	cmd.ExtraFiles = []*os.File{statusWrite} // number StatusFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A descendant that keeps standard error open must not keep Wait.
	cmd.WaitDelay = time.Second
	err = cmd.Start()
	_ = leaseRead.Close()
	_ = statusWrite.Close()
	if err != nil {
		_ = leaseWrite.Close()
		_ = statusRead.Close()
		return startError(program, err)
	}
	c.cmd, c.lease = cmd, leaseWrite
	go c.readStatus(statusRead)
	go func() {
		err := cmd.Wait()
		c.state = describe(cmd.ProcessState, err)
		close(c.exited)
	}()
	return nil
}

func startError(program string, err error) error {
	e := &Error{Kind: WrongProgram, Text: fmt.Sprintf("cannot run the engine program %s: %v", program, reason(err)), Err: err,
		Remedy: fmt.Sprintf("build it for this machine with make build, %s", withoutEngine)}
	switch {
	case errors.Is(err, syscall.ENOENT):
		// The file was there a moment ago: what is missing is its loader.
		e.Text = fmt.Sprintf("cannot run the engine program %s: this system has no glibc loader", program)
		e.Remedy = "run it on a Linux with glibc, " + withoutEngine
	case errors.Is(err, syscall.ENOEXEC):
		e.Text = fmt.Sprintf("the engine program %s is not for this machine (%s)", program, runtime.GOARCH)
	case errors.Is(err, syscall.EACCES):
		e.Kind = NoPermission
		e.Remedy = "make it executable for this user, " + withoutEngine
	}
	return e
}

func (c *child) readStatus(r *os.File) {
	defer func() { _ = r.Close() }()
	defer close(c.status)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var s Status
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			c.status <- s
		}
	}
}

// engine hands out the running child and watches it.
func (c *child) engine(r Running) *Engine {
	c.socket = r.Socket
	e := &Engine{running: r, done: make(chan struct{})}
	closing := make(chan struct{})
	kept := make(chan struct{})
	e.release = func() error {
		close(closing)
		_ = c.lease.Close()
		select {
		case <-c.exited:
			c.clean()
		case <-kept:
			// Others use it; it cleans up after the last of them.
		case <-time.After(killAfter):
			c.kill()
		}
		<-e.done
		return e.Err()
	}
	go func() {
		for s := range c.status {
			if s.Kept {
				close(kept)
				e.end(nil)
				return
			}
		}
		<-c.exited
		select {
		case <-closing:
			if c.state == cleanExit {
				e.end(nil)
				return
			}
		default:
		}
		c.clean()
		e.end(died(c.state, c.tail.text()))
	}()
	return e
}

// stop lets go of an engine that did not start, and kills it after the grace.
func (c *child) stop(grace time.Duration) {
	_ = c.lease.Close()
	select {
	case <-c.exited:
	case <-time.After(grace):
	}
	c.kill()
}

// kill ends the engine by force and cleans up after it.
func (c *child) kill() {
	_ = c.lease.Close()
	_ = c.cmd.Process.Kill()
	for range c.status { // its reader must not wait for us
	}
	<-c.exited
	c.clean()
}

// clean removes what the engine would have removed itself.
func (c *child) clean() {
	if c.socket != "" {
		removeSocket(c.socket)
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

const cleanExit = "it ended"

func describe(s *os.ProcessState, err error) string {
	if s == nil {
		return fmt.Sprintf("waiting for it failed: %v", err)
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		sig := ws.Signal()
		how := fmt.Sprintf("it was ended by signal %d (%v)", int(sig), sig)
		if sig == syscall.SIGKILL {
			how += ", which the system sends when memory runs out"
		}
		return how
	}
	if s.ExitCode() == 0 {
		return cleanExit
	}
	return fmt.Sprintf("it ended with exit code %d", s.ExitCode())
}

// tail passes standard error on and keeps the end of it.
type tail struct {
	next io.Writer
	mu   sync.Mutex
	buf  []byte
}

const tailSize = 8 << 10

// Write never fails: a log that cannot be written must not stop the engine.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	if t.next != nil {
		_, _ = t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func (t *tail) quoted() string {
	if line := lastLine(t.text()); line != "" {
		return " (its last words: " + line + ")"
	}
	return ""
}

// lastLine is the last line with content, shortened, without control characters.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.TrimSpace(lines[len(lines)-1]))
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}
