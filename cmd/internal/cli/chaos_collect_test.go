package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/schema"
)

// followed is a log that is written while a real collector follows it, and is
// killed, and goes on. The second one of a chaos has a spool.
type followed struct {
	t       *testing.T
	path    string
	args    []string
	env     []string
	lines   atomic.Int64
	process *exec.Cmd
	talk    *growing
}

func (c *chaos) follow(i int) *followed {
	c.t.Helper()
	path := filepath.Join(c.dir, fmt.Sprintf("followed-%d.log", i))
	f := &followed{t: c.t, path: path, env: c.environment, args: []string{"collect", "gateway", "--follow", "--checkpoint", path + ".checkpoint",
		"--kafka", c.broker.Brokers()[0], "--kafka-prefix", c.prefix, "--format", "envoy", "--metrics-listen", "off"}}
	if i == 1 {
		f.args = append(f.args, "--spool", path+".spool", "--spool-full", "block")
	}
	f.args = append(f.args, path)
	f.start()
	c.t.Cleanup(func() { _ = f.process.Process.Kill(); _ = f.process.Wait() })
	return f
}

func (f *followed) start() {
	f.t.Helper()
	cmd := exec.Command(program, f.args...)
	f.talk = &growing{}
	cmd.Env, cmd.Stderr = f.env, f.talk
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.process = cmd
}

// kill ends the collector in the midst of whatever it does, and starts another.
func (f *followed) kill() {
	f.t.Helper()
	_ = f.process.Process.Kill()
	_ = f.process.Wait()
	f.start()
}

// write appends lines until ctx ends, cut at any byte.
func (f *followed) write(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		var b strings.Builder
		n := 1 + random.IntN(40)
		for range n {
			b.WriteString(f.line(random))
		}
		text := b.String()
		cut := random.IntN(len(text))
		for _, piece := range []string{text[:cut], text[cut:]} {
			file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				_, err = file.WriteString(piece)
				_ = file.Close()
			}
			if err != nil {
				f.t.Error(err)
				return
			}
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		}
	}
}

// line is a call to the company of the test, with a number of its own.
func (f *followed) line(random *rand.Rand) string {
	n := f.lines.Add(1)
	at := time.Date(2026, 1, 12, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
	operation := []struct{ method, path string }{{"GET", "items"}, {"POST", "items"}, {"GET", fmt.Sprint("items/", random.IntN(90))}, {"DELETE", fmt.Sprint("items/", random.IntN(90))}, {"PUT", "users/7"}}[random.IntN(5)]
	return fmt.Sprintf(`{"start_time":"%s","method":"%s","path":"/t/t%d/%s","response_code":%d,"authority":"orders.test","request_id":"%s-%d","jwt":{"iss":"https://idp.example.com","azp":"client-%d","scope":"read"}}`+"\n",
		at.Format("2006-01-02T15:04:05.000Z"), operation.method, 1+random.IntN(2), operation.path, []int{200, 200, 200, 403, 404}[random.IntN(5)], filepath.Base(f.path), n, random.IntN(5))
}

// stored waits until every line is.
func (f *followed) stored(conn driver.Conn) {
	f.t.Helper()
	want, got, before := uint64(f.lines.Load()), uint64(0), uint64(0)
	for moved := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		err := conn.QueryRow(context.Background(), "SELECT uniqExact(id) FROM calls WHERE startsWith(request_id, ?)", filepath.Base(f.path)+"-").Scan(&got)
		if err == nil && got == want {
			break
		}
		if got != before {
			before, moved = got, time.Now()
		}
		if time.Since(moved) > standstill {
			f.t.Fatalf("%d of %d lines of %s are stored, and nothing moved in %v: %v\n%s", got, want, f.path, standstill, err, f.talk.String())
		}
	}
	if err := f.process.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Error(err)
	}
	if err := f.process.Wait(); err != nil {
		f.t.Errorf("a collector that was told to end: %v\n%s", err, f.talk.String())
	}
}

// peace reads the log once, in one go.
func (f *followed) peace() *schema.Batch {
	f.t.Helper()
	cmd := exec.Command(program, "collect", "gateway", "--format", "envoy", "--metrics-listen", "off", f.path)
	var out, talk bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = f.env, &out, &talk
	if err := cmd.Run(); err != nil {
		f.t.Fatalf("%v\n%s", err, talk.String())
	}
	b := &schema.Batch{Input: schema.Input{Name: f.path, Format: "envoy"}}
	for line := range bytes.Lines(out.Bytes()) {
		var call schema.Call
		if err := json.Unmarshal(line, &call); err != nil {
			f.t.Fatal(err)
		}
		b.Calls = append(b.Calls, call)
	}
	b.NextUnit = uint64(len(b.Calls))
	if n := f.lines.Load(); b.NextUnit != uint64(n) {
		f.t.Errorf("%d lines are %d calls", n, b.NextUnit)
	}
	return b
}
