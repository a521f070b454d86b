package gateway

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/scopedrift/scopedrift/collector/redact"
)

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
		if !rotatedFrom(one.path, path) || !one.info.ModTime().After(f.since(f.streamOf(path))) {
			return nil
		}
	}
	f.mu.Lock()
	if stream := f.streamOf(path); f.from[stream].IsZero() {
		f.from[stream] = time.Now()
	}
	f.mu.Unlock()
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

// since is from when on a file that was rotated away from a path belongs to its
// stream: since an earlier run last read something, or this one saw the path. It
// is far ahead for a path that was never seen.
func (f *Follower) since(stream string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from, ok := f.from[stream]; ok {
		return from
	}
	return time.Now().AddDate(100, 0, 0)
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
