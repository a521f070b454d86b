package pcap

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
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

// waiting is a sink that another goroutine may look into.
type waiting struct {
	mu      sync.Mutex
	calls   []schema.Call
	skipped map[string]uint64
}

func (w *waiting) Put(_ context.Context, b *collector.Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, b.Calls...)
	if w.skipped == nil {
		w.skipped = map[string]uint64{}
	}
	for reason, n := range b.Skipped {
		w.skipped[reason] += n
	}
	return nil
}

// until polls for a number of calls.
func (w *waiting) until(t *testing.T, n int) {
	t.Helper()
	for range 200 {
		w.mu.Lock()
		got := len(w.calls)
		w.mu.Unlock()
		if got >= n {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%d calls came, want %d", len(w.calls), n)
}

// TestFollow writes a capture in rotated files, one of them while it is read: the
// calls are those of the whole, connections that cross files included.
func TestFollow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	known := map[string]truth{}
	frames := conversation(rng, 6, func(w *wire, name string) { w.talk2(20, 4, false, name, known) })
	whole, _ := read(t, Config{}, bytes.NewReader(writePcap(linkEthernet, frames)))
	dir := t.TempDir()
	third := len(frames) / 3
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("notes.txt", []byte("no capture, and none to fail on"))
	time.Sleep(20 * time.Millisecond)
	write("a.pcap", writePcap(linkEthernet, frames[:third]))
	var sink waiting
	d := NewDirectory(dir)
	d.poll = 10 * time.Millisecond
	var complaints []string
	d.Complain = func(file string, err error) { complaints = append(complaints, filepath.Base(file)+": "+err.Error()) }
	ctx, cancel := context.WithCancel(context.Background())
	w := New(Config{Key: testKey}).Watch(d, collector.Input{Name: dir}, &sink)
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	time.Sleep(100 * time.Millisecond)

	// The second file grows by pieces that end anywhere.
	second := writePcap(linkEthernet, frames[third:2*third])
	f, err := os.Create(filepath.Join(dir, "b.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for rest := second; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(len(second)/4))
		if _, err := f.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		time.Sleep(30 * time.Millisecond)
	}
	_ = f.Close()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(writePcap(linkEthernet, frames[2*third:]))
	_ = z.Close()
	write("c.pcap.gz", packed.Bytes())
	// The first one packed is the same file.
	packed.Reset()
	z.Reset(&packed)
	_, _ = z.Write(writePcap(linkEthernet, frames[:third]))
	_ = z.Close()
	write("a.pcap.gz", packed.Bytes())

	sink.until(t, len(known)*9/10)
	time.Sleep(2 * flushEvery)
	if w.Stats().Packets == 0 {
		t.Error("no packets are counted while it runs")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context canceled", err)
	}
	ids := map[schema.CallID]int{}
	for i := range sink.calls {
		ids[sink.calls[i].ID]++
	}
	for i := range whole.calls {
		if ids[whole.calls[i].ID] != 1 {
			t.Errorf("%s came %d times", line(&whole.calls[i]), ids[whole.calls[i].ID])
		}
	}
	if len(sink.calls) != len(whole.calls) || sink.skipped[schema.Lost+lostFile] != 1 {
		t.Errorf("%d calls, want %d; skipped %v", len(sink.calls), len(whole.calls), sink.skipped)
	}
	if len(complaints) != 1 || !strings.HasPrefix(complaints[0], "notes.txt: this is no pcap") {
		t.Errorf("complaints %q", complaints)
	}
}

// scripted is a source of packets, then of nothing, then of its end.
type scripted struct {
	frames []frame
	quiet  int
	lost   map[string]uint64
}

func (s *scripted) Next(_ context.Context, p *Packet, idle func() error) error {
	if len(s.frames) == 0 {
		for ; s.quiet > 0; s.quiet-- {
			time.Sleep(flushEvery / 4)
			if err := idle(); err != nil {
				return err
			}
		}
		return io.EOF
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	p.Data, p.Nanos, p.Link = f.data, f.nanos, uint32(linkEthernet)
	return nil
}

func (s *scripted) Lost() map[string]uint64 {
	lost := s.lost
	s.lost = nil
	return lost
}

func TestWatchHandsOnInTime(t *testing.T) {
	s := script{"GET /1 HTTP/1.1" + host, a1}
	source := &scripted{frames: s.frames(1448), quiet: 8, lost: map[string]uint64{"kernel": 3}}
	first := time.Duration(0)
	begin := time.Now()
	var skipped uint64
	sink := sinkFunc(func(b *collector.Batch) error {
		if len(b.Calls) > 0 && first == 0 {
			first = time.Since(begin)
		}
		skipped += b.Skipped[schema.Lost+"kernel"]
		return nil
	})
	if err := New(Config{Key: testKey}).Watch(source, collector.Input{Name: "x"}, sink).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if first == 0 || first > 2*flushEvery || skipped != 3 {
		t.Errorf("the call came after %v, %d packets were reported lost; want less than %v, and 3", first, skipped, 2*flushEvery)
	}
}

// TestGivenUpInTime has clients that give calls up on connections that stay open: such a
// call goes out without its answer after a while, and with one that was on its way.
func TestGivenUpInTime(t *testing.T) {
	c, s := newSide2(), newSide2()
	cancel := []byte{0, 0, 0, 8}
	c.WriteString(hello2)
	c.frame(frameSettings, 0, 0, nil).head(1, true, get("/gone")...).head(3, true, get("/late")...)
	conversation := script{c.turn(), s.frame(frameSettings, 0, 0, nil).turn(),
		c.frame(frameReset, 0, 1, cancel).frame(frameReset, 0, 3, cancel).turn(), s.head(3, true, ":status", "204").turn()}
	frames := conversation.frames(1448)
	source := &scripted{frames: frames[:len(frames)-3], quiet: 20} // without its end
	var sink waiting
	var early int
	put := sinkFunc(func(b *collector.Batch) error {
		if source.quiet > 0 {
			early += len(b.Calls)
		}
		return sink.Put(context.Background(), b)
	})
	if err := New(Config{Key: testKey}).Watch(source, collector.Input{Name: "x"}, put).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := "GET a.example/late 204 0/0 complete\nGET a.example/gone 0 0/0 unanswered"
	if got := lines(sink.calls); got != want || early != 2 {
		t.Errorf("%d calls came in time of:\n%s\nwant 2 of:\n%s", early, got, want)
	}
}

// TestHoleInTime has an answer with a hole, whose client has it all and then is silent: its
// call does not wait until the connection goes on, whether others do or not.
func TestHoleInTime(t *testing.T) {
	whole := script{q1, "HTTP/1.1 201 A\r\nContent-Length: 4000\r\n\r\n" + strings.Repeat("x", 4000)}.frames(1448)
	lost := slices.Delete(slices.Clone(whole[:len(whole)-3]), 5, 6) // without its end
	last := lost[len(lost)-1]
	tcp := last.data[14+20:]
	ack := segmentSpec{client: addr4(1, 40000), server: addr4(2, 80), toServer: true, flags: flagACK,
		seq: binary.BigEndian.Uint32(tcp[8:]), ack: binary.BigEndian.Uint32(tcp[4:]) + uint32(len(tcp)-20)}
	lost = append(lost, frame{last.nanos + 1e6, ack.ethernet()})
	const want = "GET a/1 201 0/4000 complete"
	t.Run("nobody else", func(t *testing.T) {
		source := &scripted{frames: lost, quiet: 16}
		var early []schema.Call
		put := sinkFunc(func(b *collector.Batch) error {
			if source.quiet > 0 {
				early = append(early, b.Calls...)
			}
			return nil
		})
		if err := New(Config{Key: testKey}).Watch(source, collector.Input{Name: "x"}, put).Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := lines(early); got != want {
			t.Errorf("in time came %q", got)
		}
	})
	for _, c := range []struct {
		behind time.Duration
		want   string
	}{{500 * time.Millisecond, ""}, {1500 * time.Millisecond, want}} {
		t.Run(c.behind.String(), func(t *testing.T) {
			other := script{q2, a2}.frames(1448)
			for i := range other {
				other[i].nanos = lost[len(lost)-1].nanos + int64(c.behind)
				other[i].data[29]++ // other addresses
				other[i].data[33]++
			}
			r := newRun(&New(Config{Key: testKey}).cfg, collector.Input{}, &collected{})
			reader, err := newRecordReader(bytes.NewReader(writePcap(linkEthernet, append(slices.Clone(lost), other[:3]...))))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.packets(context.Background(), reader); err != nil {
				t.Fatal(err)
			}
			r.table.overdue(0)
			if got := lines(r.builder.calls); got != c.want {
				t.Errorf("in time came %q, want %q", got, c.want)
			}
		})
	}
}
