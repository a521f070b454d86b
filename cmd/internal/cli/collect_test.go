package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// The secrets that the collected lines hold.
const (
	plantedToken  = "canary-bearer-token-4f8e2a6b9c1d"
	plantedQuery  = "canary-query-secret-7d3b5a9e1f2c"
	plantedCookie = "canary-session-cookie-1a2b3c4d5e6f"
)

func collectedLine(n int) string {
	return fmt.Sprintf(`{"start_time":"2026-03-01T%02d:%02d:%02d.%03dZ","method":"GET","path":"/orders/%d?access_token=%s","response_code":200,"authority":"api.example.com","request_id":"line-%06d","authorization":"Bearer %s","cookie":"session=%s"}`+"\n",
		n/3600000%24, n/60000%60, n/1000%60, n%1000, n%7, plantedQuery, n, plantedToken, plantedCookie)
}

// logWriter writes numbered lines and rotates its file in every way.
type logWriter struct {
	t    *testing.T
	path string
	n    atomic.Int64
}

// run writes until ctx ends.
func (w *logWriter) run(ctx context.Context, random *rand.Rand) {
	check := func(err error) {
		if err != nil {
			w.t.Error(err)
		}
	}
	file, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	check(err)
	for turn := 0; ctx.Err() == nil; turn++ {
		for range 5 {
			var b strings.Builder
			for range 1 + random.IntN(60) {
				b.WriteString(collectedLine(int(w.n.Add(1))))
			}
			text := b.String()
			cut := random.IntN(len(text)) // in the middle of a line
			_, err := file.WriteString(text[:cut])
			check(err)
			time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
			_, err = file.WriteString(text[cut:])
			check(err)
		}
		if turn%12 != 11 {
			continue
		}
		switch turn / 12 % 3 {
		case 0:
			check(os.Rename(w.path, fmt.Sprintf("%s.%d", w.path, turn)))
			check(file.Close())
			file, err = os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			check(err)
		case 1:
			text, err := os.ReadFile(w.path)
			check(err)
			check(os.WriteFile(fmt.Sprintf("%s.%d", w.path, turn), text, 0o644))
			check(os.Truncate(w.path, 0))
		case 2: // compress the last one
			old := fmt.Sprintf("%s.%d", w.path, turn-12)
			text, err := os.ReadFile(old)
			check(err)
			var buf bytes.Buffer
			z := gzip.NewWriter(&buf)
			_, _ = z.Write(text)
			check(z.Close())
			check(os.WriteFile(old+".gz", buf.Bytes(), 0o644))
			check(os.Remove(old))
		}
	}
	check(file.Close())
}

// onTopic is what a topic holds: calls by line, accounts, and copies.
type onTopic struct {
	ids      map[string]schema.CallID
	calls    int
	accounts int
	lost     uint64
	raw      []byte
}

