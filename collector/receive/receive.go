// Package receive takes gateway logs that are pushed over HTTP.
//
// The one function to want is [New]; the receiver it returns listens with
// [Receiver.Open] and serves with [Receiver.Run]. A body is lines or documents of
// any format that package gateway knows, plain or compressed with gzip or zstd,
// posted to [Path].
//
// It promises:
//
//   - the answer 200 is given only when the sink has acknowledged every call of
//     the body; whoever got another answer, or none, pushes the same body again,
//     and its calls have the same ids;
//   - while the sink is behind the answer is 429 with Retry-After, at once or
//     after Config.Wait, and nothing is buffered for it;
//   - memory, connections, and the time that a client may take are bounded, so
//     that slow and hostile clients cost little;
//   - no answer, error or log line repeats anything of a body or of a token.
//
// It cannot see who forged a line: who may push may push anything.
package receive

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
)

// Path is where bodies are posted to.
const Path = "/v1/push"

// Config says how a Receiver works. Gateway and Listen are required.
type Config struct {
	// Gateway knows the formats and makes the calls.
	Gateway *gateway.Gateway
	// Listen is host:port.
	Listen string
	// Name is the name of the input in calls and coverage, "push" if it is empty.
	Name string
	// Token, if it is not empty, is what clients have to send as bearer token.
	Token []byte
	// TLS, if it is set, is spoken; it says whether clients need a certificate.
	TLS *tls.Config
	// MaxBody bounds a body in bytes, as sent and unpacked; 8 MiB if it is 0.
	MaxBody int64
	// Requests bounds the bodies that are held at the same time, 16 if it is 0,
	// Connections the connections, 512 if it is 0.
	Requests, Connections int
	// Wait is how long a body may wait for the sink, 10 s if it is 0.
	Wait time.Duration
	// Read is how long a client may take to send a request, 30 s if it is 0.
	Read time.Duration
	// Drain is how long requests may take to end when Run is told to, 9 s if it
	// is 0.
	Drain time.Duration
}

// Stats are the counters of a Receiver.
type Stats struct {
	// Answers counts requests by the status of the answer.
	Answers map[int]uint64
	// Units, Calls and Bytes (unpacked) are those of bodies whose units the sink
	// acknowledged.
	Units, Calls, Bytes uint64
	// Skipped counts acknowledged units that are no call, by reason.
	Skipped map[string]uint64
	// Requests are those that are being worked on, Connections the open ones.
	Requests, Connections int
	// LastPut is when the sink last acknowledged something; zero for never.
	LastPut time.Time
	// Behind is since when the sink has refused or delayed; zero if it does not.
	Behind time.Time
}

// Receiver takes pushed logs.
type Receiver struct {
	cfg   Config
	token [sha256.Size]byte
	// readers has one reader for each request that may be worked on.
	readers chan *gateway.Pushed
	// putting is held by the request that hands on.
	putting chan struct{}
	sink    collector.Sink
	fail    context.CancelCauseFunc

	mu       sync.Mutex
	listener net.Listener
	stats    Stats
	// next is the number of the next unit.
	next   uint64
	failed error
}

// Errors of a configuration.
var (
	errNoGateway = errors.New("the receiver has no gateway to read with")
	errNoListen  = errors.New("the receiver has no address to listen on: name host:port")
)

// New prepares a receiver. It opens nothing.
func New(cfg Config) (*Receiver, error) {
	if cfg.Gateway == nil {
		return nil, errNoGateway
	}
	if cfg.Listen == "" {
		return nil, errNoListen
	}
	usual := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	usual(&cfg.Wait, 10*time.Second)
	usual(&cfg.Read, 30*time.Second)
	usual(&cfg.Drain, 9*time.Second)
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 8 << 20
	}
	if cfg.Requests <= 0 {
		cfg.Requests = 16
	}
	if cfg.Connections <= 0 {
		cfg.Connections = 512
	}
	if cfg.Name == "" {
		cfg.Name = "push"
	}
	r := &Receiver{
		cfg: cfg, token: sha256.Sum256(cfg.Token), putting: make(chan struct{}, 1),
		readers: make(chan *gateway.Pushed, cfg.Requests),
		stats:   Stats{Answers: map[int]uint64{}, Skipped: map[string]uint64{}},
	}
	for range cfg.Requests {
		reader, err := cfg.Gateway.Pushed()
		if err != nil {
			return nil, err
		}
		r.readers <- reader
	}
	return r, nil
}

// Open takes the address, so that a wrong one is known before any work begins.
func (r *Receiver) Open() error {
	listener, err := net.Listen("tcp", r.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; name a free host:port of this machine", r.cfg.Listen, err)
	}
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	return nil
}

// Address is where it listens, empty before Open.
func (r *Receiver) Address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		return ""
	}
	return r.listener.Addr().String()
}

// Run serves until ctx ends; then it lets requests end and returns nil. It
// returns an error where the sink gives up. It calls Open if nobody has.
func (r *Receiver) Run(ctx context.Context, sink collector.Sink) error {
	if r.Address() == "" {
		if err := r.Open(); err != nil {
			return err
		}
	}
	ctx, r.fail = context.WithCancelCause(ctx)
	defer r.fail(nil)
	r.sink = sink
	server := &http.Server{
		Handler: r, TLSConfig: r.cfg.TLS, ReadHeaderTimeout: min(5*time.Second, r.cfg.Read), ReadTimeout: r.cfg.Read,
		WriteTimeout: r.cfg.Read + 2*r.cfg.Wait, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: nil, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	server.ErrorLog = silent
	listener := &bounded{Listener: r.listener, free: make(chan struct{}, r.cfg.Connections), count: r.connections}
	ended := make(chan error, 1)
	go func() {
		if r.cfg.TLS != nil {
			ended <- server.ServeTLS(listener, "", "")
			return
		}
		ended <- server.Serve(listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", r.cfg.Listen, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Drain)
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close() // they get no answer, and push again
	}
	<-ended
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Stats returns the counters. It may be called at any time.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Answers, s.Skipped = maps.Clone(s.Answers), maps.Clone(s.Skipped)
	s.Requests = r.cfg.Requests - len(r.readers)
	return s
}

func (r *Receiver) connections(delta int) {
	r.mu.Lock()
	r.stats.Connections += delta
	r.mu.Unlock()
}

// allowed reports whether the request carries the token. Both are hashed first,
// so that the time it takes tells nothing, not even a length.
func (r *Receiver) allowed(req *http.Request) bool {
	if len(r.cfg.Token) == 0 {
		return true
	}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(given[:], r.token[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}
