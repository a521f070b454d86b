// Package kafkatest gives tests a real Apache Kafka broker.
//
// [Start] starts a broker of the test's own, [Shared] returns one that all tests
// of a package use. It is Apache Kafka 4.1 as one node in KRaft mode, on loopback
// and ports that were free; [Broker.Kill], [Broker.Stop] and [Broker.Restart]
// take it away and bring it back with the same ports and the same log. Made
// [Secure], it has listeners for TLS and SASL besides, and access control lists.
//
// The jars are those that make kafka fetches; without them or without java the
// test is skipped and says so, or fails where CI is set: there it must run. A
// broker dies with the process of its tests. It cannot show what several brokers
// do to one another: elections, replicas that lag.
package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/internal/corpus"
)

// version is the pinned one of pom.xml.
const version = "4.1.1"

// startTimeout is for a machine that is busy with other tests.
const startTimeout = 90 * time.Second

// Options shape a broker.
type Options struct {
	// Secure adds the listeners of [Secure] and turns access control on. Who
	// comes by [Broker.Brokers] stays all-powerful.
	Secure bool
	// Properties are further lines of server.properties.
	Properties map[string]string
	// Fast lets the virtual machine optimise fully: slower to start, faster to
	// serve; for measurements.
	Fast bool
}

// Broker is a running Kafka broker.
type Broker struct {
	options Options
	dir     string
	jars    string
	// ports by listener: plain, controller, sasl, mtls, expired.
	ports  map[string]int
	secure *Secure

	mu      sync.Mutex
	process *process
}

// process is one life of the broker.
type process struct {
	command *exec.Cmd
	done    chan struct{}
	err     error
}

// Find returns the directory of the jars, or what is missing.
func Find(t testing.TB) (jars string, missing error) {
	t.Helper()
	jars = filepath.Join(corpus.Module(t), ".cache", "kafka-"+version)
	if _, err := os.Stat(jars); err != nil {
		return "", errors.New("no Kafka broker: " + jars + " is not there: run make kafka")
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", errors.New("no Kafka broker: java is not installed")
	}
	return jars, nil
}

