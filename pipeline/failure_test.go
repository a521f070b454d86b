package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/pipeline"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/pipeline/kafka"
	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
	"github.com/scopedrift/scopedrift/schema/wire"
)

// errKilled stands for the death of the process.
var errKilled = errors.New("killed")

// wired makes messages of calls, numbered as one life of a producer does.
func wired(epoch, sequence uint64, calls []schema.Call) [][]byte {
	messages := make([][]byte, len(calls))
	for i := range calls {
		messages[i] = wire.AppendCall(nil, wire.Envelope{Epoch: epoch, Sequence: sequence + uint64(i)}, &calls[i])
	}
	return messages
}

// handle runs an ingester on the log until a truth holds, or it ends by itself.
func handle(t *testing.T, g *log, cfg pipeline.Config, done func(pipeline.Stats) bool) (pipeline.Stats, error) {
	t.Helper()
	cfg.Local = true
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 50 * time.Millisecond
	}
	if cfg.Again == 0 {
		cfg.Again = 100 * time.Millisecond
	}
	if cfg.Report == nil {
		cfg.Report = func(err error) { t.Logf("reported: %v", err) }
	}
	in := pipeline.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- in.Handle(ctx, "calls", 0, g.lane()) }()
	for end := time.After(time.Minute); ; {
		select {
		case err := <-ended:
			return in.Stats(), err
		case <-end:
			t.Fatalf("not within a minute: %+v", in.Stats())
		case <-time.After(5 * time.Millisecond):
			if done != nil && done(in.Stats()) {
				cancel()
				return in.Stats(), <-ended
			}
		}
	}
}

func stored(n uint64) func(pipeline.Stats) bool {
	return func(s pipeline.Stats) bool { return s.Calls >= n }
}

// exactly checks that the store holds n calls with n ids, and rollups that agree.
func exactly(t *testing.T, conn driver.Conn, n uint64) {
	t.Helper()
	if rows, ids := one(t, conn, "(SELECT count() FROM calls)"), one(t, conn, "(SELECT uniqExact(id) FROM calls)"); rows != n || ids != n {
		t.Errorf("%d rows with %d ids are stored, want %d", rows, ids, n)
	}
	whole(t, conn)
}

// TestKilledAtEachStep ends the process before and after each commit, and between
// them; the next owner finds what was left, with other limits of its own.
func TestKilledAtEachStep(t *testing.T) {
	planning := func(metadata string) bool { return metadata != "" }
	for _, test := range []struct {
		name string
		// fails says whether the commit is the process's last deed, and whether
		// it still takes place.
		fails    func(metadata string) bool
		replayed uint64
	}{
		{"before the plan", planning, 0},
		{"between insert and confirmation", func(m string) bool { return !planning(m) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, g := store(t), newLog()
			g.append(wired(1, 1, callsOf(0, 3000))...)
			g.before = func(_ int64, metadata string) error {
				if test.fails(metadata) {
					return errKilled
				}
				return nil
			}
			if _, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: 1000}, nil); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			g.before = nil
			g.append(wired(1, 3001, callsOf(3000, 1000))...)
			s, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: 170}, stored(4000))
			if err != nil {
				t.Fatal(err)
			}
			if s.Replayed != test.replayed {
				t.Errorf("%d batches were replayed, want %d", s.Replayed, test.replayed)
			}
			exactly(t, conn, 4000)
		})
	}
}

// TestKilledBetweenPlanAndInsert: the plan is there, the calls are not.
func TestKilledBetweenPlanAndInsert(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 3000))...)
	g.offset, g.metadata = 0, "scopedrift/1 0 1234 00aa"
	s, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: 100}, stored(3000))
	if err != nil || s.Replayed != 1 {
		t.Fatalf("replayed %d: %v", s.Replayed, err)
	}
	exactly(t, conn, 3000)
	if n := one(t, conn, "(SELECT count() FROM ranges WHERE first_offset = 0 AND next_offset = 1234 AND state = 'confirmed' AND calls = 1234)"); n != 1 {
		t.Errorf("%d ranges of the plan are confirmed", n)
	}
}

