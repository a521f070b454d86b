package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/schema"
)

// taker takes batches and remembers them, unless it is away.
type taker struct {
	mu       sync.Mutex
	units    []uint64
	calls    map[schema.CallID]int
	accounts []schema.Account
	away     bool
	back     chan struct{}
	failed   error
}

func newTaker() *taker { return &taker{calls: map[schema.CallID]int{}, back: make(chan struct{})} }

func (t *taker) Put(ctx context.Context, b *schema.Batch) error {
	t.mu.Lock()
	away, failed := t.away, t.failed
	t.mu.Unlock()
	if failed != nil {
		return failed
	}
	if away {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.back:
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.units = append(t.units, b.FirstUnit)
	for i := range b.Calls {
		t.calls[b.Calls[i].ID]++
	}
	return nil
}

func (t *taker) Account(_ context.Context, a *schema.Account) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.units = append(t.units, a.FirstUnit)
	t.accounts = append(t.accounts, *a)
	return nil
}

func (t *taker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.calls)
}

var day = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// batch makes the n-th batch of size calls.
func batch(n, size int) *schema.Batch {
	b := &schema.Batch{
		Input: schema.Input{Name: "access.log", Format: "envoy"}, FirstUnit: uint64(n * (size + 1)), NextUnit: uint64((n + 1) * (size + 1)),
		Skipped: map[string]uint64{"not_a_call:empty": 1},
	}
	for i := range size {
		k := n*size + i
		c := schema.Call{
			Time: day.Add(time.Duration(k) * time.Second), ID: schema.CallID{byte(k), byte(k >> 8), byte(k >> 16), 1},
			Source: schema.Source{Type: "envoy", Name: "access.log"}, Method: "GET", Host: "api.example.com",
			Path: fmt.Sprintf("/orders/%d", k), Status: 200, RequestID: fmt.Sprint("request-", k), Scopes: []string{"orders:read"},
		}
		b.Calls = append(b.Calls, c)
	}
	return b
}

func open(t testing.TB, cfg Config, to Taker) *Spool {
	t.Helper()
	cfg.Report = func(err error) { t.Log("report:", err) }
	s, err := New(cfg, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func run(t testing.TB, s *Spool) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func put(t testing.TB, s *Spool, b *schema.Batch) {
	t.Helper()
	if err := s.Put(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// onDisk is what the directory takes.
func onDisk(t testing.TB, dir string) (total int64) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*"+ending))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			total += info.Size()
		}
	}
	return total
}

func TestHandsOnInOrder(t *testing.T) {
	to := newTaker()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Limit: 8 << 20, Segment: 64 << 10, Sync: true}, to)
	end := run(t, s)
	for n := range 200 {
		put(t, s, batch(n, 20))
	}
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	end()
	for n, unit := range to.units {
		if unit != uint64(n*21) {
			t.Fatalf("batch %d begins at unit %d, want %d", n, unit, n*21)
		}
	}
	if to.count() != 4000 {
		t.Errorf("%d calls came, want 4000", to.count())
	}
	if size := onDisk(t, dir); size > 2*64<<10 {
		t.Errorf("%d bytes stay on the disk though everything was handed on", size)
	}
	if st := s.Stats(); st.Waiting != 0 || st.HandedOn != 200 || st.Calls != 4000 || st.Bytes != onDisk(t, dir) {
		t.Errorf("the counters are %+v, with %d bytes on the disk", st, onDisk(t, dir))
	}
}

