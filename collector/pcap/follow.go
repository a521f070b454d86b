package pcap

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Directory is a Source of captures that are written into a directory one after
// another, as tcpdump -G and -C do. Files are read in the order of their last
// change; the newest is read as it grows, until a newer one appears. One that grows
// on then, as where several captures are written at a time, is read on from where it
// was left, under another name too. Connections
// go on from file to file. Packed files (.gz, .zst) are read once they are
// whole; a file that was read unpacked is not read again packed.
type Directory struct {
	// Complain, if set, is told of each file that could not be read, or not to its
	// end. It is called by Next.
	Complain func(file string, err error)

	path string
	// poll is how often to look for more.
	poll time.Duration
	read map[string]fs.FileInfo // names without suffix of packing, and as what
	lost map[string]uint64
	// packed are the packed files that were seen, by path.
	packed map[string]packedFile

	file   *growing
	reader recordReader
	// left are the files that were read to their end for now, the newest last.
	left []leftFile
}

// leftFile is a file that may go on.
type leftFile struct {
	file   *growing
	reader recordReader
	since  time.Time
	// cut is the error with which its last packet ends too early, if it does.
	cut error
}

// maxLeft bounds the files that are kept open to be read on; leftFor is for how many
// looks.
const (
	maxLeft = 16
	leftFor = 40
)

// Reasons under which a Directory counts what it could not read.
const (
	lostFile    = "capture_file_unreadable"
	lostDamaged = "capture_file_damaged"
)

// NewDirectory returns a Source of the captures in a directory, those that are
// there already included. It does nothing yet.
func NewDirectory(path string) *Directory {
	return &Directory{path: path, poll: 250 * time.Millisecond, read: map[string]fs.FileInfo{}, lost: map[string]uint64{}, packed: map[string]packedFile{}}
}

// Lost returns how many files could not be read, or not to their end, since it
// was asked last.
func (d *Directory) Lost() map[string]uint64 {
	d.lostInFile(d.reader)
	lost := d.lost
	d.lost = map[string]uint64{}
	return lost
}

// Next returns the next packet of the directory. See [Source].
func (d *Directory) Next(ctx context.Context, p *Packet, idle func() error) error {
	for {
		if d.reader == nil {
			opened, err := d.open(ctx, idle)
			if err != nil {
				return err
			}
			if !opened {
				if err := d.wait(ctx, idle); err != nil {
					return err
				}
			}
			continue
		}
		var rec record
		err := d.reader.next(&rec)
		switch {
		case err == nil:
			p.Data, p.Nanos, p.Link, p.Length = rec.data, rec.nanos, uint32(rec.link), rec.wire
			return nil
		case d.file.failed != nil:
			return d.file.failed
		case errors.Is(err, errTooLong):
			d.lost[reasonTooLong]++
			continue
		case d.file.whole && errors.Is(err, io.EOF):
			d.close()
		case errors.Is(err, io.EOF):
			d.leave(nil)
		case errors.Is(err, errCut) && !d.file.whole:
			d.leave(err)
		default:
			// Damaged, or packed and cut off in its last packet.
			d.complain(lostDamaged, d.file.path, err)
			d.close()
		}
	}
}

// leave puts a file aside that may go on. cut says how its last packet ends too early.
func (d *Directory) leave(cut error) {
	d.lostInFile(d.reader)
	d.left = append(d.left, leftFile{d.file, d.reader, time.Now(), cut})
	d.file, d.reader = nil, nil
}

// forget closes the files that were left long ago, or are too many.
func (d *Directory) forget(all bool) {
	for len(d.left) > 0 && (all || len(d.left) > maxLeft || time.Since(d.left[0].since) > leftFor*d.poll) {
		if f := d.left[0]; f.cut != nil {
			d.complain(lostDamaged, f.file.path, f.cut)
		}
		_ = d.left[0].file.file.Close()
		d.left = slices.Delete(d.left, 0, 1)
	}
}

// resume goes on with a file that was left, if f is one and says the same as then.
func (d *Directory) resume(f *captureFile) bool {
	for i, l := range d.left {
		if !os.SameFile(l.file.info, f.info) {
			continue
		}
		d.left = slices.Delete(d.left, i, i+1)
		now := make([]byte, len(l.file.head))
		if n, _ := l.file.file.ReadAt(now, 0); f.info.Size() < l.file.at || !bytes.Equal(now[:n], l.file.head) {
			// Begun anew under the same name: what is read of it belongs to another.
			if l.cut != nil {
				d.complain(lostDamaged, l.file.path, l.cut)
			}
			_ = l.file.file.Close()
			return false
		}
		d.file, d.reader = l.file, l.reader
		d.file.path, d.file.name = f.path, f.name
		d.read[f.name] = f.info
		return true
	}
	return false
}

// lostInFile takes over what a file says that it lost.
func (d *Directory) lostInFile(r recordReader) {
	if ng, ok := r.(*ngReader); ok {
		if n := ng.lost(); n > 0 {
			d.lost[lostInKernel] += n
		}
	}
}

func (d *Directory) complain(reason, file string, err error) {
	d.lost[reason]++
	if d.Complain != nil {
		d.Complain(file, err)
	}
}

func (d *Directory) close() {
	d.lostInFile(d.reader)
	_ = d.file.file.Close()
	d.file, d.reader = nil, nil
}

