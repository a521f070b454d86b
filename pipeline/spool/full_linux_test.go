package spool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system of so many bytes that ends with the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("spool-test", dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		t.Skipf("this user may not mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFillsUp gives the spool a disk that is smaller than its limit, and that
// something else fills as well: Put waits and says why, a death in that state
// leaves everything whole, and once the taker is back all that was acknowledged
// comes, and Put goes on.
func TestDiskFillsUp(t *testing.T) {
	dir := smallDisk(t, "1m")
	to := newTaker()
	to.away = true
	s := open(t, Config{Dir: filepath.Join(dir, "spool"), Limit: 64 << 20, Segment: 128 << 10}, to)
	put(t, s, batch(0, 100))
	// The last half is somebody else's.
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	put1 := func(s *Spool, n int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		return s.Put(ctx, batch(n, 100))
	}
	n, refused := 1, error(nil)
	for ; n < 1000 && refused == nil; n++ {
		refused = put1(s, n)
	}
	n-- // this one was not acknowledged
	if !errors.Is(refused, context.DeadlineExceeded) {
		t.Fatalf("after %d batches Put says %v", n, refused)
	}
	st := s.Stats()
	if st.Full.IsZero() || st.Waits == 0 || st.Dropped != 0 || !strings.Contains(st.LastError, "no space left") || !strings.Contains(st.LastError, "more room") {
		t.Errorf("the counters are %+v", st)
	}
	// The process ends with the disk full, and the next one takes it up.
	_ = s.Close()
	to = newTaker()
	to.away = true
	s = open(t, Config{Dir: filepath.Join(dir, "spool"), Limit: 64 << 20, Segment: 128 << 10}, to)
	if waiting := s.Stats().Waiting; waiting != uint64(n) {
		t.Errorf("%d batches wait, and %d were acknowledged", waiting, n)
	}
	if err := put1(s, n); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("on the full disk Put says %v", err)
	}
	defer run(t, s)()
	to.mu.Lock()
	to.away = false
	to.mu.Unlock()
	close(to.back)
	const more = 200
	for i := range more {
		put(t, s, batch(n+i, 100)) // far more than the disk holds at once
	}
	if err := s.Empty(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := (n + more) * 100; to.count() != want {
		t.Errorf("%d calls came, want %d", to.count(), want)
	}
	if st := s.Stats(); !st.Full.IsZero() || st.DamagedBytes != 0 || st.TornBytes != 0 {
		t.Errorf("the counters are %+v", st)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); errors.Is(err, fs.ErrNotExist) {
		t.Error("a file that is not the spool's is gone")
	}
}
