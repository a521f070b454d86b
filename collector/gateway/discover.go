package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/scopedrift/scopedrift/collector/redact"
)

// listed is a file that is there.
type listed struct {
	path, format string
	info         fs.FileInfo
	id           fileID
	// sibling is the path that was named, where nobody named the file itself: it
	// stands beside that one, and counts only as far as it continues it.
	sibling string
}

// watched is what was seen of a file that is not read now, so that it is looked
// at again only once it changes.
type watched struct {
	size     int64
	modified time.Time
	// settled says that the decision about it holds until it changes.
	settled bool
	// outgrown is since when it holds more than what it seems to be a copy of.
	outgrown time.Time
}

// maxListed bounds the files of one scan.
const maxListed = 1 << 16

func idOf(info fs.FileInfo) fileID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}
	}
	return fileID{uint64(st.Dev), st.Ino}
}

// list finds the files that the paths stand for now, the oldest first.
func (f *Follower) list() []listed {
	var all []listed
	seen := map[fileID]bool{}
	own := f.cfg.Checkpoint
	add := func(path, format, sibling string) {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || len(all) >= maxListed {
			return // gone just now, or a pipe
		}
		id := idOf(info)
		if seen[id] || own != "" && filepath.Clean(path) == filepath.Clean(own) {
			return
		}
		seen[id] = true
		all = append(all, listed{path, format, info, id, sibling})
	}
	var beside []listed
	for _, name := range f.cfg.Paths {
		format, path := f.g.splitFormat(name)
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			files, err := filesIn(path)
			if err != nil && !errors.Is(err, errNoFiles) {
				f.report("list "+path, err)
			}
			for _, in := range files {
				add(in.Name, format, "")
			}
			continue
		case err == nil:
			add(path, format, "")
		case strings.ContainsAny(path, "*?["):
			matches, err := filepath.Glob(path)
			if err != nil {
				f.report("list "+path, fmt.Errorf("the pattern %s: %w", path, err))
			}
			for _, match := range matches {
				add(match, format, "")
			}
		default:
			f.report("list "+path, fmt.Errorf("%w: waiting for the file", f.g.openError(name, err)))
		}
		beside = append(beside, listed{path: path, format: format})
	}
	for _, one := range beside {
		entries, err := os.ReadDir(filepath.Dir(one.path))
		if err != nil {
			continue
		}
		related := f.relatedTo(one.path)
		for _, entry := range entries {
			path := filepath.Join(filepath.Dir(one.path), entry.Name())
			if !strings.HasPrefix(entry.Name(), ".") && (strings.ContainsAny(one.path, "*?[") || f.relatedTo(path) == related) {
				add(path, one.format, one.path)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b listed) int { return a.info.ModTime().Compare(b.info.ModTime()) })
	return all
}

// scan looks through the paths once: it starts what is new or has grown, tells
// tails whose file was renamed, and forgets what is gone.
func (f *Follower) scan(ctx context.Context) {
	all := f.list()
	there := make(map[fileID]bool, len(all))
	names := make(map[string]fileID, len(all))
	for i := range all {
		there[all[i].id] = true
		names[all[i].path] = all[i].id
	}
	f.mu.Lock()
	for id := range f.watch {
		if !there[id] {
			delete(f.watch, id)
		}
	}
	for _, gen := range f.state.Files {
		if t := gen.tail; t != nil && t.rotated.IsZero() {
			if id, ok := names[t.path]; !ok || id != gen.fileID {
				t.rotated = time.Now()
			}
		}
	}
	// What was read before comes first: a copy is then known as one.
	var known, others []*listed
	for i := range all {
		if f.generationOf(all[i].id) != nil {
			known = append(known, &all[i])
		} else {
			others = append(others, &all[i])
		}
	}
	f.mu.Unlock()
	for _, one := range append(known, others...) {
		if ctx.Err() != nil {
			return
		}
		f.consider(ctx, one)
	}
}

// generationOf returns what a file holds, nil if it is not known. The caller
// holds mu.
func (f *Follower) generationOf(id fileID) *generation {
	for _, gen := range slices.Backward(f.state.Files) {
		if gen.fileID == id && !gen.Detached {
			return gen
		}
	}
	return nil
}