func (d *Directory) wait(ctx context.Context, idle func() error) error {
	timer := time.NewTimer(d.poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	if err := idle(); err != nil {
		return err
	}
	return ctx.Err()
}

// captureFile is a file of the directory.
type captureFile struct {
	path, name string // name is without the suffix of packing
	packed     string
	info       fs.FileInfo
}

func (f *captureFile) changed() time.Time { return f.info.ModTime() }

// packedFile is how large a packed file was, and since when.
type packedFile struct {
	size  int64
	since time.Time
}

// wholeAfter is for how many looks a packed file must keep its size to be whole.
const wholeAfter = 4

// whole reports whether a packed file is written to its end, as far as one can tell.
func (d *Directory) whole(path string, info fs.FileInfo) bool {
	if seen, known := d.packed[path]; known && seen.size == info.Size() {
		return time.Since(seen.since) >= wholeAfter*d.poll
	}
	d.packed[path] = packedFile{info.Size(), time.Now()}
	return false
}

// files returns the files that were not read yet, oldest first.
func (d *Directory) files() ([]captureFile, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("follow captures: %w; check that the directory exists and may be read", err)
	}
	var found []captureFile
	present := map[string]bool{}
	for _, entry := range entries {
		name := entry.Name()
		f := captureFile{path: filepath.Join(d.path, name), name: name}
		for _, suffix := range []string{".gz", ".zst"} {
			if base, ok := strings.CutSuffix(name, suffix); ok {
				f.name, f.packed = base, suffix
			}
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(name, ".") {
			continue
		}
		present[f.name] = true
		f.info = info
		if d.file != nil && d.file.path == f.path {
			continue
		}
		if read, known := d.read[f.name]; known && (f.packed != "" || !rewritten(read, info)) {
			continue
		}
		if f.packed != "" && !d.whole(f.path, info) {
			continue
		}
		found = append(found, f)
	}
	for name, read := range d.read {
		if present[name] {
			continue
		}
		delete(d.read, name) // a ring of files (-W) comes back to old names
		// It may be there under another name.
		for i := range found {
			if f := &found[i]; f.packed == "" && os.SameFile(f.info, read) && f.info.Size() == read.Size() && f.changed().Equal(read.ModTime()) {
				d.read[f.name] = read
				found = slices.Delete(found, i, i+1)
				break
			}
		}
	}
	for path := range d.packed {
		if base := filepath.Base(path); !present[strings.TrimSuffix(base, filepath.Ext(base))] {
			delete(d.packed, path)
		}
	}
	slices.SortFunc(found, func(a, b captureFile) int {
		return cmp.Or(a.changed().Compare(b.changed()), cmp.Compare(a.name, b.name))
	})
	return found, nil
}

// rewritten reports whether a file was written to since it was read, or begun anew:
// tcpdump -W writes its names in a ring.
func rewritten(read, info fs.FileInfo) bool {
	return info.ModTime().After(read.ModTime()) || info.Size() > read.Size()
}

// open opens the oldest file that was not read, if there is one.
func (d *Directory) open(ctx context.Context, idle func() error) (bool, error) {
	files, err := d.files()
	if err != nil || len(files) == 0 {
		d.forget(false)
		return false, err
	}
	f := files[0]
	// Before any is forgotten: what goes on late would be read a second time.
	if f.packed == "" && d.resume(&f) {
		return true, nil
	}
	d.forget(false)
	file, err := os.Open(f.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.complain(lostFile, f.path, err)
		}
		d.read[f.name] = f.info
		return true, nil
	}
	d.read[f.name] = f.info
	d.file = &growing{directory: d, ctx: ctx, idle: idle, file: file, path: f.path, name: f.name, info: f.info}
	var r io.Reader = d.file
	switch f.packed {
	case ".gz":
		d.file.whole = true
		r, err = gzip.NewReader(d.file)
	case ".zst":
		d.file.whole = true
		var z *zstd.Decoder
		if z, err = zstd.NewReader(d.file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20)); err == nil {
			r = z.IOReadCloser()
		}
	}
	if err == nil {
		d.reader, err = newRecordReader(r)
	}
	if err != nil {
		failed := d.file.failed
		if d.file.at > 0 { // else nothing was written to it yet, and nothing is lost
			d.complain(lostFile, f.path, err)
		}
		d.close()
		return true, failed
	}
	return true, nil
}

// growing reads a file that may still be written: at its end it waits until there
// is more, or another file was begun.
type growing struct {
	directory  *Directory
	ctx        context.Context
	idle       func() error
	file       *os.File
	path, name string
	info       fs.FileInfo // as it was when it was opened
	whole      bool
	failed     error // why waiting ended
	at         int64
	// head is how it begins, to know it again.
	head []byte
}

// headToKnow is how much of the beginning of a file suffices to know it again: the
// first packet's time stands in it.
const headToKnow = 512

func (g *growing) Read(p []byte) (int, error) {
	for last := false; ; {
		// Before the reading: what is written after it shows.
		info, statErr := g.file.Stat()
		n, err := g.file.Read(p)
		if g.at == int64(len(g.head)) && len(g.head) < headToKnow {
			g.head = append(g.head, p[:min(n, headToKnow-len(g.head))]...)
		}
		g.at += int64(n)
		if statErr == nil && info.Size() >= g.at { // else it was begun anew
			g.directory.read[g.name] = info
		}
		if n > 0 || err != io.EOF || g.whole || last {
			return n, err
		}
		files, err := g.directory.files()
		if err != nil {
			g.failed = err
			return 0, err
		}
		if info, err := os.Stat(g.path); err != nil || info.Size() < g.at {
			return 0, io.EOF // removed, or begun anew under the same name
		} else if len(files) > 0 {
			// Perhaps nothing is written here any more; one more look, since the end
			// may have come between the two.
			last = true
			continue
		}
		if err := g.directory.wait(g.ctx, g.idle); err != nil {
			g.failed = err
			return 0, err
		}
	}
}
