package receive

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/gateway"
	"github.com/scopedrift/scopedrift/collector/redact"
	"github.com/scopedrift/scopedrift/schema"
)

// sink keeps calls; gate, if it is set, has to be open.
type sink struct {
	mu     sync.Mutex
	calls  map[schema.CallID]int
	all    []schema.Call
	next   uint64
	gate   chan struct{}
	failed error
	bad    error
	busy   int
}

func (s *sink) Put(ctx context.Context, b *collector.Batch) error {
	s.mu.Lock()
	s.busy++
	if s.busy > 1 {
		s.bad = errors.New("Put is called by two at a time")
	}
	gate, failed := s.gate, s.failed
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.busy--; s.mu.Unlock() }()
	if failed != nil {
		return failed
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.FirstUnit != s.next {
		s.bad = fmt.Errorf("a batch begins at unit %d, want %d", b.FirstUnit, s.next)
	}
	s.next = b.NextUnit
	for i := range b.Calls {
		s.calls[b.Calls[i].ID]++
		s.all = append(s.all, b.Calls[i])
	}
	return nil
}

type station struct {
	*Receiver
	t     *testing.T
	sink  *sink
	ended chan error
	end   context.CancelFunc
	url   string
	http  *http.Client
}

func start(t *testing.T, cfg Config) *station {
	t.Helper()
	g, err := gateway.New(gateway.Config{Key: redact.NewKey([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Gateway, cfg.Listen = g, "127.0.0.1:0"
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &station{Receiver: r, t: t, sink: &sink{calls: map[schema.CallID]int{}}, ended: make(chan error, 1), end: cancel,
		url: "http://" + r.Address() + Path, http: &http.Client{Timeout: 20 * time.Second}}
	go func() { s.ended <- r.Run(ctx, s.sink) }()
	t.Cleanup(func() {
		cancel()
		s.http.CloseIdleConnections()
		s.sink.mu.Lock()
		defer s.sink.mu.Unlock()
		if s.sink.bad != nil {
			t.Error(s.sink.bad)
		}
	})
	return s
}

// post sends a body and returns the answer.
func (s *station) post(body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res, string(text)
}

func lines(from, n int) string {
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, `{"start_time":"2026-03-01T10:%02d:%02dZ","method":"GET","path":"/orders/%d","response_code":200,"authority":"api.example.com","request_id":"line-%06d"}`+"\n", i/60%60, i%60, i, i)
	}
	return b.String()
}

func packed(t *testing.T, encoding, text string) string {
	var buf bytes.Buffer
	var to io.WriteCloser = gzip.NewWriter(&buf)
	if encoding == "zstd" {
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		to = z
	}
	_, _ = io.WriteString(to, text)
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestAnswers(t *testing.T) {
	const limit = 64 << 10
	s := start(t, Config{MaxBody: limit, Token: []byte("not-a-real-token-0001")})
	auth := []string{"Authorization", "Bearer not-a-real-token-0001"}
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		calls   int
	}{
		"lines":                 {lines(0, 10), auth, 200, 10},
		"gzip":                  {packed(t, "gzip", lines(100, 10)), append([]string{"Content-Encoding", "gzip"}, auth...), 200, 10},
		"zstd":                  {packed(t, "zstd", lines(200, 10)), append([]string{"Content-Encoding", "zstd"}, auth...), 200, 10},
		"an array":              {"[" + strings.ReplaceAll(strings.TrimSpace(lines(300, 10)), "\n", ",") + "]", auth, 200, 10},
		"nothing":               {"", auth, 200, 0},
		"no token":              {lines(0, 1), nil, 401, 0},
		"a wrong token":         {lines(0, 1), []string{"Authorization", "Bearer not-a-real-token-0002"}, 401, 0},
		"a token's beginning":   {lines(0, 1), []string{"Authorization", "Bearer not-a-real"}, 401, 0},
		"another scheme":        {lines(0, 1), []string{"Authorization", "Basic not-a-real-token-0001"}, 401, 0},
		"too large":             {lines(0, 1000), auth, 413, 0},
		"too large unpacked":    {packed(t, "gzip", lines(0, 1000)), append([]string{"Content-Encoding", "gzip"}, auth...), 413, 0},
		"a bomb":                {packed(t, "zstd", strings.Repeat("\n", 64<<20)), append([]string{"Content-Encoding", "zstd"}, auth...), 413, 0},
		"gzip that is none":     {lines(0, 1), append([]string{"Content-Encoding", "gzip"}, auth...), 400, 0},
		"gzip cut short":        {packed(t, "gzip", lines(0, 50))[:200], append([]string{"Content-Encoding", "gzip"}, auth...), 400, 0},
		"zstd that is none":     {lines(0, 1), append([]string{"Content-Encoding", "zstd"}, auth...), 400, 0},
		"unknown compression":   {lines(0, 1), append([]string{"Content-Encoding", "br"}, auth...), 415, 0},
		"a form":                {lines(0, 1), append([]string{"Content-Type", "multipart/form-data; boundary=x"}, auth...), 415, 0},
		"no log":                {strings.Repeat("lorem ipsum dolor\n", 20), auth, 400, 0},
		"some of it is no log":  {lines(400, 10) + "lorem ipsum\n", auth, 200, 10},
		"most of it is no log":  {lines(500, 2) + strings.Repeat("lorem ipsum dolor\n", 20), auth, 400, 2},
		"the last line is open": {strings.TrimSuffix(lines(600, 3), "\n"), auth, 200, 3},
	} {
		t.Run(name, func(t *testing.T) {
			res, text := s.post(c.body, c.headers...)
			var got struct {
				Calls int    `json:"calls"`
				Error string `json:"error"`
				Hint  string `json:"hint"`
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("the answer is no JSON: %v\n%s", err, text)
			}
			if res.StatusCode != c.status || got.Calls != c.calls {
				t.Errorf("status %d with %d calls, want %d with %d: %s", res.StatusCode, got.Calls, c.status, c.calls, text)
			}
			if c.status != 200 && (got.Error == "" || got.Hint == "") {
				t.Errorf("the answer says neither what nor what to do: %s", text)
			}
			if strings.Contains(text, "lorem") || strings.Contains(text, "not-a-real") {
				t.Errorf("the answer repeats what was sent: %s", text)
			}
		})
	}
	if res, _ := s.http.Get(s.url); res.StatusCode != 401 {
		t.Errorf("GET: %d", res.StatusCode)
	}
	stats := s.Stats()
	if len(s.sink.all) != 55 || stats.Calls != 55 || stats.Requests != 0 || stats.Answers[200] != 7 {
		t.Errorf("%d calls came; the counters are %+v", len(s.sink.all), stats)
	}
}

// TestBackPressure: while the sink is behind, bodies are refused and can be
// pushed again; nobody is told 200 before the sink has everything.
func TestBackPressure(t *testing.T) {
	s := start(t, Config{Requests: 2, Wait: 300 * time.Millisecond})
	gate := make(chan struct{})
	s.sink.gate = gate
	var wg sync.WaitGroup
	statuses := make(chan int, 8)
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			res, _ := s.post(lines(i*10, 10))
			if res.StatusCode == 429 && res.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			statuses <- res.StatusCode
		}()
	}
	wg.Wait()
	for range 8 {
		if status := <-statuses; status != 429 {
			t.Errorf("status %d while the sink takes nothing", status)
		}
	}
	if s.Stats().Behind.IsZero() || len(s.sink.all) != 0 {
		t.Errorf("%d calls came; the counters are %+v", len(s.sink.all), s.Stats())
	}
	close(gate)
	for i := range 8 {
		if res, text := s.post(lines(i*10, 10)); res.StatusCode != 200 {
			t.Errorf("pushed again: %d %s", res.StatusCode, text)
		}
	}
	if len(s.sink.calls) != 80 || !s.Stats().Behind.IsZero() {
		t.Errorf("%d calls came, want 80; the counters are %+v", len(s.sink.calls), s.Stats())
	}
}