func TestSurvivesAStop(t *testing.T) {
	dir, to := t.TempDir(), newTaker()
	to.away = true
	cfg := Config{Dir: dir, Limit: 8 << 20, Segment: 32 << 10}
	for life := range 5 {
		s := open(t, cfg, to)
		end := run(t, s)
		for n := range 20 {
			put(t, s, batch(life*20+n, 10))
		}
		end()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	to.away = false
	s := open(t, cfg, to)
	defer run(t, s)()
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	if to.count() != 1000 || len(to.units) != 100 {
		t.Errorf("%d calls in %d batches came, want 1000 in 100", to.count(), len(to.units))
	}
}

// TestDropsAtTheLimit fills the spool: what does not fit is told of, with its
// times, in its place.
func TestDropsAtTheLimit(t *testing.T) {
	dir, to := t.TempDir(), newTaker()
	to.away = true
	s := open(t, Config{Dir: dir, Limit: 1 << 20, Drop: true}, to)
	end := run(t, s)
	const batches, size = 400, 50
	for n := range batches {
		put(t, s, batch(n, size))
		if used := onDisk(t, dir); used > 1<<20+reserve {
			t.Fatalf("the spool takes %d bytes", used)
		}
	}
	st := s.Stats()
	if st.Dropped == 0 || st.Dropped+st.Calls != batches*size || st.Full.IsZero() {
		t.Fatalf("the counters are %+v", st)
	}
	close(to.back)
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	end()
	next, lost := uint64(0), uint64(0)
	for _, unit := range to.units {
		if unit != next {
			t.Fatalf("a range begins at %d, want %d", unit, next)
		}
		next += size + 1
	}
	for _, a := range to.accounts {
		n := a.Skipped[LostFull]
		lost += n
		from := day.Add(time.Duration(a.FirstUnit/(size+1)*size) * time.Second)
		if n != size || !a.FirstTime.Equal(from) || !a.LastTime.Equal(from.Add((size-1)*time.Second)) || a.Skipped["not_a_call:empty"] != 1 || a.Calls != 0 {
			t.Fatalf("the account is %+v", a)
		}
	}
	if next != batches*(size+1) || lost != st.Dropped || uint64(to.count()) != st.Calls {
		t.Errorf("ranges reach to %d, %d calls are told to be lost and %d came; the counters are %+v", next, lost, to.count(), st)
	}
}

// TestWaitsAtTheLimit fills a spool that loses nothing.
func TestWaitsAtTheLimit(t *testing.T) {
	to := newTaker()
	to.away = true
	s := open(t, Config{Dir: t.TempDir(), Limit: 1 << 20}, to)
	end := run(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	n := 0
	for ; ; n++ {
		if err := s.Put(ctx, batch(n, 50)); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
	}
	if used := s.Stats().Bytes; used > 1<<20 || used < 1<<19 {
		t.Errorf("%d bytes are taken when it waits", used)
	}
	close(to.back)
	put(t, s, batch(n, 50))
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	end()
	if to.count() != (n+1)*50 || s.Stats().Dropped != 0 {
		t.Errorf("%d calls came, want %d", to.count(), (n+1)*50)
	}
}

// TestTornAndDamaged cuts and spoils the files at random places: the batches that
// are whole come, in order, and what is not is counted.
func TestTornAndDamaged(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 7))
		dir, to := t.TempDir(), newTaker()
		cfg := Config{Dir: dir, Limit: 8 << 20, Segment: 16 << 10}
		s := open(t, cfg, to)
		for n := range 40 {
			put(t, s, batch(n, 10))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*"+ending))
		victim := files[random.IntN(len(files))]
		data, _ := os.ReadFile(victim)
		torn := random.IntN(2) == 0
		if torn {
			victim = files[len(files)-1]
			data, _ = os.ReadFile(victim)
			data = data[:random.IntN(len(data)+1)]
		} else {
			for range 1 + random.IntN(3) {
				data[random.IntN(len(data))] ^= byte(1 + random.IntN(255))
			}
		}
		if err := os.WriteFile(victim, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, cfg, to)
		end := run(t, s)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		put(t, s, batch(40, 10))
		for to.has(40*11) == false && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
		end()
		st := s.Stats()
		for i := 1; i < len(to.units); i++ {
			if to.units[i] <= to.units[i-1] {
				t.Fatalf("seed %d: out of order: %v", seed, to.units)
			}
		}
		if !to.has(40 * 11) {
			t.Errorf("seed %d: what was put afterwards does not come: %+v", seed, st)
		}
		if len(to.units) < 41 && st.TornBytes+st.DamagedBytes == 0 && !torn {
			t.Errorf("seed %d: %d batches came of 41, and nothing was counted", seed, len(to.units))
		}
		if !torn && len(to.units) < 41-3 {
			t.Errorf("seed %d: %d batches came of 41, with three bytes spoilt: %+v", seed, len(to.units), st)
		}
	}
}

