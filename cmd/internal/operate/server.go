package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says how a command is operated.
type Config struct {
	// Part is the command's name, as the label part of its metrics: collect,
	// ingest, detect, run, watch.
	Part string
	// Version is the program's version.
	Version string
	// Listen is the address (host:port) to serve on. "off" serves nothing.
	// Empty is DefaultListen, or any free port where another part on this
	// machine has that already.
	Listen string
	// Log takes what has to be said.
	Log Log
}

// DefaultListen is where metrics are served unless the user says otherwise. It
// is loopback: what is served names services and lanes.
const DefaultListen = "127.0.0.1:9470"

// ErrListen is an address that nothing can be served on.
var ErrListen = errors.New("give --metrics-listen a free host:port, or off")

// Server is the HTTP side of a command. Its methods may be called from any
// goroutine; metrics may be added while it serves.
type Server struct {
	cfg      Config
	registry *prometheus.Registry
	add      prometheus.Registerer
	listener net.Listener

	mu     sync.Mutex
	checks []check
	ending bool
	names  map[string]bool
}

type check struct {
	name string
	// alive says that it is a question of /healthz as well.
	alive bool
	ask   func() error
}

// New returns a server that has done nothing yet. Every metric of it has the
// label part.
func New(cfg Config) *Server {
	registry := prometheus.NewRegistry()
	s := &Server{cfg: cfg, registry: registry, names: map[string]bool{}, add: prometheus.WrapRegistererWith(prometheus.Labels{"part": cfg.Part}, registry)}
	s.add.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.Gauge("scopedrift_build_info", "Always 1; the label says which version runs.", func() float64 { return 1 }, "version", cfg.Version)
	s.Gauge("scopedrift_ready", "1 if the part is ready to work, as /readyz says.", func() float64 {
		if s.answer(false) == nil {
			return 1
		}
		return 0
	})
	return s
}

// Counter adds a metric that only grows; read is called for each scrape, from
// any goroutine. Pairs are names and values of labels that never change. A name
// that is given twice with the same labels is a programming error and panics.
func (s *Server) Counter(name, help string, read func() uint64, pairs ...string) {
	s.add.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: s.named(name), Help: help, ConstLabels: labels(pairs)},
		func() float64 { return float64(read()) }))
}

// Gauge adds a metric that rises and falls, as Counter does.
func (s *Server) Gauge(name, help string, read func() float64, pairs ...string) {
	s.add.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: s.named(name), Help: help, ConstLabels: labels(pairs)}, read))
}

// Counters adds a metric with one value for each value of a label, such as a
// reason. read returns a map that is the caller's own; its keys have to be few,
// and never an observed string.
func (s *Server) Counters(name, help, label string, read func() map[string]uint64, pairs ...string) {
	s.add.MustRegister(&family{
		desc: prometheus.NewDesc(s.named(name), help, []string{label}, labels(pairs)), kind: prometheus.CounterValue,
		read: func(put func(string, float64)) {
			for key, n := range read() {
				put(key, float64(n))
			}
		},
	})
}

// Gauges is Counters for values that rise and fall.
func (s *Server) Gauges(name, help, label string, read func() map[string]float64, pairs ...string) {
	s.add.MustRegister(&family{
		desc: prometheus.NewDesc(s.named(name), help, []string{label}, labels(pairs)), kind: prometheus.GaugeValue,
		read: func(put func(string, float64)) {
			for key, n := range read() {
				put(key, n)
			}
		},
	})
}

// Durations adds a histogram of seconds and returns the function that feeds it;
// its buckets reach from a millisecond to five minutes.
func (s *Server) Durations(name, help string, pairs ...string) (observe func(time.Duration)) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: s.named(name), Help: help, ConstLabels: labels(pairs),
		Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2, 5, 10, 30, 60, 300}})
	s.add.MustRegister(h)
	return func(d time.Duration) { h.Observe(d.Seconds()) }
}

// family is a metric whose label values are known only when it is read.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(put func(label string, value float64))
}

// Describe says what is collected.
func (f *family) Describe(to chan<- *prometheus.Desc) { to <- f.desc }

// Collect reads the values.
func (f *family) Collect(to chan<- prometheus.Metric) {
	f.read(func(label string, value float64) {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, value, label)
	})
}

func labels(pairs []string) prometheus.Labels {
	out := prometheus.Labels{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// Ready adds a question to /readyz: an error says in a sentence why the part
// cannot work now. It is asked for each request, so it has to answer at once.
func (s *Server) Ready(name string, ask func() error) { s.check(check{name, false, ask}) }

// Alive adds a question to /healthz and /readyz: an error says that only a new
// start helps.
func (s *Server) Alive(name string, ask func() error) { s.check(check{name, true, ask}) }

func (s *Server) check(c check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, c)
}

// Ending makes /readyz say that the part drains; /healthz stays as it is.
func (s *Server) Ending() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
}

var errEnding = errors.New("the part is ending: it finishes what it holds and takes nothing new")

// answer is why the part is not ready, or not alive; nil if it is.
func (s *Server) answer(alive bool) error {
	s.mu.Lock()
	checks, ending := slices.Clone(s.checks), s.ending
	s.mu.Unlock()
	var problems []error
	if ending && !alive {
		problems = append(problems, errEnding)
	}
	slices.SortStableFunc(checks, func(a, b check) int { return cmp.Compare(a.name, b.name) })
	for _, c := range checks {
		if alive && !c.alive {
			continue
		}
		if err := c.ask(); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(problems...)
}

// Open takes the address, so that a wrong one is known before any work begins.
func (s *Server) Open() error {
	listen := cmp.Or(s.cfg.Listen, DefaultListen)
	if listen == "off" {
		return nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil && s.cfg.Listen == "" && errors.Is(err, syscall.EADDRINUSE) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			s.cfg.Log.Warn().Str("taken", DefaultListen).Str("address", listener.Addr().String()).
				Msg("another program has the usual address of the metrics: they are served on a free port")
		}
	}
	if err != nil {
		return fmt.Errorf("serve metrics on %s: %w; %w", listen, err, ErrListen)
	}
	s.listener = listener
	return nil
}

// Address is where metrics are served, empty where they are not.
func (s *Server) Address() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends. It calls Open if nobody has.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Open(); err != nil {
			return err
		}
	}
	if s.listener == nil { // off
		<-ctx.Done()
		return nil
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	s.cfg.Log.Info().Str("address", s.Address()).Msg("serving /metrics, /healthz and /readyz")
	stop := context.AfterFunc(ctx, func() {
		// A scrape that is under way ends; nobody waits long for it.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	answer := func(alive bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-store")
			if err := s.answer(alive); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintln(w, err)
				return
			}
			fmt.Fprintln(w, "ok")
		}
	}
	mux.Handle("GET /healthz", answer(true))
	mux.Handle("GET /readyz", answer(false))
	return mux
}

// Names returns the names of the metrics, sorted, but for those of the Go runtime
// and the process.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names))
}

// named remembers the name of a metric. The same name may be given several times,
// with other labels.
func (s *Server) named(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = true
	return name
}
