package pcap

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// spoken is a conversation as two programs had it: what each wrote, in order.
type spoken struct {
	mu     sync.Mutex
	script script
}

func (s *spoken) say(server bool, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (len(s.script)%2 == 1) == server { // the last one was the other's
		s.script = append(s.script, string(b))
	} else if len(s.script) > 0 {
		s.script[len(s.script)-1] += string(b)
	} else {
		s.script = script{"", string(b)}
	}
}

// heard is one end of it.
type heard struct {
	net.Conn
	of     *spoken
	server bool
}

func (h *heard) Write(b []byte) (int, error) {
	h.of.say(h.server, b)
	return h.Conn.Write(b)
}

// hearing is a listener whose connections are heard.
type hearing struct {
	net.Listener
	of *spoken
}

func (l hearing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &heard{c, l.of, true}, err
}

func certificate(t testing.TB, rsaKey bool) tls.Certificate {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if rsaKey {
		key, err = rsa.GenerateKey(crand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"api.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// encrypted has a program of Go call another over TLS, and returns what passed
// and the key log. A call to /n is answered with status 200+n.
func encrypted(t testing.TB, version, suite uint16, http2 bool, calls int) (script, []byte) {
	t.Helper()
	for range 20 {
		talk, keys, connections := encryptedOnce(t, version, suite, http2, calls)
		if connections == 1 {
			return talk, keys
		}
	}
	t.Fatal("the client never stayed with one connection")
	return nil, nil
}

// encryptedOnce is encrypted that may take several connections: where the machine is
// busy, a client gives one up whose answer was sooner than its request was done.
func encryptedOnce(t testing.TB, version, suite uint16, http2 bool, calls int) (script, []byte, int) {
	t.Helper()
	connections := 0
	var keys bytes.Buffer
	talk := &spoken{}
	cert := certificate(t, suite == tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 || suite == tls.TLS_RSA_WITH_AES_128_GCM_SHA256)
	serverConfig := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}
	clientConfig := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, KeyLogWriter: &keys, ServerName: "api.example.com"}
	if suite != 0 {
		serverConfig.CipherSuites, clientConfig.CipherSuites = []uint16{suite}, []uint16{suite}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: serverConfig, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		w.WriteHeader(200 + n)
		_, _ = w.Write(bytes.Repeat([]byte("x"), 10+len(body)))
	})}
	if !http2 {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	go func() { _ = server.ServeTLS(hearing{listener, talk}, "", "") }()
	transport := &http.Transport{
		TLSClientConfig: clientConfig, ForceAttemptHTTP2: http2, MaxConnsPerHost: 1,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			talk.mu.Lock()
			connections++
			talk.mu.Unlock()
			c, err := net.Dial("tcp", listener.Addr().String())
			return &heard{c, talk, false}, err
		},
	}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for n := range calls {
		body := strings.NewReader(strings.Repeat("y", n*37%3000))
		req, _ := http.NewRequest("POST", fmt.Sprintf("https://api.example.com/%d/item", n%90), body)
		req.Header.Set("Authorization", "Bearer fake-secret-of-the-capture")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	transport.CloseIdleConnections()
	_ = server.Close()
	talk.mu.Lock()
	defer talk.mu.Unlock()
	return talk.script, keys.Bytes(), connections
}

