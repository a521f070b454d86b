package cli

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
	"github.com/scopedrift/scopedrift/schema"
)

// program is the real binary, built once for all scripts.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "scopedrift-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "scopedrift")
	build := exec.Command("go", "build", "-o", program, "github.com/scopedrift/scopedrift/cmd/scopedrift")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build scopedrift: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestStatic makes sure that the binary needs no loader and no libraries.
func TestStatic(t *testing.T) {
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("the binary has an interpreter: it is not static")
		}
	}
}

func TestScripts(t *testing.T) {
	engine, library, missing := enginetest.Find(t)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("SCOPEDRIFT_ENGINE", engine)
			env.Setenv("SCOPEDRIFT_LIBCHDB", library)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("SOON", time.Now().AddDate(0, 1, 0).Format(time.DateOnly))
			env.Setenv("HOSTILE", "no\x1b[2Jfile\u202e\u009b.log")
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, ".tmp"))
			return fixture(env.WorkDir)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "engine" && missing != nil && os.Getenv("CI") != "" {
				return false, missing
			}
			if cond == "engine" {
				return missing == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"interrupt": interrupt,
			"valid":     valid,
			"visible":   isVisible,
			"gone":      gone,
		},
	})
}

// exits runs a program and wants one exit code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// interrupt runs scopedrift with a file on standard input that never ends, and
// sends it a SIGINT when a file has come into being or, for "-", when it has
// said its first word: interrupt CODE INPUT UNTIL ARGS...
// Its output is in the files stdout.txt and stderr.txt.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: interrupt CODE INPUT UNTIL ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	until := args[2]
	command := exec.Command(program, args[3:]...)
	command.Dir = ts.MkAbs(".")
	command.Env = environ(ts)
	stdin, err := command.StdinPipe()
	ts.Check(err)
	var stdout, stderr bytes.Buffer
	command.Stdout = &stdout
	said := &firstWord{to: &stderr, said: make(chan struct{})}
	command.Stderr = said
	ts.Check(command.Start())
	ended := make(chan error, 1)
	_, err = io.WriteString(stdin, ts.ReadFile(args[1]))
	ts.Check(err)
	begun := time.Now()
	select {
	case <-said.said:
	case <-time.After(20 * time.Second):
		_ = command.Process.Kill()
		ts.Fatalf("nothing was said for 20 seconds")
	}
	if quick := time.Since(begun); quick > 2*time.Second {
		ts.Fatalf("the first word came after %v", quick)
	}
	// What is waited for is polled, never slept for; the store's directory says
	// that the engine is up and reading is under way.
	for deadline := time.Now().Add(30 * time.Second); until != "-"; time.Sleep(20 * time.Millisecond) {
		if info, err := os.Stat(ts.MkAbs(until)); err == nil && info.Size() > 0 {
			break
		}
		if time.Now().After(deadline) {
			_ = command.Process.Kill()
			ts.Fatalf("%s did not come into being\n%s", until, stderr.String())
		}
	}
	ts.Check(command.Process.Signal(syscall.SIGINT))
	go func() { ended <- command.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = command.Process.Kill()
		ts.Fatalf("it did not end within 30 seconds of a SIGINT\n%s", stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("stdout.txt"), stdout.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("stderr.txt"), stderr.Bytes(), 0o600))
	if got := command.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, stdout.String(), stderr.String())
	}
}

func environ(ts *testscript.TestScript) []string {
	var list []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SCOPEDRIFT_ENGINE", "SCOPEDRIFT_LIBCHDB"} {
		list = append(list, name+"="+ts.Getenv(name))
	}
	return list
}

// firstWord tells when the first byte was written.
type firstWord struct {
	to   io.Writer
	said chan struct{}
	done bool
}

func (f *firstWord) Write(p []byte) (int, error) {
	if !f.done {
		f.done = true
		close(f.said)
	}
	return f.to.Write(p)
}

// valid checks a file (stdout for the last output) against a shipped JSON
// Schema; a noun ending in s means one value a line: valid NOUN FILE
func valid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: valid NOUN FILE")
	}
	noun, lines := strings.CutSuffix(args[0], "s")
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range schema.JSONSchemas() {
		text, err := schema.JSONSchema(name)
		ts.Check(err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		ts.Check(err)
		ts.Check(c.AddResource(name+".schema.json", doc))
	}
	compiled, err := c.Compile(noun + ".schema.json")
	ts.Check(err)
	text := strings.TrimSuffix(ts.ReadFile(args[1]), "\n")
	values := []string{text}
	if lines {
		values = strings.Split(text, "\n")
	}
	for _, value := range values {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
		ts.Check(err)
		ts.Check(compiled.Validate(doc))
	}
}

