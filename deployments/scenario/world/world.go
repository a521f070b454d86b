package world

import (
	"bufio"
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// KeyHex is the installation key of simulated worlds; it protects nothing.
const KeyHex = "73696d756c6174656420776f726c64206b65793b206e6f742061207365637265"

// Written says where a world was written.
type Written struct {
	// Logs and Catalogue are directories, Key is a file.
	Logs, Catalogue, Key string
	Truth                *Truth
}

// Write makes a world below dir, which must exist: its logs, its catalogue, its
// key and truth.jsonl.
func Write(cfg Config, dir string) (*Written, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	w := &world{
		cfg: cfg, start: cfg.Start(), end: cfg.End(), logs: map[string]*log{}, truth: &Truth{Used: map[string]bool{}},
		rand: rand.New(rand.NewPCG(cfg.seed("world"), 1)), dir: filepath.Join(dir, "logs"),
		first: map[string]time.Time{}, calls: map[string]int{}, state: map[*Campaign]*deeds{}, busy: map[string]bool{},
	}
	w.build()
	w.plan()
	if err := w.run(); err != nil {
		return nil, err
	}
	w.faults()
	out := &Written{Logs: w.dir, Catalogue: filepath.Join(dir, "catalogue"), Key: filepath.Join(dir, "key"), Truth: w.truth}
	if err := os.MkdirAll(out.Catalogue, 0o755); err != nil {
		return nil, fmt.Errorf("write the world's catalogue: %w", err)
	}
	for path, text := range map[string]string{
		filepath.Join(out.Catalogue, "catalogue.yaml"): w.catalogue(), out.Key: KeyHex + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write the world: %w", err)
		}
	}
	if err := w.truth.write(filepath.Join(dir, "truth.jsonl")); err != nil {
		return nil, fmt.Errorf("write the truth about the world: %w", err)
	}
	return out, nil
}

// world is one company as its time passes.
type world struct {
	cfg         Config
	rand        *rand.Rand
	start, end  time.Time
	domain      string
	account     string
	tenants     []string
	services    []*service
	credentials []*credential
	cloud       *service
	cluster     *service
	portal      *service
	truth       *Truth

	queue queue
	count int
	dir   string
	logs  map[string]*log
	// lines counts the calls of the whole world, logged or left out.
	lines uint64
	// first says when something was first done, by credential, service and
	// operation; calls counts a credential's, both without an attacker's.
	first map[string]time.Time
	calls map[string]int
	state map[*Campaign]*deeds
	// busy are credentials that a story already has.
	busy    map[string]bool
	changes []change
	attacks []*Campaign
}

// change is an approved change.
type change struct {
	id, credential string
	from, to       time.Time
	reason         string
}

// happening is something that is to happen.
type happening struct {
	at    time.Time
	order int
	do    func(time.Time)
}

// queue is what is to happen, the earliest first, and of one moment what was
// planned first.
type queue []happening

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push and Pop are for container/heap.
func (q *queue) Push(x any) { *q = append(*q, x.(happening)) }

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// at plans something; what lies outside the world's time does not happen.
func (w *world) at(t time.Time, do func(time.Time)) {
	if t.Before(w.start) || !t.Before(w.end) {
		return
	}
	w.count++
	heap.Push(&w.queue, happening{t, w.count, do})
}

// run lets the time pass.
func (w *world) run() error {
	for len(w.queue) > 0 {
		h := heap.Pop(&w.queue).(happening)
		h.do(h.at)
	}
	names := make([]string, 0, len(w.logs))
	for name := range w.logs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.logs[name].close(); err != nil {
			return fmt.Errorf("write the world's log %s: %w", name, err)
		}
	}
	slices.SortStableFunc(w.truth.Calls, func(a, b Marked) int { return a.Time.Compare(b.Time) })
	return nil
}

// log is a file that lines are written to as they happen.
type log struct {
	file *os.File
	out  *bufio.Writer
	err  error
}

// put writes a line to the named log.
func (w *world) put(name string, text []byte) {
	l := w.logs[name]
	if l == nil {
		l = &log{}
		w.logs[name] = l
		path := filepath.Join(w.dir, name)
		if l.err = os.MkdirAll(filepath.Dir(path), 0o755); l.err == nil {
			l.file, l.err = os.Create(path)
		}
		l.out = bufio.NewWriterSize(l.file, 1<<16)
	}
	if l.err == nil {
		if _, l.err = l.out.Write(text); l.err == nil {
			l.err = l.out.WriteByte('\n')
		}
	}
}

func (l *log) close() error {
	if l.file == nil {
		return l.err
	}
	if err := l.out.Flush(); l.err == nil {
		l.err = err
	}
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
	return l.err
}

// hexID returns n random bytes in hexadecimal.
func (w *world) hexID(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rand.Uint32())
	}
	return fmt.Sprintf("%x", b)
}

// uuid returns a random identifier in the usual form.
func (w *world) uuid() string {
	h := w.hexID(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}
