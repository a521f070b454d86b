package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// followed is a sink that knows each line by its request id.
type followed struct {
	mu   sync.Mutex
	seen map[string]int
	ids  map[string]schema.CallID
	next map[string]uint64
	// refuse, if set, is asked before each batch.
	refuse func() error
}

func newFollowed() *followed {
	return &followed{seen: map[string]int{}, ids: map[string]schema.CallID{}, next: map[string]uint64{}}
}

func (s *followed) Put(ctx context.Context, b *collector.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(); err != nil {
			return err
		}
	}
	if b.NextUnit < b.FirstUnit || b.FirstUnit < s.next[b.Input.Name] {
		return fmt.Errorf("%s: units %d to %d after %d", b.Input.Name, b.FirstUnit, b.NextUnit, s.next[b.Input.Name])
	}
	s.next[b.Input.Name] = b.NextUnit
	for i := range b.Calls {
		c := &b.Calls[i]
		if id, ok := s.ids[c.RequestID]; ok && id != c.ID {
			return fmt.Errorf("line %s has the ids %x and %x", c.RequestID, id, c.ID)
		}
		s.seen[c.RequestID]++
		s.ids[c.RequestID] = c.ID
	}
	return nil
}

func (s *followed) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// scribe writes numbered lines as a server does.
type scribe struct {
	t    *testing.T
	dir  string
	path string
	file *os.File
	n    int
}

func newScribe(t *testing.T) *scribe {
	dir := t.TempDir()
	return &scribe{t: t, dir: dir, path: filepath.Join(dir, "access.log")}
}