func (t *taker) has(unit uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.units {
		if u == unit {
			return true
		}
	}
	return false
}

// TestKilled puts in a process of its own that is killed, again and again: what
// was acknowledged comes.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SCOPEDRIFT_TEST_SPOOL"); dir != "" {
		from, _ := strconv.Atoi(os.Getenv("SCOPEDRIFT_TEST_FROM"))
		to := newTaker()
		to.away = true
		s := open(t, Config{Dir: dir, Limit: 64 << 20, Segment: 64 << 10}, to)
		for n := from; ; n++ {
			put(t, s, batch(n, 10))
			fmt.Println("stored", n)
		}
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	stored := map[int]bool{}
	next := 0
	for round := 0; round < 12 || len(stored) < 20; round++ {
		if round == 200 {
			t.Fatalf("only %d batches were stored before %d kills", len(stored), round)
		}
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), "SCOPEDRIFT_TEST_SPOOL="+dir, fmt.Sprint("SCOPEDRIFT_TEST_FROM=", next))
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A busy machine gets more time, round by round.
		time.Sleep(time.Duration(30+random.IntN(60)+5*round) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for line := range strings.Lines(out.String()) {
			if rest, ok := strings.CutPrefix(line, "stored "); ok && strings.HasSuffix(rest, "\n") {
				n, _ := strconv.Atoi(strings.TrimSpace(rest))
				stored[n] = true
				next = max(next, n+2)
			}
		}
	}
	to := newTaker()
	s := open(t, Config{Dir: dir, Limit: 64 << 20, Segment: 64 << 10}, to)
	end := run(t, s)
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	end()
	for n := range stored {
		if !to.has(uint64(n * 11)) {
			t.Errorf("batch %d was acknowledged and did not come", n)
		}
	}
	t.Logf("%d batches stored over 12 kills; %+v", len(stored), s.Stats())
}

// TestFullDisk lets the system refuse a write: Put waits, and nothing is lost.
func TestFullDisk(t *testing.T) {
	to := newTaker()
	s := open(t, Config{Dir: t.TempDir()}, to)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	put(t, s, batch(0, 10))
	_ = s.file.Close()
	s.file = full
	put(t, s, batch(1, 10))
	put(t, s, batch(2, 10))
	st := s.Stats()
	if st.Waits != 1 || !strings.Contains(st.LastError, "no space left") || !st.Full.IsZero() {
		t.Errorf("the counters are %+v", st)
	}
	defer run(t, s)()
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	if to.count() != 30 || len(to.units) != 3 {
		t.Errorf("%d calls in %d batches came, want 30 in 3", to.count(), len(to.units))
	}
}

func TestTakerGivesUp(t *testing.T) {
	to := newTaker()
	to.failed = errors.New("the password is wrong")
	s := open(t, Config{Dir: t.TempDir()}, to)
	put(t, s, batch(0, 1))
	if err := s.Run(context.Background()); !errors.Is(err, to.failed) {
		t.Errorf("Run: %v", err)
	}
	if err := s.Put(context.Background(), batch(1, 1)); !errors.Is(err, to.failed) {
		t.Errorf("Put afterwards: %v", err)
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir}, newTaker())
	other, err := New(Config{Dir: dir}, newTaker())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Open(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one opens the spool: %v", err)
	}
}

func TestFilesAreTheOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, Config{Dir: dir}, newTaker())
	put(t, s, batch(0, 1))
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range append(files, dir) {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v (%v)", file, info.Mode(), err)
		}
	}
}
