//go:build unix

package pcap

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"

	"github.com/scopedrift/scopedrift/collector"
	"github.com/scopedrift/scopedrift/internal/spenttest"
)

// apartRun is what a process that reads one capture from its standard input has seen
// and spent: bytes before it began and at the most, nanoseconds of its processors.
type apartRun struct {
	Before, Peak, Calls int
	Spent               float64
}

// apartEnv asks the test binary to be that process, and names the file for its answer.
const apartEnv = "SCOPEDRIFT_TEST_READ_APART"

// readApart lets a process of its own read a capture: what making it up takes of
// memory and time is not to be taken for the reader's.
func readApart(t testing.TB, capture io.Reader) (r apartRun) {
	t.Helper()
	answer := t.TempDir() + "/answer.json"
	child := exec.Command(os.Args[0], "-test.run=^TestReadApart$")
	child.Env = append(os.Environ(), apartEnv+"="+answer)
	child.Stdin = capture
	if said, err := child.CombinedOutput(); err != nil {
		t.Fatalf("the process that reads: %v\n%s", err, said)
	}
	text, err := os.ReadFile(answer)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReadApart is the process that readApart starts, and itself starts one: what it
// says must be that of the capture.
func TestReadApart(t *testing.T) {
	answer := os.Getenv(apartEnv)
	if answer == "" {
		rng, known := rand.New(rand.NewPCG(1, 1)), map[string]truth{}
		frames := conversation(rng, 5, func(w *wire, name string) { w.talk(10, lockstep, name, known) })
		if r := readApart(t, bytes.NewReader(writePcap(linkEthernet, frames))); r.Calls != len(known) || r.Before <= 0 || r.Peak < r.Before {
			t.Errorf("the process that reads %d calls says %+v", len(known), r)
		}
		return
	}
	debug.SetGCPercent(25) // as collect pcap does
	before, spent := spenttest.Of(t, os.Getpid()), spenttest.Own(t)
	var sink discardSink
	if _, err := New(Config{Key: testKey}).Run(context.Background(), os.Stdin, collector.Input{}, &sink); err != nil {
		t.Fatal(err)
	}
	r := apartRun{Before: before.Resident, Calls: sink.calls, Spent: float64(spenttest.Own(t) - spent)}
	r.Peak = spenttest.Of(t, os.Getpid()).Peak
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(answer, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
