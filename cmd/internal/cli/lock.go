package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile is what a command that writes calls holds a lock on.
const lockFile = "writer.lock"

// lockWriter makes this command the only one that writes calls into the data
// directory; without one there is nothing to lock. Reading commands need no
// lock. The lock ends with release, and with the process.
func (a *app) lockWriter() (release func(), err error) {
	if a.settings.data == "" {
		return func() {}, nil
	}
	path := a.env.Path(filepath.Join(a.settings.data, lockFile))
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, broken(fmt.Errorf("lock the data directory: open %s: %w", path, err), "pass --data DIR with a directory that can be written")
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, broken(fmt.Errorf("another scan is writing to %s", a.settings.data), "wait until it is done, or pass another --data DIR")
		}
		return nil, broken(fmt.Errorf("lock the data directory: %w", err))
	}
	return func() { _ = unix.Close(fd) }, nil
}
