// Package spool keeps calls on disk between a collector and what takes them, for
// the time that the taker is away.
//
// The one function to want is [New]. The spool it returns is a sink: Put returns
// once a batch is on the disk; [Spool.Run] hands the batches on, in their order,
// each until it is acknowledged, and removes what was.
//
// It promises:
//
//   - what Put returned without an error for survives the death of the process,
//     and of the machine too with Config.Sync; what a death cut in half was never
//     acknowledged, is cut off and counted;
//   - it never takes more than Config.Limit of the disk, but for one batch and a
//     mebibyte of accounts, and never more memory than two batches;
//   - at the limit it blocks, or it drops whole batches as Config.Drop says: then
//     an account with the reason [LostFull] and the time of the calls is handed on
//     in their place, and nothing is lost silently;
//   - a full disk blocks until there is room.
//
// A batch whose acknowledgement was not written down before a death is handed on
// again, with the same call ids. Calls are stored in the wire's encoding: they are
// redacted, but for the mode of its files the spool hides nothing. It cannot see
// whether the disk keeps what it said it wrote: a checksum tells, and what is
// damaged is passed over and counted in bytes.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scopedrift/scopedrift/schema"
)

// LostFull is the reason of calls that were dropped because the spool was full.
const LostFull = schema.Lost + "spool_full"

// Taker is who takes the calls in the end. Put returns once the batch is stored
// or durably queued; it is called by one goroutine. It may end with the context;
// any other error ends [Spool.Run].
type Taker interface {
	Put(ctx context.Context, batch *schema.Batch) error
}

// Config says where the spool is and how large it may be. Dir is required.
type Config struct {
	// Dir holds nothing but the spool. It is made if it is not there.
	Dir string
	// Limit is how many bytes of the disk it may take, 1 GiB if it is 0.
	Limit int64
	// Segment is how large one file of it becomes, 16 MiB if it is 0.
	Segment int64
	// Drop says that batches are dropped at the limit, instead of making Put wait.
	Drop bool
	// Sync says that Put waits for the disk itself, not only for the system.
	Sync bool
	// Report, if set, is told of what went wrong. It may be called from several
	// goroutines.
	Report func(error)
}

// Stats are the counters of a spool.
type Stats struct {
	// Batches and Calls were taken, HandedOn of the batches acknowledged since.
	Batches, Calls, HandedOn uint64
	// Dropped are calls that were dropped at the limit.
	Dropped uint64
	// Waits is how often Put had to wait for room.
	Waits uint64
	// Bytes is how much of the disk is taken, of at most Limit.
	Bytes, Limit int64
	// Waiting are batches on the disk that are not handed on yet.
	Waiting uint64
	// TornBytes were cut off because a death had left them half written,
	// DamagedBytes passed over because they are not what was written.
	TornBytes, DamagedBytes int64
	// Full is since when there is no room; zero if there is.
	Full time.Time
	// LastError is the text of the newest error.
	LastError string
}

// Spool is a sink with a disk. Its methods may be called by any goroutine.
type Spool struct {
	cfg  Config
	to   Taker
	lock int

	mu    sync.Mutex
	stats Stats
	// segments are the numbers of the files, in order; the last one is written to.
	segments []segment
	file     *os.File
	// readAt is where the next batch to hand on begins, in the first segment.
	readAt int64
	failed error
	// changed is closed and made anew when something was put, removed, or failed.
	changed chan struct{}
}

// segment is one file of the spool.
type segment struct {
	number uint64
	size   int64
	// batches are those of it that are not handed on.
	batches uint64
}

// Errors of a spool.
var (
	errNoDir    = errors.New("the spool has no directory: name one")
	errNotOpen  = errors.New("the spool is not open: call Open before Put")
	errTooLarge = errors.New("a batch is larger than the spool may be: give it more room")
	errSmall    = errors.New("the spool is too small: give it at least 1 MiB")
)

const (
	defaultLimit   = 1 << 30
	defaultSegment = 16 << 20
	// reserve is what accounts may take beyond the limit.
	reserve = 1 << 20
	ending  = ".spool"
)

// New makes a spool before a taker. It opens nothing.
func New(cfg Config, to Taker) (*Spool, error) {
	if cfg.Dir == "" {
		return nil, errNoDir
	}
	if cfg.Limit == 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.Segment == 0 {
		cfg.Segment = defaultSegment
	}
	if cfg.Limit < 1<<20 {
		return nil, errSmall
	}
	cfg.Segment = min(cfg.Segment, cfg.Limit/4)
	return &Spool{
		cfg: cfg, to: to, lock: -1, changed: make(chan struct{}),
		stats: Stats{Limit: cfg.Limit},
	}, nil
}