// TestEngineKilledInMidInsert kills the engine at random moments of an insert,
// opens the store again and lets the next owner replay: calls and rollups agree.
func TestEngineKilledInMidInsert(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	dir := t.TempDir()
	g := newLog()
	const batches, rows = 12, 4000
	g.append(wired(1, 1, callsOf(0, batches*rows))...)
	for range 60 {
		e, err := engine.Start(t.Context(), enginetest.Config(t, engine.Config{Dir: dir}))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := clickhouse.Open(t.Context(), clickhouse.Target{Socket: e.Socket()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := clickhouse.Migrate(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if g.offset == batches*rows {
			exactly(t, conn, batches*rows)
			_ = conn.Close()
			_ = e.Close()
			return
		}
		timer := time.AfterFunc(time.Duration(200+random.IntN(900))*time.Millisecond, func() { _ = syscall.Kill(e.PID(), syscall.SIGKILL) })
		s, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: rows, Abort: e.Done(), Report: func(error) {}}, func(pipeline.Stats) bool {
			select {
			case <-e.Done():
				return true
			default:
				return g.committed() == batches*rows
			}
		})
		timer.Stop()
		t.Logf("offset %d, replayed %d: %v", g.offset, s.Replayed, err)
		_ = conn.Close()
		_ = e.Close()
	}
	t.Errorf("only offset %d was reached", g.offset)
}

// TestRebalanceInMidInsert: two owners store the same plan at the same time.
func TestRebalanceInMidInsert(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 20000))...)
	g.offset, g.metadata = 0, "scopedrift/1 0 20000 00bb"
	var both sync.WaitGroup
	lanes := []*memoryLane{g.lane(), g.lane(), g.lane()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, lane := range lanes {
		both.Go(func() {
			in := pipeline.New(pipeline.Config{Conn: conn, Local: true})
			if err := in.Handle(ctx, "calls", 0, lane); err != nil && !errors.Is(err, kafka.ErrFenced) {
				t.Error(err)
			}
		})
	}
	until(t, "the last owner confirms", func() bool { return g.committed() == 20000 })
	cancel()
	both.Wait()
	exactly(t, conn, 20000)
}

// TestZombie: an owner that slept through a rebalance cannot begin anything.
func TestZombie(t *testing.T) {
	conn, g := store(t), newLog()
	zombie := g.lane()
	_ = g.lane()
	g.append(wired(1, 1, callsOf(0, 100))...)
	in := pipeline.New(pipeline.Config{Conn: conn, Local: true, MaxAge: time.Millisecond})
	if err := in.Handle(t.Context(), "calls", 0, zombie); !errors.Is(err, kafka.ErrFenced) {
		t.Fatal(err)
	}
	if s := in.Stats(); s.Fenced != 1 {
		t.Errorf("%d batches were fenced", s.Fenced)
	}
	exactly(t, conn, 0)
}

// TestRetention: what was deleted before it was read is counted, in and out of a
// planned range.
func TestRetention(t *testing.T) {
	for name, metadata := range map[string]string{"unplanned": "", "planned": "scopedrift/1 0 1000 00cc"} {
		t.Run(name, func(t *testing.T) {
			conn, g := store(t), newLog()
			g.offset, g.metadata, g.first = 0, metadata, 400
			g.append(wired(1, 401, callsOf(400, 1100))...)
			s, err := handle(t, g, pipeline.Config{Conn: conn}, stored(1100))
			if err != nil || s.Lost != 400 {
				t.Fatalf("lost %d: %v", s.Lost, err)
			}
			exactly(t, conn, 1100)
			if n := one(t, conn, "(SELECT sum(lost) FROM ranges WHERE state = 'confirmed')"); n != 400 {
				t.Errorf("the ranges tell of %d lost messages", n)
			}
		})
	}
}

// TestEndOfPlanGone: the cluster lost the end of a planned range.
func TestEndOfPlanGone(t *testing.T) {
	conn, g := store(t), newLog()
	g.offset, g.metadata = 0, "scopedrift/1 0 1000 00dd"
	g.append(wired(1, 1, callsOf(0, 600))...)
	s, err := handle(t, g, pipeline.Config{Conn: conn}, func(s pipeline.Stats) bool { return s.Batches == 1 })
	if err == nil && s.Lost == 0 || s.Lost != 400 || s.Calls != 600 {
		t.Fatalf("%+v: %v", s, err)
	}
	exactly(t, conn, 600)
}

