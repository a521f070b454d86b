package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/scopedrift/scopedrift/cmd/internal/operate"
	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
)

const ingestLong = `Stores the calls that collectors write to Kafka: it reads the topic as a member of
a group, names services and operations by the catalogue, and inserts into
--data DIR or a ClickHouse server. Start as many as the topic has partitions.

Each message is stored once, whatever dies at whatever moment: a range is planned
in Kafka, inserted under the plan's token, and confirmed; who takes over repeats
what was planned. Messages that cannot be read are counted and go to the
dead-letter topic, without their bytes. What Kafka deleted before it was read
lowers coverage.

With --shard, once for each shard of a ClickHouse cluster and in the cluster's
order, calls go straight to the tables of the shard that their credential belongs
to, and only the rest goes through --clickhouse. Name several replicas of a shard in
one URL, with commas.

The catalogue is read again when its files change, and with SIGHUP. SIGTERM
stores and confirms what is planned, within 15 s, and ends with 0. Log lines in
JSON go to standard error; counters are served: see --metrics-listen.`

// ingestGroup is the group that ingesters share the partitions in.
const ingestGroup = "scopedrift-ingest"

// ingestMemory bounds what the program itself holds, the embedded engine apart:
// it collects garbage more often rather than hold more.
const ingestMemory = 224 << 20

func (a *app) ingestCommand() *cobra.Command {
	var shards addresses
	group, age, rows, session := ingestGroup, 2*time.Second, 1<<16, 45*time.Second
	c := &cobra.Command{
		Use: "ingest", Short: "store the calls that collectors write to Kafka", Long: ingestLong, Args: cobra.NoArgs,
		Example: "  scopedrift ingest --kafka kafka-1:9092,kafka-2:9092 --clickhouse clickhouse://db.example.com:9000/scopedrift --catalog catalogue/\n" +
			"  scopedrift ingest --kafka 127.0.0.1:9092 --data store/ --catalog catalogue/",
	}
	flags := c.Flags()
	flags.StringVar(&group, "group", group, "group of ingesters that share the work")
	flags.DurationVar(&age, "batch-age", age, "how long a call waits for others, so that they are stored together")
	flags.IntVar(&rows, "batch-rows", rows, "the most calls that are stored together")
	flags.DurationVar(&session, "group-session", session, "how long the group waits for an ingester that gives no sign of life")
	flags.Var(&shards, "shard", "server of one of the cluster's shards; once for each, in their order")
	a.settings.bind(flags, append([]string{"catalog", "key", "metrics-listen"}, storeFlags...)...)
	a.settings.bind(flags, kafkaFlags...)
	c.RunE = a.action(func(ctx context.Context, _ []string) error {
		switch {
		case strings.TrimSpace(group) == "":
			return usage("--group is empty", "leave it out: "+ingestGroup+" is usual")
		case age < 50*time.Millisecond || age > time.Minute:
			return usage(fmt.Sprintf("--batch-age %v is not between 50ms and 1m", age), "2s is usual")
		case session < time.Second || session > 5*time.Minute:
			return usage(fmt.Sprintf("--group-session %v is not between 1s and 5m", session), "45s is usual")
		case rows < 1 || rows > 1<<20:
			return usage(fmt.Sprintf("--batch-rows %d is not between 1 and %d", rows, 1<<20), "65536 is usual")
		}
		if len(shards) > 0 && a.settings.clickhouse.value == "" {
			return usage("--shard is of use with --clickhouse only", "pass --clickhouse URL with any server of the cluster as well")
		}
		return a.ingest(ctx, shards, kafka.GroupConfig{Group: group, Session: session}, pipeline.Config{MaxAge: age, BlockRows: rows})
	})
	return c
}

// ingest stores what Kafka holds until ctx ends.
func (a *app) ingest(ctx context.Context, shards addresses, group kafka.GroupConfig, cfg pipeline.Config) (err error) {
	if a.settings.data == "" && a.settings.clickhouse.value == "" {
		return usage("ingest needs a place to store calls", "pass --clickhouse URL, or --data DIR with a new directory")
	}
	brokers, err := a.kafkaConfig()
	if err != nil {
		return err
	}
	if a.env.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(ingestMemory)
	}
	st, err := a.openStation(ctx, "ingest", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	live, s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	st.server.Alive("engine", s.dead)
	var targets []clickhouse.Target
	for i := range shards {
		targets = append(targets, a.server(shards[i].value))
	}
	if cfg.Shards, err = clickhouse.OpenShards(ctx, targets); err != nil {
		return explained(err)
	}
	for _, conn := range cfg.Shards {
		defer func() { _ = conn.Close() }()
	}
	release, err := a.lockWriter()
	if err != nil {
		return err
	}
	defer release()
	key, err := a.installationKey()
	if err != nil {
		return err
	}
	names, report := a.kafkaNames(), healing(st.log)
	letters, err := kafka.NewDeadLetters(brokers, names.DeadLetters, report)
	if err != nil {
		return misused(err)
	}
	group.Config, group.Topic, group.Report = brokers, names.Calls, report
	members, err := kafka.NewGroup(group)
	if err != nil {
		return misused(err)
	}
	cfg.Conn, cfg.Local, cfg.Current, cfg.DeadLetters = s.conn, s.engine != nil, st.catalogue.Current, letters
	cfg.Digest = func(value []byte) [16]byte { return key.Sum("dead letter", value) }
	cfg.Report, cfg.Abort = report, live.Done()
	cfg.Stored = observed(st.server.Durations("scopedrift_store_seconds", "How long a batch took to be stored."))
	in := pipeline.New(cfg)
	observeIngester(st.server, in, members, letters)
	st.log.Info().Str("topic", names.Calls).Str("group", group.Group).Int("shards", len(shards)).Msg("reading")
	if err := a.ingestUntil(ctx, live, in, members, letters); err != nil {
		return s.why(live, err)
	}
	return s.dead()
}

