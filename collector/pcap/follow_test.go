package pcap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/schema"
)

// following follows a directory until end is called, which returns the calls.
type following struct {
	t          *testing.T
	dir        string
	sink       waiting
	watch      *Watch
	complaints []string
	cancel     context.CancelFunc
	done       chan error
}

func follow(t *testing.T) *following {
	f := &following{t: t, dir: t.TempDir(), done: make(chan error)}
	d := NewDirectory(f.dir)
	d.poll = 10 * time.Millisecond
	d.Complain = func(file string, err error) {
		f.complaints = append(f.complaints, filepath.Base(file)+": "+err.Error())
	}
	f.watch = New(Config{Key: testKey}).Watch(d, collector.Input{Name: f.dir}, &f.sink)
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(context.Background())
	go func() { f.done <- f.watch.Run(ctx) }()
	return f
}

func (f *following) path(name string) string { return filepath.Join(f.dir, name) }

// packets waits until so many packets were read.
func (f *following) packets(n int) {
	f.t.Helper()
	for range 300 {
		if f.watch.Stats().Packets >= uint64(n) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Errorf("%d packets were read, want %d; complaints %q", f.watch.Stats().Packets, n, f.complaints)
}

func (f *following) end() (map[schema.CallID]int, Stats) {
	f.t.Helper()
	f.cancel()
	if err := <-f.done; !errors.Is(err, context.Canceled) {
		f.t.Errorf("error %v, want context canceled", err)
	}
	ids := map[schema.CallID]int{}
	for i := range f.sink.calls {
		ids[f.sink.calls[i].ID]++
	}
	return ids, f.watch.Stats()
}

// put appends bytes to a file.
func (f *following) put(name string, b []byte) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.Write(b)
		_ = file.Close()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestFollowSeveralAtOnce has three programs write captures at a time, by pieces that
// end anywhere: each packet is read once.
func TestFollowSeveralAtOnce(t *testing.T) {
	f := follow(t)
	rng := rand.New(rand.NewPCG(8, 1))
	const files, calls = 3, 40
	rest, packets := make([][]byte, files), 0
	for i := range rest {
		known := map[string]truth{}
		frames := conversation(rng, 1, func(w *wire, name string) { w.talk(calls, lockstep, fmt.Sprint(i, name), known) })
		packets += len(frames)
		if rest[i] = writePcap(linkEthernet, frames); i == 2 {
			rest[i] = writeNg(frames)
		}
	}
	for left := files; left > 0; {
		left = 0
		for i := range rest {
			n := min(len(rest[i]), 1+rng.IntN(9000))
			f.put(fmt.Sprintf("eth%d.pcap", i), rest[i][:n])
			if rest[i] = rest[i][n:]; len(rest[i]) > 0 {
				left++
			}
		}
		time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
	}
	f.packets(packets)
	time.Sleep(100 * time.Millisecond)
	ids, stats := f.end()
	if stats.Packets != uint64(packets) || len(f.complaints) > 0 || stats.Cut {
		t.Errorf("%d packets were read, want %d; complaints %q", stats.Packets, packets, f.complaints)
	}
	if len(ids) == 0 || len(ids) != len(f.sink.calls) {
		t.Errorf("%d calls, %d different ones", len(f.sink.calls), len(ids))
	}
}

// TestFollowGoesOnLate has a file go on when nobody waited for it any more: what was read
// of it is not read again.
func TestFollowGoesOnLate(t *testing.T) {
	f := follow(t)
	rng, known := rand.New(rand.NewPCG(8, 1)), map[string]truth{}
	a := conversation(rng, 1, func(w *wire, name string) { w.talk(20, lockstep, "a"+name, known) })
	b := conversation(rng, 1, func(w *wire, name string) { w.talk(20, lockstep, "b"+name, known) })
	whole, half := writePcap(linkEthernet, a), len(a)/2
	begun := len(writePcap(linkEthernet, a[:half]))
	f.put("a.pcap", whole[:begun])
	f.packets(half)
	f.put("b.pcap", writePcap(linkEthernet, b))
	f.packets(half + len(b))
	time.Sleep(leftFor*10*time.Millisecond + 200*time.Millisecond)
	f.put("a.pcap", whole[begun:])
	f.packets(len(a) + len(b))
	time.Sleep(100 * time.Millisecond)
	ids, stats := f.end()
	if stats.Packets != uint64(len(a)+len(b)) || len(ids) == 0 || len(ids) != len(f.sink.calls) {
		t.Errorf("%d packets were read, want %d; %d calls, %d different ones", stats.Packets, len(a)+len(b), len(f.sink.calls), len(ids))
	}
}

// writeNg writes frames as a pcapng file, among blocks to pass over.
func writeNg(frames []frame) []byte {
	order := binary.LittleEndian
	words := func(n ...uint32) (b []byte) {
		for _, n := range n {
			b = order.AppendUint32(b, n)
		}
		return b
	}
	file := ngBlock(order, magicNg, append(words(magicSection, 1, math.MaxUint32, math.MaxUint32), make([]byte, 400)...))
	file = append(file, ngBlock(order, blockInterface, words(uint32(linkEthernet), 0))...)
	for i, f := range frames {
		if i%5 == 0 {
			file = append(file, ngBlock(order, 0xbad, make([]byte, 300))...)
		}
		stamp, n := uint64(f.nanos/1000), uint32(len(f.data))
		file = append(file, ngBlock(order, blockPacket, append(words(0, uint32(stamp>>32), uint32(stamp), n, n), f.data...))...)
	}
	return file
}

// TestFollowRotation renames, empties and removes files as programs do that rotate them.
func TestFollowRotation(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 2))
	frames := conversation(rng, 2, func(w *wire, name string) { w.talk(60, lockstep, name, map[string]truth{}) })
	file := writePcap(linkEthernet, frames)
	// half ends inside of a packet.
	half := 24
	for _, p := range frames[:len(frames)/2] {
		half += 16 + len(p.data)
	}
	half += 9
	later := writePcap(linkEthernet, conversation(rng, 1, func(w *wire, name string) { w.talk(5, lockstep, "later"+name, map[string]truth{}) }))
	more := strings.Count(string(later), "\x08\x00\x45")
	for name, steps := range map[string]func(f *following) (packets int){
		"renamed while it grows": func(f *following) int {
			f.put("a.pcap", file[:half])
			f.packets(len(frames) / 2)
			if err := os.Rename(f.path("a.pcap"), f.path("a.pcap.1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			f.put("a.pcap.1", file[half:])
			return len(frames)
		},
		"renamed when it was read": func(f *following) int {
			f.put("a.pcap", file)
			f.packets(len(frames))
			f.put("b.pcap", later)
			f.packets(len(frames) + more)
			if err := os.Rename(f.path("a.pcap"), f.path("a.pcap.1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			return len(frames) + more
		},
		"begun anew under its name": func(f *following) int {
			f.put("a.pcap", file)
			f.packets(len(frames))
			if err := os.WriteFile(f.path("a.pcap"), later, 0o600); err != nil {
				t.Fatal(err)
			}
			return len(frames) + more
		},
		"begun anew, and longer": func(f *following) int {
			f.put("a.pcap", later)
			f.packets(more)
			f.put("b.pcap", nil)
			time.Sleep(50 * time.Millisecond)
			if err := os.WriteFile(f.path("a.pcap"), file, 0o600); err != nil {
				t.Fatal(err)
			}
			return len(frames) + more
		},
		"empty when the next begins": func(f *following) int {
			f.put("a.pcap", nil)
			time.Sleep(50 * time.Millisecond)
			f.put("b.pcap", later)
			f.packets(more)
			f.put("a.pcap", file)
			return len(frames) + more
		},
		"removed before it is read": func(f *following) int {
			f.put("a.pcap", later)
			f.packets(more)
			f.put("b.pcap", file)
			f.put("c.pcap", nil)
			f.packets(len(frames) + more)
			for _, name := range []string{"a.pcap", "b.pcap", "c.pcap"} {
				if err := os.Remove(f.path(name)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(50 * time.Millisecond)
			f.put("d.pcap", later)
			return len(frames) + 2*more
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := follow(t)
			packets := steps(f)
			f.packets(packets)
			time.Sleep(50 * time.Millisecond)
			_, stats := f.end()
			if stats.Packets != uint64(packets) || len(f.complaints) > 0 {
				t.Errorf("%d packets were read, want %d; complaints %q", stats.Packets, packets, f.complaints)
			}
		})
	}
}