// isVisible wants nothing but visible characters and line ends: visible FILE...
func isVisible(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		for i, r := range ts.ReadFile(name) {
			if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar) {
				ts.Fatalf("%s has %U at %d", name, r, i)
			}
		}
	}
}

// gone wants a directory to be empty or not to exist: gone DIR
func gone(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if err != nil && !os.IsNotExist(err) {
		ts.Check(err)
	}
	if len(entries) > 0 {
		ts.Fatalf("%s still holds %s", args[0], entries[0].Name())
	}
}

// fixture writes what every script starts from: forty days of an Envoy log, its
// catalogue, and what is broken or hostile.
func fixture(dir string) error {
	files := map[string]string{
		"edge.log": edgeLog(), "catalogue/catalogue.yaml": catalogueText,
		"garbage.log": strings.Repeat("this is no log line at all\n", 20), "hostile.log": hostileLog(),
	}
	for _, d := range []string{"catalogue", "home", ".tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

const catalogueText = `services:
  - name: orders
    environment: production
    hosts: [orders.example.com]
    authority: idp.example.com
    grant: declared
    operations:
      - {operation: "GET /orders/{id}", scopes: [["orders:read"]], class: read}
      - {operation: "POST /orders/{id}/refund", scopes: [["orders:write"]], class: write, sensitivity: 3}
      - {operation: "DELETE /orders/{id}", scopes: [["orders:admin"]], class: delete, sensitivity: 4}
credentials:
  - id: ci-deployer
    match: [{kind: oauth_client, issuer: "https://idp.example.com", client: ci-deployer}]
    kind: ci
    owner: team-payments
    workload: deploy/ci
    purpose: publishes releases
    grants: [{authority: idp.example.com, scopes: ["orders:read"], from: 2026-01-01}]
  - id: reports
    match: [{kind: oauth_client, issuer: "https://idp.example.com", client: reports}]
    kind: service
    owner: team-data
    workload: deploy/reports
    purpose: monthly figures
    grants: [{authority: idp.example.com, scopes: ["orders:read", "orders:admin"], from: 2026-01-01}]
sources:
  - {name: edge, services: [orders], complete: true, from: 2026-01-01}
`

// edgeLine is one call as Envoy writes it.
func edgeLine(at time.Time, method, path, client, scope string, status int) string {
	line, err := json.Marshal(map[string]any{
		"start_time": at.Format(time.RFC3339Nano), "method": method, "path": path, "authority": "orders.example.com",
		"response_code": status, "duration": 12, "bytes_received": 0, "bytes_sent": 512, "downstream_remote_address": "10.0.0.7:4711",
		"user_agent": "fixture/1", "request_id": fmt.Sprintf("%d-%s", at.UnixNano(), client),
		"jwt": map[string]any{"iss": "https://idp.example.com", "azp": client, "client_id": client, "sub": client, "scope": scope},
	})
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

func edgeLog() string {
	var b strings.Builder
	start := time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)
	for day := range 40 {
		at := start.AddDate(0, 0, day)
		for i := range 3 {
			b.WriteString(edgeLine(at.Add(time.Duration(i)*time.Hour), "GET", fmt.Sprintf("/orders/%d", 100+day), "ci-deployer", "orders:read", 200))
			b.WriteString(edgeLine(at.Add(time.Duration(i)*time.Hour+time.Minute), "GET", fmt.Sprintf("/orders/%d", 500+day), "reports", "orders:read orders:admin", 200))
		}
		if day == 20 {
			b.WriteString(edgeLine(at.Add(5*time.Hour), "POST", "/orders/7/refund", "ci-deployer", "orders:read", 200))
		}
	}
	b.WriteString("not json at all\n")
	return b.String()
}

// hostileLog has a call whose every part would command a terminal or a
// spreadsheet.
func hostileLog() string {
	const evil = "=1+1\x1b[2J\x1b]0;owned\x07\u202egnp\u200b\u0085\r\n\tx"
	line, err := json.Marshal(map[string]any{
		"start_time": "2026-03-01T04:00:00Z", "method": "GET", "path": "/a" + evil + "/b", "authority": "h" + evil, "response_code": 200,
		"user_agent": evil, "x_tenant": evil, "request_id": evil,
		"jwt": map[string]any{"iss": "https://idp.example.com/" + evil, "azp": evil, "client_id": evil, "sub": evil, "scope": evil},
	})
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}
