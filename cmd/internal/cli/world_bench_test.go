package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	simulated "github.com/scopedrift/scopedrift/deployments/scenario/world"
	"github.com/scopedrift/scopedrift/pipeline/engine"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema/table"
)

// BenchmarkWorld measures how long all detections take, from nothing, over 30
// days of a company of 1,000 credentials. A simulated world is stored, then each
// of its calls as often again, at other moments of its hour, as
// SCOPEDRIFT_BENCH_CALLS asks for: 4 million unless it says otherwise.
func BenchmarkWorld(b *testing.B) {
	want := uint64(4_000_000)
	if text := os.Getenv("SCOPEDRIFT_BENCH_CALLS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			b.Fatalf("SCOPEDRIFT_BENCH_CALLS is %q: it must be a number", text)
		}
		want = n
	}
	environment := needEngine(b)
	dir := b.TempDir()
	w, err := simulated.Write(simulated.Config{Set: simulated.Dev, Seed: 990, Services: 15, Credentials: 1000, Days: 30, Calls: 400_000,
		Topology: simulated.Mesh, Rhythm: simulated.Office, Traced: .7, Tenants: 12, Staging: true, Changes: true}, dir)
	if err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	runProgram(b, environment, "scan", "-q", "-o", "json", "--catalog", w.Catalogue, "--data", data, "--key", w.Key, w.Logs)
	calls := multiply(b, filepath.Join(data, "store"), want)
	var took time.Duration
	var memory int64
	for b.Loop() {
		began := time.Now()
		state := runProgram(b, environment, "detect", "--once", "-q", "--catalog", w.Catalogue, "--data", data)
		took = time.Since(began)
		if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
			memory = usage.Maxrss
		}
	}
	b.ReportMetric(float64(calls), "calls")
	b.ReportMetric(took.Seconds(), "s/pass")
	b.ReportMetric(float64(memory)/1024, "MiB-largest-process")
}

// runProgram runs the real program, which must succeed.
func runProgram(b *testing.B, environment []string, args ...string) *os.ProcessState {
	b.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = environment
	if _, err := cmd.Output(); err != nil {
		text := ""
		if exit, ok := err.(*exec.ExitError); ok {
			text = string(exit.Stderr)
		}
		b.Fatalf("%v: %v: %s", args[0], err, text)
	}
	return cmd.ProcessState
}

// multiply stores each call of a store again until there are about as many as
// wanted, and returns how many there are.
func multiply(b *testing.B, dir string, want uint64) uint64 {
	b.Helper()
	ctx := context.Background()
	e := enginetest.Start(b, engine.Config{Dir: dir})
	conn := enginetest.Connect(b, e)
	var calls uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM "+table.Calls).Scan(&calls); err != nil {
		b.Fatal(err)
	}
	if err := conn.Exec(ctx, "CREATE TABLE first_calls AS "+table.Calls+" ENGINE = MergeTree ORDER BY (credential, time, id)"); err != nil {
		b.Fatal(err)
	}
	if err := conn.Exec(ctx, "INSERT INTO first_calls SELECT * FROM "+table.Calls); err != nil {
		b.Fatal(err)
	}
	for n := uint64(1); n < want/calls; n++ {
		statement := fmt.Sprintf("INSERT INTO %s SELECT * REPLACE (MD5(concat(id, '%d')) AS id, "+
			"toDateTime64(toStartOfHour(time), 6, 'UTC') + toIntervalMicrosecond(cityHash64(id, %d) %% 3600000000) AS time) FROM first_calls", table.Calls, n, n)
		if err := conn.Exec(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
	if err := conn.QueryRow(ctx, "SELECT count() FROM "+table.Calls).Scan(&calls); err != nil {
		b.Fatal(err)
	}
	if err := conn.Exec(ctx, "DROP TABLE first_calls"); err != nil {
		b.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		b.Fatal(err)
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	return calls
}
