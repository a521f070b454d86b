//go:build unix

package pcap

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/internal/spenttest"
)

// crowd is a capture of many connections that is made up as it is read. All of
// them say the same as one of few patterns, whatever number is open at a time: so
// calls, packets and bytes are the same, and only their order differs.
type crowd struct {
	patterns [][][]frame // of each the packets of each turn: handshake and close are turns
	// total is how many connections there are in all, open how many at a time,
	// active how many of those take their turn together, a packet each.
	total, open, active int
	// loss is the share of packets that are left out, between is called when all
	// that are open had a turn.
	loss    float64
	between func(turn int)
	// pace is how many nanoseconds lie between two packets.
	pace int64

	rng    *rand.Rand
	buf    []byte
	at     int // in buf
	nanos  int64
	next   []int // of the active ones: the packet that comes next
	first  int   // of the open connections
	turn   int
	group  int // the first of the active ones
	member int
	ended  bool
}

// crowdTurns are the calls of a connection.
const crowdTurns = 5

// newCrowd makes the patterns up. turns makes one of them up, and says where its
// turns begin.
func newCrowd(total, open, active int, turns func(w *wire, frames *[]frame) []int) *crowd {
	rng := rand.New(rand.NewPCG(1, 2))
	c := &crowd{total: total, open: open, active: min(open, active), nanos: 1_700_000_000e9, pace: 10_000, rng: rng}
	for range 16 {
		var frames []frame
		var nanos int64
		w := newWire(rng, addr4(1, 1), addr4(250, 8080), &frames, &nanos)
		begins := append(turns(w, &frames), len(frames))
		var pattern [][]frame
		for i, begin := range begins[:len(begins)-1] {
			pattern = append(pattern, frames[begin:begins[i+1]])
		}
		c.patterns = append(c.patterns, pattern)
	}
	c.next = make([]int, c.active)
	c.buf = writePcap(linkEthernet, nil)
	return c
}

// http1Turns is a connection of HTTP/1 whose client waits for each answer.
func http1Turns(w *wire, frames *[]frame) []int {
	begins := []int{0}
	w.handshake()
	for range crowdTurns {
		begins = append(begins, len(*frames))
		w.talk(1, lockstep, "x", map[string]truth{})
	}
	begins = append(begins, len(*frames))
	w.close()
	return begins
}

// partTurns is a connection whose calls are cut into turns anywhere, so that most are
// in the middle of some when others have their turn.
func partTurns(talk func(w *wire)) func(w *wire, frames *[]frame) []int {
	return func(w *wire, frames *[]frame) []int {
		begins := []int{0}
		w.handshake()
		first := len(*frames)
		talk(w)
		for i := range crowdTurns {
			begins = append(begins, first+i*(len(*frames)-first)/crowdTurns)
		}
		begins = append(begins, len(*frames))
		w.close()
		return begins
	}
}

// Read writes on in the capture.
func (c *crowd) Read(p []byte) (int, error) {
	for c.at == len(c.buf) {
		if c.ended {
			return 0, io.EOF
		}
		c.buf, c.at = c.buf[:0], 0
		for len(c.buf) < 64<<10 && !c.ended {
			c.step()
		}
	}
	n := copy(p, c.buf[c.at:])
	c.at += n
	return n, nil
}

// step writes the packet that comes next: one of each active connection, until
// all of them had their turn; then the next ones that are open have theirs.
func (c *crowd) step() {
	for range c.active {
		i := c.member
		c.member = (c.member + 1) % c.active
		number := c.first + c.group + i
		turns := c.patterns[number%len(c.patterns)]
		if c.group+i < c.open && number < c.total && c.turn < len(turns) && c.next[i] < len(turns[c.turn]) {
			c.write(number, turns[c.turn][c.next[i]].data)
			c.next[i]++
			return
		}
	}
	clear(c.next)
	if c.group += c.active; c.group < c.open {
		return
	}
	c.group = 0
	if c.between != nil {
		c.between(c.turn)
	}
	if c.turn++; c.turn < crowdTurns+2 {
		return
	}
	c.turn = 0
	c.first += c.open
	c.ended = c.first >= c.total
}

// write writes a packet as one of the connection with a number.
func (c *crowd) write(number int, data []byte) {
	c.nanos += c.pace
	if c.loss > 0 && c.rng.Float64() < c.loss {
		return
	}
	b := binary.LittleEndian.AppendUint32(c.buf, uint32(c.nanos/1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.nanos%1e9/1e3))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	at := len(b)
	c.buf = append(b, data...)
	const addresses, ports = 14 + 12, 14 + 20
	address, port := c.buf[at+addresses:], c.buf[at+ports:]
	if binary.BigEndian.Uint16(port[2:]) != 8080 { // to the client
		address, port = address[4:], port[2:]
	}
	address[1], address[2], address[3] = byte(number>>16), byte(number>>8), 1
	binary.BigEndian.PutUint16(port, 1024+uint16(number&0xff))
}

