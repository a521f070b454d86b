//go:build linux

package live

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// handler answers as the first segment of a path asks, with the status in the
// second, and writes down what it did.
func handler(l *ledger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := strings.Split(r.URL.Path, "/")
		status, _ := strconv.Atoi(part[2])
		switch part[1] {
		case "upgrade":
			l.enter(r, 101)
			upgraded(w)
			return
		case "grpc.Truth":
			grpc(l, w, r)
			return
		case "early":
			// Answered before the body is there, and without waiting for it.
		case "hints":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusEarlyHints)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
		switch part[1] {
		case "large":
			w.Header().Set("X-Large", strings.Repeat("head ", 8000))
		case "trailers":
			w.Header().Set("Trailer", "X-Sum")
		case "length":
			w.Header().Set("Content-Length", "5000")
		}
		w.WriteHeader(status)
		flush := http.NewResponseController(w).Flush
		switch part[1] {
		case "big":
			_, _ = w.Write(make([]byte, 400<<10))
		case "abort":
			_, _ = fmt.Fprint(w, strings.Repeat("x", 3000))
			_ = flush()
			l.add(entry{Method: r.Method, Path: r.URL.Path, Status: status, Authorization: r.Header.Get("Authorization"), GRPC: -1, Cut: true})
			panic(http.ErrAbortHandler)
		case "chunks", "trailers":
			for i := range 5 {
				_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", i)
				_ = flush()
			}
			w.Header().Set("X-Sum", "1")
		default:
			_, _ = fmt.Fprint(w, strings.Repeat("x", 5000))
		}
		l.enter(r, status)
	})
}

// upgraded changes to a protocol of its own, which looks like HTTP.
func upgraded(w http.ResponseWriter) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprint(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chatter\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	_ = both.Flush()
	line, _ := both.ReadString('\n')
	_, _ = fmt.Fprint(both, line)
	_ = both.Flush()
}

// grpc answers as a server of gRPC does: its result stands in the trailers.
func grpc(l *ledger, w http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(strings.TrimLeft(r.URL.Path[len("/grpc.Truth/"):], "Mn")[:2])
	code -= 10
	w.Header().Set("Content-Type", "application/grpc+proto")
	if code == 16 {
		// Trailers alone.
		w.Header().Set("Grpc-Status", "16")
		w.WriteHeader(http.StatusOK)
	} else {
		w.Header().Set("Trailer", "Grpc-Status")
		for {
			message := make([]byte, 1000)
			n, err := io.ReadAtLeast(r.Body, message, 5)
			if err != nil {
				break
			}
			_, _ = w.Write(message[:n]) // a stream in both directions
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", strconv.Itoa(code))
	}
	l.add(entry{Method: r.Method, Path: r.URL.Path, Status: http.StatusOK, Authorization: r.Header.Get("Authorization"), GRPC: code})
}

// caller makes calls, one connection (HTTP/2) or few.
type caller struct {
	t       *testing.T
	address string
	name    string
	client  *http.Client
	h2      bool
}

func newCaller(t *testing.T, address, name string, h2 bool) *caller {
	transport := &http.Transport{ExpectContinueTimeout: 2 * time.Second}
	if h2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, address: address, name: name, client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, h2: h2}
}

// call makes one call; failing says that no whole answer is expected.
func (c *caller) call(ctx context.Context, method, path string, body io.Reader, failing bool, header ...string) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body)
	if err != nil {
		c.t.Error(err)
		return
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if err != nil && !failing {
		c.t.Errorf("%s %s: %v", method, path, err)
	}
}