// Start starts a broker that ends with the test.
func Start(t testing.TB, options Options) *Broker {
	t.Helper()
	jars, missing := Find(t)
	switch {
	case missing != nil && os.Getenv("CI") != "":
		t.Fatal(missing)
	case missing != nil:
		t.Skip(missing)
	}
	b, err := start(t.TempDir(), jars, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	return b
}

// shared is the broker of a test binary. It dies with the process.
var shared struct {
	sync.Once
	broker *Broker
	err    error
}

// Shared returns the broker of the test binary, which all its tests share and
// none may kill. [Run] removes its files.
func Shared(t testing.TB) *Broker {
	t.Helper()
	jars, missing := Find(t)
	switch {
	case missing != nil && os.Getenv("CI") != "":
		t.Fatal(missing)
	case missing != nil:
		t.Skip(missing)
	}
	shared.Do(func() {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "kafkatest-"); shared.err == nil {
			shared.broker, shared.err = start(dir, jars, Options{Secure: true})
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.broker
}

// Run is for the TestMain of a package that uses [Shared]: it runs the tests and
// takes the broker away.
func Run(m *testing.M) {
	code := m.Run()
	if b := shared.broker; b != nil {
		b.Kill()
		_ = os.RemoveAll(b.dir)
	}
	os.Exit(code)
}

// start makes a broker. Another process can take a port before the broker does,
// so it tries again with others.
func start(dir, jars string, options Options) (*Broker, error) {
	var problems []error
	for attempt := range 3 {
		b := &Broker{options: options, dir: filepath.Join(dir, fmt.Sprint("kafka", attempt)), jars: jars}
		err := b.prepare()
		if err == nil {
			err = b.run()
		}
		if err == nil {
			return b, nil
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// prepare chooses ports, writes the files and formats the log directory.
func (b *Broker) prepare() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	names := []string{"plain", "controller"}
	if b.options.Secure {
		names = append(names, "sasl", "mtls", "expired")
	}
	var err error
	if b.ports, err = freePorts(names); err != nil {
		return err
	}
	properties, err := b.properties()
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "server.properties")
	if err := os.WriteFile(file, []byte(properties), 0o600); err != nil {
		return err
	}
	args := []string{"kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", file}
	if b.options.Secure {
		args = append(args, scramArguments()...)
	}
	out, err := exec.Command("java", b.arguments(args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format the broker's directory: %w: %s", err, out)
	}
	return nil
}

// freePorts returns a port for each name.
func freePorts(names []string) (map[string]int, error) {
	ports := map[string]int{}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Open until all are found, so that no two are the same.
		defer l.Close()
		ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (b *Broker) properties() (string, error) {
	listeners := fmt.Sprintf("PLAIN://127.0.0.1:%d", b.ports["plain"])
	protocols := "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT"
	lines := map[string]string{
		"process.roles":                    "broker,controller",
		"node.id":                          "1",
		"controller.quorum.voters":         fmt.Sprintf("1@127.0.0.1:%d", b.ports["controller"]),
		"controller.listener.names":        "CONTROLLER",
		"inter.broker.listener.name":       "PLAIN",
		"log.dirs":                         filepath.Join(b.dir, "log"),
		"auto.create.topics.enable":        "false",
		"offsets.topic.replication.factor": "1",
		"offsets.topic.num.partitions":     "4",
		"group.initial.rebalance.delay.ms": "0",
		"num.network.threads":              "2",
		"num.io.threads":                   "4",
		"log.cleaner.dedupe.buffer.size":   "4194304",
		// A broker that was killed may come back only when its last life's session
		// is over.
		"broker.session.timeout.ms":    "2000",
		"broker.heartbeat.interval.ms": "400",
	}
	if b.options.Secure {
		var err error
		if b.secure, err = newSecure(filepath.Join(b.dir, "tls")); err != nil {
			return "", err
		}
		listeners += fmt.Sprintf(",SASL://127.0.0.1:%d,MTLS://127.0.0.1:%d,EXPIRED://127.0.0.1:%d",
			b.ports["sasl"], b.ports["mtls"], b.ports["expired"])
		protocols += ",SASL:SASL_SSL,MTLS:SSL,EXPIRED:SSL"
		for key, value := range b.secure.properties() {
			lines[key] = value
		}
	}
	lines["listeners"] = listeners + fmt.Sprintf(",CONTROLLER://127.0.0.1:%d", b.ports["controller"])
	lines["advertised.listeners"] = listeners
	lines["listener.security.protocol.map"] = protocols
	for key, value := range b.options.Properties {
		lines[key] = value
	}
	var text strings.Builder
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range lines {
			if !yield(key) {
				return
			}
		}
	}) {
		fmt.Fprintf(&text, "%s=%s\n", key, lines[key])
	}
	return text.String(), nil
}

func (b *Broker) arguments(program ...string) []string {
	args := []string{"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(b.jars, "*")}
	if !b.options.Fast {
		args = append([]string{"-XX:TieredStopAtLevel=1"}, args...)
	}
	return append(args, program...)
}

// run starts the process and waits until the broker serves topics and groups.
func (b *Broker) run() error {
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p := &process{done: make(chan struct{})}
	p.command = exec.Command("java", b.arguments("kafka.Kafka", filepath.Join(b.dir, "server.properties"))...)
	p.command.Dir, p.command.Stdout, p.command.Stderr = b.dir, log, log
	dieWithParent(p.command)
	started := make(chan error)
	go func() {
		// The kernel tells the death of the thread that started a child, not
		// that of its process: the thread has to live as long as the broker.
		runtime.LockOSThread()
		defer close(p.done)
		defer log.Close()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.err = p.command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	b.mu.Lock()
	b.process = p
	b.mu.Unlock()
	if err := b.await(p); err != nil {
		b.Kill()
		text, _ := os.ReadFile(b.logFile())
		return fmt.Errorf("%w; the broker said: %s", err, tail(text))
	}
	return nil
}

func (b *Broker) logFile() string { return filepath.Join(b.dir, "broker.log") }

func tail(text []byte) []byte {
	if len(text) > 4000 {
		text = text[len(text)-4000:]
	}
	return bytes.TrimSpace(text)
}

// await asks for the coordinator of a group until there is one: that comes last,
// since the broker makes its topic of offsets only when first asked.
func (b *Broker) await(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	transport := &kafka.Transport{MetadataTTL: 100 * time.Millisecond}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(b.Brokers()...), Timeout: 2 * time.Second, Transport: transport}
	var last error
	for {
		response, err := client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: "kafkatest", KeyType: kafka.CoordinatorKeyTypeConsumer})
		if err == nil {
			err = response.Error
		}
		if err == nil {
			return nil
		}
		last = err
		select {
		case <-p.done:
			return fmt.Errorf("the Kafka broker ended while it started: %v", p.err)
		case <-ctx.Done():
			return fmt.Errorf("the Kafka broker did not answer within %s: %w", startTimeout, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Brokers is where the broker listens in plain text.
func (b *Broker) Brokers() []string { return []string{b.address("plain")} }

func (b *Broker) address(listener string) string {
	return fmt.Sprintf("127.0.0.1:%d", b.ports[listener])
}

// Secure is what is needed to speak to the broker by TLS and SASL.
func (b *Broker) Secure() *Secure { return b.secure }

// Kill ends the broker at once, as a crash does.
func (b *Broker) Kill() {
	b.mu.Lock()
	p := b.process
	b.process = nil
	b.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.command.Process.Kill()
	<-p.done
}

// Pause stops the broker's process where it stands, as a machine that hangs;
// [Broker.Resume] lets it go on.
func (b *Broker) Pause() { b.signal(syscall.SIGSTOP) }

// Resume lets a paused broker go on.
func (b *Broker) Resume() { b.signal(syscall.SIGCONT) }

func (b *Broker) signal(signal syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process != nil {
		_ = b.process.command.Process.Signal(signal)
	}
}

// Restart brings the broker back on its ports, with its log, after [Broker.Kill]
// or [Broker.Stop], or ends it first.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	b.Kill()
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
}