// Open takes the directory for this process, cuts off what a death left half
// written, and finds out what waits. Close it in the end.
func (s *Spool) Open() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("open the spool: %w; name a directory that can be written", err)
	}
	fd, err := unix.Open(filepath.Join(s.cfg.Dir, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("lock the spool %s: %w; name a directory that can be written", s.cfg.Dir, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("another process has the spool %s: give each collector a directory of its own", s.cfg.Dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock = fd
	if err := s.recover(); err != nil {
		s.unlock()
		return err
	}
	return nil
}

// recover reads what is on the disk. The caller holds mu.
func (s *Spool) recover() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	mark := s.loadMark()
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ending)
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil {
			continue
		}
		if number < mark.segment {
			_ = os.Remove(s.path(number)) // handed on, and not removed any more
			continue
		}
		s.segments = append(s.segments, segment{number: number})
	}
	slices.SortFunc(s.segments, func(a, b segment) int { return int(min(1, max(-1, int64(a.number)-int64(b.number)))) })
	for i := range s.segments {
		from := int64(0)
		if s.segments[i].number == mark.segment {
			from = mark.offset
		}
		if i == 0 {
			s.readAt = from
		}
		if err := s.survey(&s.segments[i], from, i == len(s.segments)-1); err != nil {
			return err
		}
	}
	next := mark.segment + 1
	if n := len(s.segments); n > 0 {
		next = s.segments[n-1].number + 1
	}
	return s.newSegment(next)
}

// survey counts the batches of a segment from an offset on. Of the last one it
// cuts off what is half written.
func (s *Spool) survey(seg *segment, from int64, last bool) error {
	file, err := os.OpenFile(s.path(seg.number), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	size := info.Size()
	at := min(from, size)
	var frame []byte
	for at < size {
		var next int64
		frame, next, _, err = readFrame(file, at, size, frame)
		if err != nil {
			return fmt.Errorf("open the spool: %w", err)
		}
		if next == 0 { // nothing whole follows
			if last {
				s.stats.TornBytes += size - at
				if err := file.Truncate(at); err != nil {
					return fmt.Errorf("open the spool: %w", err)
				}
				size = at
			}
			break // who hands on counts what is damaged
		}
		at = next
		seg.batches++
	}
	seg.size = size
	s.stats.Bytes += size
	s.stats.Waiting += seg.batches
	return nil
}

// newSegment begins a file. The caller holds mu.
func (s *Spool) newSegment(number uint64) error {
	file, err := os.OpenFile(s.path(number), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the spool: %w", err)
	}
	if s.cfg.Sync {
		s.syncDir()
	}
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			_ = file.Close()
			return fmt.Errorf("write the spool: %w", err)
		}
	}
	if len(s.segments) == 0 {
		s.readAt = 0
	}
	s.file = file
	s.segments = append(s.segments, segment{number: number})
	return nil
}

func (s *Spool) syncDir() {
	if d, err := os.Open(s.cfg.Dir); err == nil {
		_ = d.Sync() // not every file system can
		_ = d.Close()
	}
}

func (s *Spool) path(number uint64) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%016x%s", number, ending))
}

// Close gives the directory back. What waits stays on the disk.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	s.unlock()
	return err
}

func (s *Spool) unlock() {
	if s.lock >= 0 {
		_ = unix.Close(s.lock)
		s.lock = -1
	}
}

// Stats returns the counters.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// wake tells who waits that something changed. The caller holds mu.
func (s *Spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// report counts an error and tells of it.
func (s *Spool) report(err error) {
	s.mu.Lock()
	s.stats.LastError = err.Error()
	s.mu.Unlock()
	if s.cfg.Report != nil {
		s.cfg.Report(err)
	}
}

// mark is where the next batch to hand on begins.
type mark struct {
	segment uint64
	offset  int64
}

const markFile = "mark"

// loadMark reads the mark. One that cannot be read means the beginning: batches
// are then handed on again.
func (s *Spool) loadMark() mark {
	var m mark
	data, err := os.ReadFile(filepath.Join(s.cfg.Dir, markFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && s.cfg.Report != nil {
			s.cfg.Report(fmt.Errorf("read the spool's mark: %w: all of it is handed on again", err))
		}
		return m
	}
	if _, err := fmt.Sscanf(string(data), "%x %d\n", &m.segment, &m.offset); err != nil || m.offset < 0 {
		return mark{}
	}
	return m
}

// saveMark writes it, whole or not at all. It is not synced: after the death of
// the machine some batches are handed on again.
func (s *Spool) saveMark(m mark) error {
	path := filepath.Join(s.cfg.Dir, markFile)
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%x %d\n", m.segment, m.offset), 0o600); err != nil {
		return fmt.Errorf("write the spool's mark: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the spool's mark: %w", err)
	}
	return nil
}