// consider decides about one file that is there.
func (f *Follower) consider(ctx context.Context, one *listed) {
	size, modified := one.info.Size(), one.info.ModTime()
	f.mu.Lock()
	gen := f.generationOf(one.id)
	before, known := f.watch[one.id]
	same := known && before.size == size && before.modified.Equal(modified)
	f.watch[one.id] = watched{size: size, modified: modified, settled: same && before.settled, outgrown: before.outgrown}
	skip := size == 0 || gen != nil && gen.tail != nil || same && before.settled
	full := f.open() >= f.cfg.MaxOpen
	f.mu.Unlock()
	if skip {
		return
	}
	if full {
		f.makeRoom()
		return
	}
	settled, err := f.open1(ctx, one, gen, same)
	if err != nil {
		f.report("open "+f.streamOf(one.path), err)
		settled = same
	}
	if settled {
		f.mu.Lock()
		f.watch[one.id] = watched{size: size, modified: modified, settled: true}
		f.mu.Unlock()
	}
}

// open counts the files that are read. The caller holds mu.
func (f *Follower) open() int {
	n := 0
	for _, gen := range f.state.Files {
		if gen.tail != nil {
			n++
		}
	}
	return n
}

// makeRoom asks those that have been still to give up their places.
func (f *Follower) makeRoom() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, gen := range f.state.Files {
		if gen.tail != nil && gen.tail.packed == nil {
			gen.tail.park = true
		}
	}
}

// open1 opens a file that is new, or has changed since it was read, and starts
// reading it if it holds anything that was not read. Gen is what was read of it
// under this id. Settled says that there is nothing to do until it changes.
func (f *Follower) open1(ctx context.Context, one *listed, gen *generation, still bool) (settled bool, err error) {
	file, info, err := openFile(one.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // renamed just now: the next scan finds it
		}
		return false, err
	}
	started := false
	defer func() {
		if !started {
			_ = file.Close()
		}
	}()
	if idOf(info) != one.id {
		return false, nil // replaced just now
	}
	head := make([]byte, headBytes)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", one.path, err)
	}
	head = head[:n]
	if n < 16 && !still {
		return false, nil // it is not clear yet what it is
	}
	switch {
	case IsCapture(head):
		return true, fmt.Errorf("%s is a packet capture, which is not followed: read it with scopedrift scan or collect pcap", one.path)
	case compressed(head):
		if !still {
			return false, nil // it is still being written
		}
		started, settled, err = f.openPacked(ctx, one, gen, file, info)
		return settled, err
	}
	if what := foreign(head); what != "" {
		return true, fmt.Errorf("%s cannot be followed: it is %s; %s", one.path, what, foreignRemedy(what))
	}
	var state knowledge
	gen, state = f.known(one, gen, head, false, func(gen *generation) (int64, bool) {
		return info.Size(), f.continues(gen, file, head)
	})
	switch state {
	case copied:
		f.mu.Lock()
		defer f.mu.Unlock()
		return still && gen.tail == nil, nil
	case unknown:
		if gen = f.newGeneration(one, false); gen == nil {
			return still, nil
		}
	}
	started = true
	f.start(ctx, f.begin(gen, one, state), one, file, nil, head)
	return true, nil
}

// compressed reports whether a file that begins with head is.
func compressed(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x1f, 0x8b}) || bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd})
}

// knowledge is what is known of a file's content.
type knowledge uint8

const (
	// unknown content was never read.
	unknown knowledge = iota
	// copied content is being read, or was read to its end, elsewhere.
	copied
	// resumed content was read in part.
	resumed
)

// known finds out whether a file's content was read before: under its own id, or
// as another file that it is a copy, a new name or a compressed form of.
// Continues says whether the file begins with everything that was read of a
// generation, and how much content it has.
func (f *Follower) known(one *listed, own *generation, head []byte, packed bool, continues func(*generation) (int64, bool)) (*generation, knowledge) {
	if own != nil {
		if size, ok := continues(own); ok {
			if size <= own.Offset {
				return own, copied
			}
			return own, resumed
		}
		f.mu.Lock()
		own.Detached = true // truncated while nobody looked, or a new file in the old place
		f.state.dirty = true
		f.mu.Unlock()
	}
	related := f.relatedTo(one.path)
	f.mu.Lock()
	var candidates []*generation
	for _, gen := range f.state.Files {
		if gen != own && gen.Related == related && (gen.HeadLength > 0 || gen.tail != nil) {
			candidates = append(candidates, gen)
		}
	}
	f.mu.Unlock()
	for _, gen := range slices.Backward(candidates) {
		f.mu.Lock()
		active := gen.tail
		f.mu.Unlock()
		switch {
		case active != nil:
			// A copy that is being made, or waits for the original's truncation.
			// One that outgrows the original is a log of its own.
			if f.sameHead(active, head) && (packed || !f.outgrown(gen, one)) {
				return gen, copied
			}
		default:
			size, ok := continues(gen)
			if ok && size <= gen.Offset {
				f.alias(gen, one)
				return gen, copied
			}
			if ok {
				return gen, resumed
			}
		}
	}
	return nil, unknown
}

