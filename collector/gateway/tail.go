package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/scopedrift/scopedrift/collector"
)

// warmUp is how many bytes before the remembered place of a file are read again,
// for what they mean to the ids of the calls behind it.
const warmUp = 256 << 20

// quietScans is for how many scans a file has to be still before it gives its
// place to another, and heldLong how long a call waits for the later stage of its
// unit.
const (
	quietScans = 5
	heldLong   = time.Minute
)

// tail reads one generation of a file. Its methods run in its own goroutine,
// with the turn but for wait.
type tail struct {
	f    *Follower
	gen  *generation
	path string
	in   collector.Input

	e    *engine
	fr   *framer
	file *os.File
	// content is file, or what is unpacked from it; closers end the unpacking.
	content io.Reader
	packed  *stream
	// pos is how much content was read; head and last are the first and the last
	// bytes of it.
	pos  int64
	head []byte
	last []byte
	// begins is what the file began with when it was opened.
	begins []byte
	// mute is the offset up to which units were accounted for before.
	mute int64
	// halted says that reading has to stop where it is: a unit that was being
	// read then is not accounted for.
	halted bool
	// final says that nothing more will be written.
	final bool
	// truncated says that the file lost its content while it was read.
	truncated bool
	grown     time.Time // when something was last read
	held      time.Time // since when calls wait for a later stage
	warned    bool

	// Guarded by the follower's mu: rotated is since when the path names another
	// file; park that the place is wanted.
	rotated time.Time
	park    bool
	// looked is when the file was last looked at; whatever was true before is
	// known since.
	looked time.Time
}

// start reads a generation of a file that was opened already, from where the sink
// has acknowledged it. Packed is nil for a file that is not compressed.
func (f *Follower) start(ctx context.Context, gen *generation, one *listed, file *os.File, packed *stream, begins []byte) {
	t := &tail{f: f, gen: gen, path: one.path, file: file, content: file, packed: packed, begins: begins, grown: time.Now()}
	if packed != nil {
		t.content, t.final = packed, true
	}
	t.in = collector.Input{Name: gen.Name, Format: one.format}
	f.mu.Lock()
	gen.tail = t
	f.mu.Unlock()
	f.busy.Add(1)
	go func() {
		defer f.busy.Done()
		f.take()
		err := t.run(ctx)
		t.end(err)
		f.yield()
	}()
}

// end closes the file and says what became of it.
func (t *tail) end(err error) {
	if t.packed != nil {
		t.packed.close()
	}
	_ = t.file.Close()
	f, gen := t.f, t.gen
	f.mu.Lock()
	gen.tail = nil
	if gen.Done = err == nil && !t.halted; gen.Done || t.truncated && err == nil {
		f.stats.Ended++
	}
	f.state.dirty = true
	if t.truncated {
		f.stats.Truncated++
	}
	f.mu.Unlock()
	var final *followError
	switch {
	case errors.As(err, &final):
		f.fail(final)
	case err != nil:
		f.report("read "+gen.Stream, err)
	}
}

// run reads until the file ends, its place is wanted, or ctx ends.
func (t *tail) run(ctx context.Context) error {
	f := t.f
	format, err := f.g.format(t.in.Format)
	if err != nil {
		return &followError{err}
	}
	t.e = newEngine(f.g, format, t.in, f.b, nil)
	f.b.calls.Give(t.e.batch.Calls) // few files have many calls at a time
	t.e.batch.Calls, t.e.batch.Free = nil, nil
	t.fr = newFramer(&reading{t, ctx})
	t.fr.buf = make([]byte, 32<<10) // there are many, and most of them wait
	if err := t.rewind(); err != nil {
		return err
	}
	t.mute = t.gen.Offset
	t.e.mute = t.mute > t.fr.base
	for n := 0; ; n++ {
		if n&63 == 0 && ctx.Err() != nil {
			t.halted = true
			return t.flush(false)
		}
		u, ok := t.fr.next(t.e.s)
		if t.halted || !ok {
			break
		}
		if t.e.mute && t.at() > t.mute {
			t.unmute()
		}
		t.e.one(u)
		if err := t.step(); err != nil {
			return err
		}
	}
	if t.halted {
		return t.fr.err
	}
	if t.e.mute {
		t.unmute()
	}
	t.e.endPartial()
	t.e.release()
	t.complain()
	return t.flush(true)
}

