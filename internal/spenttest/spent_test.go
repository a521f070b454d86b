package spenttest_test

import (
	"os"
	"testing"
	"time"

	"github.com/scopedrift/scopedrift/internal/spenttest"
)

// TestSpent: both ways of reading agree on what this process spends.
func TestSpent(t *testing.T) {
	before, own := spenttest.Of(t, os.Getpid()), spenttest.Own(t)
	held := make([]byte, 64<<20)
	for spenttest.Own(t)-own < 200*time.Millisecond {
		for i := range held {
			held[i]++
		}
	}
	after := spenttest.Of(t, os.Getpid())
	if used := after.CPU - before.CPU; used < 150*time.Millisecond {
		t.Errorf("200 ms of work are told as %v", used)
	}
	if after.Resident < len(held) || after.Peak < after.Resident || after.Threads < 1 {
		t.Errorf("64 MiB are held, and told is %+v", after)
	}
	if _, err := spenttest.Read(1 << 30); err == nil {
		t.Error("a process that there is not has spent something")
	}
}
