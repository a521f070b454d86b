package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
)

// What BenchmarkLatency reads: for how many seconds calls are produced, and how
// many a second.
const (
	latencySeconds = "SCOPEDRIFT_BENCH_SECONDS"
	latencyRate    = "SCOPEDRIFT_BENCH_RATE"
)

// latencyMesh has a thousand clients, all of which are active all the time: the
// most that a step of the detector can have to judge.
var latencyMesh = mesh{services: 20, kinds: 10, clients: 1000}

// latencyWarm is how long all of the clients are new, so that each call of theirs is
// the first of its kind.
const latencyWarm = 30 * time.Second

// plantEvery is how often a call out of scope is among the others.
const plantEvery = 500 * time.Millisecond

// BenchmarkLatency produces calls to a broker at a steady rate, which the real
// ingest stores and the real detect judges, all with their defaults and all on this
// machine. Some calls are out of scope, each of another client, service and
// operation. p50-s, p99-s and max-s are how long after such a call was made its
// finding leaves detect, in seconds, later-p99-s without what was made while all of the
// clients were new; cores are what each part used.
func BenchmarkLatency(b *testing.B) {
	seconds, rate := 60, 20_000
	if n, err := strconv.Atoi(os.Getenv(latencySeconds)); err == nil {
		seconds = n
	}
	if n, err := strconv.Atoi(os.Getenv(latencyRate)); err == nil {
		rate = n
	}
	for b.Loop() {
		benchLatency(b, time.Duration(seconds)*time.Second, rate)
	}
}

func benchLatency(b *testing.B, length time.Duration, rate int) {
	environment, dir := needEngine(b), b.TempDir()
	broker := kafkatest.Start(b, kafkatest.Options{Fast: true})
	names := kafka.NamesOf("latency")
	config := kafka.Config{Brokers: broker.Brokers()}
	if _, err := kafka.EnsureTopics(b.Context(), config, kafka.Topics(names, defaultPartitions, 1)); err != nil {
		b.Fatal(err)
	}
	catalogue, data := filepath.Join(dir, "catalogue.yaml"), filepath.Join(dir, "store")
	create(b, catalogue, latencyMesh.catalogue)
	in := startDaemon(b, environment, "ingest", "--kafka", broker.Brokers()[0], "--kafka-prefix", "latency", "--data", data, "--catalog", catalogue)
	in.until(b, "partitions are read", func() bool { return in.metric("scopedrift_ingest_lanes") == defaultPartitions })
	p := newPlants()
	watch := startDaemonTo(b, environment, p, "detect", "--data", data, "--catalog", catalogue)
	program, _ := enginetest.Files(b)
	engine := findChild(in.Process.Pid, filepath.Base(program))
	if engine == 0 {
		engine = findChild(watch.Process.Pid, filepath.Base(program))
	}
	pids := map[string]int{"ingest": in.Process.Pid, "detect": watch.Process.Pid, "engine": engine}
	before := map[string]time.Duration{}
	for name, pid := range pids {
		before[name] = usedBy(pid)
	}
	began := time.Now()
	worst := p.produce(b, config, names.Calls, length, rate)
	took := time.Since(began)
	for end := time.Now().Add(time.Minute); p.open() > 0 && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	var cores []string
	for _, name := range []string{"engine", "ingest", "detect"} {
		used := (usedBy(pids[name]) - before[name]).Seconds()
		b.ReportMetric(used/took.Seconds(), name+"-cores")
		cores = append(cores, fmt.Sprintf("%s %.1f s", name, used))
	}
	passes := watch.metric("scopedrift_detector_passes_total")
	b.Logf("CPU: %s; %.0f passes; a chunk of calls was %v late at most; %.0f messages are not read", strings.Join(cores, ", "), passes, worst, in.metric("scopedrift_ingest_lag"))
	if n := p.open(); n > 0 {
		b.Errorf("%d of %d calls out of scope have no finding\n%s\n%s", n, len(p.made), in.stderr.String(), watch.stderr.String())
	}
	delays, later := p.delays(began), p.delays(began.Add(latencyWarm))
	b.ReportMetric(later[len(later)*99/100].Seconds(), "later-p99-s")
	b.ReportMetric(delays[len(delays)/2].Seconds(), "p50-s")
	b.ReportMetric(delays[len(delays)*99/100].Seconds(), "p99-s")
	b.ReportMetric(delays[len(delays)-1].Seconds(), "max-s")
	b.ReportMetric(took.Seconds()/max(passes, 1), "s/pass")
	b.ReportMetric(float64(p.calls)/took.Seconds(), "calls/s")
	in.terminate(b)
	watch.terminate(b)
}

func usedBy(pid int) time.Duration {
	var u spent
	u.sample(pid)
	return u.cpu
}

// plants are the calls out of scope: when each was made, and how long its finding
// took. As a writer it takes what detect writes.
type plants struct {
	calls int

	mu    sync.Mutex
	made  map[planted]time.Time
	found map[planted]time.Duration
	rest  []byte
}

type planted struct{ credential, service, operation string }