// TestOffsetSetBack: a plan that does not fit the offset is not followed, and
// what the producer's numbers do not know as stored is stored again.
func TestOffsetSetBack(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 500))...)
	g.offset, g.metadata = 0, "scopedrift/1 40 90 00ee"
	s, err := handle(t, g, pipeline.Config{Conn: conn}, stored(500))
	if err != nil || s.Ignored != 1 || s.Replayed != 0 {
		t.Fatalf("%+v: %v", s, err)
	}
	exactly(t, conn, 500)
}

// TestNumbers: holes in a producer's numbers are counted and copies dropped, also
// by an owner that never saw the producer before.
func TestNumbers(t *testing.T) {
	conn, g := store(t), newLog()
	all := wired(7, 1, callsOf(0, 100))
	g.append(all[:50]...)
	g.append(all[60:80]...)
	if s, err := handle(t, g, pipeline.Config{Conn: conn}, stored(70)); err != nil || s.Missing != 10 || s.Copied != 0 {
		t.Fatalf("%+v: %v", s, err)
	}
	g.append(all[70:80]...)
	g.append(all[85:]...)
	if s, err := handle(t, g, pipeline.Config{Conn: conn}, stored(15)); err != nil || s.Missing != 5 || s.Copied != 10 {
		t.Fatalf("%+v: %v", s, err)
	}
	exactly(t, conn, 85)
}

// TestPoison: of many messages some are broken in every way; each is put aside
// with where it is and what is wrong, none of its bytes, and the rest is stored.
func TestPoison(t *testing.T) {
	conn, g := store(t), newLog()
	letters := &letterBox{}
	calls := callsOf(0, 10000)
	messages := wired(3, 1, calls)
	const secret = "swordfish-canary-1234567890"
	broken := map[int]string{}
	for i := 0; i < len(messages); i += 97 {
		switch i / 97 % 5 {
		case 0:
			messages[i], broken[i] = messages[i][:len(messages[i])-7], wire.ReasonTruncated
		case 1:
			messages[i], broken[i] = []byte("Authorization: Bearer "+secret), wire.ReasonMalformed
		case 2:
			messages[i], broken[i] = append(messages[i], strings.Repeat("\x7a\x01x", wire.MaxMessage/3)...), wire.ReasonOversized
		case 3:
			messages[i][1], broken[i] = wire.Version+1, wire.ReasonWrongVersion // the version comes first
		case 4:
			calls[i].Time = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)
			messages[i], broken[i] = wired(3, uint64(i+1), calls[i:i+1])[0], pipeline.ReasonTime
		}
	}
	g.append(messages...)
	good := uint64(len(messages) - len(broken))
	s, err := handle(t, g, pipeline.Config{Conn: conn, DeadLetters: letters, BlockRows: 1000, Digest: func([]byte) [16]byte { return [16]byte{1} }}, stored(good))
	if err != nil {
		t.Fatal(err)
	}
	exactly(t, conn, good)
	if len(letters.got) != len(broken) {
		t.Errorf("%d letters, want %d", len(letters.got), len(broken))
	}
	var sum uint64
	for _, n := range s.Dead {
		sum += n
	}
	if sum != uint64(len(broken)) || one(t, conn, "(SELECT sum(arraySum(mapValues(dead))) FROM ranges WHERE state = 'confirmed')") != sum {
		t.Errorf("counted: %v", s.Dead)
	}
	for offset, reason := range broken {
		l, ok := letters.got[int64(offset)]
		if !ok || l.Reason != reason && !(reason == wire.ReasonMalformed && l.Reason != "") || l.Length != len(messages[offset]) || l.Digest == "" || l.Topic != "calls" {
			t.Errorf("offset %d (%s): %+v", offset, reason, l)
		}
		if strings.Contains(fmt.Sprintf("%+v", l), "swordfish") {
			t.Errorf("bytes of the message in %+v", l)
		}
	}
}

// letterBox keeps dead letters.
type letterBox struct {
	mu  sync.Mutex
	got map[int64]kafka.DeadLetter
}