// sameHead reports whether what is being read begins as head does.
func (f *Follower) sameHead(t *tail, head []byte) bool {
	f.take() // nobody reads meanwhile
	defer f.yield()
	begins := t.begins
	if len(t.head) > len(begins) {
		begins = t.head
	}
	n := min(len(begins), len(head))
	return n > 0 && bytes.Equal(begins[:n], head[:n])
}

// outgrown reports whether a file holds more than the one that is being read and
// that it seems to be a copy of: it is no copy then. The original may have been
// truncated since, which is known once it was looked at.
func (f *Follower) outgrown(gen *generation, one *listed) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.watch[one.id]
	if one.info.Size() <= max(gen.size, gen.Read) || gen.tail == nil {
		w.outgrown = time.Time{}
	} else if w.outgrown.IsZero() {
		w.outgrown = time.Now()
	}
	f.watch[one.id] = w
	return !w.outgrown.IsZero() && gen.tail.looked.After(w.outgrown.Add(f.cfg.Scan))
}

// alias remembers that a file holds nothing but what was read already.
func (f *Follower) alias(gen *generation, one *listed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if gen.fileID == one.id {
		return
	}
	f.stats.Copies++
	for _, other := range f.state.Files {
		if other.fileID == one.id && !other.Detached {
			return
		}
	}
	same := *gen
	same.fileID, same.tail, same.Detached, same.Done, same.Used = one.id, nil, false, true, time.Now().UTC()
	f.state.Files = append(f.state.Files, &same)
	f.state.dirty = true
}

// continues reports whether a file begins with everything that was read of a
// generation, by its digests.
func (f *Follower) continues(gen *generation, file io.ReaderAt, head []byte) bool {
	f.mu.Lock()
	g := *gen
	f.mu.Unlock()
	if g.Read == 0 {
		return true
	}
	if len(head) < g.HeadLength || f.sum("file head", head[:g.HeadLength]) != g.Head {
		return false
	}
	last := make([]byte, min(lastBytes, g.Read))
	n, _ := file.ReadAt(last, g.Read-int64(len(last)))
	return n == len(last) && f.sum("file last", last) == g.Last
}

// newGeneration makes one for a file whose content is new. It returns nil for a
// file beside the one that was named, unless it was rotated away from there since
// that was last read.
func (f *Follower) newGeneration(one *listed, packed bool) *generation {
	path := one.path
	if one.sibling != "" {
		path = one.sibling
		if !rotatedFrom(one.path, path) || !one.info.ModTime().After(f.lastRead(f.streamOf(path))) {
			return nil
		}
	}
	return &generation{
		fileID: one.id, Stream: f.streamOf(path), Related: f.relatedTo(path), Compressed: packed, Used: time.Now().UTC(),
		Name: f.nameOf(path),
	}
}

// nameOf is a path as it may be told.
func (f *Follower) nameOf(path string) string {
	return string(redact.NewScrubber(f.g.cfg.Key).Resource([]byte(path)))
}

// rotatedFrom reports whether a file's name is made of another's: access.log.1,
// access.log-20260301 or access-2026-03-01.log of access.log.
func rotatedFrom(name, of string) bool {
	name, of = filepath.Base(name), filepath.Base(of)
	stem := strings.TrimSuffix(of, filepath.Ext(of))
	rest, ok := strings.CutPrefix(name, of)
	if !ok {
		rest, ok = strings.CutPrefix(name, stem)
	}
	return ok && rest != "" && strings.ContainsAny(rest[:1], ".-_")
}