func (s *scribe) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scribe) open() {
	file, err := os.OpenFile(s.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	if s.file != nil {
		s.must(s.file.Close())
	}
	s.file = file
}

func (s *scribe) text() string {
	s.n++
	return fmt.Sprintf(`{"start_time":"2026-03-01T10:%02d:%02d.%03dZ","method":"GET","path":"/orders/%d","response_code":200,"authority":"api.example.com","request_id":"line-%06d"}`+"\n",
		s.n/60000%60, s.n/1000%60, s.n%1000, s.n%7, s.n)
}

func (s *scribe) write(text string) {
	if s.file == nil {
		s.open()
	}
	_, err := s.file.WriteString(text)
	s.must(err)
}

func (s *scribe) lines(n int) {
	for range n {
		s.write(s.text())
	}
}

func (s *scribe) at(suffix string) string { return s.path + suffix }

// copyTo copies the log as logrotate's copytruncate does.
func (s *scribe) copyTo(suffix string) {
	text, err := os.ReadFile(s.path)
	s.must(err)
	s.must(os.WriteFile(s.at(suffix), text, 0o644))
}

func (s *scribe) rename(from, to string) { s.must(os.Rename(s.at(from), s.at(to))) }

// compress replaces a file by a compressed one.
func (s *scribe) compress(suffix, ending string) {
	text, err := os.ReadFile(s.at(suffix))
	s.must(err)
	var buf bytes.Buffer
	switch ending {
	case ".gz":
		z := gzip.NewWriter(&buf)
		_, _ = z.Write(text)
		s.must(z.Close())
	case ".zst":
		z, err := zstd.NewWriter(&buf)
		s.must(err)
		_, _ = z.Write(text)
		s.must(z.Close())
	}
	// Slowly, as the real one.
	half := buf.Len() / 2
	s.must(os.WriteFile(s.at(suffix+ending), buf.Bytes()[:half], 0o644))
	time.Sleep(30 * time.Millisecond)
	s.must(os.WriteFile(s.at(suffix+ending), buf.Bytes(), 0o644))
	s.must(os.Remove(s.at(suffix)))
}

// follower is one life of a follower under test.
type follower struct {
	*Follower
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

func follow(t *testing.T, sink collector.Sink, cfg Follow) *follower {
	t.Helper()
	cfg.Poll, cfg.Scan = 5*time.Millisecond, 25*time.Millisecond
	if cfg.Linger == 0 {
		cfg.Linger = 300 * time.Millisecond
	}
	cfg.Report = func(err error) { t.Log("report:", err) }
	f, err := testGateway(t, Config{}).Follow(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &follower{f, t, cancel, make(chan error, 1)}
	go func() { one.ended <- f.Run(ctx, sink) }()
	t.Cleanup(cancel)
	return one
}

// stop ends it as SIGTERM does.
func (f *follower) stop() {
	f.t.Helper()
	f.cancel()
	select {
	case err := <-f.ended:
		if err != nil {
			f.t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		f.t.Fatal("the follower does not end")
	}
}

// wait waits until the sink has n lines.
func (s *followed) wait(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); s.count() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d lines came, want %d", s.count(), n)
		}
	}
}

// check looks that every line came, and came once.
func (s *followed) check(t *testing.T, n int) {
	t.Helper()
	s.wait(t, n)
	time.Sleep(150 * time.Millisecond) // for what should not come
	s.mu.Lock()
	defer s.mu.Unlock()
	twice, missing := 0, 0
	for i := 1; i <= n; i++ {
		switch s.seen[fmt.Sprintf("line-%06d", i)] {
		case 0:
			missing++
		case 1:
		default:
			twice++
		}
	}
	if twice > 0 || missing > 0 || len(s.seen) != n {
		t.Errorf("of %d lines %d came more than once and %d are missing; %d came at all", n, twice, missing, len(s.seen))
	}
}

// TestFollowTakesEachLineOnce goes through what happens to log files.
func TestFollowTakesEachLineOnce(t *testing.T) {
	const settle = 120 * time.Millisecond
	for name, story := range map[string]func(s *scribe, sink *followed){
		"grows": func(s *scribe, sink *followed) {
			for range 20 {
				s.lines(50)
				time.Sleep(5 * time.Millisecond)
			}
		},
		"is written in pieces": func(s *scribe, sink *followed) {
			for range 10 {
				line := s.text()
				for at := 0; at < len(line); at += 29 {
					s.write(line[at:min(at+29, len(line))])
					time.Sleep(7 * time.Millisecond)
				}
			}
		},
		"renamed and made anew": func(s *scribe, sink *followed) {
			for i := range 4 {
				s.lines(100)
				sink.wait(s.t, s.n-50) // nobody rotates twice between two looks
				for k := i; k > 0; k-- {
					s.rename(fmt.Sprintf(".%d", k), fmt.Sprintf(".%d", k+1))
				}
				s.rename("", ".1")
				s.lines(20) // the writer still has the old file
				time.Sleep(10 * time.Millisecond)
				s.lines(5)
				s.open()
			}
			s.lines(30)
		},
		"renamed with a line half written": func(s *scribe, sink *followed) {
			s.lines(10)
			line := s.text()
			s.write(line[:40])
			s.rename("", ".1")
			time.Sleep(settle)
			s.write(line[40:])
			s.open()
			s.lines(10)
		},
		"renamed and its last line has no end": func(s *scribe, sink *followed) {
			s.lines(10)
			s.write(strings.TrimSuffix(s.text(), "\n"))
			s.rename("", ".1")
			s.open()
			s.lines(10)
		},
		"deleted": func(s *scribe, sink *followed) {
			s.lines(10)
			sink.wait(s.t, 11)
			s.must(os.Remove(s.path))
			s.lines(10)
			s.open()
			s.lines(10)
		},
		"copied and truncated": func(s *scribe, sink *followed) {
			for i := range 4 {
				sink.wait(s.t, s.n) // nobody rotates twice between two looks
				s.lines(100)
				s.copyTo(fmt.Sprintf("-2026030%d", i+1))
				s.must(os.Truncate(s.path, 0))
				s.lines(3 + 40*i)
			}
		},
		"copied and truncated in the middle of a line": func(s *scribe, sink *followed) {
			s.lines(10)
			line := s.text()
			s.write(line[:50])
			time.Sleep(settle)
			s.write(line[50:])
			s.lines(5)
			s.copyTo(".1")
			s.must(os.Truncate(s.path, 0))
			s.lines(10)
		},
		"copied, truncated and compressed at once": func(s *scribe, sink *followed) {
			s.lines(50)
			sink.wait(s.t, 51)
			s.lines(50)
			s.copyTo(".1")
			s.must(os.Truncate(s.path, 0))
			s.compress(".1", ".gz")
			s.lines(10)
		},
		"truncated and written beyond where it was": func(s *scribe, sink *followed) {
			s.lines(5)
			sink.wait(s.t, 6)
			time.Sleep(settle)
			s.must(os.Truncate(s.path, 0))
			s.lines(50)
		},
		"truncated under a writer that keeps its place": func(s *scribe, sink *followed) {
			file, err := os.Create(s.path) // no O_APPEND: the hole is zeros
			s.must(err)
			s.file = file
			s.lines(50)
			sink.wait(s.t, 51)
			s.must(os.Truncate(s.path, 0))
			s.lines(10)
		},
		"compressed after rotation": func(s *scribe, sink *followed) {
			for _, ending := range []string{".gz", ".zst", ".gz"} {
				s.lines(100)
				s.rename("", ".1")
				s.open()
				s.lines(10)
				s.compress(".1", ending)
				s.rename(".1"+ending, "."+fmt.Sprint(s.n)+ending)
				time.Sleep(settle)
			}
		},
		"lines without ids of their own": func(s *scribe, sink *followed) {
			for range 5 {
				s.lines(10)
				s.write("GET is not what a log line looks like\n\n")
			}
		},
	} {
		for _, what := range []string{"file", "directory", "pattern"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				s, sink := newScribe(t), newFollowed()
				path := map[string]string{"file": s.path, "directory": s.dir, "pattern": filepath.Join(s.dir, "acc*")}[what]
				f := follow(t, sink, Follow{Paths: []string{path}, Checkpoint: filepath.Join(t.TempDir(), "checkpoint")})
				s.lines(1)
				sink.wait(t, 1)
				story(s, sink)
				sink.check(t, s.n)
				time.Sleep(400 * time.Millisecond) // old files are closed, copies looked at
				sink.check(t, s.n)
				f.stop()
			})
		}
	}
}