func (b *letterBox) Put(_ context.Context, letters ...kafka.DeadLetter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.got == nil {
		b.got = map[int64]kafka.DeadLetter{}
	}
	for _, l := range letters {
		b.got[l.Offset] = l
	}
	return nil
}

// TestStandsStill: an error that no waiting heals stops the lane, which says so,
// leaves nothing out, and goes on when somebody puts it right.
func TestStandsStill(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 300))...)
	ctx := context.Background()
	if err := conn.Exec(ctx, "RENAME TABLE calls TO hidden"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var said []string
	repaired := false
	s, err := handle(t, g, pipeline.Config{Conn: conn, Report: func(err error) { mu.Lock(); said = append(said, err.Error()); mu.Unlock() }}, func(s pipeline.Stats) bool {
		if len(s.Stopped) == 1 && !repaired {
			repaired = true
			if err := conn.Exec(ctx, "RENAME TABLE hidden TO calls"); err != nil {
				t.Error(err)
			}
		}
		return s.Calls == 300
	})
	if err != nil || !repaired || len(s.Stopped) != 0 {
		t.Fatalf("%+v: %v", s, err)
	}
	if len(said) == 0 || !strings.Contains(said[0], "stands still") {
		t.Errorf("said: %q", said)
	}
	exactly(t, conn, 300)
}

// TestCatalogueChanges: a catalogue that takes another's place names the calls
// that come from then on, without a stop.
func TestCatalogueChanges(t *testing.T) {
	conn, g := store(t), newLog()
	before, after := catalogueOf(t, "orders"), catalogueOf(t, "renamed")
	var current atomic.Pointer[catalog.Catalog]
	current.Store(before)
	g.append(wired(1, 1, callsOf(0, 500))...)
	changed := false
	if _, err := handle(t, g, pipeline.Config{Conn: conn, Current: current.Load}, func(s pipeline.Stats) bool {
		if s.Calls == 500 && !changed {
			changed = true
			current.Store(after)
			g.append(wired(1, 501, callsOf(500, 700))...)
		}
		return s.Calls == 1200
	}); err != nil {
		t.Fatal(err)
	}
	if a, b := one(t, conn, "(SELECT countIf(service = 'orders') FROM calls)"), one(t, conn, "(SELECT countIf(service = 'renamed') FROM calls)"); a != 500 || b != 700 {
		t.Errorf("%d calls by the first catalogue, %d by the second", a, b)
	}
	exactly(t, conn, 1200)
}

func catalogueOf(t *testing.T, service string) *catalog.Catalog {
	t.Helper()
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.WriteFile(file, []byte("services: [{name: "+service+", hosts: [orders.example.com]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLettersTellNoBytes: the shape tells kinds and lengths of runs only, and only of the
// beginning.
func TestLettersTellNoBytes(t *testing.T) {
	conn, g := store(t), newLog()
	box := &letterBox{}
	g.append([]byte("token=abc1 \x00\xff"), []byte(strings.Repeat("s3cr3t", 1000)))
	if _, err := handle(t, g, pipeline.Config{Conn: conn, DeadLetters: box}, func(s pipeline.Stats) bool { return s.Batches >= 1 }); err != nil {
		t.Fatal(err)
	}
	if l := box.got[0]; l.Shape != "a5p1a3d1s1c1x1" || l.Digest != "" {
		t.Errorf("%+v", l)
	}
	if l := box.got[1]; l.Length != 6000 || len(l.Shape) > 200 || strings.Contains(l.Shape, "s3") {
		t.Errorf("%+v", l)
	}
}

// TestRepeatAcrossProcesses: a producer died and sends its last calls again in
// another life, and the ingester is another one, too.
func TestRepeatAcrossProcesses(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 2000))...)
	if _, err := handle(t, g, pipeline.Config{Conn: conn}, stored(2000)); err != nil {
		t.Fatal(err)
	}
	g.append(wired(2, 1, callsOf(1500, 1000))...)
	s, err := handle(t, g, pipeline.Config{Conn: conn}, stored(500))
	if err != nil || s.Repeated != 500 || s.Missing != 0 {
		t.Fatalf("%+v: %v", s, err)
	}
	exactly(t, conn, 2500)
}
