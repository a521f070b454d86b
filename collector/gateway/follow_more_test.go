package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// TestFollowLeavesOthersAlone: who names a file does not get those beside it.
func TestFollowLeavesOthersAlone(t *testing.T) {
	s, sink := newScribe(t), newFollowed()
	for _, name := range []string{"access.log.1", "access-error.log", "access2.log", "other.log"} {
		old := &scribe{t: t, dir: s.dir, path: filepath.Join(s.dir, name), n: 1000}
		old.lines(5)
		if name == "access.log.1" {
			past := time.Now().Add(-time.Hour)
			s.must(os.Chtimes(old.path, past, past))
		}
	}
	s.lines(10)
	f := follow(t, sink, Follow{Paths: []string{s.path}})
	sink.check(t, 10)
	f.stop()
}

// TestFollowManyFiles has more files than may be open.
func TestFollowManyFiles(t *testing.T) {
	sink, dir := newFollowed(), t.TempDir()
	n := 0
	for i := range 30 {
		s := &scribe{t: t, dir: dir, path: filepath.Join(dir, fmt.Sprintf("pod%c.log", 'a'+i%26)), n: n}
		s.lines(10)
		n = s.n
	}
	f := follow(t, sink, Follow{Paths: []string{dir}, MaxOpen: 4})
	sink.check(t, n)
	if stats := f.Stats(); stats.Open > 4 || stats.Units != uint64(n) || stats.Calls != uint64(n) {
		t.Errorf("the counters are %+v", stats)
	}
	f.stop()
}

// TestFollowSaysWhatItCannot reports captures, other encodings, and files that
// are no logs, once each, and goes on.
func TestFollowSaysWhatItCannot(t *testing.T) {
	s, sink := newScribe(t), newFollowed()
	for name, text := range map[string]string{
		"a.pcap": "\xd4\xc3\xb2\xa1" + strings.Repeat("\x00", 60),
		"b.xz":   "\xfd7zXZ\x00" + strings.Repeat("\x01", 60),
		"c.txt":  strings.Repeat("lorem ipsum dolor sit amet\n", 200),
		"d.gz":   "\x1f\x8b\x08" + strings.Repeat("\x00", 60),
	} {
		s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644))
	}
	s.lines(10)
	f := follow(t, sink, Follow{Paths: []string{s.dir}})
	sink.check(t, 10)
	s.lines(10)
	sink.check(t, 20)
	if n := f.Stats().Errors; n < 3 || n > 12 {
		t.Errorf("%d errors were counted: %s", n, f.Stats().LastError)
	}
	f.stop()
}

// TestFollowRefusesADamagedCheckpoint: it does not begin anew unasked.
func TestFollowRefusesADamagedCheckpoint(t *testing.T) {
	s := newScribe(t)
	s.lines(1)
	for _, text := range []string{"{", "[]", `{"version":99}`} {
		checkpoint := filepath.Join(t.TempDir(), "checkpoint")
		s.must(os.WriteFile(checkpoint, []byte(text), 0o600))
		f := follow(t, newFollowed(), Follow{Paths: []string{s.path}, Checkpoint: checkpoint})
		if err := <-f.ended; err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestCheckpointTellsNothing: what is remembered of a file is keyed.
func TestCheckpointTellsNothing(t *testing.T) {
	const secret = "canary-bearer-token-0a1b2c3d4e5f"
	s, sink := newScribe(t), newFollowed()
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	s.write(strings.Replace(s.text(), `"method"`, `"authorization":"Bearer `+secret+`","method"`, 1))
	f := follow(t, sink, Follow{Paths: []string{s.path}, Checkpoint: checkpoint})
	sink.check(t, 1)
	f.stop()
	data, err := os.ReadFile(checkpoint)
	s.must(err)
	if strings.Contains(string(data), secret) || !strings.Contains(string(data), `"offset":`) {
		t.Errorf("the checkpoint is %s", data)
	}
	if info, err := os.Stat(checkpoint); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the checkpoint's mode is %v (%v)", info.Mode(), err)
	}
}

// FuzzCheckpoint reads anything as a checkpoint.
func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"version":1,"units":{"a":5},"files":[{"device":1,"inode":2,"name":"n","stream":"a","related":"r","offset":10,"read":12,"head":"00","head_length":12,"last":"00","used":"2026-03-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"files":[null,{"offset":-5,"head_length":99999}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "checkpoint")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		follower, err := testGateway(t, Config{}).Follow(Follow{Paths: []string{path + ".log"}, Checkpoint: path})
		if err != nil {
			t.Fatal(err)
		}
		state, err := follower.loadCheckpoint()
		if err != nil {
			return
		}
		for _, gen := range state.Files {
			if gen.Offset < 0 || gen.Read < gen.Offset || gen.HeadLength < 0 || gen.HeadLength > headBytes {
				t.Errorf("%+v", gen)
			}
		}
	})
}

// idsOf is a sink that keeps ids in their order.
type idsOf struct {
	mu  sync.Mutex
	ids []schema.CallID
}

func (s *idsOf) Put(_ context.Context, b *collector.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Calls {
		s.ids = append(s.ids, b.Calls[i].ID)
	}
	return nil
}

func (s *idsOf) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// TestFollowGivesTheIdsOfAScan: equal lines, which are told apart by what stands
// before them, have the same ids however often the follower was stopped between
// them, and cut in pieces.
func TestFollowGivesTheIdsOfAScan(t *testing.T) {
	s, got := newScribe(t), &idsOf{}
	var kinds []string
	for i := range 5 {
		kinds = append(kinds, fmt.Sprintf(`{"start_time":"2026-03-01T10:00:0%dZ","method":"GET","path":"/a","response_code":200,"authority":"api.example.com"}`+"\n", i),
			fmt.Sprintf("203.0.113.%d - - [01/Mar/2026:10:00:00 +0000] \"GET /b HTTP/1.1\" 200 12 \"-\" \"x\"\n", i))
	}
	random := rand.New(rand.NewPCG(3, 4))
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	n := 0
	for range 6 {
		f := follow(t, got, Follow{Paths: []string{s.path}, Checkpoint: checkpoint})
		for range 4 {
			for range 20 {
				s.write(kinds[random.IntN(len(kinds))])
				n++
			}
			time.Sleep(10 * time.Millisecond)
		}
		for end := time.Now().Add(20 * time.Second); got.count() < n && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		f.stop()
	}
	want := &idsOf{}
	if _, err := testGateway(t, Config{}).Run(context.Background(), []string{s.path}, want); err != nil {
		t.Fatal(err)
	}
	if len(want.ids) != n || !slices.Equal(got.ids, want.ids) {
		t.Errorf("following gave %d ids, a scan %d of %d lines, and they are not the same", len(got.ids), len(want.ids), n)
	}
}
