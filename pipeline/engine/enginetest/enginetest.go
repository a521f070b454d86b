// Package enginetest gives tests a real ClickHouse.
//
// [Open] returns a connection to an engine of the test's own, in a temporary
// directory; [Start] returns the engine. Both end with the test. They use the
// engine program and library of SCOPEDRIFT_ENGINE and SCOPEDRIFT_LIBCHDB, else
// those that make build put into bin; without them the test is skipped and says
// so, or fails where CI is set: there it must run.
package enginetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/scopedrift/scopedrift/internal/corpus"
	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
	"github.com/scopedrift/scopedrift/pipeline/engine"
)

// Find returns the paths of the engine program and the library, and what is
// missing of them.
func Find(t testing.TB) (program, library string, missing error) {
	t.Helper()
	program, library = os.Getenv(engine.ProgramEnv), os.Getenv(engine.LibraryEnv)
	bin := filepath.Join(corpus.Module(t), "bin")
	if program == "" {
		program = filepath.Join(bin, engine.ProgramName)
	}
	if library == "" {
		library = filepath.Join(bin, engine.LibraryName)
	}
	for _, path := range []string{program, library} {
		if _, err := os.Stat(path); err != nil {
			missing = fmt.Errorf("no embedded engine: %w: run make build", err)
		}
	}
	return program, library, missing
}

// Files returns the paths of the engine program and the library, or skips the
// test.
func Files(t testing.TB) (program, library string) {
	t.Helper()
	program, library, missing := Find(t)
	switch {
	case missing != nil && os.Getenv("CI") != "":
		t.Fatal(missing)
	case missing != nil:
		t.Skip(missing)
	}
	return program, library
}

// Config completes a configuration with the files and a log that the test shows
// when it fails.
func Config(t testing.TB, cfg engine.Config) engine.Config {
	t.Helper()
	program, library := Files(t)
	if cfg.Program == "" {
		cfg.Program = program
	}
	if cfg.Library == "" {
		cfg.Library = library
	}
	if cfg.Log == nil {
		cfg.Log = t.Output()
	}
	return cfg
}

// Start starts an engine that ends with the test. The test fails if the engine
// dies before.
func Start(t testing.TB, cfg engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.Start(context.Background(), Config(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Open starts an engine with default settings and connects to it.
func Open(t testing.TB) driver.Conn {
	t.Helper()
	return Connect(t, Start(t, engine.Config{}))
}

// Connect connects to an engine; the connection ends with the test.
func Connect(t testing.TB, e *engine.Engine) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(context.Background(), clickhouse.Target{Socket: e.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
