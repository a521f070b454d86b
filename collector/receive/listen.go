package receive

import (
	"io"
	"log"
	"net"
	"sync"
)

// silent takes what the HTTP server says of broken connections, which are
// counted elsewhere: its lines may hold what a client sent.
var silent = log.New(io.Discard, "", 0)

// bounded is a listener with a bound on its open connections: more of them wait
// to be accepted.
type bounded struct {
	net.Listener
	free  chan struct{}
	count func(delta int)
}

// Accept waits for a place, then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	b.count(1)
	return &counted{Conn: conn, gone: sync.OnceFunc(func() {
		b.count(-1)
		<-b.free
	})}, nil
}

// counted gives its place back when it is closed.
type counted struct {
	net.Conn
	gone func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.gone()
	return c.Conn.Close()
}