// TestFollowGoesOn stops the follower, lets something happen to the files, and
// starts another one.
func TestFollowGoesOn(t *testing.T) {
	for name, away := range map[string]func(s *scribe){
		"nothing":  func(s *scribe) {},
		"growth":   func(s *scribe) { s.lines(100) },
		"rotation": func(s *scribe) { s.lines(30); s.rename("", ".1"); s.lines(5); s.open(); s.lines(20) },
		"two rotations": func(s *scribe) {
			s.lines(30)
			s.rename("", ".1")
			s.open()
			s.lines(20)
			s.rename(".1", ".2")
			s.rename("", ".1")
			s.open()
			s.lines(7)
		},
		"copy and truncation": func(s *scribe) { s.lines(30); s.copyTo(".1"); s.must(os.Truncate(s.path, 0)); s.lines(2) },
		"compression": func(s *scribe) {
			s.lines(30)
			s.rename("", ".1")
			s.compress(".1", ".gz")
			s.open()
			s.lines(20)
		},
		"a copy of what was read": func(s *scribe) { s.copyTo(".1") },
	} {
		for _, what := range []string{"file", "directory"} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				s, sink := newScribe(t), newFollowed()
				cfg := Follow{Paths: []string{map[string]string{"file": s.path, "directory": s.dir}[what]}, Checkpoint: filepath.Join(t.TempDir(), "checkpoint")}
				s.lines(40)
				line := s.text()
				s.write(line[:33])
				f := follow(t, sink, cfg)
				sink.wait(t, 40)
				f.stop()
				s.write(line[33:])
				away(s)
				f = follow(t, sink, cfg)
				sink.wait(t, s.n)
				s.lines(10)
				sink.check(t, s.n)
				f.stop()
			})
		}
	}
}

// TestFollowAfterCrash copies the checkpoint at random moments, as a crash leaves
// it, and goes on from there: every line comes, and those that come again have
// the ids that they had.
func TestFollowAfterCrash(t *testing.T) {
	s, sink := newScribe(t), newFollowed()
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	for life := range 6 {
		refuse := errors.New("killed")
		left := 3 + 2*life
		sink.mu.Lock()
		sink.next = map[string]uint64{}
		sink.refuse = func() error {
			if left--; left < 0 {
				return refuse
			}
			return nil
		}
		sink.mu.Unlock()
		f := follow(t, sink, Follow{Paths: []string{s.dir}, Checkpoint: checkpoint})
		old, _ := os.ReadFile(checkpoint)
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			s.lines(200)
			// The same line twice: the second one's id depends on the first.
			if s.n%2000 == 0 {
				s.copyTo(fmt.Sprintf(".%d", s.n))
				s.must(os.Truncate(s.path, 0))
			}
			select {
			case err := <-f.ended:
				if !errors.Is(err, refuse) {
					t.Fatal(err)
				}
				end = time.Time{}
			case <-time.After(10 * time.Millisecond):
			}
		}
		if life%2 == 1 && old != nil {
			s.must(os.WriteFile(checkpoint, old, 0o600))
		}
	}
	sink.mu.Lock()
	sink.refuse, sink.next = nil, map[string]uint64{}
	sink.mu.Unlock()
	f := follow(t, sink, Follow{Paths: []string{s.dir}, Checkpoint: checkpoint})
	sink.wait(t, s.n)
	f.stop()
}
