package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline"
)

// TestCopiesInHalfABatch: of a batch that leaves out copies, the calls and some
// rollups were stored and the others not, when its owner died. The next one knows
// other ids, and fills up what is missing with the same rows.
func TestCopiesInHalfABatch(t *testing.T) {
	conn, g := store(t), newLog()
	g.append(wired(1, 1, callsOf(0, 2000))...)
	away := func(from, to string) {
		t.Helper()
		if err := conn.Exec(t.Context(), "RENAME TABLE "+from+" TO "+to); err != nil {
			t.Fatal(err)
		}
	}
	// The last commit before the second batch's insert is its plan.
	plans := 0
	g.before = func(_ int64, metadata string) error {
		if metadata != "" {
			if plans++; plans == 2 {
				away("use_day", "gone")
			}
		}
		return nil
	}
	failed := make(chan struct{}, 1)
	report := func(err error) {
		t.Logf("reported: %v", err)
		select {
		case failed <- struct{}{}:
		default:
		}
	}
	once := false
	_, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: 5000, Report: report}, func(s pipeline.Stats) bool {
		if s.Calls >= 2000 && !once {
			once = true
			// Copies here and there, and calls that are new.
			g.append(wired(2, 1, callsOf(1500, 1000))...)
			g.append(wired(3, 1, callsOf(100, 300))...)
			g.append(wired(4, 1, callsOf(2400, 400))...)
		}
		select {
		case <-failed:
			return true
		default:
			return false
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if g.metadata == "" {
		t.Fatal("nothing is planned: this tested nothing")
	}
	away("gone", "use_day")
	g.before = nil
	s, err := handle(t, g, pipeline.Config{Conn: conn, BlockRows: 5000}, func(s pipeline.Stats) bool { return s.Replayed == 1 && s.Calls >= 800 })
	if err != nil || s.Repeated != 900 {
		t.Fatalf("%+v: %v", s, err)
	}
	exactly(t, conn, 2800)
}