// ingestUntil reads until ctx ends or the engine dies. What puts messages aside
// lives longer than what reads them.
func (a *app) ingestUntil(ctx, live context.Context, in *pipeline.Ingester, members *kafka.Group, letters *kafka.DeadLetters) error {
	reading, stop := context.WithCancel(live)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	aside, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	put := make(chan error, 1)
	go func() {
		// Where dead letters can never be kept nothing may be read on.
		err := letters.Run(aside)
		stop()
		put <- err
	}()
	err := members.Run(reading, func(ctx context.Context, lane *kafka.Lane) error {
		return in.Handle(ctx, lane.Topic, lane.Partition, lane)
	})
	end()
	return errors.Join(err, <-put)
}

// healing writes what is being healed to the log; the same again within a while
// is said once.
func healing(log operate.Log) func(error) {
	const quiet = 10 * time.Second
	var mu sync.Mutex
	said := map[string]time.Time{}
	return func(err error) {
		text := err.Error()
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(said[text]) < quiet {
			return
		}
		maps.DeleteFunc(said, func(_ string, at time.Time) bool { return now.Sub(at) > quiet })
		said[text] = now
		line := log.Warn()
		if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
			line = line.Str("hint", hinted.Hint())
		}
		line.Msg(text)
	}
}

func observed(observe func(time.Duration)) func(time.Duration, int) {
	return func(took time.Duration, _ int) { observe(took) }
}

// observeIngester adds the counters of what is read from Kafka and stored.
func observeIngester(s *operate.Server, in *pipeline.Ingester, members *kafka.Group, letters *kafka.DeadLetters) {
	counter := func(name, help string, read func(pipeline.Stats) uint64) {
		s.Counter(name, help, func() uint64 { return read(in.Stats()) })
	}
	counter("scopedrift_calls_stored_total", "Calls stored.", func(t pipeline.Stats) uint64 { return t.Calls })
	counter("scopedrift_calls_repeated_total", "Calls dropped because their id was stored already.", func(t pipeline.Stats) uint64 { return t.Repeated })
	counter("scopedrift_calls_unmapped_total", "Stored calls whose operation neither the log nor the catalogue names.", func(t pipeline.Stats) uint64 { return t.Unmapped })
	counter("scopedrift_ingest_accounts_total", "Accounts of collectors written to the ledger.", func(t pipeline.Stats) uint64 { return t.Accounts })
	counter("scopedrift_ingest_batches_total", "Batches stored and confirmed.", func(t pipeline.Stats) uint64 { return t.Batches })
	counter("scopedrift_ingest_replays_total", "Batches that an earlier owner had planned.", func(t pipeline.Stats) uint64 { return t.Replayed })
	counter("scopedrift_ingest_fenced_total", "Batches dropped before they were stored, since the partition had another owner.", func(t pipeline.Stats) uint64 { return t.Fenced })
	counter("scopedrift_ingest_retries_total", "Attempts to store a batch after its first.", func(t pipeline.Stats) uint64 { return t.Retries })
	counter("scopedrift_ingest_copies_total", "Messages that their producer's numbers show to be copies.", func(t pipeline.Stats) uint64 { return t.Copied })
	counter("scopedrift_ingest_missing_total", "Numbers that producers left out: messages that never came.", func(t pipeline.Stats) uint64 { return t.Missing })
	counter("scopedrift_ingest_lost_total", "Messages that Kafka had deleted before they were read.", func(t pipeline.Stats) uint64 { return t.Lost })
	counter("scopedrift_ingest_plans_ignored_total", "Plans that did not fit the committed offset.", func(t pipeline.Stats) uint64 { return t.Ignored })
	s.Counters("scopedrift_ingest_dead_total", "Messages that could not be read and were put aside.", "reason", func() map[string]uint64 { return in.Stats().Dead })
	s.Counter("scopedrift_ingest_letters_total", "Dead letters that Kafka acknowledged.", func() uint64 { return letters.Stats().Messages })
	s.Gauge("scopedrift_ingest_lanes", "Partitions that are read.", func() float64 { return float64(in.Stats().Lanes) })
	s.Gauge("scopedrift_ingest_stopped", "Partitions that stand still until somebody puts something right.", func() float64 { return float64(len(in.Stats().Stopped)) })
	s.Gauges("scopedrift_ingest_lag", "Messages that are not read yet.", "partition", func() map[string]float64 {
		lag := map[string]float64{}
		for partition, n := range members.Stats().Lag {
			lag[strconv.Itoa(partition)] = float64(n)
		}
		return lag
	})
	seconds := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMilli()) / 1000
	}
	s.Gauge("scopedrift_latest_call_timestamp_seconds", "Time of the latest stored call, 0 before the first.", func() float64 { return seconds(in.Stats().LastCall) })
	s.Gauge("scopedrift_latest_store_timestamp_seconds", "When a batch was last confirmed, 0 before the first.", func() float64 { return seconds(in.Stats().LastStored) })
	s.Counter("scopedrift_kafka_errors_total", "Errors of Kafka that were healed by trying again.", func() uint64 { return members.Stats().Errors })
	s.Counter("scopedrift_kafka_generations_total", "How often partitions were given out anew.", func() uint64 { return members.Stats().Generations })
	s.Ready("lanes", func() error {
		stats := in.Stats()
		for _, partition := range slices.Sorted(maps.Keys(stats.Stopped)) {
			return errors.New(stats.Stopped[partition])
		}
		if members.Stats().Generations == 0 {
			return errors.New("not a member of the group yet")
		}
		return nil
	})
}