// lastRead is when something of a stream was last read; far ahead if it never was.
func (f *Follower) lastRead(stream string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, never := time.Time{}, true
	for _, gen := range f.state.Files {
		if gen.Stream == stream && gen.Used.After(last) && gen.Offset > 0 {
			last, never = gen.Used, false
		}
	}
	if never {
		return time.Now().AddDate(100, 0, 0)
	}
	return last
}

// begin notes that a generation is read in a file from now on. If that is not the
// file it was in, it goes on as a generation of that one.
func (f *Follower) begin(gen *generation, one *listed, state knowledge) *generation {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state == resumed {
		f.stats.Resumed++
	}
	if gen.fileID != one.id {
		gen.Done = true
		next := *gen
		gen = &next
	}
	gen.fileID, gen.Detached, gen.Done, gen.size = one.id, false, false, one.info.Size()
	if !slices.Contains(f.state.Files, gen) {
		f.state.Files = append(f.state.Files, gen)
	}
	f.state.dirty = true
	return gen
}

// openPacked reads a compressed file, if it holds more than was read before.
func (f *Follower) openPacked(ctx context.Context, one *listed, gen *generation, file *os.File, info fs.FileInfo) (started, settled bool, err error) {
	if gen != nil && gen.Done && gen.Size == info.Size() && gen.Modified.Equal(info.ModTime()) {
		return false, true, nil
	}
	unpack := func() (*stream, error) {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read %s: %w", one.path, err)
		}
		s := &stream{}
		s.unpack(file)
		return s, nil
	}
	s, err := unpack()
	if err != nil {
		return false, true, err
	}
	head, _ := bufio.NewReaderSize(s, headBytes).Peek(headBytes)
	s.close()
	if len(head) == 0 {
		return false, true, nil
	}
	if IsCapture(head) {
		return false, true, fmt.Errorf("%s is a packet capture, which is not followed: read it with scopedrift scan or collect pcap", one.path)
	}
	gen, state := f.known(one, gen, head, true, func(gen *generation) (int64, bool) {
		s, err := unpack()
		if err != nil {
			return 0, false
		}
		defer s.close()
		return f.continuesPacked(gen, s, head)
	})
	switch {
	case state == copied:
		f.mu.Lock()
		defer f.mu.Unlock()
		return false, gen.tail == nil, nil
	case state == unknown:
		if gen = f.newGeneration(one, true); gen == nil {
			return false, true, nil
		}
	}
	if s, err = unpack(); err != nil {
		return false, true, err
	}
	gen = f.begin(gen, one, state)
	f.mu.Lock()
	gen.Compressed, gen.Size, gen.Modified = true, info.Size(), info.ModTime()
	f.mu.Unlock()
	f.start(ctx, gen, one, file, s, head)
	return true, true, nil
}

// continuesPacked is continues for a stream, which it reads to its end.
func (f *Follower) continuesPacked(gen *generation, r io.Reader, head []byte) (size int64, ok bool) {
	f.mu.Lock()
	g := *gen
	f.mu.Unlock()
	if g.Read == 0 {
		return 1, true
	}
	if len(head) < g.HeadLength || f.sum("file head", head[:g.HeadLength]) != g.Head {
		return 0, false
	}
	last := make([]byte, min(lastBytes, g.Read))
	if _, err := io.CopyN(io.Discard, r, g.Read-int64(len(last))); err != nil {
		return 0, false
	}
	if _, err := io.ReadFull(r, last); err != nil || f.sum("file last", last) != g.Last {
		return 0, false
	}
	rest, _ := io.Copy(io.Discard, r) // a broken end is found by who reads it
	return g.Read + rest, true
}

// copyOf finds the copy that was made of a file before it was truncated: it
// begins with everything that was read. The generation is then that file's. The
// caller has no turn.
func (f *Follower) copyOf(t *tail) *os.File {
	for _, one := range f.list() {
		if one.id == t.gen.fileID || f.relatedTo(one.path) != t.gen.Related || one.info.Size() < t.pos {
			continue
		}
		file, _, err := openFile(one.path)
		if err != nil {
			continue
		}
		head := make([]byte, len(t.head))
		if n, _ := file.ReadAt(head, 0); n == len(t.head) && bytes.Equal(head, t.head) && t.same(file) {
			f.mu.Lock()
			t.gen.fileID, t.gen.Detached, t.gen.size = one.id, false, one.info.Size()
			f.mu.Unlock()
			return file
		}
		_ = file.Close()
	}
	return nil
}