func keysOf(t testing.TB, log []byte) *TLSKeys {
	t.Helper()
	keys := NewTLSKeys()
	if err := keys.Read(bytes.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	return keys
}

// right counts the calls that are what was called, and complains of others.
func right(t *testing.T, calls []schema.Call) (found, certain int) {
	t.Helper()
	for i := range calls {
		c := &calls[i]
		var n int
		if _, err := fmt.Sscanf(c.Path, "/%d/item", &n); err != nil || c.Status == 0 {
			continue
		}
		if int(c.Status) != 200+n && c.Quality.Certain() {
			t.Errorf("a wrong pair: %s", line(c))
		}
		if int(c.Status) == 200+n {
			found++
			if c.Quality.Certain() {
				certain++
			}
		}
	}
	return found, certain
}

// TestTLS reads connections of crypto/tls with their key logs: in every version,
// suite and segmentation each call comes out, and without the key log none.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		name           string
		version, suite uint16
		http2          bool
	}{
		{"1.3", tls.VersionTLS13, 0, false},
		{"1.3, HTTP/2", tls.VersionTLS13, 0, true},
		{"1.2, AES-128, HTTP/2", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"1.2, AES-256", tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, false},
		{"1.2, ChaCha20", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			const calls = 40
			talk, log := encrypted(t, c.version, c.suite, c.http2, calls)
			for _, mss := range []int{1448, 100, 7} {
				file := writePcap(linkEthernet, talk.frames(mss))
				sink, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(file))
				if found, certain := right(t, sink.calls); certain != calls || found != calls || len(sink.calls) != calls || stats.Decrypted != 1 {
					t.Errorf("%d bytes a segment: %d calls, %d found, %d certain of %d: %+v\n%s", mss, len(sink.calls), found, certain, calls, stats, lines(sink.calls))
				}
				for i := range sink.calls {
					if !strings.HasPrefix(sink.calls[i].Credential.ID, "hmac:") {
						t.Errorf("credential %q", sink.calls[i].Credential.ID)
					}
				}
				if sink, stats = read(t, Config{}, bytes.NewReader(file)); len(sink.calls) != 0 || stats.Decrypted != 0 || stats.TLSServers["api.example.com"] != 1 {
					t.Errorf("without keys: %d calls, %+v", len(sink.calls), stats)
				}
			}
			sink, stats := read(t, Config{}, bytes.NewReader(withSecrets(talk.frames(1448), log)))
			if _, certain := right(t, sink.calls); certain != calls || stats.TLSSecrets != 1 {
				t.Errorf("with the secrets in the file: %d of %d, %+v", certain, calls, stats)
			}
		})
	}
}

// TestTLSWithoutAES is of programs on machines without AES instructions, which
// choose ChaCha20 in TLS 1.3.
func TestTLSWithoutAES(t *testing.T) {
	if os.Getenv("SCOPEDRIFT_WITHOUT_AES") == "" {
		c := exec.Command("/proc/self/exe", "-test.run=^TestTLSWithoutAES$", "-test.v")
		c.Env = append(os.Environ(), "SCOPEDRIFT_WITHOUT_AES=1", "GODEBUG=cpu.aes=off,cpu.pclmulqdq=off")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	talk, log := encrypted(t, tls.VersionTLS13, 0, false, 10)
	sink, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(writePcap(linkEthernet, talk.frames(1448))))
	if _, certain := right(t, sink.calls); certain != 10 {
		t.Errorf("%d of 10, %+v", certain, stats)
	}
	if suite := binary.BigEndian.Uint16([]byte(talk[1][5+4+2+32+1+32:])); suite != tls.TLS_CHACHA20_POLY1305_SHA256 {
		t.Errorf("the suite is %#x: this tested nothing new", suite)
	}
}

