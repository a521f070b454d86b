package cli

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scopedrift/scopedrift/cmd/internal/output"
)

// How often progress is shown: often enough to look alive on a terminal, and
// rarely enough for a log file.
const (
	terminalTick = 120 * time.Millisecond
	pipedTick    = 10 * time.Second
)

// progress is the one line that says how long work goes: stage, done of total,
// rate, time left. On a terminal it is redrawn in place, elsewhere it is one
// plain line every ten seconds. It says its first word at once.
type progress struct {
	w        io.Writer
	terminal bool
	width    int
	now      func() time.Time

	done atomic.Uint64
	// more counts a second thing beside the bytes, such as calls.
	more atomic.Uint64

	mu    sync.Mutex
	stage string
	// counted replaces bytes where work is counted in other things.
	counted string
	total   uint64
	begun   time.Time
	drawn   bool

	quit chan struct{}
	idle sync.WaitGroup
}

// startProgress begins to show progress; a nil writer shows none.
func startProgress(w io.Writer, terminal bool, width int) *progress {
	p := &progress{w: w, terminal: terminal, width: width, now: time.Now, quit: make(chan struct{})}
	if w == nil {
		return p
	}
	tick := pipedTick
	if terminal {
		tick = terminalTick
	}
	p.idle.Add(1)
	go func() {
		defer p.idle.Done()
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.show()
			case <-p.quit:
				return
			}
		}
	}()
	return p
}

// enter begins a stage. total is in bytes, 0 where it is not known.
func (p *progress) enter(stage string, total uint64) {
	p.mu.Lock()
	p.stage, p.total, p.begun, p.counted = stage, total, p.now(), ""
	p.done.Store(0)
	p.more.Store(0)
	// Elsewhere than on a terminal the first word comes at once and later
	// stages wait for their turn.
	now := p.terminal || !p.drawn
	p.drawn = p.drawn || !p.terminal
	p.mu.Unlock()
	if now {
		p.show()
	}
}

// bytes returns what a reader of several inputs tells its progress to.
func (p *progress) bytes() func(input string, done, total int64, calls uint64) {
	var current string
	var bytesBefore, bytesNow, callsBefore, callsNow uint64
	return func(input string, done, _ int64, calls uint64) {
		if input != current {
			bytesBefore, callsBefore, current = bytesBefore+bytesNow, callsBefore+callsNow, input
		}
		bytesNow, callsNow = uint64(done), calls
		p.done.Store(bytesBefore + bytesNow)
		p.more.Store(callsBefore + callsNow)
	}
}

// count shows work that is counted in things rather than bytes.
func (p *progress) count(done, total int, things string) {
	p.mu.Lock()
	p.counted = fmt.Sprintf("%d of %d %s", done, total, things)
	p.mu.Unlock()
}

// stop ends the display and clears its line.
func (p *progress) stop() {
	select {
	case <-p.quit:
		return
	default:
	}
	close(p.quit)
	p.idle.Wait()
	p.clear()
}

// clear takes the line off a terminal, so that other words can be printed.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && p.terminal && p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || p.stage == "" {
		return
	}
	line := output.Safe(p.line())
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	if p.width > 1 {
		line = output.Clip(line, p.width-1)
	}
	fmt.Fprint(p.w, "\r"+line+"\x1b[K")
	p.drawn = true
}

// line is the text; the caller holds the lock.
func (p *progress) line() string {
	done, more := p.done.Load(), p.more.Load()
	line := p.stage
	if p.counted != "" {
		return line + "  " + p.counted
	}
	spent := p.now().Sub(p.begun)
	switch {
	case p.total > 0:
		line += fmt.Sprintf("  %s of %s", formatBytes(done), formatBytes(p.total))
	case done > 0:
		line += "  " + formatBytes(done)
	}
	if more > 0 {
		line += "  " + output.Number(more) + " calls"
	}
	if done > 0 && spent > 500*time.Millisecond {
		rate := float64(done) / spent.Seconds()
		line += "  " + formatBytes(uint64(rate)) + "/s"
		if p.total > done {
			left := time.Duration(float64(p.total-done) / rate * float64(time.Second))
			line += "  " + spell(left) + " left"
		}
	}
	return line
}

// spell writes a duration as people say it.
func spell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()+0.5))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