// step hands on a full batch, or forgets one that was handed on before.
func (t *tail) step() error {
	e := t.e
	if len(e.batch.Calls) < t.f.g.cfg.BatchSize && e.nextUnit-e.batch.FirstUnit < 1<<14 {
		return nil
	}
	if e.mute {
		t.forget()
	} else if err := t.flush(false); err != nil {
		return err
	}
	t.f.yield() // others wait
	t.f.take()
	e.resume()
	return nil
}

// at is how much of the content is made into units.
func (t *tail) at() int64 { return t.fr.base + int64(t.fr.pos) }

// forget drops the calls of units that were accounted for before.
func (t *tail) forget() {
	e := t.e
	clear(e.batch.Calls)
	e.batch.Calls = e.batch.Calls[:0]
	clear(e.batch.Skipped)
	e.batch.FirstUnit = e.nextUnit
	t.f.b.texts.arena = nil
}

func (t *tail) unmute() {
	t.forget()
	t.e.mute = false
}

// rewind goes to where reading has to begin so that what follows the remembered
// place gets the ids that it would have had.
func (t *tail) rewind() error {
	from := t.gen.Offset - warmUp
	if from <= 0 || t.packed != nil {
		return nil
	}
	// Up to the next line.
	buf := make([]byte, 64<<10)
	for at := from; at < t.gen.Offset; {
		n, err := t.file.ReadAt(buf, at)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			from = at + int64(i) + 1
			break
		}
		if at += int64(n); err != nil {
			return fmt.Errorf("read %s: %w", t.in.Name, err)
		}
	}
	t.fr.base, t.pos = from, from
	t.head = make([]byte, headBytes)
	n, err := t.file.ReadAt(t.head, 0)
	t.head = t.head[:n]
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", t.in.Name, err)
	}
	return nil
}

// reading is the content of a followed file: at its end it waits for more.
type reading struct {
	t   *tail
	ctx context.Context
}

// Read returns io.EOF where the generation ends, and also where reading has to
// halt, which t.halted then says.
func (r *reading) Read(p []byte) (int, error) {
	t := r.t
	for {
		n, err := t.read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read %s: %w", t.in.Name, err)
			if failed := t.idle(); failed != nil {
				err = failed
			}
			t.halted = true
			return 0, err
		}
		if err := t.idle(); err != nil {
			t.halted = true
			return 0, err
		}
		if t.final {
			return 0, io.EOF
		}
		if over := t.wait(r.ctx); over {
			return 0, io.EOF
		}
	}
}

// read reads what follows, if the file still is what it was.
func (t *tail) read(p []byte) (int, error) {
	var n int
	var err error
	if t.packed != nil {
		n, err = t.content.Read(p)
	} else {
		if !t.same(t.file) {
			return 0, io.EOF
		}
		n, err = t.file.ReadAt(p, t.pos)
	}
	if n > 0 {
		t.pos += int64(n)
		t.grown = time.Now()
		if len(t.head) < headBytes {
			t.head = append(t.head, p[:min(n, headBytes-len(t.head))]...)
		}
		t.last = append(t.last, p[max(0, n-lastBytes):n]...)
		t.last = t.last[max(0, len(t.last)-lastBytes):]
		if !t.e.mute && t.packed == nil {
			if info, err := t.file.Stat(); err == nil {
				t.e.in.Modified = info.ModTime() // the year of times that have none
			}
		}
	}
	return n, err
}

// same reports whether the bytes before pos are those that were read.
func (t *tail) same(file *os.File) bool {
	if len(t.last) == 0 {
		return true
	}
	var buf [lastBytes]byte
	n, _ := file.ReadAt(buf[:len(t.last)], t.pos-int64(len(t.last)))
	return bytes.Equal(buf[:n], t.last)
}

// idle hands on what waits when there is nothing more to read for now.
func (t *tail) idle() error {
	e := t.e
	if e.mute {
		if t.at() < t.mute {
			return nil
		}
		t.unmute()
	}
	switch {
	case len(e.stages.order) == 0:
		t.held = time.Time{}
	case t.held.IsZero():
		t.held = time.Now()
	case time.Since(t.held) > heldLong:
		e.release()
		t.held = time.Time{}
	}
	t.complain()
	return t.flush(false)
}

// complain tells once of a file that is not understood.
func (t *tail) complain() {
	if t.warned || t.e.report.Units < 100 && !t.final {
		return
	}
	if err := t.e.report.unreadable(t.in.Format, ""); err != nil {
		t.warned = true
		t.f.report("format "+t.gen.Stream, err)
	}
}

