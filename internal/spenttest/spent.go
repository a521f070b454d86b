// Package spenttest tells tests and benchmarks what a process has spent.
//
// [Own] is the processor time of this process, [Of] the time and memory of
// another one, such as the engine's; [Read] does not fail, for processes that may
// have ended. It reads /proc, whose times come in hundredths of a second, and
// cannot see what other machines or ended children spend.
package spenttest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Spent is what a process has used so far.
type Spent struct {
	// CPU is its processor time, in user mode and in the kernel, of all threads.
	CPU time.Duration
	// Resident is the memory it holds, Peak the most it ever held, in bytes.
	Resident, Peak int
	Threads        int
}

// Own is the processor time of this process so far, garbage collection included,
// to the microsecond.
func Own(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Skipf("no processor times here: %v", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Of is what the process has spent. Where there is no /proc the test is skipped.
func Of(t testing.TB, pid int) Spent {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skipf("no processor times here: %v", err)
	}
	s, err := Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Read is what the process has spent, and an error if it is gone.
func Read(pid int) (Spent, error) {
	var s Spent
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	// After the name, which may hold spaces: utime and stime are fields 14 and 15 of
	// the whole.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for i := 11; i < 13; i++ {
		if i >= len(fields) {
			return s, fmt.Errorf("/proc/%d/stat is short: %q", pid, stat)
		}
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return s, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		s.CPU += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &s.Resident)
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &s.Peak)
		_, _ = fmt.Sscanf(line, "Threads: %d", &s.Threads)
	}
	s.Resident <<= 10
	s.Peak <<= 10
	return s, nil
}