// calls makes the number-th round of all kinds of calls.
func (c *caller) calls(number int) {
	who := func(n int) []string { return []string{"Authorization", fmt.Sprintf("Bearer fake-%s-%d", c.name, n%4)} }
	at := func(kind string, status int) string {
		return fmt.Sprintf("/%s/%d/%s/%d", kind, status, c.name, number)
	}
	ctx := context.Background()
	status := func(n int) int { return []int{200, 201, 403, 404, 429, 500, 302, 401}[(number+n)%8] }
	c.call(ctx, "GET", at("plain", status(0)), nil, false, who(number)...)
	c.call(ctx, "GET", at("anonymous", status(1)), nil, false)
	c.call(ctx, "HEAD", at("length", status(2)), nil, false, who(number+1)...)
	c.call(ctx, "DELETE", at("none", 204), nil, false, who(number+1)...)
	c.call(ctx, "GET", at("same", 304), nil, false, who(number+2)...)
	c.call(ctx, "POST", at("chunks", status(3)), io.MultiReader(strings.NewReader("GET /forged HTTP/1.1\r\n\r\n")), false, who(number+2)...)
	c.call(ctx, "PUT", at("big", status(4)), strings.NewReader(strings.Repeat("b", 300<<10)), false, who(number+3)...)
	c.call(ctx, "POST", at("continue", status(5)), strings.NewReader(strings.Repeat("c", 3000)), false, append(who(number), "Expect", "100-continue")...)
	c.call(ctx, "GET", at("hints", status(6)), nil, false, who(number)...)
	c.call(ctx, "GET", at("trailers", status(7)), nil, false, append(who(number+1), "TE", "trailers")...)
	c.call(ctx, "GET", at("large", status(0)), nil, false, append(who(number+1), "X-Large", strings.Repeat("more ", 6000))...)
	c.call(ctx, "GET", at("abort", status(0)), nil, true, who(number+1)...)
	c.call(ctx, "POST", at("early", 413), strings.NewReader(strings.Repeat("e", 300<<10)), true, who(number+2)...)
	if !c.h2 {
		return
	}
	for i, code := range []int{0, 7, 5, 16} {
		frame := "\x00\x00\x00\x00\x06abcdef"
		c.call(ctx, "POST", fmt.Sprintf("/grpc.Truth/M%dn%dn%s", 10+code, number, c.name), strings.NewReader(strings.Repeat(frame, 200)), false,
			append(who(number+i), "Content-Type", "application/grpc+proto", "TE", "trailers")...)
	}
}

// tunnel makes calls through a connection that another protocol came before: CONNECT
// with calls inside, an upgrade with what looks like calls behind it.
func tunnel(t *testing.T, l *ledger, address, proxy string) {
	t.Helper()
	dial := func(to string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		return conn, bufio.NewReader(conn)
	}
	conn, r := dial(address)
	_, _ = fmt.Fprint(conn, "GET /upgrade/101/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-up\r\nConnection: Upgrade\r\nUpgrade: chatter\r\n\r\n")
	for {
		if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
			break
		}
	}
	_, _ = fmt.Fprint(conn, "GET /forged HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-forged\r\n\r\n")
	_, _ = io.Copy(io.Discard, r)
	_ = conn.Close()

	conn, r = dial(proxy)
	_, _ = fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address)
	if _, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		_, _ = fmt.Fprintf(conn, "GET /plain/20%d/inside HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer fake-inside-%d\r\n\r\n", i, i)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = conn.Close()
}

// TestTruthOfGo runs Go's server and client, HTTP/1 and HTTP/2, over the loopback:
// in segments as long as it allows, and in those of a wire.
func TestTruthOfGo(t *testing.T) {
	if !apart(t) {
		return
	}
	key := redact.NewKey([32]byte{1})
	for _, mtu := range []uint32{65536, 1500} {
		setMTU(t, "lo", mtu)
		l, calls, stats := observed(t, key, func(l *ledger) {
			address := listen(t, handler(l), nil)
			var group sync.WaitGroup
			for i, name := range []string{"one", "two", "h2one", "h2two"} {
				c := newCaller(t, address, name, i >= 2)
				for lane := range 1 + i/2*3 { // several at a time on one connection of HTTP/2
					group.Go(func() {
						for n := range 3 {
							c.calls(10*lane + n)
						}
					})
				}
			}
			group.Wait()
			givenUp(t, l)
			graceful(t, l)
		})
		agree(t, key, l, calls, stats)
		t.Logf("MTU %d: %d requests in the servers' log, %d packets, %v", mtu, l.len(), stats.Packets, l.tally())
	}
}