// wait returns when there is more to read; true says that there never will be, or
// that t is halted. Others read meanwhile.
func (t *tail) wait(ctx context.Context) (over bool) {
	t.f.yield()
	defer func() { t.f.take(); t.e.resume() }()
	timer := time.NewTimer(t.f.cfg.Poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			t.halted = true
			return true
		case <-timer.C:
			timer.Reset(t.f.cfg.Poll)
		}
		info, err := t.file.Stat()
		if err != nil {
			t.f.report("stat "+t.gen.Stream, fmt.Errorf("look at %s: %w", t.in.Name, err))
			continue
		}
		t.f.mu.Lock()
		t.gen.size, t.looked = max(t.gen.size, info.Size()), time.Now()
		rotated, park := t.rotated, t.park
		t.f.mu.Unlock()
		switch {
		case info.Size() < t.pos || !t.same(t.file):
			return t.truncate()
		case info.Size() > t.pos:
			return false
		}
		if !t.held.IsZero() && time.Since(t.held) > heldLong {
			return false // calls have waited for a later stage long enough
		}
		still := time.Since(t.grown)
		if !rotated.IsZero() && still > t.f.cfg.Linger && time.Since(rotated) > t.f.cfg.Linger {
			return true
		}
		if park && still > quietScans*t.f.cfg.Scan {
			t.halted = true
			return true
		}
	}
}

// truncate goes on in the copy that was made before the file lost its content, or
// ends what it had.
func (t *tail) truncate() (over bool) {
	t.truncated = true
	t.f.mu.Lock()
	t.gen.Detached = true
	t.f.mu.Unlock()
	file := t.f.copyOf(t)
	if file == nil {
		// A compressed copy may still have the rest, and the end of a line that
		// was cut here: it goes on from what was acknowledged.
		t.halted = true
		return true
	}
	_ = t.file.Close()
	t.file, t.content, t.final = file, file, true
	return false
}

// flush hands on what was read, and remembers it once the sink has it.
func (t *tail) flush(done bool) error {
	e, f := t.e, t.f
	if e.mute {
		return nil
	}
	units := e.nextUnit - e.batch.FirstUnit
	f.mu.Lock()
	first := f.state.Units[t.gen.Stream]
	acknowledged := t.gen.Offset
	f.mu.Unlock()
	if units == 0 && !done {
		if at := t.at(); at > acknowledged {
			t.acknowledged(e.batch, first, 0)
		}
		return nil
	}
	batch := e.batch
	calls := uint64(len(batch.Calls))
	skipped := make(map[string]uint64, len(batch.Skipped))
	for reason, n := range batch.Skipped {
		skipped[reason] = n
	}
	batch.FirstUnit, batch.NextUnit, batch.Done = first, first+units, done
	batch.Input = e.in
	batch.Input.Format = e.chosen.name()
	if err := f.sink.Put(f.live, batch); err != nil {
		t.halted = true
		if f.live.Err() != nil {
			return fmt.Errorf("the calls of %s were not acknowledged in time: they are read again at the next start: %w", e.in.Name, err)
		}
		return &followError{fmt.Errorf("hand on calls of %s: %w", e.in.Name, err)}
	}
	t.acknowledged(&collector.Batch{Skipped: skipped}, first+units, calls)
	f.mu.Lock()
	f.stats.Units += units
	f.mu.Unlock()
	f.b.texts.arena = nil
	if calls >= uint64(f.g.cfg.BatchSize) {
		e.newBatch() // there is more where that came from
		return nil
	}
	e.batch = &collector.Batch{Input: e.in, FirstUnit: e.nextUnit, Skipped: map[string]uint64{}}
	return nil
}

// acknowledged remembers that the sink has everything up to here.
func (t *tail) acknowledged(batch *collector.Batch, next, calls uint64) {
	f, gen := t.f, t.gen
	f.mu.Lock()
	defer f.mu.Unlock()
	at := t.at()
	f.stats.Bytes += uint64(max(0, at-gen.Offset))
	gen.Offset, gen.Read, gen.Used = at, t.pos, time.Now().UTC()
	gen.HeadLength, gen.Head = len(t.head), f.sum("file head", t.head)
	gen.Last = f.sum("file last", t.last)
	f.state.Units[gen.Stream] = next
	f.state.dirty = true
	f.stats.Calls += calls
	f.stats.LastPut = time.Now()
	for reason, n := range batch.Skipped {
		f.stats.Skipped[reason] += n
	}
}
