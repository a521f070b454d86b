package gateway

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// fileID is a file's place on the disk.
type fileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// generation is the content of one log file from its creation, or its
// truncation, to its end. All positions are bytes of content, after
// decompression.
type generation struct {
	fileID
	// Name is the input that it belongs to, redacted, and Stream a keyed digest of
	// that path: the units of all generations of a stream are numbered through.
	// Related is one of its directory and the letters of its name, which
	// rotation leaves as they are.
	Name    string `json:"name"`
	Stream  string `json:"stream"`
	Related string `json:"related"`
	// Offset is how far the sink has acknowledged. Read is how far the file had
	// been read then, which is not less.
	Offset int64 `json:"offset"`
	Read   int64 `json:"read"`
	// Head is a keyed digest of the first HeadLength bytes, Last one of the
	// lastBytes before Read. Together they know the content anywhere.
	Head       string `json:"head"`
	HeadLength int    `json:"head_length"`
	Last       string `json:"last"`
	// Done says that it was read to its end. Of a Compressed one, Size and
	// Modified are what it looked like on disk then.
	Done       bool      `json:"done,omitempty"`
	Compressed bool      `json:"compressed,omitempty"`
	Size       int64     `json:"size,omitempty"`
	Modified   time.Time `json:"modified,omitzero"`
	// Detached says that its place on the disk holds other content by now.
	Detached bool `json:"detached,omitempty"`
	// Used is when something was last read of it.
	Used time.Time `json:"used"`

	// tail is who reads it now, nil for nobody; size how large it was last.
	tail *tail
	size int64
}

// ledgerOfFiles is what a checkpoint holds.
type ledgerOfFiles struct {
	Version int `json:"version"`
	// Units is how many units of each stream were acknowledged.
	Units map[string]uint64 `json:"units"`
	Files []*generation     `json:"files"`

	dirty bool
}

const (
	checkpointVersion = 1
	// headBytes and lastBytes are how much of a file is remembered by digest.
	headBytes = 1024
	lastBytes = 256
	// The bounds of what is remembered of files that are no longer there.
	keepEnded   = 4096
	keepEndedOf = 14 * 24 * time.Hour
)

// sum is a keyed digest, so that a checkpoint tells nothing of what it is of.
func (f *Follower) sum(label string, parts ...[]byte) string {
	s := f.g.cfg.Key.Sum(label, parts...)
	return hex.EncodeToString(s[:])
}

func (f *Follower) streamOf(path string) string { return f.sum("followed file", []byte(path)) }

// relatedTo names what rotation may make of a path: the same directory, and the
// same name but for numbers, marks, and the endings of copies and compression.
func (f *Follower) relatedTo(path string) string {
	dir, name := filepath.Split(path)
	name = strings.ToLower(name)
	for _, end := range []string{".gz", ".zst", ".zstd", ".old", ".bak", ".copy", ".tmp"} {
		name = strings.TrimSuffix(name, end)
	}
	letters := bytes.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789.-_:+tz", r) { // t and z: of times
			return -1
		}
		return r
	}, []byte(name))
	return f.sum("related files", []byte(filepath.Clean(dir)), letters)
}

func (f *Follower) loadCheckpoint() (ledgerOfFiles, error) {
	empty := ledgerOfFiles{Version: checkpointVersion, Units: map[string]uint64{}}
	if f.cfg.Checkpoint == "" {
		return empty, nil
	}
	data, err := os.ReadFile(f.cfg.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("read the checkpoint: %w", err)
	}
	state := ledgerOfFiles{}
	if err := json.Unmarshal(data, &state); err != nil {
		return empty, fmt.Errorf("the checkpoint %s is damaged (%w): remove it to read all files from their beginning; "+
			"calls that were stored before are known by their ids", f.cfg.Checkpoint, err)
	}
	if state.Version != checkpointVersion {
		return empty, fmt.Errorf("the checkpoint %s has version %d, and this release reads %d: use the release that wrote it, "+
			"or remove it to read all files from their beginning", f.cfg.Checkpoint, state.Version, checkpointVersion)
	}
	if state.Units == nil {
		state.Units = map[string]uint64{}
	}
	state.Files = slices.DeleteFunc(state.Files, func(gen *generation) bool { return gen == nil })
	for _, gen := range state.Files {
		gen.Offset, gen.Read = max(0, gen.Offset), max(0, gen.Offset, gen.Read)
		gen.HeadLength = min(max(0, gen.HeadLength), headBytes)
	}
	return state, nil
}

// saveCheckpoint writes what was acknowledged, whole or not at all.
func (f *Follower) saveCheckpoint() error {
	f.mu.Lock()
	if !f.state.dirty || f.cfg.Checkpoint == "" {
		f.mu.Unlock()
		return nil
	}
	f.forget()
	data, err := json.Marshal(&f.state)
	f.state.dirty = false
	f.mu.Unlock()
	if err == nil {
		err = replaceFile(f.cfg.Checkpoint, data)
	}
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w; give --checkpoint a file in a directory that can be written", err)
	}
	return nil
}

// forget drops files that ended long ago, and the oldest of too many.
func (f *Follower) forget() {
	files := f.state.Files
	for i, over := 0, len(files)-keepEnded; i < len(files); {
		gen := files[i]
		_, listed := f.watch[gen.fileID]
		if gone := !listed && gen.tail == nil; gone && (over > 0 || time.Since(gen.Used) > keepEndedOf) {
			files = slices.Delete(files, i, i+1)
			over--
			continue
		}
		i++
	}
	f.state.Files = files
}

// replaceFile writes a file beside and puts it in the place.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	if d, err := os.Open(dir); err == nil {
		// Not every file system can sync a directory: the content is safe anyhow.
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}
