package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// testEnv is an Env in an empty directory with an empty home.
func testEnv(t *testing.T, environ ...string) *Env {
	t.Helper()
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	work := filepath.Join(dir, "work")
	for _, d := range []string{filepath.Join(home, ".config", "scopedrift"), work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &Env{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Dir: work,
		Environ: append([]string{"HOME=" + home}, environ...),
	}
}

func (e *Env) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	env := testEnv(t, "SCOPEDRIFT_HOST=from-environment", "SCOPEDRIFT_TENANT=header:env", "SCOPEDRIFT_DATA=rel")
	project, user := filepath.Join(env.Dir, projectFile), filepath.Join(env.UserDir(), userFile)
	env.write(t, project, "host: from-project\ntenant: header:project\nfail_on: high\ncatalog: cat/\nformat: [\"envoy:a.log\", \"combined\"]\n")
	env.write(t, user, "host: from-user\ntenant: header:user\nfail_on: low\ncatalog: nowhere\nmin_coverage: 90%\n")
	s := newSettings()
	flags := pflag.NewFlagSet("scan", pflag.ContinueOnError)
	s.bind(flags, "host", "tenant", "fail-on", "catalog", "min-coverage", "memory", "data", "format", "quiet")
	if err := flags.Parse([]string{"--host", "from-flag", "--quiet"}); err != nil {
		t.Fatal(err)
	}
	if err := s.load(env, flags); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"host":         "from-flag | flag | --host",
		"quiet":        "true | flag | --quiet",
		"tenant":       "header:env | environment | SCOPEDRIFT_TENANT",
		"data":         "rel | environment | SCOPEDRIFT_DATA",
		"fail-on":      "high | project file | " + project + ":3",
		"catalog":      filepath.Join(env.Dir, "cat") + " | project file | " + project + ":4",
		"format":       "envoy:a.log,combined | project file | " + project + ":5",
		"min-coverage": "90% | user file | " + user + ":5",
		"memory":       "1.5GiB | default | ",
	} {
		o := s.origins[name]
		if got := fmt.Sprintf("%s | %s | %s", registered(name).value(s), o.Level, o.Place); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestFlagReplacesListOfFile(t *testing.T) {
	env := testEnv(t, "SCOPEDRIFT_FORMAT=combined")
	s := newSettings()
	flags := pflag.NewFlagSet("scan", pflag.ContinueOnError)
	s.bind(flags, "format")
	if err := flags.Parse([]string{"--format", "envoy", "--format", "cloudtrail:x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.load(env, flags); err != nil {
		t.Fatal(err)
	}
	if got := s.format.String(); got != "envoy,cloudtrail:x" {
		t.Errorf("format is %s", got)
	}
}

func TestBrokenSettings(t *testing.T) {
	for _, c := range []struct{ name, file, environ, want string }{
		{"unknown key", "catalgo: x\n", "", `.scopedrift.yaml:1: unknown key "catalgo"; did you mean "catalog"?`},
		{"flag spelling", "fail-on: high\n", "", `.scopedrift.yaml:1: unknown key "fail-on"; did you mean "fail_on"?`},
		{"bad value", "host: a\nfail_on: hgih\n", "", `.scopedrift.yaml:2: fail_on: "hgih" is none of low, medium, high, critical; did you mean "high"?`},
		{"list for one", "host: [a, b]\n", "", `.scopedrift.yaml:1: host takes one value, not a list`},
		{"mapping for value", "host: {a: b}\n", "", `.scopedrift.yaml:1: host should be a value or a list of values`},
		{"twice", "host: a\nhost: b\n", "", `.scopedrift.yaml`},
		{"no mapping", "- a\n", "", `.scopedrift.yaml: should be keys and values, such as "catalog: catalogue/"`},
		{"no yaml", "host: [a\n", "", `.scopedrift.yaml: not YAML: `},
		{"two problems", "a: b\nhsot: d\n", "", ".scopedrift.yaml:1: unknown key \"a\"\n"},
		{"environment", "", "SCOPEDRIFT_MEMORY=lots", `SCOPEDRIFT_MEMORY: memory: "lots" is no size; write 1.5GiB or 800MiB`},
		{"password stays hidden", "", "SCOPEDRIFT_CLICKHOUSE=https://u:hunter2%@h", `not a server's address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnv(t)
			if c.file != "" {
				env.write(t, filepath.Join(env.Dir, projectFile), c.file)
			}
			if c.environ != "" {
				env.Environ = append(env.Environ, c.environ)
			}
			err := newSettings().load(env, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
			if exitCode(err) != codeUsage {
				t.Errorf("exit code %d", exitCode(err))
			}
		})
	}
}

func FuzzSettingsFile(f *testing.F) {
	for _, s := range []string{"", "host: a\n", "format: [a, b]\n", "- a", "host: |\n  x\n", "host: &a b\ntenant: *a\n", "? x\n", "host: !!binary x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := testEnv(t)
		env.write(t, filepath.Join(env.Dir, projectFile), text)
		if err := newSettings().load(env, nil); err != nil && exitCode(err) != codeUsage {
			t.Errorf("exit code %d: %v", exitCode(err), err)
		}
	})
}

type coded int

func (c coded) Error() string { return "coded" }
func (c coded) ExitCode() int { return int(c) }

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"done":               {nil, 0},
		"plain":              {errors.New("x"), 1},
		"wrapped":            {fmt.Errorf("scan: %w", coded(2)), 2},
		"nearest wins":       {misused(fmt.Errorf("x: %w", coded(1))), 2},
		"interrupted":        {errInterrupted, 130},
		"broke before 130":   {errors.Join(errInterrupted, errors.New("x")), 1},
		"use before all":     {errors.Join(coded(3), coded(4), errInterrupted, coded(1), coded(2)), 2},
		"interrupt before 3": {errors.Join(coded(3), errInterrupted), 130},
		"3 before 4":         {errors.Join(coded(4), coded(3)), 3},
		"only 4":             {coded(4), 4},
		"joined in wrapped":  {fmt.Errorf("x: %w", errors.Join(coded(4), coded(3))), 3},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	app := &app{env: testEnv(t), settings: newSettings()}
	var out bytes.Buffer
	printError(&out, errors.Join(
		broken(fmt.Errorf("open \x1b[2Jlog: %w", misused(errors.New("no"), "inner remedy")), "outer remedy", "inner remedy"),
		usage("first\nsecond"),
		&fault{text: "never said", silent: true},
	), app.errPaint())
	want := "error: open \\x1b[2Jlog: no\nhint:  outer remedy\nhint:  inner remedy\nerror: first\n       second\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestColour(t *testing.T) {
	for _, c := range []struct {
		flag, environ string
		terminal      bool
		want          bool
	}{
		{"auto", "", true, true}, {"auto", "", false, false}, {"auto", "NO_COLOR=1", true, false},
		{"auto", "TERM=dumb", true, false}, {"auto", "FORCE_COLOR=1", false, true}, {"auto", "FORCE_COLOR=0", false, false},
		{"always", "NO_COLOR=1", false, true}, {"never", "FORCE_COLOR=1", true, false},
	} {
		app := &app{env: testEnv(t, c.environ), settings: newSettings()}
		app.settings.color.value = c.flag
		if got := app.paint(c.terminal).On; got != c.want {
			t.Errorf("--color %s %s terminal=%v: %v", c.flag, c.environ, c.terminal, got)
		}
	}
}

func TestStrangers(t *testing.T) {
	got := strings.Join(strangers(testEnv(t, "SCOPEDRIFT_CATALGO=x", "SCOPEDRIFT_HOST=y", "SCOPEDRIFT_CORPUS=z", "SCOPEDRIFT_QWERTY=1")), "\n")
	want := "environment variable SCOPEDRIFT_CATALGO is read by nothing; did you mean SCOPEDRIFT_CATALOG?\n" +
		"environment variable SCOPEDRIFT_QWERTY is read by nothing"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