// TestTLSUnderLoss loses and disturbs packets: what is left is found again, and
// no pair is wrong.
func TestTLSUnderLoss(t *testing.T) {
	const calls, rounds = 150, 12
	for _, c := range []struct {
		name    string
		version uint16
		http2   bool
		damage  damage
		least   float64
	}{
		{"1.3, reordered and repeated", tls.VersionTLS13, false, damage{reorder: .02, repeat: .02}, 1},
		{"1.3, 0.1 % lost", tls.VersionTLS13, false, damage{loss: .001}, .99},
		{"1.3, 1 % lost", tls.VersionTLS13, false, damage{loss: .01, reorder: .01, repeat: .01}, .9},
		{"1.2, 1 % lost", tls.VersionTLS12, false, damage{loss: .01}, .9},
		{"1.3, HTTP/2, 1 % lost", tls.VersionTLS13, true, damage{loss: .01}, .5},
	} {
		found, all := 0, 0
		for seed := range uint64(rounds) {
			talk, log := encrypted(t, c.version, 0, c.http2, calls)
			frames := talk.frames(1448)
			// The handshake is whole: without it there are no keys.
			sink, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(writePcap(linkEthernet,
				append(frames[:12:12], c.damage.apply(rand.New(rand.NewPCG(seed, 3)), frames[12:])...))))
			n, _ := right(t, sink.calls)
			if stats.Dropped[dropTLS] == 0 { // lost inside the handshake after all
				found, all = found+n, all+calls
			}
		}
		if all < calls*rounds/2 || float64(found) < c.least*float64(all) {
			t.Errorf("%s: %d of %d", c.name, found, all)
		}
		t.Logf("%s: %d of %d (%.1f %%)", c.name, found, all, 100*float64(found)/float64(all))
	}
}

// withSecrets writes a pcapng file that tells the secrets before its packets.
func withSecrets(frames []frame, log []byte) []byte {
	order := binary.LittleEndian
	block := func(b []byte, kind uint32, body []byte) []byte {
		body = append(body, make([]byte, (4-len(body)%4)%4)...)
		b = order.AppendUint32(order.AppendUint32(b, kind), uint32(12+len(body)))
		return order.AppendUint32(append(b, body...), uint32(12+len(body)))
	}
	section := order.AppendUint32(nil, magicSection)
	section = append(section, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
	b := block(nil, magicNg, section)
	b = block(b, blockInterface, []byte{byte(linkEthernet), 0, 0, 0, 0, 0, 0, 0})
	b = block(b, blockSecrets, append(order.AppendUint32(order.AppendUint32(nil, secretsTLS), uint32(len(log))), log...))
	for _, f := range frames {
		body := order.AppendUint32(nil, 0)
		micros := uint64(f.nanos / 1000)
		body = order.AppendUint32(order.AppendUint32(body, uint32(micros>>32)), uint32(micros))
		body = order.AppendUint32(order.AppendUint32(body, uint32(len(f.data))), uint32(len(f.data)))
		b = block(b, blockPacket, append(body, f.data...))
	}
	return b
}

func TestTLSKeyLog(t *testing.T) {
	random := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name, log   string
		connections int
		err         string
	}{
		{"empty", "", 0, ""},
		{"comments", "# SSL/TLS secrets log file\n\n", 0, ""},
		{"one", "CLIENT_RANDOM " + random + " " + strings.Repeat("cd", 48) + "\r\n", 1, ""},
		{"labels that are not needed", "EXPORTER_SECRET " + random + " " + strings.Repeat("cd", 32), 0, ""},
		{"some are strange", "CLIENT_RANDOM " + random + " " + strings.Repeat("cd", 48) + "\nnonsense\nA b c\n", 1, ""},
		{"no key log", "hello\nworld you see\n", 0, "none of its 2 lines"},
		{"a long line", strings.Repeat("x", maxKeyLine+1), 0, "token too long"},
		{"no hex", "CLIENT_RANDOM " + random + " " + strings.Repeat("zz", 48), 0, "none of its 1 lines"},
	} {
		keys := NewTLSKeys()
		err := keys.Read(strings.NewReader(c.log))
		if keys.Connections() != c.connections || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d connections, %v", c.name, keys.Connections(), err)
		}
		if err != nil && strings.Contains(err.Error(), "zz") {
			t.Errorf("%s: the error quotes the log: %v", c.name, err)
		}
	}
}