// TestPushedAgain: the same body has the same ids.
func TestPushedAgain(t *testing.T) {
	s := start(t, Config{})
	body := lines(0, 10) + lines(0, 10) // equal lines are told apart
	s.post(body)
	s.post(lines(50, 10))
	s.post(body)
	if len(s.sink.calls) != 30 {
		t.Errorf("%d ids, want 30", len(s.sink.calls))
	}
}

func TestSinkGivesUp(t *testing.T) {
	s := start(t, Config{})
	s.sink.failed = errors.New("the disk is gone")
	if res, text := s.post(lines(0, 1)); res.StatusCode != 503 || strings.Contains(text, "disk") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	if err := <-s.ended; !errors.Is(err, s.sink.failed) {
		t.Errorf("Run: %v", err)
	}
}

// TestEndsGracefully: what is being handed on when it is told to end is answered.
func TestEndsGracefully(t *testing.T) {
	s := start(t, Config{Wait: 5 * time.Second})
	gate := make(chan struct{})
	s.sink.gate = gate
	status := make(chan int)
	go func() {
		res, _ := s.post(lines(0, 10))
		status <- res.StatusCode
	}()
	for s.Stats().Requests == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	s.end()
	time.Sleep(50 * time.Millisecond)
	close(gate)
	if got := <-status; got != 200 {
		t.Errorf("status %d", got)
	}
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", s.Address(), time.Second); err == nil {
		t.Error("it still listens")
	}
}

// TestSlowClients: who sends slowly is cut off and costs no one else's place.
func TestSlowClients(t *testing.T) {
	s := start(t, Config{Read: 300 * time.Millisecond, Connections: 4, Requests: 4})
	for i := range 4 {
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Le", Path)
		} else {
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", Path)
		}
	}
	began := time.Now()
	if res, text := s.post(lines(0, 10)); res.StatusCode != 200 {
		t.Errorf("status %d %s", res.StatusCode, text)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("slow clients held others up for %v", took)
	}
}

// TestClientCertificates: with mutual TLS only who has a certificate may push.
func TestClientCertificates(t *testing.T) {
	authority, certificate := issue(t)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	s := start(t, Config{TLS: &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}})
	url := "https://" + s.Address() + Path
	with := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}}}
	res, err := with.Post(url, "", strings.NewReader(lines(0, 3)))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("with a certificate: %v %v", res, err)
	}
	without := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if res, err := without.Post(url, "", strings.NewReader(lines(0, 3))); err == nil {
		t.Errorf("without a certificate: %d", res.StatusCode)
	}
	if _, err := s.http.Post("http://"+s.Address()+Path, "", strings.NewReader(lines(0, 3))); err == nil && len(s.sink.all) > 3 {
		t.Error("plain text is taken")
	}
}

// issue makes an authority and a certificate of it, for both sides.
func issue(t *testing.T) (*x509.Certificate, tls.Certificate) {
	t.Helper()
	make1 := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, by = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	template := func(n int64, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
	}
	ca, caKey := make1(template(1, true), nil, nil)
	leaf, key := make1(template(2, false), ca, caKey)
	return ca, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}
