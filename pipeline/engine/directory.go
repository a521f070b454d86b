package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names inside a data directory. Whatever else stands there belongs to others
// and is left alone.
const (
	markerName  = "scopedrift-store.json" // makes the directory ours
	runningName = "engine.json"           // where that engine listens
	dataName    = "clickhouse"            // ClickHouse's own files
)

// layout is the version of that arrangement.
const layout = 1

// socketPrefix begins the name of the private directory of every socket.
const socketPrefix = "scopedrift-engine-"

type marker struct {
	Store  string `json:"store"`
	Layout int    `json:"layout"`
}

// Running is a live engine, as it announces itself in its data directory.
type Running struct {
	PID      int       `json:"pid"`
	Socket   string    `json:"socket"`
	Address  string    `json:"address,omitempty"` // TCP, if it listens there as well
	Version  string    `json:"version"`           // ClickHouse's
	Started  time.Time `json:"started"`
	Protocol int       `json:"protocol"` // between commands and engine
}

// protocol is the version of leases and announcements.
const protocol = 1

// Claim is a data directory that this process owns. The engine program holds
// it. The kernel's lock is on the directory itself, so that nothing has to be
// written to find out whose it is; it ends with the process, however that ends.
type Claim struct {
	dir  string
	lock *os.File
}

// ClaimDirectory makes dir this process's own, creating it if it does not exist.
// It refuses a directory with foreign content, one of a later version, and one
// that another engine owns.
func ClaimDirectory(dir string) (*Claim, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fileError("find", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fileError("create the data directory", dir, err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fileError("open the data directory", dir, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, inUse(dir)
		}
		return nil, fileError("lock", dir, err)
	}
	if err := checkOurs(dir); err != nil {
		_ = lock.Close()
		return nil, err
	}
	c := &Claim{dir: dir, lock: lock}
	c.removeLeftovers()
	if err := os.MkdirAll(c.DataPath(), 0o700); err != nil {
		_ = lock.Close()
		return nil, fileError("create", c.DataPath(), err)
	}
	return c, nil
}

// checkOurs looks for the marker, and sets it in a directory without content.
func checkOurs(dir string) error {
	path := filepath.Join(dir, markerName)
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		var m marker
		if json.Unmarshal(data, &m) != nil || m.Store != "scopedrift" {
			return &Error{Kind: ForeignDirectory, Text: fmt.Sprintf("%s is not a marker of scopedrift", path),
				Remedy: "choose another data directory, or remove that file if the directory is a store of scopedrift"}
		}
		if m.Layout > layout {
			return &Error{Kind: NewerStore, Text: fmt.Sprintf("%s was made by a later version of scopedrift (layout %d, this one knows %d)", dir, m.Layout, layout),
				Remedy: "use that version, or choose another data directory"}
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fileError("read", path, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fileError("read the data directory", dir, err)
	}
	for _, e := range entries {
		if e.Name() == "lost+found" { // every fresh file system has one
			continue
		}
		if strings.HasPrefix(e.Name(), "."+markerName+"-") { // a marker that was cut short
			_ = os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		return &Error{Kind: ForeignDirectory, Text: fmt.Sprintf("%s is not empty and not a store of scopedrift (it holds %q)", dir, e.Name()),
			Remedy: "choose an empty or new directory: scopedrift does not mix its files with others"}
	}
	data, err = json.Marshal(marker{Store: "scopedrift", Layout: layout})
	if err != nil {
		return err
	}
	if err := writeWhole(path, data); err != nil {
		return fileError("write", path, err)
	}
	return nil
}

// writeWhole writes a file so that readers see all of it or nothing.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func inUse(dir string) *Error {
	who := "another engine"
	if r, ok := readRunning(dir); ok {
		who = fmt.Sprintf("another engine (process %d)", r.PID)
	}
	return &Error{Kind: DirectoryInUse, Text: fmt.Sprintf("%s is in use by %s", dir, who),
		Remedy: "wait until the other command has ended, or choose another data directory"}
}

func readRunning(dir string) (Running, bool) {
	var r Running
	data, err := os.ReadFile(filepath.Join(dir, runningName))
	if err != nil || json.Unmarshal(data, &r) != nil || r.Socket == "" {
		return Running{}, false
	}
	return r, true
}

// DataPath is where ClickHouse's own files are.
func (c *Claim) DataPath() string { return filepath.Join(c.dir, dataName) }

// Announce tells other commands where the engine listens.
func (c *Claim) Announce(r Running) error {
	r.Protocol = protocol
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, runningName)
	if err := writeWhole(path, data); err != nil {
		return fileError("write", path, err)
	}
	return nil
}

// removeLeftovers clears what an engine that was killed left behind: its
// announcement and its socket.
func (c *Claim) removeLeftovers() {
	r, ok := readRunning(c.dir)
	if !ok {
		return
	}
	removeSocket(r.Socket)
	_ = os.Remove(filepath.Join(c.dir, runningName))
}

// removeSocket removes a socket and its private directory, and nothing else:
// the path may come from a file.
func removeSocket(socket string) {
	dir := filepath.Dir(socket)
	if !strings.HasPrefix(filepath.Base(dir), socketPrefix) {
		return
	}
	if info, err := os.Lstat(socket); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(socket)
	}
	_ = os.Remove(dir) // refuses if anything else is in it
}

// Release takes the announcement back and frees the directory.
func (c *Claim) Release() {
	_ = os.Remove(filepath.Join(c.dir, runningName))
	_ = c.lock.Close()
}
