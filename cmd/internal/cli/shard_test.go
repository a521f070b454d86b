package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
	"github.com/scopedrift/scopedrift/schema/table"
)

// TestIngestToShards lets the real program store what a broker holds on two servers
// that have the tables of a cluster's shards: each call is on its credential's, and
// none in between.
func TestIngestToShards(t *testing.T) {
	environment, dir := needEngine(t), t.TempDir()
	broker := kafkatest.Shared(t)
	names := kafka.NamesOf("shards")
	if _, err := kafka.EnsureTopics(t.Context(), kafka.Config{Brokers: broker.Brokers()}, kafka.Topics(names, 3, 1)); err != nil {
		t.Fatal(err)
	}
	catalogue := filepath.Join(dir, "catalog.yaml")
	if err := os.WriteFile(catalogue, []byte(detectortest.Company), 0o600); err != nil {
		t.Fatal(err)
	}
	var servers []*engine.Engine
	args := []string{"ingest", "--kafka", broker.Brokers()[0], "--kafka-prefix", "shards", "--catalog", catalogue, "--batch-age", "200ms"}
	for i := range 3 {
		e := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
		servers = append(servers, e)
		if i == 0 {
			args = append(args, "--clickhouse", "http://"+e.Address())
			continue
		}
		enginetest.AsShard(t, enginetest.Connect(t, e))
		args = append(args, "--shard", "http://"+e.Address())
	}
	front := enginetest.Connect(t, servers[0])
	if _, err := clickhouse.Migrate(t.Context(), front); err != nil {
		t.Fatal(err)
	}
	const calls = 8000
	produceLarge(t, broker, names.Calls, calls)
	in := startDaemon(t, environment, args...)
	in.until(t, "all is stored", func() bool { return in.metric("scopedrift_calls_stored_total") >= calls })
	in.terminate(t)
	var sum uint64
	for i := range 2 {
		conn := enginetest.Connect(t, servers[1+i])
		var n, wrong uint64
		if err := conn.QueryRow(t.Context(), "SELECT count(), countIf("+table.ShardKey+" % 2 != ?) FROM calls_local", i).Scan(&n, &wrong); err != nil {
			t.Fatal(err)
		}
		if n == 0 || wrong > 0 {
			t.Errorf("shard %d has %d calls, %d of them belong elsewhere", i+1, n, wrong)
		}
		sum += n
	}
	if n := storedCalls(t, front); n != 0 || sum != calls {
		t.Errorf("the shards have %d calls, the server in front %d", sum, n)
	}
	// A server that is no shard is refused before anything is read.
	env := testEnv(t)
	var said strings.Builder
	env.Stderr, env.Args = &said, append(args, "--shard", "http://"+servers[0].Address(), "--key", filepath.Join(dir, "key"), "--metrics-listen", "off")
	if code := Main(env); code == 0 || !strings.Contains(said.String(), "shard 3: the server has no tables of a shard") || !strings.Contains(said.String(), "hint:") {
		t.Errorf("exit %d: %s", code, said.String())
	}
}
