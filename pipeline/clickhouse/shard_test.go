package clickhouse_test

import (
	"errors"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// TestOpenShards: servers without a shard's tables are refused. Which shard
// a server is, only a cluster's tells.
func TestOpenShards(t *testing.T) {
	e := enginetest.Start(t, engine.Config{Listen: "127.0.0.1:0"})
	conn := enginetest.Connect(t, e)
	target := clickhouse.Target{URL: "http://" + e.Address()}
	refused := func(targets ...clickhouse.Target) {
		t.Helper()
		var known *clickhouse.Error
		if all, err := clickhouse.OpenShards(t.Context(), targets); !errors.As(err, &known) || known.Hint() == "" || all != nil {
			t.Errorf("it is taken: %v, %v", all, err)
		}
	}
	refused(target)
	enginetest.AsShard(t, conn)
	open := func(targets ...clickhouse.Target) {
		t.Helper()
		all, err := clickhouse.OpenShards(t.Context(), targets)
		if err != nil || len(all) != len(targets) {
			t.Fatalf("%d of %d are open: %v", len(all), len(targets), err)
		}
		for _, one := range all {
			_ = one.Close()
		}
	}
	open(target, target) // it knows of no cluster
	if number, of, err := clickhouse.Shard(t.Context(), conn); err != nil || number != 0 || of != 0 {
		t.Errorf("it knows no cluster, and says shard %d of %d: %v", number, of, err)
	}
}
