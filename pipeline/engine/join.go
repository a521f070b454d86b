package engine

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// LeasePath is the URL path of a lease: a request for it is answered at once
// and then stays open; the engine lives while one is open.
const LeasePath = "/scopedrift/lease"

// join takes a lease on the engine that owns dir, if there is one.
func join(ctx context.Context, dir string) (*Engine, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, false
	}
	r, ok := readRunning(dir)
	if !ok || r.Protocol != protocol {
		return nil, false
	}
	conn, err := takeLease(ctx, r.Socket)
	if err != nil {
		return nil, false
	}
	e := &Engine{running: r, joined: true, done: make(chan struct{})}
	e.release = func() error {
		_ = conn.Close()
		<-e.done
		return e.Err()
	}
	go func() {
		// The engine writes nothing more, so this returns at its end or ours.
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		e.mu.Lock()
		closing := e.closing
		e.mu.Unlock()
		if closing {
			e.end(nil)
			return
		}
		e.end(died("the connection to it broke", ""))
	}()
	return e, true
}

func takeLease(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine"+LeasePath, http.NoBody)
	if err == nil {
		err = req.Write(conn)
	}
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(bufio.NewReader(conn), req)
	}
	if err == nil && res.StatusCode != http.StatusOK {
		err = http.ErrServerClosed
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, nil
}
