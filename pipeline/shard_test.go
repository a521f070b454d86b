package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema/table"
)

// shards are engines that have what the servers of a cluster have.
func shards(t *testing.T, n int) []driver.Conn {
	t.Helper()
	all := make([]driver.Conn, n)
	for i := range all {
		all[i] = enginetest.Open(t)
		enginetest.AsShard(t, all[i])
	}
	return all
}

// spread checks that shards hold n calls together, each call and each row of use
// where the store's own function of the credential says, and rollups that agree.
func spread(t *testing.T, all []driver.Conn, of int, n uint64) {
	t.Helper()
	var rows uint64
	for i, conn := range all {
		here := one(t, conn, "(SELECT count() FROM calls_local)")
		if ids := one(t, conn, "(SELECT uniqExact(id) FROM calls_local)"); ids != here {
			t.Errorf("shard %d has %d rows of %d calls", i+1, here, ids)
		}
		for _, name := range []string{"calls_local", "use_life_local", "principals_local"} {
			if wrong := one(t, conn, fmt.Sprintf("(SELECT count() FROM %s WHERE %s %% %d != %d)", name, table.ShardKey, of, i)); wrong != 0 {
				t.Errorf("%d rows of %s on shard %d belong elsewhere", wrong, name, i+1)
			}
		}
		for _, name := range []string{"use_hour_local", "use_day_local", "use_life_local", "source_day_local"} {
			if sum := one(t, conn, "(SELECT sum(calls) FROM "+name+")"); sum != here {
				t.Errorf("shard %d has %d calls, %d in %s", i+1, here, sum, name)
			}
		}
		rows += here
	}
	if rows != n {
		t.Errorf("%d calls are stored, want %d", rows, n)
	}
}

// TestShards stores the calls of one partition, of many credentials, on the shards
// that they belong to, and nowhere else.
func TestShards(t *testing.T) {
	front, all, g := store(t), shards(t, 2), newLog()
	g.append(wired(1, 1, callsOf(0, 5000))...)
	if _, err := handle(t, g, pipeline.Config{Conn: front, Shards: all, BlockRows: 1700}, stored(5000)); err != nil {
		t.Fatal(err)
	}
	spread(t, all, 2, 5000)
	for i, conn := range all {
		if one(t, conn, "(SELECT count() FROM calls_local)") == 0 {
			t.Errorf("shard %d has nothing: the test says nothing", i+1)
		}
	}
	if n := one(t, front, "(SELECT count() FROM calls)"); n != 0 {
		t.Errorf("%d calls went elsewhere", n)
	}
	if n := one(t, front, "(SELECT sum(calls) FROM ranges WHERE state = 'confirmed')"); n != 5000 {
		t.Errorf("the ranges tell of %d calls", n)
	}
}

// TestShardsAndDeath: an owner dies between insert and confirmation, and the next
// one knows more shards, or none were known before: what was planned is repeated as
// it was planned.
func TestShardsAndDeath(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after int
		front, rest   uint64
	}{
		{name: "the same", before: 2, after: 2, rest: 4000},
		{name: "one more", before: 2, after: 3, rest: 4000},
		{name: "none before", before: 0, after: 2, front: 2000, rest: 2000},
	} {
		t.Run(test.name, func(t *testing.T) {
			front, all, g := store(t), shards(t, test.after), newLog()
			g.append(wired(1, 1, callsOf(0, 2000))...)
			g.before = func(_ int64, metadata string) error {
				if metadata == "" {
					return errKilled
				}
				return nil
			}
			if _, err := handle(t, g, pipeline.Config{Conn: front, Shards: all[:test.before], BlockRows: 2000, MaxAge: time.Minute}, nil); err == nil {
				t.Fatal("it was not killed")
			}
			g.before = nil
			if g.metadata == "" {
				t.Fatal("nothing is planned: the test says nothing")
			}
			spread(t, all[:test.before], test.before, 2000-test.front)
			s, err := handle(t, g, pipeline.Config{Conn: front, Shards: all}, stored(2000))
			if err != nil || s.Replayed != 1 || s.Ignored != 0 {
				t.Fatalf("%+v: %v", s, err)
			}
			spread(t, all[:test.before], test.before, 2000-test.front)
			// What comes now goes by the new number.
			g.append(wired(1, 2001, callsOf(2000, 2000))...)
			if _, err := handle(t, g, pipeline.Config{Conn: front, Shards: all}, stored(2000)); err != nil {
				t.Fatal(err)
			}
			var sum uint64
			for i, conn := range all {
				sum += one(t, conn, "(SELECT count() FROM calls_local)")
				late := fmt.Sprintf("(SELECT count() FROM calls_local WHERE reinterpretAsUInt64(reverse(substring(id, 1, 8))) > 2000 AND %s %% %d != %d)", table.ShardKey, test.after, i)
				if n := one(t, conn, late); n != 0 {
					t.Errorf("%d late calls on shard %d belong elsewhere", n, i+1)
				}
			}
			if n := one(t, front, "(SELECT count() FROM calls)"); sum != test.rest || n != test.front {
				t.Errorf("the shards have %d calls, want %d; %d went through the whole, want %d", sum, test.rest, n, test.front)
			}
		})
	}
}

// TestShardStandsStill: one of two shards refuses; what the other one has stays as
// it is while it is tried again, and nothing is left out.
func TestShardStandsStill(t *testing.T) {
	front, all, g := store(t), shards(t, 2), newLog()
	g.append(wired(1, 1, callsOf(0, 1000))...)
	ctx := context.Background()
	if err := all[1].Exec(ctx, "RENAME TABLE calls_local TO hidden"); err != nil {
		t.Fatal(err)
	}
	repaired := false
	s, err := handle(t, g, pipeline.Config{Conn: front, Shards: all}, func(s pipeline.Stats) bool {
		if len(s.Stopped) == 1 && !repaired {
			repaired = true
			if one(t, all[0], "(SELECT count() FROM calls_local)") == 0 {
				t.Error("the shard that works has nothing")
			}
			if err := all[1].Exec(ctx, "RENAME TABLE hidden TO calls_local"); err != nil {
				t.Error(err)
			}
		}
		return s.Calls == 1000
	})
	if err != nil || !repaired {
		t.Fatalf("%+v: %v", s, err)
	}
	spread(t, all, 2, 1000)
}

// TestPlansOfShards: a plan that no ingester writes is not followed.
func TestPlansOfShards(t *testing.T) {
	for _, metadata := range []string{"scopedrift/2 0 100 00aa", "scopedrift/2 0 100 00aa 0", "scopedrift/2 0 100 00aa 99999", "scopedrift/2 0 100 00aa 2 ", "scopedrift/3 0 100 00aa 2"} {
		front, g := store(t), newLog()
		g.append(wired(1, 1, callsOf(0, 100))...)
		g.offset, g.metadata = 0, metadata
		if s, err := handle(t, g, pipeline.Config{Conn: front}, stored(100)); err != nil || s.Ignored != 1 || s.Replayed != 0 {
			t.Errorf("%q: %+v: %v", metadata, s, err)
		}
	}
}