func newPlants() *plants {
	return &plants{made: map[planted]time.Time{}, found: map[planted]time.Duration{}}
}

// open is how many were not found yet.
func (p *plants) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.made) - len(p.found)
}

// delays are those of what was made since a time, ascending.
func (p *plants) delays(since time.Time) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []time.Duration{0}
	for one, d := range p.found {
		if !p.made[one].Before(since) {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all[min(1, len(all)-1):]
}

func (p *plants) Write(text []byte) (int, error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, text...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			break
		}
		p.rest = rest
		if !bytes.Contains(line, []byte(`"code":"D01"`)) {
			continue
		}
		var f struct {
			Credential         struct{ ID string }
			Service, Operation string
		}
		if err := json.Unmarshal(line, &f); err != nil {
			continue
		}
		one := planted{f.Credential.ID, f.Service, f.Operation}
		if made, ok := p.made[one]; ok && p.found[one] == 0 {
			p.found[one] = now.Sub(made)
		}
	}
	p.rest = bytes.Clone(p.rest)
	return len(text), nil
}

// produce sends calls in chunks of a twentieth of a second, and returns by how
// much one was late at most.
func (p *plants) produce(b *testing.B, config kafka.Config, topic string, length time.Duration, rate int) (worst time.Duration) {
	b.Helper()
	producer, err := kafka.NewProducer(kafka.ProducerConfig{Config: config, Topic: topic})
	if err != nil {
		b.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var running, sending sync.WaitGroup
	running.Go(func() { _ = producer.Run(ctx) })
	batches := make(chan *schema.Batch, 64)
	for range 4 {
		sending.Go(func() {
			for batch := range batches {
				if err := producer.Put(ctx, batch); err != nil {
					b.Error(err)
				}
			}
		})
	}
	const chunk = 50 * time.Millisecond
	r, began, n := rand.New(rand.NewPCG(11, 12)), time.Now(), 0
	for at := time.Duration(0); at < length; at += chunk {
		time.Sleep(time.Until(began.Add(at)))
		worst = max(worst, time.Since(began.Add(at)))
		calls := make([]schema.Call, rate/int(time.Second/chunk))
		for i := range calls {
			p.calls++
			calls[i] = latencyMesh.call(r, p.calls)
		}
		if at >= time.Duration(n)*plantEvery {
			calls[len(calls)/2] = p.plant(n, p.calls+1)
			p.calls++
			n++
		}
		batches <- &schema.Batch{Input: schema.Input{Name: "mesh", Format: "envoy"}, FirstUnit: uint64(p.calls - len(calls)), NextUnit: uint64(p.calls), Calls: calls}
	}
	close(batches)
	sending.Wait()
	end()
	running.Wait()
	return worst
}

// call is one that its client may make, now.
func (m mesh) call(r *rand.Rand, number int) schema.Call {
	client := r.IntN(r.IntN(m.clients) + 1) // a few clients make most of the calls
	c := m.from(client, (client+r.IntN(4)*3)%m.services, number)
	v := verbs[r.IntN(2)*2] // what needs the right to read
	c.Method, c.Path = v.method, fmt.Sprintf("/v1/kind-%d", r.IntN(m.kinds))
	if v.suffix != "" {
		c.Path += "/" + strconv.Itoa(r.IntN(50_000))
	}
	return c
}

// from is a call of a client to a service without its operation.
func (m mesh) from(client, service, number int) schema.Call {
	id := "client-" + strconv.Itoa(client)
	c := schema.Call{
		Time: time.Now().UTC(), Source: schema.Source{Type: "envoy", Name: "mesh"}, Reporter: schema.ReporterGateway,
		Credential: schema.Credential{Kind: schema.KindOAuthClient, ID: "https://idp.example.com|" + id, Issuer: "https://idp.example.com", Client: id, Verified: true},
		Decision:   schema.DecisionAllowed, Host: fmt.Sprintf("service-%d.example.internal", service), Status: 200, RequestBytes: uint64(number % 4000),
		ResponseBytes: uint64(number % 40_000), DurationUS: uint64(number % 300_000), ClientAddress: netip.AddrFrom4([4]byte{10, 2, byte(client), byte(client >> 8)}),
		UserAgent: "client/1.2", Workload: "spiffe://cluster.local/ns/shop/sa/" + id, RequestID: fmt.Sprintf("%032x", number*104729),
	}
	binary.BigEndian.PutUint64(c.ID[:], uint64(number)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(c.ID[8:], uint64(number))
	return c
}

// plant makes the n-th call out of scope and notes when: nobody may delete.
func (p *plants) plant(n, number int) schema.Call {
	m := latencyMesh
	client, service, kind := n*37%m.clients, n%m.services, n/m.clients%m.kinds
	c := m.from(client, service, number)
	c.Method, c.Path = "DELETE", fmt.Sprintf("/v1/kind-%d/%d", kind, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[planted{fmt.Sprintf("client-%d", client), fmt.Sprintf("service-%d", service), fmt.Sprintf("DELETE /kind-%d/{id}", kind)}] = c.Time
	return c
}