// BenchmarkConnections shows what a call costs by how many connections are open at
// a time. Each has the same five calls in the same packets, begins with a handshake
// and is closed. In "calls" ten of them have a call on the way at a time and the
// others are quiet, as those of a server with many clients are. In "packets" all
// have, and no packet belongs to the connection of the one before.
func BenchmarkConnections(b *testing.B) {
	const total = 100_000
	for _, order := range []struct {
		name   string
		active int
	}{{"calls", 10}, {"packets", total}} {
		for _, open := range []int{10, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", order.name, open), func(b *testing.B) {
				var sink discardSink
				capture := New(Config{Key: testKey, Limits: Limits{Connections: 2 * total, PendingTotal: 2 * total}})
				runtime.GC()
				before := spenttest.Own(b)
				for b.Loop() {
					c := newCrowd(total, open, order.active, http1Turns)
					c.pace = 200_000 // so that those that are closed are forgotten in time
					if _, err := capture.Run(context.Background(), c, collector.Input{}, &sink); err != nil {
						b.Fatal(err)
					}
				}
				spent := spenttest.Own(b) - before
				if sink.calls != b.N*total*crowdTurns {
					b.Fatalf("%d calls, want %d", sink.calls, b.N*total*crowdTurns)
				}
				b.ReportMetric(float64(spent)/float64(sink.calls), "cpu-ns/call")
			})
		}
	}
}

// BenchmarkConnectionsMemory shows what is alive at the worst with so many
// connections open at a time, and one packet of a hundred lost: after their
// handshakes, with calls on the way, and after they were closed; and what a process
// that does nothing else but read them holds of memory, before it begins and at the
// most, with the garbage collector set as `collect pcap` sets it.
func BenchmarkConnectionsMemory(b *testing.B) {
	const calls, loss = 25, .01
	for _, kind := range []struct {
		name  string
		turns func(w *wire, frames *[]frame) []int
	}{
		{"http1", partTurns(func(w *wire) { w.talk(calls, lockstep, "x", map[string]truth{}) })},
		{"pipelined", partTurns(func(w *wire) { w.talk(calls, window, "x", map[string]truth{}) })},
		{"http2", partTurns(func(w *wire) { w.talk2(calls, 10, false, "x", map[string]truth{}) })},
	} {
		for _, open := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, open), func(b *testing.B) {
				var alive [crowdTurns + 2]uint64
				var apart apartRun
				lossy := func() *crowd {
					c := newCrowd(open, open, open, kind.turns)
					c.loss = loss
					return c
				}
				for b.Loop() {
					apart = readApart(b, lossy())
					c, base := lossy(), aliveNow()
					c.between = func(turn int) { alive[turn] = max(alive[turn], aliveNow()-base) }
					if _, err := New(Config{Key: testKey}).Run(context.Background(), c, collector.Input{}, &discardSink{}); err != nil {
						b.Fatal(err)
					}
				}
				most := slices.Max(alive[1 : crowdTurns+1])
				b.ReportMetric(float64(most)/1e6, "alive-MB")
				b.ReportMetric(float64(apart.Before)/1e6, "before-MB")
				b.ReportMetric(float64(apart.Peak)/1e6, "resident-MB")
				b.ReportMetric(apart.Spent/float64(apart.Calls), "cpu-ns/call")
				b.ReportMetric(float64(alive[0])/float64(open), "opened-B/conn")
				b.ReportMetric(float64(most)/float64(open), "active-B/conn")
				b.ReportMetric(float64(alive[crowdTurns+1])/float64(open), "ended-B/conn")
			})
		}
	}
}

// aliveNow is how many bytes are in use.
func aliveNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkConnectionsMadeUp is what making these captures up costs, which is not
// to be taken for the reader's.
func BenchmarkConnectionsMadeUp(b *testing.B) {
	const total = 100_000
	for _, open := range []int{10, 100_000} {
		b.Run(fmt.Sprint(open), func(b *testing.B) {
			before := spenttest.Own(b)
			for b.Loop() {
				if _, err := io.Copy(io.Discard, newCrowd(total, open, total, http1Turns)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(spenttest.Own(b)-before)/float64(b.N*total*crowdTurns), "cpu-ns/call")
		})
	}
}
