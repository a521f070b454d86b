//go:build linux

package live

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/collector/pcap"
	"github.com/scopedrift/scopedrift/collector/redact"
	"golang.org/x/sys/unix"
)

// tap is a capture that runs beside a test. However the test ends, the reader ends
// before the ring is given back, or it would read memory that is gone.
type tap struct {
	socket *Socket
	watch  *pcap.Watch
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	// cpu is what reading took on its thread, once it ended.
	cpu atomic.Int64
}

// open captures from an interface into sink. wrap, if there is one, stands between
// socket and reader.
func open(t *testing.T, cfg Config, sink collector.Sink, wrap func(pcap.Source) pcap.Source) *tap {
	t.Helper()
	c := &tap{socket: New(cfg), done: make(chan struct{})}
	if err := c.socket.Open(); err != nil {
		t.Fatal(err)
	}
	var source pcap.Source = c.socket
	if wrap != nil {
		source = wrap(source)
	}
	c.watch = pcap.New(pcap.Config{Key: redact.NewKey([32]byte{1})}).Watch(source, collector.Input{Name: cfg.Interface}, sink)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		runtime.LockOSThread()
		c.err = c.watch.Run(ctx)
		var usage unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &usage)
		c.cpu.Store(usage.Utime.Nano() + usage.Stime.Nano())
	}()
	t.Cleanup(func() {
		_ = c.end()
		_ = c.socket.Close()
	})
	return c
}

// end ends the capture and returns why it ended.
func (c *tap) end() error {
	c.cancel()
	<-c.done
	return c.err
}

// forever is longer than anything here takes on a machine that has other work too:
// only what will never come is waited for so long.
const forever = time.Minute

// until waits until something holds, and says whether it does.
func until(holds func() bool) bool {
	for begin := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > forever {
			return false
		}
	}
	return true
}