// readTopic reads a topic whole.
func readTopic(t *testing.T, brokers []string, topic string) *onTopic {
	t.Helper()
	got := &onTopic{ids: map[string]schema.CallID{}}
	conn, err := kafkago.Dial("tcp", brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	partitions, err := conn.ReadPartitions(topic)
	_ = conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	decoder := wire.NewDecoder()
	for _, p := range partitions {
		leader, err := kafkago.DialLeader(context.Background(), "tcp", brokers[0], topic, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = leader.SetDeadline(time.Now().Add(30 * time.Second))
		first, last, err := leader.ReadOffsets()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leader.Seek(first, kafkago.SeekAbsolute); err != nil {
			t.Fatal(err)
		}
		for at := first; at < last; {
			batch := leader.ReadBatch(1, 10<<20)
			for {
				m, err := batch.ReadMessage()
				if err != nil {
					break
				}
				at = m.Offset + 1
				got.raw = append(got.raw, m.Value...)
				message, err := decoder.Message(m.Value)
				if err != nil {
					t.Fatal(err)
				}
				if a := message.Account; a != nil {
					got.accounts++
					for reason, n := range a.Skipped {
						if strings.HasPrefix(reason, schema.Lost) {
							got.lost += n
						}
					}
					continue
				}
				got.calls++
				c := message.Call
				if id, ok := got.ids[c.RequestID]; ok && id != c.ID {
					t.Fatalf("%s has the ids %x and %x", c.RequestID, id, c.ID)
				}
				got.ids[c.RequestID] = c.ID
			}
			if err := batch.Close(); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		_ = leader.Close()
	}
	return got
}

// collector is one life of a collecting process.
type collectorProcess struct {
	*exec.Cmd
	talk *bytes.Buffer
	done chan error
}

func startCollector(t *testing.T, environment []string, talk *bytes.Buffer, args ...string) *collectorProcess {
	t.Helper()
	p := &collectorProcess{exec.Command(program, append([]string{"collect"}, args...)...), talk, make(chan error, 1)}
	p.Env, p.Stderr = environment, talk
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// noSecrets fails if one of the planted secrets stands in data.
func noSecrets(t *testing.T, where string, data []byte) {
	t.Helper()
	for _, secret := range []string{plantedToken, plantedQuery, plantedCookie} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds the secret %s", where, secret)
		}
	}
}

// noSecretsBelow looks through a directory.
func noSecretsBelow(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if data, err := os.ReadFile(path); err == nil {
				noSecrets(t, path, data)
			}
		}
		return nil
	})
}

// TestCollectLosesNothing follows files that are rotated in every way, while the
// collector is killed and the broker goes away: every line is on the topic, under
// one id, and nothing that the collector leaves behind holds a secret.
func TestCollectLosesNothing(t *testing.T) {
	broker := kafkatest.Start(t, kafkatest.Options{})
	for _, spooled := range []bool{false, true} {
		t.Run(fmt.Sprintf("spool=%v", spooled), func(t *testing.T) {
			prefix := fmt.Sprintf("spool%v", spooled)
			state, logs := t.TempDir(), t.TempDir()
			environment := append(os.Environ(), "HOME="+state, "SCOPEDRIFT_KAFKA="+broker.Brokers()[0], "SCOPEDRIFT_KAFKA_PREFIX="+prefix)
			topics := exec.Command(program, "schema", "topics", "--partitions", "3")
			topics.Env = environment
			if out, err := topics.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			metrics := spareAddress(t)
			args := []string{"gateway", "--follow", "--checkpoint", filepath.Join(state, "follow.json"), "--linger", "2s", "--metrics-listen", metrics, logs}
			if spooled {
				args = append(args, "--spool", filepath.Join(state, "spool"), "--spool-limit", "64MiB")
			}
			random := rand.New(rand.NewPCG(5, 9))
			writer := &logWriter{t: t, path: filepath.Join(logs, "access.log")}
			writing, stopWriting := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Add(1)
			go func() { defer wg.Done(); writer.run(writing, rand.New(rand.NewPCG(1, 1))) }()
			var talk bytes.Buffer
			p := startCollector(t, environment, &talk, args...)
			for round := range 5 {
				time.Sleep(time.Duration(1500+random.IntN(1500)) * time.Millisecond)
				if round == 2 {
					broker.Kill()
					time.Sleep(4 * time.Second)
					noSecretsBelow(t, state) // the spool holds calls now
				}
				_ = p.Process.Kill()
				<-p.done
				p = startCollector(t, environment, &talk, args...)
				if round == 2 {
					time.Sleep(2 * time.Second)
					broker.Restart(t)
				}
			}
			stopWriting()
			wg.Wait()
			want := int(writer.n.Load())
			var got *onTopic
			for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
				if got = readTopic(t, broker.Brokers(), prefix+".calls.v1"); len(got.ids) >= want {
					break
				}
			}
			if len(got.ids) != want || got.lost != 0 {
				t.Errorf("%d of %d lines are on the topic, %d calls are told to be lost", len(got.ids), want, got.lost)
			}
			page, err := http.Get("http://" + metrics + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(page.Body)
			_ = page.Body.Close()
			for _, name := range []string{"scopedrift_follow_calls_total", "scopedrift_produced_messages_total"} {
				if !bytes.Contains(text, []byte(name)) {
					t.Errorf("there is no metric %s", name)
				}
			}
			began := time.Now()
			_ = p.Process.Signal(syscall.SIGTERM)
			if err := <-p.done; err != nil || time.Since(began) > 15*time.Second {
				t.Errorf("told to end, it took %v and returned %v", time.Since(began), err)
			}
			noSecrets(t, "the topic", got.raw)
			noSecrets(t, "the log", talk.Bytes())
			noSecrets(t, "the metrics", text)
			noSecretsBelow(t, state)
			t.Logf("%d lines; %d messages of calls (%d copies), %d accounts", want, got.calls, got.calls-len(got.ids), got.accounts)
		})
	}
}

func spareAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestReceiveWhileTheBrokerIsAway: who pushes is told to wait, pushes again, and
// nothing that was acknowledged is missing; with a spool nobody waits.
func TestReceiveWhileTheBrokerIsAway(t *testing.T) {
	broker := kafkatest.Start(t, kafkatest.Options{})
	state := t.TempDir()
	const token = "not-a-real-token-for-pushing-0001"
	environment := append(os.Environ(), "HOME="+state, "SCOPEDRIFT_KAFKA="+broker.Brokers()[0], "SCOPEDRIFT_RECEIVE_TOKEN="+token)
	topics := exec.Command(program, "schema", "topics", "--partitions", "2")
	topics.Env = environment
	if out, err := topics.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var talk, spooledTalk bytes.Buffer
	direct, spooled := spareAddress(t), spareAddress(t)
	one := startCollector(t, environment, &talk, "receive", "--listen", direct, "--metrics-listen", "off")
	other := startCollector(t, environment, &spooledTalk, "receive", "--listen", spooled, "--metrics-listen", "off", "--spool", filepath.Join(state, "spool"))
	next := 0
	push := func(address string, from, n int) int {
		t.Helper()
		var body strings.Builder
		for i := from; i < from+n; i++ {
			body.WriteString(collectedLine(i))
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			req, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/push", strings.NewReader(body.String()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				_ = res.Body.Close()
				return res.StatusCode
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	expect := func(address string, status int) {
		t.Helper()
		if got := push(address, next, 100); got != status {
			t.Errorf("status %d, want %d", got, status)
		}
		if status == http.StatusOK {
			next += 100
		}
	}
	expect(direct, http.StatusOK)
	expect(spooled, http.StatusOK)
	broker.Kill()
	expect(direct, http.StatusTooManyRequests)
	for range 5 {
		expect(spooled, http.StatusOK)
	}
	noSecretsBelow(t, state)
	broker.Restart(t)
	for end := time.Now().Add(60 * time.Second); push(direct, next, 100) != http.StatusOK; time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the broker is back, and bodies are still refused")
		}
	}
	next += 100
	var got *onTopic
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if got = readTopic(t, broker.Brokers(), "scopedrift.calls.v1"); len(got.ids) >= next {
			break
		}
	}
	if len(got.ids) != next {
		t.Errorf("%d of %d lines are on the topic", len(got.ids), next)
	}
	for _, p := range []*collectorProcess{one, other} {
		began := time.Now()
		_ = p.Process.Signal(syscall.SIGTERM)
		if err := <-p.done; err != nil || time.Since(began) > 15*time.Second {
			t.Errorf("told to end, it took %v and returned %v", time.Since(began), err)
		}
	}
	noSecrets(t, "the topic", got.raw)
	noSecrets(t, "the logs", append(talk.Bytes(), spooledTalk.Bytes()...))
	if bytes.Contains(append(talk.Bytes(), spooledTalk.Bytes()...), []byte(token)) {
		t.Error("a log holds the token of those who push")
	}
}
