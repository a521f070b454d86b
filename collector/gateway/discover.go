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
		case err == nil && !info.Mode().IsRegular():
			f.report("list "+path, fmt.Errorf("%s is neither a file nor a directory and cannot be followed: read it without --follow, as - on standard input", path))
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
	index := make(map[fileID]*generation, len(f.state.Files))
	for _, gen := range f.state.Files {
		if !gen.Detached {
			index[gen.fileID] = gen
		}
	}
	var known, others []*listed
	for i := range all {
		if index[all[i].id] != nil {
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
		f.consider(ctx, one, index)
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
func (f *Follower) consider(ctx context.Context, one *listed, index map[fileID]*generation) {
	size, modified := one.info.Size(), one.info.ModTime()
	f.mu.Lock()
	gen := index[one.id]
	if gen == nil || gen.fileID != one.id || gen.Detached {
		gen = f.generationOf(one.id) // something happened since the scan began
	}
	before, known := f.watch[one.id]
	same := known && before.size == size && before.modified.Equal(modified)
	f.watch[one.id] = watched{size: size, modified: modified, settled: same && before.settled, outgrown: before.outgrown}
	skip := size == 0 || gen != nil && gen.tail != nil || same && before.settled
	full := !skip && f.open() >= f.cfg.MaxOpen
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