// FuzzTLS changes bytes of a conversation whose secrets are known.
// TestHellosInPieces reads hellos that come in several records, as some clients send
// them, in any segments; half a hello that is answered is counted without its name.
func TestHellosInPieces(t *testing.T) {
	talk, log := encrypted(t, tls.VersionTLS13, 0, false, 3)
	whole := talk[0]
	message := whole[5:]
	for _, size := range []int{len(message), 700, 100, 33, 3} {
		var row strings.Builder
		for rest := message; len(rest) > 0; {
			n := min(size, len(rest))
			row.WriteString(whole[:3] + string([]byte{byte(n >> 8), byte(n)}) + rest[:n])
			rest = rest[n:]
		}
		pieces := append(script{row.String()}, talk[1:]...)
		for _, mss := range []int{1448, 60, 6} {
			file := writePcap(linkEthernet, pieces.frames(mss))
			_, stats := read(t, Config{}, bytes.NewReader(file))
			if stats.TLSServers["api.example.com"] != 1 || len(stats.TLSServers) != 1 {
				t.Errorf("records of %d, segments of %d: %v", size, mss, stats.TLSServers)
			}
			if mss == 6 {
				continue
			}
			sink, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(file))
			if found, certain := right(t, sink.calls); found != 3 || certain != 3 || stats.Dropped[dropTLS] != 0 {
				t.Errorf("records of %d, segments of %d, with keys: %d found, %d certain; %+v", size, mss, found, certain, stats)
			}
		}
	}
	half := script{whole[:60], talk[1]}
	_, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(writePcap(linkEthernet, half.frames(1448))))
	if stats.TLSServers[""] != 1 || len(stats.TLSServers) != 1 || stats.Decrypted != 0 {
		t.Errorf("half a hello: %+v", stats)
	}
	// Its middle is lost: counted once, and never opened.
	frames := script{whole, talk[1]}.frames(300)
	for _, lost := range []int{4, 5, 6} {
		_, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(writePcap(linkEthernet, append(firstFrames(frames, lost), frames[lost+1:]...))))
		counted := uint64(0)
		for _, n := range stats.TLSServers {
			counted += n
		}
		if counted != 1 || stats.Decrypted != 0 {
			t.Errorf("a hello without packet %d: %+v", lost, stats)
		}
	}
	// The secrets are known, but the handshake is not seen to its end.
	for _, talk := range []script{{whole}, {whole, talk[1][:100]}, {whole, "\x15\x03\x03\x00\x02\x02\x28"}} {
		_, stats := read(t, Config{TLSKeys: keysOf(t, log)}, bytes.NewReader(writePcap(linkEthernet, talk.frames(1448))))
		if stats.TLSServers["api.example.com"] != 1 || stats.Dropped[dropTLS] != 1 {
			t.Errorf("a handshake without its end is not counted: %+v", stats)
		}
	}
}

func FuzzTLS(f *testing.F) {
	var logs [2][]byte
	var talks [2]script
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		talks[i], logs[i] = encrypted(f, version, 0, i == 1, 3)
	}
	f.Add(uint16(100), []byte("x"), []byte("CLIENT_RANDOM a b"))
	f.Add(uint16(900), []byte("\x17\x03\x03\x00\x10"), []byte("\x16\x03\x03"))
	f.Fuzz(func(t *testing.T, at uint16, change, log []byte) {
		_ = NewTLSKeys().Read(bytes.NewReader(log))
		for i, talk := range talks {
			file := writePcap(linkEthernet, talk.frames(700))
			place := 24 + int(at)*len(file)/(1<<16)
			copy(file[min(place, len(file)):], change)
			run := newRun(&New(Config{Key: testKey, TLSKeys: keysOf(t, logs[i])}).cfg, schema.Input{Name: "x"}, &collected{})
			reader, err := newRecordReader(bytes.NewReader(file))
			if err != nil {
				continue
			}
			_, _ = run.run(context.Background(), reader)
			if run.table.held != 0 || run.builder.live != 0 {
				t.Fatalf("%d bytes and %d exchanges are held at the end", run.table.held, run.builder.live)
			}
		}
	})
}