// TestTruthOfTunnels looks into a CONNECT, whose calls pass twice: once inside it, and
// once from the proxy to the server. The server logs them once.
func TestTruthOfTunnels(t *testing.T) {
	if !apart(t) {
		return
	}
	key := redact.NewKey([32]byte{1})
	var address, proxy string
	l, calls, stats := observed(t, key, func(l *ledger) {
		address, proxy = listen(t, handler(l), nil), listen(t, http.HandlerFunc(connect), nil)
		tunnel(t, l, address, proxy)
	})
	inside, connects := 0, 0
	rest := calls[:0]
	hops := map[string]bool{}
	for _, c := range calls {
		switch {
		case c.Method == "CONNECT":
			connects++
			if c.Host != address || c.Status != 200 || !c.Quality.Certain() {
				t.Errorf("CONNECT %s %d %s", c.Host, c.Status, c.Quality)
			}
		case hops[c.Path]:
			inside++
		default:
			hops[c.Path] = true
			rest = append(rest, c)
		}
	}
	if inside != 3 || connects != 1 {
		t.Errorf("%d calls came by a second hop and %d by CONNECT, want 3 and 1", inside, connects)
	}
	agree(t, key, l, rest, stats)
}

// connect is a proxy.
func connect(w http.ResponseWriter, r *http.Request) {
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	near, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(far, both); _ = far.Close() }()
	_, _ = io.Copy(near, far)
	_ = near.Close()
}

// listen serves both versions of HTTP, and returns where.
func listen(t *testing.T, h http.Handler, change func(*http.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 1 << 20}
	if change != nil {
		change(server)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// givenUp makes calls whose client goes away while it waits: HTTP/1 closes, HTTP/2
// resets the stream.
func givenUp(t *testing.T, l *ledger) {
	t.Helper()
	var goes sync.Map // the clients' ways out by path
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.add(entry{Method: r.Method, Path: r.URL.Path, Status: 200, Authorization: r.Header.Get("Authorization"), GRPC: -1, Cut: true})
		// Not before it was read, or nobody knows whether it was sent.
		if away, ok := goes.Load(r.URL.Path); ok {
			away.(func())()
		}
		<-r.Context().Done()
	})
	address := listen(t, slow, nil)
	for i, name := range []string{"gone", "h2gone"} {
		c := newCaller(t, address, name, i > 0)
		var group sync.WaitGroup
		for n := range 20 {
			group.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				path := fmt.Sprintf("/%s/%d", name, n)
				goes.Store(path, func() { time.AfterFunc(time.Duration(n)*time.Millisecond, cancel) })
				c.call(ctx, "GET", path, nil, true, "Authorization", "Bearer fake-gone")
			})
		}
		group.Wait()
		c.client.CloseIdleConnections() // as long as it is open, an answer may come
	}
}

// graceful shuts a server of HTTP/2 down while streams are open: it says which it
// answers, and the client goes on elsewhere.
func graceful(t *testing.T, l *ledger) {
	t.Helper()
	var server *http.Server
	begun := make(chan struct{}, 8)
	inner := handler(l)
	address := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		time.Sleep(30 * time.Millisecond)
		inner.ServeHTTP(w, r)
	}), func(s *http.Server) { server = s })
	c := newCaller(t, address, "goaway", true)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			c.call(context.Background(), "GET", fmt.Sprintf("/plain/200/goaway/%d", n), nil, false, "Authorization", "Bearer fake-goaway")
		})
	}
	for range 8 {
		<-begun
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_ = server.Shutdown(ctx) // it waits longer for connections than for streams
	group.Wait()
}
