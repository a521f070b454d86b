package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/direct"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// What the chaos test reads: how many kills, and the seed of all that is random.
const (
	chaosKills = "SCOPEDRIFT_TEST_CHAOS"
	chaosSeed  = "SCOPEDRIFT_TEST_SEED"
)

const (
	chaosPartitions = 4
	chaosBatch      = 40
)

// chaos is a broker, a ClickHouse, two ingesters and two collectors (the real
// program) and two producers, any of which is killed at random moments, and comes
// back.
type chaos struct {
	t           *testing.T
	random      *rand.Rand
	seed        uint64
	broker      *kafkatest.Broker
	prefix      string
	environment []string
	dir, listen string
	engine      *engine.Engine
	ingesters   [2]*exec.Cmd
	talk        [2]*bytes.Buffer
	followed    [2]*followed
	kills       map[string]int

	// produced is how many batches of each producer are acknowledged.
	produced [2]atomic.Int64
	// life ends one life of a producer.
	mu   sync.Mutex
	life [2]context.CancelFunc
}

// TestChaos kills producers, collectors, ingesters, the engine and the broker, pauses the
// last two and lets ingesters leave in order. Afterwards every produced call is
// stored, ranges have neither holes nor overlaps, rollups agree with the calls,
// what was stored twice repeats ids, and the findings are those of a run that
// nothing disturbed. make chaos runs the long form.
func TestChaos(t *testing.T) {
	kills := 25
	if n, err := strconv.Atoi(os.Getenv(chaosKills)); err == nil {
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv(chaosSeed), 10, 64); err == nil {
		seed = n
	}
	t.Logf("%s=%d %s=%d repeats the choices", chaosKills, kills, chaosSeed, seed)
	c := &chaos{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), environment: needEngine(t), prefix: "chaos", dir: t.TempDir(), kills: map[string]int{}}
	c.broker = kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"group.min.session.timeout.ms": "500"}})
	if _, err := kafka.EnsureTopics(t.Context(), kafka.Config{Brokers: c.broker.Brokers()}, kafka.Topics(kafka.NamesOf(c.prefix), chaosPartitions, 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "catalog.yaml"), []byte(detectortest.Company), 0o600); err != nil {
		t.Fatal(err)
	}
	c.listen = freeAddress(t)
	c.startEngine()
	t.Cleanup(func() { _ = c.engine.Close() })
	for i := range c.ingesters {
		c.startIngester(i)
	}
	producing, stop := context.WithCancel(t.Context())
	var producers sync.WaitGroup
	for i := range c.produced {
		producers.Go(func() { c.produce(producing, i) })
	}
	for i := range c.followed {
		c.followed[i] = c.follow(i)
		writing := rand.New(rand.NewPCG(seed, uint64(100+i)))
		producers.Go(func() { c.followed[i].write(producing, writing) })
	}
	for range kills {
		time.Sleep(time.Duration(50+c.random.IntN(450)) * time.Millisecond)
		c.strike()
	}
	stop()
	producers.Wait()
	t.Logf("kills: %v; batches: %d and %d; lines: %d and %d", c.kills, c.produced[0].Load(), c.produced[1].Load(), c.followed[0].lines.Load(), c.followed[1].lines.Load())
	conn, err := clickhouse.Open(t.Context(), clickhouse.Target{URL: "http://" + c.listen})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	for _, f := range c.followed {
		f.stored(conn)
	}
	c.settle(conn)
	t.Logf("settled in %v", time.Since(began))
	for i := range c.ingesters {
		c.leave(i, true)
	}
	c.judge(conn)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (c *chaos) startEngine() {
	c.t.Helper()
	var err error
	for range 5 {
		// The address may take a moment to be free again.
		if c.engine, err = engine.Start(c.t.Context(), enginetest.Config(c.t, engine.Config{Dir: filepath.Join(c.dir, "store"), Listen: c.listen})); err == nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Fatal(err)
}

func (c *chaos) startIngester(i int) {
	c.t.Helper()
	cmd := exec.Command(program, "ingest", "--kafka", c.broker.Brokers()[0], "--kafka-prefix", c.prefix, "--clickhouse", "http://"+c.listen,
		"--catalog", filepath.Join(c.dir, "catalog.yaml"), "--batch-age", "100ms", "--batch-rows", strconv.Itoa(200+c.random.IntN(4000)),
		"--group-session", "1s", "--metrics-listen", "off")
	cmd.Env = c.environment
	c.talk[i] = &bytes.Buffer{}
	cmd.Stderr = c.talk[i]
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.ingesters[i] = cmd
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// batch is the k-th of a producer; it is the same each time.
func (c *chaos) batch(producer int, k int64) *schema.Batch {
	calls := detectortest.Random(rand.New(rand.NewPCG(c.seed, uint64(producer)<<40+uint64(k))), chaosBatch)
	return &schema.Batch{Input: schema.Input{Name: fmt.Sprint("input ", producer), Format: "envoy"}, Calls: calls,
		FirstUnit: uint64(k) * chaosBatch, NextUnit: uint64(k+1) * chaosBatch}
}

// produce sends batches, each until it is acknowledged, through as many lives as
// it takes. A life that ends leaves behind what it had not acknowledged.
func (c *chaos) produce(ctx context.Context, i int) {
	for {
		life, end := context.WithCancel(context.Background())
		c.mu.Lock()
		c.life[i] = end
		c.mu.Unlock()
		p, err := kafka.NewProducer(kafka.ProducerConfig{Config: kafka.Config{Brokers: c.broker.Brokers()}, Topic: kafka.NamesOf(c.prefix).Calls})
		if err != nil {
			c.t.Error(err)
			end()
			return
		}
		go func() { _ = p.Run(life) }()
		for life.Err() == nil {
			if err := p.Put(life, c.batch(i, c.produced[i].Load())); err != nil {
				break
			}
			c.produced[i].Add(1)
			if ctx.Err() != nil {
				end()
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		end()
	}
}

// strike does one bad thing.
func (c *chaos) strike() {
	c.t.Helper()
	i := c.random.IntN(2)
	kind := ""
	switch n := c.random.IntN(100); {
	case n < 15:
		kind = "collector"
		c.followed[i].kill()
	case n < 45:
		kind = "ingester"
		_ = c.ingesters[i].Process.Kill()
		_ = c.ingesters[i].Wait()
		time.Sleep(time.Duration(c.random.IntN(300)) * time.Millisecond)
		c.startIngester(i)
	case n < 50:
		kind = "ingester in order"
		c.leave(i, false)
		c.startIngester(i)
	case n < 75:
		kind = "producer"
		c.mu.Lock()
		if c.life[i] != nil {
			c.life[i]()
		}
		c.mu.Unlock()
	case n < 88:
		kind = "engine"
		_ = syscall.Kill(c.engine.PID(), syscall.SIGKILL)
		<-c.engine.Done()
		_ = c.engine.Close()
		c.startEngine()
	case n < 95:
		kind = "slow engine"
		_ = syscall.Kill(c.engine.PID(), syscall.SIGSTOP)
		time.Sleep(time.Duration(200+c.random.IntN(1500)) * time.Millisecond)
		_ = syscall.Kill(c.engine.PID(), syscall.SIGCONT)
	case n < 98:
		kind = "broker"
		c.broker.Kill()
		c.broker.Restart(c.t)
	default:
		kind = "slow broker"
		c.broker.Pause()
		time.Sleep(time.Duration(200+c.random.IntN(2500)) * time.Millisecond)
		c.broker.Resume()
	}
	c.kills[kind]++
}

// leave ends an ingester by SIGTERM: it has to end in time, and with 0.
func (c *chaos) leave(i int, clean bool) {
	c.t.Helper()
	cmd := c.ingesters[i]
	began := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil && clean {
			c.t.Errorf("an ingester that was told to end: %v\n%s", err, c.talk[i].String())
		}
	case <-time.After(25 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		c.t.Errorf("an ingester did not end in %v\n%s", time.Since(began), c.talk[i].String())
	}
}

// standstill is how long nothing may be confirmed while something waits.
const standstill = 3 * time.Minute

// settle waits until all that Kafka holds is confirmed. How long that takes is
// the machine's affair, but it has to go on.
func (c *chaos) settle(conn driver.Conn) {
	c.t.Helper()
	topic, client := kafka.NamesOf(c.prefix).Calls, c.broker.Client(c.t)
	var ends, stored, before uint64
	for moved := time.Now(); time.Since(moved) < standstill; time.Sleep(200 * time.Millisecond) {
		var requests []kafkago.OffsetRequest
		for partition := range chaosPartitions {
			requests = append(requests, kafkago.LastOffsetOf(partition))
		}
		response, err := client.ListOffsets(context.Background(), &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{topic: requests}})
		if err != nil {
			continue
		}
		ends = 0
		for _, p := range response.Topics[topic] {
			ends += uint64(p.LastOffset)
		}
		if stored = c.one(conn, "sum(n) AS x FROM (SELECT max(next_offset) AS n FROM ranges WHERE state = 'confirmed' GROUP BY partition)"); stored == ends {
			return
		}
		if stored != before {
			before, moved = stored, time.Now()
		}
	}
	c.t.Fatalf("%d of %d messages are confirmed, and nothing moved in %v\n%s\n%s", stored, ends, standstill, c.talk[0].String(), c.talk[1].String())
}

func (c *chaos) one(conn driver.Conn, query string) (n uint64) {
	c.t.Helper()
	if err := conn.QueryRow(context.Background(), "SELECT toUInt64(x) FROM (SELECT "+query+")").Scan(&n); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// judge compares the store with what was produced, and with a run in peace.
func (c *chaos) judge(conn driver.Conn) {
	t := c.t
	t.Helper()
	cat, err := catalog.Load(filepath.Join(c.dir, "catalog.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	peace := enginetest.Open(t)
	if _, err := clickhouse.Migrate(t.Context(), peace); err != nil {
		t.Fatal(err)
	}
	p := direct.New(direct.Config{Conn: peace, Local: true, Catalog: cat, Run: "peace", Followed: true})
	if err := p.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range c.produced {
		for k := range c.produced[i].Load() {
			if err := p.Put(t.Context(), c.batch(i, k)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range c.followed {
		if err := p.Put(t.Context(), f.peace()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, db := range []driver.Conn{conn, peace} {
		calls := c.one(db, "count() AS x FROM calls")
		for _, rollup := range []string{"use_hour", "use_day", "use_life", "source_day"} {
			if n := c.one(db, "sum(calls) AS x FROM "+rollup); n != calls {
				t.Errorf("%s holds %d calls, the store %d", rollup, n, calls)
			}
		}
		if n, calls := c.one(db, "sum(calls) AS x FROM places"), c.one(db, "countIf(decision IN (1, 2, 3)) AS x FROM calls"); n != calls {
			t.Errorf("places hold %d calls, the store %d accepted ones", n, calls)
		}
	}
	// Whoever repeats a plan stores the same rows: else parts of two attempts mix.
	if n := c.one(conn, "count() AS x FROM (SELECT 1 FROM ranges GROUP BY topic, partition, plan"+
		" HAVING uniqExact(first_offset, next_offset, calls, accounts, repeated) > 1)"); n != 0 {
		t.Errorf("%d plans were repeated with other rows", n)
	}
	want := c.one(peace, "uniqExact(id) AS x FROM calls")
	rows, ids := c.one(conn, "count() AS x FROM calls"), c.one(conn, "uniqExact(id) AS x FROM calls")
	t.Logf("%d calls, %d of them stored twice; %d ranges", ids, rows-ids, c.one(conn, "count() AS x FROM ranges FINAL WHERE state = 'confirmed'"))
	if ids != want {
		t.Errorf("%d calls are stored, %d were produced", ids, want)
	}
	if n := c.one(conn, `countIf(before != first_offset) AS x FROM (SELECT first_offset,
		lagInFrame(next_offset) OVER (PARTITION BY topic, partition ORDER BY first_offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
		FROM (SELECT DISTINCT topic, partition, first_offset, next_offset, plan FROM ranges WHERE state = 'confirmed'))`); n != 0 {
		t.Errorf("%d ranges have a hole or an overlap before them", n)
	}
	if n := c.one(conn, "sum(lost) + sum(missing) + sum(arraySum(mapValues(dead))) AS x FROM ranges FINAL WHERE state = 'confirmed'"); n != 0 {
		t.Errorf("%d messages are lost, missing or dead", n)
	}
	got, undisturbed := findingNames(t, cat, conn), findingNames(t, cat, peace)
	if len(undisturbed) == 0 {
		t.Error("there are no findings to compare")
	}
	for _, name := range got {
		if _, ok := slices.BinarySearch(undisturbed, name); !ok {
			t.Errorf("a finding that peace does not make: %s", name)
		}
	}
	for _, name := range undisturbed {
		if _, ok := slices.BinarySearch(got, name); !ok {
			t.Errorf("a finding is not made: %s", name)
		}
	}
}

// findingNames lists the findings of a store, without counts: copies may inflate
// those.
func findingNames(t *testing.T, cat *catalog.Catalog, conn driver.Conn) []string {
	t.Helper()
	var names []string
	for _, f := range detectortest.Run(t, detector.Config{Catalog: cat, Facts: detector.Store(conn)}).Findings {
		text, err := json.Marshal([]any{f.ID, f.Code, f.Severity, f.Status, f.First, f.Last})
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, string(text))
	}
	slices.Sort(names)
	return names
}
