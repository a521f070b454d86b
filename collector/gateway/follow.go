package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/scopedrift/scopedrift/collector"
)

// Follow says which files to follow, and how.
type Follow struct {
	// Paths are files, directories (the files in and below them) and patterns as
	// of filepath.Match; NAME: before one chooses its format. What does not exist
	// yet is waited for.
	Paths []string
	// Checkpoint is the file that remembers how far the sink has acknowledged;
	// "" remembers nothing beyond the process.
	Checkpoint string
	// Poll is how often a file is looked at for more, 200 ms if it is 0; Scan how
	// often the paths are looked through for files, 1 s if it is 0.
	Poll, Scan time.Duration
	// Linger is how long a file that was renamed or deleted is still read after
	// its last line, 1 min if it is 0: writers keep it open for a while.
	Linger time.Duration
	// MaxOpen bounds the files that are read at the same time, 512 if it is 0.
	// Others wait, or are closed while nothing happens in them.
	MaxOpen int
	// Drain is how long the sink may take to acknowledge what was read when Run
	// is told to end; 12 s if it is 0.
	Drain time.Duration
	// Report, if set, is told of what went wrong and is tried again. It may be
	// called from several goroutines.
	Report func(error)
}

// Follower follows log files as they are written, through every kind of
// rotation, and hands on each line once; after a crash it goes on behind what the
// sink had acknowledged, so that calls may come twice, with the same ids.
//
// A file is known by its place on the disk and by what it begins with, not by its
// name: one that was renamed is read on, one that was truncated begins anew, and
// a copy or a compressed form of what was read is not read again, but for what
// the original no longer has. A line without its end waits for it.
//
// Ids of calls depend on what stands before a line in its file, so a file that is
// taken up again is first read from its beginning, at most warmUp bytes back, and
// nothing of that is handed on.
//
// It looks at files at fixed intervals: that works on every file system, and
// costs one look a file. A truncation that is undone before the next look (the
// file has the same bytes where reading stands) is not seen; what was written and
// removed between two looks is lost, and no one can count it.
type Follower struct {
	g   *Gateway
	cfg Follow
	b   *builder
	// turn is held by the one goroutine that reads and hands on.
	turn chan struct{}
	sink collector.Sink
	// live lasts longer than the context of Run: what was read is handed on.
	live context.Context
	busy sync.WaitGroup
	fail context.CancelCauseFunc

	mu    sync.Mutex
	state ledgerOfFiles
	// watch is what is known of listed files that are not read, by their ids.
	watch map[fileID]watched
	stats FollowStats
	// from is since when files that are rotated away belong to a stream.
	from map[string]time.Time
	// told are reports of files that are not repeated.
	told map[string]bool
}

// FollowStats are the counters of a Follower.
type FollowStats struct {
	// Open are files that are being read; Known all that were read and remembered.
	Open, Known int
	// Units, Calls and Bytes are what the sink has acknowledged.
	Units, Calls, Bytes uint64
	// Skipped counts acknowledged units that are no call, by reason.
	Skipped map[string]uint64
	// Behind is how many bytes of the open files are not acknowledged.
	Behind int64
	// Ended counts files that were read to their end: rotated, truncated or whole
	// from the start. Truncated are those that lost their content in place.
	Ended, Truncated uint64
	// Resumed counts files that were taken up again at a remembered place, Copies
	// those that hold nothing but what was read elsewhere.
	Resumed, Copies uint64
	// Errors are those that are tried again; LastError is the newest one's text.
	Errors    uint64
	LastError string
	// LastPut is when the sink last acknowledged something; zero for never.
	LastPut time.Time
}

var errNothingToFollow = errors.New("nothing to follow: name log files, directories or patterns")

// Follow prepares following. It opens nothing.
func (g *Gateway) Follow(cfg Follow) (*Follower, error) {
	for _, d := range []struct {
		of    *time.Duration
		usual time.Duration
	}{{&cfg.Poll, 200 * time.Millisecond}, {&cfg.Scan, time.Second}, {&cfg.Linger, time.Minute}, {&cfg.Drain, 12 * time.Second}} {
		if *d.of <= 0 {
			*d.of = d.usual
		}
	}
	if cfg.MaxOpen <= 0 {
		cfg.MaxOpen = 512
	}
	if len(cfg.Paths) == 0 {
		return nil, errNothingToFollow
	}
	for _, name := range cfg.Paths {
		if _, path := g.splitFormat(name); path == standardInput {
			return nil, errors.New("standard input cannot be followed: it is read to its end without --follow")
		}
	}
	return &Follower{
		g: g, cfg: cfg, turn: make(chan struct{}, 1), watch: map[fileID]watched{}, from: map[string]time.Time{},
		told: map[string]bool{}, stats: FollowStats{Skipped: map[string]uint64{}},
	}, nil
}

// Run follows until ctx ends; then it hands on what it has read and returns nil.
// It returns an error where the sink gives up, or the checkpoint cannot be read
// or written. Run it once.
func (f *Follower) Run(ctx context.Context, sink collector.Sink) error {
	state, err := f.loadCheckpoint()
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.state = state
	for _, gen := range state.Files {
		if gen.Offset > 0 && gen.Used.After(f.from[gen.Stream]) {
			f.from[gen.Stream] = gen.Used
		}
	}
	f.mu.Unlock()
	f.b, f.sink = f.g.builder(), sink
	ctx, f.fail = context.WithCancelCause(ctx)
	defer f.fail(nil)
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	f.live = live
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(f.cfg.Drain, cancel)
		context.AfterFunc(live, func() { t.Stop() })
	})()
	for failed := error(nil); ; {
		f.scan(ctx)
		if failed = f.saveCheckpoint(); failed != nil {
			f.fail(failed)
		}
		select {
		case <-ctx.Done():
			f.busy.Wait()
			err := f.saveCheckpoint()
			if cause := context.Cause(ctx); errors.As(cause, new(*followError)) {
				return errors.Join(cause.(*followError).err, err)
			}
			return errors.Join(failed, err)
		case <-time.After(f.cfg.Scan):
		}
	}
}

// followError is what ends a Follower, as opposed to being told to end.
type followError struct{ err error }

func (e *followError) Error() string { return e.err.Error() }

// Stats returns the counters. It may be called at any time.
func (f *Follower) Stats() FollowStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Skipped = maps.Clone(s.Skipped)
	s.Known = len(f.state.Files)
	for _, gen := range f.state.Files {
		if gen.tail != nil {
			s.Open++
			s.Behind += max(0, gen.size-gen.Offset)
		}
	}
	return s
}

// report counts an error and tells of it, once for each file and kind.
func (f *Follower) report(about string, err error) {
	f.mu.Lock()
	f.stats.Errors++
	f.stats.LastError = err.Error()
	again := f.told[about]
	if len(f.told) > 1<<12 {
		clear(f.told)
	}
	f.told[about] = true
	f.mu.Unlock()
	if !again && f.cfg.Report != nil {
		f.cfg.Report(err)
	}
}

// take waits for the turn, yield gives it up.
func (f *Follower) take()  { f.turn <- struct{}{} }
func (f *Follower) yield() { <-f.turn }

// openFile opens a file and tells what it is.
func openFile(path string) (*os.File, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open input: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("open input: %w", err)
	}
	return file, info, nil
}
