package tick_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/detector"
	"github.com/scopedrift/scopedrift/detector/detectortest"
	"github.com/scopedrift/scopedrift/detector/tick"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// TestShards: detectors that divide the work find together what one does, with a
// catalogue and without, whichever steps when.
func TestShards(t *testing.T) {
	for _, c := range []struct {
		name  string
		count int
		cat   *catalog.Catalog
	}{{"catalogue", 3, company(t)}, {"none", 2, catalog.Empty()}} {
		t.Run(c.name, func(t *testing.T) {
			count, cat := c.count, c.cat
			r := rand.New(rand.NewPCG(uint64(count), 77))
			h := open(t, cat)
			var all []*tick.Ticker
			for i := range count {
				one, _ := h.sharded(fmt.Sprint("holder", i), detector.Shard{Index: i + 1, Count: count})
				all = append(all, one)
			}
			changed := make([]int, count)
			for part := range slices.Chunk(detectortest.Random(r, 800), 400) {
				h.put(t, part)
				i := r.IntN(count)
				changed[i] += len(step(t, all[i], false).Changes)
			}
			for round, moved := 0, true; moved; round++ {
				if moved = false; round == 10 {
					t.Fatal("the shards do not come to rest")
				}
				for i, one := range all {
					if result := step(t, one, round == 0); len(result.Changes) > 0 {
						changed[i] += len(result.Changes)
						moved = true
					}
				}
			}
			equal(t, h.standing(t), h.scanned(t))
			h.once(t)
			if cat == h.cat && len(cat.Credentials) > 0 && slices.Contains(changed, 0) {
				t.Errorf("findings by shard: %v: one has nothing to do", changed)
			}
			open := uint64(0)
			for _, one := range all {
				for _, n := range one.Stats().Open {
					open += n
				}
			}
			if want := counted(t, h); open != want {
				t.Errorf("the shards count %d open findings, %d stand", open, want)
			}
		})
	}
}

// counted are the findings that stand open within their budget.
func counted(t *testing.T, h *house) (n uint64) {
	t.Helper()
	list, err := clickhouse.Findings(t.Context(), h.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Status == schema.StatusOpen && !f.OverBudget {
			n++
		}
	}
	return n
}

// TestShardsDivide: every name is in one shard, and no shard is left without.
func TestShardsDivide(t *testing.T) {
	for count := 1; count <= 9; count++ {
		seen := make([]int, count)
		for i := range 3000 {
			name, owners := fmt.Sprintf("svc-%d@idp.example.com", i), 0
			for index := range count {
				if (detector.Shard{Index: index + 1, Count: count}).Owns(name) {
					owners++
					seen[index]++
				}
			}
			if owners != 1 {
				t.Fatalf("%s is in %d of %d shards", name, owners, count)
			}
		}
		for _, n := range seen {
			if n < 3000/count*3/4 || n > 3000/count*5/4+1 {
				t.Errorf("of %d shards one has %d of 3000 names: %v", count, n, seen)
			}
		}
	}
	for _, text := range []string{"", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/5000", "1/ 2"} {
		if shard, err := detector.ParseShard(text); err == nil {
			t.Errorf("%q is read as %v", text, shard)
		}
	}
}

// TestStoreDividesAlike: the store says of a name what the program says.
func TestStoreDividesAlike(t *testing.T) {
	h := open(t, catalog.Empty())
	for _, name := range []string{"", "*", "a", "client-00017", "ärger \x00'", "arn:aws:iam::123456789012:role/ci"} {
		for count := 1; count <= 5; count++ {
			for index := range count {
				shard := detector.Shard{Index: index + 1, Count: count}
				var in uint8
				if err := h.conn.QueryRow(t.Context(), "SELECT toUInt8("+shard.Where("name")+") FROM (SELECT ? AS name)", name).Scan(&in); err != nil {
					t.Fatal(err)
				}
				if shard.Owns(name) != (in == 1) {
					t.Errorf("%q in shard %s: %v, the store says %d", name, shard, shard.Owns(name), in)
				}
			}
		}
	}
}

// TestOtherLayout: where detectors divide a store in another way, one does not
// begin until those have ended.
func TestOtherLayout(t *testing.T) {
	h := open(t, company(t))
	h.put(t, detectortest.Random(rand.New(rand.NewPCG(4, 4)), 300))
	whole, table := h.ticker("whole")
	half, other := h.sharded("half", detector.Shard{Index: 1, Count: 2})
	step(t, whole, false)
	var divided *tick.Divided
	if _, err := half.Tick(t.Context(), false); !errors.As(err, &divided) {
		t.Fatalf("two layouts work at once: %v", err)
	}
	if err := table.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	step(t, half, false)
	if _, err := whole.Tick(t.Context(), false); !errors.As(err, &divided) {
		t.Fatalf("two layouts work at once: %v", err)
	}
	if !other.Leads() || table.Leads() {
		t.Errorf("leads: %v of half, %v of the whole", other.Leads(), table.Leads())
	}
}

// TestPaused: a detector that slept for longer than its lease, while another
// worked, knows that it does not know what stands.
func TestPaused(t *testing.T) {
	h := open(t, company(t))
	calls := detectortest.Random(rand.New(rand.NewPCG(8, 2)), 900)
	one, first := h.ticker("one")
	two, second := h.ticker("two")
	first.Lease, second.Lease = 400*time.Millisecond, 400*time.Millisecond
	work := func(ticker *tick.Ticker, calls []schema.Call) {
		t.Helper()
		h.put(t, calls)
		for range 200 {
			if !step(t, ticker, false).Standby {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("the lead is never free")
	}
	work(one, calls[:300])
	work(two, calls[300:600])
	if first.Leads() {
		t.Error("the first still believes to lead")
	}
	work(one, calls[600:])
	step(t, one, true)
	equal(t, h.standing(t), h.scanned(t))
	h.once(t)
}

// TestKept: a lead that is kept outlasts its lease, however seldom steps are.
func TestKept(t *testing.T) {
	h := open(t, company(t))
	one, first := h.ticker("one")
	two, _ := h.ticker("two")
	first.Lease = 4 * time.Second
	step(t, one, false)
	go first.Keep(t.Context())
	for end := time.Now().Add(9 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if !step(t, two, false).Standby {
			t.Fatal("the second took a lead that is kept")
		}
	}
}

// TestOldTerms: a lead that is kept for long does not fill the store, and terms
// rise all the same.
func TestOldTerms(t *testing.T) {
	h := open(t, company(t))
	_, one := h.ticker("one")
	_, other := h.sharded("other", detector.Shard{Index: 1, Count: 2})
	if _, err := other.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.Lease = time.Microsecond // every call renews it
	for range 250 {
		if term, err := one.Lead(t.Context()); err != nil || term == 0 {
			t.Fatalf("term %d, %v", term, err)
		}
	}
	var rows, last, others uint64
	for range 200 { // rows are deleted in the background
		err := h.conn.QueryRow(t.Context(), "SELECT countIf(shard = 'all'), maxIf(term, shard = 'all'), countIf(shard != 'all') FROM leases").Scan(&rows, &last, &others)
		if err != nil {
			t.Fatal(err)
		}
		if rows <= 200 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if rows > 200 || rows < 100 || last != 250 || others != 2 {
		t.Errorf("%d rows up to term %d, and %d of another shard", rows, last, others)
	}
}
